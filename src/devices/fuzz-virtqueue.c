/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is a guest's memory, rings and all: what the device's half makes of it must stay
 * inside. Byte 0 chooses the ring's size and features; the rest fills both regions from the start.
 */
#include "devices/iov.h"
#include "devices/testing-guest.h"

#include <string.h>

#define RAM 4096u
#define DESC 0u
#define AVAIL 1024u
#define USED 1536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct testing_ram ram;
static struct iovec iov[VIRTQUEUE_IOV_MAX];

static void on_interrupt(void *arg)
{
	++*(unsigned *)arg;
}

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void check_pieces(const struct iovec *p, unsigned n, size_t bytes)
{
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *base = p[i].iov_base;
		must(base >= ram.mapping && p[i].iov_len > 0 && p[i].iov_len <= RAM);
		must(base + p[i].iov_len <= ram.mapping + 2 * RAM);
	}
	must(iov_total(p, n) == bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned interrupts = 0;
	struct virtqueue q = {.interrupt = on_interrupt, .interrupt_arg = &interrupts};
	struct virtqueue_chain c;

	if (!ram.mapping)
		testing_ram_init(&ram, RAM);
	if (size < 1 || size > 1 + 2 * RAM)
		return 0;
	memset(ram.mapping, 0, 2 * RAM);
	memcpy(ram.mapping, data + 1, size - 1);
	unsigned ring = 1u << (data[0] & 7);
	if (ring > 64)
		ring = 64;
	uint64_t features = (data[0] & 8 ? 1ull << VIRTIO_RING_F_INDIRECT_DESC : 0) |
			    (data[0] & 16 ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0);
	must(virtqueue_start(&q, &ram.mem, ring, ram.mapping + DESC, ram.mapping + AVAIL,
			     ram.mapping + USED, features, data[0] >> 5) == 0);
	for (unsigned i = 0; i < 3 * ring; i++) {
		int r = virtqueue_pop(&q, &c, iov, i % 3 ? VIRTQUEUE_IOV_MAX : 2);
		if (r == -EPROTO)
			must(q.why != NULL);
		if (r <= 0 && r != -ENOBUFS)
			break;
		if (r == -ENOBUFS)
			continue;
		check_pieces(c.readable, c.n_readable, c.readable_bytes);
		check_pieces(c.writable, c.n_writable, c.writable_bytes);
		if (i % 5 == 4) {
			virtqueue_unpop(&q, 1);
			must(virtqueue_pop(&q, &c, iov, VIRTQUEUE_IOV_MAX) == 1);
		}
		/* What a device writes may hit the rings themselves. */
		(void)iov_from_buf(c.writable, c.n_writable, data, size);
		virtqueue_push(&q, c.head, (uint32_t)c.writable_bytes);
		virtqueue_notify(&q);
		(void)virtqueue_want_kick(&q, i & 1);
	}
	return 0;
}
