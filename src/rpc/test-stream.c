/* SPDX-License-Identifier: Apache-2.0 */
/* Streams: our client against our server, and each against raw frames. */
#include "proto/streaming.pb-c.h"
#include "rpc/any.h"
#include "rpc/listen.h"
#include "rpc/message.h"
#include "rpc/test-peer.h"

#include <semaphore.h>
#include <time.h>

#define SERVICE "containerd.services.streaming.v1.Streaming"

/* What one side of a stream has heard. */
struct side {
	struct rpc_stream *s;
	unsigned messages, ends, rooms;
	size_t bytes;
	int r;
	struct err e;
	sem_t heard;
	bool echo;
};

struct fixture {
	struct test_loop loop;
	struct rpc_server *server;
	struct rpc_client *client;
	struct side here, there;
	int fd;
};

static void on_message(void *arg, const ProtobufCMessage *m)
{
	struct side *d = arg;
	const Google__Protobuf__Any *any = (const void *)m;

	d->messages++;
	d->bytes += any->value.len;
	if (d->echo)
		assert_int_equal(rpc_stream_send(d->s, m), 0);
	sem_post(&d->heard);
}

static void on_end(void *arg, int r, const struct err *e)
{
	struct side *d = arg;
	d->ends++;
	d->r = r;
	if (r < 0)
		d->e = *e;
	sem_post(&d->heard);
}

static void on_room(void *arg)
{
	struct side *d = arg;
	d->rooms++;
	sem_post(&d->heard);
}

static const struct rpc_stream_ops ops = {on_message, on_end, on_room};

static void on_stream(void *ctx, struct rpc_stream *s)
{
	struct fixture *f = ctx;
	assert_null(f->there.s);
	f->there.s = s;
	rpc_stream_accept(s, &ops, &f->there);
	sem_post(&f->there.heard);
}

static const struct rpc_method methods[] = {{"Stream", NULL, on_stream}, {NULL}};
static struct rpc_service service = {
	SERVICE, &containerd__services__streaming__v1__streaming__descriptor, methods, NULL};

static void hear(struct side *d)
{
	struct timespec until;
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PEER_TIMEOUT_MS / 1000;
	assert_int_equal(sem_timedwait(&d->heard, &until), 0);
}

static struct fixture *fixture_new(bool server, bool client)
{
	struct fixture *f = calloc(1, sizeof *f);
	int fds[2];

	assert_non_null(f);
	service.ctx = f;
	(void)sem_init(&f->here.heard, 0, 0);
	(void)sem_init(&f->there.heard, 0, 0);
	assert_int_equal(loop_new(&f->loop.loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	if (server) {
		assert_int_equal(rpc_server_new(f->loop.loop, &f->server), 0);
		assert_int_equal(rpc_server_add(f->server, &service), 0);
		assert_int_equal(rpc_server_serve(f->server, fds[1]), 0);
		f->fd = fds[0];
	}
	if (client) {
		assert_int_equal(rpc_client_new(f->loop.loop, fds[0], NULL, NULL, &f->client), 0);
		f->fd = server ? -1 : fds[1];
	}
	test_loop_start(&f->loop);
	return f;
}

static void free_streams(void *arg)
{
	struct fixture *f = arg;
	rpc_stream_free(f->here.s);
	rpc_stream_free(f->there.s);
}

static void fixture_free(struct fixture *f)
{
	test_on_loop(&f->loop, free_streams, f);
	test_loop_stop(&f->loop);
	rpc_client_free(f->client);
	rpc_server_free(f->server);
	loop_free(f->loop.loop);
	if (f->fd >= 0)
		close(f->fd);
	free(f);
}

static void do_open(void *arg)
{
	struct fixture *f = arg;
	const struct rpc_request req = {
		.service = &containerd__services__streaming__v1__streaming__descriptor,
		.method = "Stream"};
	struct err e = ERR_INIT;
	assert_int_equal(rpc_client_open(f->client, &req, &ops, &f->here, &f->here.s, &e), 0);
}

struct sending {
	struct rpc_stream *s;
	size_t len;
	int r;
};

static void do_send(void *arg)
{
	struct sending *q = arg;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	any.type_url = "t";
	any.value.len = q->len;
	any.value.data = calloc(1, q->len + 1);
	q->r = rpc_stream_send(q->s, &any.base);
	free(any.value.data);
}

static int send_to(struct fixture *f, struct side *d, size_t len)
{
	struct sending q = {.s = d->s, .len = len};
	test_on_loop(&f->loop, do_send, &q);
	return q.r;
}

static void do_close(void *arg)
{
	rpc_stream_close(((struct side *)arg)->s);
}

static void do_fail(void *arg)
{
	rpc_stream_fail(((struct side *)arg)->s, STATUS_ABORTED, "no more");
}

static void do_free(void *arg)
{
	struct side *d = arg;
	rpc_stream_free(TAKE_PTR(d->s));
}

/* ---- Client and server ------------------------------------------------------------------------
 */

static void messages_go_both_ways_until_each_side_closes(void **state)
{
	struct fixture *f = fixture_new(true, true);

	f->there.echo = true;
	test_on_loop(&f->loop, do_open, f);
	hear(&f->there);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(send_to(f, &f->here, i * 1000), 0);
		hear(&f->there);
		hear(&f->here);
	}
	assert_int_equal(f->here.bytes, 45000);
	test_on_loop(&f->loop, do_close, &f->here);
	hear(&f->there);
	assert_int_equal(f->there.ends, 1);
	assert_int_equal(f->there.r, 0);
	assert_int_equal(send_to(f, &f->here, 1), -EPIPE);
	assert_int_equal(send_to(f, &f->there, 5), 0); /* the other way is open */
	hear(&f->here);
	test_on_loop(&f->loop, do_close, &f->there);
	hear(&f->here);
	assert_int_equal(f->here.r, 0);
	assert_int_equal(f->here.messages, 11);
	assert_int_equal(f->here.ends, 1);
	fixture_free(f);
}

static void a_failure_carries_its_status(void **state)
{
	struct fixture *f = fixture_new(true, true);

	test_on_loop(&f->loop, do_open, f);
	hear(&f->there);
	test_on_loop(&f->loop, do_fail, &f->there);
	hear(&f->here);
	assert_true(f->here.r < 0);
	assert_int_equal(f->here.e.status, STATUS_ABORTED);
	assert_string_equal(f->here.e.text, "no more");
	assert_int_equal(send_to(f, &f->here, 1), -EPIPE);
	fixture_free(f);
}

static void one_that_is_freed_ends_the_other(void **state)
{
	struct fixture *f = fixture_new(true, true);

	test_on_loop(&f->loop, do_open, f);
	hear(&f->there);
	test_on_loop(&f->loop, do_free, &f->there);
	hear(&f->here);
	assert_int_equal(f->here.e.status, STATUS_CANCELLED);
	test_on_loop(&f->loop, do_free, &f->here);
	test_on_loop(&f->loop, do_open, f);
	hear(&f->there);
	test_on_loop(&f->loop, do_free, &f->here);
	hear(&f->there);
	assert_int_equal(f->there.r, 0);
	assert_int_equal(f->there.ends, 1);
	fixture_free(f);
}

static void do_drop_client(void *arg)
{
	struct fixture *f = arg;
	rpc_client_free(TAKE_PTR(f->client));
}

static void a_lost_connection_ends_both(void **state)
{
	struct fixture *f = fixture_new(true, true);

	test_on_loop(&f->loop, do_open, f);
	hear(&f->there);
	test_on_loop(&f->loop, do_drop_client, f);
	hear(&f->here);
	assert_int_equal(f->here.e.status, STATUS_CANCELLED);
	hear(&f->there);
	assert_int_equal(f->there.e.status, STATUS_UNAVAILABLE);
	assert_int_equal(send_to(f, &f->here, 1), -EPIPE);
	assert_int_equal(send_to(f, &f->there, 1), -EPIPE);
	fixture_free(f);
}

/* ---- The server against frames: what the Go server answers -------------------------------------
 */

static void open_raw(int fd, uint32_t id, uint8_t flags, const char *method)
{
	Ttrpc__Request req = TTRPC__REQUEST__INIT;
	uint8_t buf[256];

	req.service = SERVICE;
	req.method = (char *)method;
	size_t n = ttrpc__request__pack(&req, buf);
	peer_send(fd, id, RPC_FRAME_REQUEST, flags, buf, (uint32_t)n);
}

static void the_server_keeps_to_the_rules(void **state)
{
	struct fixture *f = fixture_new(true, false);
	static uint8_t big[(4u << 20) + 1];

	open_raw(f->fd, 1, 0, "Stream"); /* not as a stream */
	peer_expect_status(f->fd, 1, STATUS_INVALID_ARGUMENT);
	peer_send(f->fd, 3, RPC_FRAME_DATA, 0, "x", 1); /* on none */
	peer_expect_status(f->fd, 3, STATUS_INVALID_ARGUMENT);
	open_raw(f->fd, 5, RPC_FLAG_REMOTE_OPEN, "Nope");
	peer_expect_status(f->fd, 5, STATUS_UNIMPLEMENTED);
	open_raw(f->fd, 6, RPC_FLAG_REMOTE_OPEN, "Stream");
	peer_expect_status(f->fd, 6, STATUS_INVALID_ARGUMENT);
	open_raw(f->fd, 5, RPC_FLAG_REMOTE_OPEN, "Stream"); /* an id again */
	peer_expect_status(f->fd, 5, STATUS_INVALID_ARGUMENT);

	open_raw(f->fd, 7, RPC_FLAG_REMOTE_OPEN, "Stream");
	hear(&f->there);
	peer_send(f->fd, 7, 77, 0, "ignored", 7);
	peer_send(f->fd, 7, RPC_FRAME_DATA, 0, NULL, 0); /* an empty message is one */
	hear(&f->there);
	peer_send(f->fd, 7, RPC_FRAME_DATA, RPC_FLAG_NO_DATA, NULL, 0);
	peer_send(f->fd, 7, RPC_FRAME_DATA, RPC_FLAG_REMOTE_CLOSED, "\x0a\x01t", 3);
	hear(&f->there); /* delivered, and refused */
	hear(&f->there);
	assert_int_equal(f->there.messages, 2);
	assert_int_equal(f->there.ends, 1);
	assert_true(f->there.r < 0);
	peer_expect_status(f->fd, 7, STATUS_INVALID_ARGUMENT);
	peer_send(f->fd, 7, RPC_FRAME_DATA, 0, "\x0a\x01t", 3); /* it is no more */
	peer_expect_status(f->fd, 7, STATUS_INVALID_ARGUMENT);
	test_on_loop(&f->loop, do_free, &f->there);

	open_raw(f->fd, 9, RPC_FLAG_REMOTE_OPEN, "Stream");
	hear(&f->there);
	peer_send(f->fd, 9, RPC_FRAME_DATA, 0, "\xff\xff", 2); /* malformed */
	hear(&f->there);
	peer_expect_status(f->fd, 9, STATUS_INVALID_ARGUMENT);
	test_on_loop(&f->loop, do_free, &f->there);

	open_raw(f->fd, 11, RPC_FLAG_REMOTE_OPEN, "Stream");
	hear(&f->there);
	peer_send(f->fd, 11, RPC_FRAME_DATA, 0, big, sizeof big);
	hear(&f->there);
	peer_expect_status(f->fd, 11, STATUS_RESOURCE_EXHAUSTED);
	test_on_loop(&f->loop, do_free, &f->there);

	/* closed by us: the whole of it, with no data */
	open_raw(f->fd, 13, RPC_FLAG_REMOTE_OPEN, "Stream");
	hear(&f->there);
	peer_send(f->fd, 13, RPC_FRAME_DATA, RPC_FLAG_REMOTE_CLOSED | RPC_FLAG_NO_DATA, NULL, 0);
	hear(&f->there);
	test_on_loop(&f->loop, do_close, &f->there);
	struct rpc_header h;
	free(peer_receive(f->fd, &h));
	assert_int_equal(h.stream, 13);
	assert_int_equal(h.type, RPC_FRAME_DATA);
	assert_int_equal(h.flags, RPC_FLAG_REMOTE_CLOSED | RPC_FLAG_NO_DATA);
	assert_int_equal(h.length, 0);
	fixture_free(f);
}

static void data_after_their_end_are_refused(void **state)
{
	struct fixture *f = fixture_new(true, false);

	open_raw(f->fd, 1, RPC_FLAG_REMOTE_OPEN, "Stream");
	hear(&f->there);
	peer_send(f->fd, 1, RPC_FRAME_DATA, RPC_FLAG_REMOTE_CLOSED | RPC_FLAG_NO_DATA, NULL, 0);
	hear(&f->there);
	peer_send(f->fd, 1, RPC_FRAME_DATA, 0, "\x0a\x01t", 3);
	peer_expect_status(f->fd, 1, STATUS_INVALID_ARGUMENT);
	assert_int_equal(f->there.ends, 1);
	assert_int_equal(f->there.messages, 0);
	fixture_free(f);
}

static void a_peer_that_reads_nothing_makes_sends_wait(void **state)
{
	struct fixture *f = fixture_new(true, false);
	unsigned sent = 0;
	int r;

	open_raw(f->fd, 1, RPC_FLAG_REMOTE_OPEN, "Stream");
	hear(&f->there);
	while ((r = send_to(f, &f->there, 100000)) == 0)
		assert_true(++sent < 100);
	assert_int_equal(r, -EAGAIN);
	for (unsigned i = 0; i < sent; i++) {
		struct rpc_header h;
		free(peer_receive(f->fd, &h));
	}
	hear(&f->there);
	assert_int_equal(f->there.rooms, 1);
	assert_int_equal(send_to(f, &f->there, 1), 0);
	fixture_free(f);
}

/* ---- The client against frames ------------------------------------------------------------------
 */

static void the_client_opens_with_a_request(void **state)
{
	struct fixture *f = fixture_new(false, true);
	struct rpc_header h;

	test_on_loop(&f->loop, do_open, f);
	assert_int_equal(send_to(f, &f->here, 3), 0);
	test_on_loop(&f->loop, do_close, &f->here);
	uint8_t *data = peer_receive(f->fd, &h);
	assert_int_equal(h.type, RPC_FRAME_REQUEST);
	assert_int_equal(h.flags, RPC_FLAG_REMOTE_OPEN);
	assert_int_equal(h.stream, 1);
	Ttrpc__Request *req = ttrpc__request__unpack(NULL, h.length, data);
	assert_string_equal(req->service, SERVICE);
	assert_string_equal(req->method, "Stream");
	ttrpc__request__free_unpacked(req, NULL);
	free(data);
	free(peer_receive(f->fd, &h));
	assert_int_equal(h.type, RPC_FRAME_DATA);
	assert_int_equal(h.flags, 0);
	free(peer_receive(f->fd, &h));
	assert_int_equal(h.type, RPC_FRAME_DATA);
	assert_int_equal(h.flags, RPC_FLAG_REMOTE_CLOSED | RPC_FLAG_NO_DATA);

	/* a message in the last frame counts, and then it is over */
	peer_send(f->fd, 1, RPC_FRAME_DATA, RPC_FLAG_REMOTE_CLOSED, "\x0a\x01t", 3);
	hear(&f->here);
	hear(&f->here);
	assert_int_equal(f->here.messages, 1);
	assert_int_equal(f->here.ends, 1);
	assert_int_equal(f->here.r, 0);
	peer_send(f->fd, 1, RPC_FRAME_DATA, 0, "\x0a\x01t", 3); /* nobody's any more */
	test_on_loop(&f->loop, do_free, &f->here);
	assert_int_equal(f->here.messages, 1);
	assert_true(rpc_client_alive(f->client));
	fixture_free(f);
}

static void what_a_server_does_wrong_ends_the_stream_only(void **state)
{
	static uint8_t big[(4u << 20) + 1];
	static const struct {
		uint8_t type;
		const void *data;
		uint32_t len;
		int status;
	} cases[] = {
		{RPC_FRAME_DATA, "\xff\xff", 2, STATUS_INTERNAL},
		{RPC_FRAME_RESPONSE, "\xff\xff", 2, STATUS_INTERNAL},
		{RPC_FRAME_DATA, big, sizeof big, STATUS_RESOURCE_EXHAUSTED},
		{RPC_FRAME_RESPONSE, "\x0a\x02\x08\x05", 4, STATUS_NOT_FOUND},
	};
	struct fixture *f = fixture_new(false, true);
	struct rpc_header h;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t id;
		test_on_loop(&f->loop, do_open, f);
		do {
			free(peer_receive(f->fd, &h));
		} while (h.type != RPC_FRAME_REQUEST);
		id = h.stream;
		peer_send(f->fd, id, 9, 0, "x", 1); /* ignored */
		peer_send(f->fd, id, cases[i].type, 0, cases[i].data, cases[i].len);
		hear(&f->here);
		assert_true(f->here.r < 0);
		assert_int_equal(f->here.e.status, cases[i].status);
		test_on_loop(&f->loop, do_free, &f->here);
	}
	assert_true(rpc_client_alive(f->client));
	fixture_free(f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_go_both_ways_until_each_side_closes),
		cmocka_unit_test(a_failure_carries_its_status),
		cmocka_unit_test(one_that_is_freed_ends_the_other),
		cmocka_unit_test(a_lost_connection_ends_both),
		cmocka_unit_test(the_server_keeps_to_the_rules),
		cmocka_unit_test(data_after_their_end_are_refused),
		cmocka_unit_test(a_peer_that_reads_nothing_makes_sends_wait),
		cmocka_unit_test(the_client_opens_with_a_request),
		cmocka_unit_test(what_a_server_does_wrong_ends_the_stream_only),
	};
	return RUN_TESTS();
}
