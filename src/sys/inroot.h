/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths inside a root directory that somebody hostile may have filled.
 *
 * Every path is taken as that tree's own processes would see it after chroot: absolute links start
 * at the root, ".." stops there. What lies outside cannot be reached, also not while the tree is
 * being changed underneath: existing paths are resolved by the kernel (openat2), missing ones are
 * made one component at a time without following links. Any thread; nothing is kept.
 */
#pragma once

#include "base/err.h"

#include <limits.h>
#include <sys/types.h>

/** Opens what is there. @flags as for open(2), O_CLOEXEC is added. Returns the descriptor. */
int inroot_open(int root_fd, const char *path, int flags);

/**
 * Where @path leads: the path below the root, without links, "." or "..", and without a leading
 * slash ("" is the root itself). The tail need not exist. -ELOOP after 40 links, -ENAMETOOLONG.
 */
int inroot_resolve(int root_fd, const char *path, char ret[PATH_MAX]);

/** mkdir -p; returns an O_PATH descriptor of the directory. What exists keeps its mode. */
int inroot_mkdir(int root_fd, const char *path, mode_t mode);

/** As inroot_mkdir(), but a link anywhere on the way is -ELOOP. */
int inroot_mkdir_plain(int root_fd, const char *path, mode_t mode);

/** Makes an empty file (and its parents) unless something is there; returns an O_PATH descriptor.
 */
int inroot_mkfile(int root_fd, const char *path, mode_t mode);

/**
 * Makes the parents of @path and returns the last directory (O_PATH); @ret_name is the last
 * component, to be made or replaced with the *at() calls. -EINVAL if @path is the root.
 */
int inroot_parent(int root_fd, const char *path, char ret_name[NAME_MAX + 1]);
