/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is told of a lack of memory, and how often. The container's control group is a directory with
 * files that the test writes; the runtime is a client over a socket, on the same loop.
 */
#include "guest/agent/agent.h"

#include "base/fd.h"
#include "base/testing.h"
#include "proto/agent.pb-c.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

/* What does not come within this never comes; what must not come has this long to. */
#define PATIENCE_MS 5000
#define SILENCE_MS 50

static struct agent a;
static char dir[] = "/tmp/test-oom.XXXXXX";
static struct container one, two;

/* Answers, in their order; and how many failures. */
static char told[16][16];
static unsigned n_told, n_failed, n_wanted;

static void on_time(void *arg)
{
	*(bool *)arg = true;
	loop_stop(a.loop);
}

static void pump(uint64_t ms)
{
	struct loop_timer *t = NULL;
	bool late = false;

	assert_int_equal(loop_timer_new(a.loop, on_time, &late, &t), 0);
	loop_timer_start(t, ms);
	while (!late && (n_wanted == 0 || n_told + n_failed < n_wanted))
		loop_run(a.loop);
	loop_timer_free(t);
}

/* Until so many answers have come in all; then that no more do. */
static void expect_told(unsigned n)
{
	n_wanted = n;
	pump(PATIENCE_MS);
	n_wanted = 0;
	pump(SILENCE_MS);
	assert_int_equal(n_told, n);
}

static void on_answer(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	if (r < 0) {
		n_failed++;
	} else {
		const Grpc__OOMEvent *event = (const void *)response;
		(void)snprintf(told[n_told++ % ARRAY_SIZE(told)], sizeof told[0], "%s",
			       event->container_id);
		protobuf_c_message_free_unpacked(response, NULL);
	}
	loop_stop(a.loop);
}

static struct rpc_client *new_client(void)
{
	struct rpc_client *c = NULL;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
			 0);
	assert_int_equal(rpc_server_serve(a.server, pair[0]), 0);
	assert_int_equal(rpc_client_new(a.loop, pair[1], NULL, NULL, &c), 0);
	return c;
}

static void ask(struct rpc_client *c, uint64_t timeout_ms)
{
	Grpc__GetOOMEventRequest q = GRPC__GET_OOMEVENT_REQUEST__INIT;
	const struct rpc_request request = {.service = &grpc__agent_service__descriptor,
					    .service_name = "grpc.AgentService",
					    .method = "GetOOMEvent",
					    .message = &q.base,
					    .timeout_ms = timeout_ms};
	unsigned before = a.n_oom_waiters, failed = n_failed, answered = n_told;

	assert_int_equal(rpc_client_start(c, &request, on_answer, NULL, NULL), 0);
	/* until it waits, or has its answer */
	for (int i = 0;
	     i < 100 && a.n_oom_waiters == before && n_failed == failed && n_told == answered; i++)
		pump(10);
}

static void put(const struct container *c, const char *file, const char *text)
{
	char path[160];

	assert_int_equal(cgroup_path(c->cgroup, file, path, sizeof path), 0);
	/* in place, as the kernel does it: a replaced file would be another */
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	(void)close(fd);
}

static void set_kills(const struct container *c, unsigned n)
{
	char text[96];
	(void)snprintf(text, sizeof text, "low 0\nhigh 0\nmax 9\noom 2\noom_kill %u\n", n);
	put(c, "memory.events", text);
}

static void container_setup(struct container *c, const char *id)
{
	*c = (struct container){.agent = &a, .state = CONTAINER_RUNNING};
	(void)snprintf(c->id, sizeof c->id, "%s", id);
	list_init(&c->processes);
	char path[64];
	(void)snprintf(path, sizeof path, "%s/%s", dir, id);
	assert_int_equal(mkdir_parents(path, 0755), 0);
	const struct cgroup g = {.version = 2, .root = dir, .relative = path + strlen(dir)};
	c->cgroup = cgroup_dup(&g);
	assert_non_null(c->cgroup);
	set_kills(c, 0);
	put(c, "memory.oom.group", "0\n");
	list_add_tail(&a.containers, &c->link);
	oom_watch(c);
	assert_non_null(c->oom);
}

static const struct rpc_method methods[] = {{.name = "GetOOMEvent", .fn = oom_get_event}, {NULL}};

static int setup(void **state)
{
	static const struct rpc_service service = {.name = "grpc.AgentService",
						   .desc = &grpc__agent_service__descriptor,
						   .methods = methods,
						   .ctx = &a};
	memset(&a, 0, sizeof a);
	list_init(&a.containers);
	strcpy(dir, "/tmp/test-oom.XXXXXX");
	assert_non_null(mkdtemp(dir));
	n_told = n_failed = n_wanted = 0;
	assert_int_equal(loop_new(&a.loop), 0);
	assert_int_equal(rpc_server_new(a.loop, &a.server), 0);
	assert_int_equal(rpc_server_add(a.server, &service), 0);
	assert_int_equal(oom_start(&a), 0);
	container_setup(&one, "one");
	container_setup(&two, "two");
	return 0;
}

static void container_teardown(struct container *c)
{
	oom_unwatch(c);
	cgroup_free(c->cgroup);
}

static int teardown(void **state)
{
	container_teardown(&one);
	container_teardown(&two);
	oom_stop(&a);
	rpc_server_free(a.server);
	loop_free(a.loop);
	assert_int_equal(remove_tree(dir), 0);
	return 0;
}

static void each_kill_is_told(void **state)
{
	struct rpc_client *c = new_client();

	ask(c, 0);
	expect_told(0);
	for (unsigned i = 1; i <= 3; i++) {
		set_kills(&one, i);
		expect_told(i);
		ask(c, 0);
	}
	expect_told(3);
	/* two at once, before anybody looks */
	set_kills(&one, 5);
	expect_told(4);
	ask(c, 0);
	expect_told(5);
	ask(c, 0);
	set_kills(&two, 1);
	expect_told(6);
	assert_string_equal(told[4], "one");
	assert_string_equal(told[5], "two");
	rpc_client_free(c);
}

static void what_nobody_awaited_is_kept(void **state)
{
	struct rpc_client *c = new_client();

	set_kills(&one, 2);
	set_kills(&two, 1);
	pump(SILENCE_MS);
	for (unsigned i = 1; i <= 3; i++) {
		ask(c, 0);
		expect_told(i);
	}
	assert_string_equal(told[0], "one");
	assert_string_equal(told[1], "one");
	assert_string_equal(told[2], "two");
	ask(c, 0);
	expect_told(3);
	rpc_client_free(c);
}

static void a_lost_waiter_takes_nothing_away(void **state)
{
	struct rpc_client *c = new_client();

	ask(c, 0);
	assert_int_equal(a.n_oom_waiters, 1);
	rpc_client_free(c);
	n_failed = 0;
	pump(SILENCE_MS);
	set_kills(&one, 1);
	pump(SILENCE_MS);
	assert_int_equal(n_told, 0);

	c = new_client();
	ask(c, 0);
	expect_told(1);
	assert_string_equal(told[0], "one");

	/* nor does one whose time was up */
	ask(c, 20);
	pump(200);
	assert_int_equal(n_failed, 1);
	set_kills(&one, 2);
	pump(SILENCE_MS);
	n_failed = 0;
	ask(c, 0);
	expect_told(2);
	rpc_client_free(c);
}

static void all_who_wait_are_told(void **state)
{
	struct rpc_client *c = new_client(), *d = new_client();

	ask(c, 0);
	ask(d, 0);
	set_kills(&two, 1);
	expect_told(2);
	rpc_client_free(c);
	rpc_client_free(d);
}

static void calls_are_bounded(void **state)
{
	struct rpc_client *c = new_client();

	for (int i = 0; i < WAITERS_MAX + 3; i++)
		ask(c, 0);
	pump(SILENCE_MS);
	assert_int_equal(a.n_oom_waiters, WAITERS_MAX);
	assert_int_equal(n_failed, 3);
	rpc_client_free(c);
}

static void a_group_killed_at_once_is_one_event(void **state)
{
	struct rpc_client *c = new_client();

	put(&one, "memory.oom.group", "1\n");
	ask(c, 0);
	put(&one, "memory.events", "max 9\noom 1\noom_kill 1\noom_group_kill 1\n");
	expect_told(1);
	ask(c, 0);
	put(&one, "memory.events", "max 9\noom 1\noom_kill 7\noom_group_kill 1\n");
	expect_told(1);
	put(&one, "memory.events", "max 9\noom 2\noom_kill 9\noom_group_kill 2\n");
	expect_told(2);
	rpc_client_free(c);
}

static void ends_wait_for_their_events(void **state)
{
	struct rpc_client *c = new_client();

	/* a runtime that does not ask is not waited for */
	set_kills(&two, 1);
	assert_false(oom_holds_end(&two));
	ask(c, 0);
	expect_told(1);
	set_kills(&one, 2);
	assert_true(oom_holds_end(&one));
	assert_false(oom_holds_end(&two));
	ask(c, 0);
	assert_true(oom_holds_end(&one));
	ask(c, 0);
	assert_false(oom_holds_end(&one));
	expect_told(3);
	rpc_client_free(c);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(each_kill_is_told),
		CASE(what_nobody_awaited_is_kept),
		CASE(a_lost_waiter_takes_nothing_away),
		CASE(all_who_wait_are_told),
		CASE(calls_are_bounded),
		CASE(a_group_killed_at_once_is_one_event),
		CASE(ends_wait_for_their_events),
	};
	return RUN_TESTS();
}
