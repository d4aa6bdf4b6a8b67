/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/logger.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "io/child.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>

/* The field's runtime gives it as long to get ready; containerd, no limit at all. */
#define READY_MS 10000
/* What containerd's own shim grants between SIGTERM and SIGKILL, and here also before. */
#define DRAIN_MS 12000
#define TERM_MS 12000

struct logger {
	struct logger_params params;
	struct stdio_uri uri;
	const char *path;	      /* the URI's */
	char id[512], namespace[512]; /* as NAME=value */
	struct child child;
	int out, errout;   /* write ends, until taken */
	int ready;	   /* read end, until it is ready */
	int theirs[3];	   /* its ends, until it is started */
	bool starting;	   /* a worker has it */
	bool freed;	   /* ...and nobody else any more */
	bool is_ready;	   /* on_ready has told so */
	bool sent_sigterm; /* ...and the next is SIGKILL */
	struct loop_io *ready_io, *pidfd_io;
	struct loop_timer *timer;
	int r; /* of the start */
	struct err e;
	void (*ended)(void *arg);
	void *ended_arg;
};

static void destroy(struct logger *l)
{
	loop_io_free(l->ready_io);
	loop_io_free(l->pidfd_io);
	loop_timer_free(l->timer);
	child_destroy(&l->child);
	(void)close_fd(l->out);
	(void)close_fd(l->errout);
	(void)close_fd(l->ready);
	for (size_t i = 0; i < ARRAY_SIZE(l->theirs); i++)
		(void)close_fd(l->theirs[i]);
	stdio_uri_free(&l->uri);
	free(l);
}

/* ---- Getting ready ------------------------------------------------------------------------- */

static void stop_waiting(struct logger *l)
{
	loop_timer_stop(l->timer);
	loop_io_free(TAKE_PTR(l->ready_io));
	l->ready = close_fd(l->ready);
}

static void fail(struct logger *l, int r, const struct err *e)
{
	stop_waiting(l);
	loop_io_free(TAKE_PTR(l->pidfd_io));
	child_destroy(&l->child);
	l->params.on_ready(l->params.arg, r, e); /* may free it */
}

static void become_ready(struct logger *l)
{
	stop_waiting(l);
	l->is_ready = true;
	l->params.on_ready(l->params.arg, 0, NULL);
}

/* Whether it is about to end. A process gives up its memory before its descriptors, so once the
 * ready pipe is closed by its end, it has no program any more. Source: kernel/exit.c, do_exit(). */
static bool is_exiting(const struct logger *l)
{
	char path[64], target[8];

	(void)snprintf(path, sizeof path, "/proc/%d/exe", (int)l->child.pid);
	return readlink(path, target, sizeof target) < 0;
}

static void on_ready_pipe(void *arg, unsigned events)
{
	struct logger *l = arg;
	struct err e = ERR_INIT;
	char c;
	ssize_t n = read(l->ready, &c, 1);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		become_ready(l);
	} else if (is_exiting(l)) {
		loop_io_set(l->ready_io, 0); /* its end is about to be told, with the reason */
	} else if (l->uri.must_say_ready) {
		int r = err_status(&e, STATUS_FAILED_PRECONDITION,
				   "logging binary %s closed its ready pipe without a byte, which "
				   "binary-v2:// asks for",
				   l->path);
		fail(l, r, &e);
	} else {
		become_ready(l);
	}
}

static void on_timer(void *arg)
{
	struct logger *l = arg;
	struct err e = ERR_INIT;

	if (!l->is_ready) {
		int r = err_status(&e, STATUS_DEADLINE_EXCEEDED,
				   "logging binary %s was not ready within %llu ms", l->path,
				   (unsigned long long)l->params.ready_ms);
		fail(l, r, &e);
	} else if (!l->sent_sigterm) {
		log_warn("logging binary %s does not end with its input: sending SIGTERM", l->path);
		l->sent_sigterm = true;
		(void)child_kill(&l->child, SIGTERM);
		loop_timer_start(l->timer, l->params.term_ms);
	} else {
		log_warn("logging binary %s does not end on SIGTERM: killing it", l->path);
		(void)child_kill(&l->child, SIGKILL);
	}
}

/* ---- Its end ------------------------------------------------------------------------------- */

static void tell_end(struct logger *l)
{
	void (*ended)(void *arg) = TAKE_PTR(l->ended);

	loop_timer_stop(l->timer);
	if (ended)
		ended(l->ended_arg); /* may free it */
}

static void on_exit_event(void *arg, unsigned events)
{
	struct logger *l = arg;
	struct err e = ERR_INIT;
	int status = -1;

	loop_io_free(TAKE_PTR(l->pidfd_io));
	(void)child_wait(&l->child, time_now_ms(), &status);
	if (!l->is_ready) {
		int r = err_status(&e, STATUS_FAILED_PRECONDITION,
				   "logging binary %s ended with %d before it was ready", l->path,
				   status);
		fail(l, r, &e);
		return;
	}
	if (!l->ended || status != 0)
		log_warn("logging binary %s ended with %d%s", l->path, status,
			 l->ended ? "" : ", before its input did");
	tell_end(l);
}

void logger_end(struct logger *l, void (*done)(void *arg), void *arg)
{
	l->ended = done;
	l->ended_arg = arg;
	/* in case that they were never taken */
	l->out = close_fd(l->out);
	l->errout = close_fd(l->errout);
	if (l->child.pidfd < 0)
		tell_end(l);
	else
		loop_timer_start(l->timer, l->params.drain_ms);
}

/* ---- Its start ----------------------------------------------------------------------------- */

static int spawn(struct logger *l, struct err *e)
{
	const struct stdio_uri *uri = &l->uri;
	const char *argv[STDIO_ARGS_MAX + 2] = {l->path};
	const char *const envp[] = {l->id, l->namespace, NULL};
	const struct child_fd fds[] = {{l->theirs[0], 3}, {l->theirs[1], 4}, {l->theirs[2], 5}};
	struct child_spec spec = CHILD_SPEC_INIT;

	for (size_t i = 0; uri->args[i]; i++)
		argv[i + 1] = uri->args[i];
	spec.argv = argv;
	spec.envp = envp;
	spec.fds = fds;
	spec.n_fds = ARRAY_SIZE(fds);
	int r = child_spawn(&spec, &l->child, e);
	return r < 0 ? err_wrap(e, r, "start the logging binary") : 0;
}

static int watch(struct logger *l, struct err *e)
{
	int r = loop_io_new(l->params.loop, l->ready, LOOP_READ, on_ready_pipe, l, &l->ready_io);
	if (r == 0)
		r = loop_io_new(l->params.loop, l->child.pidfd, LOOP_READ, on_exit_event, l,
				&l->pidfd_io);
	if (r == 0)
		loop_timer_start(l->timer, l->params.ready_ms);
	return r < 0 ? err_errno(e, r, "watch logging binary %s", l->path) : 0;
}

static void on_started(void *arg)
{
	struct logger *l = arg;

	l->starting = false;
	if (l->freed) {
		destroy(l);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(l->theirs); i++)
		l->theirs[i] = close_fd(l->theirs[i]);
	if (l->r == 0)
		l->r = watch(l, &l->e);
	if (l->r < 0)
		fail(l, l->r, &l->e);
}

static void start_on_worker(void *arg)
{
	struct logger *l = arg;

	l->r = spawn(l, &l->e);
	if (loop_post(l->params.loop, on_started, l) < 0)
		log_error("out of memory: the start of logging binary %s is not told", l->path);
}

static int make_pipe(int *ret_read, int *ret_write, int *ours)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*ret_read = fds[0];
	*ret_write = fds[1];
	return fcntl(*ours, F_SETFL, fcntl(*ours, F_GETFL) | O_NONBLOCK) < 0 ? -errno : 0;
}

static int prepare(struct logger *l, const struct logger_params *p)
{
	int r = path_format(l->id, sizeof l->id, "CONTAINER_ID=%s", p->id);
	if (r == 0)
		r = path_format(l->namespace, sizeof l->namespace, "CONTAINER_NAMESPACE=%s",
				p->namespace);
	if (r == 0)
		r = make_pipe(&l->theirs[0], &l->out, &l->out);
	if (r == 0)
		r = make_pipe(&l->theirs[1], &l->errout, &l->errout);
	if (r == 0)
		r = make_pipe(&l->ready, &l->theirs[2], &l->ready);
	if (r == 0)
		r = loop_timer_new(p->loop, on_timer, l, &l->timer);
	return r;
}

int logger_new(const struct logger_params *p, struct logger **ret, struct err *e)
{
	struct logger *l = calloc(1, sizeof *l);
	if (!l)
		return err_set(e, -ENOMEM, "out of memory");
	l->params = *p;
	l->params.ready_ms = p->ready_ms ? p->ready_ms : READY_MS;
	l->params.drain_ms = p->drain_ms ? p->drain_ms : DRAIN_MS;
	l->params.term_ms = p->term_ms ? p->term_ms : TERM_MS;
	l->child = CHILD_INIT;
	l->out = l->errout = l->ready = -EBADF;
	for (size_t i = 0; i < ARRAY_SIZE(l->theirs); i++)
		l->theirs[i] = -EBADF;
	l->e = ERR_INIT;
	l->path = p->uri->path;
	int r = prepare(l, p);
	if (r == 0) {
		l->starting = true;
		l->uri = *p->uri;
		r = worker_pool_run(p->workers, start_on_worker, l);
	}
	if (r < 0) {
		r = err_errno(e, r, "prepare logging binary %s", l->path);
		l->uri.text = NULL; /* stays the caller's */
		destroy(l);
		return r;
	}
	*p->uri = (struct stdio_uri){.kind = STDIO_NONE};
	*ret = l;
	return 0;
}

void logger_take(struct logger *l, struct stdio_out **ret_out, struct stdio_out **ret_err)
{
	if (stdio_out_fd(l->params.loop, l->out, -EBADF, ret_out) == 0)
		l->out = -EBADF;
	if (stdio_out_fd(l->params.loop, l->errout, -EBADF, ret_err) == 0)
		l->errout = -EBADF;
}

void logger_free(struct logger *l)
{
	if (!l)
		return;
	if (l->starting)
		l->freed = true;
	else
		destroy(l);
}
