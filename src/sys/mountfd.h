/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts by descriptor: made detached, given their flags there, then attached to an O_PATH
 * descriptor. No path is walked twice and no mount is visible before it has its restrictions.
 * Needs Linux 5.12. Any thread; works in the caller's mount namespace.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** A filesystem option: a flag when ->value is NULL. */
struct mountfd_option {
	const char *key, *value;
};

/**
 * Makes a filesystem instance, detached. @attr is of MOUNT_ATTR_*. The kernel's own complaint is
 * part of the sentence. Returns the mount's descriptor.
 */
int mountfd_new(const char *fstype, const char *source, const struct mountfd_option *options,
		size_t n_options, uint64_t attr, struct err *e);

/**
 * The two halves of mountfd_new(). A filesystem that belongs to a namespace (proc, mqueue, cgroup2)
 * is of those that the first is called in; the rights over them are needed for the second, which
 * may be another process'.
 */
int mountfd_open(const char *fstype, const char *source, const struct mountfd_option *options,
		 size_t n_options, struct err *e);
int mountfd_make(int fs_fd, const char *fstype, uint64_t attr, struct err *e);

/** A detached copy of the mount at @dir_fd/@path ("" and an O_PATH descriptor: that itself). */
int mountfd_clone(int dir_fd, const char *path, bool recursive);

/** Sets and clears MOUNT_ATTR_* bits; 0 changes nothing. */
int mountfd_set_attr(int mount_fd, uint64_t set, uint64_t clear, bool recursive);
/**
 * Shows a detached mount's files with the owners that the maps of a user namespace give them.
 * -EINVAL, -EOPNOTSUPP: the filesystem cannot; it needs Linux 5.12, and for many types a later one.
 */
int mountfd_set_idmap(int mount_fd, int userns_fd, bool recursive);
/** @propagation is one of MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE. */
int mountfd_set_propagation(int mount_fd, unsigned long propagation, bool recursive);

/** Attaches a detached mount on top of @target_fd (O_PATH; a directory, or a file for a file). */
int mountfd_attach(int mount_fd, int target_fd);

/** Is the file of this descriptor on that kind of filesystem (its magic of linux/magic.h)? */
bool mountfd_is_fs(int fd, unsigned long magic);
