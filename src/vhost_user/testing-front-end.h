/* SPDX-License-Identifier: Apache-2.0 */
/* A vhost-user front end for tests: says what it is told, right or wrong. */
#pragma once

#include "io/loop.h"
#include "vhost_user/protocol.h"

#include <stdbool.h>
#include <stddef.h>

/* The protocol's head and payload on the wire. */
struct testing_reply {
	struct vhost_user_header h;
	union vhost_user_payload p;
};

/** Sends a request with @n_fds descriptors, which stay the caller's. False: the end is gone. */
bool testing_front_send(int fd, uint32_t request, uint32_t flags, const void *payload,
			uint32_t size, const int *fds, unsigned n_fds);
/** Lets the loop handle what was sent. */
void testing_front_turn(struct loop *loop);
/** Reads one reply, if it is there whole. */
bool testing_front_reply(int fd, struct testing_reply *ret);
