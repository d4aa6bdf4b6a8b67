/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories of a cgroup v2 hierarchy (kernel: Documentation/admin-guide/cgroup-v2.rst). A cgroup
 * is named by its absolute directory. Any thread; two threads must not work on one cgroup.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>
#include <sys/types.h>

/**
 * Makes @root/@relative with its parents, and has the parents pass on every controller that they
 * have. @relative must have no "." or ".." in it. *@ret is the directory, malloc'ed. -EEXIST if it
 * exists and has processes.
 */
int cgroup2_make(const char *root, const char *relative, char **ret, struct err *e);

/** Removes it with everything below. Waits a little for processes that are just ending. */
int cgroup2_remove(const char *dir, struct err *e);

int cgroup2_write(const char *dir, const char *file, const char *value);
int cgroup2_read(const char *dir, const char *file, struct buf *ret);

/** The number behind @key in a flat-keyed file ("populated" in cgroup.events). */
int cgroup2_read_key(const char *dir, const char *file, const char *key, uint64_t *ret);

/** Every process in it and below. *@ret is malloc'ed. */
int cgroup2_pids(const char *dir, pid_t **ret, size_t *ret_n);

/** Kills everything in it and below, and waits until nothing lives, or -ETIMEDOUT. */
int cgroup2_kill(const char *dir, uint64_t deadline_ms, struct err *e);

/** Stops or continues everything in it, and waits until that is so. */
int cgroup2_freeze(const char *dir, int frozen, uint64_t deadline_ms, struct err *e);
