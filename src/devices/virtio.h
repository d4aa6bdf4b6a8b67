/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport-free virtio core: guest memory as regions, and the face of a device.
 * Source: Virtual I/O Device (VIRTIO) 1.2, sections 2.6 and 2.7.
 *
 * The guest is hostile. Every address, length and index that it writes is checked (here and in
 * devices/virtqueue.h), each descriptor is read once, and a queue that breaks a rule is marked
 * broken and never walked again. The transport (vhost-user, later virtio-mmio) fills in the regions
 * and ring addresses, says when a queue was kicked, and raises the interrupt when a device asks.
 *
 * Threads: a device and all its queues belong to one thread, the loop's.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* What vhost-user's ADD_MEM_REG may build up to: RAM below and above the hole, and one for each
 * memory slot that a pod can plug. */
#define GUEST_REGIONS_MAX 32

struct guest_region {
	uint64_t gpa;	    /* guest physical address */
	uint64_t size;	    /* bytes */
	uint8_t *hva;	    /* where it is mapped here */
	uint64_t user_addr; /* the front end's own address of it (vhost-user), else 0 */
};

struct guest_memory {
	struct guest_region regions[GUEST_REGIONS_MAX];
	unsigned n;
};

/** The mapping of [gpa, gpa+len), or NULL if it is not wholly inside one region. */
void *guest_memory_at(const struct guest_memory *m, uint64_t gpa, uint64_t len);

/** The same for an address of the front end's (region.user_addr). */
void *guest_memory_at_user(const struct guest_memory *m, uint64_t addr, uint64_t len);

/**
 * As much of [gpa, gpa+len) as lies in the region that holds @gpa; its length, at least 1, goes to
 * @ret_len. NULL if no region holds @gpa. For buffers that go on in the next region.
 */
void *guest_memory_span(const struct guest_memory *m, uint64_t gpa, uint64_t len,
			uint64_t *ret_len);

/**
 * Adds a region. -EINVAL if it is empty, wraps around, or meets another one in guest physical or
 * front end addresses; -ENOSPC at GUEST_REGIONS_MAX.
 */
int guest_memory_add(struct guest_memory *m, const struct guest_region *r);

struct virtqueue;

/* The most bytes of configuration space that a device has; ours have 8 (vsock) to 60 (blk). */
#define VIRTIO_CONFIG_MAX 256

/*
 * A device, as a transport sees it. All members are mandatory and called on the loop thread; @dev
 * is the device's own state.
 */
struct virtio_device_ops {
	const char *name; /* for messages: "vsock" */
	unsigned n_queues;
	uint64_t features;    /* the device's own bits; the transport adds VIRTQUEUE_FEATURES */
	uint32_t config_size; /* at most VIRTIO_CONFIG_MAX */

	/** Writes config_size bytes of configuration space. */
	void (*read_config)(void *dev, uint8_t *dst);
	/** What the driver accepted; comes before any queue starts. */
	void (*set_features)(void *dev, uint64_t features);
	/**
	 * Queue @index can be used until queue_stop(). A kick may have been lost before: the device
	 * looks into the ring at once. @q is borrowed; its memory may move between two calls of the
	 * transport, so the device keeps no pointer into the guest from one call to the next.
	 */
	void (*queue_start)(void *dev, unsigned index, struct virtqueue *q);
	void (*queue_kick)(void *dev, unsigned index);
	/**
	 * The device finishes what the guest has queued, as far as it can at once, and gives every
	 * buffer back. The queue may start again where it stopped (a paused machine).
	 */
	void (*queue_stop)(void *dev, unsigned index);
	/** The front end is gone, after all queues stopped: what the guest began is over. */
	void (*reset)(void *dev);
};
