/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/testing-vsock.h"

#include <stdio.h>
#include <string.h>

static void need(bool ok, const char *what)
{
	if (!ok) {
		(void)fprintf(stderr, "testing-vsock: %s\n", what);
		abort();
	}
}

static void on_interrupt_rx(void *arg)
{
	((struct testing_vsock *)arg)->interrupts[0]++;
}

static void on_interrupt_tx(void *arg)
{
	((struct testing_vsock *)arg)->interrupts[1]++;
}

static void start_queues(struct testing_vsock *t)
{
	for (unsigned i = 0; i < 2; i++) {
		int r = testing_driver_start_device(&t->drv[i], &t->q[i],
						    1ull << VIRTIO_RING_F_INDIRECT_DESC);
		need(r == 0, "start of a queue");
		vsock_ops.queue_start(t->v, i, &t->q[i]);
	}
}

void testing_vsock_init(struct testing_vsock *t, unsigned queue_size, bool rx_buffers)
{
	*t = (struct testing_vsock){.rx_size = TESTING_RX_SIZE,
				    .buf_alloc = 256 << 10,
				    .src_cid = TESTING_CID,
				    .type = VIRTIO_VSOCK_TYPE_STREAM};
	need(loop_new(&t->loop) == 0, "loop");
	need(vsock_new(t->loop, TESTING_CID, &t->v) == 0, "device");
	uint64_t packets = (uint64_t)queue_size * (TESTING_PACKET_MAX + 4096);
	uint64_t buffers = (uint64_t)queue_size * 4096;
	testing_ram_init(&t->ram, (packets + buffers + (256 << 10)) / 4096 * 4096);
	for (unsigned i = 0; i < 2; i++)
		testing_driver_init(&t->drv[i], &t->ram, queue_size);
	t->tx_slots = testing_ram_alloc(&t->ram, packets, 4096);
	uint64_t rx = testing_ram_alloc(&t->ram, buffers, 4096);
	for (unsigned i = 0; i < queue_size; i++) {
		t->tx_gpa[i] = t->tx_slots + (uint64_t)i * (TESTING_PACKET_MAX + 4096);
		t->rx_gpa[i] = rx + (uint64_t)i * 4096;
	}
	t->q[0].interrupt = on_interrupt_rx;
	t->q[1].interrupt = on_interrupt_tx;
	t->q[0].interrupt_arg = t->q[1].interrupt_arg = t;
	if (rx_buffers)
		testing_vsock_offer(t, queue_size);
	start_queues(t);
}

void testing_vsock_stop(struct testing_vsock *t)
{
	for (unsigned i = 0; i < 2; i++) {
		vsock_ops.queue_stop(t->v, i);
		virtqueue_stop(&t->q[i]);
	}
}

void testing_vsock_restart(struct testing_vsock *t)
{
	unsigned size = t->drv[0].size;

	testing_vsock_stop(t);
	t->ram.next = 0; /* the rings lie first, in the same order */
	for (unsigned i = 0; i < 2; i++)
		testing_driver_init(&t->drv[i], &t->ram, size);
	testing_vsock_offer(t, size);
	start_queues(t);
}

void testing_vsock_deinit(struct testing_vsock *t)
{
	vsock_free(t->v);
	loop_free(t->loop);
	testing_ram_deinit(&t->ram);
}

void testing_vsock_offer(struct testing_vsock *t, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct testing_buf b = {t->rx_gpa[t->drv[0].free_head], t->rx_size, true};
		need(testing_driver_add(&t->drv[0], &b, 1) >= 0, "the receive queue is full");
	}
	if (t->q[0].started && testing_driver_kick_wanted(&t->drv[0]))
		vsock_ops.queue_kick(t->v, 0);
}

static void stop_loop(void *arg)
{
	loop_stop(arg);
}

void testing_vsock_turn(struct testing_vsock *t)
{
	need(loop_post(t->loop, stop_loop, t->loop) == 0, "loop_post");
	loop_run(t->loop);
}

bool testing_vsock_send_raw(struct testing_vsock *t, const struct virtio_vsock_hdr *h,
			    const void *data, uint32_t len)
{
	struct testing_driver *d = &t->drv[1];
	uint32_t used_len;

	while (testing_driver_get(d, &used_len) >= 0)
		;
	if (d->n_free < 2)
		return false;
	uint64_t gpa = t->tx_gpa[d->free_head];
	memcpy(testing_ram_at(&t->ram, gpa), h, sizeof *h);
	struct testing_buf bufs[2] = {{.gpa = gpa, .len = sizeof *h},
				      {.gpa = gpa + sizeof *h, .len = len}};
	need(len <= TESTING_PACKET_MAX, "a packet that is too long");
	if (len > 0)
		memcpy(testing_ram_at(&t->ram, bufs[1].gpa), data, len);
	need(testing_driver_add(d, bufs, len ? 2 : 1) >= 0, "the transmit queue is full");
	if (testing_driver_kick_wanted(d))
		vsock_ops.queue_kick(t->v, 1);
	return true;
}

bool testing_vsock_send(struct testing_vsock *t, uint16_t op, uint32_t guest_port,
			uint32_t host_port, uint32_t flags, const void *data, uint32_t len)
{
	struct virtio_vsock_hdr h = {
		.src_cid = t->src_cid,
		.dst_cid = VSOCK_HOST_CID,
		.src_port = guest_port,
		.dst_port = host_port,
		.len = len,
		.type = t->type,
		.op = op,
		.flags = flags,
		.buf_alloc = t->buf_alloc,
		.fwd_cnt = t->fwd_cnt,
	};
	return testing_vsock_send_raw(t, &h, data, len);
}

bool testing_vsock_recv(struct testing_vsock *t, struct testing_packet *ret)
{
	uint32_t len = 0;
	int head = testing_driver_get(&t->drv[0], &len);
	if (head < 0)
		return false;
	need(len >= sizeof ret->h && len <= t->rx_size, "a packet of no packet's length");
	const uint8_t *p = testing_ram_at(&t->ram, t->rx_gpa[head]);
	memcpy(&ret->h, p, sizeof ret->h);
	ret->data = p + sizeof ret->h;
	ret->len = len - (uint32_t)sizeof ret->h;
	ret->head = head;
	need(ret->h.len == ret->len, "a packet whose length is not the buffer's");
	need(ret->h.src_cid == VSOCK_HOST_CID && ret->h.dst_cid == TESTING_CID, "CIDs");
	return true;
}

void testing_vsock_done(struct testing_vsock *t, struct testing_packet *p)
{
	/* The head of a completed single buffer is the next free descriptor, so its memory too. */
	need(t->drv[0].free_head == p->head, "packets are given back in order");
	testing_vsock_offer(t, 1);
}
