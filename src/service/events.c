/* SPDX-License-Identifier: Apache-2.0 */
#include "service/events.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "rpc/listen.h"
#include "rpc/rpc.h"

#include "proto/events_service.pb-c.h"

#include <string.h>
#include <time.h>

#define FORWARD_TIMEOUT_MS 5000
#define RETRY_MS 500
#define CONNECT_TIMEOUT_MS 1000
#define TRIES_MAX 5 /* of one event that containerd refuses; a broken connection does not count */

struct event {
	struct list link;
	char *topic;
	struct timespec when;
	const char *type; /* the message's full name: static */
	uint8_t *data;
	size_t len;
	unsigned tries;
};

struct events {
	struct loop *loop;
	char *address, *namespace;
	struct rpc_client *client;
	struct loop_timer *retry, *deadline;
	struct list queue; /* the first may be in flight */
	size_t n;
	bool in_flight, freed;
	void (*flushed)(void *arg);
	void *flushed_arg;
};

static void send_next(struct events *ev);

static void event_free(struct event *e)
{
	free(e->topic);
	free(e->data);
	free(e);
}

static void drop_first(struct events *ev)
{
	struct event *e = list_first(&ev->queue, struct event, link);
	list_del(&e->link);
	ev->n--;
	event_free(e);
}

static void report_flushed(struct events *ev)
{
	void (*flushed)(void *arg) = ev->flushed;
	if (!flushed)
		return;
	ev->flushed = NULL;
	loop_timer_stop(ev->deadline);
	flushed(ev->flushed_arg);
}

static void on_retry(void *arg)
{
	send_next(arg);
}

static void on_close(void *arg)
{
	struct events *ev = arg;
	rpc_client_free(TAKE_PTR(ev->client));
}

static void on_forwarded(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	struct events *ev = arg;

	ev->in_flight = false;
	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
	if (ev->freed)
		return;

	struct event *first = list_first(&ev->queue, struct event, link);
	if (r < 0) {
		bool broken = e->status == STATUS_UNAVAILABLE;
		log_warn("event %s: %s", first->topic, err_text(e, r));
		if (!broken && ++first->tries >= TRIES_MAX)
			drop_first(ev);
		loop_timer_start(ev->retry, RETRY_MS);
		return;
	}
	drop_first(ev);
	send_next(ev);
}

static int connect_client(struct events *ev)
{
	struct err e = ERR_INIT;
	if (ev->client)
		return 0;
	int fd = rpc_connect_unix(ev->address, time_deadline(CONNECT_TIMEOUT_MS), &e);
	if (fd < 0) {
		log_debug("containerd's events: %s", err_text(&e, fd));
		return fd;
	}
	int r = rpc_client_new(ev->loop, fd, on_close, ev, &ev->client);
	if (r < 0)
		(void)close_fd(fd);
	return r;
}

static int forward(struct events *ev, const struct event *e, struct err *error)
{
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	Google__Protobuf__Timestamp when = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	Containerd__Types__Envelope envelope = CONTAINERD__TYPES__ENVELOPE__INIT;
	Containerd__Services__Events__Ttrpc__V1__ForwardRequest message =
		CONTAINERD__SERVICES__EVENTS__TTRPC__V1__FORWARD_REQUEST__INIT;
	/* containerd's namespace interceptor reads it from here, not from the envelope */
	const char *const metadata[] = {"containerd-namespace-ttrpc", ev->namespace, NULL};

	any.type_url = (char *)e->type;
	any.value.data = e->data;
	any.value.len = e->len;
	when.seconds = e->when.tv_sec;
	when.nanos = (int32_t)e->when.tv_nsec;
	envelope.timestamp = &when;
	envelope.namespace_ = ev->namespace;
	envelope.topic = e->topic;
	envelope.event = &any;
	message.envelope = &envelope;

	const struct rpc_request req = {
		.service = &containerd__services__events__ttrpc__v1__events__descriptor,
		.method = "Forward",
		.message = &message.base,
		.timeout_ms = FORWARD_TIMEOUT_MS,
		.metadata = metadata,
	};
	return rpc_client_start(ev->client, &req, on_forwarded, ev, error);
}

static void send_next(struct events *ev)
{
	struct err e = ERR_INIT;

	if (list_empty(&ev->queue)) {
		report_flushed(ev);
		return;
	}
	if (ev->in_flight)
		return;
	int r = connect_client(ev);
	if (r == 0) {
		ev->in_flight = true;
		r = forward(ev, list_first(&ev->queue, struct event, link), &e);
		if (r < 0)
			ev->in_flight = false;
	}
	if (r < 0)
		loop_timer_start(ev->retry, RETRY_MS);
}

int events_new(struct loop *loop, const char *address, const char *namespace, struct events **ret)
{
	struct events *ev = calloc(1, sizeof *ev);
	if (!ev)
		return -ENOMEM;
	ev->loop = loop;
	list_init(&ev->queue);
	ev->address = address && address[0] ? strdup(address) : NULL;
	ev->namespace = strdup(namespace);
	int r = ev->namespace && (!address || !address[0] || ev->address) ? 0 : -ENOMEM;
	if (r == 0)
		r = loop_timer_new(loop, on_retry, ev, &ev->retry);
	if (r < 0) {
		events_free(ev);
		return r;
	}
	*ret = ev;
	return 0;
}

void events_publish(struct events *ev, const char *topic, const ProtobufCMessage *event)
{
	log_debug("event %s", topic);
	if (!ev->address)
		return;
	struct event *e = calloc(1, sizeof *e);
	if (e) {
		e->len = protobuf_c_message_get_packed_size(event);
		e->topic = strdup(topic);
		e->data = malloc(e->len + 1);
	}
	if (!e || !e->topic || !e->data) {
		log_error("out of memory: event %s is lost", topic);
		if (e)
			event_free(e);
		return;
	}
	e->type = event->descriptor->name;
	(void)clock_gettime(CLOCK_REALTIME, &e->when);
	(void)protobuf_c_message_pack(event, e->data);

	if (ev->n >= EVENTS_QUEUE_MAX && !ev->in_flight) {
		log_warn("containerd takes no events: the oldest is lost");
		drop_first(ev);
	}
	list_add_tail(&ev->queue, &e->link);
	ev->n++;
	send_next(ev);
}

static void on_deadline(void *arg)
{
	struct events *ev = arg;
	if (ev->n > 0)
		log_warn("%zu events did not reach containerd", ev->n);
	report_flushed(ev);
}

void events_flush(struct events *ev, uint64_t timeout_ms, void (*done)(void *arg), void *arg)
{
	if (list_empty(&ev->queue) ||
	    loop_timer_new(ev->loop, on_deadline, ev, &ev->deadline) < 0) {
		done(arg);
		return;
	}
	ev->flushed = done;
	ev->flushed_arg = arg;
	loop_timer_start(ev->deadline, timeout_ms);
}

void events_free(struct events *ev)
{
	if (!ev)
		return;
	ev->freed = true;
	rpc_client_free(TAKE_PTR(ev->client)); /* a call in flight ends here, in on_forwarded */
	loop_timer_free(ev->retry);
	loop_timer_free(ev->deadline);
	while (!list_empty(&ev->queue))
		drop_first(ev);
	free(ev->address);
	free(ev->namespace);
	free(ev);
}
