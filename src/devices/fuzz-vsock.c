/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest and a host that do what the input says, 4 bytes a step:
 *
 *	0..9	the guest sends operation N (byte 1: which port pair, byte 2: flags or length,
 *		byte 3: credit)
 *	10	the host opens a stream, 11 writes, 12 reads, 13 half-closes, 14 closes one
 *	15	the guest offers receive buffers, 16 stops and starts its driver, 17 pauses
 *	18	the loop turns, 19 the machine ends
 */
#include "devices/testing-vsock.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#define STREAMS 4
#define QUEUE 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	struct testing_vsock t;
	int fd[STREAMS]; /* the host's ends */
	unsigned offered;
	unsigned opened, answered;
};

static void on_open(void *arg, int r, uint32_t host_port, int fd)
{
	struct world *w = arg;
	w->answered++;
}

static int new_stream(struct world *w, unsigned i)
{
	int sv[2];

	if (w->fd[i] >= 0)
		(void)close(w->fd[i]);
	w->fd[i] = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		abort();
	(void)fcntl(sv[0], F_SETFL, O_NONBLOCK);
	w->fd[i] = sv[0];
	return sv[1];
}

static int on_accept(void *arg, uint32_t host_port, uint32_t guest_port)
{
	return new_stream(arg, host_port % STREAMS);
}

static void guest_sends(struct world *w, const uint8_t *s)
{
	static uint8_t payload[TESTING_PACKET_MAX];
	struct virtio_vsock_hdr h = {
		.src_cid = TESTING_CID,
		.dst_cid = VSOCK_HOST_CID,
		.src_port = s[1] & 7,
		/* Streams of the host's have ports from 2^30 up, those of the guest's below. */
		.dst_port = (s[1] & 8 ? VSOCK_HOST_PORT_FIRST : 0) + (s[1] >> 4),
		.type = s[1] == 0xff ? VIRTIO_VSOCK_TYPE_SEQPACKET : VIRTIO_VSOCK_TYPE_STREAM,
		.op = s[0],
		.flags = s[2],
		.buf_alloc = (uint32_t)s[3] << 9,
		.fwd_cnt = s[3] & 1 ? (uint32_t)s[3] << 20 : 0,
	};
	uint32_t len = s[0] == VIRTIO_VSOCK_OP_RW ? (uint32_t)s[2] << 8 : 0;

	h.len = s[3] == 0xee ? len + 1 : len; /* a lie */
	(void)testing_vsock_send_raw(&w->t, &h, payload, len);
}

static void guest_receives(struct world *w)
{
	struct testing_packet p;

	while (testing_vsock_recv(&w->t, &p))
		w->offered--;
}

static void guest_offers(struct world *w)
{
	guest_receives(w);
	testing_vsock_offer(&w->t, QUEUE - w->offered);
	w->offered = QUEUE;
}

static void pause_and_go_on(struct world *w)
{
	struct testing_vsock *t = &w->t;
	uint16_t next[2];

	for (unsigned i = 0; i < 2; i++) {
		vsock_ops.queue_stop(t->v, i);
		next[i] = t->q[i].next_avail;
		virtqueue_stop(&t->q[i]);
	}
	for (unsigned i = 0; i < 2; i++) {
		struct testing_driver *d = &t->drv[i];
		(void)virtqueue_start(&t->q[i], &t->ram.mem, d->size, d->desc, d->avail, d->used, 0,
				      next[i]);
		vsock_ops.queue_start(t->v, i, &t->q[i]);
	}
}

static void host_does(struct world *w, const uint8_t *s)
{
	static uint8_t buf[TESTING_PACKET_MAX];
	unsigned i = s[1] % STREAMS;
	size_t len = (size_t)s[2] << 8 | s[3];

	switch (s[0]) {
	case 10:
		if (vsock_open(w->t.v, s[2] & 7, new_stream(w, i), 0, on_open, w, NULL) == 0)
			w->opened++;
		break;
	case 11:
		if (w->fd[i] >= 0)
			(void)!send(w->fd[i], buf, len, MSG_NOSIGNAL);
		break;
	case 12:
		if (w->fd[i] >= 0)
			(void)!read(w->fd[i], buf, len);
		break;
	case 13:
		if (w->fd[i] >= 0)
			(void)shutdown(w->fd[i], s[2] % 3);
		break;
	default:
		if (w->fd[i] >= 0)
			(void)close(w->fd[i]);
		w->fd[i] = -1;
	}
}

static void step(struct world *w, const uint8_t *s)
{
	if (s[0] < 10) {
		guest_sends(w, s);
	} else if (s[0] < 15) {
		host_does(w, s);
	} else if (s[0] == 15) {
		guest_offers(w);
	} else if (s[0] == 16) {
		testing_vsock_restart(&w->t);
		w->offered = QUEUE;
	} else if (s[0] == 17) {
		pause_and_go_on(w);
	} else if (s[0] == 18) {
		testing_vsock_turn(&w->t);
	} else if (s[0] == 19) {
		vsock_ops.reset(w->t.v);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;

	if (size > 4 * 200)
		return 0;
	testing_vsock_init(&w.t, QUEUE, true);
	w.offered = QUEUE;
	w.opened = w.answered = 0;
	for (unsigned i = 0; i < STREAMS; i++)
		w.fd[i] = -1;
	if (vsock_listen(w.t.v, 3, on_accept, &w) < 0 ||
	    vsock_listen(w.t.v, VSOCK_PORT_ANY, on_accept, &w) < 0)
		abort();
	for (; size >= 4; data += 4, size -= 4) {
		uint8_t s[4] = {data[0] % 20, data[1], data[2], data[3]};
		step(&w, s);
	}
	testing_vsock_turn(&w.t);
	testing_vsock_deinit(&w.t);
	if (w.opened != w.answered) /* every opener hears how it ended, once */
		abort();
	for (unsigned i = 0; i < STREAMS; i++)
		if (w.fd[i] >= 0)
			(void)close(w.fd[i]);
	return 0;
}
