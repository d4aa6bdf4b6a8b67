/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees that the engine opens for a child, because the child could not: in a user namespace it has
 * no rights over what lies on the way to a source, and an id-mapped mount can only be made by who
 * owns the filesystem. They are detached mounts, sent over the child's socket before its first GO.
 *
 * And those that it finds it cannot make: filesystems of namespaces that belong to another user
 * namespace than its own, as when it has joined them, or stayed in the engine's.
 */
#pragma once

#include "engine/launch.h"
#include "engine/mount-options.h"

/* Received by the child, -EBADF where there is none; owned. */
struct engine_trees {
	int root;
	int *mounts; /* one for each mount of the spec, or NULL: none at all */
	size_t n;
	int conn; /* to the engine; borrowed */
};

#define ENGINE_TREES_INIT ((struct engine_trees){.root = -EBADF, .conn = -EBADF})

/** Is it to be shown with other owners: by its mappings or by its options? */
bool engine_mount_is_mapped(const struct oci_mount *m, const struct engine_mount_options *o);
bool engine_mount_is_bind(const struct oci_mount *m, const struct engine_mount_options *o);

/**
 * Refuses mappings that cannot be: of what is no bind, only one of the two kinds, or "idmap"
 * without any mappings to take.
 */
int engine_trees_check(const struct oci_spec *spec, struct err *e);

/** A copy of the mount at a bind's source: an absolute path, or one from the bundle. */
int engine_trees_source(const char *bundle, const char *source, bool recursive);

/**
 * Engine: opens and sends what this container needs; nothing for most. The maps of a new user
 * namespace must be written. Any thread; makes a short-lived process for each mount with maps of
 * its own, and reaps it.
 */
int engine_trees_send(const struct engine_launch *l, const struct oci_spec *spec,
		      const char *rootfs, const char *bundle, struct err *e);

/** Child: keeps what has come with the number @index; -EBADMSG (and @fd closed) if it is odd. */
int engine_trees_keep(struct engine_trees *t, size_t n_mounts, int index, int fd);

/**
 * Child: has the engine make what mountfd_open() has begun in the child's namespaces, without
 * flags. Returns the detached mount, or a negative errno.
 */
int engine_trees_ask(const struct engine_trees *t, int fs_fd);
/** Engine: the answer. Nothing but proc, mqueue and cgroup2. @fs_fd is borrowed. */
int engine_trees_answer(const struct engine_launch *l, int fs_fd, struct err *e);
