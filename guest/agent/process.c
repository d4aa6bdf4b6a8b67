/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process of a container, from its start until its end has been collected.
 *
 * WaitProcess may come at any time and is answered at the exit, before the output has been read:
 * the record stays until both have happened (the feature "early-wait"). A client that reads the
 * streams to their ends first, and waits then, finds the record gone afterwards, as with the
 * original.
 */
#include "guest/agent/agent.h"

#include "base/fd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* How long an exited process that was waited for stays when nobody has ever read its output: its
 * client has none to read it for. A slow reader is not meant: it has read before. */
#define LINGER_MS (30 * 1000)

/* Room for output between two reads of the runtime. The pipe takes memory only for what is in it.
 * Source: fs/pipe.c, the default of pipe-max-size. */
#define PIPE_BYTES (1u << 20)

/* ---- Life --------------------------------------------------------------------------------- */

/* Whether a call that waits may be answered: all output is delivered, or it asked for the end. */
static bool may_answer(const struct process *p, const struct waiter *w)
{
	const Grpc__WaitProcessRequest *q = (const void *)rpc_call_request(w->call);
	return !p->exited || q->early || (!p->flow_out && !p->flow_err);
}

/* Returns whether anybody heard it: not those whose connection is gone. */
static bool answer_waiters(struct process *p)
{
	bool heard = false;
	struct list *l, *next;
	Grpc__WaitProcessResponse response = GRPC__WAIT_PROCESS_RESPONSE__INIT;

	response.status = p->status;
	list_for_each_safe (l, next, &p->waiters) {
		struct waiter *w = list_entry(l, struct waiter, link);
		if (!may_answer(p, w))
			continue;
		list_del(&w->link);
		p->n_waiters--;
		heard |= rpc_call_wanted(w->call);
		if (p->exited)
			rpc_call_reply(w->call, &response.base);
		else
			rpc_call_failf(w->call, STATUS_NOT_FOUND,
				       "container %s: process \"%s\" was removed", p->container->id,
				       p->exec_id);
		free(w);
	}
	return heard;
}

void process_destroy(struct process *p)
{
	struct container *c = p->container;

	tidy_later(c->agent);
	list_del(&p->link);
	c->n_processes--;
	flow_in_free(TAKE_PTR(p->flow_in));
	flow_out_free(TAKE_PTR(p->flow_out));
	flow_out_free(TAKE_PTR(p->flow_err));
	(void)answer_waiters(p);
	loop_io_free(p->pidfd_io);
	loop_timer_free(p->linger);
	stream_in_close(&p->in);
	stream_out_close(&p->out);
	stream_out_close(&p->err);
	(void)close_fd(p->pidfd);
	free(p);
}

static void destroy_later(void *arg)
{
	process_destroy(arg);
}

/* Nothing is left to ask about it. From the loop, since callers are still inside of its streams. */
static void forget_if_done(struct process *p)
{
	if (!p->exited || !p->waited)
		return;
	if (p->out.eof_seen && p->err.eof_seen)
		loop_timer_start(p->linger, 0);
	else if (!p->out.used && !p->err.used)
		loop_timer_start(p->linger, LINGER_MS);
	else
		loop_timer_stop(p->linger);
}

static void tell_end(struct process *p)
{
	if (list_empty(&p->waiters) || oom_holds_end(p->container))
		return;
	p->waited |= answer_waiters(p);
}

void process_tell_ends(struct container *c)
{
	struct list *l;

	list_for_each (l, &c->processes) {
		struct process *p = list_entry(l, struct process, link);
		if (!p->exited)
			continue;
		tell_end(p);
		forget_if_done(p);
	}
}

static void on_exit_event(void *arg, unsigned events)
{
	struct process *p = arg;
	siginfo_t info = {.si_pid = 0};

	/* __WALL: the engine's clone3() may have asked for no exit signal */
	if (waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG | __WALL) < 0) {
		if (errno == EINTR)
			return;
		log_error("container %s: process \"%s\" cannot be waited for: %s", p->container->id,
			  p->exec_id, strerror(errno));
		p->status = 255;
	} else if (info.si_pid == 0) {
		return;
	} else {
		p->status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
	}
	log_debug("container %s: process \"%s\" (%d) ended with %d", p->container->id, p->exec_id,
		  (int)p->pid, p->status);
	p->exited = true;
	loop_io_free(p->pidfd_io);
	p->pidfd_io = NULL;
	tell_end(p);
	stream_out_exited(&p->out);
	stream_out_exited(&p->err);
	forget_if_done(p);
	container_process_exited(p->container);
}

/* Makes room for a further record by dropping the oldest whose end was told. */
static void evict(struct container *c)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &c->processes) {
		struct process *p = list_entry(l, struct process, link);
		if (p->exited && p->waited && p->exec_id[0]) {
			process_destroy(p);
			return;
		}
	}
}

/* ---- Streams from the host ---------------------------------------------------------------- */

int process_take_streams(struct job *j, const uint32_t ports[3], struct err *e)
{
	/* what goes that way instead */
	static const char *const requests[] = {"WriteStreamRequest", "ReadStreamRequest",
					       "ReadStreamRequest"};

	for (size_t i = 0; i < ARRAY_SIZE(j->streams); i++) {
		if (!ports[i])
			continue;
		if (policy_ask(j->agent->policy, requests[i]) == POLICY_DENIED)
			return err_status(e, STATUS_PERMISSION_DENIED,
					  "stdio by port %" PRIu32 ": %s is blocked by policy",
					  ports[i], requests[i]);
		if (!j->agent->passfd)
			return err_set(e, -EINVAL,
				       "stdio by port %" PRIu32 ": this agent listens for no "
				       "streams (agent.passfd_listener_port)",
				       ports[i]);
		int fd = passfd_take(j->agent->passfd, ports[i], e);
		if (fd < 0)
			return fd;
		j->streams[i] = fd;
	}
	return 0;
}

static void flow_ended(struct process *p)
{
	if (!p->exited)
		return;
	tell_end(p);
	forget_if_done(p);
}

static void on_in_end(void *arg, int r)
{
	struct process *p = arg;
	flow_in_free(TAKE_PTR(p->flow_in));
}

static void on_out_end(void *arg, int r)
{
	struct process *p = arg;
	flow_out_free(TAKE_PTR(p->flow_out));
	flow_ended(p);
}

static void on_err_end(void *arg, int r)
{
	struct process *p = arg;
	flow_out_free(TAKE_PTR(p->flow_err));
	flow_ended(p);
}

static int add_flows(struct process *p, struct job *j)
{
	struct loop *loop = p->container->agent->loop;
	int r = 0;

	if (j->streams[0] >= 0)
		r = flow_in_new(loop, j->streams[0], &p->in, on_in_end, p, &p->flow_in);
	if (r == 0 && p->flow_in)
		j->streams[0] = -EBADF;
	if (r == 0 && j->streams[1] >= 0)
		r = flow_out_new(loop, j->streams[1], &p->out, on_out_end, p, &p->flow_out);
	if (r == 0 && p->flow_out)
		j->streams[1] = -EBADF;
	/* a terminal has one output; the end of a connection for another is told at once */
	if (r == 0 && j->streams[2] >= 0)
		r = flow_out_new(loop, j->streams[2], &p->err, on_err_end, p, &p->flow_err);
	if (r == 0 && p->flow_err)
		j->streams[2] = -EBADF;
	return r;
}

int process_add(struct container *c, struct job *j, struct err *e)
{
	struct loop *loop = c->agent->loop;
	struct process *p = calloc(1, sizeof *p);
	int in = -EBADF;

	if (!p)
		return err_set(e, -ENOMEM, "no memory for a process");
	list_init(&p->link);
	list_init(&p->waiters);
	p->container = c;
	p->pid = j->process.pid;
	p->pty = j->process.pty;
	p->pidfd = TAKE_FD(j->process.pidfd);
	(void)snprintf(p->exec_id, sizeof p->exec_id, "%s", j->exec_id);
	(void)stream_in_init(&p->in, loop, -EBADF, false);
	(void)stream_out_init(&p->out, loop, -EBADF);
	(void)stream_out_init(&p->err, loop, -EBADF);
	list_add_tail(&c->processes, &p->link);
	c->n_processes++;

	int r = loop_timer_new(loop, destroy_later, p, &p->linger);
	if (r == 0)
		r = loop_io_new(loop, p->pidfd, LOOP_READ, on_exit_event, p, &p->pidfd_io);
	if (r == 0 && p->pty >= 0) {
		/* the loop watches a descriptor once: reading and writing need one each */
		in = fcntl(p->pty, F_DUPFD_CLOEXEC, 3);
		r = in < 0 ? -errno : stream_in_init(&p->in, loop, in, true);
		if (r == 0)
			in = -EBADF;
		if (r == 0)
			r = stream_out_init(&p->out, loop, p->pty);
		if (r == 0)
			j->process.pty = -EBADF;
	} else if (r == 0) {
		r = stream_in_init(&p->in, loop, j->in, false);
		if (r == 0)
			j->in = -EBADF;
		if (r == 0)
			r = stream_out_init(&p->out, loop, j->out);
		if (r == 0)
			j->out = -EBADF;
		if (r == 0)
			r = stream_out_init(&p->err, loop, j->errout);
		if (r == 0)
			j->errout = -EBADF;
	}
	(void)close_fd(in);
	if (r == 0)
		r = add_flows(p, j);
	if (r < 0) {
		(void)syscall(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0);
		process_destroy(p);
		return err_errno(e, r, "watch the new process");
	}
	if (c->n_processes > PROCESSES_PER_CONTAINER_MAX)
		evict(c);
	return 0;
}

struct process *process_find(struct container *c, const char *exec_id)
{
	struct list *l;

	list_for_each (l, &c->processes) {
		struct process *p = list_entry(l, struct process, link);
		if (strcmp(p->exec_id, exec_id) == 0)
			return p;
	}
	return NULL;
}

static int make_pipe(struct job *j, int *ret_read, int *ret_write, struct err *e)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "make a pipe");
	uint32_t size = j->agent->options.pipe_size;
	/* a smaller pipe works too */
	(void)fcntl(fds[1], F_SETPIPE_SZ, (int)(size ? size : PIPE_BYTES));
	*ret_read = fds[0];
	*ret_write = fds[1];
	return 0;
}

int process_stdio(struct job *j, bool terminal, struct engine_stdio *io, int theirs[3],
		  struct err *e)
{
	*io = (struct engine_stdio){.in = -1, .out = -1, .errout = -1, .terminal = terminal};
	j->terminal = terminal;
	if (terminal)
		return 0;
	int r = make_pipe(j, &theirs[0], &j->in, e);
	if (r == 0)
		r = make_pipe(j, &j->out, &theirs[1], e);
	if (r == 0)
		r = make_pipe(j, &j->errout, &theirs[2], e);
	io->in = theirs[0];
	io->out = theirs[1];
	io->errout = theirs[2];
	return r;
}

/* ---- Calls -------------------------------------------------------------------------------- */

/* The process that a call names, or NULL: then the call has been answered. */
static struct process *lookup(struct agent *a, struct rpc_call *call, const char *cid,
			      const char *exec_id)
{
	struct err e = ERR_INIT;

	struct container *c = container_find(a, cid, &e);
	if (!c) {
		rpc_call_fail(call, &e);
		return NULL;
	}
	struct process *p = process_find(c, exec_id);
	if (!p && exec_id[0])
		rpc_call_failf(call, STATUS_NOT_FOUND, "container %s: process not found: \"%s\"",
			       cid, exec_id);
	else if (!p)
		rpc_call_failf(call, STATUS_NOT_FOUND, "container %s: init process not found", cid);
	return p;
}

/* A mask of /proc/PID/status, or 0. */
static uint64_t signal_mask(const char *status, const char *key)
{
	const char *at = strstr(status, key);
	return at ? strtoull(at + strlen(key), NULL, 16) : 0;
}

/*
 * The first process of a pid namespace gets no signal that it has no handler for, so a plain
 * SIGTERM would never end most containers. Like the original, this agent kills such an init at once
 * instead of leaving the runtime to wait out its grace period.
 */
static int effective_signal(const struct process *p, int signum)
{
	_cleanup_buf_ struct buf status = BUF_INIT;
	char path[64];

	if (signum != SIGTERM || p->exec_id[0])
		return signum;
	(void)snprintf(path, sizeof path, "/proc/%d/status", (int)p->pid);
	if (file_read(AT_FDCWD, path, 64 * 1024, &status) < 0 || !status.data)
		return signum;
	uint64_t handled = signal_mask(status.data, "SigCgt:") |
			   signal_mask(status.data, "SigIgn:") |
			   signal_mask(status.data, "SigBlk:");
	return handled & (1ull << (SIGTERM - 1)) ? signum : SIGKILL;
}

void process_signal(void *ctx, struct rpc_call *call)
{
	struct agent *a = ctx;
	const Grpc__SignalProcessRequest *q = (const void *)rpc_call_request(call);
	struct err e = ERR_INIT;

	if (q->signal >= (uint32_t)_NSIG) {
		rpc_call_failf(call, STATUS_INVALID_ARGUMENT, "signal %" PRIu32 ": no such signal",
			       q->signal);
		return;
	}
	if (!q->exec_id[0] && (q->signal == SIGKILL || q->all)) {
		struct container *c = container_find(a, q->container_id, &e);
		if (c)
			container_kill_all(c, call, (int)q->signal);
		else
			rpc_call_fail(call, &e);
		return;
	}
	struct process *p = lookup(a, call, q->container_id, q->exec_id);
	if (!p)
		return;
	if (!p->exited &&
	    syscall(SYS_pidfd_send_signal, p->pidfd, effective_signal(p, (int)q->signal), NULL, 0) <
		    0 &&
	    errno != ESRCH) {
		(void)err_errno(&e, -errno, "send signal %" PRIu32 " to process %d", q->signal,
				(int)p->pid);
		rpc_call_fail(call, &e);
		return;
	}
	reply_empty(call);
}

void process_wait(void *ctx, struct rpc_call *call)
{
	const Grpc__WaitProcessRequest *q = (const void *)rpc_call_request(call);

	struct process *p = lookup(ctx, call, q->container_id, q->exec_id);
	if (!p)
		return;
	if (p->n_waiters >= WAITERS_MAX) {
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED,
			       "more than %d calls wait for process \"%s\"", WAITERS_MAX,
			       q->exec_id);
		return;
	}
	struct waiter *w = malloc(sizeof *w);
	if (!w) {
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory for the request");
		return;
	}
	w->call = call;
	list_add_tail(&p->waiters, &w->link);
	p->n_waiters++;
	if (!p->exited)
		return;
	tell_end(p);
	forget_if_done(p);
}

/* What a waiting read or write needs to answer its call. */
struct io_call {
	struct rpc_call *call;
	struct agent *agent;
	bool hidden, errout; /* a read that is not to see anything */
};

/* The process may be gone when its stream answers: it is looked up anew. */
static void after_read(struct agent *a, const char *cid, const char *exec_id)
{
	struct container *c = container_find(a, cid, NULL);
	struct process *p = c ? process_find(c, exec_id) : NULL;
	if (p)
		forget_if_done(p);
}

static bool is_wanted(void *arg)
{
	const struct io_call *io = arg;
	return rpc_call_wanted(io->call);
}

static void begin_read(void *arg);

static void on_read(void *arg, int r, const void *data, size_t len)
{
	struct io_call *io = arg;
	const Grpc__ReadStreamRequest *q = (const void *)rpc_call_request(io->call);
	char cid[ID_MAX + 1], exec_id[ID_MAX + 1];

	/* in a turn of the loop of its own: there may be more output than ever ends */
	if (r == 0 && len > 0 && io->hidden) {
		if (loop_post(io->agent->loop, begin_read, io) == 0)
			return;
		len = 0;
	}
	(void)snprintf(cid, sizeof cid, "%s", q->container_id);
	(void)snprintf(exec_id, sizeof exec_id, "%s", q->exec_id);
	if (r < 0) {
		rpc_call_failf(io->call, STATUS_NOT_FOUND,
			       "container %s: process \"%s\" was removed", cid, exec_id);
	} else {
		Grpc__ReadStreamResponse response = GRPC__READ_STREAM_RESPONSE__INIT;
		response.data.data = (uint8_t *)data;
		response.data.len = len;
		rpc_call_reply(io->call, &response.base);
		if (len == 0)
			after_read(io->agent, cid, exec_id);
	}
	free(io);
}

static struct io_call *io_call_new(struct agent *a, struct rpc_call *call)
{
	struct io_call *io = malloc(sizeof *io);
	if (io)
		*io = (struct io_call){.call = call, .agent = a};
	else
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory for the request");
	return io;
}

static void begin_read(void *arg)
{
	struct io_call *io = arg;
	const Grpc__ReadStreamRequest *q = (const void *)rpc_call_request(io->call);

	struct process *p = lookup(io->agent, io->call, q->container_id, q->exec_id);
	if (!p) {
		free(io);
		return;
	}
	if (p->linger)
		loop_timer_stop(p->linger);
	int r = stream_out_read(io->errout ? &p->err : &p->out, q->len, is_wanted, on_read, io);
	if (r < 0) {
		rpc_call_failf(io->call, STATUS_RESOURCE_EXHAUSTED,
			       "more than %d reads wait for process \"%s\"", STREAM_WAITING_MAX,
			       q->exec_id);
		free(io);
	}
}

static void read_stream(struct agent *a, struct rpc_call *call, bool errout, bool hidden)
{
	const Grpc__ReadStreamRequest *q = (const void *)rpc_call_request(call);

	if (!lookup(a, call, q->container_id, q->exec_id))
		return;
	if (q->len == 0) {
		/* an empty answer would mean the end */
		rpc_call_failf(call, STATUS_INVALID_ARGUMENT, "len is 0: nothing to read into");
		return;
	}
	struct io_call *io = io_call_new(a, call);
	if (!io)
		return;
	io->errout = errout;
	io->hidden = hidden;
	begin_read(io);
}

void process_read_stdout(void *ctx, struct rpc_call *call)
{
	read_stream(ctx, call, false, false);
}

void process_read_stderr(void *ctx, struct rpc_call *call)
{
	read_stream(ctx, call, true, false);
}

void process_read_nothing(struct agent *a, struct rpc_call *call, bool errout)
{
	read_stream(a, call, errout, true);
}

static void on_written(void *arg, int r)
{
	struct io_call *io = arg;
	const Grpc__WriteStreamRequest *q = (const void *)rpc_call_request(io->call);
	Grpc__WriteStreamResponse response = GRPC__WRITE_STREAM_RESPONSE__INIT;

	response.len = (uint32_t)q->data.len;
	if (r < 0)
		rpc_call_failf(io->call, STATUS_FAILED_PRECONDITION,
			       "container %s: process \"%s\" takes no more input: %s",
			       q->container_id, q->exec_id, strerror(-r));
	else
		rpc_call_reply(io->call, &response.base);
	free(io);
}

void process_write_stdin(void *ctx, struct rpc_call *call)
{
	const Grpc__WriteStreamRequest *q = (const void *)rpc_call_request(call);

	struct process *p = lookup(ctx, call, q->container_id, q->exec_id);
	if (!p)
		return;
	if (q->data.len == 0) {
		Grpc__WriteStreamResponse response = GRPC__WRITE_STREAM_RESPONSE__INIT;
		stream_in_end(&p->in);
		rpc_call_reply(call, &response.base);
		return;
	}
	struct io_call *io = io_call_new(ctx, call);
	if (!io)
		return;
	int r = stream_in_write(&p->in, q->data.data, q->data.len, on_written, io);
	if (r == -EAGAIN) {
		free(io);
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED,
			       "too much input waits for process \"%s\"", q->exec_id);
	} else if (r < 0) {
		on_written(io, r);
	}
}

void process_close_stdin(void *ctx, struct rpc_call *call)
{
	const Grpc__CloseStdinRequest *q = (const void *)rpc_call_request(call);

	struct process *p = lookup(ctx, call, q->container_id, q->exec_id);
	if (!p)
		return;
	stream_in_end(&p->in);
	reply_empty(call);
}

void process_resize(void *ctx, struct rpc_call *call)
{
	const Grpc__TtyWinResizeRequest *q = (const void *)rpc_call_request(call);

	struct process *p = lookup(ctx, call, q->container_id, q->exec_id);
	if (!p)
		return;
	if (p->pty < 0) {
		rpc_call_failf(call, STATUS_UNAVAILABLE, "process \"%s\" has no terminal",
			       q->exec_id);
		return;
	}
	if (q->row > UINT16_MAX || q->column > UINT16_MAX) {
		rpc_call_failf(call, STATUS_INVALID_ARGUMENT,
			       "terminal size %" PRIu32 "x%" PRIu32 ": more than %d", q->row,
			       q->column, UINT16_MAX);
		return;
	}
	const struct winsize size = {.ws_row = (unsigned short)q->row,
				     .ws_col = (unsigned short)q->column};
	if (ioctl(p->pty, TIOCSWINSZ, &size) < 0) {
		rpc_call_failf(call, STATUS_INTERNAL, "set the terminal's size: %s",
			       strerror(errno));
		return;
	}
	reply_empty(call);
}
