/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's side of a split virtqueue. Source: VIRTIO 1.2, section 2.7.
 *
 * A guest that breaks a rule (an index that jumps, a chain that loops, a buffer outside of its
 * memory, a writable buffer before a readable one...) breaks its queue: virtqueue_pop() says
 * -EPROTO once and for all, and ->why holds the sentence.
 *
 * The rings are shared with a running guest: every value in them is read once, by an atomic load,
 * and only the copy is looked at.
 */
#pragma once

#include "devices/virtio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

/* A power of two. QEMU's and Cloud Hypervisor's limit, and the most pieces that readv() takes. */
#define VIRTQUEUE_SIZE_MAX 1024

/* The most bytes of one request. No driver comes near (blk: 32 MiB), and a sum of lengths stays
 * far from wrapping around. */
#define VIRTQUEUE_CHAIN_BYTES_MAX (256u << 20)

/* A bound on where one buffer may be cut by the borders of memory regions. */
#define VIRTQUEUE_IOV_MAX (VIRTQUEUE_SIZE_MAX + GUEST_REGIONS_MAX)

/* What every queue here can do; a transport offers these beside the device's own bits. */
#define VIRTQUEUE_FEATURES                                                  \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC | \
	 1ull << VIRTIO_RING_F_EVENT_IDX)

struct virtqueue {
	/* Set by virtqueue_start() and virtqueue_move(). */
	const struct guest_memory *mem; /* borrowed */
	uint16_t size;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	bool event_idx, indirect;
	bool started;

	/* The transport's. */
	void (*interrupt)(void *arg);
	void *interrupt_arg;

	uint16_t next_avail; /* the entry of the available ring that pop reads next */
	uint16_t next_used;
	uint16_t signalled; /* next_used at the last decision about an interrupt */
	const char *why;    /* not NULL: broken, and by what */
};

/* One request of the guest. The pieces lie in the caller's array: first those that the device
 * reads, then those that it writes. */
struct virtqueue_chain {
	uint16_t head;
	unsigned n_readable, n_writable;
	struct iovec *readable, *writable;
	size_t readable_bytes, writable_bytes;
};

static inline uint64_t virtqueue_desc_bytes(unsigned size)
{
	return 16ull * size;
}

static inline uint64_t virtqueue_avail_bytes(unsigned size)
{
	return 6 + 2ull * size; /* with used_event */
}

static inline uint64_t virtqueue_used_bytes(unsigned size)
{
	return 6 + 8ull * size; /* with avail_event */
}

/** Whether a driver may choose it: a power of two, at most VIRTQUEUE_SIZE_MAX. */
bool virtqueue_size_valid(uint64_t size);

/**
 * Begins at entry @next_avail of rings that are mapped at these addresses, each as long as the
 * functions above say. @features are those that the driver accepted. -EINVAL: the size is not
 * valid or an address is not aligned (2.7: 16, 2, 4).
 */
int virtqueue_start(struct virtqueue *q, const struct guest_memory *mem, unsigned size, void *desc,
		    void *avail, void *used, uint64_t features, uint16_t next_avail);
/** The same rings, mapped anew after guest memory changed. -EINVAL as above. */
int virtqueue_move(struct virtqueue *q, void *desc, void *avail, void *used);
void virtqueue_stop(struct virtqueue *q);

/**
 * Takes the next request. Returns 1 and fills @c, whose pieces go to @iov (at most @iov_max);
 * 0: none is there; -EPROTO: the queue is (now) broken; -ENOBUFS: @iov is too small for this
 * request, which stays where it is. VIRTQUEUE_IOV_MAX pieces always suffice.
 */
int virtqueue_pop(struct virtqueue *q, struct virtqueue_chain *c, struct iovec *iov,
		  unsigned iov_max);
/** Gives the last @n popped requests back, as if they had never been taken. */
void virtqueue_unpop(struct virtqueue *q, unsigned n);
/** Completes a request into which the device wrote @len bytes. */
void virtqueue_push(struct virtqueue *q, uint16_t head, uint32_t len);
/** Raises the interrupt if the guest wants one for what was pushed since the last call. */
void virtqueue_notify(struct virtqueue *q);
/**
 * Asks for kicks (@on), or says that they are not needed. Returns whether requests are waiting
 * already: then no kick will come for those, and the caller goes on.
 */
bool virtqueue_want_kick(struct virtqueue *q, bool on);
/** Breaks the queue on the device's behalf: @why is a literal. Returns -EPROTO. */
int virtqueue_break(struct virtqueue *q, const char *why);
