/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/conn.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

/* Reads of one connection in one turn of the loop, so that a busy peer does not starve others. */
#define READS_PER_TURN 8
/* The same once sending has failed: what the peer sent before it went away should still count,
 * and a socket holds a few hundred KiB at most. */
#define READS_WHEN_BROKEN 128

static bool may_read(const struct rpc_conn *c)
{
	return !c->eof && c->out.bytes <= c->pause_at;
}

/* Frames that were left in the buffer when reading paused. */
static bool has_leftover(const struct rpc_conn *c)
{
	return c->out.bytes <= c->pause_at && rpc_reader_ready(&c->in);
}

static void update_watch(struct rpc_conn *c)
{
	unsigned events = 0;

	if (may_read(c))
		events |= LOOP_READ;
	else if (!c->eof && !c->hangup)
		events |= LOOP_HANGUP;
	/* A socket with room is writable at once, so LOOP_WRITE also means: come back soon. */
	if (c->out.bytes > 0 || c->broken || has_leftover(c))
		events |= LOOP_WRITE;
	/* Always set: libuv drops the watch by itself when the socket reports an error. */
	loop_io_set(c->io, events);
}

/* The owner hears of it from the loop, which the shutdown wakes: a socket that nobody reads from
 * would else stay silent. Input that has arrived can still be read. */
static void break_off(struct rpc_conn *c, int r)
{
	c->broken = r;
	rpc_queue_clear(&c->out);
	(void)shutdown(c->fd, SHUT_RDWR);
}

static void send_queued(struct rpc_conn *c)
{
	if (c->broken || c->out.bytes == 0)
		return;
	int r = rpc_queue_flush(&c->out, c->fd);
	if (r < 0 && r != -EAGAIN)
		break_off(c, r);
}

bool rpc_conn_gone(const struct rpc_conn *c)
{
	struct pollfd p = {.fd = c->fd};
	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

/* Hands out what is complete, until the owner must not be given more. */
static void deliver(struct rpc_conn *c, const bool *gone)
{
	struct rpc_frame_in f;

	while (c->out.bytes <= c->pause_at && rpc_reader_next(&c->in, &f) > 0) {
		c->ops->frame(c->arg, &f);
		if (*gone)
			return;
	}
}

/* Reads and delivers. Returns 0, or why there can be no further input; 1: end of file. */
static int take_input(struct rpc_conn *c, const bool *gone)
{
	deliver(c, gone);
	for (int i = 0; !*gone && i < (c->broken ? READS_WHEN_BROKEN : READS_PER_TURN); i++) {
		if (!may_read(c))
			return 0;
		ssize_t n = rpc_reader_fill(&c->in, c->fd);
		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		if (n == 0) {
			c->eof = true;
			return 1;
		}
		deliver(c, gone);
	}
	return 0;
}

static void on_io(void *arg, unsigned events)
{
	struct rpc_conn *c = arg;
	bool gone = false;

	c->gone = &gone;
	c->reading = true;
	send_queued(c);
	int broken = c->broken;
	int r = take_input(c, &gone);
	if (gone)
		return;
	c->reading = false;
	send_queued(c);

	/* What broke only now gets one more turn, for the input. */
	if (r >= 0 && broken)
		r = broken;
	if (r == 0 && (events & LOOP_HANGUP) && !may_read(c)) {
		c->hangup = true;
		if (rpc_conn_gone(c))
			r = -ECONNRESET;
	}
	if (r == 0 && c->ops->turned) {
		c->ops->turned(c->arg);
		if (gone)
			return;
	}
	if (r < 0)
		c->ops->lost(c->arg, r);
	else if (r == 1)
		c->ops->eof(c->arg);
	if (gone)
		return;
	c->gone = NULL;
	rpc_reader_trim(&c->in);
	update_watch(c);
}

int rpc_conn_open(struct rpc_conn *c, struct loop *loop, int fd, size_t pause_at,
		  const struct rpc_conn_ops *ops, void *arg)
{
	*c = (struct rpc_conn){
		.loop = loop, .fd = -EBADF, .pause_at = pause_at, .ops = ops, .arg = arg};
	rpc_queue_init(&c->out);
	int r = loop_io_new(loop, fd, LOOP_READ, on_io, c, &c->io);
	if (r < 0)
		return r;
	c->fd = fd;
	return 0;
}

void rpc_conn_close(struct rpc_conn *c)
{
	if (c->fd < 0)
		return;
	if (c->gone)
		*c->gone = true;
	loop_io_free(c->io);
	c->io = NULL;
	c->fd = close_fd(c->fd);
	rpc_reader_free(&c->in);
	rpc_queue_clear(&c->out);
}

void rpc_conn_queue(struct rpc_conn *c, struct rpc_frame *f)
{
	if (c->fd < 0 || c->broken) {
		rpc_frame_free(f);
		return;
	}
	if (!f) {
		break_off(c, -ENOMEM);
		return;
	}
	rpc_queue_push(&c->out, f);
	if (c->out.bytes > RPC_QUEUE_MAX)
		break_off(c, -ENOBUFS);
}

void rpc_conn_flush(struct rpc_conn *c)
{
	if (c->fd < 0 || c->reading)
		return;
	send_queued(c);
	update_watch(c);
}

void rpc_conn_flush_now(struct rpc_conn *c)
{
	if (c->fd < 0)
		return;
	send_queued(c);
	if (!c->reading)
		update_watch(c);
}

/* ---- Wake-ups ------------------------------------------------------------------------------ */

static void on_wake(void *arg, unsigned events)
{
	struct rpc_wake *w = arg;
	uint64_t count;

	if (read(w->fd, &count, sizeof count) > 0)
		w->fn(w->arg);
}

int rpc_wake_open(struct rpc_wake *w)
{
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return w->fd < 0 ? -errno : 0;
}

int rpc_wake_watch(struct rpc_wake *w, struct loop *loop, void (*fn)(void *arg), void *arg)
{
	w->fn = fn;
	w->arg = arg;
	return loop_io_new(loop, w->fd, LOOP_READ, on_wake, w, &w->io);
}

void rpc_wake_up(struct rpc_wake *w)
{
	uint64_t one = 1;
	/* Fails only when the counter is full, and then the loop is due to wake anyway. */
	(void)!write(w->fd, &one, sizeof one);
}

void rpc_wake_close(struct rpc_wake *w)
{
	loop_io_free(w->io);
	w->io = NULL;
	w->fd = close_fd(w->fd);
}
