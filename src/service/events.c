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

/* A containerd that is only slow takes an event in the end, and every try would be a duplicate. */
#define FORWARD_TIMEOUT_MS 60000
/* From the first to the last, doubled each time. containerd shows itself when it is back. */
#define RETRY_FIRST_MS 100
#define RETRY_LAST_MS 10000
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
	size_t n, bytes;
	size_t n_lost; /* since the last that arrived */
	bool waiting;  /* some try has failed since then */
	uint64_t retry_ms;
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

static void drop(struct events *ev, struct event *e)
{
	list_del(&e->link);
	ev->n--;
	ev->bytes -= e->len;
	event_free(e);
}

static struct event *first_of(struct events *ev)
{
	return list_first(&ev->queue, struct event, link);
}

static void lose(struct events *ev, struct event *e, const char *why)
{
	/* the first of a series and the last (in on_forwarded) are told, not hundreds between */
	if (ev->n_lost++ == 0)
		log_error("event %s does not reach containerd: %s", e->topic, why);
	drop(ev, e);
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

static void retry_later(struct events *ev)
{
	loop_timer_start(ev->retry, ev->retry_ms);
	ev->retry_ms *= 2;
	if (ev->retry_ms > RETRY_LAST_MS)
		ev->retry_ms = RETRY_LAST_MS;
}

static bool is_refused_for_good(const struct err *e)
{
	return e->status == STATUS_INVALID_ARGUMENT || e->status == STATUS_UNIMPLEMENTED ||
	       e->status == STATUS_PERMISSION_DENIED;
}

/* What becomes of the first event, which was not taken. A connection that broke is no refusal. */
static void not_taken(struct events *ev, int r, const struct err *e)
{
	struct event *first = first_of(ev);

	log_debug("event %s: %s", first->topic, err_text(e, r));
	ev->waiting = true;
	if (is_refused_for_good(e) ||
	    (e->status != STATUS_UNAVAILABLE && ++first->tries >= TRIES_MAX)) {
		lose(ev, first, err_text(e, r));
		ev->retry_ms = RETRY_FIRST_MS; /* it was that event, not the connection */
	}
	if (e->status == STATUS_DEADLINE_EXCEEDED)
		rpc_client_free(TAKE_PTR(ev->client)); /* its answer would come after the next */
	retry_later(ev);
}

static void taken(struct events *ev)
{
	if (ev->n_lost > 0)
		log_error("containerd takes events again; %zu were lost", ev->n_lost);
	else if (ev->waiting)
		log_info("containerd takes events again: %s is told", first_of(ev)->topic);
	ev->n_lost = 0;
	ev->waiting = false;
	ev->retry_ms = RETRY_FIRST_MS;
	drop(ev, first_of(ev));
	send_next(ev);
}

static void on_forwarded(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	struct events *ev = arg;

	ev->in_flight = false;
	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
	if (ev->freed)
		return;

	if (r < 0)
		not_taken(ev, r, e);
	else
		taken(ev);
}

static int connect_client(struct events *ev, struct err *error)
{
	if (ev->client)
		return 0;
	/* one try, without waiting: a local socket connects at once or not now */
	int fd = rpc_connect_unix(ev->address, time_now_ms(), error);
	if (fd < 0)
		return err_status(error, STATUS_UNAVAILABLE, "containerd's socket %s: %s",
				  ev->address, strerror(-fd));
	int r = rpc_client_new(ev->loop, fd, on_close, ev, &ev->client);
	if (r < 0) {
		(void)close_fd(fd);
		return err_status(error, STATUS_UNAVAILABLE, "out of memory");
	}
	return 0;
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
	loop_timer_stop(ev->retry);
	int r = connect_client(ev, &e);
	if (r == 0) {
		ev->in_flight = true;
		r = forward(ev, first_of(ev), &e);
		if (r < 0)
			ev->in_flight = false;
	}
	if (r < 0)
		not_taken(ev, r, &e);
}

void events_kick(struct events *ev)
{
	if (!ev)
		return;
	ev->retry_ms = RETRY_FIRST_MS;
	if (!list_empty(&ev->queue))
		send_next(ev);
}

int events_new(struct loop *loop, const char *address, const char *namespace, struct events **ret)
{
	struct events *ev = calloc(1, sizeof *ev);
	if (!ev)
		return -ENOMEM;
	ev->loop = loop;
	list_init(&ev->queue);
	ev->retry_ms = RETRY_FIRST_MS;
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

/* The oldest goes, but for one that containerd may have by now. */
static void make_room(struct events *ev)
{
	while (ev->n > 1 && (ev->n > EVENTS_QUEUE_MAX || ev->bytes > EVENTS_BYTES_MAX)) {
		struct list *oldest = ev->queue.next;
		if (ev->in_flight)
			oldest = oldest->next;
		lose(ev, list_entry(oldest, struct event, link),
		     "it has not taken those before for too long");
	}
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

	bool idle = list_empty(&ev->queue);
	list_add_tail(&ev->queue, &e->link);
	ev->n++;
	ev->bytes += e->len;
	make_room(ev);
	if (idle) /* else it is its turn after those before */
		send_next(ev);
}

static void on_deadline(void *arg)
{
	struct events *ev = arg;
	if (ev->n > 0)
		log_error("%zu events did not reach containerd, the first is %s", ev->n,
			  first_of(ev)->topic);
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
	events_kick(ev);
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
		drop(ev, first_of(ev));
	free(ev->address);
	free(ev->namespace);
	free(ev);
}
