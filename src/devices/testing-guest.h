/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other side, for tests and fuzzers: a guest's memory and the driver's half of a virtqueue, so
 * that a device can be driven without a machine. It can break every rule that it is told to.
 */
#pragma once

#include "devices/virtqueue.h"

#include <stddef.h>

/* Guest memory is two regions with a hole between them: RAM_LOW at 0, RAM_HIGH at 4 GiB. */
#define TESTING_RAM_HIGH (4ull << 30)

struct testing_ram {
	struct guest_memory mem;
	int fd;		  /* the memfd behind both: low first */
	uint64_t size;	  /* of each region */
	uint64_t next;	  /* testing_ram_alloc() */
	uint8_t *mapping; /* both regions, low first; the test's own view */
};

/** Makes both regions, @size bytes each (a multiple of 4096). Ends the test on failure. */
void testing_ram_init(struct testing_ram *ram, uint64_t size);
void testing_ram_deinit(struct testing_ram *ram);
/** Memory of the low region; a guest physical address. Ends the test when there is none. */
uint64_t testing_ram_alloc(struct testing_ram *ram, uint64_t len, uint64_t align);
void *testing_ram_at(struct testing_ram *ram, uint64_t gpa);

/* One buffer of a request. */
struct testing_buf {
	uint64_t gpa;
	uint32_t len;
	bool writable;
};

struct testing_driver {
	struct testing_ram *ram;
	unsigned size;
	uint64_t desc_gpa, avail_gpa, used_gpa;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t free_head;
	unsigned n_free;
	uint16_t next_used;
	uint16_t chain_len[VIRTQUEUE_SIZE_MAX]; /* by head */
};

void testing_driver_init(struct testing_driver *d, struct testing_ram *ram, unsigned size);
/** Starts the device's side of the same rings. */
int testing_driver_start_device(struct testing_driver *d, struct virtqueue *q, uint64_t features);
/** Queues a request and moves the index; returns its head, or -1 when the table is full. */
int testing_driver_add(struct testing_driver *d, const struct testing_buf *bufs, unsigned n);
/** Takes a completion: its head and in @ret_len its length, or -1. */
int testing_driver_get(struct testing_driver *d, uint32_t *ret_len);
/** The driver's half of the notification rules, without EVENT_IDX. */
bool testing_driver_kick_wanted(struct testing_driver *d);
