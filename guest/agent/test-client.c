/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/testing.h"
#include "io/child.h"
#include "io/testing.h"
#include "rpc/listen.h"

#include "guest/agent/test-client.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

/* Generous: the machine may be slow, and a hang is a failure all the same. */
#define CALL_TIMEOUT_MS 60000

/* ---- The agent and its world -------------------------------------------------------------- */

static void make_rootfs(const char *rootfs)
{
	static const char *const dirs[] = {"bin", "proc", "dev", "sys", "tmp", "etc", "shm"};
	static const char *const tools[] = {"sh",   "cat",  "echo", "sleep", "head",	 "wc",
					    "true", "stty", "kill", "ps",    "hostname", "ls",
					    "dd",   "seq",  "env",  "mount", "readlink", "touch"};
	char path[256], target[256];

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		(void)snprintf(path, sizeof path, "%s/%s", rootfs, dirs[i]);
		assert_int_equal(mkdir_parents(path, 0755), 0);
	}
	(void)snprintf(path, sizeof path, "%s/bin/busybox", rootfs);
	const char *argv[] = {"cp", "/bin/busybox", path, NULL};
	struct child_spec spec = CHILD_SPEC_INIT;
	spec.argv = argv;
	assert_int_equal(child_run(&spec, 10000, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(tools); i++) {
		(void)snprintf(target, sizeof target, "%s/bin/%s", rootfs, tools[i]);
		assert_int_equal(symlink("busybox", target), 0);
	}
}

static void start_agent(struct fixture *f, const char *program)
{
	char address[128], state[128];

	(void)snprintf(address, sizeof address, "unix://%s", f->socket);
	(void)snprintf(state, sizeof state, "%s/state", f->dir);
	f->agent = fork();
	assert_true(f->agent >= 0);
	if (f->agent == 0) {
		(void)setenv("KATA_AGENT_SERVER_ADDR", address, 1);
		(void)setenv("KATA_AGENT_STATE_DIR", state, 1);
		(void)setenv("KATA_AGENT_LOG_LEVEL", "error", 0);
		/* the machine's control groups are shared: none, unless the test says so */
		(void)setenv("KATA_AGENT_CGROUP_ROOT", "/nonexistent", 0);
		execl(program, "kata-agent", (char *)NULL);
		_exit(127);
	}
}

/* The loop's thread runs the loop from here on, so this one may make calls that wait. */
static void start_loop(struct fixture *f)
{
	assert_int_equal(testing_loop_start(f->loop, &f->loop_thread), 0);
}

void fixture_files(struct fixture *f)
{
	memset(f, 0, sizeof *f);
	(void)snprintf(f->dir, sizeof f->dir, "/tmp/test-agent.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->rootfs, sizeof f->rootfs, "%s/rootfs", f->dir);
	(void)snprintf(f->socket, sizeof f->socket, "%s/agent.sock", f->dir);
	make_rootfs(f->rootfs);
}

void fixture_connect(struct fixture *f, int fd)
{
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(rpc_client_new(f->loop, fd, NULL, NULL, &f->client), 0);
	start_loop(f);
}

void fixture_start(struct fixture *f, const char *program)
{
	if (geteuid() != 0)
		fail_msg("this test needs root");
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	fixture_files(f);
	start_agent(f, program);

	int fd = -ENOENT;
	uint64_t deadline = time_deadline(20000);
	while (fd < 0 && time_left_ms(deadline) > 0) {
		fd = rpc_connect_unix(f->socket, deadline, NULL);
		if (fd < 0)
			(void)usleep(5000);
		assert_int_equal(waitpid(f->agent, NULL, WNOHANG), 0);
	}
	assert_true(fd >= 0);
	fixture_connect(f, fd);
}

static void free_client(void *arg)
{
	struct fixture *f = arg;
	rpc_client_free(f->client);
	loop_stop(f->loop);
}

void fixture_disconnect(struct fixture *f)
{
	if (!f->loop)
		return;
	(void)loop_post(f->loop, free_client, f);
	pthread_join(f->loop_thread, NULL);
	loop_free(f->loop);
	f->loop = NULL;
}

int fixture_stop(struct fixture *f)
{
	int status = -1;

	if (f->agent > 0) {
		(void)kill(f->agent, SIGTERM);
		(void)waitpid(f->agent, &status, 0);
	}
	fixture_disconnect(f);
	if (remove_tree(f->dir) < 0)
		fprintf(stderr, "%s: cannot be removed: a mount was left behind\n", f->dir);
	return status;
}

/* ---- Calls -------------------------------------------------------------------------------- */

static int call_service(struct fixture *f, const ProtobufCServiceDescriptor *service,
			const char *method, const ProtobufCMessage *m, void *ret_response,
			struct err *e)
{
	struct err own = ERR_INIT;
	struct rpc_request q = {
		.service = service, .method = method, .message = m, .timeout_ms = CALL_TIMEOUT_MS};

	if (!e)
		e = &own;
	*e = ERR_INIT;
	ProtobufCMessage *response = NULL;
	int r = rpc_client_call(f->client, &q, &response, e);
	if (ret_response)
		*(ProtobufCMessage **)ret_response = response;
	else if (response)
		protobuf_c_message_free_unpacked(response, NULL);
	if (r < 0)
		return e->status ? e->status : STATUS_UNKNOWN;
	return STATUS_OK;
}

int call(struct fixture *f, const char *method, const ProtobufCMessage *m, void *ret_response,
	 struct err *e)
{
	return call_service(f, &grpc__agent_service__descriptor, method, m, ret_response, e);
}

int call_health(struct fixture *f, const char *method, void *ret_response)
{
	Grpc__CheckRequest q = GRPC__CHECK_REQUEST__INIT;
	return call_service(f, &grpc__health__descriptor, method, &q.base, ret_response, NULL);
}

static void on_done(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	struct async *a = arg;

	pthread_mutex_lock(&a->lock);
	a->done = true;
	a->status = r < 0 ? e->status : STATUS_OK;
	a->response = response;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
}

void call_async(struct fixture *f, const char *method, const ProtobufCMessage *m, struct async *a)
{
	struct rpc_request q = {.service = &grpc__agent_service__descriptor,
				.method = method,
				.message = m,
				.timeout_ms = 0};

	memset(a, 0, sizeof *a);
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->changed, NULL);
	assert_int_equal(rpc_client_start(f->client, &q, on_done, a, NULL), 0);
}

bool async_wait(struct async *a, uint64_t timeout_ms)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)(timeout_ms / 1000);
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&a->lock);
	while (!a->done && pthread_cond_timedwait(&a->changed, &a->lock, &until) == 0)
		;
	bool done = a->done;
	pthread_mutex_unlock(&a->lock);
	return done;
}

void async_end(struct async *a)
{
	assert_true(async_wait(a, CALL_TIMEOUT_MS));
	if (a->response)
		protobuf_c_message_free_unpacked(a->response, NULL);
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->lock);
}

/* ---- The requests ------------------------------------------------------------------------- */

static char *const environment[] = {(char *)"PATH=/bin", (char *)"TERM=dumb"};

static void fill_process(Grpc__Process *p, Grpc__User *user, bool terminal, const char *const *argv)
{
	grpc__process__init(p);
	grpc__user__init(user);
	p->user = user;
	p->terminal = terminal;
	p->args = (char **)argv;
	while (argv[p->n_args])
		p->n_args++;
	p->env = (char **)environment;
	p->n_env = ARRAY_SIZE(environment);
	p->cwd = (char *)"/";
}

int create(struct fixture *f, const char *id, const struct container_options *o, struct err *e)
{
	const char *argv[] = {"/bin/sh", "-c", o->script, NULL};
	Grpc__CreateContainerRequest q = GRPC__CREATE_CONTAINER_REQUEST__INIT;
	Grpc__Spec spec = GRPC__SPEC__INIT;
	Grpc__Root root = GRPC__ROOT__INIT;
	Grpc__Linux lin = GRPC__LINUX__INIT;
	static const char *const mount_words[][2] = {
		{"proc", "/proc"}, {"tmpfs", "/dev"}, {"devpts", "/dev/pts"}};
	char *pts_options[] = {(char *)"newinstance", (char *)"ptmxmode=0666"};
	char *bind_options[] = {(char *)"rbind"};
	Grpc__Mount mount_v[7];
	Grpc__LinuxNamespace ns[4];
	static const char *const types[] = {"mnt", "ipc", "uts", "user"};
	Grpc__LinuxNamespace *namespaces[4];
	Grpc__Mount *mounts[7];
	Grpc__Spec__AnnotationsEntry entry = GRPC__SPEC__ANNOTATIONS_ENTRY__INIT,
				     *entries[] = {&entry};
	Grpc__Process process;
	Grpc__User user;

	fill_process(&process, &user, o->terminal, o->args ? (const char *const *)o->args : argv);
	for (size_t i = 0; i < 4; i++) {
		grpc__linux_namespace__init(&ns[i]);
		ns[i].type = (char *)types[i];
		namespaces[i] = &ns[i];
	}
	for (size_t i = 0; i < 3; i++) {
		grpc__mount__init(&mount_v[i]);
		mount_v[i].source = mount_v[i].type = (char *)mount_words[i][0];
		mount_v[i].destination = (char *)mount_words[i][1];
		mounts[i] = &mount_v[i];
	}
	process.capabilities = o->capabilities;
	mount_v[2].options = pts_options;
	mount_v[2].n_options = 2;
	spec.n_mounts = 3;
	for (const char *const *b = o->binds; b && *b; b += 2) {
		Grpc__Mount *m = mounts[spec.n_mounts] = &mount_v[spec.n_mounts];
		grpc__mount__init(m);
		m->type = (char *)"bind";
		m->source = (char *)b[0];
		m->destination = (char *)b[1];
		m->options = bind_options;
		m->n_options = 1;
		spec.n_mounts++;
	}
	if (o->env) {
		process.env = (char **)o->env;
		for (process.n_env = 0; o->env[process.n_env]; process.n_env++)
			;
	}
	if (o->annotation[0]) {
		entry.key = (char *)o->annotation[0];
		entry.value = (char *)o->annotation[1];
		spec.annotations = entries;
		spec.n_annotations = 1;
	}
	if (o->device) {
		lin.devices = (Grpc__LinuxDevice **)&o->device;
		lin.n_devices = 1;
	}
	root.path = f->rootfs;
	lin.namespaces = namespaces;
	lin.n_namespaces = o->mappings ? 4 : 3;
	lin.uidmappings = lin.gidmappings = o->mappings;
	lin.n_uidmappings = lin.n_gidmappings = o->n_mappings;
	lin.resources = o->resources;
	spec.version = (char *)"1.0.2";
	spec.process = &process;
	spec.root = &root;
	spec.linux = &lin;
	spec.mounts = mounts;
	q.container_id = (char *)id;
	q.oci = &spec;
	q.storages = o->storages;
	q.n_storages = o->n_storages;
	q.sandbox_pidns = o->sandbox_pidns;
	q.stdin_port = f->ports[0];
	q.stdout_port = f->ports[1];
	q.stderr_port = f->ports[2];
	if (o->edit)
		o->edit(&q, o->edit_arg);
	return call(f, "CreateContainer", &q.base, NULL, e);
}

int start(struct fixture *f, const char *id)
{
	Grpc__StartContainerRequest q = GRPC__START_CONTAINER_REQUEST__INIT;
	q.container_id = (char *)id;
	return call(f, "StartContainer", &q.base, NULL, NULL);
}

void run(struct fixture *f, const char *id, const char *script)
{
	struct err e = ERR_INIT;

	if (create(f, id, &(struct container_options){.script = script}, &e) != STATUS_OK)
		fail_msg("create %s: %s", id, e.text);
	assert_int_equal(start(f, id), STATUS_OK);
}

int exec(struct fixture *f, const char *id, const char *exec_id, bool terminal,
	 const char *const *argv, struct err *e)
{
	Grpc__ExecProcessRequest q = GRPC__EXEC_PROCESS_REQUEST__INIT;
	Grpc__Process process;
	Grpc__User user;

	fill_process(&process, &user, terminal, argv);
	q.container_id = (char *)id;
	q.exec_id = (char *)exec_id;
	q.process = &process;
	q.stdin_port = f->ports[0];
	q.stdout_port = f->ports[1];
	q.stderr_port = f->ports[2];
	return call(f, "ExecProcess", &q.base, NULL, e);
}

int exec_sh(struct fixture *f, const char *id, const char *exec_id, const char *script)
{
	const char *argv[] = {"/bin/sh", "-c", script, NULL};
	return exec(f, id, exec_id, false, argv, NULL);
}

int kill_process(struct fixture *f, const char *id, const char *exec_id, unsigned signum)
{
	Grpc__SignalProcessRequest q = GRPC__SIGNAL_PROCESS_REQUEST__INIT;
	q.container_id = (char *)id;
	q.exec_id = (char *)exec_id;
	q.signal = signum;
	return call(f, "SignalProcess", &q.base, NULL, NULL);
}

int wait_process(struct fixture *f, const char *id, const char *exec_id)
{
	Grpc__WaitProcessRequest q = GRPC__WAIT_PROCESS_REQUEST__INIT;
	Grpc__WaitProcessResponse *response = NULL;

	q.container_id = (char *)id;
	q.exec_id = (char *)exec_id;
	int status = call(f, "WaitProcess", &q.base, &response, NULL);
	if (status != STATUS_OK)
		return -status;
	int code = response->status;
	grpc__wait_process_response__free_unpacked(response, NULL);
	return code;
}

int remove_container(struct fixture *f, const char *id, unsigned timeout)
{
	Grpc__RemoveContainerRequest q = GRPC__REMOVE_CONTAINER_REQUEST__INIT;
	q.container_id = (char *)id;
	q.timeout = timeout;
	return call(f, "RemoveContainer", &q.base, NULL, NULL);
}

int read_some(struct fixture *f, const char *id, const char *exec_id, bool errout, uint32_t max,
	      struct buf *text, size_t *len)
{
	Grpc__ReadStreamRequest q = GRPC__READ_STREAM_REQUEST__INIT;
	Grpc__ReadStreamResponse *response = NULL;

	q.container_id = (char *)id;
	q.exec_id = (char *)exec_id;
	q.len = max;
	int status = call(f, errout ? "ReadStderr" : "ReadStdout", &q.base, &response, NULL);
	if (status != STATUS_OK)
		return status;
	*len = response->data.len;
	if (text && *len)
		buf_append(text, response->data.data, *len);
	grpc__read_stream_response__free_unpacked(response, NULL);
	return STATUS_OK;
}

int read_all(struct fixture *f, const char *id, const char *exec_id, bool errout, struct buf *text)
{
	size_t len = 1;
	int status = STATUS_OK;

	while (status == STATUS_OK && len > 0)
		status = read_some(f, id, exec_id, errout, 8192, text, &len);
	return status;
}

int write_stdin(struct fixture *f, const char *id, const char *exec_id, const void *data,
		size_t len)
{
	Grpc__WriteStreamRequest q = GRPC__WRITE_STREAM_REQUEST__INIT;
	Grpc__WriteStreamResponse *response = NULL;

	q.container_id = (char *)id;
	q.exec_id = (char *)exec_id;
	q.data.data = (uint8_t *)data;
	q.data.len = len;
	int status = call(f, "WriteStdin", &q.base, &response, NULL);
	if (status != STATUS_OK)
		return status;
	bool all = response->len == len;
	grpc__write_stream_response__free_unpacked(response, NULL);
	return all ? STATUS_OK : STATUS_DATA_LOSS;
}

int stream_open(const char *path, uint32_t port)
{
	struct sockaddr_un us = {.sun_family = AF_UNIX}, them = {.sun_family = AF_UNIX};
	int n = snprintf(us.sun_path + 1, sizeof us.sun_path - 1, "runtime-c-test-%d-%u",
			 (int)getpid(), port);

	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&us,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)),
			 0);
	(void)snprintf(them.sun_path, sizeof them.sun_path, "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&them, sizeof them), 0);
	return fd;
}
