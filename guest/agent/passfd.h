/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams for stdio that the host opens before it asks for a process: a vsock connection each, to
 * one port of ours (agent.passfd_listener_port), named afterwards by the host's own port of it
 * (CreateContainer, ExecProcess: stdin_port and its siblings). They spare ReadStdout and its
 * siblings their round trips. Loop thread.
 */
#pragma once

#include "base/err.h"
#include "io/loop.h"

#include <stdint.h>

/* Connections that nobody has claimed yet, and how long they may wait for it. */
#define PASSFD_WAITING_MAX 256
#define PASSFD_WAIT_MS 30000

struct passfd;

/** Serves what connects to @fd, a listening vsock socket, consumed on success. */
int passfd_new(struct loop *loop, int fd, struct passfd **ret);
/** Closes what nobody has claimed. NULL is fine. */
void passfd_free(struct passfd *p);

/**
 * Hands over the connection that comes from the host's port @port, 1 or more. One that the host has
 * opened is found, whether or not it has been accepted yet. -ENOENT: there is none.
 */
int passfd_take(struct passfd *p, uint32_t port, struct err *e);
