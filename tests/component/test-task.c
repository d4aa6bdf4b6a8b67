/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The task service over real ttrpc, real mounts and a real virtiofsd, with the fake hypervisor and
 * the fake agent in place of a machine: every rule of the state machine in milliseconds. Needs
 * root.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "io/testing.h"
#include "io/worker.h"
#include "rpc/listen.h"
#include "rpc/rpc.h"
#include "runtimes/sandbox.h"
#include "service/task.h"
#include "tests/component/service-client.h"
#include "tests/fakes/agent.h"

#include "proto/task_service.pb-c.h"

#include "base/testing.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define TASK(name) Containerd__Task__V2__##name

struct fixture {
	char dir[64], sid[32], config[2048];
	struct loop *loop;
	pthread_t thread;
	struct worker_pool *workers;
	struct rpc_server *server;
	struct rpc_client *client;
	struct fake_agent *agent;
	struct task_service task;
	pthread_mutex_t lock;
	char events[4096];
	bool down;
	struct err e;
};

static unsigned serial;
static bool early_wait = true;
static const char *agent_keys = ""; /* of the next configuration */
static const char *fake_agent_path; /* likewise; NULL: the fake agent's */

/* ---- Fixture --------------------------------------------------------------------------------- */

static void on_event(void *arg, enum task_event_type type, const struct task_state *state,
		     const struct task_create *create)
{
	static const char *const names[] = {"create",	    "start",   "exec-added",
					    "exec-started", "exit",    "delete",
					    "paused",	    "resumed", "oom"};
	struct fixture *f = list_entry(arg, struct fixture, task);
	pthread_mutex_lock(&f->lock);
	size_t n = strlen(f->events);
	(void)snprintf(f->events + n, sizeof f->events - n, "%s:%s%s%s ", names[type], state->id,
		       state->exec_id[0] ? "/" : "", state->exec_id);
	pthread_mutex_unlock(&f->lock);
}

static void on_shutdown(void *arg)
{
	struct fixture *f = arg;
	pthread_mutex_lock(&f->lock);
	f->down = true;
	pthread_mutex_unlock(&f->lock);
}

static void write_config(struct fixture *f, const char *script)
{
	(void)snprintf(f->config, sizeof f->config,
		       "[hypervisor.fake]\n"
		       "shared_fs = \"virtio-fs\"\n"
		       "virtio_fs_daemon = \"/usr/lib/qemu/virtiofsd\"\n"
		       "fake_script = \"%s\"\n"
		       "fake_agent_socket = \"%s%s\"\n"
		       "[agent.kata]\n"
		       "%s"
		       "[runtime]\n"
		       "name = \"virt_container\"\n"
		       "hypervisor_name = \"fake\"\n"
		       "agent_name = \"kata\"\n",
		       script, fake_agent_path ? fake_agent_path : f->dir,
		       fake_agent_path ? "" : "/agent.sock", agent_keys);
	char path[128];
	(void)snprintf(path, sizeof path, "%s/c.toml", f->dir);
	assert_int_equal(file_replace(path, f->config, strlen(f->config), 0600), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	char path[128];
	int pair[2];

	*state = f;
	(void)snprintf(f->dir, sizeof f->dir, "/tmp/test-task.XXXXXX");
	(void)snprintf(f->sid, sizeof f->sid, "ct%d-%u", (int)getpid(), serial++);
	assert_non_null(mkdtemp(f->dir));
	pthread_mutex_init(&f->lock, NULL);
	write_config(f, "");
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(worker_pool_new(3, 0, &f->workers), 0);
	(void)snprintf(path, sizeof path, "%s/agent.sock", f->dir);
	assert_int_equal(fake_agent_new(f->loop, path, early_wait, &f->agent), 0);
	const struct runtime_params params = {.loop = f->loop,
					      .workers = f->workers,
					      .sandbox_id = f->sid,
					      .namespace = "ns1",
					      .on_event = on_event,
					      .arg = &f->task};
	assert_int_equal(runtime_new(&params, &f->task.runtime), 0);
	f->task.on_shutdown = on_shutdown;
	f->task.arg = f;
	assert_int_equal(rpc_server_new(f->loop, &f->server), 0);
	assert_int_equal(task_service_register(&f->task, f->server), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(rpc_server_serve(f->server, pair[0]), 0);
	assert_int_equal(rpc_client_new(f->loop, pair[1], NULL, NULL, &f->client), 0);
	assert_int_equal(testing_loop_start(f->loop, &f->thread), 0);
	return 0;
}

/* One call; returns 0 or the negative status code. */
static int call(struct fixture *f, const char *method, const void *message, void *ret_response)
{
	const struct rpc_request req = {
		.service = &containerd__task__v2__task__descriptor,
		.method = method,
		.message = message,
		.timeout_ms = 20000,
	};
	return service_call(f->client, &req, ret_response, &f->e);
}

static int shut_down(struct fixture *f)
{
	TASK(ShutdownRequest) req = CONTAINERD__TASK__V2__SHUTDOWN_REQUEST__INIT;
	req.id = f->sid;
	req.now = true;
	return call(f, "Shutdown", &req, NULL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(shut_down(f), 0);
	assert_pod_gone(f->sid);
	loop_stop(f->loop);
	pthread_join(f->thread, NULL);
	rpc_client_free(f->client);
	worker_pool_free(f->workers);
	rpc_server_free(f->server);
	runtime_free(f->task.runtime);
	fake_agent_free(f->agent);
	loop_free(f->loop);
	assert_int_equal(remove_tree(f->dir), 0);
	pthread_mutex_destroy(&f->lock);
	free(f);
	return 0;
}

/* ---- Requests ----------------------------------------------------------------------------------
 */

static const char *hooks = "";	/* of the next bundle's spec */
static const char *mounts = ""; /* likewise */
static const char *netns;	/* path of its network namespace, or NULL */

static void write_bundle(struct fixture *f, const char *id, const char *args)
{
	char path[160], json[2048], network[128] = "";
	if (netns)
		(void)snprintf(network, sizeof network, "{\"type\":\"network\",\"path\":\"%s\"},",
			       netns);
	(void)snprintf(path, sizeof path, "%s/%s/rootfs", f->dir, id);
	assert_int_equal(mkdir_parents(path, 0755), 0);
	(void)snprintf(json, sizeof json,
		       "{\"ociVersion\":\"1.0.2\",\"process\":{\"user\":{\"uid\":0,\"gid\":0},"
		       "\"args\":[%s],\"env\":[\"PATH=/bin\"],\"cwd\":\"/\"},"
		       "%s\"root\":{\"path\":\"rootfs\"},\"hostname\":\"h\",\"mounts\":[%s],"
		       "\"linux\":{\"namespaces\":[%s{\"type\":\"pid\"},{\"type\":\"mount\"},"
		       "{\"type\":\"uts\"}]}}",
		       args, hooks, mounts, network);
	(void)snprintf(path, sizeof path, "%s/%s/config.json", f->dir, id);
	assert_int_equal(file_replace(path, json, strlen(json), 0600), 0);
}

struct out {
	char path[160];
	int fd;
};

static void make_fifo(struct fixture *f, struct out *o, const char *name, int flags)
{
	(void)snprintf(o->path, sizeof o->path, "%s/%s", f->dir, name);
	(void)unlink(o->path);
	assert_int_equal(mkfifo(o->path, 0600), 0);
	o->fd = open(o->path, flags | O_CLOEXEC | O_NONBLOCK);
	assert_true(o->fd >= 0);
}

static void read_all(struct out *o, char *ret, size_t size)
{
	size_t n = 0;
	assert_int_equal(fd_set_nonblock(o->fd, false), 0);
	for (ssize_t got; (got = read(o->fd, ret + n, size - 1 - n)) > 0; n += (size_t)got)
		;
	ret[n] = '\0';
	close(o->fd);
}

/* What a CreateTaskRequest points to. */
struct create_text {
	char bundle[160];
	uint8_t packed[256];
	Google__Protobuf__Any options;
};

static void fill_create(struct fixture *f, const char *id, const char *args,
			TASK(CreateTaskRequest) * req, struct create_text *text)
{
	write_bundle(f, id, args);
	(void)snprintf(text->bundle, sizeof text->bundle, "%s/%s", f->dir, id);
	/* runtimeoptions.v1.Options{config_path} by hand: field 2, a string */
	int n = snprintf((char *)text->packed + 2, sizeof text->packed - 2, "%s/c.toml", f->dir);
	text->packed[0] = 0x12;
	text->packed[1] = (uint8_t)n;
	text->options = (Google__Protobuf__Any)GOOGLE__PROTOBUF__ANY__INIT;
	text->options.type_url = "runtimeoptions.v1.Options";
	text->options.value.data = text->packed;
	text->options.value.len = (size_t)n + 2;
	req->id = (char *)id;
	req->bundle = text->bundle;
	req->options = &text->options;
}

static int create_with(struct fixture *f, const char *id, const char *args, const char *in,
		       const char *out)
{
	TASK(CreateTaskRequest) req = CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;
	struct create_text text;

	fill_create(f, id, args, &req, &text);
	req.stdin = (char *)in;
	req.stdout = (char *)out;
	return call(f, "Create", &req, NULL);
}

static int create(struct fixture *f, const char *id, const char *args)
{
	return create_with(f, id, args, "", "");
}

static int start(struct fixture *f, const char *id, const char *exec_id)
{
	TASK(StartRequest) req = CONTAINERD__TASK__V2__START_REQUEST__INIT;
	req.id = (char *)id;
	req.exec_id = (char *)exec_id;
	return call(f, "Start", &req, NULL);
}

static int exec(struct fixture *f, const char *id, const char *exec_id, const char *args,
		const char *out)
{
	TASK(ExecProcessRequest) req = CONTAINERD__TASK__V2__EXEC_PROCESS_REQUEST__INIT;
	Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;
	char json[512];
	int n = snprintf(json, sizeof json,
			 "{\"user\":{\"uid\":0,\"gid\":0},\"args\":[%s],\"cwd\":\"/\"}", args);
	spec.type_url = "types.containerd.io/opencontainers/runtime-spec/1/Process";
	spec.value.data = (uint8_t *)json;
	spec.value.len = (size_t)n;
	req.id = (char *)id;
	req.exec_id = (char *)exec_id;
	req.stdout = (char *)out;
	req.spec = &spec;
	return call(f, "Exec", &req, NULL);
}

/* Returns the exit status, or the negative status code. */
static int wait_for(struct fixture *f, const char *id, const char *exec_id)
{
	TASK(WaitRequest) req = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
	TASK(WaitResponse) *response = NULL;
	req.id = (char *)id;
	req.exec_id = (char *)exec_id;
	int r = call(f, "Wait", &req, &response);
	if (r == 0) {
		r = (int)response->exit_status;
		assert_true(response->exited_at->seconds > 1600000000);
		containerd__task__v2__wait_response__free_unpacked(response, NULL);
	}
	return r;
}

static int delete_task(struct fixture *f, const char *id, const char *exec_id)
{
	TASK(DeleteRequest) req = CONTAINERD__TASK__V2__DELETE_REQUEST__INIT;
	TASK(DeleteResponse) *response = NULL;
	req.id = (char *)id;
	req.exec_id = (char *)exec_id;
	int r = call(f, "Delete", &req, &response);
	if (r == 0) {
		r = (int)response->exit_status;
		containerd__task__v2__delete_response__free_unpacked(response, NULL);
	}
	return r;
}

static int kill_task(struct fixture *f, const char *id, const char *exec_id, uint32_t signum)
{
	TASK(KillRequest) req = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;
	req.id = (char *)id;
	req.exec_id = (char *)exec_id;
	req.signal = signum;
	return call(f, "Kill", &req, NULL);
}

/* Returns the wire status, or the negative status code. */
static int state_of(struct fixture *f, const char *id, const char *exec_id)
{
	TASK(StateRequest) req = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
	TASK(StateResponse) *response = NULL;
	req.id = (char *)id;
	req.exec_id = (char *)exec_id;
	int r = call(f, "State", &req, &response);
	if (r == 0) {
		r = (int)response->status;
		containerd__task__v2__state_response__free_unpacked(response, NULL);
	}
	return r;
}

static void assert_events(struct fixture *f, const char *expected)
{
	pthread_mutex_lock(&f->lock);
	assert_string_equal(f->events, expected);
	pthread_mutex_unlock(&f->lock);
}

enum { CREATED = 1, RUNNING = 2, STOPPED = 3, PAUSED = 4 };

/* ---- Tests --------------------------------------------------------------------------------------
 */

static void a_life_in_order(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create(f, "c1", "\"exit\",\"42\""), 0);
	assert_int_equal(state_of(f, "c1", ""), CREATED);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(wait_for(f, "c1", ""), 42);
	assert_int_equal(wait_for(f, "c1", "c1"), 42); /* again, and by the init's other name */
	assert_int_equal(state_of(f, "c1", ""), STOPPED);
	assert_int_equal(delete_task(f, "c1", ""), 42);
	assert_int_equal(state_of(f, "c1", ""), -STATUS_NOT_FOUND);
	assert_int_equal(delete_task(f, "c1", ""), -STATUS_NOT_FOUND);
	assert_events(f, "create:c1 start:c1 exit:c1 delete:c1 ");
	assert_int_equal(fake_agent_calls(f->agent, "RemoveContainer"), 1);
}

static void wrong_states_are_refused_and_change_nothing(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(start(f, "nope", ""), -STATUS_NOT_FOUND);
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_int_equal(create(f, "c1", "\"run\""), -STATUS_ALREADY_EXISTS);
	assert_int_equal(exec(f, "c1", "e1", "\"run\"", ""), -STATUS_FAILED_PRECONDITION);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(start(f, "c1", ""), -STATUS_FAILED_PRECONDITION);
	assert_int_equal(state_of(f, "c1", ""), RUNNING);
	assert_int_equal(delete_task(f, "c1", ""), -STATUS_FAILED_PRECONDITION);
	assert_non_null(strstr(f->e.text, "container c1 is running: it must be stopped"));
	assert_int_equal(exec(f, "c1", "e1", "\"run\"", ""), 0);
	assert_int_equal(exec(f, "c1", "e1", "\"run\"", ""), -STATUS_ALREADY_EXISTS);
	assert_int_equal(state_of(f, "c1", "e1"), CREATED);
	assert_int_equal(kill_task(f, "c1", "e1", SIGUSR1), -STATUS_FAILED_PRECONDITION);
	assert_int_equal(state_of(f, "c1", "e2"), -STATUS_NOT_FOUND);
	assert_int_equal(kill_task(f, "c1", "", 0), 0); /* it lives */
	assert_int_equal(kill_task(f, "c1", "", 65), -STATUS_INVALID_ARGUMENT);
	assert_int_equal(state_of(f, "../x", ""), -STATUS_INVALID_ARGUMENT);
	assert_int_equal(kill_task(f, "c1", "", SIGKILL), 0);
	assert_int_equal(wait_for(f, "c1", ""), 137);
	assert_int_equal(start(f, "c1", ""), -STATUS_FAILED_PRECONDITION);
	assert_int_equal(kill_task(f, "c1", "", 0), -STATUS_NOT_FOUND);
}

static void an_end_may_be_asked_for_twice(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(kill_task(f, "nope", "", SIGKILL), 0);
	assert_int_equal(kill_task(f, "nope", "", SIGTERM), 0);
	assert_int_equal(kill_task(f, "nope", "", SIGUSR1), -STATUS_NOT_FOUND);
	assert_int_equal(create(f, "c1", "\"exit\",\"0\""), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(wait_for(f, "c1", ""), 0);
	assert_int_equal(kill_task(f, "c1", "", SIGTERM), 0);
	assert_int_equal(kill_task(f, "c1", "", SIGUSR1), -STATUS_NOT_FOUND);
}

static void an_exec_has_its_own_life(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(exec(f, "c1", "e1", "\"exit\",\"5\"", ""), 0);
	assert_int_equal(start(f, "c1", "e1"), 0);
	assert_int_equal(wait_for(f, "c1", "e1"), 5);
	assert_int_equal(delete_task(f, "c1", "e1"), 5);
	assert_int_equal(state_of(f, "c1", "e1"), -STATUS_NOT_FOUND);
	assert_int_equal(exec(f, "c1", "e2", "\"fail-create\"", ""), 0);
	assert_int_equal(start(f, "c1", "e2"), -STATUS_NOT_FOUND);
	assert_int_equal(delete_task(f, "c1", "e2"), 255);
	assert_int_equal(state_of(f, "c1", ""), RUNNING);
	assert_events(f, "create:c1 start:c1 exec-added:c1/e1 exec-started:c1/e1 exit:c1/e1 "
			 "delete:c1/e1 exec-added:c1/e2 delete:c1/e2 ");
}

static void output_arrives_whole_before_its_end(void **state)
{
	struct fixture *f = *state;
	struct out o;
	char text[64];
	make_fifo(f, &o, "out", O_RDONLY);
	assert_int_equal(create_with(f, "c1", "\"print\",\"the last byte\"", "", o.path), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(wait_for(f, "c1", ""), 0);
	read_all(&o, text, sizeof text);
	assert_string_equal(text, "the last byte");
	assert_int_equal(delete_task(f, "c1", ""), 0);
}

static void input_ends_when_containerd_says_so(void **state)
{
	struct fixture *f = *state;
	struct out in, o;
	char text[64];
	TASK(CloseIORequest) close_io = CONTAINERD__TASK__V2__CLOSE_IOREQUEST__INIT;
	make_fifo(f, &o, "out", O_RDONLY);
	make_fifo(f, &in, "in", O_RDWR);
	assert_int_equal(create_with(f, "c1", "\"cat\"", in.path, o.path), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(write(in.fd, "hello", 5), 5);
	close(in.fd);
	assert_int_equal(state_of(f, "c1", ""), RUNNING); /* a client that leaves ends nothing */
	close_io.id = "c1";
	close_io.stdin = true;
	assert_int_equal(call(f, "CloseIO", &close_io, NULL), 0);
	assert_int_equal(wait_for(f, "c1", ""), 0);
	read_all(&o, text, sizeof text);
	assert_string_equal(text, "hello");
}

static void a_reader_that_never_comes_delays_only_delete(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create(f, "c1", "\"hold\",\"text\""), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(wait_for(f, "c1", ""), 0);
	assert_int_equal(delete_task(f, "c1", ""), 0); /* bounded by the drain timeout */
}

static void a_create_that_fails_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	char path[256];
	assert_int_equal(create(f, "c1", "\"fail-create\""), -STATUS_NOT_FOUND);
	assert_non_null(strstr(f->e.text, "executable file not found"));
	(void)snprintf(path, sizeof path, "%s/%s/rw/passthrough/c1", SHARE_FS_HOST_DIR, f->sid);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(state_of(f, "c1", ""), -STATUS_NOT_FOUND);
	/* the sandbox lives, and the name is free again */
	assert_int_equal(create(f, "c1", "\"exit\",\"1\""), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(wait_for(f, "c1", ""), 1);
}

static void a_boot_that_fails_leaves_nothing_and_may_be_tried_again(void **state)
{
	struct fixture *f = *state;
	write_config(f, "start=fail:no memory for you");
	assert_true(create(f, "c1", "\"run\"") < 0);
	assert_non_null(strstr(f->e.text, "no memory for you"));
	assert_pod_gone(f->sid);
	write_config(f, "");
	assert_int_equal(create(f, "c1", "\"exit\",\"3\""), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(wait_for(f, "c1", ""), 3);
}

static void a_start_that_fails_ends_the_container(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create(f, "c1", "\"fail-start\""), 0);
	assert_int_equal(start(f, "c1", ""), -STATUS_INTERNAL);
	assert_int_equal(state_of(f, "c1", ""), STOPPED);
	assert_int_equal(wait_for(f, "c1", ""), 255);
	assert_int_equal(start(f, "c1", ""), -STATUS_FAILED_PRECONDITION);
	assert_int_equal(delete_task(f, "c1", ""), 255);
	assert_events(f, "create:c1 exit:c1 delete:c1 ");
}

static void a_kill_before_the_start_is_an_end(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_int_equal(kill_task(f, "c1", "", SIGKILL), 0);
	assert_int_equal(wait_for(f, "c1", ""), 137);
	assert_int_equal(state_of(f, "c1", ""), STOPPED);
	assert_int_equal(delete_task(f, "c1", ""), 137);
	assert_int_equal(create(f, "c2", "\"run\""), 0);
	assert_int_equal(delete_task(f, "c2", ""), 137); /* one that never ran may be deleted */
	assert_events(f, "create:c1 exit:c1 delete:c1 create:c2 delete:c2 ");
}

static void a_bad_spec_is_refused_by_its_field(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create(f, "c1", "7"), -STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(f->e.text, "process.args[0]"));
	assert_pod_gone(f->sid);
}

/* A hook that appends its name and the status that it was told to a file. */
static size_t add_hook(char *json, size_t size, const char *list, const char *file, int code)
{
	return (size_t)snprintf(json, size,
				"\"%s\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"echo %s "
				"$(sed 's/.*status[^a-z]*//;s/[^a-z].*//') >>%s; exit %d\"],"
				"\"env\":[\"PATH=/bin:/usr/bin\"]}]",
				list, list, file, code);
}

static void hooks_run_in_order_and_may_refuse(void **state)
{
	struct fixture *f = *state;
	static const char *const lists[] = {"prestart", "createRuntime", "createContainer",
					    "poststart", "poststop"};
	char json[2048] = "\"hooks\":{", file[128];
	size_t n = strlen(json);
	(void)snprintf(file, sizeof file, "%s/hooks", f->dir);
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		n += add_hook(json + n, sizeof json - n, lists[i], file, 0);
		json[n++] = i + 1 < ARRAY_SIZE(lists) ? ',' : '}';
	}
	(void)snprintf(json + n, sizeof json - n, ",");
	hooks = json;
	assert_int_equal(create(f, "c1", "\"exit\",\"0\""), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(wait_for(f, "c1", ""), 0);
	assert_int_equal(delete_task(f, "c1", ""), 0);
	_cleanup_buf_ struct buf b = BUF_INIT;
	assert_int_equal(file_read(AT_FDCWD, file, 4096, &b), 0);
	assert_string_equal(b.data, "prestart creating\ncreateRuntime creating\n"
				    "createContainer creating\npoststart running\n"
				    "poststop stopped\n");

	n = (size_t)snprintf(json, sizeof json, "\"hooks\":{");
	n += add_hook(json + n, sizeof json - n, "createRuntime", file, 7);
	(void)snprintf(json + n, sizeof json - n, "},");
	assert_true(create(f, "c2", "\"exit\",\"0\"") < 0);
	assert_non_null(strstr(f->e.text, "createRuntime"));
	assert_int_equal(state_of(f, "c2", ""), -STATUS_NOT_FOUND);

	/* what was run before a failure is undone by those that run last */
	assert_int_equal(unlink(file), 0);
	n = (size_t)snprintf(json, sizeof json, "\"hooks\":{");
	n += add_hook(json + n, sizeof json - n, "prestart", file, 0);
	json[n++] = ',';
	n += add_hook(json + n, sizeof json - n, "createContainer", file, 1);
	json[n++] = ',';
	n += add_hook(json + n, sizeof json - n, "poststop", file, 0);
	(void)snprintf(json + n, sizeof json - n, "},");
	assert_true(create(f, "c3", "\"exit\",\"0\"") < 0);
	buf_clear(&b);
	assert_int_equal(file_read(AT_FDCWD, file, 4096, &b), 0);
	assert_string_equal(b.data, "prestart creating\ncreateContainer creating\n"
				    "poststop stopped\n");
	hooks = "";
}

static void a_hook_of_the_container_has_the_pods_network(void **state)
{
	struct fixture *f = *state;
	char json[1024], file[128], path[64], ours[64] = "", theirs[64] = "", expected[200];
	int ready[2];
	(void)snprintf(file, sizeof file, "%s/hooks", f->dir);
	(void)snprintf(
		json, sizeof json,
		"\"hooks\":{\"createRuntime\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\","
		"\"readlink /proc/self/ns/net >>%s\"]}],\"createContainer\":[{\"path\":"
		"\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"readlink /proc/self/ns/net >>%s\"]}]},",
		file, file);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNET) < 0 || write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	assert_int_equal(read(ready[0], path, 1), 1);
	(void)close(ready[0]);
	(void)close(ready[1]);
	(void)snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
	assert_true(readlink(path, theirs, sizeof theirs - 1) > 0);
	assert_true(readlink("/proc/self/ns/net", ours, sizeof ours - 1) > 0);
	netns = path;
	hooks = json;
	assert_int_equal(create(f, "c1", "\"exit\",\"0\""), 0);
	netns = NULL;
	hooks = "";
	_cleanup_buf_ struct buf b = BUF_INIT;
	assert_int_equal(file_read(AT_FDCWD, file, 4096, &b), 0);
	(void)snprintf(expected, sizeof expected, "%s\n%s\n", ours, theirs);
	assert_string_equal(b.data, expected);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

static pid_t pid_of(struct fixture *f, const char *id)
{
	TASK(StateRequest) req = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
	TASK(StateResponse) *response = NULL;
	req.id = (char *)id;
	assert_int_equal(call(f, "State", &req, &response), 0);
	pid_t pid = (pid_t)response->pid;
	containerd__task__v2__state_response__free_unpacked(response, NULL);
	return pid;
}

static void assert_same_netns(const char *path, pid_t pid, bool same)
{
	char other[64];
	struct stat a, b;
	(void)snprintf(other, sizeof other, "/proc/%d/ns/net", (int)pid);
	assert_int_equal(stat(path, &a), 0);
	assert_int_equal(stat(other, &b), 0);
	assert_int_equal(a.st_ino == b.st_ino, same);
}

/* This agent cannot forward ports, so there is no socket that would only accept to refuse. */
static void assert_nothing_listens(pid_t pid)
{
	static const char *const tables[] = {"tcp", "tcp6"};
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		_cleanup_buf_ struct buf b = BUF_INIT;
		char path[64];
		(void)snprintf(path, sizeof path, "/proc/%d/net/%s", (int)pid, tables[i]);
		assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &b), 0);
		assert_null(strstr(b.data, " 0A "));
	}
}

/* A file that is a network namespace of its own; undone by drop_netns(). */
static void make_netns(struct fixture *f, char *path, size_t size)
{
	(void)snprintf(path, size, "%s/netns", f->dir);
	assert_int_equal(file_replace(path, "", 0, 0600), 0);
	int back = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	assert_int_equal(mount("/proc/thread-self/ns/net", path, NULL, MS_BIND, NULL), 0);
	assert_int_equal(setns(back, CLONE_NEWNET), 0);
	close(back);
	netns = path;
}

static void drop_netns(void)
{
	assert_int_equal(umount2(netns, MNT_DETACH), 0);
	assert_int_equal(unlink(netns), 0);
	netns = NULL;
}

static void the_machine_runs_in_the_pods_network_namespace(void **state)
{
	struct fixture *f = *state;
	char path[128];
	make_netns(f, path, sizeof path);
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_same_netns(path, pid_of(f, "c1"), true);
	assert_same_netns(path, getpid(), false);
	assert_nothing_listens(pid_of(f, "c1"));
	drop_netns();
}

static void disable_new_netns_keeps_the_machine_with_the_shim(void **state)
{
	struct fixture *f = *state;
	char path[128], config[160];
	make_netns(f, path, sizeof path);
	(void)snprintf(config, sizeof config, "%s/c.toml", f->dir);
	size_t n = strlen(f->config);
	(void)snprintf(f->config + n, sizeof f->config - n, "disable_new_netns = true\n");
	assert_int_equal(file_replace(config, f->config, strlen(f->config), 0600), 0);
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_same_netns(path, pid_of(f, "c1"), false);
	assert_same_netns("/proc/self/ns/net", pid_of(f, "c1"), true);
	drop_netns();
}

static void a_network_namespace_that_is_none_is_refused(void **state)
{
	struct fixture *f = *state;
	netns = "/no/such/netns";
	assert_int_equal(create(f, "c1", "\"run\""), -STATUS_NOT_FOUND);
	assert_non_null(strstr(f->e.text, "open network namespace /no/such/netns"));
	netns = "/etc/passwd";
	assert_int_equal(create(f, "c1", "\"run\""), -STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(f->e.text, "/etc/passwd is not a network namespace"));
	assert_pod_gone(f->sid);
	netns = NULL;
	assert_int_equal(create(f, "c1", "\"run\""), 0);
}

static void the_guest_gets_the_pods_dns_whole(void **state)
{
	struct fixture *f = *state;
	static const char text[] = "# of the cluster\nsearch a.example b.example\n"
				   "nameserver 10.0.0.10\nnameserver 10.0.0.11\n"
				   "options ndots:5\n";
	char path[128], json[256], sandbox[256];
	(void)snprintf(path, sizeof path, "%s/resolv.conf", f->dir);
	assert_int_equal(file_replace(path, text, strlen(text), 0644), 0);
	(void)snprintf(json, sizeof json,
		       "{\"destination\":\"/etc/resolv.conf\",\"type\":\"bind\","
		       "\"source\":\"%s\",\"options\":[\"rbind\",\"ro\"]}",
		       path);
	mounts = json;
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	mounts = "";
	fake_agent_sandbox(f->agent, sandbox, sizeof sandbox);
	assert_string_equal(sandbox, "h|search a.example b.example|nameserver 10.0.0.10|"
				     "nameserver 10.0.0.11|options ndots:5");
}

static void pause_and_resume_check_the_state(void **state)
{
	struct fixture *f = *state;
	TASK(PauseRequest) p = CONTAINERD__TASK__V2__PAUSE_REQUEST__INIT;
	TASK(ResumeRequest) r = CONTAINERD__TASK__V2__RESUME_REQUEST__INIT;
	p.id = r.id = "c1";
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_int_equal(call(f, "Pause", &p, NULL), -STATUS_FAILED_PRECONDITION);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(call(f, "Pause", &p, NULL), 0);
	assert_int_equal(state_of(f, "c1", ""), PAUSED);
	assert_int_equal(call(f, "Pause", &p, NULL), -STATUS_FAILED_PRECONDITION);
	assert_int_equal(exec(f, "c1", "e1", "\"run\"", ""), -STATUS_FAILED_PRECONDITION);
	assert_int_equal(delete_task(f, "c1", ""), -STATUS_FAILED_PRECONDITION);
	assert_int_equal(call(f, "Resume", &r, NULL), 0);
	assert_int_equal(call(f, "Resume", &r, NULL), -STATUS_FAILED_PRECONDITION);
	assert_events(f, "create:c1 start:c1 paused:c1 resumed:c1 ");
}

static void a_machine_that_dies_ends_every_process(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(exec(f, "c1", "e1", "\"run\"", ""), 0);
	assert_int_equal(start(f, "c1", "e1"), 0);
	fake_agent_hang_up(f->agent);
	assert_int_equal(wait_for(f, "c1", ""), 255);
	assert_int_equal(wait_for(f, "c1", "e1"), 255);
	assert_int_equal(kill_task(f, "c1", "", SIGKILL), 0);
	assert_int_equal(create(f, "c2", "\"run\""), -STATUS_FAILED_PRECONDITION);
	assert_int_equal(delete_task(f, "c1", "e1"), 255);
	assert_int_equal(delete_task(f, "c1", ""), 255);
}

static void a_pod_has_several_containers(void **state)
{
	struct fixture *f = *state;
	TASK(ShutdownRequest) req = CONTAINERD__TASK__V2__SHUTDOWN_REQUEST__INIT;
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_int_equal(create(f, "c2", "\"exit\",\"2\""), 0);
	assert_int_equal(fake_agent_calls(f->agent, "CreateSandbox"), 1);
	assert_int_equal(start(f, "c2", ""), 0);
	assert_int_equal(wait_for(f, "c2", ""), 2);
	assert_int_equal(delete_task(f, "c2", ""), 2);
	/* a Shutdown for a member does not take the others down */
	req.id = "c2";
	assert_int_equal(call(f, "Shutdown", &req, NULL), 0);
	assert_false(f->down);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(state_of(f, "c1", ""), RUNNING);
}

static void statistics_come_through(void **state)
{
	struct fixture *f = *state;
	TASK(StatsRequest) req = CONTAINERD__TASK__V2__STATS_REQUEST__INIT;
	TASK(StatsResponse) *response = NULL;
	req.id = "c1";
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_int_equal(call(f, "Stats", &req, &response), 0);
	assert_non_null(strstr(response->stats->type_url, "io.containerd.cgroups.v"));
	assert_true(response->stats->value.len > 0);
	containerd__task__v2__stats_response__free_unpacked(response, NULL);
}

static void processes_are_the_guests_where_its_agent_lists_them(void **state)
{
	struct fixture *f = *state;
	TASK(PidsRequest) req = CONTAINERD__TASK__V2__PIDS_REQUEST__INIT;
	TASK(PidsResponse) *response = NULL;
	req.id = "c1";
	assert_int_equal(call(f, "Pids", &req, NULL), -STATUS_NOT_FOUND);
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(exec(f, "c1", "e1", "\"run\"", ""), 0);
	assert_int_equal(start(f, "c1", "e1"), 0);
	assert_int_equal(call(f, "Pids", &req, &response), 0);
	assert_int_equal(response->n_processes, early_wait ? 2 : 1);
	assert_null(response->processes[0]->info);
	if (early_wait) {
		const Google__Protobuf__Any *info = response->processes[1]->info;
		assert_int_equal(response->processes[0]->pid, 101);
		assert_int_equal(response->processes[1]->pid, 102);
		assert_string_equal(info->type_url, "containerd.runc.v1.ProcessDetails");
		assert_int_equal(info->value.len, 4);
		assert_memory_equal(info->value.data, "\n\2e1", 4);
	}
	containerd__task__v2__pids_response__free_unpacked(response, NULL);
	assert_int_equal(kill_task(f, "c1", "", SIGKILL), 0);
	assert_int_equal(wait_for(f, "c1", ""), 137);
	assert_int_equal(call(f, "Pids", &req, &response), 0);
	/* a shim without pids counts as leaked with a containerd that has just started */
	assert_int_equal(response->n_processes, 1);
	containerd__task__v2__pids_response__free_unpacked(response, NULL);
}

static int update(struct fixture *f, const char *id, const char *type_url, const char *json)
{
	TASK(UpdateTaskRequest) req = CONTAINERD__TASK__V2__UPDATE_TASK_REQUEST__INIT;
	Google__Protobuf__Any resources = GOOGLE__PROTOBUF__ANY__INIT;
	resources.type_url = (char *)type_url;
	resources.value.data = (uint8_t *)json;
	resources.value.len = strlen(json);
	req.id = (char *)id;
	req.resources = &resources;
	return call(f, "Update", &req, NULL);
}

static void an_update_must_be_one_of_linux(void **state)
{
	struct fixture *f = *state;
	const char *type = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
	const char *windows = "types.containerd.io/opencontainers/runtime-spec/1/WindowsResources";
	const char *json = "{\"memory\":{\"limit\":33554432}}";
	assert_int_equal(update(f, "c1", type, json), -STATUS_NOT_FOUND);
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_int_equal(update(f, "c1", type, json), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(update(f, "c1", type, json), 0);
	assert_int_equal(update(f, "c1", "", json), 0);
	assert_int_equal(update(f, "c1", windows, json), -STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(f->e.text, "must be a LinuxResources"));
	assert_int_equal(update(f, "c1", type, "{"), -STATUS_INVALID_ARGUMENT);
	assert_int_equal(update(f, "c1", type, ""), -STATUS_INVALID_ARGUMENT);
	assert_int_equal(fake_agent_calls(f->agent, "UpdateContainer"), 3);
	assert_int_equal(kill_task(f, "c1", "", SIGKILL), 0);
	assert_int_equal(wait_for(f, "c1", ""), 137);
	assert_int_equal(update(f, "c1", type, json), -STATUS_FAILED_PRECONDITION);
}

static void all_means_the_container(void **state)
{
	struct fixture *f = *state;
	TASK(KillRequest) req = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(exec(f, "c1", "e1", "\"run\"", ""), 0);
	assert_int_equal(start(f, "c1", "e1"), 0);
	req.id = "c1";
	req.exec_id = "e1";
	req.signal = SIGKILL;
	req.all = true;
	assert_int_equal(call(f, "Kill", &req, NULL), 0);
	assert_int_equal(wait_for(f, "c1", ""), 137);
}

static void terminals_are_resized_where_there_are_any(void **state)
{
	struct fixture *f = *state;
	TASK(ResizePtyRequest) req = CONTAINERD__TASK__V2__RESIZE_PTY_REQUEST__INIT;
	TASK(CloseIORequest) close_io = CONTAINERD__TASK__V2__CLOSE_IOREQUEST__INIT;
	req.id = "c1";
	req.width = 120;
	req.height = 40;
	assert_int_equal(call(f, "ResizePty", &req, NULL), -STATUS_NOT_FOUND);
	assert_int_equal(create(f, "c1", "\"exit\",\"0\""), 0);
	assert_int_equal(call(f, "ResizePty", &req, NULL), 0); /* there is nothing to resize */
	assert_int_equal(fake_agent_calls(f->agent, "TtyWinResize"), 0);
	close_io.id = "c1";
	close_io.stdin = true;
	assert_int_equal(call(f, "CloseIO", &close_io, NULL), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(wait_for(f, "c1", ""), 0);
	assert_int_equal(call(f, "CloseIO", &close_io, NULL), 0); /* nothing is left to close */
	close_io.exec_id = "nope";
	assert_int_equal(call(f, "CloseIO", &close_io, NULL), -STATUS_NOT_FOUND);
}

static void out_of_memory_is_told_before_its_end(void **state)
{
	struct fixture *f = *state;
	/* "oom-late" is what agents do that promise no order */
	const char *args = early_wait ? "\"oom\"" : "\"oom-late\"";
	assert_int_equal(create(f, "c1", args), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(wait_for(f, "c1", ""), 137);
	assert_events(f, "create:c1 start:c1 oom:c1 exit:c1 ");
	assert_int_equal(create(f, "c2", args), 0);
	assert_int_equal(start(f, "c2", ""), 0);
	assert_int_equal(wait_for(f, "c2", ""), 137);
	assert_events(f, "create:c1 start:c1 oom:c1 exit:c1 create:c2 start:c2 oom:c2 exit:c2 ");
	assert_int_equal(delete_task(f, "c1", ""), 137);
}

static void a_refusal_to_tell_of_memory_is_no_reason_to_ask_on_and_on(void **state)
{
	struct fixture *f = *state;
	fake_agent_refuse_oom(f->agent, STATUS_INTERNAL);
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	(void)usleep(300000);
	assert_int_equal(fake_agent_calls(f->agent, "GetOOMEvent"), 1);
	assert_int_equal(state_of(f, "c1", ""), RUNNING);
}

static void an_agent_that_hangs_is_given_up(void **state)
{
	struct fixture *f = *state;
	agent_keys = "health_check_request_timeout_ms = 600\n";
	write_config(f, "");
	agent_keys = "";
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	(void)usleep(1000000);
	assert_true(fake_agent_calls(f->agent, "Check") > 1);
	assert_int_equal(state_of(f, "c1", ""), RUNNING);
	fake_agent_fall_silent(f->agent);
	assert_int_equal(wait_for(f, "c1", ""), 255);
	assert_events(f, "create:c1 start:c1 exit:c1 ");
	assert_int_equal(state_of(f, "c1", ""), STOPPED);
	assert_int_equal(create(f, "c2", "\"run\""), -STATUS_FAILED_PRECONDITION);
	assert_non_null(strstr(f->e.text, "did not answer a health check within 600 ms"));
	assert_int_equal(delete_task(f, "c1", ""), 255);
}

/* ---- Clients that go away
 * ------------------------------------------------------------------------
 */

struct serve {
	struct fixture *f;
	int fd;
	bool done;
};

static void serve_on_loop(void *arg)
{
	struct serve *s = arg;
	assert_int_equal(rpc_server_serve(s->f->server, s->fd), 0);
	pthread_mutex_lock(&s->f->lock);
	s->done = true;
	pthread_mutex_unlock(&s->f->lock);
}

/* Another client's connection: the raw socket. */
static int dial(struct fixture *f)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	struct serve s = {.f = f, .fd = pair[0]};
	assert_int_equal(loop_post(f->loop, serve_on_loop, &s), 0);
	for (bool done = false; !done; (void)usleep(1000)) {
		pthread_mutex_lock(&f->lock);
		done = s.done;
		pthread_mutex_unlock(&f->lock);
	}
	return pair[1];
}

static void put_field(struct buf *b, unsigned number, const void *data, size_t len)
{
	const uint8_t head[] = {(uint8_t)(number << 3 | 2), (uint8_t)(len & 0x7f) | 0x80,
				(uint8_t)(len >> 7)};
	buf_append(b, head, sizeof head);
	buf_append(b, data, len);
}

/* Sends a request, whole, and closes the connection @ms later without reading the answer. */
static void ask_and_leave(struct fixture *f, const char *method, const void *message, unsigned ms)
{
	static const char service[] = "containerd.task.v2.Task";
	uint8_t packed[1024];
	_cleanup_buf_ struct buf b = BUF_INIT;
	const ProtobufCMessage *m = message;
	int fd = dial(f);

	assert_true(protobuf_c_message_get_packed_size(m) < sizeof packed);
	size_t n = protobuf_c_message_pack(m, packed);
	put_field(&b, 1, service, strlen(service));
	put_field(&b, 2, method, strlen(method));
	put_field(&b, 3, packed, n);
	const uint8_t head[10] = {0, 0, (uint8_t)(b.len >> 8), (uint8_t)b.len, 0, 0, 0, 1, 1, 0};
	assert_int_equal(write(fd, head, sizeof head), sizeof head);
	assert_int_equal(write(fd, b.data, b.len), b.len);
	(void)usleep(ms * 1000);
	(void)close(fd);
}

/* Waits for a state that comes without further asking. */
static void await_state(struct fixture *f, const char *id, const char *exec_id, int wanted)
{
	for (int i = 0; i < 10000; i++) {
		if (state_of(f, id, exec_id) == wanted)
			return;
		(void)usleep(1000);
	}
	fail_msg("%s/%s is %d, not %d", id, exec_id, state_of(f, id, exec_id), wanted);
}

/* When the client leaves: at once, while the guest works, and after its answer. */
static const unsigned moments_ms[] = {0, 5, 40, 150};
#define SLOW_MS 60

static void a_create_goes_on_without_its_client(void **state)
{
	struct fixture *f = *state;
	fake_agent_be_slow(f->agent, SLOW_MS);
	for (size_t i = 0; i < ARRAY_SIZE(moments_ms); i++) {
		TASK(CreateTaskRequest) req = CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;
		struct create_text text;
		char id[16];
		(void)snprintf(id, sizeof id, "c%zu", i);
		fill_create(f, id, "\"run\"", &req, &text);
		ask_and_leave(f, "Create", &req, moments_ms[i]);
		/* the one that comes back finds it, at work or done */
		(void)usleep(1000);
		assert_int_equal(call(f, "Create", &req, NULL), -STATUS_ALREADY_EXISTS);
		assert_int_equal(state_of(f, id, ""), CREATED);
		while (start(f, id, "") == -STATUS_FAILED_PRECONDITION)
			(void)usleep(1000); /* is being created */
		assert_int_equal(state_of(f, id, ""), RUNNING);
		assert_int_equal(kill_task(f, id, "", SIGKILL), 0);
		assert_int_equal(wait_for(f, id, ""), 137);
		assert_int_equal(delete_task(f, id, ""), 137);
		assert_int_equal(state_of(f, id, ""), -STATUS_NOT_FOUND);
	}
	assert_int_equal(fake_agent_calls(f->agent, "CreateSandbox"), 1);
	assert_int_equal(fake_agent_calls(f->agent, "CreateContainer"), ARRAY_SIZE(moments_ms));
	assert_int_equal(fake_agent_calls(f->agent, "RemoveContainer"), ARRAY_SIZE(moments_ms));
}

static void a_start_goes_on_without_its_client(void **state)
{
	struct fixture *f = *state;
	for (size_t i = 0; i < ARRAY_SIZE(moments_ms); i++) {
		TASK(StartRequest) req = CONTAINERD__TASK__V2__START_REQUEST__INIT;
		fake_agent_be_slow(f->agent, 0);
		assert_int_equal(create(f, "c1", "\"run\""), 0);
		fake_agent_be_slow(f->agent, SLOW_MS);
		req.id = "c1";
		ask_and_leave(f, "Start", &req, moments_ms[i]);
		await_state(f, "c1", "", RUNNING);
		assert_int_equal(start(f, "c1", ""), -STATUS_FAILED_PRECONDITION);
		assert_int_equal(kill_task(f, "c1", "", SIGKILL), 0);
		assert_int_equal(delete_task(f, "c1", ""), 137);
	}
	assert_int_equal(fake_agent_calls(f->agent, "StartContainer"), ARRAY_SIZE(moments_ms));
}

static void an_exec_goes_on_without_its_client(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	fake_agent_be_slow(f->agent, SLOW_MS);
	for (size_t i = 0; i < ARRAY_SIZE(moments_ms); i++) {
		TASK(StartRequest) req = CONTAINERD__TASK__V2__START_REQUEST__INIT;
		TASK(WaitRequest) wait = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
		assert_int_equal(exec(f, "c1", "e1", "\"exit\",\"6\"", ""), 0);
		req.id = wait.id = "c1";
		req.exec_id = wait.exec_id = "e1";
		ask_and_leave(f, "Wait", &wait, 0);
		ask_and_leave(f, "Start", &req, moments_ms[i]);
		await_state(f, "c1", "e1", STOPPED);
		assert_int_equal(wait_for(f, "c1", "e1"), 6);
		assert_int_equal(delete_task(f, "c1", "e1"), 6);
	}
	assert_int_equal(fake_agent_calls(f->agent, "ExecProcess"), ARRAY_SIZE(moments_ms));
	assert_int_equal(state_of(f, "c1", ""), RUNNING);
}

static void a_delete_goes_on_without_its_client(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create(f, "c0", "\"run\""), 0); /* else the pod would end with c1 */
	for (size_t i = 0; i < ARRAY_SIZE(moments_ms); i++) {
		TASK(DeleteRequest) req = CONTAINERD__TASK__V2__DELETE_REQUEST__INIT;
		fake_agent_be_slow(f->agent, 0);
		assert_int_equal(create(f, "c1", "\"exit\",\"4\""), 0);
		assert_int_equal(start(f, "c1", ""), 0);
		assert_int_equal(wait_for(f, "c1", ""), 4);
		fake_agent_be_slow(f->agent, SLOW_MS);
		req.id = "c1";
		ask_and_leave(f, "Delete", &req, moments_ms[i]);
		int r = delete_task(f, "c1", ""); /* the same answer, or it is gone */
		assert_true(r == 4 || r == -STATUS_NOT_FOUND);
		assert_int_equal(state_of(f, "c1", ""), -STATUS_NOT_FOUND);
	}
	assert_int_equal(fake_agent_calls(f->agent, "RemoveContainer"), ARRAY_SIZE(moments_ms));
	assert_events(f,
		      "create:c0 create:c1 start:c1 exit:c1 delete:c1 create:c1 start:c1 exit:c1 "
		      "delete:c1 "
		      "create:c1 start:c1 exit:c1 delete:c1 create:c1 start:c1 exit:c1 delete:c1 ");
}

static void a_kill_goes_on_without_its_client(void **state)
{
	struct fixture *f = *state;
	for (size_t i = 0; i < ARRAY_SIZE(moments_ms); i++) {
		TASK(KillRequest) req = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;
		fake_agent_be_slow(f->agent, 0);
		assert_int_equal(create(f, "c1", "\"run\""), 0);
		assert_int_equal(start(f, "c1", ""), 0);
		fake_agent_be_slow(f->agent, SLOW_MS);
		req.id = "c1";
		req.signal = SIGTERM;
		ask_and_leave(f, "Kill", &req, moments_ms[i]);
		assert_int_equal(wait_for(f, "c1", ""), 128 + SIGTERM);
		assert_int_equal(delete_task(f, "c1", ""), 128 + SIGTERM);
	}
	assert_int_equal(fake_agent_calls(f->agent, "SignalProcess"), ARRAY_SIZE(moments_ms));
}

/* A rm -f that comes while the guest boots, from the successor of a client that was killed. */
static void a_delete_during_the_creation_waits_for_it(void **state)
{
	struct fixture *f = *state;
	TASK(CreateTaskRequest) req = CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;
	struct create_text text;
	assert_int_equal(create(f, "c0", "\"run\""), 0);
	fake_agent_be_slow(f->agent, 200);
	fill_create(f, "c1", "\"run\"", &req, &text);
	ask_and_leave(f, "Create", &req, 0);
	(void)usleep(1000);
	assert_int_equal(delete_task(f, "c1", ""), 137);
	assert_int_equal(state_of(f, "c1", ""), -STATUS_NOT_FOUND);
	assert_events(f, "create:c0 create:c1 delete:c1 ");

	fill_create(f, "c4", "\"run\"", &req, &text);
	ask_and_leave(f, "Create", &req, 0);
	(void)usleep(1000);
	assert_int_equal(kill_task(f, "c4", "", SIGKILL), 0);
	assert_int_equal(wait_for(f, "c4", ""), 137);
	assert_int_equal(delete_task(f, "c4", ""), 137);

	fill_create(f, "c2", "\"fail-create\"", &req, &text);
	ask_and_leave(f, "Create", &req, 0);
	(void)usleep(1000);
	assert_int_equal(delete_task(f, "c2", ""), -STATUS_NOT_FOUND);
	fill_create(f, "c3", "\"fail-create\"", &req, &text);
	ask_and_leave(f, "Create", &req, 0);
	(void)usleep(1000);
	assert_int_equal(wait_for(f, "c3", ""), -STATUS_NOT_FOUND); /* not for ever */
	assert_int_equal(state_of(f, "c0", ""), CREATED);
	fake_agent_be_slow(f->agent, 0);
}

static bool is_down(struct fixture *f)
{
	for (int i = 0; i < 10000; i++) {
		pthread_mutex_lock(&f->lock);
		bool down = f->down;
		pthread_mutex_unlock(&f->lock);
		if (down)
			return true;
		(void)usleep(1000);
	}
	return false;
}

static void a_pod_that_nobody_could_be_told_of_ends_by_itself(void **state)
{
	struct fixture *f = *state;
	TASK(CreateTaskRequest) req = CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;
	struct create_text text;
	fake_agent_be_slow(f->agent, SLOW_MS);
	fill_create(f, "c1", "\"fail-create\"", &req, &text);
	ask_and_leave(f, "Create", &req, 0);
	assert_true(is_down(f));
	assert_pod_gone(f->sid);
}

static void a_pod_whose_last_delete_was_not_heard_ends_by_itself(void **state)
{
	struct fixture *f = *state;
	TASK(DeleteRequest) req = CONTAINERD__TASK__V2__DELETE_REQUEST__INIT;
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	fake_agent_be_slow(f->agent, SLOW_MS);
	req.id = "c1";
	ask_and_leave(f, "Delete", &req, 0);
	assert_true(is_down(f));
	assert_pod_gone(f->sid);
	assert_events(f, "create:c1 delete:c1 ");
}

/* ---- An agent that takes its time --------------------------------------------------------------
 */

#define LATE_MS 8000

static void h_an_agent_that_is_late_is_waited_for(void **state)
{
	struct fixture *f = *state;
	fake_agent_be_late(f->agent, LATE_MS);
	uint64_t begun = time_now_ms();
	assert_int_equal(create(f, "c1", "\"exit\",\"42\""), 0);
	assert_true(time_now_ms() - begun > LATE_MS / 2);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(wait_for(f, "c1", ""), 42);
}

/* A socket that takes connections, and says nothing. */
struct mute {
	int fd, conns[64];
	size_t n;
	pthread_t thread;
};

static void *take_and_be_silent(void *arg)
{
	struct mute *m = arg;
	int fd;
	while ((fd = accept4(m->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		assert_true(m->n < ARRAY_SIZE(m->conns));
		m->conns[m->n++] = fd;
	}
	return NULL;
}

static void mute_start(struct mute *m, const char *path)
{
	struct err e = ERR_INIT;
	*m = (struct mute){.fd = rpc_listen_unix(path, 0, &e)};
	assert_true(m->fd >= 0);
	assert_int_equal(fd_set_nonblock(m->fd, false), 0);
	assert_int_equal(pthread_create(&m->thread, NULL, take_and_be_silent, m), 0);
}

static void mute_stop(struct mute *m)
{
	(void)shutdown(m->fd, SHUT_RDWR);
	pthread_join(m->thread, NULL);
	(void)close(m->fd);
	for (size_t i = 0; i < m->n; i++)
		(void)close(m->conns[i]);
}

/* Create must fail soon after the 10 s that every guest is given, and leave nothing. */
static void fail_with_a_mute(struct fixture *f, const char *script, const char *sentence)
{
	char path[96];
	struct mute m;
	(void)snprintf(path, sizeof path, "%s/mute.sock", f->dir);
	mute_start(&m, path);
	fake_agent_path = path;
	write_config(f, script);
	fake_agent_path = NULL;
	uint64_t begun = time_now_ms();
	int r = create(f, "c1", "\"run\"");
	uint64_t took = time_now_ms() - begun;
	mute_stop(&m);
	assert_int_equal(r, -STATUS_DEADLINE_EXCEEDED);
	assert_true(m.n > 0);
	assert_non_null(strstr(f->e.text, sentence));
	assert_true(took >= 9000 && took < 18000);
	assert_pod_gone(f->sid);
	assert_events(f, "");
	write_config(f, "");
	assert_int_equal(create(f, "c1", "\"exit\",\"3\""), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(wait_for(f, "c1", ""), 3);
}

static void h_a_muxer_that_never_answers_is_given_up(void **state)
{
	fail_with_a_mute(*state, "agent=hybrid",
			 "boot the guest: the agent did not answer on port 1024 within 10000 ms");
}

static void h_an_agent_that_never_answers_is_given_up(void **state)
{
	fail_with_a_mute(*state, "", "boot the guest: the agent's health check: Check: no reply");
}

static void h_create_container_timeout_bounds_a_create(void **state)
{
	struct fixture *f = *state;
	char path[256];
	agent_keys = "create_container_timeout = 2\n";
	write_config(f, "");
	agent_keys = "";
	assert_int_equal(create(f, "c0", "\"run\""), 0);
	uint64_t begun = time_now_ms();
	assert_int_equal(create(f, "c1", "\"never-create\""), -STATUS_DEADLINE_EXCEEDED);
	uint64_t took = time_now_ms() - begun;
	assert_true(took >= 2000 && took < 12000);
	assert_non_null(strstr(f->e.text, "create_container_timeout in [agent.kata] has passed: "
					  "CreateContainer: no reply within 2000 ms"));
	(void)snprintf(path, sizeof path, "%s/%s/rw/passthrough/c1", SHARE_FS_HOST_DIR, f->sid);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(state_of(f, "c1", ""), -STATUS_NOT_FOUND);
	assert_events(f, "create:c0 ");
	/* its name is free, in the guest too, and its neighbour has felt nothing */
	assert_int_equal(create(f, "c1", "\"exit\",\"1\""), 0);
	assert_int_equal(fake_agent_calls(f->agent, "RemoveContainer"), 1);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_int_equal(wait_for(f, "c1", ""), 1);
	assert_int_equal(start(f, "c0", ""), 0);
	assert_int_equal(state_of(f, "c0", ""), RUNNING);
}

static void h_create_container_timeout_of_the_first_ends_the_pod_whole(void **state)
{
	struct fixture *f = *state;
	agent_keys = "create_container_timeout = 2\n";
	write_config(f, "");
	agent_keys = "";
	assert_int_equal(create(f, "c1", "\"never-create\""), -STATUS_DEADLINE_EXCEEDED);
	assert_non_null(strstr(f->e.text, "create_container_timeout"));
	assert_int_equal(state_of(f, "c1", ""), -STATUS_NOT_FOUND);
	assert_events(f, "");
	/* what containerd does now; teardown looks for what is left */
	assert_int_equal(delete_task(f, "c1", ""), -STATUS_NOT_FOUND);
}

static void h_create_container_timeout_bounds_starts_too(void **state)
{
	struct fixture *f = *state;
	agent_keys = "create_container_timeout = 2\n";
	write_config(f, "");
	agent_keys = "";
	assert_int_equal(create(f, "c1", "\"never-start\""), 0);
	assert_int_equal(start(f, "c1", ""), -STATUS_DEADLINE_EXCEEDED);
	assert_non_null(strstr(f->e.text, "StartContainer: no reply before the deadline"));
	assert_int_equal(delete_task(f, "c1", ""), 255);
	assert_int_equal(create(f, "c2", "\"run\""), 0);
	assert_int_equal(start(f, "c2", ""), 0);
	assert_int_equal(exec(f, "c2", "e1", "\"never-create\"", ""), 0);
	assert_int_equal(start(f, "c2", "e1"), -STATUS_DEADLINE_EXCEEDED);
	assert_non_null(strstr(f->e.text, "ExecProcess: no reply before the deadline"));
	assert_int_equal(delete_task(f, "c2", "e1"), 255);
	assert_int_equal(state_of(f, "c2", ""), RUNNING);
}

/* ---- The state for people
 * ------------------------------------------------------------------------
 */

static json_t *load_state(const struct fixture *f)
{
	char path[256];
	(void)snprintf(path, sizeof path, "%s/%s/state.json", SANDBOX_RUN_DIR, f->sid);
	json_t *v = json_load_file(path, JSON_DECODE_INT_AS_REAL, NULL);
	assert_non_null(v);
	return v;
}

/* "c1 running e1 created ", of all containers and execs. */
static void assert_state(const struct fixture *f, const char *expected)
{
	char got[256] = "";
	size_t i, k;
	json_t *v = load_state(f), *c, *x;
	json_array_foreach (json_object_get(v, "containers"), i, c) {
		size_t n = strlen(got);
		(void)snprintf(got + n, sizeof got - n, "%s %s ",
			       json_string_value(json_object_get(c, "id")),
			       json_string_value(json_object_get(c, "state")));
		json_array_foreach (json_object_get(c, "execs"), k, x) {
			n = strlen(got);
			(void)snprintf(got + n, sizeof got - n, "%s %s ",
				       json_string_value(json_object_get(x, "id")),
				       json_string_value(json_object_get(x, "state")));
		}
	}
	assert_string_equal(got, expected);
	json_decref(v);
}

static void g1_the_state_is_valid_after_every_change(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_state(f, "c1 created ");
	json_t *v = load_state(f), *h = json_object_get(v, "hypervisor");
	assert_string_equal(json_string_value(json_object_get(h, "hypervisor_type")), "fake");
	assert_true(json_number_value(json_object_get(h, "pid")) > 1);
	assert_true(json_number_value(json_object_get(h, "virtiofs_daemon_pid")) > 1);
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(h, "config"), "shared_fs")),
		"virtio-fs");
	json_decref(v);
	assert_int_equal(start(f, "c1", ""), 0);
	assert_state(f, "c1 running ");
	assert_int_equal(exec(f, "c1", "e1", "\"exit\",\"0\"", ""), 0);
	assert_state(f, "c1 running e1 created ");
	assert_int_equal(create(f, "c2", "\"exit\",\"0\""), 0);
	assert_state(f, "c1 running e1 created c2 created ");
	assert_int_equal(start(f, "c1", "e1"), 0);
	assert_int_equal(wait_for(f, "c1", "e1"), 0);
	assert_state(f, "c1 running e1 stopped c2 created ");
	assert_int_equal(delete_task(f, "c1", "e1"), 0);
	assert_state(f, "c1 running c2 created ");
	assert_int_equal(delete_task(f, "c2", ""), 137);
	assert_state(f, "c1 running ");
	assert_int_equal(create(f, "c3", "\"fail-create\""), -STATUS_NOT_FOUND);
	assert_state(f, "c1 running ");
}

/* Several hundred execs: the file is large by then, and still follows, a moment later. */
static void a_large_state_is_written_less_often(void **state)
{
	struct fixture *f = *state;
	char id[16];
	assert_int_equal(create(f, "c1", "\"run\""), 0);
	assert_int_equal(start(f, "c1", ""), 0);
	for (int i = 0; i < 1500; i++) {
		(void)snprintf(id, sizeof id, "e%d", i);
		assert_int_equal(exec(f, "c1", id, "\"run\"", ""), 0);
	}
	size_t n = 0;
	for (int i = 0; i < 5000 && n != 1500; i++) {
		json_t *v = load_state(f);
		n = json_array_size(json_object_get(
			json_array_get(json_object_get(v, "containers"), 0), "execs"));
		json_decref(v);
		(void)usleep(1000);
	}
	assert_int_equal(n, 1500);
}

/* ---- */

static int own_namespace(void)
{
	return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0 &&
			       mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL) == 0
		       ? 0
		       : -1;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_life_in_order),
		TEST(wrong_states_are_refused_and_change_nothing),
		TEST(an_end_may_be_asked_for_twice),
		TEST(an_exec_has_its_own_life),
		TEST(output_arrives_whole_before_its_end),
		TEST(input_ends_when_containerd_says_so),
		TEST(a_create_that_fails_leaves_nothing),
		TEST(a_boot_that_fails_leaves_nothing_and_may_be_tried_again),
		TEST(a_start_that_fails_ends_the_container),
		TEST(a_kill_before_the_start_is_an_end),
		TEST(a_bad_spec_is_refused_by_its_field),
		TEST(hooks_run_in_order_and_may_refuse),
		TEST(a_hook_of_the_container_has_the_pods_network),
		TEST(the_machine_runs_in_the_pods_network_namespace),
		TEST(disable_new_netns_keeps_the_machine_with_the_shim),
		TEST(a_network_namespace_that_is_none_is_refused),
		TEST(the_guest_gets_the_pods_dns_whole),
		TEST(pause_and_resume_check_the_state),
		TEST(a_machine_that_dies_ends_every_process),
		TEST(a_pod_has_several_containers),
		TEST(statistics_come_through),
		TEST(processes_are_the_guests_where_its_agent_lists_them),
		TEST(an_update_must_be_one_of_linux),
		TEST(all_means_the_container),
		TEST(terminals_are_resized_where_there_are_any),
		TEST(out_of_memory_is_told_before_its_end),
		TEST(a_refusal_to_tell_of_memory_is_no_reason_to_ask_on_and_on),
		TEST(an_agent_that_hangs_is_given_up),
		TEST(a_create_goes_on_without_its_client),
		TEST(a_start_goes_on_without_its_client),
		TEST(an_exec_goes_on_without_its_client),
		TEST(a_delete_goes_on_without_its_client),
		TEST(a_kill_goes_on_without_its_client),
		TEST(a_delete_during_the_creation_waits_for_it),
		TEST(a_pod_that_nobody_could_be_told_of_ends_by_itself),
		TEST(a_pod_whose_last_delete_was_not_heard_ends_by_itself),
		TEST(g1_the_state_is_valid_after_every_change),
		TEST(a_large_state_is_written_less_often),
	};
	if (geteuid() != 0 || own_namespace() < 0) {
		(void)fprintf(stderr, "test-task mounts things: run it as root\n");
		return 1;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	if (getenv("TEST_LOG")) {
		log_add_sink(log_sink_fd, (void *)(intptr_t)STDERR_FILENO);
		log_set_level(LOG_DEBUG);
	}
	/* The field's agent cannot tell an end before the output is taken; ours can. */
	const struct CMUnitTest early_wait_tests[] = {
		TEST(a_reader_that_never_comes_delays_only_delete),
		/* of no meaning for that, and slow */
		TEST(h_an_agent_that_is_late_is_waited_for),
		TEST(h_a_muxer_that_never_answers_is_given_up),
		TEST(h_an_agent_that_never_answers_is_given_up),
		TEST(h_create_container_timeout_bounds_a_create),
		TEST(h_create_container_timeout_of_the_first_ends_the_pod_whole),
		TEST(h_create_container_timeout_bounds_starts_too),
	};
	/* once with an agent that has our extensions, once with one like the field's */
	int failed = RUN_TESTS();
	failed += cmocka_run_group_tests(early_wait_tests, NULL, NULL);
	early_wait = false;
	return failed + RUN_TESTS();
}
