/* SPDX-License-Identifier: Apache-2.0 */
/* The publisher against a containerd that takes events, goes away, and comes back. */
#include "service/events.h"

#include "base/log.h"
#include "rpc/listen.h"
#include "rpc/rpc.h"

#include "proto/events.pb-c.h"
#include "proto/events_service.pb-c.h"

#include "base/testing.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FORWARD Containerd__Services__Events__Ttrpc__V1__ForwardRequest

static char dir[] = "/tmp/test-events.XXXXXX", path[64];
static char seen[1 << 17];
static unsigned taken, wanted;
static int refuse_with;
static char told[256]; /* what the log says to everybody */

struct fixture {
	struct loop *loop;
	struct rpc_server *server;
	struct rpc_service service;
	struct events *events;
};

static void on_forward(void *ctx, struct rpc_call *call)
{
	struct fixture *f = ctx;
	const Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	const FORWARD *req = (const FORWARD *)rpc_call_request(call);

	assert_string_equal(rpc_call_metadata(call, "containerd-namespace-ttrpc"), "ns1");
	assert_string_equal(req->envelope->namespace_, "ns1");
	assert_true(req->envelope->timestamp->seconds > 1600000000);
	if (refuse_with) {
		int status = refuse_with;
		refuse_with = 0;
		rpc_call_failf(call, status, "not now");
		return;
	}
	strncat(seen, req->envelope->topic, sizeof seen - strlen(seen) - 1);
	strncat(seen, "=", 2);
	strncat(seen, req->envelope->event->type_url, sizeof seen - strlen(seen) - 1);
	strncat(seen, " ", 2);
	rpc_call_reply(call, &empty.base);
	if (++taken == wanted)
		loop_stop(f->loop);
}

static const struct rpc_method methods[] = {{"Forward", on_forward}, {NULL, NULL}};

static void listen_again(struct fixture *f)
{
	struct err e = ERR_INIT;
	f->service = (struct rpc_service){
		.name = "containerd.services.events.ttrpc.v1.Events",
		.desc = &containerd__services__events__ttrpc__v1__events__descriptor,
		.methods = methods,
		.ctx = f};
	assert_int_equal(rpc_server_new(f->loop, &f->server), 0);
	assert_int_equal(rpc_server_add(f->server, &f->service), 0);
	int fd = rpc_listen_unix(path, RPC_LISTEN_REPLACE_STALE, &e);
	assert_true(fd >= 0);
	assert_int_equal(rpc_server_listen(f->server, fd), 0);
}

static void on_log(void *ctx, enum log_level level, const char *msg)
{
	size_t n = strlen(told);
	(void)snprintf(told + n, sizeof told - n, "%s;", msg);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	told[0] = '\0';
	log_reset();
	log_set_level(LOG_INFO);
	log_add_sink(on_log, NULL);
	seen[0] = '\0';
	taken = wanted = 0;
	refuse_with = 0;
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(events_new(f->loop, path, "ns1", &f->events), 0);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	events_free(f->events);
	rpc_server_free(f->server);
	loop_free(f->loop);
	free(f);
	return 0;
}

static void publish(struct fixture *f, const char *topic)
{
	Containerd__Events__TaskPaused m = CONTAINERD__EVENTS__TASK_PAUSED__INIT;
	m.container_id = "c1";
	events_publish(f->events, topic, &m.base);
}

#define SEEN(topic) topic "=containerd.events.TaskPaused "

static void order_is_kept(void **state)
{
	struct fixture *f = *state;
	listen_again(f);
	publish(f, "/a");
	publish(f, "/b");
	publish(f, "/c");
	wanted = 3;
	loop_run(f->loop);
	assert_string_equal(seen, SEEN("/a") SEEN("/b") SEEN("/c"));
	assert_string_equal(told, "");
}

static void what_nobody_took_is_sent_when_containerd_is_back(void **state)
{
	struct fixture *f = *state;
	publish(f, "/a"); /* nobody listens yet */
	publish(f, "/b");
	listen_again(f);
	wanted = 2;
	loop_run(f->loop);
	assert_string_equal(told, "containerd takes events again: /a is told;");
	rpc_server_free(f->server);
	publish(f, "/c"); /* the connection is broken, or about to be */
	listen_again(f);
	wanted = 3;
	loop_run(f->loop);
	assert_string_equal(seen, SEEN("/a") SEEN("/b") SEEN("/c"));
}

static void a_refusal_is_tried_again_in_order(void **state)
{
	struct fixture *f = *state;
	listen_again(f);
	refuse_with = STATUS_INTERNAL;
	publish(f, "/a");
	publish(f, "/b");
	wanted = 2;
	loop_run(f->loop);
	assert_string_equal(seen, SEEN("/a") SEEN("/b"));
}

static void what_cannot_be_taken_is_dropped_alone(void **state)
{
	struct fixture *f = *state;
	listen_again(f);
	refuse_with = STATUS_INVALID_ARGUMENT;
	publish(f, "/a");
	publish(f, "/b");
	wanted = 1;
	loop_run(f->loop);
	assert_string_equal(seen, SEEN("/b"));
}

static void beyond_the_bound_the_oldest_go(void **state)
{
	struct fixture *f = *state;
	char topic[16];
	for (unsigned i = 0; i < EVENTS_QUEUE_MAX + 10; i++) {
		(void)snprintf(topic, sizeof topic, "/%u", i);
		publish(f, topic);
	}
	listen_again(f);
	events_kick(f->events);
	wanted = EVENTS_QUEUE_MAX;
	loop_run(f->loop);
	assert_true(strncmp(seen, "/10=", 4) == 0);
	assert_int_equal(taken, EVENTS_QUEUE_MAX);
}

static int door = -1;
static unsigned visits;

static void slam_the_door(void *arg, unsigned events)
{
	int fd = accept(door, NULL, NULL);
	if (fd >= 0)
		close(fd);
	visits++;
}

static void end_of_time(void *arg)
{
	loop_stop(((struct fixture *)arg)->loop);
}

static void a_containerd_that_hangs_up_is_tried_less_and_less_often(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	struct loop_io *io;
	struct loop_timer *timer;
	visits = 0;
	door = rpc_listen_unix(path, RPC_LISTEN_REPLACE_STALE, &e);
	assert_true(door >= 0);
	assert_int_equal(loop_io_new(f->loop, door, LOOP_READ, slam_the_door, f, &io), 0);
	assert_int_equal(loop_timer_new(f->loop, end_of_time, f, &timer), 0);
	loop_timer_start(timer, 1200);
	publish(f, "/a");
	publish(f, "/b");
	loop_run(f->loop);
	assert_true(visits >= 2 && visits <= 5); /* after 0, 100, 300, 700 ms */
	loop_io_free(io);
	loop_timer_free(timer);
	(void)close(door);
	/* it has been tried in vain for long; but who shows himself need not wait */
	listen_again(f);
	events_kick(f->events);
	wanted = 2;
	loop_run(f->loop);
	assert_string_equal(seen, SEEN("/a") SEEN("/b"));
}

static void on_flushed(void *arg)
{
	loop_stop(((struct fixture *)arg)->loop);
	strncat(seen, "flushed", 8);
}

static void a_flush_ends_with_the_queue_or_in_time(void **state)
{
	struct fixture *f = *state;
	publish(f, "/a");
	events_flush(f->events, 20, on_flushed, f); /* nobody listens: the time ends it */
	loop_run(f->loop);
	assert_string_equal(seen, "flushed");
}

static int make_dir(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof path, "%s/s", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)unlink(path);
	return rmdir(dir);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(order_is_kept),
		TEST(what_nobody_took_is_sent_when_containerd_is_back),
		TEST(a_refusal_is_tried_again_in_order),
		TEST(what_cannot_be_taken_is_dropped_alone),
		TEST(beyond_the_bound_the_oldest_go),
		TEST(a_containerd_that_hangs_up_is_tried_less_and_less_often),
		TEST(a_flush_ends_with_the_queue_or_in_time),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
