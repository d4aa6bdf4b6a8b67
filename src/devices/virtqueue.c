/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtqueue.h"

#include <endian.h>

/* What the guest can change under our feet is read and written by these alone. */
static uint16_t load16(const uint16_t *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_RELAXED));
}

static uint16_t load16_acquire(const uint16_t *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static void store16(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, htole16(v), __ATOMIC_RELAXED);
}

static void store16_release(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, htole16(v), __ATOMIC_RELEASE);
}

static uint16_t *used_event(struct virtqueue *q)
{
	return &q->avail->ring[q->size];
}

static uint16_t *avail_event(struct virtqueue *q)
{
	return (uint16_t *)&q->used->ring[q->size];
}

bool virtqueue_size_valid(uint64_t size)
{
	return size > 0 && size <= VIRTQUEUE_SIZE_MAX && (size & (size - 1)) == 0;
}

int virtqueue_move(struct virtqueue *q, void *desc, void *avail, void *used)
{
	if (!desc || !avail || !used)
		return -EINVAL;
	if ((uintptr_t)desc % VRING_DESC_ALIGN_SIZE || (uintptr_t)avail % VRING_AVAIL_ALIGN_SIZE ||
	    (uintptr_t)used % VRING_USED_ALIGN_SIZE)
		return -EINVAL;
	q->desc = desc;
	q->avail = avail;
	q->used = used;
	return 0;
}

int virtqueue_start(struct virtqueue *q, const struct guest_memory *mem, unsigned size, void *desc,
		    void *avail, void *used, uint64_t features, uint16_t next_avail)
{
	if (!virtqueue_size_valid(size))
		return -EINVAL;
	int r = virtqueue_move(q, desc, avail, used);
	if (r < 0)
		return r;
	q->mem = mem;
	q->size = (uint16_t)size;
	q->event_idx = features & (1ull << VIRTIO_RING_F_EVENT_IDX);
	q->indirect = features & (1ull << VIRTIO_RING_F_INDIRECT_DESC);
	q->next_avail = next_avail;
	q->next_used = load16(&q->used->idx);
	q->signalled = q->next_used;
	q->why = NULL;
	q->started = true;
	return 0;
}

void virtqueue_stop(struct virtqueue *q)
{
	q->started = false;
	q->desc = NULL;
	q->avail = NULL;
	q->used = NULL;
}

int virtqueue_break(struct virtqueue *q, const char *why)
{
	if (!q->why)
		q->why = why;
	return -EPROTO;
}

/* ---- Walking a chain ------------------------------------------------------------------------- */

struct walk {
	struct virtqueue *q;
	struct virtqueue_chain *c;
	struct iovec *iov;
	unsigned iov_max;
	unsigned n; /* pieces so far */
	unsigned n_descs;
	uint64_t bytes;
};

/* The one read of a descriptor that the guest may be rewriting at this moment. */
static struct vring_desc read_desc(const struct vring_desc *table, unsigned i)
{
	return (struct vring_desc){
		.addr = le64toh(__atomic_load_n(&table[i].addr, __ATOMIC_RELAXED)),
		.len = le32toh(__atomic_load_n(&table[i].len, __ATOMIC_RELAXED)),
		.flags = load16(&table[i].flags),
		.next = load16(&table[i].next),
	};
}

static int add_pieces(struct walk *w, uint64_t gpa, uint64_t len)
{
	while (len > 0) {
		uint64_t part = 0;
		void *p = guest_memory_span(w->q->mem, gpa, len, &part);
		if (!p)
			return virtqueue_break(w->q, "a buffer lies outside of guest memory");
		if (w->n == w->iov_max)
			return -ENOBUFS;
		w->iov[w->n++] = (struct iovec){.iov_base = p, .iov_len = part};
		gpa += part; /* cannot wrap: no region reaches the end of the address space */
		len -= part;
	}
	return 0;
}

static int add_buffer(struct walk *w, const struct vring_desc *d)
{
	struct virtqueue_chain *c = w->c;
	bool writable = d->flags & VRING_DESC_F_WRITE;
	unsigned before = w->n;

	w->bytes += d->len;
	if (w->bytes > VIRTQUEUE_CHAIN_BYTES_MAX)
		return virtqueue_break(w->q, "a request is longer than 256 MiB");
	if (!writable && c->n_writable > 0)
		return virtqueue_break(w->q, "a readable buffer follows a writable one");
	int r = add_pieces(w, d->addr, d->len);
	if (r < 0)
		return r;
	if (writable) {
		c->n_writable += w->n - before;
		c->writable_bytes += d->len;
	} else {
		c->n_readable += w->n - before;
		c->readable_bytes += d->len;
	}
	return 0;
}

/* Follows a table from entry @i to the end of the chain; stops before an indirect descriptor, which
 * it returns in @ret_indirect with result 1. */
static int walk_table(struct walk *w, const struct vring_desc *table, unsigned n, unsigned i,
		      struct vring_desc *ret_indirect)
{
	for (;;) {
		if (i >= n)
			return virtqueue_break(w->q,
					       "a descriptor's index is outside of its table");
		if (w->n_descs++ == w->q->size)
			return virtqueue_break(w->q, "a chain is longer than its queue");
		struct vring_desc d = read_desc(table, i);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			*ret_indirect = d;
			return 1;
		}
		int r = add_buffer(w, &d);
		if (r < 0)
			return r;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return 0;
		i = d.next;
	}
}

static int walk_indirect(struct walk *w, const struct vring_desc *d)
{
	struct vring_desc nested;

	if (!w->q->indirect)
		return virtqueue_break(w->q, "an indirect descriptor was never negotiated");
	if (d->flags & VRING_DESC_F_NEXT)
		return virtqueue_break(w->q, "an indirect descriptor has a successor");
	if (d->len == 0 || d->len % sizeof(struct vring_desc))
		return virtqueue_break(w->q, "an indirect table's length is no multiple of 16");
	const struct vring_desc *table = guest_memory_at(w->q->mem, d->addr, d->len);
	if (!table)
		return virtqueue_break(w->q, "an indirect table lies outside of guest memory");
	/* 2.7.5.3 asks nothing of the alignment; but a 64-bit load here does. */
	if ((uintptr_t)table % sizeof(uint64_t))
		return virtqueue_break(w->q, "an indirect table is not aligned");
	w->n_descs--; /* the descriptor that leads here carries no buffer */
	int r = walk_table(w, table, d->len / (unsigned)sizeof *table, 0, &nested);
	if (r > 0)
		return virtqueue_break(w->q, "an indirect table leads to another");
	return r;
}

int virtqueue_pop(struct virtqueue *q, struct virtqueue_chain *c, struct iovec *iov,
		  unsigned iov_max)
{
	struct vring_desc indirect;

	if (q->why || !q->started)
		return -EPROTO;
	/* Acquire: what the guest wrote into descriptors before it moved the index is visible. */
	uint16_t waiting = (uint16_t)(load16_acquire(&q->avail->idx) - q->next_avail);
	if (waiting == 0)
		return 0;
	if (waiting > q->size)
		return virtqueue_break(q, "the available index jumped past the queue's size");

	*c = (struct virtqueue_chain){
		.head = load16(&q->avail->ring[q->next_avail & (q->size - 1)])};
	struct walk w = {.q = q, .c = c, .iov = iov, .iov_max = iov_max};
	int r = walk_table(&w, q->desc, q->size, c->head, &indirect);
	if (r > 0)
		r = walk_indirect(&w, &indirect);
	if (r < 0)
		return r;
	c->readable = iov;
	c->writable = iov + c->n_readable;
	q->next_avail++;
	return 1;
}

void virtqueue_unpop(struct virtqueue *q, unsigned n)
{
	q->next_avail = (uint16_t)(q->next_avail - n);
}

/* ---- Completion ------------------------------------------------------------------------------ */

void virtqueue_push(struct virtqueue *q, uint16_t head, uint32_t len)
{
	if (q->why || !q->started)
		return;
	struct vring_used_elem *e = &q->used->ring[q->next_used & (q->size - 1)];
	__atomic_store_n(&e->id, htole32(head), __ATOMIC_RELAXED);
	__atomic_store_n(&e->len, htole32(len), __ATOMIC_RELAXED);
	q->next_used++;
	/* Release: the guest that sees the index sees the element and the buffer's bytes. */
	store16_release(&q->used->idx, q->next_used);
}

static bool wants_interrupt(struct virtqueue *q)
{
	/* The guest may turn interrupts on and look at the index while we push and look here: each
	 * side must store before it loads, or both miss (2.7.10). */
	__sync_synchronize();
	uint16_t old = q->signalled;
	q->signalled = q->next_used;
	if (old == q->next_used)
		return false;
	if (!q->event_idx)
		return !(load16(&q->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(load16(used_event(q)), q->next_used, old);
}

void virtqueue_notify(struct virtqueue *q)
{
	if (q->why || !q->started)
		return;
	if (wants_interrupt(q))
		q->interrupt(q->interrupt_arg);
}

bool virtqueue_want_kick(struct virtqueue *q, bool on)
{
	if (q->why || !q->started)
		return false;
	if (q->event_idx) {
		/* Off needs no write: an index that has been passed never asks again. */
		if (on)
			store16(avail_event(q), q->next_avail);
	} else {
		store16(&q->used->flags, on ? 0 : VRING_USED_F_NO_NOTIFY);
	}
	__sync_synchronize(); /* as in wants_interrupt() */
	return load16(&q->avail->idx) != q->next_avail;
}
