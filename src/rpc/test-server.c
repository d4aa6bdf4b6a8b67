/* SPDX-License-Identifier: Apache-2.0 */
/* The server as a peer sees it that writes raw bytes; its answers are checked by generated code. */
#include "base/clock.h"
#include "rpc/listen.h"
#include "rpc/test-peer.h"

#include <stdatomic.h>
#include <sys/resource.h>

#define SERVICE "containerd.task.v2.Task"

struct fixture {
	struct test_loop loop;
	struct rpc_server *server;
	int fd; /* the peer's end */
	pthread_mutex_t lock;
	struct rpc_call *held[8200]; /* by Wait */
	size_t n_held;
	atomic_uint handled;
};

static void on_state(void *ctx, struct rpc_call *call)
{
	const Containerd__Task__V2__StateRequest *req = (const void *)rpc_call_request(call);
	Containerd__Task__V2__StateResponse resp = CONTAINERD__TASK__V2__STATE_RESPONSE__INIT;
	struct fixture *f = ctx;

	atomic_fetch_add(&f->handled, 1);
	resp.id = req->id;
	const char *ns = rpc_call_metadata(call, "containerd-namespace-ttrpc");
	resp.bundle = (char *)(ns ? ns : "");
	resp.stdin = (char *)rpc_call_service(call);
	resp.stdout = (char *)rpc_call_method(call);
	rpc_call_reply(call, &resp.base);
}

static void on_kill(void *ctx, struct rpc_call *call)
{
	rpc_call_failf(call, STATUS_NOT_FOUND, "no process %s", "p\xff");
}

/* Answers with as many bytes as the id says. */
static void on_stats(void *ctx, struct rpc_call *call)
{
	const Containerd__Task__V2__StatsRequest *req = (const void *)rpc_call_request(call);
	Containerd__Task__V2__StatsResponse resp = CONTAINERD__TASK__V2__STATS_RESPONSE__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	struct fixture *f = ctx;

	atomic_fetch_add(&f->handled, 1);
	any.value.len = strtoul(req->id, NULL, 10);
	any.value.data = calloc(1, any.value.len + 1);
	assert_non_null(any.value.data);
	resp.stats = &any;
	rpc_call_reply(call, &resp.base);
	free(any.value.data);
}

static void on_wait(void *ctx, struct rpc_call *call)
{
	struct fixture *f = ctx;

	pthread_mutex_lock(&f->lock);
	assert_true(f->n_held < ARRAY_SIZE(f->held));
	f->held[f->n_held++] = call;
	pthread_mutex_unlock(&f->lock);
}

static void on_pids(void *ctx, struct rpc_call *call)
{
	rpc_call_reply(call, NULL);
}

/* Answers with the wrong type. */
static void on_pause(void *ctx, struct rpc_call *call)
{
	Containerd__Task__V2__StatsResponse resp = CONTAINERD__TASK__V2__STATS_RESPONSE__INIT;
	rpc_call_reply(call, &resp.base);
}

static void on_shutdown(void *ctx, struct rpc_call *call)
{
	struct fixture *f = ctx;
	struct rpc_server *s = TAKE_PTR(f->server);

	rpc_server_free(s);
	rpc_call_reply(call, NULL);
}

static const struct rpc_method methods[] = {
	{"State", on_state}, {"Kill", on_kill},	  {"Stats", on_stats},	     {"Wait", on_wait},
	{"Pids", on_pids},   {"Pause", on_pause}, {"Shutdown", on_shutdown}, {NULL, NULL},
};

static struct rpc_service services[2] = {
	{SERVICE, &containerd__task__v2__task__descriptor, methods, NULL},
	{"containerd.task.v3.Task", &containerd__task__v2__task__descriptor, methods, NULL},
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	int fds[2];

	assert_non_null(f);
	pthread_mutex_init(&f->lock, NULL);
	assert_int_equal(loop_new(&f->loop.loop), 0);
	assert_int_equal(rpc_server_new(f->loop.loop, &f->server), 0);
	for (size_t i = 0; i < ARRAY_SIZE(services); i++) {
		services[i].ctx = f;
		assert_int_equal(rpc_server_add(f->server, &services[i]), 0);
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(rpc_server_serve(f->server, fds[0]), 0);
	f->fd = fds[1];
	test_loop_start(&f->loop);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	test_loop_stop(&f->loop);
	rpc_server_free(f->server);
	for (size_t i = 0; i < f->n_held; i++) /* after the server: must still be safe */
		if (f->held[i])
			rpc_call_reply(f->held[i], NULL);
	loop_free(f->loop.loop);
	close(f->fd);
	pthread_mutex_destroy(&f->lock);
	free(f);
	return 0;
}

static void send_request_with(int fd, uint32_t stream, uint8_t flags, Ttrpc__Request *req)
{
	size_t len = ttrpc__request__get_packed_size(req);
	uint8_t *data = malloc(len + 1);

	assert_non_null(data);
	assert_int_equal(ttrpc__request__pack(req, data), len);
	peer_send(fd, stream, RPC_FRAME_REQUEST, flags, data, (uint32_t)len);
	free(data);
}

/* All of the methods used here take a message whose field 1 is `id`. */
static void send_call(int fd, uint32_t stream, const char *method, const char *id,
		      int64_t timeout_nano)
{
	Containerd__Task__V2__StateRequest m = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
	Ttrpc__Request req = TTRPC__REQUEST__INIT;
	uint8_t payload[256];

	m.id = (char *)id;
	req.service = SERVICE;
	req.method = (char *)method;
	req.payload = (ProtobufCBinaryData){containerd__task__v2__state_request__pack(&m, payload),
					    payload};
	req.timeout_nano = timeout_nano;
	send_request_with(fd, stream, 0, &req);
}

static void expect_success(int fd, uint32_t stream)
{
	uint32_t got;
	Ttrpc__Response *r = peer_response(fd, &got);

	assert_int_equal(got, stream);
	assert_true(!r->status || r->status->code == 0);
	ttrpc__response__free_unpacked(r, NULL);
}

/* The connection still serves. */
static void expect_alive(int fd, uint32_t stream)
{
	send_call(fd, stream, "State", "alive", 0);
	expect_success(fd, stream);
}

static struct rpc_call *wait_held(struct fixture *f, size_t i)
{
	for (int n = 0; n < PEER_TIMEOUT_MS; n++) {
		pthread_mutex_lock(&f->lock);
		struct rpc_call *call = i < f->n_held ? f->held[i] : NULL;
		pthread_mutex_unlock(&f->lock);
		if (call)
			return call;
		usleep(1000);
	}
	fail_msg("no call came");
	return NULL;
}

static struct rpc_call *take_held(struct fixture *f, size_t i)
{
	struct rpc_call *call = wait_held(f, i);
	pthread_mutex_lock(&f->lock);
	f->held[i] = NULL;
	pthread_mutex_unlock(&f->lock);
	return call;
}

/* ---- Ordinary calls ------------------------------------------------------------------------- */

static void a_call_is_answered(void **state)
{
	struct fixture *f = *state;
	Containerd__Task__V2__StateRequest m = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
	Ttrpc__Request req = TTRPC__REQUEST__INIT;
	Ttrpc__KeyValue kv[2] = {TTRPC__KEY_VALUE__INIT, TTRPC__KEY_VALUE__INIT};
	Ttrpc__KeyValue *metadata[] = {&kv[0], &kv[1]};
	uint8_t payload[64];
	uint32_t stream;

	kv[0].key = "traceparent";
	kv[1].key = "Containerd-Namespace-Ttrpc";
	kv[1].value = "k8s.io";
	m.id = "c1";
	req.service = "containerd.task.v3.Task";
	req.method = "State";
	req.metadata = metadata;
	req.n_metadata = 2;
	req.payload = (ProtobufCBinaryData){containerd__task__v2__state_request__pack(&m, payload),
					    payload};
	send_request_with(f->fd, 1, 0, &req);
	Ttrpc__Response *r = peer_response(f->fd, &stream);
	assert_int_equal(stream, 1);
	assert_null(r->status);
	Containerd__Task__V2__StateResponse *s =
		containerd__task__v2__state_response__unpack(NULL, r->payload.len, r->payload.data);
	assert_non_null(s);
	assert_string_equal(s->id, "c1");
	assert_string_equal(s->bundle, "k8s.io");
	assert_string_equal(s->stdin, "containerd.task.v3.Task");
	assert_string_equal(s->stdout, "State");
	containerd__task__v2__state_response__free_unpacked(s, NULL);
	ttrpc__response__free_unpacked(r, NULL);
}

static void a_failure_has_status_and_clean_text(void **state)
{
	struct fixture *f = *state;
	uint32_t stream;

	send_call(f->fd, 1, "Kill", "x", 0);
	Ttrpc__Response *r = peer_response(f->fd, &stream);
	assert_int_equal(r->status->code, STATUS_NOT_FOUND);
	assert_string_equal(r->status->message, "no process p?");
	assert_int_equal(r->payload.len, 0);
	ttrpc__response__free_unpacked(r, NULL);
}

static void a_null_reply_is_an_empty_message(void **state)
{
	struct fixture *f = *state;
	send_call(f->fd, 1, "Pids", "x", 0);
	expect_success(f->fd, 1);
}

static void a_reply_of_the_wrong_type_is_internal(void **state)
{
	struct fixture *f = *state;
	send_call(f->fd, 1, "Pause", "x", 0);
	peer_expect_status(f->fd, 1, STATUS_INTERNAL);
	expect_alive(f->fd, 3);
}

static void *pipeline_reader(void *arg)
{
	int fd = *(int *)arg;
	for (uint32_t i = 0; i < 1000; i++)
		expect_success(fd, 2 * i + 1);
	return NULL;
}

static void a_thousand_pipelined_calls(void **state)
{
	struct fixture *f = *state;
	pthread_t reader;

	assert_int_equal(pthread_create(&reader, NULL, pipeline_reader, &f->fd), 0);
	for (uint32_t i = 0; i < 1000; i++)
		send_call(f->fd, 2 * i + 1, "State", "a container's id, somewhat long", 0);
	pthread_join(reader, NULL);
	assert_int_equal(atomic_load(&f->handled), 1000);
}

static void a_frame_in_pieces(void **state)
{
	struct fixture *f = *state;
	Ttrpc__Request req = TTRPC__REQUEST__INIT;
	uint8_t wire[128];
	const struct rpc_header h = {(uint32_t)0, 1, RPC_FRAME_REQUEST, 0};
	struct rpc_header header = h;

	req.service = SERVICE;
	req.method = "State";
	header.length = (uint32_t)ttrpc__request__pack(&req, wire + RPC_HEADER_SIZE);
	rpc_header_write(wire, &header);
	for (size_t i = 0; i < RPC_HEADER_SIZE + header.length; i++) {
		peer_write(f->fd, wire + i, 1);
		if (i % 8 == 0)
			usleep(500);
	}
	expect_success(f->fd, 1);
}

/* ---- Refusals, row by row ------------------------------------------------------------------- */

static void a_frame_too_long_costs_only_its_stream(void **state)
{
	struct fixture *f = *state;
	const uint32_t len = RPC_DATA_MAX + 1;
	char *data = malloc(len);

	assert_non_null(data);
	memset(data, 0, len);
	peer_send(f->fd, 1, RPC_FRAME_REQUEST, 0, data, len);
	peer_expect_status(f->fd, 1, STATUS_RESOURCE_EXHAUSTED);
	expect_alive(f->fd, 3);
	free(data);
}

static void the_longest_frame_is_taken(void **state)
{
	struct fixture *f = *state;
	char *data = calloc(1, RPC_DATA_MAX);

	assert_non_null(data);
	data[0] = 0x7a; /* an unknown field of so many bytes that the frame is full */
	uint32_t len = RPC_DATA_MAX - 5;
	for (int i = 0; i < 4; i++)
		data[1 + i] = (char)((len >> (7 * i) & 0x7f) | (i < 3 ? 0x80 : 0));
	peer_send(f->fd, 1, RPC_FRAME_REQUEST, 0, data, RPC_DATA_MAX);
	peer_expect_status(f->fd, 1, STATUS_UNIMPLEMENTED); /* service "" */
	free(data);
}

static void an_even_stream_is_invalid(void **state)
{
	struct fixture *f = *state;

	send_call(f->fd, 2, "State", "x", 0);
	peer_expect_status(f->fd, 2, STATUS_INVALID_ARGUMENT);
	peer_send(f->fd, 0, 77, 0, NULL, 0); /* of whatever type */
	peer_expect_status(f->fd, 0, STATUS_INVALID_ARGUMENT);
	assert_int_equal(atomic_load(&f->handled), 0);
	expect_alive(f->fd, 1); /* and does not count as the last one */
}

static void stream_ids_must_increase(void **state)
{
	struct fixture *f = *state;

	expect_alive(f->fd, 5);
	send_call(f->fd, 5, "State", "x", 0);
	peer_expect_status(f->fd, 5, STATUS_INVALID_ARGUMENT);
	send_call(f->fd, 3, "State", "x", 0);
	peer_expect_status(f->fd, 3, STATUS_INVALID_ARGUMENT);
	assert_int_equal(atomic_load(&f->handled), 1);
	expect_alive(f->fd, UINT32_MAX);
	send_call(f->fd, 1, "State", "x", 0);
	peer_expect_status(f->fd, 1, STATUS_INVALID_ARGUMENT);
}

static void a_malformed_request_is_invalid(void **state)
{
	struct fixture *f = *state;

	peer_send(f->fd, 1, RPC_FRAME_REQUEST, 0, "\xff\xff\xff", 3);
	peer_expect_status(f->fd, 1, STATUS_INVALID_ARGUMENT);
	expect_alive(f->fd, 3);
}

static void a_malformed_payload_is_internal(void **state)
{
	struct fixture *f = *state;
	Ttrpc__Request req = TTRPC__REQUEST__INIT;

	req.service = SERVICE;
	req.method = "State";
	req.payload = (ProtobufCBinaryData){2, (uint8_t *)"\x0a\x09"};
	send_request_with(f->fd, 1, 0, &req);
	peer_expect_status(f->fd, 1, STATUS_INTERNAL);
	expect_alive(f->fd, 3);
}

static void unknown_names_are_unimplemented(void **state)
{
	static const char *const names[][2] = {
		{"containerd.task.v4.Task", "State"},
		{SERVICE, "Fly"},
		{SERVICE, "Update"},
		{"", ""},
		{SERVICE, ""},
	};
	struct fixture *f = *state;
	uint32_t stream = 1;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++, stream += 2) {
		Ttrpc__Request req = TTRPC__REQUEST__INIT;
		req.service = (char *)names[i][0];
		req.method = (char *)names[i][1];
		send_request_with(f->fd, stream, 0, &req);
		peer_expect_status(f->fd, stream, STATUS_UNIMPLEMENTED);
	}
	expect_alive(f->fd, stream);
}

static void a_stream_is_unimplemented(void **state)
{
	struct fixture *f = *state;
	Ttrpc__Request req = TTRPC__REQUEST__INIT;

	req.service = SERVICE;
	req.method = "State";
	send_request_with(f->fd, 1, RPC_FLAG_REMOTE_OPEN, &req);
	peer_expect_status(f->fd, 1, STATUS_UNIMPLEMENTED);
	peer_send(f->fd, 1, RPC_FRAME_DATA, 0, "abc", 3);
	peer_expect_status(f->fd, 1, STATUS_INVALID_ARGUMENT);
	expect_alive(f->fd, 3);
}

static void data_break_the_call_of_their_stream(void **state)
{
	struct fixture *f = *state;

	send_call(f->fd, 1, "Wait", "x", 0);
	struct rpc_call *call = take_held(f, 0);
	assert_true(rpc_call_wanted(call));
	peer_send(f->fd, 1, RPC_FRAME_DATA, RPC_FLAG_NO_DATA, NULL, 0);
	peer_expect_status(f->fd, 1, STATUS_INVALID_ARGUMENT);
	assert_false(rpc_call_wanted(call));
	rpc_call_reply(call, NULL); /* dropped: one response a stream */
	expect_alive(f->fd, 3);
}

static void other_frame_types_are_ignored(void **state)
{
	struct fixture *f = *state;

	peer_send(f->fd, 1, 0, 0, NULL, 0);
	peer_send(f->fd, 1, RPC_FRAME_RESPONSE, 0, "abc", 3);
	peer_send(f->fd, 1, 200, 255, "abc", 3);
	expect_alive(f->fd, 1);
}

static void a_reply_too_long_is_replaced(void **state)
{
	struct fixture *f = *state;

	send_call(f->fd, 1, "Stats", "4194304", 0);
	peer_expect_status(f->fd, 1, STATUS_RESOURCE_EXHAUSTED);
	send_call(f->fd, 3, "Stats", "4194000", 0);
	expect_success(f->fd, 3);
}

static void too_much_metadata_is_refused(void **state)
{
	struct fixture *f = *state;
	Ttrpc__Request req = TTRPC__REQUEST__INIT;
	Ttrpc__KeyValue kv = TTRPC__KEY_VALUE__INIT;
	Ttrpc__KeyValue *metadata[] = {&kv};
	char value[20000];

	memset(value, 'v', sizeof value - 1);
	value[sizeof value - 1] = '\0';
	kv.value = value;
	req.service = SERVICE;
	req.method = "State";
	req.metadata = metadata;
	req.n_metadata = 1;
	send_request_with(f->fd, 1, 0, &req);
	peer_expect_status(f->fd, 1, STATUS_RESOURCE_EXHAUSTED);
	expect_alive(f->fd, 3);
}

/* ---- Deferred replies, deadlines, ends ------------------------------------------------------ */

static void *reply_from_a_thread(void *arg)
{
	Containerd__Task__V2__WaitResponse resp = CONTAINERD__TASK__V2__WAIT_RESPONSE__INIT;
	resp.exit_status = 42;
	rpc_call_reply(arg, &resp.base);
	return NULL;
}

static void deferred_replies_from_other_threads(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[8];
	uint32_t seen = 0, stream;

	for (uint32_t i = 0; i < 8; i++)
		send_call(f->fd, 2 * i + 1, "Wait", "x", 0);
	wait_held(f, 7);
	expect_alive(f->fd, 17); /* a deferred call blocks nobody */
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, reply_from_a_thread, take_held(f, i)), 0);
	for (size_t i = 0; i < 8; i++) {
		Ttrpc__Response *r = peer_response(f->fd, &stream);
		assert_int_equal(r->payload.len, 2); /* exit_status 42 */
		ttrpc__response__free_unpacked(r, NULL);
		seen |= 1u << (stream / 2);
	}
	assert_int_equal(seen, 0xff);
	for (size_t i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
}

static void the_server_keeps_the_deadline(void **state)
{
	struct fixture *f = *state;

	send_call(f->fd, 1, "Wait", "x", INT64_MAX); /* 292 years */
	send_call(f->fd, 3, "Wait", "x", 300000000);
	send_call(f->fd, 5, "Wait", "x", 100000000);
	uint64_t start = time_now_ms();
	peer_expect_status(f->fd, 5, STATUS_DEADLINE_EXCEEDED);
	peer_expect_status(f->fd, 3, STATUS_DEADLINE_EXCEEDED);
	uint64_t took = time_now_ms() - start;
	assert_true(took >= 200 && took < 10000);

	struct rpc_call *late = take_held(f, 1), *patient = take_held(f, 0);
	assert_true(rpc_call_deadline(late) > 0);
	assert_false(rpc_call_wanted(late));
	assert_true(rpc_call_wanted(patient));
	rpc_call_reply(late, NULL); /* dropped */
	rpc_call_reply(patient, NULL);
	expect_success(f->fd, 1);
	assert_true(peer_silent(f->fd, 50));
}

static void a_deadline_in_the_past_starts_nothing(void **state)
{
	struct fixture *f = *state;

	send_call(f->fd, 1, "State", "x", -1);
	peer_expect_status(f->fd, 1, STATUS_DEADLINE_EXCEEDED);
	send_call(f->fd, 3, "State", "x", INT64_MIN);
	peer_expect_status(f->fd, 3, STATUS_DEADLINE_EXCEEDED);
	assert_int_equal(atomic_load(&f->handled), 0);
	send_call(f->fd, 5, "Wait", "x", 1);
	peer_expect_status(f->fd, 5, STATUS_DEADLINE_EXCEEDED);
}

static void a_disconnect_cuts_no_work_short(void **state)
{
	struct fixture *f = *state;

	send_call(f->fd, 1, "Wait", "x", 0);
	struct rpc_call *call = take_held(f, 0);
	close(f->fd);
	f->fd = -1;
	for (int i = 0; rpc_call_wanted(call) && i < PEER_TIMEOUT_MS; i++)
		usleep(1000);
	assert_false(rpc_call_wanted(call));
	const Containerd__Task__V2__WaitRequest *req = (const void *)rpc_call_request(call);
	assert_string_equal(req->id, "x"); /* still there */
	rpc_call_reply(call, NULL);
}

static void a_half_closed_peer_gets_its_replies(void **state)
{
	struct fixture *f = *state;

	send_call(f->fd, 1, "Wait", "x", 0);
	send_call(f->fd, 3, "State", "x", 0);
	shutdown(f->fd, SHUT_WR);
	expect_success(f->fd, 3);
	assert_true(peer_silent(f->fd, 50));
	rpc_call_reply(take_held(f, 0), NULL);
	expect_success(f->fd, 1);
	assert_true(peer_closed(f->fd)); /* after the last one */
}

static void requests_before_a_close_are_handled(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < 50; i++)
		send_call(f->fd, 2 * i + 1, "State", "x", 0);
	close(f->fd);
	f->fd = -1;
	for (int i = 0; atomic_load(&f->handled) < 50 && i < PEER_TIMEOUT_MS; i++)
		usleep(1000);
	assert_int_equal(atomic_load(&f->handled), 50);
}

static void an_end_inside_of_a_frame_closes(void **state)
{
	struct fixture *f = *state;

	peer_write(f->fd, "\0\0\0\x10\0\0\0\x01\x01\0abc", 13);
	shutdown(f->fd, SHUT_WR);
	assert_true(peer_closed(f->fd));
}

static void an_end_inside_of_a_skipped_frame_closes(void **state)
{
	struct fixture *f = *state;

	peer_write(f->fd, "\xff\xff\xff\xff\0\0\0\x01\x01\0abc", 13);
	shutdown(f->fd, SHUT_WR);
	assert_true(peer_closed(f->fd));
}

static void a_slow_reader_is_not_read_from(void **state)
{
	struct fixture *f = *state;
	const uint32_t calls = 40;

	/* 40 MiB of replies: more than the server would queue. */
	for (uint32_t i = 0; i < calls; i++)
		send_call(f->fd, 2 * i + 1, "Stats", "1048576", 0);
	for (int i = 0; atomic_load(&f->handled) < 8 && i < PEER_TIMEOUT_MS; i++)
		usleep(1000);
	usleep(300000); /* time in which all could be handled */
	unsigned now = atomic_load(&f->handled);
	assert_true(now >= 8 && now < calls);
	for (uint32_t i = 0; i < calls; i++)
		expect_success(f->fd, 2 * i + 1);
	assert_int_equal(atomic_load(&f->handled), calls);
	expect_alive(f->fd, 2 * calls + 1);
}

static void a_peer_that_leaves_while_paused_is_noticed(void **state)
{
	struct fixture *f = *state;

	send_call(f->fd, 1, "Wait", "x", 0);
	struct rpc_call *call = take_held(f, 0);
	for (uint32_t i = 1; i < 40; i++)
		send_call(f->fd, 2 * i + 1, "Stats", "1048576", 0);
	usleep(100000);
	close(f->fd);
	f->fd = -1;
	for (int i = 0; rpc_call_wanted(call) && i < PEER_TIMEOUT_MS; i++)
		usleep(1000);
	assert_false(rpc_call_wanted(call));
	rpc_call_reply(call, NULL);
}

static void a_peer_that_never_reads_is_closed(void **state)
{
	struct fixture *f = *state;
	Containerd__Task__V2__WaitResponse resp = CONTAINERD__TASK__V2__WAIT_RESPONSE__INIT;
	Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	ProtobufCMessageUnknownField fat = {.tag = 100,
					    .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED};

	/* Deferred replies are not held back by pausing: twelve of nearly 4 MiB, and one that
	 * tells whether the connection stands. */
	fat.len = RPC_DATA_MAX - 100;
	fat.data = calloc(1, fat.len);
	assert_non_null(fat.data);
	size_t len = fat.len - 4; /* its length prefix is part of its data */
	for (int i = 0; i < 4; i++)
		fat.data[i] = (uint8_t)((len >> (7 * i) & 0x7f) | (i < 3 ? 0x80 : 0));
	at.base.n_unknown_fields = 1;
	at.base.unknown_fields = &fat;
	resp.exited_at = &at;
	for (uint32_t i = 0; i < 13; i++)
		send_call(f->fd, 2 * i + 1, "Wait", "x", 0);
	struct rpc_call *witness = wait_held(f, 12);
	for (size_t i = 0; i < 12; i++)
		rpc_call_reply(take_held(f, i), &resp.base);
	free(fat.data);
	for (int i = 0; rpc_call_wanted(witness) && i < PEER_TIMEOUT_MS; i++)
		usleep(1000);
	assert_false(rpc_call_wanted(witness));
	/* The peer now reads what was in the socket, and then the end. */
	char drop[65536];
	uint64_t deadline = time_deadline(PEER_TIMEOUT_MS);
	size_t got = 0;
	for (;;) {
		ssize_t n = recv(f->fd, drop, sizeof drop, 0);
		if (n <= 0)
			break;
		got += (size_t)n;
		assert_true(time_now_ms() < deadline);
	}
	assert_true(got < 32u << 20);
}

static void calls_at_hand_have_a_limit(void **state)
{
	struct fixture *f = *state;
	const uint32_t limit = 8192;

	for (uint32_t i = 0; i < limit; i++)
		send_call(f->fd, 2 * i + 1, "Wait", "x", 0);
	wait_held(f, limit - 1);
	send_call(f->fd, 2 * limit + 1, "State", "x", 0);
	peer_expect_status(f->fd, 2 * limit + 1, STATUS_RESOURCE_EXHAUSTED);
	rpc_call_reply(take_held(f, 0), NULL);
	expect_success(f->fd, 1);
	expect_alive(f->fd, 2 * limit + 3);
}

static void requests_at_hand_have_a_limit(void **state)
{
	struct fixture *f = *state;
	Ttrpc__Request req = TTRPC__REQUEST__INIT;
	const size_t len = 4000000;
	uint8_t *payload = malloc(len);

	assert_non_null(payload);
	memset(payload, 'x', len);
	memcpy(payload, "\x0a\xfb\x91\xf4\x01", 5); /* an id of 3999995 bytes */
	req.service = SERVICE;
	req.method = "Wait";
	req.payload = (ProtobufCBinaryData){len, payload};
	for (uint32_t i = 0; i < 17; i++)
		send_request_with(f->fd, 2 * i + 1, 0, &req);
	peer_expect_status(f->fd, 33, STATUS_RESOURCE_EXHAUSTED); /* beyond 64 MiB */
	rpc_call_reply(take_held(f, 3), NULL);
	expect_success(f->fd, 7);
	send_request_with(f->fd, 35, 0, &req);
	rpc_call_reply(take_held(f, 16), NULL);
	expect_success(f->fd, 35);
	free(payload);
}

static void free_the_server(void *arg)
{
	struct fixture *f = arg;
	struct rpc_server *s = TAKE_PTR(f->server);
	rpc_server_free(s);
}

static void the_server_may_go_before_its_calls(void **state)
{
	struct fixture *f = *state;

	send_call(f->fd, 1, "Wait", "x", 0);
	send_call(f->fd, 3, "Wait", "x", 5000000000);
	wait_held(f, 1);
	test_on_loop(&f->loop, free_the_server, f);
	assert_true(peer_closed(f->fd));
	struct rpc_call *call = take_held(f, 0);
	assert_false(rpc_call_wanted(call));
	rpc_call_failf(call, STATUS_UNKNOWN, "x"); /* the other one: in teardown */
}

static void a_handler_may_free_the_server(void **state)
{
	struct fixture *f = *state;

	send_call(f->fd, 1, "Wait", "x", 0);
	wait_held(f, 0);
	send_call(f->fd, 3, "Shutdown", "x", 0);
	assert_true(peer_closed(f->fd));
}

static void flush(void *arg)
{
	struct fixture *f = arg;
	rpc_server_flush(f->server, 2000);
	rpc_server_free(TAKE_PTR(f->server));
}

static void *reader_of_three(void *arg)
{
	struct fixture *f = arg;
	usleep(100000);
	for (uint32_t i = 0; i < 3; i++)
		expect_success(f->fd, 2 * i + 1);
	return NULL;
}

static void flush_waits_for_the_replies(void **state)
{
	struct fixture *f = *state;
	pthread_t reader;

	for (uint32_t i = 0; i < 3; i++)
		send_call(f->fd, 2 * i + 1, "Stats", "2000000", 0);
	while (atomic_load(&f->handled) < 3)
		usleep(1000);
	assert_int_equal(pthread_create(&reader, NULL, reader_of_three, f), 0);
	test_on_loop(&f->loop, flush, f);
	pthread_join(reader, NULL);
	assert_true(peer_closed(f->fd));
}

static void flush_gives_up(void **state)
{
	struct fixture *f = *state;

	send_call(f->fd, 1, "Stats", "4000000", 0);
	while (atomic_load(&f->handled) < 1)
		usleep(1000);
	uint64_t start = time_now_ms();
	test_on_loop(&f->loop, flush, f);
	uint64_t took = time_now_ms() - start;
	assert_true(took >= 1900 && took < 10000);
}

/* ---- Listening ------------------------------------------------------------------------------ */

static void listen_on(struct fixture *f, char *address, size_t size)
{
	(void)snprintf(address, size, "@runtime-c-test-server-%d-%p", (int)getpid(), (void *)f);
	struct err e = ERR_INIT;
	int fd = rpc_listen_unix(address, 0, &e);
	assert_true(fd >= 0);
	test_loop_stop(&f->loop);
	assert_int_equal(rpc_server_listen(f->server, fd), 0);
	test_loop_start(&f->loop);
}

static void stop_listening(void *arg)
{
	struct fixture *f = arg;
	rpc_server_stop_listening(f->server);
}

static void it_accepts_until_told_to_stop(void **state)
{
	struct fixture *f = *state;
	char address[96];
	struct err e = ERR_INIT;

	listen_on(f, address, sizeof address);
	int a = rpc_connect_unix(address, 0, &e), b = rpc_connect_unix(address, 0, &e);
	assert_true(a >= 0 && b >= 0);
	expect_alive(a, 1);
	expect_alive(b, 1);
	test_on_loop(&f->loop, stop_listening, f);
	assert_int_equal(rpc_connect_unix(address, 0, &e), -ECONNREFUSED);
	expect_alive(a, 3); /* open connections go on */
	close(a);
	close(b);
}

static void connections_have_a_limit(void **state)
{
	struct fixture *f = *state;
	char address[96];
	struct err e = ERR_INIT;
	int fds[255];

	listen_on(f, address, sizeof address);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) { /* and the fixture's: 256 */
		fds[i] = rpc_connect_unix(address, 0, &e);
		assert_true(fds[i] >= 0);
		expect_alive(fds[i], 1);
	}
	int more = rpc_connect_unix(address, 0, &e);
	assert_true(more >= 0);
	assert_true(peer_closed(more));
	close(more);
	close(fds[0]);
	/* A place becomes free as soon as the loop has seen the end. */
	for (int i = 0;; i++) {
		assert_true(i < 1000);
		more = rpc_connect_unix(address, 0, &e);
		assert_true(more >= 0);
		send_call(more, 1, "State", "x", 0);
		char c;
		bool served = peer_read(more, &c, 1);
		close(more);
		if (served)
			break;
		usleep(1000);
	}
	for (size_t i = 1; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}

static void running_out_of_descriptors_passes(void **state)
{
	struct fixture *f = *state;
	char address[96];
	struct err e = ERR_INIT;
	struct rlimit old, low;
	struct rusage before, after;

	listen_on(f, address, sizeof address);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	close(fd);
	fd = rpc_connect_unix(address, 0, &e);
	expect_alive(fd, 1);

	int probe = dup(0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)probe + 1; /* `probe` becomes the client's socket; then it is full */
	close(probe);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	int late = rpc_connect_unix(address, 0, &e);
	assert_true(late >= 0);
	assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
	usleep(300000);
	assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
	assert_true(peer_silent(late, 0));
	expect_alive(fd, 3); /* others are served meanwhile */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	expect_alive(late, 1); /* accepted after a rest */
	/* and the wait did not spin: less than a third of it on a processor */
	long spent = (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000 +
		     after.ru_utime.tv_usec - before.ru_utime.tv_usec +
		     (after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000000 +
		     after.ru_stime.tv_usec - before.ru_stime.tv_usec;
	assert_true(spent < 100000);
	close(fd);
	close(late);
}

static void services_are_checked_when_added(void **state)
{
	struct fixture *f = *state;
	static const struct rpc_method wrong[] = {{"Fly", on_state}, {NULL, NULL}};
	const struct rpc_service bad = {"x", &containerd__task__v2__task__descriptor, wrong, NULL};

	test_loop_stop(&f->loop);
	assert_int_equal(rpc_server_add(f->server, &services[0]), -EEXIST);
	assert_int_equal(rpc_server_add(f->server, &bad), -EINVAL);
}

#define SERVER_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVER_TEST(a_call_is_answered),
		SERVER_TEST(a_failure_has_status_and_clean_text),
		SERVER_TEST(a_null_reply_is_an_empty_message),
		SERVER_TEST(a_reply_of_the_wrong_type_is_internal),
		SERVER_TEST(a_thousand_pipelined_calls),
		SERVER_TEST(a_frame_in_pieces),
		SERVER_TEST(a_frame_too_long_costs_only_its_stream),
		SERVER_TEST(the_longest_frame_is_taken),
		SERVER_TEST(an_even_stream_is_invalid),
		SERVER_TEST(stream_ids_must_increase),
		SERVER_TEST(a_malformed_request_is_invalid),
		SERVER_TEST(a_malformed_payload_is_internal),
		SERVER_TEST(unknown_names_are_unimplemented),
		SERVER_TEST(a_stream_is_unimplemented),
		SERVER_TEST(data_break_the_call_of_their_stream),
		SERVER_TEST(other_frame_types_are_ignored),
		SERVER_TEST(a_reply_too_long_is_replaced),
		SERVER_TEST(too_much_metadata_is_refused),
		SERVER_TEST(deferred_replies_from_other_threads),
		SERVER_TEST(the_server_keeps_the_deadline),
		SERVER_TEST(a_deadline_in_the_past_starts_nothing),
		SERVER_TEST(a_disconnect_cuts_no_work_short),
		SERVER_TEST(a_half_closed_peer_gets_its_replies),
		SERVER_TEST(requests_before_a_close_are_handled),
		SERVER_TEST(an_end_inside_of_a_frame_closes),
		SERVER_TEST(an_end_inside_of_a_skipped_frame_closes),
		SERVER_TEST(a_slow_reader_is_not_read_from),
		SERVER_TEST(a_peer_that_leaves_while_paused_is_noticed),
		SERVER_TEST(a_peer_that_never_reads_is_closed),
		SERVER_TEST(calls_at_hand_have_a_limit),
		SERVER_TEST(requests_at_hand_have_a_limit),
		SERVER_TEST(the_server_may_go_before_its_calls),
		SERVER_TEST(a_handler_may_free_the_server),
		SERVER_TEST(flush_waits_for_the_replies),
		SERVER_TEST(flush_gives_up),
		SERVER_TEST(it_accepts_until_told_to_stop),
		SERVER_TEST(connections_have_a_limit),
		SERVER_TEST(running_out_of_descriptors_passes),
		SERVER_TEST(services_are_checked_when_added),
	};
	return RUN_TESTS();
}
