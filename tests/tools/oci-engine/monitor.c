/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine keeps a container in the process that made it. So each container has this process: it
 * reaps, and does what the commands ask for, one after the other.
 */
#include "protocol.h"

#include "base/fd.h"
#include "engine/engine.h"
#include "oci/arena.h"
#include "oci/hooks.h"
#include "sys/scm.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#define EXECS_MAX 256

struct process {
	int pidfd;  /* -EBADF: unused, or reaped */
	int waiter; /* whom to tell the status, or -EBADF */
};

struct monitor {
	const struct monitor_options *o;
	struct engine *engine;
	struct oci_spec *spec;
	struct engine_container *container;
	pid_t pid;
	bool started, paused, exited, gone;
	int status;
	struct process processes[1 + EXECS_MAX]; /* the first one is init */
	int listener;
};

static struct reply *reply_ok(struct reply *ret)
{
	ret->r = ret->pid = ret->status = 0;
	ret->text[0] = '\0';
	return ret;
}

static void reply_send(int conn, const struct reply *reply, int fd)
{
	(void)scm_send(conn, reply, REPLY_HEAD + strlen(reply->text) + 1, &fd, fd >= 0);
}

/* ---- processes */

static struct process *free_process(struct monitor *m)
{
	for (size_t i = 1; i < ARRAY_SIZE(m->processes); i++)
		if (m->processes[i].pidfd < 0)
			return &m->processes[i];
	return NULL;
}

static void reap(struct monitor *m, struct process *p)
{
	static struct reply reply;
	siginfo_t info = {.si_pid = 0};
	if (waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG) < 0 || !info.si_pid)
		return;
	reply_ok(&reply)->status =
		info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
	if (p->waiter >= 0)
		reply_send(p->waiter, &reply, -EBADF);
	p->waiter = close_fd(p->waiter);
	p->pidfd = close_fd(p->pidfd);
	if (p == &m->processes[0]) {
		m->exited = true;
		m->status = reply.status;
	}
}

static void reap_init_now(struct monitor *m)
{
	struct pollfd p = {.fd = m->processes[0].pidfd, .events = POLLIN};
	while (!m->exited && poll(&p, 1, -1) >= 0)
		reap(m, &m->processes[0]);
}

static const char *status_name_of(const struct monitor *m)
{
	if (m->exited)
		return "stopped";
	return !m->started ? "created" : m->paused ? "paused" : "running";
}

/* ---- what can be asked for */

static int load_spec(struct monitor *m, struct err *e)
{
	if (!m->o->config)
		return oci_spec_load(m->o->bundle, &m->spec, e);
	_cleanup_buf_ struct buf b = BUF_INIT;
	int r = file_read(AT_FDCWD, m->o->config, OCI_JSON_BYTES_MAX, &b);
	return r < 0 ? err_errno(e, r, "read %s", m->o->config)
		     : oci_spec_parse(b.data, b.len, &m->spec, e);
}

static int create(struct monitor *m, const int stdio[3], int *ret_pty, struct err *e)
{
	struct engine_options options = {.cgroup_root = m->o->cgroup_root};
	struct engine_process init = ENGINE_PROCESS_INIT;
	char rootfs[PATH_MAX], resolved[PATH_MAX];
	int r = engine_new(&options, &m->engine, e);
	if (r == 0)
		r = load_spec(m, e);
	if (r < 0)
		return r;
	const char *root = m->spec->root_path;
	r = root[0] == '/' ? path_format(rootfs, sizeof rootfs, "%s", root)
			   : path_format(rootfs, sizeof rootfs, "%s/%s", m->o->bundle, root);
	if (r < 0)
		return err_errno(e, r, "rootfs %s", root);
	struct engine_stdio io = {.in = stdio[0],
				  .out = stdio[1],
				  .errout = stdio[2],
				  .terminal = m->spec->has_process && m->spec->process.terminal};
	r = engine_create(m->engine, m->o->id, m->spec,
			  realpath(rootfs, resolved) ? resolved : rootfs, &io, &m->container, &init,
			  e);
	if (r < 0)
		return r;
	m->pid = init.pid;
	m->processes[0].pidfd = init.pidfd;
	*ret_pty = init.pty;
	return 0;
}

static int start(struct monitor *m, struct err *e)
{
	int r = engine_start(m->container, e);
	if (r < 0)
		return r;
	m->started = true;
	return 0;
}

static int send_signal(struct monitor *m, const struct request *q, struct err *e)
{
	reap(m, &m->processes[0]);
	if (q->flags & REQUEST_ALL)
		return engine_kill_all(m->container, q->number, e);
	if (m->exited)
		return err_status(e, STATUS_FAILED_PRECONDITION, "container %s is not running",
				  m->o->id);
	int r = (int)syscall(SYS_pidfd_send_signal, m->processes[0].pidfd, q->number, NULL, 0);
	return r < 0 ? err_errno(e, -errno, "signal %d to container %s", q->number, m->o->id) : 0;
}

static int delete (struct monitor *m, const struct request *q, struct err *e)
{
	reap(m, &m->processes[0]);
	if (!m->exited && m->started && !(q->flags & REQUEST_FORCE))
		return err_status(e, STATUS_FAILED_PRECONDITION, "container %s is %s: not stopped",
				  m->o->id, status_name_of(m));
	int r = m->exited ? 0 : engine_kill_all(m->container, SIGKILL, e);
	if (r < 0)
		return r;
	reap_init_now(m);
	r = engine_delete(m->container, e);
	if (r < 0)
		return r;
	m->container = NULL;
	m->gone = true;
	return 0; /* a poststop hook's failure is for the log alone */
}

/* The container's process with what a command line says instead. Variables are added. */
static char *merge_process(const struct oci_process *base, const char *changes)
{
	json_t *p = oci_process_to_json(base);
	json_t *c = json_loads(changes, 0, NULL);
	json_t *env = json_object_get(p, "env");
	if (!env) {
		env = json_array();
		(void)json_object_set_new(p, "env", env);
	}
	(void)json_array_extend(env, json_object_get(c, "env"));
	(void)json_object_del(c, "env");
	(void)json_object_del(p, "terminal");
	(void)json_object_update(p, c);
	char *text = json_dumps(p, 0);
	json_decref(c);
	json_decref(p);
	return text;
}

static int parse_process(const struct monitor *m, const struct request *q, struct oci_process **ret,
			 struct oci_arena **ret_arena, struct err *e)
{
	if (!(q->flags & REQUEST_MERGE))
		return oci_process_parse(q->text, strlen(q->text), ret, ret_arena, e);
	_cleanup_free_ char *text = merge_process(&m->spec->process, q->text);
	if (!text)
		return err_errno(e, -ENOMEM, "process");
	return oci_process_parse(text, strlen(text), ret, ret_arena, e);
}

static int exec(struct monitor *m, const struct request *q, const int stdio[3], int conn,
		struct reply *reply, int *ret_pty, struct err *e)
{
	struct process *slot = free_process(m);
	struct oci_process *p = NULL;
	struct oci_arena *arena = NULL;
	struct engine_process started = ENGINE_PROCESS_INIT;
	if (!slot)
		return err_status(e, STATUS_RESOURCE_EXHAUSTED, "%d processes are enough",
				  EXECS_MAX);
	if (!m->started)
		return err_status(e, STATUS_FAILED_PRECONDITION, "container %s is not running",
				  m->o->id);
	int r = parse_process(m, q, &p, &arena, e);
	if (r < 0)
		return r;
	struct engine_stdio io = {
		.in = stdio[0], .out = stdio[1], .errout = stdio[2], .terminal = p->terminal};
	r = engine_exec(m->container, p, &io, &started, e);
	oci_arena_free(arena);
	if (r < 0)
		return r;
	reply->pid = started.pid;
	*ret_pty = started.pty;
	*slot = (struct process){.pidfd = started.pidfd,
				 .waiter = q->flags & REQUEST_WAIT ? fcntl(conn, F_DUPFD_CLOEXEC, 3)
								   : -EBADF};
	return 0;
}

static int set_paused(struct monitor *m, bool paused, struct err *e)
{
	int r = engine_freeze(m->container, paused, e);
	if (r == 0)
		m->paused = paused;
	return r;
}

static int update(struct monitor *m, const struct request *q, struct err *e)
{
	struct oci_resources *resources = NULL;
	struct oci_arena *arena = NULL;
	int r = oci_resources_parse(q->text, strlen(q->text), &resources, &arena, e);
	if (r == 0)
		r = engine_update(m->container, resources, e);
	oci_arena_free(arena);
	return r;
}

static int list_pids(struct monitor *m, struct reply *reply, struct err *e)
{
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = 0, used = 0;
	int r = engine_pids(m->container, &pids, &n, e);
	for (size_t i = 0; r == 0 && i < n && used + 16 < sizeof reply->text; i++)
		used += (size_t)snprintf(reply->text + used, sizeof reply->text - used, "%d\n",
					 (int)pids[i]);
	return r;
}

static int tell_state(struct monitor *m, struct reply *reply, struct err *e)
{
	reap(m, &m->processes[0]);
	_cleanup_free_ char *json = oci_state_json(m->spec, m->o->id, status_name_of(m),
						   m->exited ? 0 : m->pid, m->o->bundle);
	if (!json)
		return err_errno(e, -ENOMEM, "state of container %s", m->o->id);
	return path_format(reply->text, sizeof reply->text, "%s\n", json);
}

static int serve(struct monitor *m, const struct request *q, const int stdio[3], int conn,
		 struct reply *reply, int *ret_pty, struct err *e)
{
	switch ((enum request_op)q->op) {
	case OP_CREATE: {
		int r = create(m, stdio, ret_pty, e);
		reply->pid = m->pid;
		return r;
	}
	case OP_START:
		return start(m, e);
	case OP_STATE:
		return tell_state(m, reply, e);
	case OP_KILL:
		return send_signal(m, q, e);
	case OP_DELETE:
		return delete (m, q, e);
	case OP_EXEC:
		return exec(m, q, stdio, conn, reply, ret_pty, e);
	case OP_PAUSE:
	case OP_RESUME:
		return set_paused(m, q->op == OP_PAUSE, e);
	case OP_UPDATE:
		return update(m, q, e);
	case OP_PS:
		return list_pids(m, reply, e);
	}
	return err_set(e, -EINVAL, "request %u is unknown", q->op);
}

/* The answer to a start or exec that waits comes in two parts; the connection is kept between. */
static void keep_waiter(struct monitor *m, const struct request *q, int conn)
{
	static struct reply reply;
	if (q->op != OP_START || !(q->flags & REQUEST_WAIT))
		return;
	if (!m->exited) {
		m->processes[0].waiter = fcntl(conn, F_DUPFD_CLOEXEC, 3);
		return;
	}
	reply_ok(&reply)->status = m->status;
	reply_send(conn, &reply, -EBADF);
}

/* One request. Returns whether it was answered well. */
static bool serve_connection(struct monitor *m, int conn)
{
	static struct request q;
	static struct reply reply;
	int fds[3] = {-EBADF, -EBADF, -EBADF};
	size_t n_fds = ARRAY_SIZE(fds);
	int pty = -EBADF;
	struct err e = ERR_INIT;
	ssize_t n = scm_recv(conn, &q, sizeof q, fds, &n_fds, -1);
	if (n <= (ssize_t)REQUEST_HEAD || ((char *)&q)[n - 1] != '\0')
		return false;
	int r = serve(m, &q, fds, conn, reply_ok(&reply), &pty, &e);
	reply.r = r;
	if (m->gone || (r < 0 && q.op == OP_CREATE))
		(void)remove_tree(m->o->dir); /* first: who reads the answer may use the id again */
	if (r < 0)
		(void)snprintf(reply.text, sizeof reply.text, "%s", err_text(&e, r));
	for (size_t i = 0; i < n_fds; i++)
		(void)close_fd(fds[i]);
	reply_send(conn, &reply, pty);
	(void)close_fd(pty);
	if (r == 0)
		keep_waiter(m, &q, conn);
	return r == 0;
}

/* ---- the process */

/* It outlives its command, and must hold nothing of it but the connection. */
static void detach(int *conn)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	(void)setsid();
	for (int i = 0; i < 3; i++)
		(void)dup2(null, i);
	int kept = fcntl(*conn, F_DUPFD_CLOEXEC, 100);
	(void)dup3(kept, 3, O_CLOEXEC);
	(void)syscall(SYS_close_range, 4, ~0U, 0);
	*conn = 3;
}

static int listen_at(const char *dir)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int r = path_format(a.sun_path, sizeof a.sun_path, "%s/" SOCKET_NAME, dir);
	if (r < 0)
		return r;
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 64) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static void loop(struct monitor *m)
{
	struct pollfd p[1 + ARRAY_SIZE(m->processes)];
	while (!m->gone) {
		p[0] = (struct pollfd){.fd = m->listener, .events = POLLIN};
		for (size_t i = 0; i < ARRAY_SIZE(m->processes); i++)
			p[1 + i] = (struct pollfd){.fd = m->processes[i].pidfd, .events = POLLIN};
		if (poll(p, ARRAY_SIZE(p), -1) < 0)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(m->processes); i++)
			if (p[1 + i].revents)
				reap(m, &m->processes[i]);
		if (p[0].revents) {
			_cleanup_close_ int conn = accept4(m->listener, NULL, NULL, SOCK_CLOEXEC);
			if (conn >= 0)
				(void)serve_connection(m, conn);
		}
	}
}

void monitor_run(const struct monitor_options *o, int conn)
{
	static struct monitor m;
	m = (struct monitor){.o = o, .listener = -EBADF};
	for (size_t i = 0; i < ARRAY_SIZE(m.processes); i++)
		m.processes[i] = (struct process){.pidfd = -EBADF, .waiter = -EBADF};
	detach(&conn);
	m.listener = listen_at(o->dir);
	if (m.listener >= 0 && serve_connection(&m, conn)) {
		(void)close_fd(conn);
		loop(&m);
	}
	(void)remove_tree(o->dir);
	engine_free(m.engine);
	oci_spec_free(m.spec);
	exit(0);
}
