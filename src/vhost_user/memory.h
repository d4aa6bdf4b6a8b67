/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory that a front end shares by descriptor: mapped here, unmapped here. */
#pragma once

#include "devices/virtio.h"
#include "vhost_user/protocol.h"

/* What munmap() needs of each region, beside what a device sees of it. */
struct vhost_user_memory {
	struct guest_memory guest;
	struct {
		void *base;
		size_t len;
	} maps[GUEST_REGIONS_MAX]; /* of guest.regions[], same index */
};

/**
 * Maps a region and adds it. @fd stays the caller's and may be closed afterwards. -EINVAL: empty,
 * wraps around, meets another, or reaches past the end of its file; -ENOSPC; or mmap()'s errno.
 *
 * A file that shrinks under a mapping kills whoever touches it (SIGBUS), so shrinking is sealed off
 * where the file can be sealed (a memfd of QEMU's can, and is).
 */
int vhost_user_memory_add(struct vhost_user_memory *m, const struct vhost_user_region *r, int fd,
			  struct err *e);
/** The index of the region with exactly these addresses and size, or -ENOENT. */
int vhost_user_memory_find(const struct vhost_user_memory *m, const struct vhost_user_region *r,
			   struct err *e);
/** Unmaps region @i; the last one takes its place. */
void vhost_user_memory_drop(struct vhost_user_memory *m, unsigned i);
/** Unmaps all. */
void vhost_user_memory_clear(struct vhost_user_memory *m);
