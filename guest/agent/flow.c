/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/flow.h"

#include "base/fd.h"

#include <string.h>
#include <sys/socket.h>

/* The end is told from the loop: where it is noticed, the stream is still at work. */
struct end {
	void (*ended)(void *arg, int r);
	void *arg;
	int r;
	struct loop_timer *timer;
};

static void on_end(void *arg)
{
	struct end *e = arg;
	e->ended(e->arg, e->r);
}

static int end_init(struct end *e, struct loop *loop, void (*ended)(void *arg, int r), void *arg)
{
	e->ended = ended;
	e->arg = arg;
	return loop_timer_new(loop, on_end, e, &e->timer);
}

static void end_tell(struct end *e, int r)
{
	e->r = r;
	loop_timer_start(e->timer, 0);
}

/* ---- Output -------------------------------------------------------------------------------- */

/*
 * By turns it waits for the socket to take something, then for the stream to have something. A
 * read of the stream cannot be taken back, so it has a reference.
 */
struct flow_out {
	unsigned refs;
	int fd;
	struct loop_io *io;
	struct stream_out *from; /* NULL: there is nothing more to do */
	char *data;		 /* what the socket has not taken yet */
	size_t at, len;
	struct end end;
};

static void flow_out_unref(struct flow_out *f)
{
	if (--f->refs == 0)
		free(f);
}

static void out_finish(struct flow_out *f, int r)
{
	f->from = NULL;
	loop_io_set(f->io, 0);
	free(TAKE_PTR(f->data));
	if (r == 0)
		(void)shutdown(f->fd, SHUT_WR);
	end_tell(&f->end, r);
}

/* Returns how much the socket took; less than @len is no failure. */
static ssize_t send_some(int fd, const char *data, size_t len)
{
	size_t sent = 0;

	while (sent < len) {
		ssize_t n = send(fd, data + sent, len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return -errno;
		sent += (size_t)n;
	}
	return (ssize_t)sent;
}

/* Returns whether the rest is kept. */
static bool keep(struct flow_out *f, const char *data, size_t len)
{
	f->at = 0;
	f->len = len;
	f->data = malloc(len);
	if (!f->data)
		return false;
	memcpy(f->data, data, len);
	return true;
}

static bool out_wanted(void *arg)
{
	const struct flow_out *f = arg;
	return f->from != NULL;
}

static void out_read(void *arg, int r, const void *data, size_t len)
{
	struct flow_out *f = arg;

	if (!f->from) {
		flow_out_unref(f);
		return;
	}
	if (r < 0 || len == 0) {
		out_finish(f, r);
		flow_out_unref(f);
		return;
	}
	ssize_t n = send_some(f->fd, data, len);
	if (n < 0)
		out_finish(f, (int)n);
	else if ((size_t)n < len && !keep(f, (const char *)data + n, len - (size_t)n))
		out_finish(f, -ENOMEM);
	else
		loop_io_set(f->io,
			    LOOP_WRITE); /* also when all is sent: the next is not read here */
	flow_out_unref(f);
}

static void out_next(struct flow_out *f)
{
	loop_io_set(f->io, LOOP_CLOSED);
	f->refs++;
	int r = stream_out_read(f->from, FLOW_BYTES, out_wanted, out_read, f);
	if (r < 0) {
		f->refs--;
		out_finish(f, r);
	}
}

static void out_on_socket(void *arg, unsigned events)
{
	struct flow_out *f = arg;

	if (!f->from)
		return;
	if (events & LOOP_CLOSED) {
		out_finish(f, -EPIPE);
		return;
	}
	if (f->data) {
		ssize_t n = send_some(f->fd, f->data + f->at, f->len - f->at);
		if (n < 0) {
			out_finish(f, (int)n);
			return;
		}
		f->at += (size_t)n;
		if (f->at < f->len)
			return;
		free(TAKE_PTR(f->data));
	}
	out_next(f);
}

int flow_out_new(struct loop *loop, int fd, struct stream_out *from,
		 void (*ended)(void *arg, int r), void *arg, struct flow_out **ret)
{
	struct flow_out *f = calloc(1, sizeof *f);
	if (!f)
		return -ENOMEM;
	f->refs = 1;
	f->fd = -EBADF;
	f->from = from;
	int r = end_init(&f->end, loop, ended, arg);
	if (r == 0)
		r = loop_io_new(loop, fd, LOOP_WRITE, out_on_socket, f, &f->io);
	if (r < 0) {
		flow_out_free(f);
		return r;
	}
	f->fd = fd;
	*ret = f;
	return 0;
}

void flow_out_free(struct flow_out *f)
{
	if (!f)
		return;
	f->from = NULL;
	loop_io_free(TAKE_PTR(f->io));
	loop_timer_free(TAKE_PTR(f->end.timer));
	free(TAKE_PTR(f->data));
	f->fd = close_fd(f->fd);
	flow_out_unref(f);
}

/* ---- Input --------------------------------------------------------------------------------- */

struct flow_in {
	unsigned refs; /* the owner's, and a write's: its data is here */
	int fd;
	struct loop_io *io;
	struct stream_in *to; /* NULL: there is nothing more to do */
	char *data;	      /* being written */
	struct end end;
};

static void flow_in_unref(struct flow_in *f)
{
	if (--f->refs > 0)
		return;
	free(f->data);
	free(f);
}

static void in_finish(struct flow_in *f, int r)
{
	struct stream_in *to = TAKE_PTR(f->to);

	loop_io_set(f->io, 0);
	if (r == 0)
		stream_in_end(to);
	end_tell(&f->end, r);
}

static void in_written(void *arg, int r)
{
	struct flow_in *f = arg;

	free(TAKE_PTR(f->data));
	if (f->to && r < 0)
		in_finish(f, r);
	else if (f->to)
		loop_io_set(f->io, LOOP_READ);
	flow_in_unref(f);
}

static void in_on_socket(void *arg, unsigned events)
{
	struct flow_in *f = arg;

	if (!f->to || f->data)
		return;
	f->data = malloc(FLOW_BYTES);
	if (!f->data) {
		in_finish(f, -ENOMEM);
		return;
	}
	ssize_t n = recv(f->fd, f->data, FLOW_BYTES, MSG_DONTWAIT);
	if (n <= 0) {
		int r = n < 0 ? -errno : 0;
		free(TAKE_PTR(f->data));
		/* a peer that broke off has ended its input as well as one that said so */
		if (r != -EAGAIN && r != -EINTR)
			in_finish(f, 0);
		return;
	}
	loop_io_set(f->io, 0);
	f->refs++;
	int r = stream_in_write(f->to, f->data, (size_t)n, in_written, f);
	if (r < 0)
		in_written(f, r);
}

int flow_in_new(struct loop *loop, int fd, struct stream_in *to, void (*ended)(void *arg, int r),
		void *arg, struct flow_in **ret)
{
	struct flow_in *f = calloc(1, sizeof *f);
	if (!f)
		return -ENOMEM;
	f->refs = 1;
	f->fd = -EBADF;
	f->to = to;
	int r = end_init(&f->end, loop, ended, arg);
	if (r == 0)
		r = loop_io_new(loop, fd, LOOP_READ, in_on_socket, f, &f->io);
	if (r < 0) {
		flow_in_free(f);
		return r;
	}
	f->fd = fd;
	*ret = f;
	return 0;
}

void flow_in_free(struct flow_in *f)
{
	if (!f)
		return;
	f->to = NULL;
	loop_io_free(TAKE_PTR(f->io));
	loop_timer_free(TAKE_PTR(f->end.timer));
	f->fd = close_fd(f->fd);
	flow_in_unref(f);
}
