/* SPDX-License-Identifier: Apache-2.0 */
#include "io/relay.h"

#include <sys/socket.h>

/* Of one readiness; then it is the others' turn. */
#define ROUNDS 8

/* One direction: from the side that has it to the other. */
struct half {
	char *data; /* RELAY_BYTES, or NULL while nothing waits */
	size_t at, len;
	bool eof;   /* the source has ended */
	bool ended; /* and the other side was told, or is not there any more */
};

struct side {
	struct relay *relay;
	int fd;
	struct loop_io *io;
	unsigned watched;
	struct half out;
};

struct relay {
	struct side sides[2];
	bool reset;
	relay_end_fn on_end;
	void *arg;
};

static struct side *other(struct side *s)
{
	return s == &s->relay->sides[0] ? &s->relay->sides[1] : &s->relay->sides[0];
}

static void half_end(struct half *h)
{
	free(TAKE_PTR(h->data));
	h->len = 0;
	h->eof = h->ended = true;
}

/* Returns false when there is nothing to read now. */
static bool fill(struct side *s)
{
	struct half *h = &s->out;

	if (!h->data && !(h->data = malloc(RELAY_BYTES))) {
		s->relay->reset = true;
		half_end(h);
		return false;
	}
	ssize_t n = recv(s->fd, h->data, RELAY_BYTES, MSG_DONTWAIT);
	if (n > 0) {
		h->at = 0;
		h->len = (size_t)n;
		return true;
	}
	free(TAKE_PTR(h->data));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	h->eof = true;
	if (n < 0) { /* broken in both directions */
		s->relay->reset = true;
		half_end(&other(s)->out);
	}
	return true;
}

/* Returns false when the other side takes no more now. */
static bool drain(struct side *s)
{
	struct half *h = &s->out;
	int to = other(s)->fd;

	while (h->len > 0) {
		ssize_t n = send(to, h->data + h->at, h->len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0) {
			/* Nobody is there to read it; what he sent before is still delivered. */
			half_end(h);
			return false;
		}
		h->at += (size_t)n;
		h->len -= (size_t)n;
	}
	if (h->eof) {
		if (!s->relay->reset)
			(void)shutdown(to, SHUT_WR);
		half_end(h);
	}
	return !h->ended;
}

/* Moves what can be moved from @s to the other side. */
static void pump(struct side *s)
{
	struct half *h = &s->out;

	for (int i = 0; i < ROUNDS && !h->ended; i++)
		if (!drain(s) || !fill(s))
			break;
	if (!h->ended)
		(void)drain(s);
	if (h->len == 0)
		free(TAKE_PTR(h->data));
}

static void watch(struct side *s, bool again)
{
	unsigned events = 0;

	if (!s->out.eof && s->out.len == 0)
		events |= LOOP_READ;
	if (other(s)->out.len > 0)
		events |= LOOP_WRITE;
	/* It has said all: what is left to notice is that it does not listen either. */
	if (!events && s->out.eof && !other(s)->out.ended)
		events = LOOP_CLOSED;
	if (events != s->watched || again)
		loop_io_set(s->io, events);
	s->watched = events;
}

static void on_side(void *arg, unsigned events)
{
	struct side *s = arg;
	struct relay *r = s->relay;

	if (events & LOOP_CLOSED)
		half_end(&other(s)->out);
	if (events & (LOOP_READ | LOOP_HANGUP))
		pump(s);
	if (events & (LOOP_WRITE | LOOP_HANGUP))
		pump(other(s));
	if (r->sides[0].out.ended && r->sides[1].out.ended) {
		loop_io_set(r->sides[0].io, 0);
		loop_io_set(r->sides[1].io, 0);
		r->on_end(r->arg, r->reset);
		return;
	}
	watch(s, events & LOOP_HANGUP);
	watch(other(s), false);
}

void relay_reset_on_close(int fd)
{
	const struct linger now = {.l_onoff = 1, .l_linger = 0};
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

int relay_new(struct loop *loop, int fd_a, int fd_b, relay_end_fn on_end, void *arg,
	      struct relay **ret)
{
	const int fds[2] = {fd_a, fd_b};
	struct relay *r = calloc(1, sizeof *r);
	int error = r ? 0 : -ENOMEM;

	for (int i = 0; r && i < 2; i++) {
		r->sides[i].relay = r;
		r->sides[i].fd = -EBADF; /* the caller's, until all is well */
	}
	for (int i = 0; error == 0 && i < 2; i++)
		error = loop_io_new(loop, fds[i], LOOP_READ, on_side, &r->sides[i],
				    &r->sides[i].io);
	if (error < 0) {
		relay_free(r);
		return error;
	}
	for (int i = 0; i < 2; i++) {
		r->sides[i].fd = fds[i];
		r->sides[i].watched = LOOP_READ;
	}
	r->on_end = on_end;
	r->arg = arg;
	*ret = r;
	return 0;
}

void relay_free(struct relay *r)
{
	if (!r)
		return;
	for (int i = 0; i < 2; i++) {
		struct side *s = &r->sides[i];
		loop_io_free(s->io);
		free(s->out.data);
		if (r->reset && s->fd >= 0)
			relay_reset_on_close(s->fd);
		s->fd = close_fd(s->fd);
	}
	free(r);
}
