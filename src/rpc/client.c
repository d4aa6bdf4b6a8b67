/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client. It owns one connection and the calls that await a reply.
 *
 * Threads: any thread starts calls; it packs the request, takes a stream id and queues the frame
 * under the lock, so that ids are increasing on the wire. Only the loop thread reads and writes the
 * socket and completes calls. A call that is pending is in `pending`; whoever removes it from
 * there, under the lock, completes it, and so it completes once.
 *
 * A reply that nobody awaits any more is dropped.
 */
#include "rpc/rpc.h"

#include "base/clock.h"
#include "base/log.h"
#include "rpc/conn.h"
#include "rpc/message.h"
#include "rpc/stream.h"

#include <pthread.h>
#include <string.h>

/* Calls at a time: two reads and a wait for each process of a pod, and some more. */
#define PENDING_MAX 8192u
/* Streams at a time; those of one process are three. */
#define STREAMS_MAX 256u
/* Bytes of requests that the peer has not taken yet: six of the largest. Below RPC_QUEUE_MAX, so
 * that a slow peer costs calls and not the connection. */
#define BACKLOG_MAX (6u * RPC_DATA_MAX)
#define BUCKETS 32

struct pending {
	struct list link; /* client->pending[] */
	uint32_t stream;
	const ProtobufCMethodDescriptor *method;
	uint64_t deadline; /* that the loop keeps; 0: none, or the caller keeps it itself */
	rpc_done_fn done;
	void *arg;
};

struct rpc_client {
	struct loop *loop;
	void (*on_close)(void *arg);
	void *on_close_arg;

	/* Loop thread */
	struct rpc_conn conn;
	struct loop_timer *timer; /* made when first needed */
	uint64_t timer_at;	  /* 0: not armed */
	struct list streams;
	uint64_t replies;

	pthread_mutex_t lock; /* guards what follows; taken alone */
	struct rpc_wake wake;
	unsigned refs; /* the owner's, those of waiting threads and of callbacks at work */
	bool alive;
	int fd; /* until the loop has it */
	uint32_t next_stream;
	unsigned n_pending;
	struct list pending[BUCKETS]; /* by stream id */
	struct rpc_queue queue;	      /* not yet handed to the connection */
	size_t backlog;		      /* bytes that the connection has yet to send */
	uint64_t first_deadline;      /* no later than any in `pending`; 0: none */
};

/* ---- References, the table of pending calls ------------------------------------------------- */

static void client_ref(struct rpc_client *c)
{
	pthread_mutex_lock(&c->lock);
	c->refs++;
	pthread_mutex_unlock(&c->lock);
}

static void client_unref(struct rpc_client *c)
{
	pthread_mutex_lock(&c->lock);
	bool last = --c->refs == 0;
	pthread_mutex_unlock(&c->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static struct list *bucket_of(struct rpc_client *c, uint32_t stream)
{
	return &c->pending[stream / 2 % BUCKETS];
}

/* Under the lock. The caller owns the result, and completes it. */
static struct pending *pending_take(struct rpc_client *c, uint32_t stream)
{
	struct list *bucket = bucket_of(c, stream), *n;

	list_for_each (n, bucket) {
		struct pending *p = list_entry(n, struct pending, link);
		if (p->stream != stream)
			continue;
		list_del(&p->link);
		c->n_pending--;
		return p;
	}
	return NULL;
}

static void pending_fail(struct pending *p, int status, const char *text)
{
	struct err e;
	int r = err_status(&e, status, "%s: %s", p->method->name, text);

	p->done(p->arg, r, NULL, &e);
	free(p);
}

/* Moves to @batch what is past its deadline at @now, or everything for UINT64_MAX. */
static void pending_collect(struct rpc_client *c, uint64_t now, struct list *batch)
{
	struct list *n, *tmp;
	uint64_t first = 0;

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < BUCKETS; i++) {
		list_for_each_safe (n, tmp, &c->pending[i]) {
			struct pending *p = list_entry(n, struct pending, link);
			if (now == UINT64_MAX || (p->deadline && p->deadline <= now)) {
				list_del(&p->link);
				list_add_tail(batch, &p->link);
				c->n_pending--;
			} else if (p->deadline && (!first || p->deadline < first)) {
				first = p->deadline;
			}
		}
	}
	c->first_deadline = first;
	pthread_mutex_unlock(&c->lock);
}

static void fail_batch(struct list *batch, int status, const char *text)
{
	while (!list_empty(batch)) {
		struct pending *p = list_first(batch, struct pending, link);
		list_del(&p->link);
		pending_fail(p, status, text);
	}
}

/* ---- The connection, on the loop thread ----------------------------------------------------- */

/* Ends the connection. The client stays until its owner frees it. */
static void client_shut(struct rpc_client *c, int status, const char *text)
{
	struct list batch = LIST_INIT(batch);

	pthread_mutex_lock(&c->lock);
	c->alive = false;
	rpc_wake_close(&c->wake);
	rpc_queue_clear(&c->queue);
	c->fd = close_fd(c->fd);
	pthread_mutex_unlock(&c->lock);

	rpc_conn_close(&c->conn);
	loop_timer_free(c->timer);
	c->timer = NULL;
	c->timer_at = 0;
	pending_collect(c, UINT64_MAX, &batch);
	fail_batch(&batch, status, text);
	rpc_streams_lost(&c->streams, status, text);
}

static void client_lost(struct rpc_client *c, const char *text)
{
	client_ref(c); /* a callback may free the client */
	client_shut(c, STATUS_UNAVAILABLE, text);

	pthread_mutex_lock(&c->lock);
	void (*on_close)(void *arg) = TAKE_PTR(c->on_close);
	pthread_mutex_unlock(&c->lock);
	if (on_close)
		on_close(c->on_close_arg);
	client_unref(c);
}

static void on_timer(void *arg);

static void arm_timer(struct rpc_client *c, uint64_t deadline)
{
	if (!deadline || (c->timer_at && c->timer_at <= deadline))
		return;
	if (!c->timer && loop_timer_new(c->loop, on_timer, c, &c->timer) < 0) {
		client_lost(c, "out of memory for a deadline");
		return;
	}
	c->timer_at = deadline;
	loop_timer_start(c->timer, (uint64_t)time_left_ms(deadline));
}

static void on_timer(void *arg)
{
	struct rpc_client *c = arg;
	struct list batch = LIST_INIT(batch);

	c->timer_at = 0;
	pending_collect(c, time_now_ms(), &batch);
	pthread_mutex_lock(&c->lock);
	uint64_t next = c->first_deadline;
	pthread_mutex_unlock(&c->lock);
	arm_timer(c, next);
	fail_batch(&batch, STATUS_DEADLINE_EXCEEDED, "no reply before the deadline");
}

/* Takes over what other threads have queued. */
static void send_requests(struct rpc_client *c)
{
	struct list frames = LIST_INIT(frames);

	if (c->conn.fd < 0)
		return; /* not attached yet: attach_posted() sends */
	pthread_mutex_lock(&c->lock);
	while (!list_empty(&c->queue.frames)) {
		struct list *n = c->queue.frames.next;
		list_del(n);
		list_add_tail(&frames, n);
	}
	c->backlog += c->queue.bytes;
	c->queue.bytes = 0;
	uint64_t first = c->first_deadline;
	pthread_mutex_unlock(&c->lock);

	while (!list_empty(&frames)) {
		struct rpc_frame *f = list_first(&frames, struct rpc_frame, link);
		list_del(&f->link);
		rpc_conn_queue(&c->conn, f);
	}
	rpc_conn_flush(&c->conn);
	pthread_mutex_lock(&c->lock);
	c->backlog = c->conn.out.bytes;
	pthread_mutex_unlock(&c->lock);
	arm_timer(c, first);
}

static void on_wake(void *arg)
{
	send_requests(arg);
}

static int parse_reply(const struct pending *p, const struct rpc_frame_in *f,
		       ProtobufCMessage **ret, struct err *e)
{
	const char *method = p->method->name;
	struct rpc_response_in resp;

	if (f->oversize)
		return err_status(e, STATUS_RESOURCE_EXHAUSTED,
				  "the reply to %s has %u bytes and exceeds the limit of %u",
				  method, f->header.length, RPC_DATA_MAX);
	if (f->header.type != RPC_FRAME_RESPONSE)
		return err_status(e, STATUS_INTERNAL, "the reply to %s is a frame of type %u",
				  method, f->header.type);
	if (rpc_response_parse(f->data, f->header.length, &resp) < 0)
		return err_status(e, STATUS_INTERNAL, "the reply to %s is malformed", method);
	if (resp.code != STATUS_OK) {
		char text[ERR_TEXT_MAX];
		rpc_text_copy(text, sizeof text, (const char *)resp.message.data, resp.message.len);
		return err_status(e, resp.code, "%s", text);
	}
	*ret = rpc_unpack(p->method->output, resp.payload, NULL);
	if (!*ret)
		return err_status(e, STATUS_INTERNAL,
				  "the reply to %s is not a %s, or too large once decoded", method,
				  p->method->output->name);
	return 0;
}

static void on_frame(void *arg, const struct rpc_frame_in *f)
{
	struct rpc_client *c = arg;
	ProtobufCMessage *response = NULL;
	struct err e = ERR_INIT;

	/* For the sake of protocols to come, as the server does. */
	if (!f->oversize && f->header.type != RPC_FRAME_RESPONSE &&
	    f->header.type != RPC_FRAME_DATA)
		return;
	c->replies++;
	pthread_mutex_lock(&c->lock);
	struct pending *p = pending_take(c, f->header.stream);
	pthread_mutex_unlock(&c->lock);
	struct rpc_stream *s = p ? NULL : rpc_stream_find(&c->streams, f->header.stream);
	if (s) {
		rpc_stream_on_frame(s, f); /* may free the client */
		return;
	}
	if (!p) {
		log_debug("ttrpc: dropped a reply on stream %u, which nobody awaits",
			  f->header.stream);
		return;
	}
	int r = parse_reply(p, f, &response, &e);
	p->done(p->arg, r, response, &e); /* may free the client */
	free(p);
}

static void on_eof(void *arg)
{
	client_lost(arg, "the peer closed the connection");
}

static void on_lost(void *arg, int r)
{
	char sys[128], text[160];

	(void)snprintf(text, sizeof text, "connection lost: %s", strerror_r(-r, sys, sizeof sys));
	client_lost(arg, text);
}

static void on_turned(void *arg)
{
	struct rpc_client *c = arg;

	pthread_mutex_lock(&c->lock);
	c->backlog = c->conn.out.bytes;
	pthread_mutex_unlock(&c->lock);
	client_ref(c); /* a callback may free the client */
	rpc_streams_sent(&c->streams);
	client_unref(c);
}

static const struct rpc_conn_ops conn_ops = {
	.frame = on_frame,
	.eof = on_eof,
	.lost = on_lost,
	.turned = on_turned,
};

/* ---- Making and freeing --------------------------------------------------------------------- */

/* Gives the descriptor to the loop. Loop thread. */
static int client_attach(struct rpc_client *c)
{
	int r = rpc_wake_watch(&c->wake, c->loop, on_wake, c);
	if (r == 0)
		r = rpc_conn_open(&c->conn, c->loop, c->fd, SIZE_MAX, &conn_ops, c);
	if (r == 0)
		c->fd = -EBADF;
	return r;
}

static void attach_posted(void *arg)
{
	struct rpc_client *c = arg;
	int r = 0;

	pthread_mutex_lock(&c->lock);
	bool alive = c->alive;
	if (alive)
		r = client_attach(c);
	pthread_mutex_unlock(&c->lock);
	if (r < 0)
		on_lost(c, r);
	else if (alive)
		send_requests(c);
	client_unref(c);
}

static struct rpc_client *client_alloc(struct loop *loop, int fd, void (*on_close)(void *arg),
				       void *arg)
{
	struct rpc_client *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->loop = loop;
	c->on_close = on_close;
	c->on_close_arg = arg;
	c->conn.fd = -EBADF;
	c->wake = RPC_WAKE_INIT;
	c->refs = 1;
	c->alive = true;
	c->fd = fd;
	c->next_stream = 1;
	for (size_t i = 0; i < BUCKETS; i++)
		list_init(&c->pending[i]);
	rpc_queue_init(&c->queue);
	list_init(&c->streams);
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

int rpc_client_new(struct loop *loop, int fd, void (*on_close)(void *arg), void *arg,
		   struct rpc_client **ret)
{
	struct rpc_client *c = client_alloc(loop, fd, on_close, arg);
	if (!c)
		return -ENOMEM;
	int r = rpc_wake_open(&c->wake);
	if (r == 0 && loop_is_current(loop)) {
		r = client_attach(c);
	} else if (r == 0) {
		c->refs++;
		r = loop_post(loop, attach_posted, c);
		if (r < 0)
			c->refs--;
	}
	if (r < 0) {
		c->fd = -EBADF; /* stays the caller's */
		rpc_wake_close(&c->wake);
		client_unref(c);
		return r;
	}
	*ret = c;
	return 0;
}

void rpc_client_free(struct rpc_client *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->on_close = NULL;
	pthread_mutex_unlock(&c->lock);
	client_shut(c, STATUS_CANCELLED, "the connection is being closed");
	client_unref(c);
}

bool rpc_client_alive(struct rpc_client *c)
{
	pthread_mutex_lock(&c->lock);
	bool alive = c->alive && c->next_stream != 0;
	pthread_mutex_unlock(&c->lock);
	return alive;
}

uint64_t rpc_client_replies(const struct rpc_client *c)
{
	return c->replies;
}

/* ---- Calls ---------------------------------------------------------------------------------- */

static int find_method(const struct rpc_request *req, const ProtobufCMethodDescriptor **ret,
		       struct err *e)
{
	*ret = protobuf_c_service_descriptor_get_method_by_name(req->service, req->method);
	if (!*ret)
		return err_status(e, STATUS_UNIMPLEMENTED, "%s has no method %s",
				  req->service->name, req->method);
	if (req->message && req->message->descriptor != (*ret)->input)
		return err_set(e, -EINVAL, "%s takes a %s, not a %s", req->method,
			       (*ret)->input->name, req->message->descriptor->name);
	return 0;
}

static int pack_request(const struct rpc_request *req, struct rpc_frame **ret, struct err *e)
{
	const struct rpc_request_out out = {
		.service = req->service_name ? req->service_name : req->service->name,
		.method = req->method,
		.message = req->message,
		.timeout_nano = req->timeout_ms > INT64_MAX / 1000000
					? INT64_MAX
					: (int64_t)req->timeout_ms * 1000000,
		.metadata = req->metadata,
	};
	size_t size;
	int r = rpc_request_frame(&out, ret, &size);

	if (r == -EMSGSIZE)
		return err_status(e, STATUS_RESOURCE_EXHAUSTED,
				  "the request %s has %zu bytes and exceeds the limit of %u",
				  req->method, size, RPC_DATA_MAX);
	if (r < 0)
		return err_set(e, r, "out of memory for the request %s", req->method);
	return 0;
}

/* Under the lock: whether one more request may go. */
static int check_room(const struct rpc_client *c, const struct rpc_request *req, size_t size,
		      struct err *e)
{
	if (!c->alive)
		return err_status(e, STATUS_UNAVAILABLE, "%s: the connection is closed",
				  req->method);
	if (c->next_stream == 0) /* wrapped, after 2^31 calls */
		return err_status(e, STATUS_UNAVAILABLE,
				  "%s: the connection's stream ids are used up", req->method);
	if (c->n_pending >= PENDING_MAX)
		return err_status(e, STATUS_RESOURCE_EXHAUSTED, "%s: %u calls await a reply",
				  req->method, c->n_pending);
	if (c->backlog + c->queue.bytes + size > BACKLOG_MAX)
		return err_status(e, STATUS_RESOURCE_EXHAUSTED,
				  "%s: the peer has not taken %zu bytes of earlier requests",
				  req->method, c->backlog + c->queue.bytes);
	return 0;
}

/* Under the lock. Gives a request, consumed, its id. */
static uint32_t enqueue_request(struct rpc_client *c, struct rpc_frame *f)
{
	uint32_t stream = c->next_stream;

	c->next_stream = stream == UINT32_MAX ? 0 : stream + 2;
	rpc_frame_set_stream(f, stream);
	bool first = list_empty(&c->queue.frames);
	rpc_queue_push(&c->queue, f);
	if (first && !loop_is_current(c->loop))
		rpc_wake_up(&c->wake);
	return stream;
}

/* Under the lock. Consumes both. */
static void enqueue(struct rpc_client *c, struct pending *p, struct rpc_frame *f)
{
	p->stream = enqueue_request(c, f);
	list_add_tail(bucket_of(c, p->stream), &p->link);
	c->n_pending++;
	if (p->deadline && (!c->first_deadline || p->deadline < c->first_deadline))
		c->first_deadline = p->deadline;
}

/* Queues a call; *@ret_stream says which. It is sent by the loop. */
static int start_call(struct rpc_client *c, const struct rpc_request *req, uint64_t deadline,
		      rpc_done_fn done, void *arg, uint32_t *ret_stream, struct err *e)
{
	const ProtobufCMethodDescriptor *method;
	struct rpc_frame *f;

	int r = find_method(req, &method, e);
	if (r < 0)
		return r;
	struct pending *p = calloc(1, sizeof *p);
	if (!p)
		return err_set(e, -ENOMEM, "out of memory for the call %s", req->method);
	*p = (struct pending){.method = method, .deadline = deadline, .done = done, .arg = arg};
	r = pack_request(req, &f, e);
	if (r < 0) {
		free(p);
		return r;
	}
	pthread_mutex_lock(&c->lock);
	r = check_room(c, req, f->len, e);
	if (r == 0) {
		enqueue(c, p, f);
		*ret_stream = p->stream;
	}
	pthread_mutex_unlock(&c->lock);
	if (r < 0) {
		rpc_frame_free(f);
		free(p);
	}
	return r;
}

int rpc_client_start(struct rpc_client *c, const struct rpc_request *req, rpc_done_fn done,
		     void *arg, struct err *e)
{
	uint32_t stream;
	int r = start_call(c, req, time_deadline(req->timeout_ms), done, arg, &stream, e);

	if (r == 0 && loop_is_current(c->loop))
		send_requests(c);
	return r;
}

/* A thread that waits for its call, on its own stack. */
struct waiter {
	struct rpc_client *client;
	pthread_cond_t cond;
	bool done; /* this and what follows: under the client's lock */
	int r;
	ProtobufCMessage *response;
	struct err *e;
};

static void waiter_done(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	struct waiter *w = arg;
	struct rpc_client *c = w->client;

	/* The waiting thread holds a reference until it has seen `done`. */
	pthread_mutex_lock(&c->lock);
	w->r = r;
	w->response = response;
	if (r < 0 && w->e)
		*w->e = *e;
	w->done = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&c->lock);
}

static struct timespec timespec_of(uint64_t ms)
{
	return (struct timespec){.tv_sec = (time_t)(ms / 1000),
				 .tv_nsec = (long)(ms % 1000) * 1000000};
}

/* Under the lock. Returns -ETIMEDOUT if nobody will complete the call any more. */
static int waiter_wait(struct waiter *w, uint32_t stream, uint64_t deadline)
{
	struct rpc_client *c = w->client;
	struct timespec until = timespec_of(deadline);

	while (!w->done) {
		if (!deadline) {
			pthread_cond_wait(&w->cond, &c->lock);
			continue;
		}
		if (pthread_cond_timedwait(&w->cond, &c->lock, &until) != ETIMEDOUT || w->done)
			continue;
		struct pending *p = pending_take(c, stream);
		if (p) {
			free(p);
			return -ETIMEDOUT;
		}
		deadline = 0; /* the reply is being decoded at this moment */
	}
	return 0;
}

int rpc_client_call(struct rpc_client *c, const struct rpc_request *req,
		    ProtobufCMessage **ret_response, struct err *e)
{
	struct waiter w = {.client = c, .e = e};
	uint64_t deadline = time_deadline(req->timeout_ms);
	pthread_condattr_t attr;
	uint32_t stream;

	if (loop_is_current(c->loop))
		return err_set(e, -EDEADLK, "%s: the loop thread must not wait for a reply",
			       req->method);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w.cond, &attr);
	pthread_condattr_destroy(&attr);

	client_ref(c);
	int r = start_call(c, req, 0, waiter_done, &w, &stream, e);
	if (r == 0) {
		pthread_mutex_lock(&c->lock);
		r = waiter_wait(&w, stream, deadline);
		pthread_mutex_unlock(&c->lock);
		if (r < 0)
			err_status(e, STATUS_DEADLINE_EXCEEDED, "%s: no reply within %llu ms",
				   req->method, (unsigned long long)req->timeout_ms);
		else
			r = w.r;
	}
	pthread_cond_destroy(&w.cond);
	client_unref(c);
	if (w.response && ret_response)
		*ret_response = TAKE_PTR(w.response);
	if (w.response)
		protobuf_c_message_free_unpacked(w.response, NULL);
	return r;
}

/* ---- Streams -------------------------------------------------------------------------------- */

/* Behind what is queued, so that a stream's request is always ahead of its data. */
static void stream_send(void *owner, struct rpc_frame *f)
{
	struct rpc_client *c = owner;

	if (f) {
		pthread_mutex_lock(&c->lock);
		rpc_queue_push(&c->queue, f);
		pthread_mutex_unlock(&c->lock);
		send_requests(c);
	} else {
		rpc_conn_queue(&c->conn, NULL); /* out of memory: breaks the connection */
	}
}

static size_t stream_backlog(void *owner)
{
	struct rpc_client *c = owner;

	pthread_mutex_lock(&c->lock);
	size_t n = c->queue.bytes;
	pthread_mutex_unlock(&c->lock);
	return n + c->conn.out.bytes;
}

static unsigned count_streams(const struct rpc_client *c)
{
	const struct list *n;
	unsigned count = 0;

	list_for_each (n, &c->streams)
		count++;
	return count;
}

int rpc_client_open(struct rpc_client *c, const struct rpc_request *req,
		    const struct rpc_stream_ops *ops, void *arg, struct rpc_stream **ret,
		    struct err *e)
{
	const ProtobufCMethodDescriptor *method;
	struct rpc_request opening = *req;
	struct rpc_frame *f;

	opening.message = NULL;
	opening.timeout_ms = 0;
	int r = find_method(&opening, &method, e);
	if (r < 0)
		return r;
	if (count_streams(c) >= STREAMS_MAX)
		return err_status(e, STATUS_RESOURCE_EXHAUSTED, "%s: %u streams are open",
				  req->method, STREAMS_MAX);
	struct rpc_stream *s = rpc_stream_new(0, method);
	if (!s)
		return err_set(e, -ENOMEM, "out of memory for the stream %s", req->method);
	r = pack_request(&opening, &f, e);
	if (r == 0) {
		f->bytes[RPC_HEADER_SIZE - 1] = RPC_FLAG_REMOTE_OPEN;
		pthread_mutex_lock(&c->lock);
		r = check_room(c, req, f->len, e);
		if (r == 0)
			s->id = enqueue_request(c, f);
		pthread_mutex_unlock(&c->lock);
		if (r < 0)
			rpc_frame_free(f);
	}
	if (r < 0) {
		rpc_stream_free(s);
		return r;
	}
	s->owner = c;
	s->send = stream_send;
	s->backlog = stream_backlog;
	rpc_stream_accept(s, ops, arg);
	list_add_tail(&c->streams, &s->link);
	send_requests(c);
	*ret = s;
	return 0;
}
