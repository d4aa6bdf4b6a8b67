/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to the pod's loopback for the runtime (rpc/forward.h): one stream from the host is
 * one TCP connection in the agent's own network namespace, which the containers share. Loop thread.
 *
 * A server may listen at either loopback address: the one asked for is tried first, then the other
 * family's. On a vsock only the host is served, never a process of the guest.
 */
#pragma once

#include "io/loop.h"

/* Each holds two descriptors, and memory while bytes wait. More wait in the listener's backlog. */
#define FORWARD_CONNS_MAX 128
/* For the request to come, and for a server's kernel to answer. */
#define FORWARD_TIMEOUT_MS 10000

struct forward;

/** Serves what connects to @fd, a listening socket, consumed on success. 0 or a negative errno. */
int forward_new(struct loop *loop, int fd, struct forward **ret);
/** Ends all connections. NULL is fine. */
void forward_free(struct forward *f);
