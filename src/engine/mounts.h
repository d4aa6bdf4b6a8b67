/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of making one mount, private to mounts.c, targets.c and copy-up.c. */
#pragma once

#include "engine/job.h"
#include "engine/mount-options.h"
#include "engine/trees.h"

struct engine_mount {
	int root_fd;
	const struct engine_job *job;
	const struct oci_mount *m;
	const char *type;
	struct engine_mount_options options;
	const struct engine_trees *trees;
	int tree; /* what the engine has opened for it, or -EBADF */
};

/** What a mount is going to show, as far as that decides where it may be. */
enum engine_mount_kind {
	ENGINE_MOUNT_FILE,
	ENGINE_MOUNT_DIRECTORY,
	ENGINE_MOUNT_SYSTEM, /* an instance of proc or sysfs: never through a link */
	ENGINE_MOUNT_PROC,   /* a bind of one of proc */
};

/**
 * The destination (O_PATH), made if missing. Refused are the root, anything inside a procfs but the
 * files that tools like lxcfs provide, and at /proc whatever is no procfs.
 */
int engine_mount_target(const struct engine_mount *j, enum engine_mount_kind kind, struct err *e);

/**
 * Copies what is below @from (O_PATH) into the empty directory @to: files, directories, links,
 * FIFOs, with owners, modes and times; no other mounts, no devices. Sockets are left out.
 */
int engine_copy_up(int from, int to, struct err *e);
