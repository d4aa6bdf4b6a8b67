/* SPDX-License-Identifier: Apache-2.0 */
/* Private to client and server: what a stream is on either side. Loop thread only. */
#pragma once

#include "rpc/conn.h"
#include "rpc/message.h"

struct rpc_stream {
	struct list link; /* of the owner's streams; to itself once it is over */
	unsigned refs;
	bool server;
	bool freed;   /* by its user: no callback any more */
	bool ended;   /* the user was told so: no callback any more */
	bool closed;  /* nothing more is sent */
	bool blocked; /* a send was refused; writable() is due */
	uint32_t id;
	const ProtobufCMethodDescriptor *method;
	const struct rpc_stream_ops *ops; /* NULL: not accepted yet */
	void *arg;

	void *owner; /* NULL: the connection is gone */
	void (*send)(void *owner, struct rpc_frame *f);
	size_t (*backlog)(void *owner); /* bytes that wait to be sent */
};

/** Makes one that is on no list. NULL: no memory. */
struct rpc_stream *rpc_stream_new(uint32_t id, const ProtobufCMethodDescriptor *method);
struct rpc_stream *rpc_stream_find(const struct list *streams, uint32_t id);
/** A frame for it came. */
void rpc_stream_on_frame(struct rpc_stream *s, const struct rpc_frame_in *f);
/** The connection is gone, and so are all of its streams: their users are told. */
void rpc_streams_lost(struct list *streams, int status, const char *text);
/** Something has been sent: who waits for room is told. */
void rpc_streams_sent(struct list *streams);
