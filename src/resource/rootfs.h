/* SPDX-License-Identifier: Apache-2.0 */
/* A container's root file system on the host: the mounts that containerd's snapshotter asks for. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/** As containerd.types.Mount; strings are borrowed. */
struct rootfs_mount {
	const char *type; /* "overlay", "bind", "erofs", "ext4"... */
	const char *source;
	const char *target; /* below the root, or "" for the root itself */
	char *const *options;
	size_t n_options;
};

/**
 * Mounts them in order at @target, an existing directory. Undoes its own mounts on failure. What
 * is mounted is detached by one undo entry for @target, which the caller pushed.
 */
int rootfs_mount_all(const struct rootfs_mount *mounts, size_t n, const char *target,
		     struct err *e);

/** Makes @target a bind mount of a file or directory; @target is created to match it. */
int rootfs_bind(const char *source, const char *target, bool recursive, bool read_only,
		struct err *e);
