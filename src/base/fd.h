/* SPDX-License-Identifier: Apache-2.0 */
/* Files and descriptors. All return 0 or a negative errno, and open with O_CLOEXEC. */
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <sys/types.h>

/** Writes all of it, waiting where the descriptor is non-blocking. */
int fd_write_all(int fd, const void *data, size_t len);
/** Reads until end of file into @ret (appended). More than @max bytes is -EFBIG. */
int fd_read_all(int fd, size_t max, struct buf *ret);

/** Reads a whole file, at most @max bytes, as text (NUL-terminated). @dir_fd may be AT_FDCWD. */
int file_read(int dir_fd, const char *path, size_t max, struct buf *ret);
/** Writes an existing file, as one write: for the control files of /proc, /sys and cgroups. */
int file_write(int dir_fd, const char *path, const char *text);
/** Replaces a file atomically: a temporary name, fsync not needed on /run, then rename. */
int file_replace(const char *path, const void *data, size_t len, mode_t mode);

/** mkdir -p. Existing directories keep their mode. */
int mkdir_parents(const char *path, mode_t mode);
/** Removes @path and its parents below @top, as long as they are empty. Never fails: it tidies. */
void rmdir_parents(const char *path, const char *top);
/**
 * Removes a tree without following links and without crossing into another mount: an entry that is
 * a mount point stops it with -EBUSY, so a forgotten mount never costs a user's data. A missing
 * tree is fine.
 */
int remove_tree(const char *path);
/** The same for an entry of an open directory; @name is one component. */
int remove_tree_at(int dir_fd, const char *name);

int fd_set_nonblock(int fd, bool on);
int fd_set_cloexec(int fd, bool on);

/** snprintf for paths into a fixed array; -ENAMETOOLONG instead of a silent cut. */
int path_format(char *dst, size_t size, const char *fmt, ...) _printf_(3, 4);
