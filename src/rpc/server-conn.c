/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server's connections: what comes in, and when it is late. Loop thread only.
 *
 * A request is checked in the order of the Go implementation: its frame, its stream id, its form,
 * its service and method, its payload. Each refusal costs the peer that stream and nothing else.
 */
#include "rpc/server.h"

#include "base/clock.h"
#include "base/log.h"

#include <string.h>

/* Unsent replies of a connection at which its requests are no longer read: two of the largest. */
#define PAUSE_AT (2u * RPC_DATA_MAX)
/* How often a peer that shut down its sending side is asked whether it still exists. */
#define HALF_OPEN_CHECK_MS 5000

/* ---- Connections --------------------------------------------------------------------------- */

void server_conn_close(struct server_conn *sc)
{
	while (!list_empty(&sc->calls))
		rpc_call_detach(list_first(&sc->calls, struct rpc_call, link));
	rpc_streams_lost(&sc->streams, STATUS_UNAVAILABLE, "the peer closed the connection");
	rpc_conn_close(&sc->conn);
	loop_timer_free(sc->timer);
	struct rpc_server *s = sc->server;
	list_del(&sc->link);
	s->n_conns--;
	free(sc);
	if (s->n_conns == 0 && s->on_idle)
		s->on_idle(s->on_idle_arg);
}

/* Once the peer said all it has to say, the last reply ends the connection. */
static void conn_close_if_done(struct server_conn *sc)
{
	if (sc->conn.eof && list_empty(&sc->calls) && list_empty(&sc->streams) &&
	    sc->conn.out.bytes == 0)
		server_conn_close(sc);
}

void server_conn_send(struct server_conn *sc, struct rpc_frame *f)
{
	rpc_conn_queue(&sc->conn, f);
	rpc_conn_flush(&sc->conn);
	conn_close_if_done(sc);
}

static void conn_refuse(struct server_conn *sc, uint32_t stream, int status, const char *fmt, ...)
	_printf_(4, 5);
static void conn_refuse(struct server_conn *sc, uint32_t stream, int status, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	log_debug("ttrpc: stream %u refused: %s: %s", stream, status_name(status), text);
	server_conn_send(sc, rpc_status_frame(stream, status, text));
}

/* ---- Deadlines ----------------------------------------------------------------------------- */

static void on_conn_timer(void *arg);

static int conn_arm(struct server_conn *sc, uint64_t deadline)
{
	if (sc->timer_at && sc->timer_at <= deadline)
		return 0;
	if (!sc->timer) {
		int r = loop_timer_new(sc->server->loop, on_conn_timer, sc, &sc->timer);
		if (r < 0)
			return r;
	}
	sc->timer_at = deadline;
	loop_timer_start(sc->timer, (uint64_t)time_left_ms(deadline));
	return 0;
}

static void call_expire(struct rpc_call *call)
{
	struct server_conn *sc = call->conn;
	char text[128];

	(void)snprintf(text, sizeof text, "%s did not finish before the caller's deadline",
		       call->method->name);
	uint32_t stream = call->stream;
	rpc_call_detach(call);
	rpc_conn_queue(&sc->conn, rpc_status_frame(stream, STATUS_DEADLINE_EXCEEDED, text));
}

static void on_conn_timer(void *arg)
{
	struct server_conn *sc = arg;
	struct list *n, *tmp;
	uint64_t now = time_now_ms(), next = 0;

	sc->timer_at = 0;
	if (sc->conn.eof || sc->conn.hangup) {
		if (rpc_conn_gone(&sc->conn)) {
			server_conn_close(sc);
			return;
		}
		next = now + HALF_OPEN_CHECK_MS;
	}
	list_for_each_safe (n, tmp, &sc->calls) {
		struct rpc_call *call = list_entry(n, struct rpc_call, link);
		if (!call->deadline)
			continue;
		if (call->deadline <= now)
			call_expire(call);
		else if (!next || call->deadline < next)
			next = call->deadline;
	}
	if (next)
		(void)conn_arm(sc, next); /* cannot fail: the timer exists */
	rpc_conn_flush(&sc->conn);
	conn_close_if_done(sc);
}

/* ---- Requests ------------------------------------------------------------------------------ */

static const struct rpc_method *find_method(const struct rpc_service *service, const char *method)
{
	for (const struct rpc_method *m = service->methods; m->name; m++)
		if (strcmp(m->name, method) == 0)
			return m;
	return NULL;
}

/* What a request asks for, once it is known to exist. */
struct target {
	const struct rpc_service *service;
	const ProtobufCMethodDescriptor *method;
	const struct rpc_method *entry; /* of the service's table */
};

static int find_target(const struct rpc_server *s, const struct rpc_request_in *req,
		       struct target *ret, struct err *e)
{
	char name[128];

	ret->service = rpc_server_find(s, req->service);
	if (!ret->service) {
		rpc_text_copy(name, sizeof name, (const char *)req->service.data, req->service.len);
		return err_status(e, STATUS_UNIMPLEMENTED, "service %s does not exist here", name);
	}
	ret->method = rpc_service_method(ret->service, req->method);
	ret->entry = ret->method ? find_method(ret->service, ret->method->name) : NULL;
	if (!ret->entry) {
		rpc_text_copy(name, sizeof name, (const char *)req->method.data, req->method.len);
		return err_status(e, STATUS_UNIMPLEMENTED, "%s has no method %s here",
				  ret->service->name, name);
	}
	return 0;
}

/* Rounds up, so that a deadline is never early; at least the whole timeout has passed then. */
static uint64_t deadline_of(int64_t timeout_nano)
{
	return timeout_nano ? time_now_ms() + (uint64_t)timeout_nano / 1000000 + 1 : 0;
}

static int call_new(struct server_conn *sc, uint32_t stream, const struct target *t,
		    struct rpc_request_in *req, struct rpc_call **ret, struct err *e)
{
	struct rpc_server *s = sc->server;
	struct rpc_call *call = calloc(1, sizeof *call);
	if (!call)
		return err_set(e, -ENOMEM, "out of memory for a call");
	call->request = rpc_unpack(t->method->input, req->payload, &call->request_size);
	if (!call->request) {
		free(call);
		return err_status(e, STATUS_INTERNAL,
				  "the payload of %s is not a %s, or too large once decoded",
				  t->method->name, t->method->input->name);
	}
	if (rpc_server_admit(s, call->request_size) < 0) {
		protobuf_c_message_free_unpacked(call->request, NULL);
		free(call);
		return err_status(e, STATUS_RESOURCE_EXHAUSTED,
				  "too many calls at a time (limits: %u calls, %u bytes)",
				  CALLS_MAX, HELD_MAX);
	}
	call->server = s;
	call->conn = sc;
	atomic_init(&call->wanted, true);
	call->stream = stream;
	call->deadline = deadline_of(req->timeout_nano);
	call->service = t->service;
	call->method = t->method;
	call->metadata_len = req->metadata.len;
	call->metadata = TAKE_PTR(req->metadata.data);
	list_init(&call->answered_link);
	list_add_tail(&sc->calls, &call->link);
	*ret = call;
	return 0;
}

static int begin_call(struct server_conn *sc, const struct rpc_header *h,
		      struct rpc_request_in *req, struct target *t, struct rpc_call **ret,
		      struct err *e)
{
	int r = 0;
	if (t->entry->stream)
		return err_status(e, STATUS_INVALID_ARGUMENT, "%s of %s must be opened as a stream",
				  t->method->name, t->service->name);
	if (h->flags & RPC_FLAG_REMOTE_OPEN)
		return err_status(e, STATUS_UNIMPLEMENTED, "%s of %s takes no stream",
				  t->method->name, t->service->name);
	/* Nothing has begun, so nothing is cut short. */
	if (req->timeout_nano < 0)
		return err_status(e, STATUS_DEADLINE_EXCEEDED, "the deadline of %s had passed",
				  t->method->name);
	r = call_new(sc, h->stream, t, req, ret, e);
	if (r < 0)
		return r;
	if ((*ret)->deadline && conn_arm(sc, (*ret)->deadline) < 0) {
		rpc_call_detach(*ret);
		rpc_call_free(*ret);
		return err_set(e, -ENOMEM, "out of memory for a deadline");
	}
	return 0;
}

/* ---- Streams ------------------------------------------------------------------------------- */

/* Unlike server_conn_send() this never frees the connection: the user of a stream is at work. One
 * that is done is closed at the end of its turn, or by its timer. */
static void stream_send(void *owner, struct rpc_frame *f)
{
	struct server_conn *sc = owner;

	rpc_conn_queue(&sc->conn, f);
	rpc_conn_flush(&sc->conn);
}

static size_t stream_backlog(void *owner)
{
	const struct server_conn *sc = owner;
	return sc->conn.out.bytes;
}

static int open_stream(struct server_conn *sc, uint32_t id, const struct target *t, struct err *e)
{
	const struct list *n;
	unsigned count = 0;

	list_for_each (n, &sc->streams)
		count++;
	if (count >= STREAMS_MAX)
		return err_status(e, STATUS_RESOURCE_EXHAUSTED,
				  "the connection has %d streams, the most that it may",
				  STREAMS_MAX);
	struct rpc_stream *s = rpc_stream_new(id, t->method);
	if (!s)
		return err_set(e, -ENOMEM, "out of memory for a stream");
	s->server = true;
	s->owner = sc;
	s->send = stream_send;
	s->backlog = stream_backlog;
	list_add_tail(&sc->streams, &s->link);
	t->entry->stream(t->service->ctx, s);
	return 0;
}

/* ---- Frames -------------------------------------------------------------------------------- */

static void on_request(struct server_conn *sc, const struct rpc_frame_in *f)
{
	const struct rpc_header *h = &f->header;
	struct rpc_request_in req;
	struct rpc_call *call = NULL;
	struct target t = {.entry = NULL};
	struct err e;

	if (h->stream <= sc->last_stream) {
		conn_refuse(sc, h->stream, STATUS_INVALID_ARGUMENT,
			    "stream id %u does not exceed the last one, %u", h->stream,
			    sc->last_stream);
		return;
	}
	sc->last_stream = h->stream;
	int r = rpc_request_parse(f->data, h->length, &req);
	if (r == -E2BIG) {
		conn_refuse(sc, h->stream, STATUS_RESOURCE_EXHAUSTED,
			    "the request's metadata exceeds %u bytes", RPC_METADATA_MAX);
		return;
	}
	if (r < 0) {
		conn_refuse(sc, h->stream, STATUS_INVALID_ARGUMENT, "malformed ttrpc request");
		return;
	}
	r = find_target(sc->server, &req, &t, &e);
	bool stream = r == 0 && t.entry->stream && (h->flags & RPC_FLAG_REMOTE_OPEN);
	if (stream)
		r = open_stream(sc, h->stream, &t, &e);
	else if (r == 0)
		r = begin_call(sc, h, &req, &t, &call, &e);
	rpc_request_in_free(&req);
	if (r < 0) {
		conn_refuse(sc, h->stream, e.status, "%s", e.text);
		return;
	}
	/* either may free call, connection and server */
	if (!stream && (!t.service->admit || t.service->admit(t.service->ctx, call)))
		t.entry->fn(t.service->ctx, call);
}

/* No call takes data, so what is on no stream belongs nowhere. */
static void on_data(struct server_conn *sc, const struct rpc_frame_in *f)
{
	uint32_t stream = f->header.stream;
	struct list *n;

	struct rpc_stream *s = rpc_stream_find(&sc->streams, stream);
	if (s) {
		rpc_stream_on_frame(s, f);
		return;
	}

	/* Data on a call's own stream break the call: each stream gets one response. */
	list_for_each (n, &sc->calls) {
		struct rpc_call *call = list_entry(n, struct rpc_call, link);
		if (call->stream == stream) {
			rpc_call_detach(call);
			break;
		}
	}
	conn_refuse(sc, stream, STATUS_INVALID_ARGUMENT, "stream %u is not open for data", stream);
}

static void on_frame(void *arg, const struct rpc_frame_in *f)
{
	struct server_conn *sc = arg;
	const struct rpc_header *h = &f->header;
	struct rpc_stream *s = f->oversize ? rpc_stream_find(&sc->streams, h->stream) : NULL;

	if (s)
		rpc_stream_on_frame(s, f);
	else if (f->oversize)
		conn_refuse(sc, h->stream, STATUS_RESOURCE_EXHAUSTED,
			    "message length %u exceeds the limit of %u bytes", h->length,
			    RPC_DATA_MAX);
	else if (h->stream % 2 == 0)
		conn_refuse(sc, h->stream, STATUS_INVALID_ARGUMENT,
			    "stream id %u is even; a client's are odd", h->stream);
	else if (h->type == RPC_FRAME_REQUEST)
		on_request(sc, f);
	else if (h->type == RPC_FRAME_DATA)
		on_data(sc, f);
	else
		log_debug("ttrpc: frame of type %u ignored", h->type);
}

static void on_eof(void *arg)
{
	struct server_conn *sc = arg;

	if (rpc_reader_midway(&sc->conn.in))
		log_debug("ttrpc: the peer closed inside of a frame");
	/* A stream's end is said by a frame: without one the peer is gone, or going. */
	rpc_streams_lost(&sc->streams, STATUS_UNAVAILABLE, "the peer closed the connection");
	/* A peer may shut down its sending side and still await replies. */
	if (rpc_conn_gone(&sc->conn) || conn_arm(sc, time_now_ms() + HALF_OPEN_CHECK_MS) < 0)
		server_conn_close(sc);
	else
		conn_close_if_done(sc);
}

static void on_lost(void *arg, int r)
{
	struct server_conn *sc = arg;

	if (r == -ENOBUFS)
		log_warn("ttrpc: a peer leaves more than %u bytes of replies unread; closing",
			 RPC_QUEUE_MAX);
	else
		log_debug("ttrpc: connection lost: %s", strerror(-r));
	server_conn_close(sc);
}

static void on_turned(void *arg)
{
	struct server_conn *sc = arg;

	if (sc->conn.hangup && !sc->timer_at)
		(void)conn_arm(sc, time_now_ms() + HALF_OPEN_CHECK_MS);
	rpc_streams_sent(&sc->streams);
	conn_close_if_done(sc);
}

static const struct rpc_conn_ops conn_ops = {
	.frame = on_frame,
	.eof = on_eof,
	.lost = on_lost,
	.turned = on_turned,
};

int server_conn_open(struct rpc_server *s, int fd)
{
	if (s->n_conns >= CONNS_MAX)
		return -EUSERS;
	struct server_conn *sc = calloc(1, sizeof *sc);
	if (!sc)
		return -ENOMEM;
	int r = rpc_conn_open(&sc->conn, s->loop, fd, PAUSE_AT, &conn_ops, sc);
	if (r < 0) {
		free(sc);
		return r;
	}
	sc->server = s;
	list_init(&sc->calls);
	list_init(&sc->streams);
	list_add_tail(&s->conns, &sc->link);
	s->n_conns++;
	return 0;
}
