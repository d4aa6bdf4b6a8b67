/* SPDX-License-Identifier: Apache-2.0 */
/* The client against our server, and against a peer that writes what it likes. */
#include "base/clock.h"
#include "proto/agent.pb-c.h"
#include "rpc/message.h"
#include "rpc/test-peer.h"

#include <stdatomic.h>

struct fixture {
	struct test_loop loop;
	struct rpc_server *server; /* NULL: the peer is `fd` */
	struct rpc_client *client;
	int fd;
	atomic_int closed; /* how often on_close ran */
	struct rpc_call *held;
	pthread_mutex_t lock;
};

/* ---- A server to talk to -------------------------------------------------------------------- */

static void on_read(void *ctx, struct rpc_call *call)
{
	const Grpc__ReadStreamRequest *req = (const void *)rpc_call_request(call);
	Grpc__ReadStreamResponse resp = GRPC__READ_STREAM_RESPONSE__INIT;

	resp.data.len = req->len;
	resp.data.data = malloc(req->len + 1);
	assert_non_null(resp.data.data);
	memset(resp.data.data, 'r', req->len);
	rpc_call_reply(call, &resp.base);
	free(resp.data.data);
}

static void on_write(void *ctx, struct rpc_call *call)
{
	const Grpc__WriteStreamRequest *req = (const void *)rpc_call_request(call);
	Grpc__WriteStreamResponse resp = GRPC__WRITE_STREAM_RESPONSE__INIT;

	resp.len = (uint32_t)req->data.len;
	rpc_call_reply(call, &resp.base);
}

static void on_start(void *ctx, struct rpc_call *call)
{
	const Grpc__StartContainerRequest *req = (const void *)rpc_call_request(call);
	rpc_call_failf(call, STATUS_ALREADY_EXISTS, "container %s exists", req->container_id);
}

/* Answers with the metadata and the deadline that it got. */
static void on_metrics(void *ctx, struct rpc_call *call)
{
	Grpc__Metrics resp = GRPC__METRICS__INIT;
	char text[256];
	uint64_t deadline = rpc_call_deadline(call);

	(void)snprintf(text, sizeof text, "%s %s %s", rpc_call_metadata(call, "one"),
		       rpc_call_metadata(call, "none") ? "?" : "-", deadline ? "timed" : "untimed");
	resp.metrics = text;
	rpc_call_reply(call, &resp.base);
}

static void on_wait(void *ctx, struct rpc_call *call)
{
	struct fixture *f = ctx;

	pthread_mutex_lock(&f->lock);
	assert_null(f->held);
	f->held = call;
	pthread_mutex_unlock(&f->lock);
}

static void on_sandbox(void *ctx, struct rpc_call *call)
{
	rpc_call_reply(call, NULL);
}

static const struct rpc_method methods[] = {
	{"ReadStdout", on_read},
	{"WriteStdin", on_write},
	{"StartContainer", on_start},
	{"GetMetrics", on_metrics},
	{"WaitProcess", on_wait},
	{"DestroySandbox", on_sandbox},
	{NULL, NULL},
};

static struct rpc_service service = {"grpc.AgentService", &grpc__agent_service__descriptor, methods,
				     NULL};

static void on_close(void *arg)
{
	struct fixture *f = arg;
	atomic_fetch_add(&f->closed, 1);
}

static struct fixture *fixture_new(int fds[2])
{
	struct fixture *f = calloc(1, sizeof *f);

	assert_non_null(f);
	f->fd = -1;
	pthread_mutex_init(&f->lock, NULL);
	assert_int_equal(loop_new(&f->loop.loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(rpc_client_new(f->loop.loop, fds[0], on_close, f, &f->client), 0);
	return f;
}

static int setup_server(void **state)
{
	int fds[2];
	struct fixture *f = fixture_new(fds);

	service.ctx = f;
	assert_int_equal(rpc_server_new(f->loop.loop, &f->server), 0);
	assert_int_equal(rpc_server_add(f->server, &service), 0);
	assert_int_equal(rpc_server_serve(f->server, fds[1]), 0);
	test_loop_start(&f->loop);
	*state = f;
	return 0;
}

static int setup_peer(void **state)
{
	int fds[2];
	struct fixture *f = fixture_new(fds);

	f->fd = fds[1];
	test_loop_start(&f->loop);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	test_loop_stop(&f->loop);
	rpc_client_free(f->client);
	rpc_server_free(f->server);
	if (f->held)
		rpc_call_reply(f->held, NULL);
	loop_free(f->loop.loop);
	if (f->fd >= 0)
		close(f->fd);
	pthread_mutex_destroy(&f->lock);
	free(f);
	return 0;
}

static int call(struct fixture *f, const char *method, const ProtobufCMessage *m,
		uint64_t timeout_ms, ProtobufCMessage **ret, struct err *e)
{
	const struct rpc_request req = {.service = &grpc__agent_service__descriptor,
					.method = method,
					.message = m,
					.timeout_ms = timeout_ms};
	return rpc_client_call(f->client, &req, ret, e);
}

static int call_wait(struct fixture *f, uint64_t timeout_ms, struct err *e)
{
	Grpc__WaitProcessRequest m = GRPC__WAIT_PROCESS_REQUEST__INIT;
	return call(f, "WaitProcess", &m.base, timeout_ms, NULL, e);
}

static int call_destroy(struct fixture *f, struct err *e)
{
	Grpc__DestroySandboxRequest m = GRPC__DESTROY_SANDBOX_REQUEST__INIT;
	return call(f, "DestroySandbox", &m.base, PEER_TIMEOUT_MS, NULL, e);
}

/* ---- Against the server ---------------------------------------------------------------------- */

static void a_call_returns_its_reply(void **state)
{
	struct fixture *f = *state;
	Grpc__WriteStreamRequest m = GRPC__WRITE_STREAM_REQUEST__INIT;
	ProtobufCMessage *resp = NULL;
	struct err e = ERR_INIT;

	m.data = (ProtobufCBinaryData){5, (uint8_t *)"hello"};
	assert_int_equal(call(f, "WriteStdin", &m.base, 0, &resp, &e), 0);
	assert_int_equal(((Grpc__WriteStreamResponse *)resp)->len, 5);
	protobuf_c_message_free_unpacked(resp, NULL);
	assert_int_equal(call(f, "WriteStdin", &m.base, 0, NULL, &e), 0); /* nobody wants it */
	assert_true(rpc_client_alive(f->client));
}

static void a_failure_carries_status_and_text(void **state)
{
	struct fixture *f = *state;
	Grpc__StartContainerRequest m = GRPC__START_CONTAINER_REQUEST__INIT;
	ProtobufCMessage *resp = NULL;
	struct err e = ERR_INIT;

	m.container_id = "c1";
	assert_int_equal(call(f, "StartContainer", &m.base, 0, &resp, &e), -EEXIST);
	assert_null(resp);
	assert_int_equal(e.status, STATUS_ALREADY_EXISTS);
	assert_string_equal(e.text, "container c1 exists");
	assert_int_equal(call(f, "StartContainer", &m.base, 0, NULL, NULL), -EEXIST);
}

static void metadata_and_timeout_arrive(void **state)
{
	struct fixture *f = *state;
	Grpc__GetMetricsRequest m = GRPC__GET_METRICS_REQUEST__INIT;
	static const char *const metadata[] = {"one", "1", "two", "2", NULL};
	struct rpc_request req = {.service = &grpc__agent_service__descriptor,
				  .method = "GetMetrics",
				  .message = &m.base,
				  .timeout_ms = 60000,
				  .metadata = metadata};
	ProtobufCMessage *resp = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(rpc_client_call(f->client, &req, &resp, &e), 0);
	assert_string_equal(((Grpc__Metrics *)resp)->metrics, "1 - timed");
	protobuf_c_message_free_unpacked(resp, NULL);
	req.timeout_ms = 0;
	assert_int_equal(rpc_client_call(f->client, &req, &resp, &e), 0);
	assert_string_equal(((Grpc__Metrics *)resp)->metrics, "1 - untimed");
	protobuf_c_message_free_unpacked(resp, NULL);
}

static void unknown_names_are_refused(void **state)
{
	struct fixture *f = *state;
	Grpc__DestroySandboxRequest m = GRPC__DESTROY_SANDBOX_REQUEST__INIT;
	struct rpc_request req = {.service = &grpc__agent_service__descriptor,
				  .service_name = "grpc.Other",
				  .method = "DestroySandbox",
				  .message = &m.base};
	struct err e = ERR_INIT;

	assert_int_equal(rpc_client_call(f->client, &req, NULL, &e), -EOPNOTSUPP); /* there */
	assert_int_equal(call(f, "Fly", &m.base, 0, NULL, &e), -EOPNOTSUPP);	   /* here */
	assert_int_equal(call(f, "WriteStdin", &m.base, 0, NULL, &e), -EINVAL);
}

static void large_payloads_pass_both_ways(void **state)
{
	struct fixture *f = *state;
	Grpc__WriteStreamRequest w = GRPC__WRITE_STREAM_REQUEST__INIT;
	Grpc__ReadStreamRequest r = GRPC__READ_STREAM_REQUEST__INIT;
	ProtobufCMessage *resp;
	struct err e = ERR_INIT;

	w.data.len = r.len = 4000000;
	w.data.data = calloc(1, w.data.len);
	assert_non_null(w.data.data);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(call(f, "WriteStdin", &w.base, 0, &resp, &e), 0);
		assert_int_equal(((Grpc__WriteStreamResponse *)resp)->len, 4000000);
		protobuf_c_message_free_unpacked(resp, NULL);
		assert_int_equal(call(f, "ReadStdout", &r.base, 0, &resp, &e), 0);
		Grpc__ReadStreamResponse *got = (Grpc__ReadStreamResponse *)resp;
		assert_int_equal(got->data.len, 4000000);
		assert_int_equal(got->data.data[3999999], 'r');
		protobuf_c_message_free_unpacked(resp, NULL);
	}
	free(w.data.data);
}

static void what_is_too_large_is_refused_where_it_is_known(void **state)
{
	struct fixture *f = *state;
	Grpc__WriteStreamRequest w = GRPC__WRITE_STREAM_REQUEST__INIT;
	Grpc__ReadStreamRequest r = GRPC__READ_STREAM_REQUEST__INIT;
	struct err e = ERR_INIT;

	w.data.len = RPC_DATA_MAX;
	w.data.data = calloc(1, w.data.len);
	assert_non_null(w.data.data);
	assert_int_equal(call(f, "WriteStdin", &w.base, 0, NULL, &e), -ENOSPC);
	assert_int_equal(e.status, STATUS_RESOURCE_EXHAUSTED);
	free(w.data.data);
	r.len = RPC_DATA_MAX; /* by the server */
	assert_int_equal(call(f, "ReadStdout", &r.base, 0, NULL, &e), -ENOSPC);
	assert_int_equal(e.status, STATUS_RESOURCE_EXHAUSTED);
	assert_int_equal(call_destroy(f, &e), 0);
}

#define WORKERS 8
#define CALLS 200

static void *worker(void *arg)
{
	struct fixture *f = arg;

	for (uint32_t i = 0; i < CALLS; i++) {
		Grpc__ReadStreamRequest m = GRPC__READ_STREAM_REQUEST__INIT;
		ProtobufCMessage *resp;
		struct err e = ERR_INIT;
		m.len = i * 37;
		assert_int_equal(call(f, "ReadStdout", &m.base, i % 2 ? 60000 : 0, &resp, &e), 0);
		assert_int_equal(((Grpc__ReadStreamResponse *)resp)->data.len, i * 37);
		protobuf_c_message_free_unpacked(resp, NULL);
	}
	return NULL;
}

static void many_workers_at_once(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[WORKERS];

	for (size_t i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, worker, f), 0);
	for (size_t i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
}

struct outcomes {
	struct fixture *f;
	atomic_int succeeded, failed;
	int last_status;
};

static void count_outcome(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	struct outcomes *o = arg;

	assert_true(loop_is_current(o->f->loop.loop));
	if (r == 0) {
		assert_non_null(response);
		protobuf_c_message_free_unpacked(response, NULL);
		atomic_fetch_add(&o->succeeded, 1);
	} else {
		assert_null(response);
		o->last_status = e->status;
		atomic_fetch_add(&o->failed, 1);
	}
}

static int start(struct outcomes *o, const char *method, const ProtobufCMessage *m,
		 uint64_t timeout_ms)
{
	const struct rpc_request req = {.service = &grpc__agent_service__descriptor,
					.method = method,
					.message = m,
					.timeout_ms = timeout_ms};
	struct err e = ERR_INIT;
	return rpc_client_start(o->f->client, &req, count_outcome, o, &e);
}

static void wait_for(atomic_int *counter, int n)
{
	for (int i = 0; atomic_load(counter) < n && i < PEER_TIMEOUT_MS; i++)
		usleep(1000);
	assert_int_equal(atomic_load(counter), n);
}

static void start_some(void *arg)
{
	struct outcomes *o = arg;
	Grpc__DestroySandboxRequest m = GRPC__DESTROY_SANDBOX_REQUEST__INIT;

	for (int i = 0; i < 500; i++)
		assert_int_equal(start(o, "DestroySandbox", &m.base, 0), 0);
}

static void calls_from_the_loop_and_beside_it(void **state)
{
	struct outcomes o = {.f = *state};

	test_on_loop(&o.f->loop, start_some, &o);
	start_some(&o);
	wait_for(&o.succeeded, 1000);
	assert_int_equal(atomic_load(&o.failed), 0);
}

static void wait_on_the_loop(void *arg)
{
	struct err e = ERR_INIT;
	assert_int_equal(call_destroy(arg, &e), -EDEADLK);
}

static void the_loop_thread_must_not_wait(void **state)
{
	struct fixture *f = *state;
	test_on_loop(&f->loop, wait_on_the_loop, f);
}

static void a_deadline_ends_the_wait(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	uint64_t begin = time_now_ms();

	assert_int_equal(call_wait(f, 150, &e), -ETIMEDOUT);
	uint64_t took = time_now_ms() - begin;
	assert_true(took >= 140 && took < 10000);
	assert_int_equal(e.status, STATUS_DEADLINE_EXCEEDED);
	assert_int_equal(call_destroy(f, &e), 0);
}

static void stop_serving(void *arg)
{
	struct fixture *f = arg;
	rpc_server_free(TAKE_PTR(f->server));
}

static void the_servers_end_is_unavailable(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;

	assert_int_equal(call_destroy(f, &e), 0);
	test_on_loop(&f->loop, stop_serving, f);
	wait_for(&f->closed, 1);
	assert_false(rpc_client_alive(f->client));
	assert_int_equal(call_destroy(f, &e), -ECONNRESET);
	assert_int_equal(e.status, STATUS_UNAVAILABLE);
}

/* ---- Against a peer of our making ------------------------------------------------------------ */

/* Takes one request and returns its stream id. */
static uint32_t take_request(int fd, Ttrpc__Request **ret)
{
	struct rpc_header h;
	uint8_t *data = peer_receive(fd, &h);

	assert_int_equal(h.type, RPC_FRAME_REQUEST);
	assert_int_equal(h.flags, 0);
	Ttrpc__Request *req = ttrpc__request__unpack(NULL, h.length, data);
	assert_non_null(req);
	free(data);
	if (ret)
		*ret = req;
	else
		ttrpc__request__free_unpacked(req, NULL);
	return h.stream;
}

struct call_in_thread {
	struct fixture *f;
	pthread_t thread;
	uint64_t timeout_ms;
	int r;
	struct err e;
};

static void *call_main(void *arg)
{
	struct call_in_thread *c = arg;
	c->r = call_wait(c->f, c->timeout_ms, &c->e);
	return NULL;
}

static void call_begin(struct call_in_thread *c, struct fixture *f, uint64_t timeout_ms)
{
	*c = (struct call_in_thread){.f = f, .timeout_ms = timeout_ms};
	assert_int_equal(pthread_create(&c->thread, NULL, call_main, c), 0);
}

static void call_end(struct call_in_thread *c, int r, int status)
{
	pthread_join(c->thread, NULL);
	assert_int_equal(c->r, r);
	assert_int_equal(c->e.status, status);
}

static void requests_look_as_they_should(void **state)
{
	struct fixture *f = *state;
	struct call_in_thread c[3];
	Ttrpc__Request *req;

	for (size_t i = 0; i < 3; i++) {
		call_begin(&c[i], f, 3000);
		uint32_t stream = take_request(f->fd, &req);
		assert_int_equal(stream, 2 * i + 1);
		assert_string_equal(req->service, "grpc.AgentService");
		assert_string_equal(req->method, "WaitProcess");
		assert_int_equal(req->timeout_nano, 3000000000);
		assert_int_equal(req->n_metadata, 0);
		ttrpc__request__free_unpacked(req, NULL);
	}
	/* replies in another order */
	for (size_t i = 3; i-- > 0;) {
		peer_send(f->fd, (uint32_t)(2 * i + 1), RPC_FRAME_RESPONSE, 0, NULL, 0);
		call_end(&c[i], 0, STATUS_OK);
	}
}

static void a_late_reply_is_dropped(void **state)
{
	struct fixture *f = *state;
	struct call_in_thread c;
	struct err e = ERR_INIT;

	assert_int_equal(call_wait(f, 50, &e), -ETIMEDOUT);
	uint32_t late = take_request(f->fd, NULL);
	call_begin(&c, f, PEER_TIMEOUT_MS);
	uint32_t stream = take_request(f->fd, NULL);
	peer_send(f->fd, late, RPC_FRAME_RESPONSE, 0, NULL, 0);
	peer_send(f->fd, 77, RPC_FRAME_RESPONSE, 0, NULL, 0); /* never asked for */
	peer_send(f->fd, 0, RPC_FRAME_RESPONSE, 0, "\xff", 1);
	peer_send(f->fd, stream, 99, 0, "abc", 3); /* a type to come */
	peer_send(f->fd, stream, RPC_FRAME_RESPONSE, 0, NULL, 0);
	peer_send(f->fd, stream, RPC_FRAME_RESPONSE, 0, NULL, 0); /* twice */
	call_end(&c, 0, STATUS_OK);
	assert_true(rpc_client_alive(f->client));
}

static void garbage_in_a_reply_fails_that_call(void **state)
{
	static const struct {
		uint8_t type;
		const char *data;
		uint32_t len;
		int r, status;
	} replies[] = {
		{RPC_FRAME_RESPONSE, "\xff\xff", 2, -EPROTO, STATUS_INTERNAL},
		{RPC_FRAME_RESPONSE, "\x12\x01\x08", 3, -EPROTO, STATUS_INTERNAL}, /* payload */
		{RPC_FRAME_DATA, "abc", 3, -EPROTO, STATUS_INTERNAL},
		{RPC_FRAME_RESPONSE, "\x0a\x02\x08\x05", 4, -ENOENT, STATUS_NOT_FOUND},
		{RPC_FRAME_RESPONSE, "\x0a\x03\x08\xe7\x07", 5, -EIO, 999}, /* no such code */
		{RPC_FRAME_RESPONSE, "\x0a\x06\x08\x05\x12\x02\xff\x1b", 8, -ENOENT,
		 STATUS_NOT_FOUND},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(replies); i++) {
		struct call_in_thread c;
		call_begin(&c, f, PEER_TIMEOUT_MS);
		uint32_t stream = take_request(f->fd, NULL);
		peer_send(f->fd, stream, replies[i].type, 0, replies[i].data, replies[i].len);
		call_end(&c, replies[i].r, replies[i].status);
	}
	assert_true(rpc_client_alive(f->client));
}

static void a_reply_too_long_fails_that_call(void **state)
{
	struct fixture *f = *state;
	struct call_in_thread c;
	char *data = calloc(1, RPC_DATA_MAX + 1);

	assert_non_null(data);
	call_begin(&c, f, PEER_TIMEOUT_MS);
	uint32_t stream = take_request(f->fd, NULL);
	peer_send(f->fd, stream, RPC_FRAME_RESPONSE, 0, data, RPC_DATA_MAX + 1);
	call_end(&c, -ENOSPC, STATUS_RESOURCE_EXHAUSTED);
	assert_true(rpc_client_alive(f->client));
	free(data);
}

static void the_peers_end_fails_all(void **state)
{
	struct fixture *f = *state;
	struct call_in_thread c[4];
	struct outcomes o = {.f = f};
	Grpc__WaitProcessRequest m = GRPC__WAIT_PROCESS_REQUEST__INIT;
	struct err e = ERR_INIT;

	for (size_t i = 0; i < 4; i++) {
		call_begin(&c[i], f, i % 2 ? PEER_TIMEOUT_MS : 0);
		(void)take_request(f->fd, NULL);
	}
	assert_int_equal(start(&o, "WaitProcess", &m.base, 0), 0);
	(void)take_request(f->fd, NULL);
	peer_write(f->fd, "\0\0\0\x05\0\0\0", 7); /* ends inside of a header */
	close(f->fd);
	f->fd = -1;
	for (size_t i = 0; i < 4; i++)
		call_end(&c[i], -ECONNRESET, STATUS_UNAVAILABLE);
	wait_for(&o.failed, 1);
	assert_int_equal(o.last_status, STATUS_UNAVAILABLE);
	wait_for(&f->closed, 1);
	assert_int_equal(call_wait(f, 0, &e), -ECONNRESET);
	assert_int_equal(start(&o, "WaitProcess", &m.base, 0), -ECONNRESET);
	usleep(20000);
	assert_int_equal(atomic_load(&f->closed), 1);
}

static void a_reply_before_the_end_counts(void **state)
{
	struct fixture *f = *state;
	struct call_in_thread c;

	call_begin(&c, f, PEER_TIMEOUT_MS);
	uint32_t stream = take_request(f->fd, NULL);
	peer_send(f->fd, stream, RPC_FRAME_RESPONSE, 0, NULL, 0);
	close(f->fd);
	f->fd = -1;
	call_end(&c, 0, STATUS_OK);
	wait_for(&f->closed, 1);
}

static void free_the_client(void *arg)
{
	struct fixture *f = arg;
	rpc_client_free(TAKE_PTR(f->client));
}

static void the_loop_keeps_deadlines_of_started_calls(void **state)
{
	struct outcomes o = {.f = *state};
	Grpc__WaitProcessRequest m = GRPC__WAIT_PROCESS_REQUEST__INIT;
	uint64_t begin = time_now_ms();

	assert_int_equal(start(&o, "WaitProcess", &m.base, 60000), 0);
	assert_int_equal(start(&o, "WaitProcess", &m.base, 200), 0);
	assert_int_equal(start(&o, "WaitProcess", &m.base, 100), 0);
	wait_for(&o.failed, 2);
	assert_int_equal(o.last_status, STATUS_DEADLINE_EXCEEDED);
	assert_true(time_now_ms() - begin >= 190);
	usleep(20000);
	assert_int_equal(atomic_load(&o.failed), 2);
	test_on_loop(&o.f->loop, free_the_client, o.f);
	assert_int_equal(atomic_load(&o.failed), 3);
	assert_int_equal(o.last_status, STATUS_CANCELLED);
}

static void freeing_cancels_those_who_wait(void **state)
{
	struct fixture *f = *state;
	struct call_in_thread c;

	call_begin(&c, f, 0);
	(void)take_request(f->fd, NULL);
	test_on_loop(&f->loop, free_the_client, f);
	call_end(&c, -ECANCELED, STATUS_CANCELLED);
	assert_true(peer_closed(f->fd));
	assert_int_equal(atomic_load(&f->closed), 0); /* it was us */
}

static void done_and_free(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	struct outcomes *o = arg;
	count_outcome(o, r, response, e);
	rpc_client_free(TAKE_PTR(o->f->client));
}

static void a_callback_may_free_the_client(void **state)
{
	struct fixture *f = *state;
	struct outcomes o = {.f = f};
	Grpc__WaitProcessRequest m = GRPC__WAIT_PROCESS_REQUEST__INIT;
	const struct rpc_request req = {.service = &grpc__agent_service__descriptor,
					.method = "WaitProcess",
					.message = &m.base};
	struct err e = ERR_INIT;

	assert_int_equal(rpc_client_start(f->client, &req, done_and_free, &o, &e), 0);
	assert_int_equal(start(&o, "WaitProcess", &m.base, 0), 0);
	uint32_t first = take_request(f->fd, NULL);
	(void)take_request(f->fd, NULL);
	peer_send(f->fd, first, RPC_FRAME_RESPONSE, 0, NULL, 0);
	wait_for(&o.succeeded, 1);
	wait_for(&o.failed, 1);
	assert_int_equal(o.last_status, STATUS_CANCELLED);
	assert_true(peer_closed(f->fd));
}

static void close_and_free(void *arg)
{
	struct fixture *f = arg;
	rpc_client_free(TAKE_PTR(f->client));
	atomic_fetch_add(&f->closed, 1);
}

static void on_close_may_free_a_client_made_beside_the_loop(void **state)
{
	struct fixture *f = *state;
	struct fixture other = {.loop = f->loop};
	struct err e = ERR_INIT;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(
		rpc_client_new(f->loop.loop, fds[0], close_and_free, &other, &other.client), 0);
	struct call_in_thread c;
	call_begin(&c, &other, PEER_TIMEOUT_MS); /* perhaps before the loop knows of it */
	uint32_t stream = take_request(fds[1], NULL);
	peer_send(fds[1], stream, RPC_FRAME_RESPONSE, 0, NULL, 0);
	call_end(&c, 0, STATUS_OK);
	close(fds[1]);
	wait_for(&other.closed, 1);
	assert_int_equal(call_wait(f, 20, &e), -ETIMEDOUT); /* the first one is untouched */
}

static void a_peer_that_does_not_read_costs_calls_only(void **state)
{
	struct fixture *f = *state;
	struct outcomes o = {.f = f};
	Grpc__WriteStreamRequest m = GRPC__WRITE_STREAM_REQUEST__INIT;
	int started = 0, r;

	m.data.len = 2 << 20;
	m.data.data = calloc(1, m.data.len);
	assert_non_null(m.data.data);
	while ((r = start(&o, "WriteStdin", &m.base, 0)) == 0 && started < 100)
		started++;
	assert_int_equal(r, -ENOSPC);
	assert_true(started >= 8 && started < 20);
	for (int i = 0; i < started; i++) {
		uint32_t stream = take_request(f->fd, NULL);
		peer_send(f->fd, stream, RPC_FRAME_RESPONSE, 0, NULL, 0);
	}
	wait_for(&o.succeeded, started);
	assert_int_equal(start(&o, "WriteStdin", &m.base, 0), 0); /* there is room again */
	(void)take_request(f->fd, NULL);
	test_on_loop(&f->loop, free_the_client, f);
	assert_int_equal(atomic_load(&o.failed), 1);
	free(m.data.data);
}

static void too_many_calls_are_refused(void **state)
{
	struct fixture *f = *state;
	struct outcomes o = {.f = f};
	Grpc__WaitProcessRequest m = GRPC__WAIT_PROCESS_REQUEST__INIT;
	int started = 0, r;

	while ((r = start(&o, "WaitProcess", &m.base, 0)) == 0 && started < 10000)
		started++;
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(started, 8192);
	close(f->fd);
	f->fd = -1;
	wait_for(&o.failed, started);
}

static void random_bytes_do_no_harm(void **state)
{
	struct fixture *f = *state;
	struct outcomes o = {.f = f};
	Grpc__WaitProcessRequest m = GRPC__WAIT_PROCESS_REQUEST__INIT;
	uint32_t seed = 1;
	uint8_t junk[4096];

	for (int i = 0; i < 16; i++)
		assert_int_equal(start(&o, "WaitProcess", &m.base, 0), 0);
	for (int round = 0; round < 50; round++) {
		for (size_t i = 0; i < sizeof junk; i++) {
			seed = seed * 1103515245 + 12345;
			junk[i] = (uint8_t)(seed >> 16) % (i % 3 ? 256 : 4);
		}
		for (size_t i = 0; i + 10 < sizeof junk; i += 10 + junk[i + 3])
			memset(junk + i, 0, 3); /* plausible lengths */
		peer_write(f->fd, junk, sizeof junk);
	}
	close(f->fd);
	f->fd = -1;
	wait_for(&f->closed, 1);
	assert_int_equal(atomic_load(&o.failed) + atomic_load(&o.succeeded), 16);
}

#define WITH_SERVER(fn) cmocka_unit_test_setup_teardown(fn, setup_server, teardown)
#define WITH_PEER(fn) cmocka_unit_test_setup_teardown(fn, setup_peer, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SERVER(a_call_returns_its_reply),
		WITH_SERVER(a_failure_carries_status_and_text),
		WITH_SERVER(metadata_and_timeout_arrive),
		WITH_SERVER(unknown_names_are_refused),
		WITH_SERVER(large_payloads_pass_both_ways),
		WITH_SERVER(what_is_too_large_is_refused_where_it_is_known),
		WITH_SERVER(many_workers_at_once),
		WITH_SERVER(calls_from_the_loop_and_beside_it),
		WITH_SERVER(the_loop_thread_must_not_wait),
		WITH_SERVER(a_deadline_ends_the_wait),
		WITH_SERVER(the_servers_end_is_unavailable),
		WITH_PEER(requests_look_as_they_should),
		WITH_PEER(a_late_reply_is_dropped),
		WITH_PEER(garbage_in_a_reply_fails_that_call),
		WITH_PEER(a_reply_too_long_fails_that_call),
		WITH_PEER(the_peers_end_fails_all),
		WITH_PEER(a_reply_before_the_end_counts),
		WITH_PEER(the_loop_keeps_deadlines_of_started_calls),
		WITH_PEER(freeing_cancels_those_who_wait),
		WITH_PEER(a_callback_may_free_the_client),
		WITH_PEER(on_close_may_free_a_client_made_beside_the_loop),
		WITH_PEER(a_peer_that_does_not_read_costs_calls_only),
		WITH_PEER(too_many_calls_are_refused),
		WITH_PEER(random_bytes_do_no_harm),
	};
	return RUN_TESTS();
}
