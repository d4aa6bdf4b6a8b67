/* SPDX-License-Identifier: Apache-2.0 */
/* One request and its answer. Which threads touch what: see server.c. */
#include "rpc/server.h"

#include "base/log.h"

#include <string.h>

void rpc_call_detach(struct rpc_call *call)
{
	list_del(&call->link);
	call->conn = NULL;
	atomic_store(&call->wanted, false);
}

void rpc_call_free(struct rpc_call *call)
{
	if (call->request)
		protobuf_c_message_free_unpacked(call->request, NULL);
	free(call->metadata);
	rpc_frame_free(call->frame);
	rpc_server_unref(call->server, call->request_size);
	free(call);
}

/* Loop thread. Consumes the call. */
static void call_finish(struct rpc_call *call)
{
	struct server_conn *sc = call->conn;

	if (sc) {
		rpc_call_detach(call);
		server_conn_send(sc, TAKE_PTR(call->frame));
	}
	rpc_call_free(call);
}

void rpc_server_send_answered(struct rpc_server *s)
{
	struct list batch = LIST_INIT(batch);

	pthread_mutex_lock(&s->lock);
	while (!list_empty(&s->answered)) {
		struct list *n = s->answered.next;
		list_del(n);
		list_add_tail(&batch, n);
	}
	pthread_mutex_unlock(&s->lock);
	while (!list_empty(&batch)) {
		struct rpc_call *call = list_first(&batch, struct rpc_call, answered_link);
		list_del(&call->answered_link);
		call_finish(call);
	}
}

/* Any thread. Consumes the call, whose frame is the answer. */
static void call_hand_over(struct rpc_call *call)
{
	struct rpc_server *s = call->server;

	pthread_mutex_lock(&s->lock);
	bool closed = s->closed;
	bool here = !closed && loop_is_current(s->loop);
	if (!closed && !here) {
		bool first = list_empty(&s->answered);
		list_add_tail(&s->answered, &call->answered_link);
		if (first)
			rpc_wake_up(&s->wake);
	}
	pthread_mutex_unlock(&s->lock);
	if (closed)
		rpc_call_free(call);
	else if (here)
		call_finish(call);
}

static struct rpc_frame *pack_reply(const struct rpc_call *call, const ProtobufCMessage *response)
{
	struct rpc_frame *f = NULL;
	size_t size;
	char text[256];

	if (response && response->descriptor != call->method->output) {
		(void)snprintf(text, sizeof text, "%s was answered with a %s instead of a %s",
			       call->method->name, response->descriptor->name,
			       call->method->output->name);
		log_error("ttrpc: %s", text);
		return rpc_status_frame(call->stream, STATUS_INTERNAL, text);
	}
	int r = rpc_response_frame(call->stream, response, &f, &size);
	if (r == 0)
		return f;
	if (r == -EMSGSIZE)
		(void)snprintf(text, sizeof text,
			       "the reply to %s has %zu bytes and exceeds the limit of %u",
			       call->method->name, size, RPC_DATA_MAX);
	else
		(void)snprintf(text, sizeof text, "out of memory for the reply to %s",
			       call->method->name);
	return rpc_status_frame(call->stream, STATUS_RESOURCE_EXHAUSTED, text);
}

void rpc_call_reply(struct rpc_call *c, const ProtobufCMessage *response)
{
	if (atomic_load(&c->wanted))
		c->frame = pack_reply(c, response);
	call_hand_over(c);
}

void rpc_call_fail(struct rpc_call *c, const struct err *e)
{
	int status = e->status == STATUS_OK ? STATUS_UNKNOWN : e->status;

	c->frame = rpc_status_frame(c->stream, status, e->text);
	call_hand_over(c);
}

void rpc_call_failf(struct rpc_call *c, int status, const char *fmt, ...)
{
	struct err e = {.status = status};
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(e.text, sizeof e.text, fmt, ap);
	va_end(ap);
	rpc_call_fail(c, &e);
}

const ProtobufCMessage *rpc_call_request(const struct rpc_call *c)
{
	return c->request;
}

const char *rpc_call_service(const struct rpc_call *c)
{
	return c->service->name;
}

const char *rpc_call_method(const struct rpc_call *c)
{
	return c->method->name;
}

const char *rpc_call_metadata(const struct rpc_call *c, const char *key)
{
	if (!c->metadata)
		return NULL;
	const char *end = c->metadata + c->metadata_len;
	for (const char *k = c->metadata; k < end;) {
		const char *value = k + strlen(k) + 1;
		if (strcasecmp(k, key) == 0)
			return value;
		k = value + strlen(value) + 1;
	}
	return NULL;
}

uint64_t rpc_call_deadline(const struct rpc_call *c)
{
	return c->deadline;
}

bool rpc_call_wanted(const struct rpc_call *c)
{
	return atomic_load(&c->wanted);
}
