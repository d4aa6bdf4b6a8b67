/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packets of the vsock device.
 *
 * From the guest: each packet of the TX queue is handled at once; payload is written from guest
 * memory straight to the host's socket, and only what that does not take is copied (the backlog).
 *
 * To the guest: nothing is queued as packets. Connections that owe the guest something stand in
 * line (vsock.ready), and when the RX queue has buffers, the first says what it has: control
 * packets, or bytes that one readv() puts from the host's socket into as many buffers as there are.
 * A guest that offers no buffers makes hosts wait, not memory grow.
 *
 * The guest is hostile. What it can fill is bounded: its credit, the connections, the refusals; and
 * what it can make the loop do in one turn is bounded by VSOCK_TURN packets.
 */
#include "devices/vsock-internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "devices/iov.h"

#include <endian.h>
#include <string.h>

#define HDR (sizeof(struct virtio_vsock_hdr))

/* In a machine's life: however often its driver starts anew. */
#define COMPLAINTS_MAX 20

void vsock_complain(struct vsock *v, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (v->complaints >= COMPLAINTS_MAX)
		return;
	v->complaints++;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	log_warn("vsock: %s%s", text,
		 v->complaints == COMPLAINTS_MAX ? " (further ones are not logged)" : "");
}

static void go_on_later(struct vsock *v)
{
	loop_timer_start(v->again, 0);
}

/* A queue that broke its rules is of no use any more, and so is the device. */
static void give_up(struct vsock *v)
{
	const char *why = v->q[VSOCK_QUEUE_RX] ? v->q[VSOCK_QUEUE_RX]->why : NULL;

	if (!why && v->q[VSOCK_QUEUE_TX])
		why = v->q[VSOCK_QUEUE_TX]->why;
	vsock_complain(v, "the guest's driver broke its queue: %s; all connections end",
		       why ? why : "no reason known");
	v->running = false;
	vsock_ops.reset(v);
}

/* ---- To the guest ---------------------------------------------------------------------------- */

static void write_header(struct virtqueue_chain *chain, struct virtio_vsock_hdr *h)
{
	(void)iov_from_buf(chain->writable, chain->n_writable, h, HDR);
}

static struct virtio_vsock_hdr header(struct vsock_conn *c, uint16_t op, uint32_t len)
{
	struct virtio_vsock_hdr h = {
		.src_cid = htole64(VSOCK_HOST_CID),
		.dst_cid = htole64(c->v->guest_cid),
		.src_port = htole32(c->host_port),
		.dst_port = htole32(c->guest_port),
		.len = htole32(len),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.op = htole16(op),
		.buf_alloc = htole32(c->window),
		.fwd_cnt = htole32(c->fwd_cnt),
	};
	c->fwd_cnt_told = c->fwd_cnt;
	c->owed &= ~(unsigned)OWE_CREDIT;
	return h;
}

/* Takes the next buffer of the guest's into @chain. 1, 0: there is none, or -EPROTO. */
static int next_buffer(struct vsock *v, struct virtqueue_chain *chain, struct iovec *iov,
		       unsigned max)
{
	struct virtqueue *q = v->q[VSOCK_QUEUE_RX];
	int r = virtqueue_pop(q, chain, iov, max);
	if (r == 1 && chain->writable_bytes <= HDR)
		return virtqueue_break(q, "a receive buffer has no room for a packet");
	return r;
}

static int send_rst(struct vsock *v)
{
	struct virtqueue_chain *chain = &v->chains[0];
	int r = next_buffer(v, chain, v->pool, VIRTQUEUE_IOV_MAX);
	if (r <= 0)
		return r;
	const struct vsock_rst *rst = &v->rsts[v->rst_start];
	struct virtio_vsock_hdr h = {
		.src_cid = htole64(VSOCK_HOST_CID),
		.dst_cid = htole64(v->guest_cid),
		.src_port = htole32(rst->host_port),
		.dst_port = htole32(rst->guest_port),
		.type = htole16(rst->type),
		.op = htole16(VIRTIO_VSOCK_OP_RST),
	};
	write_header(chain, &h);
	virtqueue_push(v->q[VSOCK_QUEUE_RX], chain->head, HDR);
	v->rst_start = (v->rst_start + 1) % VSOCK_RSTS_MAX;
	v->n_rsts--;
	return 1;
}

static int send_control(struct vsock_conn *c, uint16_t op, uint32_t flags)
{
	struct vsock *v = c->v;
	struct virtqueue_chain *chain = &v->chains[0];
	int r = next_buffer(v, chain, v->pool, VIRTQUEUE_IOV_MAX);
	if (r <= 0)
		return r;
	struct virtio_vsock_hdr h = header(c, op, 0);
	h.flags = htole32(flags);
	write_header(chain, &h);
	virtqueue_push(v->q[VSOCK_QUEUE_RX], chain->head, HDR);
	return 1;
}

/* Lays out where the next bytes of a stream go: up to VSOCK_BATCH buffers, at most @limit bytes.
 * Returns the number of buffers; their payload areas are in v->payload. */
static int collect_buffers(struct vsock *v, size_t limit, unsigned *ret_pieces, size_t *ret_bytes)
{
	unsigned n = 0, used = 0, pieces = 0;
	size_t bytes = 0;

	while (n < VSOCK_BATCH && bytes < limit && pieces < VIRTQUEUE_SIZE_MAX) {
		struct virtqueue_chain *chain = &v->chains[n];
		int r = next_buffer(v, chain, v->pool + used, VSOCK_POOL - used);
		if (r == -EPROTO)
			return r;
		if (r <= 0) /* none left, or no room for its pieces */
			break;
		used += chain->n_readable + chain->n_writable;
		n++;
		/* What is cut off at the limit of readv() is room that stays unused. */
		unsigned first = pieces;
		pieces += iov_slice(chain->writable, chain->n_writable, HDR, limit - bytes,
				    v->payload + pieces, VIRTQUEUE_SIZE_MAX - pieces);
		bytes += iov_total(v->payload + first, pieces - first);
	}
	*ret_pieces = pieces;
	*ret_bytes = bytes;
	return (int)n;
}

static ssize_t read_host(int fd, const struct iovec *iov, unsigned n)
{
	for (;;) {
		ssize_t r = readv(fd, iov, (int)n);
		if (r >= 0)
			return r;
		if (errno != EINTR)
			return -errno;
	}
}

/* Gives the guest the buffers that @len bytes fill, and takes the others back. */
static void finish_data(struct vsock_conn *c, unsigned n_chains, size_t len)
{
	struct vsock *v = c->v;
	unsigned used = 0;

	c->tx_cnt += (uint32_t)len;
	for (; used < n_chains && len > 0; used++) {
		struct virtqueue_chain *chain = &v->chains[used];
		size_t part = chain->writable_bytes - HDR;
		if (part > len)
			part = len;
		struct virtio_vsock_hdr h = header(c, VIRTIO_VSOCK_OP_RW, (uint32_t)part);
		write_header(chain, &h);
		virtqueue_push(v->q[VSOCK_QUEUE_RX], chain->head, (uint32_t)(HDR + part));
		len -= part;
	}
	virtqueue_unpop(v->q[VSOCK_QUEUE_RX], n_chains - used);
}

static int send_data(struct vsock_conn *c)
{
	struct vsock *v = c->v;
	unsigned pieces = 0;
	size_t room = 0;

	int n = collect_buffers(v, vsock_conn_credit(c), &pieces, &room);
	if (n <= 0)
		return n;
	ssize_t len = read_host(c->fd, v->payload, pieces);
	finish_data(c, (unsigned)n, len > 0 ? (size_t)len : 0);
	if (len == 0 || (len < 0 && len != -EAGAIN)) {
		vsock_conn_host_eof(c, (int)len);
		return 1;
	}
	/* Less than there was room for: the socket is empty now, and its watch tells when not. */
	if (len < 0 || (size_t)len < room)
		c->readable = false;
	return n;
}

static unsigned shutdown_flags(const struct vsock_conn *c)
{
	return (c->host_eof ? VIRTIO_VSOCK_SHUTDOWN_SEND : 0u) |
	       (c->host_deaf ? VIRTIO_VSOCK_SHUTDOWN_RCV : 0u);
}

/* Sends the first thing that @c owes. Returns the buffers used, 0: there was none, or -EPROTO. */
static int send_owed(struct vsock_conn *c)
{
	int r = 0;

	if (c->owed & OWE_RST) {
		r = send_control(c, VIRTIO_VSOCK_OP_RST, 0);
		if (r > 0)
			vsock_conn_free(c);
		return r;
	}
	if (c->owed & OWE_REQUEST) {
		r = send_control(c, VIRTIO_VSOCK_OP_REQUEST, 0);
		if (r > 0) {
			c->owed &= ~(unsigned)OWE_REQUEST;
			if (!c->retry_ms) {
				c->retry_ms = time_now_ms() + c->retry_gap_ms;
				vsock_arm_timer(c->v);
			}
		}
		return r;
	}
	if (c->owed & OWE_RESPONSE) {
		r = send_control(c, VIRTIO_VSOCK_OP_RESPONSE, 0);
		if (r > 0)
			c->owed &= ~(unsigned)OWE_RESPONSE;
		return r;
	}
	if (c->owed & OWE_SHUTDOWN) {
		r = send_control(c, VIRTIO_VSOCK_OP_SHUTDOWN, shutdown_flags(c));
		if (r > 0)
			c->owed &= ~(unsigned)OWE_SHUTDOWN;
		return r;
	}
	if (c->owed & OWE_CREDIT_REQUEST) {
		r = send_control(c, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
		if (r > 0)
			c->owed &= ~(unsigned)OWE_CREDIT_REQUEST;
		return r;
	}
	if (vsock_conn_can_send(c)) {
		r = send_data(c);
		if (r > 0 && c->readable && vsock_conn_credit(c) == 0 && !c->credit_asked) {
			c->credit_asked = true;
			vsock_conn_owe(c, OWE_CREDIT_REQUEST);
		}
		return r;
	}
	return send_control(c, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0); /* OWE_CREDIT */
}

static bool has_something(const struct vsock_conn *c)
{
	return c->owed || vsock_conn_can_send(c);
}

/* One turn of those in line. Returns the buffers used, 0: nobody is left, -ENOBUFS: there are no
 * buffers, -EPROTO. */
static int serve_next(struct vsock *v)
{
	if (v->n_rsts > 0) {
		int r = send_rst(v);
		return r == 0 ? -ENOBUFS : r;
	}
	while (!list_empty(&v->ready)) {
		struct vsock_conn *c = list_first(&v->ready, struct vsock_conn, ready);
		if (!has_something(c)) {
			list_del(&c->ready);
			vsock_conn_watch(c);
			continue;
		}
		/* To the end of the line, before @c may be freed. */
		list_del(&c->ready);
		list_add_tail(&v->ready, &c->ready);
		int r = send_owed(c);
		return r == 0 ? -ENOBUFS : r;
	}
	return 0;
}

static void fill_rx(struct vsock *v)
{
	struct virtqueue *q = v->q[VSOCK_QUEUE_RX];
	int used = 0, r = 0;

	while (used < VSOCK_TURN) {
		r = serve_next(v);
		if (r == -ENOBUFS && virtqueue_want_kick(q, true))
			continue; /* some came while we looked */
		if (r <= 0)
			break;
		used += r;
	}
	if (r == -EPROTO) {
		give_up(v);
		return;
	}
	if (r == 0)
		(void)virtqueue_want_kick(q, false); /* buffers are not news to us */
	if (used > 0)
		virtqueue_notify(q);
	if (used >= VSOCK_TURN)
		go_on_later(v);
}

/* ---- From the guest -------------------------------------------------------------------------- */

static void refuse(struct vsock *v, const struct virtio_vsock_hdr *h)
{
	if (le16toh(h->op) == VIRTIO_VSOCK_OP_RST)
		return; /* two sides that refuse each other's refusals would never end */
	unsigned i = (v->rst_start + v->n_rsts++) % VSOCK_RSTS_MAX; /* room: see take_tx() */
	v->rsts[i] = (struct vsock_rst){
		.host_port = le32toh(h->dst_port),
		.guest_port = le32toh(h->src_port),
		.type = le16toh(h->type),
	};
}

static const struct vsock_listener *find_listener(const struct vsock *v, uint32_t port)
{
	const struct vsock_listener *any = NULL;

	for (unsigned i = 0; i < VSOCK_LISTENERS_MAX; i++) {
		const struct vsock_listener *l = &v->listeners[i];
		if (l->fn && l->port == port)
			return l;
		if (l->fn && l->port == VSOCK_PORT_ANY)
			any = l;
	}
	return any;
}

static void take_credit(struct vsock_conn *c, const struct virtio_vsock_hdr *h)
{
	c->peer_buf_alloc = le32toh(h->buf_alloc);
	c->peer_fwd_cnt = le32toh(h->fwd_cnt);
	if (vsock_conn_credit(c) == 0)
		return;
	c->credit_asked = false;
	if (vsock_conn_can_send(c))
		vsock_conn_owe(c, 0);
	else
		vsock_conn_watch(c);
}

static void take_request(struct vsock *v, const struct virtio_vsock_hdr *h)
{
	uint32_t host_port = le32toh(h->dst_port), guest_port = le32toh(h->src_port);
	const struct vsock_listener *l = find_listener(v, host_port);
	struct vsock_conn *c = NULL;

	int fd = l ? l->fn(l->arg, host_port, guest_port) : -ECONNREFUSED;
	if (fd < 0) {
		refuse(v, h);
		return;
	}
	if (vsock_conn_new(v, host_port, guest_port, true, fd, &c) < 0) {
		(void)close(fd);
		vsock_complain(v, "there are too many connections (%u)", v->n_conns);
		refuse(v, h);
		return;
	}
	vsock_conn_owe(c, OWE_RESPONSE);
	take_credit(c, h);
}

static void take_response(struct vsock_conn *c, const struct virtio_vsock_hdr *h)
{
	if (c->state == VSOCK_REQUESTING) {
		take_credit(c, h);
		c->owed &= ~(unsigned)OWE_REQUEST;
		vsock_conn_opened(c);
	} else if (c->state == VSOCK_OPEN && !c->from_guest) {
		take_credit(c, h); /* to a repeated REQUEST */
	} else if (c->state == VSOCK_OPEN) {
		vsock_conn_reset(c);
	}
}

static void take_data(struct vsock_conn *c, const struct virtqueue_chain *chain, uint32_t len)
{
	struct vsock *v = c->v;

	if (c->state == VSOCK_CLOSING)
		return; /* on its way before the guest heard that nobody reads */
	if (c->state != VSOCK_OPEN || c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) {
		vsock_conn_reset(c);
		return;
	}
	if (len > chain->readable_bytes - HDR) {
		vsock_complain(v, "a packet of %zu bytes says it carries %u", chain->readable_bytes,
			       len);
		vsock_conn_reset(c);
		return;
	}
	unsigned n =
		iov_slice(chain->readable, chain->n_readable, HDR, len, v->payload, VSOCK_POOL);
	if (n > VIRTQUEUE_SIZE_MAX) { /* more pieces than one sendmsg() takes */
		vsock_conn_reset(c);
		return;
	}
	if (len > 0)
		vsock_conn_receive(c, v->payload, n, len);
}

static void take_known(struct vsock_conn *c, const struct virtio_vsock_hdr *h,
		       const struct virtqueue_chain *chain)
{
	struct vsock *v = c->v; /* @c may be gone by the end */
	uint16_t op = le16toh(h->op);

	if (op == VIRTIO_VSOCK_OP_RST) {
		vsock_conn_forgotten(c, -ECONNREFUSED);
		return;
	}
	if (c->state == VSOCK_RESETTING)
		return; /* crossed our RST, which stands in line */
	if (op == VIRTIO_VSOCK_OP_RESPONSE) {
		take_response(c, h);
		return;
	}
	if (c->state == VSOCK_REQUESTING) {
		vsock_complain(v, "operation %u on port %u before its RESPONSE", op, c->guest_port);
		vsock_conn_forgotten(c, -ECONNREFUSED);
		refuse(v, h);
		return;
	}
	take_credit(c, h);
	switch (op) {
	case VIRTIO_VSOCK_OP_RW:
		take_data(c, chain, le32toh(h->len));
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		vsock_conn_guest_shutdown(c, le32toh(h->flags));
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		vsock_conn_owe(c, OWE_CREDIT);
		break;
	default: /* a REQUEST for what is connected, or nothing we know */
		vsock_conn_reset(c);
	}
}

static void take_packet(struct vsock *v, const struct virtqueue_chain *chain)
{
	struct virtio_vsock_hdr h;

	(void)iov_to_buf(chain->readable, chain->n_readable, &h, HDR);
	if (le64toh(h.src_cid) != v->guest_cid || le64toh(h.dst_cid) != VSOCK_HOST_CID)
		return; /* not for us, and nobody to answer to (5.10.6.2) */
	if (le16toh(h.type) != VIRTIO_VSOCK_TYPE_STREAM) {
		refuse(v, &h);
		return;
	}
	struct vsock_conn *c = vsock_conn_find(v, le32toh(h.dst_port), le32toh(h.src_port));
	if (c)
		take_known(c, &h, chain);
	else if (le16toh(h.op) == VIRTIO_VSOCK_OP_REQUEST)
		take_request(v, &h);
	else
		refuse(v, &h);
}

/* Handles up to @max packets; returns how many, or -EPROTO. */
static int take_tx(struct vsock *v, unsigned max)
{
	struct virtqueue *q = v->q[VSOCK_QUEUE_TX];
	struct virtqueue_chain chain;
	unsigned n = 0;

	(void)virtqueue_want_kick(q, false);
	while (n < max) {
		if (v->n_rsts == VSOCK_RSTS_MAX)
			break; /* fill_rx() goes on here once refusals could be sent */
		int r = virtqueue_pop(q, &chain, v->pool, VIRTQUEUE_IOV_MAX);
		if (r == 0 && virtqueue_want_kick(q, true))
			continue;
		if (r == 0)
			break;
		if (r > 0 && chain.readable_bytes < HDR)
			r = virtqueue_break(q, "a packet is shorter than its header");
		if (r < 0)
			return r;
		take_packet(v, &chain);
		virtqueue_push(q, chain.head, 0);
		n++;
	}
	if (n > 0)
		virtqueue_notify(q);
	return (int)n;
}

static void drain_tx(struct vsock *v)
{
	int n = take_tx(v, VSOCK_TURN);

	if (n < 0)
		give_up(v);
	else if (n == VSOCK_TURN)
		go_on_later(v);
}

void vsock_flush(struct vsock *v)
{
	if (!v->running)
		return;
	bool stalled = v->n_rsts == VSOCK_RSTS_MAX;
	fill_rx(v);
	if (stalled && v->running && v->n_rsts < VSOCK_RSTS_MAX)
		go_on_later(v); /* the guest's queue was left alone */
}

static void work(struct vsock *v)
{
	if (v->running)
		drain_tx(v);
	vsock_flush(v);
}

static void on_again(void *arg)
{
	work(arg);
}

/* ---- The device's face ----------------------------------------------------------------------- */

static void read_config(void *dev, uint8_t *dst)
{
	const struct vsock *v = dev;
	uint64_t cid = htole64(v->guest_cid);
	memcpy(dst, &cid, sizeof cid);
}

static void set_features(void *dev, uint64_t features)
{
	(void)dev; /* streams alone are served, whatever the driver says */
	(void)features;
}

/* The guest's driver knows none of the connections. */
static void forget_all(struct vsock *v, int r, bool attempts_too)
{
	struct list *pos, *next;

	v->n_rsts = 0;
	list_for_each_safe (pos, next, &v->conns) {
		struct vsock_conn *c = list_entry(pos, struct vsock_conn, link);
		if (c->state == VSOCK_REQUESTING && !attempts_too) {
			c->retry_ms = 0;
			vsock_conn_owe(c, OWE_REQUEST);
		} else if (c->state != VSOCK_DRAINING) {
			vsock_conn_forgotten(c, r);
		}
	}
}

/*
 * A queue that goes on where it stopped is a machine that was paused: the guest still knows its
 * connections. A driver that starts anew begins at 0. (Both at 0 after a pause: once in 2^32.)
 */
static bool was_paused(const struct vsock *v)
{
	uint16_t rx = v->q[VSOCK_QUEUE_RX]->next_avail, tx = v->q[VSOCK_QUEUE_TX]->next_avail;
	return (rx || tx) && rx == v->stopped_at[VSOCK_QUEUE_RX] &&
	       tx == v->stopped_at[VSOCK_QUEUE_TX];
}

static void queue_start(void *dev, unsigned index, struct virtqueue *q)
{
	struct vsock *v = dev;

	v->q[index] = q;
	if (!v->q[VSOCK_QUEUE_RX] || !v->q[VSOCK_QUEUE_TX])
		return;
	if (!was_paused(v))
		forget_all(v, -ECONNRESET, false);
	v->gone = false;
	v->running = true;
	work(v);
}

static void queue_kick(void *dev, unsigned index)
{
	struct vsock *v = dev;

	if (!v->running)
		return;
	if (index == VSOCK_QUEUE_TX)
		drain_tx(v);
	vsock_flush(v);
}

static void queue_stop(void *dev, unsigned index)
{
	struct vsock *v = dev;
	struct virtqueue *q = v->q[index];

	if (!q)
		return;
	if (v->running) {
		/* A guest's last words before it powers off: what it queued, once around. */
		if (take_tx(v, v->q[VSOCK_QUEUE_TX]->size) < 0)
			give_up(v);
		v->running = false;
	}
	v->stopped_at[index] = q->next_avail;
	v->q[index] = NULL;
	loop_timer_stop(v->again);
}

static void reset(void *dev)
{
	struct vsock *v = dev;

	v->running = false;
	v->gone = true;
	forget_all(v, -ECONNRESET, true);
	loop_timer_stop(v->again);
	vsock_arm_timer(v);
}

const struct virtio_device_ops vsock_ops = {
	.name = "vsock",
	.n_queues = VSOCK_N_QUEUES,
	.features = 0,
	.config_size = sizeof(struct virtio_vsock_config),
	.read_config = read_config,
	.set_features = set_features,
	.queue_start = queue_start,
	.queue_kick = queue_kick,
	.queue_stop = queue_stop,
	.reset = reset,
};

/* ---- Life ------------------------------------------------------------------------------------ */

void vsock_unref(struct vsock *v)
{
	if (__atomic_sub_fetch(&v->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(v);
}

int vsock_new(struct loop *loop, uint64_t guest_cid, struct vsock **ret)
{
	if (guest_cid <= VSOCK_HOST_CID || guest_cid >= UINT32_MAX)
		return -EINVAL;
	struct vsock *v = calloc(1, sizeof *v);
	if (!v)
		return -ENOMEM;
	v->loop = loop;
	v->guest_cid = guest_cid;
	v->refs = 1;
	v->next_port = VSOCK_HOST_PORT_FIRST;
	list_init(&v->conns);
	list_init(&v->ready);
	list_init(&v->requesting);
	for (unsigned i = 0; i < VSOCK_HASH_SIZE; i++)
		list_init(&v->hash[i]);
	int r = loop_timer_new(loop, on_again, v, &v->again);
	if (r >= 0)
		r = loop_timer_new(loop, vsock_on_timer, v, &v->timer);
	if (r < 0) {
		loop_timer_free(v->again);
		free(v);
		return r;
	}
	*ret = v;
	return 0;
}

void vsock_free(struct vsock *v)
{
	if (!v)
		return;
	v->running = false;
	v->gone = true;
	v->freed = true;
	while (!list_empty(&v->conns))
		vsock_conn_free(list_first(&v->conns, struct vsock_conn, link));
	loop_timer_free(v->again);
	loop_timer_free(v->timer);
	vsock_unref(v);
}

int vsock_listen(struct vsock *v, uint32_t host_port, vsock_accept_fn fn, void *arg)
{
	struct vsock_listener *slot = NULL;

	for (unsigned i = 0; i < VSOCK_LISTENERS_MAX; i++) {
		struct vsock_listener *l = &v->listeners[i];
		if (l->fn && l->port == host_port)
			return -EADDRINUSE;
		if (!l->fn && !slot)
			slot = l;
	}
	if (!slot)
		return -ENOSPC;
	*slot = (struct vsock_listener){.port = host_port, .fn = fn, .arg = arg};
	return 0;
}

void vsock_unlisten(struct vsock *v, uint32_t host_port)
{
	for (unsigned i = 0; i < VSOCK_LISTENERS_MAX; i++)
		if (v->listeners[i].fn && v->listeners[i].port == host_port)
			v->listeners[i].fn = NULL;
}

unsigned vsock_count(const struct vsock *v)
{
	return v->n_conns;
}
