/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Included before everything else where the agent is built with musl 1.2.3 (option agent_musl):
 * what glibc's headers declare and the agent uses, and musl's do not. Not a header to include by
 * hand.
 */
#pragma once

#include <dirent.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/mount.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

/* musl's texts are constant; its strerror_r() is that of POSIX, not glibc's. */
#define strerror_r(errnum, buf, size) ((void)(buf), strerror(errnum))

/* <malloc.h> */
#define M_ARENA_MAX (-8)
int mallopt(int what, int value);
int malloc_trim(size_t keep);

/* The type that glibc gives to the names of limits. */
enum __rlimit_resource {
	RLIMIT_ANY_RESOURCE,
};

int statx(int fd, const char *restrict path, int flags, unsigned mask, struct statx *restrict st);
int close_range(unsigned first, unsigned last, int flags);
int fsopen(const char *type, unsigned flags);
int fsconfig(int fd, unsigned command, const char *key, const void *value, int aux);
int fsmount(int fd, unsigned flags, unsigned attributes);
int fspick(int fd, const char *path, unsigned flags);
int open_tree(int fd, const char *path, unsigned flags);
int move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int mount_setattr(int fd, const char *path, unsigned flags, struct mount_attr *attr, size_t size);
int scandirat(int dir_fd, const char *path, struct dirent ***ret,
	      int (*wanted)(const struct dirent *),
	      int (*compare)(const struct dirent **, const struct dirent **));
