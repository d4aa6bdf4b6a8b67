/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon: one loop, a few workers, one pod.
 *
 * It lives in a mount namespace of its own, whose root is a slave of the host's and shared below:
 * what the host mounts is seen here and in the guest, and what is mounted here for the guest is
 * gone with the process, however it ends.
 */
#include "base/fd.h"
#include "base/log.h"
#include "io/worker.h"
#include "runtimes/runtime.h"
#include "service/sandbox.h"
#include "service/streaming.h"
#include "service/task.h"
#include "shim/actions.h"
#include "shim/socket.h"

#include "proto/runtimeoptions.pb-c.h"

#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define WORKERS 4
#define OPTIONS_MAX (1u << 20) /* as `start` reads */
/* What is still to be sent at the end. Together less than `delete` waits before it kills. */
#define EVENTS_FLUSH_MS 500
#define REPLIES_FLUSH_MS 200
/* containerd asks for a container as soon as it has our address. If it is killed in between, its
 * successor finds a shim without a task, which it may keep for ever. */
#define UNUSED_MS 60000

struct shim {
	struct loop *loop;
	struct worker_pool *workers;
	struct rpc_server *server;
	struct events *events;
	struct runtime *runtime;
	struct task_service task;
	struct stdio_streams *streams;
	struct streaming_service streaming;
	struct loop_timer *unused;
	struct loop_io *ready; /* until `start` has told our address */
	int ready_fd;
	struct sandbox_service sandbox;
	char *config_file, *config_body; /* as `start` was told; or NULL */
};

/* Before any thread. */
static int own_mount_namespace(struct err *e)
{
	if (unshare(CLONE_NEWNS) < 0)
		return err_errno(e, -errno, "make a mount namespace");
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL) < 0)
		return err_errno(e, -errno, "set the mount propagation of /");
	return 0;
}

/* Scheduling side channels: all threads of a pod share one core cookie, no other pod does. */
static void core_schedule(void)
{
	enum { PR_SCHED_CORE_ = 62, CREATE = 1, PROCESS_GROUP = 2 }; /* linux/prctl.h */
	const char *wanted = getenv("SCHED_CORE");
	if (wanted && wanted[0] && prctl(PR_SCHED_CORE_, CREATE, 0, PROCESS_GROUP, 0) < 0)
		log_warn("core scheduling is not available: %s", strerror(errno));
}

/* A memory shortage shall take a container's machine before the node's own services, so a shim
 * goes one above its parent, as containerd's own shims do. Not allowed: not fatal. */
static void adjust_oom_score(void)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	char text[32];
	if (file_read(AT_FDCWD, "/proc/self/oom_score_adj", 64, &b) < 0 || !b.data)
		return;
	long score = strtol(b.data, NULL, 10) + 1;
	(void)snprintf(text, sizeof text, "%ld", score > 1000 ? 1000 : score);
	(void)file_write(AT_FDCWD, "/proc/self/oom_score_adj", text);
}

/* containerd's log FIFO is in the bundle, which is where we were started; the journal, if any. */
static void open_logs(const struct cli *c)
{
	int fifo = open("log", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (fifo >= 0)
		log_add_sink(log_sink_fd, (void *)(intptr_t)fifo);
	int journal = log_journal_open();
	if (journal >= 0)
		log_add_sink(log_sink_journal, (void *)(intptr_t)journal);
	log_set_level(c->debug ? LOG_DEBUG : LOG_INFO);
	log_set_sandbox(c->id);
}

/* Memory counts once per pod: few arenas, and freed memory goes back to the system. */
static void bound_memory(void)
{
	(void)mallopt(M_ARENA_MAX, 1);
	(void)mallopt(M_TRIM_THRESHOLD, 64 * 1024);
	(void)mallopt(M_MMAP_THRESHOLD, 128 * 1024);
}

/* The descriptor that an environment variable names, if it is of that type; else -EBADF. The
 * variable is not passed on. */
static int inherited_fd(const char *variable, mode_t type)
{
	const char *text = getenv(variable);
	char *end;
	long fd = text ? strtol(text, &end, 10) : -1;
	struct stat st;

	if (!text || end == text || *end || fd < 3 || fd > INT32_MAX || fstat((int)fd, &st) < 0 ||
	    (st.st_mode & S_IFMT) != type)
		return -EBADF;
	(void)unsetenv(variable);
	(void)fd_set_cloexec((int)fd, true);
	return (int)fd;
}

static int inherited_socket(struct err *e)
{
	const char *text = getenv(BIND_FD_ENV);
	int fd = inherited_fd(BIND_FD_ENV, S_IFSOCK);
	if (fd < 0)
		return err_set(e, -EINVAL,
			       "%s is \"%s\": must be the number of a listening socket; this is "
			       "what `start` runs",
			       BIND_FD_ENV, text ? text : "");
	return fd;
}

/* `start` has answered, or died before: then nobody knows of us, and nobody ever will. */
static void on_ready(void *arg, unsigned events)
{
	struct shim *s = arg;
	char byte;
	ssize_t n = read(s->ready_fd, &byte, 1);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	loop_io_free(TAKE_PTR(s->ready));
	s->ready_fd = close_fd(s->ready_fd);
	if (n != 1) {
		log_error("`start` died before it told our address, so we end too");
		loop_stop(s->loop);
	}
}

static int watch_start(struct shim *s)
{
	s->ready_fd = inherited_fd(READY_FD_ENV, S_IFIFO);
	if (s->ready_fd < 0)
		return 0;
	return loop_io_new(s->loop, s->ready_fd, LOOP_READ, on_ready, s, &s->ready);
}

static int take_options(struct shim *s, const Runtimeoptions__V1__Options *o, struct err *e)
{
	if (o->config_path[0] && !(s->config_file = strdup(o->config_path)))
		return err_set(e, -ENOMEM, "out of memory");
	if (o->config_body.len &&
	    !(s->config_body = strndup((const char *)o->config_body.data, o->config_body.len)))
		return err_set(e, -ENOMEM, "out of memory");
	return 0;
}

/* What containerd told `start` about the configuration; a Create may tell otherwise. */
static int inherited_options(struct shim *s, struct err *e)
{
	_cleanup_close_ int fd = inherited_fd(OPTIONS_FD_ENV, S_IFREG);
	_cleanup_buf_ struct buf packed = BUF_INIT;

	if (fd < 0)
		return 0;
	int r = fd_read_all(fd, OPTIONS_MAX, &packed);
	if (r < 0)
		return err_errno(e, r, "read the runtime's options");
	Runtimeoptions__V1__Options *o =
		runtimeoptions__v1__options__unpack(NULL, packed.len, (const uint8_t *)packed.data);
	if (!o)
		return err_set(e, -EINVAL, "the runtime's options cannot be decoded");
	r = take_options(s, o, e);
	runtimeoptions__v1__options__free_unpacked(o, NULL);
	return r;
}

static void on_flushed(void *arg)
{
	struct shim *s = arg;
	rpc_server_flush(s->server, REPLIES_FLUSH_MS);
	loop_stop(s->loop);
}

static void on_shutdown(void *arg)
{
	struct shim *s = arg;
	log_info("the pod is down");
	rpc_server_stop_listening(s->server);
	events_flush(s->events, EVENTS_FLUSH_MS, on_flushed, s);
}

static void on_abandoned(void *arg, int r, const struct task_state *state, const struct err *e)
{
	if (r == 0)
		on_shutdown(arg);
}

static void on_unused(void *arg)
{
	struct shim *s = arg;

	if (!runtime_is_unused(s->runtime))
		return;
	log_warn("nobody has asked for a container within %d s: this shim ends", UNUSED_MS / 1000);
	runtime_abandon(s->runtime, on_abandoned, s);
}

/* Whoever deleted the last container would have called Shutdown next. */
static void on_idle(void *arg)
{
	struct shim *s = arg;

	if (!runtime_is_deserted(s->runtime))
		return;
	log_warn("the pod has no container any more, and nobody is connected: this shim ends");
	runtime_abandon(s->runtime, on_abandoned, s);
}

/* A shim that is never used, or not any more, ends by itself. */
static int watch_use(struct shim *s)
{
	rpc_server_on_idle(s->server, on_idle, s);
	int r = loop_timer_new(s->loop, on_unused, s, &s->unused);
	if (r == 0)
		loop_timer_start(s->unused, UNUSED_MS);
	return r;
}

static int build(struct shim *s, const struct cli *c, int listen_fd, const char *socket_path,
		 struct err *e)
{
	int r = loop_new(&s->loop);
	if (r == 0)
		r = worker_pool_new(WORKERS, 0, &s->workers);
	if (r == 0)
		r = events_new(s->loop, getenv("TTRPC_ADDRESS"), c->namespace, &s->events);
	if (r == 0)
		r = rpc_server_new(s->loop, &s->server);
	if (r == 0)
		r = stdio_streams_new(s->loop, socket_path, &s->streams);
	const struct runtime_params params = {
		.loop = s->loop,
		.workers = s->workers,
		.sandbox_id = c->id,
		.namespace = c->namespace,
		.streams = s->streams,
		.debug = c->debug,
		.config_file = s->config_file,
		.config_body = s->config_body,
		.on_event = task_service_on_event,
		.arg = &s->task,
	};
	if (r == 0)
		r = runtime_new(&params, &s->runtime);
	s->task = (struct task_service){
		.runtime = s->runtime, .events = s->events, .on_shutdown = on_shutdown, .arg = s};
	s->sandbox = (struct sandbox_service){
		.runtime = s->runtime, .sandbox_id = c->id, .on_shutdown = on_shutdown, .arg = s};
	if (r == 0)
		r = task_service_register(&s->task, s->server);
	if (r == 0)
		r = sandbox_service_register(&s->sandbox, s->server);
	if (r == 0)
		r = streaming_service_register(&s->streaming, s->streams, s->server);
	if (r == 0)
		r = rpc_server_listen(s->server, listen_fd);
	if (r == 0)
		r = watch_start(s);
	if (r == 0)
		r = watch_use(s);
	return r < 0 ? err_errno(e, r, "start the service") : 0;
}

static void destroy(struct shim *s)
{
	loop_io_free(s->ready);
	loop_timer_free(s->unused);
	worker_pool_free(s->workers);
	rpc_server_free(s->server);
	events_free(s->events);
	runtime_free(s->runtime);
	stdio_streams_free(s->streams);
	loop_free(s->loop);
	free(s->config_file);
	free(s->config_body);
}

int shim_run(const struct cli *c, struct err *e)
{
	struct shim s = {.ready_fd = -EBADF};
	struct shim_socket_id id = {.ino = 0};
	struct sockaddr_un socket = {.sun_family = AF_UNIX};
	socklen_t len = sizeof socket;
	int listen_fd = inherited_socket(e);
	if (listen_fd < 0)
		return listen_fd;
	if (getsockname(listen_fd, (struct sockaddr *)&socket, &len) < 0)
		return err_errno(e, -errno, "find the path of our socket");
	(void)shim_socket_identify(socket.sun_path, &id);

	bound_memory();
	open_logs(c);
	adjust_oom_score();
	core_schedule();
	int r = inherited_options(&s, e);
	if (r == 0)
		r = own_mount_namespace(e);
	if (r == 0)
		r = build(&s, c, listen_fd, socket.sun_path, e);
	if (r == 0)
		loop_run(s.loop);
	else
		log_error("%s", err_text(e, r)); /* stderr is /dev/null here */

	shim_socket_remove(socket.sun_path, &id);
	destroy(&s);
	return r;
}
