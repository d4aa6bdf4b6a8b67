/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One vhost-user message at a time from a socket: its size, its descriptors and its header are
 * checked against one table before anybody looks inside.
 *
 * The front end is a VMM that a guest may have taken over: it is not trusted with our memory or our
 * descriptors. Those that a message does not call for are closed, and the message refused.
 */
#pragma once

#include "base/err.h"
#include "vhost_user/protocol.h"

#include <stdbool.h>
#include <stddef.h>

struct vhost_user_message {
	struct vhost_user_header h;
	union vhost_user_payload p;  /* zero behind what was sent */
	int fds[VHOST_USER_FDS_MAX]; /* owned; TAKE_FD() to keep one */
	unsigned n_fds;
	size_t have; /* bytes received so far, header included */
};

void vhost_user_message_init(struct vhost_user_message *m);
/** Closes what was not taken, and makes ready for the next one. */
void vhost_user_message_clear(struct vhost_user_message *m);

/**
 * Reads on, without blocking, up to the end of one message. Returns 1 when @m is whole and follows
 * the rules, 0 when the rest has yet to come, -ECONNRESET when the front end is gone, and -EPROTO
 * with a sentence.
 */
int vhost_user_message_recv(struct vhost_user_message *m, int fd, struct err *e);

/**
 * Sends an answer to @m, whole or not at all: the socket of a front end that waits for an answer
 * has room. -EPIPE, -EAGAIN...
 */
int vhost_user_message_reply(int fd, const struct vhost_user_message *m, const void *payload,
			     uint32_t size);

/** The name of a request that is known here, else NULL. */
const char *vhost_user_request_name(uint32_t request);
/** Whether the protocol defines an answer to it, beside REPLY_ACK. */
bool vhost_user_request_answers(uint32_t request);
