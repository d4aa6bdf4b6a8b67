/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees that the engine opens for a child, because the child could not: in a user namespace it has
 * no rights over what lies on the way to a source, and an id-mapped mount can only be made by who
 * owns the filesystem. They are detached mounts, sent over the child's socket before its first GO.
 */
#pragma once

#include "engine/launch.h"
#include "engine/mount-options.h"

/* Received by the child, -EBADF where there is none; owned. */
struct engine_trees {
	int root;
	int *mounts; /* one for each mount of the spec, or NULL: none at all */
	size_t n;
};

#define ENGINE_TREES_INIT ((struct engine_trees){.root = -EBADF})

/** Is it to be shown with other owners: by its mappings or by its options? */
bool engine_mount_is_mapped(const struct oci_mount *m, const struct engine_mount_options *o);
bool engine_mount_is_bind(const struct oci_mount *m, const struct engine_mount_options *o);

/**
 * Refuses mappings that cannot be: of what is no bind, only one of the two kinds, or "idmap"
 * without any mappings to take.
 */
int engine_trees_check(const struct oci_spec *spec, struct err *e);

/**
 * Engine: opens and sends what this container needs; nothing for most. The maps of a new user
 * namespace must be written. Any thread; makes a short-lived process for each mount with maps of
 * its own, and reaps it.
 */
int engine_trees_send(const struct engine_launch *l, const struct oci_spec *spec,
		      const char *rootfs, struct err *e);

/** Child: keeps what has come with the number @index; -EBADMSG (and @fd closed) if it is odd. */
int engine_trees_keep(struct engine_trees *t, size_t n_mounts, int index, int fd);
