/* SPDX-License-Identifier: Apache-2.0 */
/* What both versions of control groups do with directories, and each version's own part. Private to
 * sys/cgroup*.c. */
#pragma once

#include "sys/cgroup.h"

struct cgroup_ops {
	/** Makes the directories. -EEXIST if something runs in there. */
	int (*make)(const struct cgroup *g, struct err *e);
	int (*attach)(const struct cgroup *g, pid_t pid, struct err *e);
	int (*pids)(const struct cgroup *g, pid_t **ret, size_t *ret_n);
	/* these three without words for the failure */
	int (*kill)(const struct cgroup *g, uint64_t deadline_ms);
	int (*freeze)(const struct cgroup *g, int frozen, uint64_t deadline_ms);
	int (*remove)(const struct cgroup *g, uint64_t deadline_ms);
};

extern const struct cgroup_ops cgroup1_ops, cgroup2_ops;

/**
 * mkdir -p of @relative below @top, without following it out: "." and ".." are refused. @enter (may
 * be NULL) is called with each directory before one is made in it; @made (may be NULL) with each
 * one that is there then.
 */
int cgroup_tree_make(const char *top, const char *relative, void (*enter)(const char *dir),
		     int (*made)(const char *dir), struct err *e);
/** Calls @fn for every cgroup below @dir, the deepest first, then for @dir. */
int cgroup_tree_walk(const char *dir, int (*fn)(const char *dir, void *arg), void *arg);
/** Every process in @dir and below. *@ret is malloc'ed. */
int cgroup_tree_pids(const char *dir, pid_t **ret, size_t *ret_n);
/** Removes @dir and all below, the deepest first; waits for what is just ending. */
int cgroup_tree_remove(const char *dir, uint64_t deadline_ms);
/** SIGKILL to all that are in there now. *@ret_n (may be NULL): how many. */
int cgroup_kill_once(const struct cgroup *g, size_t *ret_n);

int cgroup_dir_read(const char *dir, const char *file, struct buf *ret);
int cgroup_dir_write(const char *dir, const char *file, const char *value);
/** For what the kernel does not tell of: 1 ms at first, then up to 50. */
void cgroup_pause(long *ms);
