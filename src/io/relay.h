/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two stream sockets become one stream: what comes from either goes to the other, with bounded
 * memory, and the end of one direction ends that direction only. Loop thread.
 *
 * A side that reads slowly holds up the other, never us: RELAY_BYTES wait in each direction, and
 * memory for them exists only while they do. A side that is gone is noticed at the next read from
 * or write to it; one that has said all it had to is watched for its going.
 */
#pragma once

#include "io/loop.h"

#include <stddef.h>

#define RELAY_BYTES (32u << 10)

struct relay;

/**
 * Both directions have ended. @reset: by a failure, not by two ends of stream; a connection on the
 * inside of a TCP socket is then reset, so that its peer does not take the break for an end. The
 * sockets are still open. The callback may free the relay.
 */
typedef void (*relay_end_fn)(void *arg, bool reset);

/** Consumes both sockets on success. 0 or a negative errno. */
int relay_new(struct loop *loop, int fd_a, int fd_b, relay_end_fn on_end, void *arg,
	      struct relay **ret);
/** Closes both sockets; what was not delivered is dropped. NULL is fine. */
void relay_free(struct relay *r);

/** Has a close of the TCP socket @fd reset the connection. Harmless on other sockets. */
void relay_reset_on_close(int fd);
