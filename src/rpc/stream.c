/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream ends in three steps, in any order: the peer says that it sends no more (or fails), we
 * close, the user frees it. On the wire a server's close is the end of the whole stream, as in the
 * Go implementation (server.go: "the server is localClosed but not remoteClosed" does not exist).
 */
#include "rpc/stream.h"

#include <string.h>

/* Unsent bytes of a connection at which a stream must wait, and below which it may go on. */
#define BACKLOG_FULL (1u << 20)
#define BACKLOG_LOW (256u << 10)

struct rpc_stream *rpc_stream_new(uint32_t id, const ProtobufCMethodDescriptor *method)
{
	struct rpc_stream *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	list_init(&s->link);
	s->refs = 1;
	s->id = id;
	s->method = method;
	return s;
}

static void unref(struct rpc_stream *s)
{
	if (--s->refs == 0)
		free(s);
}

struct rpc_stream *rpc_stream_find(const struct list *streams, uint32_t id)
{
	const struct list *n;

	list_for_each (n, streams) {
		struct rpc_stream *s = list_entry(n, struct rpc_stream, link);
		if (s->id == id)
			return s;
	}
	return NULL;
}

/* ---- Sending --------------------------------------------------------------------------------- */

/* Takes it from its connection: nothing comes and nothing goes any more. */
static void detach(struct rpc_stream *s)
{
	list_del(&s->link);
	s->closed = true;
	s->owner = NULL;
}

static void send_end(struct rpc_stream *s)
{
	s->closed = true;
	if (s->owner)
		s->send(s->owner, rpc_frame_new(0, RPC_FRAME_DATA, s->id,
						RPC_FLAG_REMOTE_CLOSED | RPC_FLAG_NO_DATA));
}

static void send_status(struct rpc_stream *s, int status, const char *text)
{
	if (!s->closed && s->owner)
		s->send(s->owner, rpc_status_frame(s->id, status, text));
	detach(s);
}

int rpc_stream_send(struct rpc_stream *s, const ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *type = s->server ? s->method->output : s->method->input;

	if (s->closed || !s->owner)
		return -EPIPE;
	if (m->descriptor != type)
		return -EINVAL;
	if (s->backlog(s->owner) > BACKLOG_FULL) {
		s->blocked = true;
		return -EAGAIN;
	}
	size_t size = protobuf_c_message_get_packed_size(m);
	if (size > RPC_DATA_MAX)
		return -EMSGSIZE;
	struct rpc_frame *f = rpc_frame_new(size, RPC_FRAME_DATA, s->id, 0);
	if (!f)
		return -ENOMEM;
	(void)protobuf_c_message_pack(m, f->bytes + RPC_HEADER_SIZE);
	s->send(s->owner, f);
	return 0;
}

void rpc_stream_close(struct rpc_stream *s)
{
	if (s->closed)
		return;
	send_end(s);
	if (s->server)
		detach(s);
}

void rpc_stream_fail(struct rpc_stream *s, int status, const char *text)
{
	if (s->server)
		send_status(s, status == STATUS_OK ? STATUS_UNKNOWN : status, text);
	else
		rpc_stream_close(s);
}

void rpc_stream_free(struct rpc_stream *s)
{
	if (!s || s->freed)
		return;
	if (!s->closed)
		rpc_stream_fail(s, STATUS_CANCELLED, "the stream was given up");
	detach(s);
	s->freed = true;
	unref(s);
}

void rpc_stream_accept(struct rpc_stream *s, const struct rpc_stream_ops *ops, void *arg)
{
	s->ops = ops;
	s->arg = arg;
}

/* ---- Receiving ------------------------------------------------------------------------------- */

/* Tells the user. The stream stays the user's. */
static void tell_end(struct rpc_stream *s, int r, const struct err *e)
{
	if (s->ended)
		return;
	s->ended = true;
	if (!s->freed && s->ops)
		s->ops->ended(s->arg, r, e);
}

/* The peer broke the rules: tells both. */
static void refuse(struct rpc_stream *s, int status, const char *text)
{
	struct err e;
	int r = err_status(&e, status, "%s: %s", s->method->name, text);

	if (s->server)
		send_status(s, status, e.text);
	else if (!s->closed)
		send_end(s);
	detach(s);
	tell_end(s, r, &e);
}

static void take_message(struct rpc_stream *s, struct rpc_slice data)
{
	const ProtobufCMessageDescriptor *type = s->server ? s->method->input : s->method->output;
	ProtobufCMessage *m = rpc_unpack(type, data, NULL);

	if (!m) {
		refuse(s, s->server ? STATUS_INVALID_ARGUMENT : STATUS_INTERNAL,
		       "a message of the stream is malformed, or too large once decoded");
		return;
	}
	if (!s->freed && !s->ended && s->ops)
		s->ops->message(s->arg, m);
	protobuf_c_message_free_unpacked(m, NULL);
}

static void on_data(struct rpc_stream *s, const struct rpc_frame_in *f)
{
	const struct rpc_header *h = &f->header;
	bool last = h->flags & RPC_FLAG_REMOTE_CLOSED;

	if (s->ended) {
		refuse(s, STATUS_INVALID_ARGUMENT, "data after their end");
		return;
	}
	if (!(h->flags & RPC_FLAG_NO_DATA))
		take_message(s, (struct rpc_slice){f->data, h->length});
	if (!last || s->ended || s->freed)
		return;
	if (s->server && h->length > 0) {
		refuse(s, STATUS_INVALID_ARGUMENT, "the frame that ends the data has data itself");
		return;
	}
	if (!s->server)
		detach(s); /* the server's end is the stream's */
	tell_end(s, 0, NULL);
}

/* A server's last word: a status, and maybe one more message. */
static void on_response(struct rpc_stream *s, const struct rpc_frame_in *f)
{
	struct rpc_response_in resp;
	char text[ERR_TEXT_MAX];
	struct err e;

	if (rpc_response_parse(f->data, f->header.length, &resp) < 0) {
		refuse(s, STATUS_INTERNAL, "the end of the stream is malformed");
		return;
	}
	if (resp.code == STATUS_OK && resp.payload.len > 0)
		take_message(s, resp.payload);
	detach(s);
	if (resp.code == STATUS_OK) {
		tell_end(s, 0, NULL);
		return;
	}
	rpc_text_copy(text, sizeof text, (const char *)resp.message.data, resp.message.len);
	int r = err_status(&e, resp.code, "%s", text);
	tell_end(s, r, &e);
}

void rpc_stream_on_frame(struct rpc_stream *s, const struct rpc_frame_in *f)
{
	s->refs++;
	if (f->oversize)
		refuse(s, STATUS_RESOURCE_EXHAUSTED, "a message of the stream exceeds 4 MiB");
	else if (f->header.type == RPC_FRAME_DATA)
		on_data(s, f);
	else if (f->header.type == RPC_FRAME_RESPONSE && !s->server)
		on_response(s, f);
	unref(s);
}

/* ---- The connection -------------------------------------------------------------------------- */

void rpc_streams_lost(struct list *streams, int status, const char *text)
{
	struct err e;

	while (!list_empty(streams)) {
		struct rpc_stream *s = list_first(streams, struct rpc_stream, link);
		s->refs++;
		detach(s);
		int r = err_status(&e, status, "%s: %s", s->method->name, text);
		tell_end(s, r, &e);
		unref(s);
	}
}

void rpc_streams_sent(struct list *streams)
{
	struct list blocked = LIST_INIT(blocked), *n, *next;

	list_for_each_safe (n, next, streams) {
		struct rpc_stream *s = list_entry(n, struct rpc_stream, link);
		if (!s->blocked || s->backlog(s->owner) > BACKLOG_LOW)
			continue;
		list_del(n);
		list_add_tail(&blocked, n);
	}
	while (!list_empty(&blocked)) {
		struct rpc_stream *s = list_first(&blocked, struct rpc_stream, link);
		list_del(&s->link);
		list_add_tail(streams, &s->link);
		s->blocked = false;
		if (s->ops && s->ops->writable)
			s->ops->writable(s->arg); /* may free it */
	}
}
