/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The QEMU driver: one process a machine, which is given everything as an inherited descriptor: the
 * control socket (QMP), the console, the vsock device, the file servers' sockets. So there is no
 * path to agree on, nothing to retry, and nothing to clean up but the process.
 *
 * Threads: workers build and start (start, stop, add_device); the loop thread owns QMP, the console
 * and stderr. The two texts are under `text_lock`, which is taken alone. What the guest writes to
 * its console, and QEMU to QMP and stderr, is not trusted: it is bounded and cleaned.
 */
#include "hypervisor/qemu/qemu.h"

#include "base/fd.h"
#include "base/log.h"
#include "hypervisor/machine.h"
#include "hypervisor/qemu/argv.h"
#include "hypervisor/qemu/check.h"
#include "hypervisor/qemu/exit.h"
#include "hypervisor/qemu/qmp.h"
#include "hypervisor/qemu/vsock.h"
#include "hypervisor/tail.h"
#include "vhost_user/vhost-vsock.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* A panic with its registers and call trace is about 4 KiB. */
#define CONSOLE_TAIL (16 * 1024)
#define STDERR_TAIL 2048
/* What a dead QEMU may have left in a pipe or socket: their buffers' usual size. */
#define LEFTOVER_MAX (256 * 1024)

/* A user-space device's CIDs are seen by its own guest only, so every guest has the first one. */
#define USER_VSOCK_CID 3

/* The child's descriptor numbers. */
enum {
	FD_QMP = 3,
	FD_CONSOLE,
	FD_VSOCK,
	FD_FS, /* and up */
	FD_END = FD_FS + QEMU_FS_MAX,
};

/* A text that arrives on a descriptor. The watch is the loop thread's. */
struct text {
	struct qemu *q;
	int fd;
	struct loop_io *io;
	struct tail tail; /* under text_lock */
};

struct qemu {
	struct machine m; /* first */
	enum accel accel;
	char *cmdline;
	struct qemu_argv_fs fs[QEMU_FS_MAX]; /* fd: ours until start; tag: owned */
	size_t n_fs;

	int qmp_fd; /* until the loop thread takes it */
	struct qmp *qmp;
	char shutdown_reason[64];

	pthread_mutex_t text_lock;
	struct text console, errout;
	char panic_line[256];

	uint32_t guest_cid;		/* 0 before start */
	struct vhost_vsock *user_vsock; /* NULL: the kernel's device serves */
};

static struct qemu *qemu_of(void *hypervisor)
{
	return hypervisor;
}

/* ---- Console and stderr ---------------------------------------------------------------------- */

static void on_console_line(void *arg, const char *line)
{
	struct qemu *q = arg;
	const char *panic = qemu_panic_message(line);

	if (panic && !q->panic_line[0])
		(void)snprintf(q->panic_line, sizeof q->panic_line, "%s", panic);
	if (q->m.base.params.config->hypervisor.enable_debug)
		log_debug("guest console: %s", line);
}

static void on_errout_line(void *arg, const char *line)
{
	log_warn("qemu: %s", line);
}

/* Reads once. Returns what read(2) did; 0 also when there is nothing more to come. */
static ssize_t text_read(struct text *t)
{
	char data[4096];
	ssize_t n = read(t->fd, data, sizeof data);

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR) ? -EAGAIN : 0;
	pthread_mutex_lock(&t->q->text_lock);
	tail_feed(&t->tail, data, (size_t)n);
	pthread_mutex_unlock(&t->q->text_lock);
	return n;
}

static void on_text(void *arg, unsigned events)
{
	struct text *t = arg;
	if (text_read(t) == 0 || (events & LOOP_HANGUP))
		loop_io_free(TAKE_PTR(t->io)); /* what is left is read when the process has ended */
}

static void text_drain(struct text *t)
{
	size_t sum = 0;
	ssize_t n;
	while (t->fd >= 0 && sum < LEFTOVER_MAX && (n = text_read(t)) > 0)
		sum += (size_t)n;
	pthread_mutex_lock(&t->q->text_lock);
	tail_flush(&t->tail);
	pthread_mutex_unlock(&t->q->text_lock);
}

static int text_watch(struct text *t)
{
	return loop_io_new(t->q->m.base.params.loop, t->fd, LOOP_READ, on_text, t, &t->io);
}

static void text_close(struct text *t)
{
	loop_io_free(TAKE_PTR(t->io));
	t->fd = close_fd(t->fd);
}

/* ---- QMP ------------------------------------------------------------------------------------- */

static void on_status(void *arg, const json_t *result, const struct err *fail)
{
	struct qemu *q = arg;
	const char *status = json_string_value(json_object_get(result, "status"));

	if (fail)
		machine_give_up(&q->m, "%s", fail->text);
	else if (status && strcmp(status, "running") == 0)
		machine_running(&q->m);
	else
		machine_give_up(&q->m, "QEMU's machine is in state \"%.32s\" instead of running",
				status ? status : "");
}

static void on_qmp_ready(void *arg)
{
	struct qemu *q = arg;
	struct err e = ERR_INIT;
	if (qmp_execute(q->qmp, "query-status", NULL, on_status, q, &e) < 0)
		machine_give_up(&q->m, "%s", e.text);
}

static void on_qmp_event(void *arg, const char *name, const json_t *data)
{
	struct qemu *q = arg;
	const char *reason = json_string_value(json_object_get(data, "reason"));

	if (strcmp(name, "SHUTDOWN") == 0 && reason)
		(void)snprintf(q->shutdown_reason, sizeof q->shutdown_reason, "%s", reason);
	else if (strcmp(name, "GUEST_PANICKED") == 0)
		(void)snprintf(q->shutdown_reason, sizeof q->shutdown_reason, "guest-panic");
	log_debug("qemu event: %.64s%s%.64s", name, reason ? ", " : "", reason ? reason : "");
}

/* Without QMP a machine cannot come up; one that runs keeps running, and is ended by signals. */
static void on_qmp_closed(void *arg, int r, const char *why)
{
	struct qemu *q = arg;
	pthread_mutex_lock(&q->m.lock);
	bool starting = q->m.phase == MACHINE_STARTING;
	pthread_mutex_unlock(&q->m.lock);
	if (r < 0 && starting)
		machine_give_up(&q->m, "%s", why);
	else if (r < 0)
		log_warn("sandbox %s: control connection to QEMU given up: %s",
			 q->m.base.params.sandbox_id, why);
}

static const struct qmp_handlers qmp_handlers = {
	.ready = on_qmp_ready,
	.event = on_qmp_event,
	.closed = on_qmp_closed,
};

/* ---- Hooks of the machine (loop thread) ------------------------------------------------------ */

static int hook_attach(struct machine *m, struct err *e)
{
	struct qemu *q = qemu_of(m);
	int r = text_watch(&q->console);
	if (r == 0)
		r = text_watch(&q->errout);
	if (r < 0)
		return err_errno(e, r, "watch QEMU's console and stderr");
	return qmp_new(m->base.params.loop, TAKE_FD(q->qmp_fd), &qmp_handlers, q, &q->qmp, e);
}

static bool hook_ask_quit(struct machine *m)
{
	return qmp_execute(qemu_of(m)->qmp, "quit", NULL, NULL, NULL, NULL) == 0;
}

static void hook_ended(struct machine *m, int status, char *reason, size_t size)
{
	struct qemu *q = qemu_of(m);
	char said[STDERR_TAIL];

	if (q->qmp)
		qmp_drain(q->qmp);
	text_drain(&q->console);
	text_drain(&q->errout);
	pthread_mutex_lock(&q->text_lock);
	tail_text(&q->errout.tail, said, sizeof said);
	struct qemu_exit x = {
		.status = status,
		.shutdown_reason = q->shutdown_reason,
		.panic_line = q->panic_line,
		.stderr_text = said,
		.memory_mib = m->base.params.config->hypervisor.default_memory,
	};
	qemu_exit_reason(&x, reason, size);
	pthread_mutex_unlock(&q->text_lock);
}

static void hook_detach(struct machine *m)
{
	struct qemu *q = qemu_of(m);
	qmp_free(TAKE_PTR(q->qmp));
	q->qmp_fd = close_fd(q->qmp_fd);
	text_close(&q->console);
	text_close(&q->errout);
}

static const struct machine_hooks hooks = {
	.process_name = "QEMU",
	.attach = hook_attach,
	.ask_quit = hook_ask_quit,
	.ended = hook_ended,
	.detach = hook_detach,
};

/* ---- Starting (worker) ----------------------------------------------------------------------- */

/* The child's ends; closed when start returns, whatever happened. */
struct child_ends {
	struct child_fd fds[FD_END];
	size_t n;
	int errout;
};

static void child_ends_close(struct child_ends *c)
{
	for (size_t i = 0; i < c->n; i++)
		(void)close(c->fds[i].fd);
	c->errout = close_fd(c->errout);
}

static void give(struct child_ends *c, int fd, int as)
{
	c->fds[c->n++] = (struct child_fd){fd, as};
}

static int make_pair(int *ret_ours, struct child_ends *c, int as)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	*ret_ours = pair[0];
	give(c, pair[1], as);
	return fd_set_nonblock(pair[0], true);
}

static int make_connections(struct qemu *q, struct child_ends *c, struct err *e)
{
	int pipe_fds[2], r = make_pair(&q->qmp_fd, c, FD_QMP);
	if (r == 0)
		r = make_pair(&q->console.fd, c, FD_CONSOLE);
	if (r < 0)
		return err_errno(e, r, "make a socket pair");
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "make a pipe");
	q->errout.fd = pipe_fds[0];
	c->errout = pipe_fds[1];
	r = fd_set_nonblock(pipe_fds[0], true);
	return r < 0 ? err_errno(e, r, "make a pipe") : 0;
}

static int make_vsock(struct qemu *q, struct child_ends *c, struct qemu_argv_params *p,
		      struct err *e)
{
	const struct hypervisor_params *params = &q->m.base.params;
	int fd, r;

	if (qemu_vhost_vsock_present() && !params->config->hypervisor.disable_vhost_vsock) {
		r = fd = qemu_vhost_vsock_open(&q->guest_cid, e);
		p->vsock = QEMU_VSOCK_VHOST;
	} else {
		/* Where tools reach the guest: the field's name, and the protocol of its VMMs. */
		char hybrid[sizeof((struct sockaddr_un *)0)->sun_path];
		r = path_format(hybrid, sizeof hybrid, "%s/kata.hvsock", params->run_dir);
		bool fits = r == 0;
		if (!fits)
			log_warn("no kata.hvsock: %s is too long for a socket's path",
				 params->run_dir);
		q->guest_cid = USER_VSOCK_CID;
		r = vhost_vsock_new(params->loop, q->guest_cid, fits ? hybrid : NULL,
				    &q->user_vsock, &fd, e);
		p->vsock = QEMU_VSOCK_USER;
	}
	if (r < 0)
		return err_wrap(e, r, "make the vsock device");
	/* QEMU's copy is the only one: with its end all connections are reset. */
	give(c, fd, FD_VSOCK);
	p->vsock_fd = FD_VSOCK;
	p->guest_cid = q->guest_cid;
	return 0;
}

/* Moves the file servers' sockets to the child. */
static void give_fs(struct qemu *q, struct child_ends *c, struct qemu_argv_fs *fs)
{
	for (size_t i = 0; i < q->n_fs; i++) {
		fs[i] = q->fs[i];
		fs[i].fd = FD_FS + (int)i;
		give(c, TAKE_FD(q->fs[i].fd), fs[i].fd);
	}
}

static int spawn(struct qemu *q, struct child_ends *c, struct qemu_argv_params *p,
		 uint64_t deadline_ms, struct err *e)
{
	/* Nothing of our environment is QEMU's business. */
	static const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	struct qemu_argv argv;
	int r = qemu_argv_build(p, &argv, e);
	if (r < 0)
		return r;
	struct child_spec spec = CHILD_SPEC_INIT;
	spec.argv = (const char *const *)argv.v;
	spec.envp = env;
	spec.errout = c->errout;
	spec.fds = c->fds;
	spec.n_fds = c->n;
	spec.cwd = "/";
	spec.netns_fd = q->m.base.params.netns_fd;
	spec.new_session = true; /* a terminal's or a caller's group signals are not for it */
	r = machine_start(&q->m, &spec, deadline_ms, e);
	qemu_argv_free(&argv);
	return r;
}

static int op_start(struct hypervisor *h, uint64_t deadline_ms, struct err *e)
{
	struct qemu *q = qemu_of(h);
	_cleanup_(child_ends_close) struct child_ends ends = {.errout = -EBADF};
	struct qemu_argv_fs fs[QEMU_FS_MAX];
	struct qemu_argv_params p = {
		.config = &h->params.config->hypervisor,
		.sandbox_id = h->params.sandbox_id,
		.accel = q->accel,
		.kernel_cmdline = q->cmdline,
		.qmp_fd = FD_QMP,
		.console_fd = FD_CONSOLE,
		.fs = fs,
		.n_fs = q->n_fs,
	};

	int r = make_connections(q, &ends, e);
	if (r == 0)
		r = make_vsock(q, &ends, &p, e);
	if (r < 0)
		return r;
	give_fs(q, &ends, fs);
	return spawn(q, &ends, &p, deadline_ms, e);
}

/* ---- The other ops --------------------------------------------------------------------------- */

static int op_add_device(struct hypervisor *h, const struct hypervisor_device *d, struct err *e)
{
	struct qemu *q = qemu_of(h);

	if (d->type != DEVICE_VHOST_USER_FS)
		return err_status(e, STATUS_UNIMPLEMENTED, "QEMU driver: device type %d is unknown",
				  (int)d->type);
	if (q->n_fs == QEMU_FS_MAX)
		return err_status(e, STATUS_RESOURCE_EXHAUSTED,
				  "QEMU driver: at most %d file systems", QEMU_FS_MAX);
	/* virtio-fs (virtio 1.2, 5.11.4): 36 bytes of tag. */
	if (!d->fs.tag || !d->fs.tag[0] || strlen(d->fs.tag) > 36)
		return err_set(e, -EINVAL, "virtio-fs tag \"%.64s\": must have 1 to 36 bytes",
			       d->fs.tag ? d->fs.tag : "");
	unsigned size = d->fs.queue_size ? d->fs.queue_size : 1024;
	if (size > 1024 || (size & (size - 1)))
		return err_set(e, -EINVAL,
			       "virtio_fs_queue_size = %u: must be a power of two up to 1024",
			       size);
	char *tag = strdup(d->fs.tag);
	if (!tag)
		return err_errno(e, -ENOMEM, "add a file system");
	q->fs[q->n_fs++] = (struct qemu_argv_fs){d->fs.fd, tag, size};
	return 0;
}

static int op_stop(struct hypervisor *h, uint64_t grace_ms, struct err *e)
{
	return machine_stop((struct machine *)h, grace_ms, e);
}

static void op_console_tail(struct hypervisor *h, char *dst, size_t size)
{
	struct qemu *q = qemu_of(h);
	pthread_mutex_lock(&q->text_lock);
	tail_text(&q->console.tail, dst, size);
	pthread_mutex_unlock(&q->text_lock);
}

static int op_agent_address(struct hypervisor *h, struct agent_address *ret, struct err *e)
{
	struct qemu *q = qemu_of(h);
	if (!q->guest_cid)
		return err_status(e, STATUS_FAILED_PRECONDITION,
				  "the machine has no vsock before it is started");
	ret->transport = q->user_vsock ? AGENT_INPROC : AGENT_VSOCK;
	ret->cid = q->guest_cid;
	return 0;
}

static int op_connect(struct hypervisor *h, uint32_t port, uint64_t deadline_ms, struct err *e)
{
	return vhost_vsock_connect(qemu_of(h)->user_vsock, port, deadline_ms, e);
}

static void free_members(struct qemu *q)
{
	for (size_t i = 0; i < q->n_fs; i++) {
		(void)close_fd(q->fs[i].fd);
		free((char *)q->fs[i].tag);
	}
	vhost_vsock_free(q->user_vsock);
	free(q->cmdline);
	tail_free(&q->console.tail);
	tail_free(&q->errout.tail);
	pthread_mutex_destroy(&q->text_lock);
}

static void op_destroy(struct hypervisor *h)
{
	struct qemu *q = qemu_of(h);
	machine_shutdown(&q->m);
	free_members(q);
	machine_unref(&q->m);
}

static int make_texts(struct qemu *q, struct err *e)
{
	pthread_mutex_init(&q->text_lock, NULL);
	q->console.q = q->errout.q = q;
	q->console.fd = q->errout.fd = q->qmp_fd = -EBADF;
	int r = tail_init(&q->console.tail, CONSOLE_TAIL, on_console_line, q);
	if (r == 0)
		r = tail_init(&q->errout.tail, STDERR_TAIL, on_errout_line, q);
	return r < 0 ? err_errno(e, r, "make the console buffer") : 0;
}

static int op_create(const struct hypervisor_params *p, struct hypervisor **ret, struct err *e)
{
	const struct hypervisor_config *c = &p->config->hypervisor;
	_cleanup_free_ char *cmdline = NULL, *agent_params = config_agent_kernel_params(p->config);
	char why[256];
	enum accel accel;

	int r = agent_params ? qemu_check_config(c, qemu_host_memory_mib(), e)
			     : err_errno(e, -ENOMEM, "build the agent's kernel parameters");
	if (r == 0)
		r = accel_choose(c->accelerator, &accel, why, sizeof why, e);
	if (r == 0)
		r = qemu_kernel_cmdline(p->config, agent_params, &cmdline, e);
	if (r < 0)
		return r;

	struct qemu *q = calloc(1, sizeof *q);
	if (!q)
		return err_errno(e, -ENOMEM, "make a machine");
	r = machine_init(&q->m, &qemu_hypervisor_ops, &hooks, p, e);
	if (r < 0) {
		free(q);
		return r;
	}
	r = make_texts(q, e);
	if (r < 0) {
		free_members(q);
		machine_unref(&q->m);
		return r;
	}
	q->accel = accel;
	q->m.base.emulated = accel == ACCEL_TCG;
	q->m.base.slow = accel_is_slow(accel);
	q->cmdline = TAKE_PTR(cmdline);
	log_info("sandbox %s: accelerator %s", p->sandbox_id, why);
	*ret = &q->m.base;
	return 0;
}

const struct hypervisor_ops qemu_hypervisor_ops = {
	.name = "qemu",
	.create = op_create,
	.add_device = op_add_device,
	.start = op_start,
	.stop = op_stop,
	.console_tail = op_console_tail,
	.agent_address = op_agent_address,
	.connect = op_connect,
	.destroy = op_destroy,
};
