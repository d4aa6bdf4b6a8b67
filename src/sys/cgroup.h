/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One control group, of either version. Version 2 (kernel: Documentation/admin-guide/cgroup-v2.rst)
 * is one directory of one mount; version 1 (admin-guide/cgroup-v1/) a directory of the same name
 * in the mount of each controller, which all are in one directory, named after the controllers.
 *
 * A file names its controller by its first word: "memory.max". So a group and a file's name are
 * enough to find it. Any thread; two threads must not work on one group.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>
#include <sys/types.h>

/** Version 1's hierarchies, by the names of their mounts; NULL is the end. The first that is
 * mounted stands for the others where one is enough: all have the same processes. "systemd" has no
 * controller; where it is mounted, processes are expected to be in it. */
extern const char *const cgroup1_hierarchies[];

struct cgroup {
	int version;	/* 1 or 2 */
	char *root;	/* the mount; version 1: the directory of the mounts */
	char *relative; /* "/a/b", below each mount */
};

/** The version that is mounted there: 1, 2, or -ENOENT if neither. A directory with mounts of both
 * counts as 1: the controllers are there. */
int cgroup_version(const char *root);

/**
 * Makes @relative with its parents: in version 2 they pass on every controller that they have, in
 * version 1 each hierarchy gets one. @relative must have no "." or ".." in it. -EEXIST if it exists
 * and has processes. Free *@ret with cgroup_free(), which leaves the group alone.
 */
int cgroup_make(const char *root, const char *relative, struct cgroup **ret, struct err *e);
void cgroup_free(struct cgroup *g);
/** NULL: no memory. */
struct cgroup *cgroup_dup(const struct cgroup *g);

/** The directory of a controller's files; of version 2 there is one. It need not exist. */
int cgroup_dir(const struct cgroup *g, const char *controller, char *ret, size_t size);
/** The path of a file; -EINVAL if it has no "CONTROLLER." in front. */
int cgroup_path(const struct cgroup *g, const char *file, char *ret, size_t size);

/** -ENOENT: no such controller or file. */
int cgroup_write(const struct cgroup *g, const char *file, const char *value);
int cgroup_read(const struct cgroup *g, const char *file, struct buf *ret);
/** The number in a file. "max" is -1, and so is what is above an int64. */
int cgroup_read_number(const struct cgroup *g, const char *file, int64_t *ret);
/** The number behind @key in a flat-keyed file ("populated" in cgroup.events). */
int cgroup_read_key(const struct cgroup *g, const char *file, const char *key, uint64_t *ret);

/** 0, or -ENOENT: nothing of it is there. */
int cgroup_exists(const struct cgroup *g);

/** Puts a process of ours in it, in each hierarchy. */
int cgroup_attach(const struct cgroup *g, pid_t pid, struct err *e);

/** Every process in it and below. *@ret is malloc'ed. */
int cgroup_pids(const struct cgroup *g, pid_t **ret, size_t *ret_n);

/** Kills everything in it and below, also if it is frozen, and waits until nothing lives, or
 * -ETIMEDOUT. */
int cgroup_kill(const struct cgroup *g, uint64_t deadline_ms, struct err *e);

/** Stops or continues everything in it, and waits until that is so. -EOPNOTSUPP without freezer. */
int cgroup_freeze(const struct cgroup *g, int frozen, uint64_t deadline_ms, struct err *e);

/** Removes it with everything below. Waits a little for processes that are just ending. */
int cgroup_remove(const struct cgroup *g, struct err *e);
