/* SPDX-License-Identifier: Apache-2.0 */
/* Packets with descriptors over a unix socket (SOCK_SEQPACKET). */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#define SCM_FDS_MAX 32

/** Sends one packet and copies of @fds. Never raises SIGPIPE. */
int scm_send(int sock, const void *data, size_t len, const int *fds, size_t n_fds);

/**
 * Receives one packet of at most @len bytes and at most *@n_fds descriptors (close-on-exec, owned
 * by the caller); sets *@n_fds to how many came. Returns the length, 0 at the end of file,
 * -EAGAIN after @timeout_ms (-1: none), -EBADMSG if anything had to be cut (all is closed then).
 */
ssize_t scm_recv(int sock, void *data, size_t len, int *fds, size_t *n_fds, int timeout_ms);
