/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/stream.h"

#include "base/fd.h"

#include <malloc.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

/* ---- Output ------------------------------------------------------------------------------- */

struct reader {
	struct list link;
	size_t max;
	stream_wanted_fn wanted;
	stream_read_fn done;
	void *arg;
};

/* Answers the first reader, which may call back into the stream. */
static void answer(struct stream_out *s, int r, const void *data, size_t len)
{
	struct reader *rd = list_first(&s->readers, struct reader, link);

	list_del(&rd->link);
	s->n_readers--;
	if (r == 0 && len == 0)
		s->eof_seen = true;
	rd->done(rd->arg, r, data, len);
	free(rd);
}

/*
 * What is read goes through one buffer for all streams: its content never outlives a call. It grows
 * to what streams have to give, and a stream's end gives a large one back to the machine.
 */
static char *buffer;
static size_t buffer_size;

#define BUFFER_KEPT (64u << 10)

/* Returns how many of @max bytes the buffer can take: as many as wait in @fd, if memory allows. */
static size_t buffer_reserve(int fd, size_t max)
{
	int waiting = 0;

	if (ioctl(fd, FIONREAD, &waiting) < 0 || waiting < 0)
		waiting = 0;
	size_t want = (size_t)waiting > BUFFER_KEPT ? STREAM_READ_MAX : BUFFER_KEPT;
	if (want > buffer_size) {
		char *grown = malloc(want);
		if (grown) {
			free(buffer);
			buffer = grown;
			buffer_size = want;
		}
	}
	return max < buffer_size ? max : buffer_size;
}

static void buffer_shrink(void)
{
	if (buffer_size <= BUFFER_KEPT)
		return;
	free(buffer);
	buffer = NULL;
	buffer_size = 0;
	(void)malloc_trim(0);
}

static void reached_end(struct stream_out *s)
{
	s->eof = true;
	loop_io_free(s->io);
	s->io = NULL;
	loop_timer_stop(s->silence);
	buffer_shrink();
}

/* Reads until the buffer is full or nothing is there. Returns the bytes, or 0 at the end, or
 * -EAGAIN. Bytes that were read before an end are returned first; the end is found again. */
static ssize_t read_available(int fd, char *data, size_t max)
{
	size_t have = 0;

	while (have < max) {
		ssize_t n = read(fd, data + have, max - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return have ? (ssize_t)have : -EAGAIN;
		if (n <= 0) /* a master whose terminal has no user left reads EIO */
			return (ssize_t)have;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

/* A reader whose connection is gone must not be given bytes that its successor waits for. */
static void drop_unwanted(struct stream_out *s)
{
	struct list *n, *next;
	struct list gone = LIST_INIT(gone);

	list_for_each_safe (n, next, &s->readers) {
		struct reader *rd = list_entry(n, struct reader, link);
		if (rd->wanted(rd->arg))
			continue;
		list_del(n);
		list_add_tail(&gone, n);
		s->n_readers--;
	}
	while (!list_empty(&gone)) {
		struct reader *rd = list_first(&gone, struct reader, link);
		list_del(&rd->link);
		rd->done(rd->arg, -ECANCELED, NULL, 0);
		free(rd);
	}
}

/* Serves readers while there is something to serve them with. */
static void serve(struct stream_out *s)
{
	drop_unwanted(s);
	while (!list_empty(&s->readers)) {
		if (s->eof) {
			answer(s, 0, NULL, 0);
			continue;
		}
		size_t max = list_first(&s->readers, struct reader, link)->max;
		max = buffer_reserve(s->fd, max);
		if (max == 0) {
			answer(s, -ENOMEM, NULL, 0);
			continue;
		}
		ssize_t n = read_available(s->fd, buffer, max);
		if (n == -EAGAIN) {
			if (s->exited)
				loop_timer_start(s->silence, STREAM_SILENCE_MS);
			break;
		}
		if (n == 0)
			reached_end(s);
		else
			answer(s, 0, buffer, (size_t)n);
	}
	if (s->io)
		loop_io_set(s->io, list_empty(&s->readers) ? 0 : LOOP_READ);
	if (list_empty(&s->readers) && s->silence)
		loop_timer_stop(s->silence);
}

static void on_readable(void *arg, unsigned events)
{
	serve(arg);
}

static void on_silence(void *arg)
{
	struct stream_out *s = arg;

	reached_end(s);
	serve(s);
}

int stream_out_init(struct stream_out *s, struct loop *loop, int fd)
{
	memset(s, 0, sizeof *s);
	s->loop = loop;
	s->fd = -EBADF;
	list_init(&s->readers);
	if (fd < 0) {
		s->eof = s->eof_seen = true;
		return 0;
	}
	int r = loop_timer_new(loop, on_silence, s, &s->silence);
	if (r < 0)
		return r;
	r = fd_set_nonblock(fd, true);
	if (r == 0)
		r = loop_io_new(loop, fd, 0, on_readable, s, &s->io);
	if (r < 0) {
		loop_timer_free(s->silence);
		s->silence = NULL;
		return r;
	}
	s->fd = fd;
	return 0;
}

int stream_out_read(struct stream_out *s, size_t max, stream_wanted_fn wanted, stream_read_fn done,
		    void *arg)
{
	drop_unwanted(s);
	if (s->n_readers >= STREAM_WAITING_MAX)
		return -EAGAIN;
	struct reader *rd = malloc(sizeof *rd);
	if (!rd)
		return -ENOMEM;
	rd->max = max > STREAM_READ_MAX ? STREAM_READ_MAX : max;
	rd->wanted = wanted;
	rd->done = done;
	rd->arg = arg;
	list_add_tail(&s->readers, &rd->link);
	s->n_readers++;
	s->used = true;
	serve(s);
	return 0;
}

void stream_out_exited(struct stream_out *s)
{
	s->exited = true;
	serve(s);
}

void stream_out_close(struct stream_out *s)
{
	while (!list_empty(&s->readers))
		answer(s, -ECANCELED, NULL, 0);
	loop_io_free(s->io);
	s->io = NULL;
	loop_timer_free(s->silence);
	s->silence = NULL;
	s->fd = close_fd(s->fd);
	s->eof = true;
}

/* ---- Input -------------------------------------------------------------------------------- */

struct write {
	struct list link;
	const char *data;
	size_t len, done_bytes;
	stream_write_fn done; /* NULL: our own end-of-file character */
	void *arg;
	char own;
};

static void finish_write(struct stream_in *s, int r)
{
	struct write *w = list_first(&s->writes, struct write, link);

	list_del(&w->link);
	s->n_writes--;
	s->queued -= w->len;
	if (w->done)
		w->done(w->arg, r);
	free(w);
}

static void shut(struct stream_in *s, int r)
{
	loop_io_free(s->io);
	s->io = NULL;
	s->fd = close_fd(s->fd);
	while (!list_empty(&s->writes))
		finish_write(s, r);
}

/* Writes what the process takes now. */
static void push(struct stream_in *s)
{
	while (s->fd >= 0 && !list_empty(&s->writes)) {
		struct write *w = list_first(&s->writes, struct write, link);
		ssize_t n = write(s->fd, w->data + w->done_bytes, w->len - w->done_bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			shut(s, -errno);
			return;
		}
		w->done_bytes += (size_t)n;
		if (w->done_bytes == w->len)
			finish_write(s, 0);
	}
	if (s->fd < 0)
		return;
	if (s->ended && !s->tty && list_empty(&s->writes))
		shut(s, -EPIPE);
	else
		loop_io_set(s->io, list_empty(&s->writes) ? 0 : LOOP_WRITE);
}

static void on_writable(void *arg, unsigned events)
{
	push(arg);
}

int stream_in_init(struct stream_in *s, struct loop *loop, int fd, bool tty)
{
	memset(s, 0, sizeof *s);
	s->loop = loop;
	s->tty = tty;
	s->fd = -EBADF;
	list_init(&s->writes);
	if (fd < 0)
		return 0;
	int r = fd_set_nonblock(fd, true);
	if (r == 0)
		r = loop_io_new(loop, fd, 0, on_writable, s, &s->io);
	if (r < 0)
		return r;
	s->fd = fd;
	return 0;
}

static int enqueue(struct stream_in *s, const void *data, size_t len, stream_write_fn done,
		   void *arg)
{
	struct write *w = calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	w->data = data;
	w->len = len;
	w->done = done;
	w->arg = arg;
	if (!done) {
		w->own = *(const char *)data;
		w->data = &w->own;
	}
	list_add_tail(&s->writes, &w->link);
	s->n_writes++;
	s->queued += len;
	push(s);
	return 0;
}

int stream_in_write(struct stream_in *s, const void *data, size_t len, stream_write_fn done,
		    void *arg)
{
	if (s->fd < 0 || (s->ended && !s->tty))
		return -EPIPE;
	if (s->n_writes >= STREAM_WAITING_MAX ||
	    (s->n_writes > 0 && s->queued + len > STREAM_QUEUED_MAX))
		return -EAGAIN;
	return enqueue(s, data, len, done, arg);
}

/* The terminal's own end-of-file character, which a program may have changed. */
static char end_character(int fd)
{
	struct termios t;

	if (tcgetattr(fd, &t) == 0 && t.c_cc[VEOF] != _POSIX_VDISABLE)
		return (char)t.c_cc[VEOF];
	return 4; /* ^D */
}

void stream_in_end(struct stream_in *s)
{
	if (s->fd < 0)
		return;
	s->ended = true;
	if (!s->tty) {
		push(s);
	} else if (s->n_writes < STREAM_WAITING_MAX) {
		char c = end_character(s->fd);
		(void)enqueue(s, &c, 1, NULL, NULL);
	}
}

void stream_in_close(struct stream_in *s)
{
	shut(s, -ECANCELED);
}
