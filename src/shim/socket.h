/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pod's socket: its name follows from containerd's address, the namespace and the sandbox id,
 * so that `start` for any container of a pod finds the one shim of the pod.
 */
#pragma once

#include "base/err.h"

#include <sys/types.h>
#include <time.h>

#define SHIM_SOCKET_DIR "/run/containerd/s"
#define SHIM_SOCKET_PATH_MAX 108

/**
 * <dir>/<sha256 of "address/namespace/id">, as the field's shims name theirs. -ENAMETOOLONG where
 * the directory leaves no room.
 */
int shim_socket_path(const char *dir, const char *address, const char *namespace, const char *id,
		     char ret[static SHIM_SOCKET_PATH_MAX]);
/**
 * Binds and listens (directory 0700, socket 0600). A socket file that nobody answers at is
 * replaced. Returns 0 and the descriptor, or 1 if a live shim serves it already.
 */
int shim_socket_listen(const char *path, int *ret_fd, struct err *e);

/* Which socket file it is that lies under a path. */
struct shim_socket_id {
	dev_t dev;
	ino_t ino;
	struct timespec made;
};

int shim_socket_identify(const char *path, struct shim_socket_id *ret);
/** Unlinks the path if it still is that very socket, not the one of a successor. */
void shim_socket_remove(const char *path, const struct shim_socket_id *id);
/** Unlinks a socket that nobody answers at. */
void shim_socket_remove_stale(const char *path);
