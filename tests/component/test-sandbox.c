/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox service, and tasks that join its pod: real ttrpc, real mounts and a real virtiofsd,
 * with the fake hypervisor and the fake agent in place of a machine. Needs root.
 */
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "io/testing.h"
#include "io/worker.h"
#include "rpc/any.h"
#include "rpc/rpc.h"
#include "runtimes/sandbox.h"
#include "service/sandbox.h"
#include "service/task.h"
#include "tests/component/service-client.h"
#include "tests/fakes/agent.h"

#include "proto/cgroups_v1.pb-c.h"
#include "proto/cgroups_v2.pb-c.h"
#include "proto/cri_sandbox.pb-c.h"
#include "proto/runtimeoptions.pb-c.h"
#include "proto/sandbox_service.pb-c.h"
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

#define TASK(name) Containerd__Task__V2__##name
#define SANDBOX(name) Containerd__Runtime__Sandbox__V1__##name

struct fixture {
	char dir[64], sid[32], bundle[96], config[128];
	struct loop *loop;
	pthread_t thread;
	struct worker_pool *workers;
	struct rpc_server *server;
	struct rpc_client *client, *other;
	struct fake_agent *agent;
	struct task_service task;
	struct sandbox_service sandbox;
	pthread_mutex_t lock;
	char events[4096];
	bool down;
	struct err e;
};

static unsigned serial;

/* ---- Fixture ----------------------------------------------------------------------------------
 */

static void on_event(void *arg, enum task_event_type type, const struct task_state *state,
		     const struct task_create *create)
{
	static const char *const names[] = {"create", "start",	"exec-added", "exec-started",
					    "exit",   "delete", "paused",     "resumed"};
	struct fixture *f = list_entry(arg, struct fixture, task);
	pthread_mutex_lock(&f->lock);
	size_t n = strlen(f->events);
	(void)snprintf(f->events + n, sizeof f->events - n, "%s:%s%s%s%s ", names[type], state->id,
		       state->exec_id[0] ? "/" : "", state->exec_id,
		       type == TASK_EVENT_EXIT && state->exit_status == 255 ? "=255" : "");
	pthread_mutex_unlock(&f->lock);
}

static void on_shutdown(void *arg)
{
	struct fixture *f = arg;
	pthread_mutex_lock(&f->lock);
	f->down = true;
	pthread_mutex_unlock(&f->lock);
}

static bool is_down(struct fixture *f)
{
	pthread_mutex_lock(&f->lock);
	bool down = f->down;
	pthread_mutex_unlock(&f->lock);
	return down;
}

static void write_config(struct fixture *f, const char *script)
{
	char text[2048];
	(void)snprintf(text, sizeof text,
		       "[hypervisor.fake]\n"
		       "shared_fs = \"virtio-fs\"\n"
		       "virtio_fs_daemon = \"/usr/lib/qemu/virtiofsd\"\n"
		       "fake_script = \"%s\"\n"
		       "fake_agent_socket = \"%s/agent.sock\"\n"
		       "guest_hook_path = \"/usr/share/hooks\"\n"
		       "[agent.kata]\n"
		       "[runtime]\n"
		       "name = \"virt_container\"\n"
		       "hypervisor_name = \"fake\"\n"
		       "agent_name = \"kata\"\n",
		       script, f->dir);
	assert_int_equal(file_replace(f->config, text, strlen(text), 0600), 0);
}

static struct rpc_client *connect_client(struct fixture *f)
{
	struct rpc_client *client;
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(rpc_server_serve(f->server, pair[0]), 0);
	assert_int_equal(rpc_client_new(f->loop, pair[1], NULL, NULL, &client), 0);
	return client;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	char path[128];

	*state = f;
	(void)snprintf(f->dir, sizeof f->dir, "/tmp/test-sandbox.XXXXXX");
	(void)snprintf(f->sid, sizeof f->sid, "cs%d-%u", (int)getpid(), serial++);
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->bundle, sizeof f->bundle, "%s/bundle", f->dir);
	(void)snprintf(f->config, sizeof f->config, "%s/c.toml", f->dir);
	assert_int_equal(mkdir_parents(f->bundle, 0700), 0);
	pthread_mutex_init(&f->lock, NULL);
	write_config(f, "");
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(worker_pool_new(3, 0, &f->workers), 0);
	(void)snprintf(path, sizeof path, "%s/agent.sock", f->dir);
	assert_int_equal(fake_agent_new(f->loop, path, true, &f->agent), 0);
	const struct runtime_params params = {.loop = f->loop,
					      .workers = f->workers,
					      .sandbox_id = f->sid,
					      .namespace = "ns",
					      .config_file = f->config, /* as `start` was told */
					      .on_event = on_event,
					      .arg = &f->task};
	assert_int_equal(runtime_new(&params, &f->task.runtime), 0);
	f->task.on_shutdown = on_shutdown;
	f->task.arg = f;
	f->sandbox = (struct sandbox_service){.runtime = f->task.runtime,
					      .sandbox_id = f->sid,
					      .on_shutdown = on_shutdown,
					      .arg = f};
	assert_int_equal(rpc_server_new(f->loop, &f->server), 0);
	assert_int_equal(task_service_register(&f->task, f->server), 0);
	assert_int_equal(sandbox_service_register(&f->sandbox, f->server), 0);
	f->client = connect_client(f);
	f->other = connect_client(f);
	assert_int_equal(testing_loop_start(f->loop, &f->thread), 0);
	return 0;
}

/* One call; returns 0 or the negative status code. */
static int call_by(struct fixture *f, struct rpc_client *client,
		   const ProtobufCServiceDescriptor *service, const char *name, const char *method,
		   const void *message, void *ret_response)
{
	const struct rpc_request req = {
		.service = service,
		.service_name = name,
		.method = method,
		.message = message,
		.timeout_ms = 30000,
	};
	return service_call(client, &req, ret_response, &f->e);
}

static int call(struct fixture *f, const char *method, const void *message, void *ret_response)
{
	return call_by(f, f->client, &containerd__runtime__sandbox__v1__sandbox__descriptor, NULL,
		       method, message, ret_response);
}

static int task_call(struct fixture *f, const char *method, const void *message, void *ret_response)
{
	return call_by(f, f->client, &containerd__task__v2__task__descriptor,
		       "containerd.task.v3.Task", method, message, ret_response);
}

/* Every request has the id as its first field. */
static int call_with_id(struct fixture *f, const char *method, char *id)
{
	const ProtobufCMethodDescriptor *m = protobuf_c_service_descriptor_get_method_by_name(
		&containerd__runtime__sandbox__v1__sandbox__descriptor, method);
	_cleanup_free_ ProtobufCMessage *req = calloc(1, m->input->sizeof_message);
	assert_non_null(req);
	protobuf_c_message_init(m->input, req);
	*(char **)((char *)req + m->input->fields[0].offset) = id;
	return call(f, method, req, NULL);
}

static int shut_down(struct fixture *f)
{
	return call_with_id(f, "ShutdownSandbox", f->sid);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(shut_down(f), 0);
	assert_true(is_down(f));
	assert_pod_gone(f->sid);
	loop_stop(f->loop);
	pthread_join(f->thread, NULL);
	rpc_client_free(f->client);
	rpc_client_free(f->other);
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

/* ---- Requests to the sandbox -------------------------------------------------------------------
 */

static int create_with(struct fixture *f, const ProtobufCMessage *options)
{
	SANDBOX(CreateSandboxRequest)
	req = CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	if (options)
		assert_int_equal(rpc_any_pack(&any, options, NULL), 0);
	req.sandbox_id = f->sid;
	req.bundle_path = f->bundle;
	req.options = options ? &any : NULL;
	int r = call(f, "CreateSandbox", &req, NULL);
	rpc_any_clear(&any);
	return r;
}

static int start(struct fixture *f)
{
	SANDBOX(StartSandboxRequest)
	req = CONTAINERD__RUNTIME__SANDBOX__V1__START_SANDBOX_REQUEST__INIT;
	SANDBOX(StartSandboxResponse) *response = NULL;
	req.sandbox_id = f->sid;
	int r = call(f, "StartSandbox", &req, &response);
	if (r == 0) {
		r = (int)response->pid;
		assert_true(r > 1);
		assert_true(response->created_at->seconds > 1600000000);
		protobuf_c_message_free_unpacked(&response->base, NULL);
	}
	return r;
}

static int stop(struct fixture *f, uint32_t timeout_secs)
{
	SANDBOX(StopSandboxRequest)
	req = CONTAINERD__RUNTIME__SANDBOX__V1__STOP_SANDBOX_REQUEST__INIT;
	req.sandbox_id = f->sid;
	req.timeout_secs = timeout_secs;
	return call(f, "StopSandbox", &req, NULL);
}

/* Returns the exit status, or the negative status code. */
static int wait_by(struct fixture *f, struct rpc_client *client)
{
	SANDBOX(WaitSandboxRequest)
	req = CONTAINERD__RUNTIME__SANDBOX__V1__WAIT_SANDBOX_REQUEST__INIT;
	SANDBOX(WaitSandboxResponse) *response = NULL;
	req.sandbox_id = f->sid;
	int r = call_by(f, client, &containerd__runtime__sandbox__v1__sandbox__descriptor, NULL,
			"WaitSandbox", &req, &response);
	if (r == 0) {
		r = (int)response->exit_status;
		assert_true(response->exited_at->seconds > 1600000000);
		protobuf_c_message_free_unpacked(&response->base, NULL);
	}
	return r;
}

static int wait_sandbox(struct fixture *f)
{
	return wait_by(f, f->client);
}

static SANDBOX(SandboxStatusResponse) * status_of(struct fixture *f, bool verbose)
{
	SANDBOX(SandboxStatusRequest)
	req = CONTAINERD__RUNTIME__SANDBOX__V1__SANDBOX_STATUS_REQUEST__INIT;
	SANDBOX(SandboxStatusResponse) *response = NULL;
	req.sandbox_id = f->sid;
	req.verbose = verbose;
	assert_int_equal(call(f, "SandboxStatus", &req, &response), 0);
	assert_string_equal(response->sandbox_id, f->sid);
	return response;
}

static void assert_status(struct fixture *f, const char *state, bool created, bool exited)
{
	SANDBOX(SandboxStatusResponse) *s = status_of(f, false);
	assert_string_equal(s->state, state);
	assert_int_equal(s->created_at != NULL, created);
	assert_int_equal(s->exited_at != NULL, exited);
	assert_int_equal(s->n_info, 0);
	protobuf_c_message_free_unpacked(&s->base, NULL);
}

static int ping(struct fixture *f)
{
	SANDBOX(PingRequest) req = CONTAINERD__RUNTIME__SANDBOX__V1__PING_REQUEST__INIT;
	req.sandbox_id = f->sid;
	return call(f, "PingSandbox", &req, NULL);
}

/* ---- Requests to tasks -------------------------------------------------------------------------
 */

static void write_bundle(struct fixture *f, const char *id, const char *args)
{
	char path[160], json[1024];
	(void)snprintf(path, sizeof path, "%s/%s/rootfs", f->dir, id);
	assert_int_equal(mkdir_parents(path, 0755), 0);
	(void)snprintf(json, sizeof json,
		       "{\"ociVersion\":\"1.0.2\",\"process\":{\"user\":{\"uid\":0,\"gid\":0},"
		       "\"args\":[%s],\"env\":[\"PATH=/bin\"],\"cwd\":\"/\"},"
		       "\"root\":{\"path\":\"rootfs\"},\"mounts\":[],"
		       "\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"mount\"}]}}",
		       args);
	(void)snprintf(path, sizeof path, "%s/%s/config.json", f->dir, id);
	assert_int_equal(file_replace(path, json, strlen(json), 0600), 0);
}

static int task_create(struct fixture *f, const char *id, const char *args)
{
	TASK(CreateTaskRequest) req = CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;
	char bundle[160];
	write_bundle(f, id, args);
	(void)snprintf(bundle, sizeof bundle, "%s/%s", f->dir, id);
	req.id = (char *)id;
	req.bundle = bundle;
	return task_call(f, "Create", &req, NULL);
}

static int task_start(struct fixture *f, const char *id)
{
	TASK(StartRequest) req = CONTAINERD__TASK__V2__START_REQUEST__INIT;
	req.id = (char *)id;
	return task_call(f, "Start", &req, NULL);
}

static void run(struct fixture *f, const char *id, const char *args)
{
	assert_int_equal(task_create(f, id, args), 0);
	assert_int_equal(task_start(f, id), 0);
}

static int task_wait(struct fixture *f, const char *id)
{
	TASK(WaitRequest) req = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
	TASK(WaitResponse) *response = NULL;
	req.id = (char *)id;
	int r = task_call(f, "Wait", &req, &response);
	if (r == 0) {
		r = (int)response->exit_status;
		protobuf_c_message_free_unpacked(&response->base, NULL);
	}
	return r;
}

static int task_delete(struct fixture *f, const char *id)
{
	TASK(DeleteRequest) req = CONTAINERD__TASK__V2__DELETE_REQUEST__INIT;
	TASK(DeleteResponse) *response = NULL;
	req.id = (char *)id;
	int r = task_call(f, "Delete", &req, &response);
	if (r == 0) {
		r = (int)response->exit_status;
		protobuf_c_message_free_unpacked(&response->base, NULL);
	}
	return r;
}

/* Returns the wire status, or the negative status code. */
static int task_state(struct fixture *f, const char *id)
{
	TASK(StateRequest) req = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
	TASK(StateResponse) *response = NULL;
	req.id = (char *)id;
	int r = task_call(f, "State", &req, &response);
	if (r == 0) {
		r = (int)response->status;
		protobuf_c_message_free_unpacked(&response->base, NULL);
	}
	return r;
}

/* As containerd does after each task's deletion. */
static int task_shutdown(struct fixture *f, const char *id)
{
	TASK(ShutdownRequest) req = CONTAINERD__TASK__V2__SHUTDOWN_REQUEST__INIT;
	req.id = (char *)id;
	return task_call(f, "Shutdown", &req, NULL);
}

/* How many processes Pids lists; or the negative status code. */
static int task_pids(struct fixture *f, const char *id)
{
	TASK(PidsRequest) req = CONTAINERD__TASK__V2__PIDS_REQUEST__INIT;
	TASK(PidsResponse) *response = NULL;
	req.id = (char *)id;
	int r = task_call(f, "Pids", &req, &response);
	if (r == 0) {
		r = (int)response->n_processes;
		protobuf_c_message_free_unpacked(&response->base, NULL);
	}
	return r;
}

static void assert_events(struct fixture *f, const char *expected)
{
	pthread_mutex_lock(&f->lock);
	assert_string_equal(f->events, expected);
	pthread_mutex_unlock(&f->lock);
}

enum { CREATED = 1, RUNNING = 2, STOPPED = 3 };

#define READY "SANDBOX_READY"
#define NOT_READY "SANDBOX_NOTREADY"

/* ---- Tests --------------------------------------------------------------------------------------
 */

static void a_life_in_order(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create_with(f, NULL), 0);
	assert_status(f, NOT_READY, false, false);
	assert_int_equal(task_state(f, f->sid), CREATED);
	assert_int_equal(task_create(f, "c1", "\"run\""), -STATUS_FAILED_PRECONDITION);
	assert_non_null(strstr(f->e.text, "has not been started"));
	assert_true(start(f) > 1);
	assert_status(f, READY, true, false);
	assert_int_equal(task_state(f, f->sid), RUNNING);
	assert_int_equal(task_pids(f, f->sid), 1); /* containerd asks at its own start */
	assert_int_equal(fake_agent_calls(f->agent, "CreateSandbox"), 1);
	assert_int_equal(fake_agent_calls(f->agent, "CreateContainer"), 0);
	assert_int_equal(ping(f), 0);

	run(f, "c1", "\"exit\",\"3\"");
	assert_int_equal(task_wait(f, "c1"), 3);
	assert_int_equal(task_delete(f, "c1"), 3);
	assert_int_equal(task_shutdown(f, "c1"), 0);
	assert_false(is_down(f)); /* the last task's end is not the sandbox' */
	assert_status(f, READY, true, false);

	assert_int_equal(stop(f, 0), 0);
	assert_status(f, NOT_READY, true, true);
	assert_int_equal(wait_sandbox(f), 0);
	assert_int_equal(task_state(f, f->sid), STOPPED);
	assert_int_equal(task_pids(f, f->sid), 1); /* never none */
	assert_int_equal(fake_agent_calls(f->agent, "DestroySandbox"), 1);
	assert_events(f, "create:c1 start:c1 exit:c1 delete:c1 ");
}

static void nothing_is_known_before_create(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(call_with_id(f, "SandboxStatus", f->sid), -STATUS_NOT_FOUND);
	assert_int_equal(call_with_id(f, "SandboxMetrics", f->sid), -STATUS_NOT_FOUND);
	assert_int_equal(start(f), -STATUS_NOT_FOUND);
	assert_int_equal(stop(f, 0), -STATUS_NOT_FOUND);
	assert_int_equal(wait_sandbox(f), -STATUS_NOT_FOUND);
	assert_int_equal(ping(f), -STATUS_NOT_FOUND);
	assert_int_equal(task_state(f, f->sid), -STATUS_NOT_FOUND);
	/* the teardown's ShutdownSandbox works all the same: containerd sends it when Create fails
	 */
}

static void another_id_is_unknown(void **state)
{
	struct fixture *f = *state;
	static const char *const methods[] = {"StartSandbox",	 "Platform",	  "StopSandbox",
					      "WaitSandbox",	 "SandboxStatus", "PingSandbox",
					      "ShutdownSandbox", "SandboxMetrics"};
	static char *const ids[] = {"other", "", "../x"};
	SANDBOX(CreateSandboxRequest)
	create = CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__INIT;
	assert_int_equal(create_with(f, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(methods); k++)
			assert_int_equal(call_with_id(f, methods[k], ids[i]), -STATUS_NOT_FOUND);
		create.sandbox_id = ids[i];
		create.bundle_path = f->bundle;
		assert_int_equal(call(f, "CreateSandbox", &create, NULL), -STATUS_INVALID_ARGUMENT);
	}
	assert_false(is_down(f));
}

static void wrong_states_are_refused_and_change_nothing(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create_with(f, NULL), 0);
	assert_int_equal(create_with(f, NULL), -STATUS_ALREADY_EXISTS);
	assert_int_equal(ping(f), -STATUS_FAILED_PRECONDITION);
	assert_true(start(f) > 1);
	assert_int_equal(start(f), -STATUS_FAILED_PRECONDITION);
	assert_non_null(strstr(f->e.text, "has been started"));
	assert_int_equal(create_with(f, NULL), -STATUS_ALREADY_EXISTS);
	assert_int_equal(task_create(f, f->sid, "\"run\""), -STATUS_ALREADY_EXISTS);
	assert_status(f, READY, true, false);
	assert_int_equal(stop(f, 0), 0);
	assert_int_equal(start(f), -STATUS_FAILED_PRECONDITION);
	assert_non_null(strstr(f->e.text, "was stopped"));
	assert_int_equal(task_create(f, "c1", "\"run\""), -STATUS_FAILED_PRECONDITION);
	assert_int_equal(ping(f), -STATUS_FAILED_PRECONDITION);
	assert_int_equal(create_with(f, NULL), -STATUS_ALREADY_EXISTS);
}

static void a_pod_that_a_task_brought_up_is_no_sandbox(void **state)
{
	struct fixture *f = *state;
	run(f, "c1", "\"run\"");
	assert_int_equal(create_with(f, NULL), -STATUS_ALREADY_EXISTS);
	assert_non_null(strstr(f->e.text, "a task has brought it up"));
	assert_int_equal(task_state(f, "c1"), RUNNING);
}

static void bad_requests_are_refused_by_their_field(void **state)
{
	struct fixture *f = *state;
	SANDBOX(CreateSandboxRequest)
	req = CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__INIT;
	Containerd__Types__Mount mount = CONTAINERD__TYPES__MOUNT__INIT;
	Containerd__Types__Mount *mounts[] = {&mount};
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	req.sandbox_id = f->sid;
	req.bundle_path = "relative";
	assert_int_equal(call(f, "CreateSandbox", &req, NULL), -STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(f->e.text, "bundle_path \"relative\""));
	req.bundle_path = f->bundle;
	req.netns_path = "netns";
	assert_int_equal(call(f, "CreateSandbox", &req, NULL), -STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(f->e.text, "netns_path \"netns\""));
	req.netns_path = "";
	req.rootfs = mounts;
	req.n_rootfs = 1;
	assert_int_equal(call(f, "CreateSandbox", &req, NULL), -STATUS_UNIMPLEMENTED);
	req.n_rootfs = 0;
	any.type_url = "type.googleapis.com/some.Thing";
	req.options = &any;
	assert_int_equal(call(f, "CreateSandbox", &req, NULL), -STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(f->e.text, "some.Thing"));
	any.type_url = "runtime.v1.PodSandboxConfig";
	any.value.data = (uint8_t *)"\xff\xff";
	any.value.len = 2;
	assert_int_equal(call(f, "CreateSandbox", &req, NULL), -STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(f->e.text, "cannot be decoded"));
	/* and none of them has made a sandbox */
	assert_int_equal(create_with(f, NULL), 0);
}

static void the_pods_config_reaches_the_guest(void **state)
{
	struct fixture *f = *state;
	char *servers[] = {"10.0.0.10", "fd00::a"}, *searches[] = {"a.example", "b.example"};
	char *options[] = {"ndots:5", "edns0"}, text[256], path[160];
	Runtime__V1__PodSandboxConfig c = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
	Runtime__V1__DNSConfig dns = RUNTIME__V1__DNSCONFIG__INIT;
	dns.servers = servers;
	dns.searches = searches;
	dns.options = options;
	dns.n_servers = dns.n_searches = dns.n_options = 2;
	c.hostname = "pod-1";
	c.dns_config = &dns;
	assert_int_equal(create_with(f, &c.base), 0);
	assert_true(start(f) > 1);
	fake_agent_sandbox(f->agent, text, sizeof text);
	assert_string_equal(text, "pod-1|search a.example b.example|nameserver 10.0.0.10|"
				  "nameserver fd00::a|options ndots:5 edns0|"
				  "hooks /usr/share/hooks");
	/* its containers see the same, as files of the host's that are shared */
	run(f, "c1", "\"run\"");
	fake_agent_mounts(f->agent, text, sizeof text);
	assert_string_equal(text, "/etc/hosts /etc/resolv.conf /etc/hostname ");
	_cleanup_buf_ struct buf b = BUF_INIT;
	(void)snprintf(path, sizeof path, "%s/hostname", f->bundle);
	assert_int_equal(file_read(AT_FDCWD, path, 100, &b), 0);
	assert_string_equal(b.data, "pod-1\n");
}

static void annotations_configure_the_machine(void **state)
{
	struct fixture *f = *state;
	SANDBOX(CreateSandboxRequest)
	req = CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__INIT;
	SANDBOX(CreateSandboxRequest__AnnotationsEntry)
	entry = CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__ANNOTATIONS_ENTRY__INIT;
	SANDBOX(CreateSandboxRequest__AnnotationsEntry) * entries[] = {&entry};
	entry.key = "io.katacontainers.config.runtime.internetworking_model";
	entry.value = "nonsense";
	req.sandbox_id = f->sid;
	req.bundle_path = f->bundle;
	req.annotations = entries;
	req.n_annotations = 1;
	assert_int_equal(call(f, "CreateSandbox", &req, NULL), 0);
	assert_int_equal(start(f), -STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(f->e.text, "nonsense"));
}

static void the_requests_own_configuration_wins(void **state)
{
	struct fixture *f = *state;
	Runtimeoptions__V1__Options o = RUNTIMEOPTIONS__V1__OPTIONS__INIT;
	o.config_path = "/no/such/configuration.toml";
	assert_int_equal(create_with(f, &o.base), 0);
	assert_true(start(f) < 0);
	assert_non_null(strstr(f->e.text, "/no/such/configuration.toml"));
	assert_pod_gone(f->sid);
	assert_status(f, NOT_READY, false, false);
}

static void a_spec_in_the_bundle_counts(void **state)
{
	struct fixture *f = *state;
	static const char bad[] = "{\"hostname\":7}";
	static const char json[] = "{\"ociVersion\":\"\",\"hostname\":\"from-spec\","
				   "\"annotations\":{\"a\":\"b\"}}";
	char path[160], text[256];
	(void)snprintf(path, sizeof path, "%s/config.json", f->bundle);
	assert_int_equal(file_replace(path, bad, strlen(bad), 0600), 0);
	assert_int_equal(create_with(f, NULL), -STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(f->e.text, "hostname is 7"));
	assert_int_equal(file_replace(path, json, strlen(json), 0600), 0);
	assert_int_equal(create_with(f, NULL), 0);
	assert_true(start(f) > 1);
	fake_agent_sandbox(f->agent, text, sizeof text);
	assert_string_equal(text, "from-spec|hooks /usr/share/hooks");
}

static void a_network_namespace_must_be_one(void **state)
{
	struct fixture *f = *state;
	SANDBOX(CreateSandboxRequest)
	req = CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__INIT;
	req.sandbox_id = f->sid;
	req.bundle_path = f->bundle;
	req.netns_path = "/no/such/netns";
	assert_int_equal(call(f, "CreateSandbox", &req, NULL), 0);
	assert_int_equal(start(f), -STATUS_NOT_FOUND);
	assert_non_null(strstr(f->e.text, "/no/such/netns"));
}

static void a_start_that_fails_leaves_nothing_and_may_be_tried_again(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create_with(f, NULL), 0);
	write_config(f, "start=fail:no memory for you");
	assert_true(start(f) < 0);
	assert_non_null(strstr(f->e.text, "no memory for you"));
	assert_pod_gone(f->sid);
	assert_status(f, NOT_READY, false, false);
	/* half-way: the machine runs, the agent does not answer */
	write_config(f, "agent=fail:no agent in here");
	assert_true(start(f) < 0);
	assert_non_null(strstr(f->e.text, "no agent in here"));
	assert_pod_gone(f->sid);
	write_config(f, "");
	assert_true(start(f) > 1);
	assert_status(f, READY, true, false);
	run(f, "c1", "\"run\"");
}

static void a_shutdown_without_a_start_is_fine(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create_with(f, NULL), 0);
}

static void a_stop_ends_the_containers_first(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create_with(f, NULL), 0);
	assert_true(start(f) > 1);
	run(f, "c1", "\"run\"");
	run(f, "c2", "\"run\"");
	assert_int_equal(task_create(f, "c3", "\"run\""), 0); /* never started: it has no end */
	assert_int_equal(stop(f, 20), 0);
	assert_events(f, "create:c1 start:c1 create:c2 start:c2 create:c3 exit:c1 exit:c2 ");
	assert_int_equal(fake_agent_calls(f->agent, "SignalProcess"), 2);
	assert_int_equal(task_wait(f, "c1"), 137);
	assert_int_equal(task_state(f, "c2"), STOPPED);
	/* again, and the tasks can be deleted afterwards */
	assert_int_equal(stop(f, 20), 0);
	assert_int_equal(task_delete(f, "c1"), 137);
	assert_int_equal(task_delete(f, "c2"), 137);
	assert_int_equal(task_delete(f, "c3"), 137);
	assert_int_equal(task_delete(f, "c3"), -STATUS_NOT_FOUND);
	assert_int_equal(wait_sandbox(f), 0);
}

static void a_stop_before_the_start_is_the_end(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create_with(f, NULL), 0);
	assert_int_equal(stop(f, 0), 0);
	assert_status(f, NOT_READY, false, true);
	assert_int_equal(wait_sandbox(f), 0);
	assert_int_equal(start(f), -STATUS_FAILED_PRECONDITION);
}

static void a_machine_that_hangs_is_stopped_in_time(void **state)
{
	struct fixture *f = *state;
	write_config(f, "power-off=never");
	assert_int_equal(create_with(f, NULL), 0);
	assert_true(start(f) > 1);
	run(f, "c1", "\"run\"");
	assert_int_equal(stop(f, 1), 0);
	assert_status(f, NOT_READY, true, true);
}

struct background {
	struct fixture *f;
	pthread_t thread;
	int (*fn)(struct fixture *f);
	int r;
	char text[ERR_TEXT_MAX];
};

static void *in_background(void *arg)
{
	struct background *b = arg;
	struct fixture local = {.other = b->f->other}; /* an err of its own */
	memcpy(local.sid, b->f->sid, sizeof local.sid);
	local.client = local.other;
	b->r = b->fn(&local);
	memcpy(b->text, local.e.text, sizeof b->text);
	return NULL;
}

static void begin(struct fixture *f, struct background *b, int (*fn)(struct fixture *f))
{
	*b = (struct background){.f = f, .fn = fn};
	assert_int_equal(pthread_create(&b->thread, NULL, in_background, b), 0);
}

static int outcome(struct background *b)
{
	assert_int_equal(pthread_join(b->thread, NULL), 0);
	return b->r;
}

static void a_stop_breaks_a_start_off(void **state)
{
	struct fixture *f = *state;
	struct background starter;
	write_config(f, "start=delay:700");
	assert_int_equal(create_with(f, NULL), 0);
	begin(f, &starter, start);
	while (task_create(f, "c1", "\"run\"") != -STATUS_FAILED_PRECONDITION ||
	       !strstr(f->e.text, "is being started"))
		;
	assert_int_equal(stop(f, 10), 0);
	assert_int_equal(outcome(&starter), -STATUS_FAILED_PRECONDITION);
	assert_status(f, NOT_READY, true, true);
	assert_int_equal(wait_sandbox(f), 0);
}

static void a_shutdown_breaks_a_start_off(void **state)
{
	struct fixture *f = *state;
	struct background starter;
	write_config(f, "start=delay:500");
	assert_int_equal(create_with(f, NULL), 0);
	begin(f, &starter, start);
	while (task_create(f, "c1", "\"run\"") != -STATUS_FAILED_PRECONDITION ||
	       !strstr(f->e.text, "is being started"))
		;
	assert_int_equal(shut_down(f), 0);
	assert_true(outcome(&starter) < 0);
	assert_true(is_down(f));
	assert_pod_gone(f->sid);
	assert_int_equal(create_with(f, NULL), -STATUS_ALREADY_EXISTS);
	assert_int_equal(task_create(f, "c2", "\"run\""), -STATUS_UNAVAILABLE);
}

static void everybody_who_waits_is_told(void **state)
{
	struct fixture *f = *state;
	struct background first, second;
	assert_int_equal(create_with(f, NULL), 0);
	begin(f, &first, wait_sandbox); /* before its start */
	assert_true(start(f) > 1);
	begin(f, &second, wait_sandbox);
	assert_int_equal(stop(f, 0), 0);
	assert_int_equal(outcome(&first), 0);
	assert_int_equal(outcome(&second), 0);
	assert_int_equal(wait_by(f, f->other), 0); /* by a client that came later */
}

static void a_waiter_is_told_of_the_shutdown(void **state)
{
	struct fixture *f = *state;
	struct background waiter;
	assert_int_equal(create_with(f, NULL), 0);
	assert_true(start(f) > 1);
	begin(f, &waiter, wait_sandbox);
	while (ping(f) != 0)
		;
	assert_int_equal(shut_down(f), 0);
	(void)outcome(&waiter);
	assert_int_equal(wait_sandbox(f), 0);
}

static void a_machine_that_dies_is_told_at_once(void **state)
{
	struct fixture *f = *state;
	struct background waiter;
	assert_int_equal(create_with(f, NULL), 0);
	int pid = start(f);
	assert_true(pid > 1);
	run(f, "c1", "\"run\"");
	begin(f, &waiter, wait_sandbox);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(outcome(&waiter), 255);
	assert_status(f, NOT_READY, true, true);
	assert_int_equal(task_wait(f, "c1"), 255);
	assert_int_equal(task_state(f, f->sid), STOPPED);
	assert_int_equal(ping(f), -STATUS_FAILED_PRECONDITION);
	assert_non_null(strstr(f->e.text, "is dead"));
	assert_int_equal(task_create(f, "c2", "\"run\""), -STATUS_FAILED_PRECONDITION);
	assert_int_equal(start(f), -STATUS_FAILED_PRECONDITION);
	/* a stop finds nothing to do, and changes nothing about the end */
	assert_int_equal(stop(f, 5), 0);
	assert_int_equal(wait_sandbox(f), 255);
	assert_int_equal(task_delete(f, "c1"), 255);
	assert_events(f, "create:c1 start:c1 exit:c1=255 delete:c1 ");
}

static void a_ping_asks_the_agent(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(create_with(f, NULL), 0);
	assert_true(start(f) > 1);
	unsigned before = fake_agent_calls(f->agent, "Check");
	assert_int_equal(ping(f), 0);
	assert_int_equal(fake_agent_calls(f->agent, "Check"), before + 1);
	fake_agent_set_health(f->agent, false);
	assert_int_equal(ping(f), -STATUS_UNAVAILABLE);
	fake_agent_set_health(f->agent, true);
	assert_int_equal(ping(f), 0);
}

static void the_platform_is_the_guests(void **state)
{
	struct fixture *f = *state;
	SANDBOX(PlatformRequest) req = CONTAINERD__RUNTIME__SANDBOX__V1__PLATFORM_REQUEST__INIT;
	SANDBOX(PlatformResponse) *response = NULL;
	req.sandbox_id = f->sid;
	assert_int_equal(call(f, "Platform", &req, &response), 0);
	assert_string_equal(response->platform->os, "linux");
#ifdef __x86_64__
	assert_string_equal(response->platform->architecture, "amd64");
#else
	assert_string_equal(response->platform->architecture, "arm64");
#endif
	protobuf_c_message_free_unpacked(&response->base, NULL);
}

static void assert_metrics_count(const Google__Protobuf__Any *data)
{
	ProtobufCMessage *v2 =
		rpc_any_unpack(data, &io__containerd__cgroups__v2__metrics__descriptor);
	ProtobufCMessage *v1 =
		rpc_any_unpack(data, &io__containerd__cgroups__v1__metrics__descriptor);
	assert_true(v1 || v2);
	if (v2) {
		const Io__Containerd__Cgroups__V2__Metrics *m = (const void *)v2;
		assert_true(m->memory->usage > 1 << 20);
		assert_true(m->memory->usage_limit == UINT64_MAX);
		assert_true(m->pids->current >= 3); /* we, the machine, the file server */
		assert_true(m->cpu->usage_usec >= m->cpu->user_usec);
		protobuf_c_message_free_unpacked(v2, NULL);
	} else {
		const Io__Containerd__Cgroups__V1__Metrics *m = (const void *)v1;
		assert_true(m->memory->usage->usage > 1 << 20);
		assert_true(m->pids->current >= 3);
		assert_true(m->cpu->usage->total >= m->cpu->usage->user);
		protobuf_c_message_free_unpacked(v1, NULL);
	}
}

static void metrics_are_a_cgroups(void **state)
{
	struct fixture *f = *state;
	SANDBOX(SandboxMetricsRequest)
	req = CONTAINERD__RUNTIME__SANDBOX__V1__SANDBOX_METRICS_REQUEST__INIT;
	SANDBOX(SandboxMetricsResponse) *response = NULL;
	req.sandbox_id = f->sid;
	assert_int_equal(create_with(f, NULL), 0);
	assert_int_equal(call(f, "SandboxMetrics", &req, NULL), -STATUS_FAILED_PRECONDITION);
	assert_true(start(f) > 1);
	assert_int_equal(call(f, "SandboxMetrics", &req, &response), 0);
	assert_string_equal(response->metrics->id, f->sid);
	assert_true(response->metrics->timestamp->seconds > 1600000000);
	assert_metrics_count(response->metrics->data);
	protobuf_c_message_free_unpacked(&response->base, NULL);
}

static json_t *description(struct fixture *f)
{
	SANDBOX(SandboxStatusResponse) *s = status_of(f, true);
	assert_int_equal(s->n_info, 1);
	assert_string_equal(s->info[0]->key, "kata");
	json_t *o = json_loads(s->info[0]->value, 0, NULL);
	assert_non_null(o);
	protobuf_c_message_free_unpacked(&s->base, NULL);
	return o;
}

static void a_verbose_status_tells_about_the_machine(void **state)
{
	struct fixture *f = *state;
	const char *config, *hypervisor, *version;
	int ready, pid, total;
	assert_int_equal(create_with(f, NULL), 0);
	json_decref(description(f)); /* there is not much to tell yet */
	int started = start(f);
	json_t *o = description(f);
	assert_int_equal(json_unpack(o, "{s:s, s:b, s:s, s:{s:s, s:i}, s:{s:i, s:{s:i}}}",
				     "configFile", &config, "ready", &ready, "agentVersion",
				     &version, "machine", "hypervisor", &hypervisor, "pid", &pid,
				     "boot", "totalMs", &total, "phasesMs", "agent", &total),
			 0);
	assert_true(ready);
	assert_string_equal(config, f->config);
	assert_string_equal(hypervisor, "fake");
	assert_string_equal(version, "fake");
	assert_int_equal(pid, started);
	json_decref(o);
	assert_int_equal(stop(f, 0), 0);
	o = description(f);
	assert_string_equal(json_string_value(json_object_get(o, "reason")), "it was stopped");
	json_decref(o);
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
		TEST(nothing_is_known_before_create),
		TEST(another_id_is_unknown),
		TEST(wrong_states_are_refused_and_change_nothing),
		TEST(a_pod_that_a_task_brought_up_is_no_sandbox),
		TEST(bad_requests_are_refused_by_their_field),
		TEST(the_pods_config_reaches_the_guest),
		TEST(annotations_configure_the_machine),
		TEST(the_requests_own_configuration_wins),
		TEST(a_spec_in_the_bundle_counts),
		TEST(a_network_namespace_must_be_one),
		TEST(a_start_that_fails_leaves_nothing_and_may_be_tried_again),
		TEST(a_shutdown_without_a_start_is_fine),
		TEST(a_stop_ends_the_containers_first),
		TEST(a_stop_before_the_start_is_the_end),
		TEST(a_machine_that_hangs_is_stopped_in_time),
		TEST(a_stop_breaks_a_start_off),
		TEST(a_shutdown_breaks_a_start_off),
		TEST(everybody_who_waits_is_told),
		TEST(a_waiter_is_told_of_the_shutdown),
		TEST(a_machine_that_dies_is_told_at_once),
		TEST(a_ping_asks_the_agent),
		TEST(the_platform_is_the_guests),
		TEST(metrics_are_a_cgroups),
		TEST(a_verbose_status_tells_about_the_machine),
	};
	if (geteuid() != 0 || own_namespace() < 0) {
		(void)fprintf(stderr, "test-sandbox mounts things: run it as root\n");
		return 1;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	if (getenv("TEST_LOG")) {
		log_add_sink(log_sink_fd, (void *)(intptr_t)STDERR_FILENO);
		log_set_level(LOG_DEBUG);
	}
	return RUN_TESTS();
}
