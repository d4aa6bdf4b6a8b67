/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/qemu/qmp.h"

#include "base/fd.h"
#include "base/testing.h"

#include <string.h>
#include <sys/socket.h>

#define GREETING "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7}}, \"capabilities\": []}}\r\n"

static char trace[4096];

_printf_(1, 2) static void note(const char *fmt, ...)
{
	va_list ap;
	size_t n = strlen(trace);
	va_start(ap, fmt);
	(void)vsnprintf(trace + n, sizeof trace - n, fmt, ap);
	va_end(ap);
}

/* ---- The reader ------------------------------------------------------------------------------ */

static int on_message(void *arg, const struct qmp_message *m, struct err *e)
{
	switch (m->kind) {
	case QMP_GREETING:
		note("greeting ");
		break;
	case QMP_EVENT:
		note("event:%s%s ", m->name, m->body ? "+data" : "");
		break;
	case QMP_RETURN:
		note("return:%d ", (int)m->id);
		break;
	case QMP_ERROR:
		note("error:%d:%s ", (int)m->id, m->text);
		break;
	}
	return 0;
}

static int feed(struct qmp_reader *r, const void *data, size_t len, struct err *e)
{
	return qmp_reader_feed(r, data, len, on_message, NULL, e);
}

static void messages_come_whole_wherever_they_are_cut(void **state)
{
	static const char text[] = GREETING
		"\r\n"
		"{\"return\": {}, \"id\": 1}\n"
		"{\"timestamp\": {\"seconds\": 1}, \"event\": \"STOP\"}\r\n"
		"{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true}}\r\n"
		"{\"id\": 2, \"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\r\n"
		"{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"x\"}}\r\n";
	struct err e = ERR_INIT;

	for (size_t cut = 0; cut < sizeof text; cut++) {
		struct qmp_reader r = {.scanned = 0};
		trace[0] = '\0';
		assert_int_equal(feed(&r, text, cut, &e), 0);
		assert_int_equal(feed(&r, text + cut, sizeof text - 1 - cut, &e), 0);
		assert_string_equal(trace, "greeting return:1 event:STOP event:SHUTDOWN+data "
					   "error:2:no error:-1:CommandNotFound: x ");
		assert_int_equal(r.line.len, 0);
		qmp_reader_free(&r);
	}
}

static void what_is_no_qmp_is_refused(void **state)
{
	static const struct {
		const char *line, *says;
	} table[] = {
		{"hello", "no JSON"},
		{"{\"return\": {}", "no JSON"},
		{"{\"return\": 1, \"return\": 2, \"id\": 1}", "no JSON"}, /* duplicate */
		{"[]", "no JSON object"},
		{"{}", "neither greeting, event nor reply"},
		{"{\"event\": 5}", "name is no string"},
		{"{\"QMP\": 5}", "greeting that is no object"},
		{"{\"return\": {}}", "without an id"},
		{"{\"return\": {}, \"id\": \"x\"}", "id is not ours"},
		{"{\"error\": {}, \"id\": 1}", "without class and desc"},
		{"{\"error\": \"x\", \"id\": 1}", "without class and desc"},
		{"\xff\xfe", "no JSON"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct qmp_reader r = {.scanned = 0};
		struct err e = ERR_INIT;
		assert_int_equal(feed(&r, table[i].line, strlen(table[i].line), &e), 0);
		assert_int_equal(feed(&r, "\n", 1, &e), -EBADMSG);
		if (!strstr(e.text, table[i].says))
			fail_msg("%s: \"%s\"", table[i].line, e.text);
		qmp_reader_free(&r);
	}
}

static void a_line_has_a_limit(void **state)
{
	struct qmp_reader r = {.scanned = 0};
	struct err e = ERR_INIT;
	char chunk[64 * 1024];
	memset(chunk, ' ', sizeof chunk);
	for (size_t sum = 0; sum < QMP_LINE_MAX; sum += sizeof chunk)
		assert_int_equal(feed(&r, chunk, sizeof chunk, &e), 0);
	assert_int_equal(feed(&r, "x", 1, &e), -EMSGSIZE);
	assert_string_equal(e.text, "QMP: a line of more than 1048576 bytes");
	qmp_reader_free(&r);
}

/* ---- The client, against a scripted peer on the same loop ------------------------------------ */

static struct loop *loop;
static struct qmp *qmp;
static int peer;

/* What the peer has been sent. */
static const char *peer_got(void)
{
	static char text[8192];
	ssize_t n = recv(peer, text, sizeof text - 1, MSG_DONTWAIT);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void peer_says(const char *text)
{
	assert_int_equal(fd_write_all(peer, text, strlen(text)), 0);
}

static void stop(void *arg)
{
	loop_stop(loop);
}

/* Lets everything that is readable now be handled. */
static void turn(void)
{
	struct loop_timer *t;
	assert_int_equal(loop_timer_new(loop, stop, NULL, &t), 0);
	loop_timer_start(t, 5);
	loop_run(loop);
	loop_timer_free(t);
}

static void on_ready(void *arg)
{
	note("ready ");
}

static void on_event(void *arg, const char *name, const json_t *data)
{
	const char *reason = json_string_value(json_object_get(data, "reason"));
	note("event:%s:%s ", name, reason ? reason : "-");
}

static void on_closed(void *arg, int r, const char *why)
{
	note("closed:%d:%s ", r, why);
}

static void on_reply(void *arg, const json_t *result, const struct err *fail)
{
	const char *status = json_string_value(json_object_get(result, "status"));
	note("%s:%s ", (const char *)arg, fail ? fail->text : status ? status : "{}");
}

static const struct qmp_handlers handlers = {on_ready, on_event, on_closed};

static int setup(void **state)
{
	int pair[2];
	struct err e = ERR_INIT;
	trace[0] = '\0';
	qmp = NULL;
	if (loop_new(&loop) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	peer = pair[1];
	return qmp_new(loop, pair[0], &handlers, NULL, &qmp, &e);
}

static int teardown(void **state)
{
	qmp_free(qmp);
	loop_free(loop);
	close_fd(peer);
	return 0;
}

static void negotiate(void)
{
	peer_says(GREETING);
	turn();
	assert_string_equal(peer_got(), "{\"execute\":\"qmp_capabilities\",\"id\":1}\r\n");
	peer_says("{\"return\": {}, \"id\": 1}\r\n");
	turn();
	assert_string_equal(trace, "ready ");
	trace[0] = '\0';
}

static int ask(const char *command, json_t *arguments, const char *tag)
{
	struct err e = ERR_INIT;
	int r = qmp_execute(qmp, command, arguments, on_reply, (void *)tag, &e);
	if (r < 0)
		note("%s ", e.text);
	return r;
}

static void commands_are_in_flight_together(void **state)
{
	negotiate();
	assert_int_equal(ask("query-status", NULL, "a"), 0);
	assert_int_equal(ask("device_del", json_pack("{s:s}", "id", "d0"), "b"), 0);
	assert_string_equal(
		peer_got(),
		"{\"execute\":\"query-status\",\"id\":2}\r\n"
		"{\"execute\":\"device_del\",\"id\":3,\"arguments\":{\"id\":\"d0\"}}\r\n");
	peer_says("{\"id\": 3, \"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"d0\"}}\r\n"
		  "{\"event\": \"RESUME\"}\r\n"
		  "{\"return\": {\"status\": \"running\"}, \"id\": 2}\r\n");
	turn();
	assert_string_equal(trace,
			    "b:QMP device_del: DeviceNotFound: d0 event:RESUME:- a:running ");
}

static void the_end_fails_what_is_pending(void **state)
{
	negotiate();
	assert_int_equal(ask("quit", NULL, "quit"), 0);
	peer_says("{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"host-qmp-quit\"}}\r\n");
	peer = close_fd(peer);
	turn();
	assert_string_equal(trace, "event:SHUTDOWN:host-qmp-quit "
				   "quit:QMP quit: the connection was closed "
				   "closed:0:the connection was closed ");
	trace[0] = '\0';
	assert_int_equal(ask("stop", NULL, "x"), -ENOTCONN);
	turn();
	assert_string_equal(trace, "QMP stop: Transport endpoint is not connected ");
}

static void garbage_ends_it(void **state)
{
	negotiate();
	peer_says("{\"event\": \"STOP\"}\r\nboom\r\n{\"event\": \"RESUME\"}\r\n");
	turn();
	assert_non_null(strstr(trace, "event:STOP:- closed:-74:QMP: a line that is no JSON"));
	assert_null(strstr(trace, "RESUME"));
}

static void a_reply_to_no_command_ends_it(void **state)
{
	negotiate();
	peer_says("{\"return\": {}, \"id\": 99}\r\n");
	turn();
	assert_string_equal(trace, "closed:-74:QMP: a reply to no command (id 99) ");
}

static void refused_capabilities_end_it(void **state)
{
	peer_says(GREETING "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": 1}"
			   "\r\n{\"event\": \"STOP\"}\r\n");
	turn();
	assert_string_equal(trace, "closed:-71:QMP qmp_capabilities: no ");
}

static void commands_in_flight_are_bounded(void **state)
{
	negotiate();
	for (int i = 0; i < QMP_PENDING_MAX; i++)
		assert_int_equal(ask("stop", NULL, "x"), 0);
	assert_int_equal(ask("stop", NULL, "x"), -EBUSY);
	trace[0] = '\0';
	qmp_free(TAKE_PTR(qmp));
	assert_non_null(strstr(trace, "x:QMP stop: the connection was closed x:"));
	assert_null(strstr(trace, "closed:-"));
}

static void a_peer_that_does_not_read_is_waited_for(void **state)
{
	_cleanup_free_ char *big = malloc(900 * 1000);
	_cleanup_buf_ struct buf got = BUF_INIT;
	memset(big, 'x', 900 * 1000 - 1);
	big[900 * 1000 - 1] = '\0';
	negotiate();
	assert_int_equal(ask("a", json_pack("{s:s}", "v", big), "a"), 0);
	assert_int_equal(ask("b", NULL, "b"), 0);
	for (int i = 0;
	     i < 100 && (!got.len || got.data[got.len - 1] != '\n' || !strstr(got.data, "\"b\""));
	     i++) {
		char *p = buf_reserve(&got, 1 << 20);
		ssize_t n = recv(peer, p, 1 << 20, MSG_DONTWAIT);
		if (n > 0) {
			got.len += (size_t)n;
			got.data[got.len] = '\0';
		}
		turn();
	}
	assert_true(got.len > 900 * 1000);
	assert_non_null(strstr(got.data, "{\"execute\":\"b\",\"id\":3}\r\n"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_come_whole_wherever_they_are_cut),
		cmocka_unit_test(what_is_no_qmp_is_refused),
		cmocka_unit_test(a_line_has_a_limit),
		T(commands_are_in_flight_together),
		T(the_end_fails_what_is_pending),
		T(garbage_ends_it),
		T(a_reply_to_no_command_ends_it),
		T(refused_capabilities_end_it),
		T(commands_in_flight_are_bounded),
		T(a_peer_that_does_not_read_is_waited_for),
	};
	return RUN_TESTS();
}
