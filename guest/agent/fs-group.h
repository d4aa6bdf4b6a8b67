/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume that belongs to a group: everything in it is given to the group, which may then read and
 * write it, as Kubernetes' fsGroup wants it. For workers: it may take long.
 *
 * What is in the volume was written by somebody else, and may be changed while we walk. Everything
 * is done by descriptor: links are left alone and never followed, and the walk stays on the one
 * mount. Its depth is bounded, and so are its memory and descriptors, however many files there are.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

/* Directories within each other; each costs a descriptor while the walk is in it. Trees of people
 * have some dozens. */
#define FS_GROUP_DEPTH_MAX 256

struct fs_group {
	gid_t gid;
	/* only if the top is not the group's already; it is changed last, so that a walk that was
	 * interrupted is done again */
	bool on_root_mismatch;
	/* the group shall not write */
	bool read_only;
};

/**
 * Applies it to the file or directory open at @fd (O_PATH is enough), and to all below. @path is
 * for the sentence. Devices are left alone. A file that vanishes meanwhile is no failure.
 * -ELOOP: deeper than FS_GROUP_DEPTH_MAX; -EROFS: the file system cannot be changed.
 */
int fs_group_apply(int fd, const struct fs_group *g, const char *path, struct err *e);
