/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of one connection.
 *
 *	host opens:  REQUESTING --RESPONSE--> OPEN            guest opens: OPEN (RESPONSE is owed)
 *	host closes both ways:  OPEN -> CLOSING (SHUTDOWN is owed) --guest's RST--> gone
 *	guest closes both ways: OPEN -> (host has read all) -> RESETTING --RST sent--> gone
 *	guest's RST:            OPEN -> DRAINING -> (host has read all) -> gone
 *	a broken rule:          OPEN -> RESETTING
 *
 * Whatever the guest sent before it closed reaches the host before the end of file does, and the
 * other way round: the host's end of file is noticed only by reading up to it.
 *
 * CLOSING may last as long as a guest keeps its socket open. It costs a struct, and the oldest one
 * goes when the table is full.
 */
#include "devices/vsock-internal.h"

#include "base/clock.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

static struct list *bucket(struct vsock *v, uint32_t host_port, uint32_t guest_port)
{
	uint32_t h = (host_port ^ (guest_port << 16 | guest_port >> 16)) * 0x9e3779b1u;
	return &v->hash[(h >> 16) % VSOCK_HASH_SIZE];
}

struct vsock_conn *vsock_conn_find(struct vsock *v, uint32_t host_port, uint32_t guest_port)
{
	struct list *pos, *head = bucket(v, host_port, guest_port);

	list_for_each (pos, head) {
		struct vsock_conn *c = list_entry(pos, struct vsock_conn, hash);
		if (c->host_port == host_port && c->guest_port == guest_port)
			return c;
	}
	return NULL;
}

/* ---- Making and ending ----------------------------------------------------------------------- */

static void close_host(struct vsock_conn *c)
{
	loop_io_free(c->io);
	c->io = NULL;
	c->watched = 0;
	c->fd = close_fd(c->fd);
	c->readable = false;
	free(c->backlog.data);
	c->backlog = (struct vsock_backlog){.data = NULL};
}

/* The caller of vsock_open() hears how it ended, once. The descriptor is still open. */
static void tell_opener(struct vsock_conn *c, int r)
{
	vsock_open_fn done = c->done;

	list_del(&c->requesting);
	c->done = NULL;
	if (done)
		done(c->done_arg, r, c->host_port, c->fd);
}

void vsock_conn_free(struct vsock_conn *c)
{
	if (c->state == VSOCK_REQUESTING)
		tell_opener(c, -ECANCELED);
	list_del(&c->link);
	list_del(&c->hash);
	list_del(&c->ready);
	list_del(&c->requesting);
	c->v->n_conns--;
	if (c->from_guest)
		c->v->n_from_guest--;
	close_host(c);
	free(c);
}

/* Room for one more: the oldest of those that only wait for the guest's RST goes. */
static bool evict_one(struct vsock *v, bool from_guest)
{
	struct list *pos;

	list_for_each (pos, &v->conns) {
		struct vsock_conn *c = list_entry(pos, struct vsock_conn, link);
		if (c->state == VSOCK_CLOSING && (c->from_guest || !from_guest)) {
			vsock_conn_free(c);
			return true;
		}
	}
	return false;
}

static void on_host_event(void *arg, unsigned events);

int vsock_conn_new(struct vsock *v, uint32_t host_port, uint32_t guest_port, bool from_guest,
		   int fd, struct vsock_conn **ret)
{
	bool full = v->n_conns >= VSOCK_CONNS_MAX ||
		    (from_guest && v->n_from_guest >= VSOCK_GUEST_CONNS_MAX);
	if (full && !evict_one(v, from_guest))
		return -ENOSPC;
	struct vsock_conn *c = calloc(1, sizeof *c);
	if (!c)
		return -ENOMEM;
	int r = loop_io_new(v->loop, fd, 0, on_host_event, c, &c->io);
	if (r < 0) {
		free(c);
		return r;
	}
	c->v = v;
	c->fd = fd;
	c->host_port = host_port;
	c->guest_port = guest_port;
	c->from_guest = from_guest;
	c->state = from_guest ? VSOCK_OPEN : VSOCK_REQUESTING;
	c->window = v->n_conns < VSOCK_FULL_WINDOWS ? VSOCK_WINDOW : VSOCK_WINDOW_SMALL;
	list_add_tail(&v->conns, &c->link);
	list_add_head(bucket(v, host_port, guest_port), &c->hash);
	list_init(&c->ready);
	list_init(&c->requesting);
	v->n_conns++;
	if (from_guest)
		v->n_from_guest++;
	*ret = c;
	return 0;
}

void vsock_conn_owe(struct vsock_conn *c, unsigned what)
{
	c->owed |= what;
	if (list_empty(&c->ready))
		list_add_tail(&c->v->ready, &c->ready);
}

void vsock_conn_reset(struct vsock_conn *c)
{
	if (c->state == VSOCK_DRAINING) {
		vsock_conn_free(c);
		return;
	}
	close_host(c);
	c->state = VSOCK_RESETTING;
	c->owed = 0;
	vsock_conn_owe(c, OWE_RST);
}

/* The opener's attempt ends in @r; the guest is told if it may know of it. */
static void fail_request(struct vsock_conn *c, int r)
{
	bool sent = c->retry_ms != 0;

	tell_opener(c, r);
	if (sent)
		vsock_conn_reset(c);
	else
		vsock_conn_free(c);
}

void vsock_conn_forgotten(struct vsock_conn *c, int r)
{
	if (c->state == VSOCK_REQUESTING)
		tell_opener(c, r);
	if (c->state != VSOCK_OPEN || c->backlog.len == 0) {
		c->state = VSOCK_CLOSING; /* whoever was waiting for it has been told */
		vsock_conn_free(c);
		return;
	}
	c->state = VSOCK_DRAINING;
	c->owed = 0;
	c->readable = false;
	list_del(&c->ready);
	list_del(&c->hash);
	(void)shutdown(c->fd, SHUT_RD);
	vsock_conn_watch(c);
}

void vsock_conn_opened(struct vsock_conn *c)
{
	c->state = VSOCK_OPEN;
	tell_opener(c, 0);
	vsock_conn_watch(c);
}

/* ---- The host's side ------------------------------------------------------------------------- */

bool vsock_conn_can_send(const struct vsock_conn *c)
{
	return c->readable && c->state == VSOCK_OPEN && vsock_conn_credit(c) > 0;
}

static bool wants_to_read(const struct vsock_conn *c)
{
	return c->state == VSOCK_OPEN && !c->host_eof &&
	       !(c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV);
}

void vsock_conn_watch(struct vsock_conn *c)
{
	unsigned events = 0;

	if (!c->io)
		return;
	if (c->backlog.len > 0)
		events |= LOOP_WRITE;
	if (wants_to_read(c)) {
		if (!c->readable && vsock_conn_credit(c) > 0)
			events |= LOOP_READ;
	} else if (!events) {
		events |= LOOP_CLOSED; /* all that is left to learn from the host */
	}
	if (events != c->watched) {
		c->watched = events;
		loop_io_set(c->io, events);
	}
}

/* The host is gone, or deaf and dumb: nothing can come or go any more. */
static void host_closed(struct vsock_conn *c)
{
	if (c->state == VSOCK_DRAINING) {
		vsock_conn_free(c);
		return;
	}
	close_host(c);
	c->host_eof = c->host_deaf = true;
	if (c->guest_shut == SHUT_BOTH) {
		vsock_conn_reset(c);
		return;
	}
	c->state = VSOCK_CLOSING;
	vsock_conn_owe(c, OWE_SHUTDOWN);
}

static bool host_is_gone(int fd)
{
	struct pollfd p = {.fd = fd};
	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

void vsock_conn_host_eof(struct vsock_conn *c, int r)
{
	c->readable = false;
	c->host_eof = true;
	if (r < 0 || c->host_deaf || host_is_gone(c->fd)) {
		host_closed(c);
		return;
	}
	vsock_conn_owe(c, OWE_SHUTDOWN);
	vsock_conn_watch(c);
}

/* The host does not read any more; what it still sends goes to the guest first. */
static void host_went_deaf(struct vsock_conn *c)
{
	c->fwd_cnt += c->backlog.len;
	free(c->backlog.data);
	c->backlog = (struct vsock_backlog){.data = NULL};
	c->host_deaf = true;
	if (!wants_to_read(c)) {
		host_closed(c);
		return;
	}
	vsock_conn_owe(c, OWE_SHUTDOWN);
	vsock_conn_watch(c);
}

/* The guest sends no more: once the host has everything, it learns so. May free @c. */
static void pass_on_guest_eof(struct vsock_conn *c)
{
	if (c->backlog.len > 0)
		return;
	if (c->state == VSOCK_DRAINING) {
		vsock_conn_free(c);
	} else if (c->guest_shut == SHUT_BOTH) {
		vsock_conn_reset(c);
	} else if (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND && !c->wr_shut && c->fd >= 0) {
		c->wr_shut = true;
		(void)shutdown(c->fd, SHUT_WR);
	}
}

static ssize_t send_iov(int fd, struct iovec *iov, unsigned n)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};
	for (;;) {
		ssize_t r = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (r >= 0)
			return r;
		if (errno == EAGAIN)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

/* The host took @n bytes. The guest hears of it when half of its window would be used up. */
static void took(struct vsock_conn *c, uint32_t n)
{
	c->fwd_cnt += n;
	if (c->state == VSOCK_OPEN && c->fwd_cnt - c->fwd_cnt_told >= c->window / 2)
		vsock_conn_owe(c, OWE_CREDIT);
}

static void flush_backlog(struct vsock_conn *c)
{
	struct vsock_backlog *b = &c->backlog;

	while (b->len > 0) {
		uint32_t first = c->window - b->start < b->len ? c->window - b->start : b->len;
		struct iovec iov[2] = {{b->data + b->start, first}, {b->data, b->len - first}};
		ssize_t n = send_iov(c->fd, iov, first < b->len ? 2 : 1);
		if (n < 0) {
			host_went_deaf(c);
			return;
		}
		if (n == 0)
			break;
		b->start = (b->start + (uint32_t)n) % c->window;
		b->len -= (uint32_t)n;
		took(c, (uint32_t)n);
	}
	if (b->len == 0) {
		free(b->data);
		*b = (struct vsock_backlog){.data = NULL};
	}
	vsock_conn_watch(c);
	pass_on_guest_eof(c);
}

static void on_host_event(void *arg, unsigned events)
{
	struct vsock_conn *c = arg;
	struct vsock *v = c->v;

	if (events & LOOP_HANGUP)
		c->watched = 0; /* after an error the loop has stopped the watch */
	if (events & LOOP_CLOSED) {
		if (c->state == VSOCK_REQUESTING)
			fail_request(c, -ECONNABORTED);
		else
			host_closed(c);
		vsock_flush(v);
		return;
	}
	if (events & LOOP_READ && wants_to_read(c)) {
		c->readable = true;
		vsock_conn_owe(c, 0);
	}
	vsock_conn_watch(c);
	if (events & LOOP_WRITE)
		flush_backlog(c);
	vsock_flush(v);
}

/* ---- The guest's side ------------------------------------------------------------------------ */

uint32_t vsock_conn_credit(const struct vsock_conn *c)
{
	uint32_t in_flight = c->tx_cnt - c->peer_fwd_cnt;
	return in_flight < c->peer_buf_alloc ? c->peer_buf_alloc - in_flight : 0;
}

static int keep(struct vsock_conn *c, const struct iovec *iov, unsigned n, uint32_t skip,
		uint32_t len)
{
	struct vsock_backlog *b = &c->backlog;

	if (!b->data) {
		b->data = malloc(c->window);
		if (!b->data)
			return -ENOMEM;
	}
	for (unsigned i = 0; i < n && len > 0; i++) {
		const uint8_t *src = iov[i].iov_base;
		size_t here = iov[i].iov_len;
		if (skip >= here) {
			skip -= (uint32_t)here;
			continue;
		}
		src += skip;
		here -= skip;
		skip = 0;
		for (size_t done = 0; done < here;) {
			uint32_t end = (b->start + b->len) % c->window;
			size_t part = here - done;
			if (part > c->window - end)
				part = c->window - end;
			memcpy(b->data + end, src + done, part);
			b->len += (uint32_t)part;
			done += part;
		}
		len -= (uint32_t)here;
	}
	return 0;
}

void vsock_conn_receive(struct vsock_conn *c, struct iovec *iov, unsigned n, uint32_t len)
{
	uint32_t sent = 0;

	if (len > c->window - c->backlog.len) {
		vsock_complain(c->v, "the guest sent more on port %u than it had credit for",
			       c->host_port);
		vsock_conn_reset(c);
		return;
	}
	if (c->host_deaf) {
		took(c, len);
		return;
	}
	if (c->backlog.len == 0) {
		ssize_t r = send_iov(c->fd, iov, n);
		if (r < 0) {
			took(c, len);
			host_went_deaf(c);
			return;
		}
		sent = (uint32_t)r;
		took(c, sent);
	}
	if (sent < len && keep(c, iov, n, sent, len - sent) < 0) {
		vsock_complain(c->v, "no memory for what the guest sent on port %u", c->host_port);
		vsock_conn_reset(c);
		return;
	}
	vsock_conn_watch(c);
}

void vsock_conn_guest_shutdown(struct vsock_conn *c, unsigned flags)
{
	c->guest_shut |= flags & SHUT_BOTH;
	if (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV && c->fd >= 0) {
		c->readable = false;
		(void)shutdown(c->fd, SHUT_RD);
		if (c->host_deaf) {
			host_closed(c);
			return;
		}
	}
	vsock_conn_watch(c);
	pass_on_guest_eof(c);
}

/* ---- Opening --------------------------------------------------------------------------------- */

static bool pick_port(struct vsock *v, uint32_t guest_port, uint32_t *ret)
{
	/* One port more than there are connections: one of them is free. */
	for (unsigned i = 0; i <= VSOCK_CONNS_MAX; i++) {
		uint32_t port = v->next_port++;
		if (v->next_port > VSOCK_HOST_PORT_LAST)
			v->next_port = VSOCK_HOST_PORT_FIRST;
		if (!vsock_conn_find(v, port, guest_port)) {
			*ret = port;
			return true;
		}
	}
	return false;
}

int vsock_open(struct vsock *v, uint32_t guest_port, int fd, uint64_t deadline_ms,
	       vsock_open_fn done, void *arg, struct vsock_conn **ret)
{
	_cleanup_close_ int owned = fd;
	struct vsock_conn *c = NULL;
	uint32_t port = 0;

	if (v->gone)
		return -ECONNRESET;
	if (!pick_port(v, guest_port, &port))
		return -ENOSPC;
	int r = vsock_conn_new(v, port, guest_port, false, fd, &c);
	if (r < 0)
		return r;
	(void)TAKE_FD(owned);
	c->done = done;
	c->done_arg = arg;
	c->deadline_ms = deadline_ms;
	c->retry_gap_ms = VSOCK_RETRY_FIRST_MS;
	list_add_tail(&v->requesting, &c->requesting);
	if (ret)
		*ret = c;
	vsock_conn_watch(c);
	vsock_conn_owe(c, OWE_REQUEST);
	vsock_flush(v);
	vsock_arm_timer(v);
	return 0;
}

static void look_at_clock(struct vsock_conn *c, uint64_t now)
{
	if (c->deadline_ms && now >= c->deadline_ms) {
		fail_request(c, -ETIMEDOUT);
		return;
	}
	if (c->retry_ms && now >= c->retry_ms) {
		c->retry_gap_ms *= 2;
		if (c->retry_gap_ms > VSOCK_RETRY_MAX_MS)
			c->retry_gap_ms = VSOCK_RETRY_MAX_MS;
		c->retry_ms = now + c->retry_gap_ms;
		vsock_conn_owe(c, OWE_REQUEST);
	}
}

void vsock_on_timer(void *arg)
{
	struct vsock *v = arg;
	struct list due = LIST_INIT(due);
	uint64_t now = time_now_ms();

	/* A callback may open and end others: what was looked at goes back, the rest waits here. */
	while (!list_empty(&v->requesting)) {
		struct list *n = v->requesting.next;
		list_del(n);
		list_add_tail(&due, n);
	}
	while (!list_empty(&due)) {
		struct vsock_conn *c = list_first(&due, struct vsock_conn, requesting);
		list_del(&c->requesting);
		list_add_tail(&v->requesting, &c->requesting);
		look_at_clock(c, now);
	}
	vsock_flush(v);
	vsock_arm_timer(v);
}

void vsock_arm_timer(struct vsock *v)
{
	struct list *pos;
	uint64_t first = UINT64_MAX, now = time_now_ms();

	list_for_each (pos, &v->requesting) {
		struct vsock_conn *c = list_entry(pos, struct vsock_conn, requesting);
		if (c->deadline_ms && c->deadline_ms < first)
			first = c->deadline_ms;
		if (c->retry_ms && c->retry_ms < first)
			first = c->retry_ms;
	}
	if (first == UINT64_MAX)
		loop_timer_stop(v->timer);
	else
		loop_timer_start(v->timer, first > now ? first - now : 0);
}
