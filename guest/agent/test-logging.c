/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/logging.h"

#include "base/fd.h"
#include "base/testing.h"

#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static void a_record_is_one_json_object(void **state)
{
	char text[2048];
	json_error_t error;

	size_t len = logging_format(text, sizeof text, LOG_WARN, "say \"\\hi\\\" \t\x01 \xc3\xa4");
	assert_int_equal(len, strlen(text));
	assert_int_equal(text[len - 1], '\n');
	assert_ptr_equal(strchr(text, '\n'), text + len - 1);
	json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	assert_non_null(j);
	static const struct {
		const char *key, *value;
	} expected[] = {{"msg", "say \"\\hi\\\" \t\x01 \xc3\xa4"},
			{"level", "WARN"},
			{"name", "kata-agent"},
			{"source", "agent"},
			{"version", AGENT_VERSION}};
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		assert_string_equal(json_string_value(json_object_get(j, expected[i].key)),
				    expected[i].value);
	assert_non_null(json_object_get(j, "ts"));
	assert_non_null(json_object_get(j, "pid"));
	json_decref(j);

	/* a message that does not fit is cut, the object is whole */
	char small[300];
	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = '\0';
	len = logging_format(small, sizeof small, LOG_ERROR, text);
	j = json_loads(small, 0, &error);
	assert_non_null(j);
	json_decref(j);
	assert_int_equal(logging_format(small, 40, LOG_ERROR, "x"), 0);
}

static const struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "\0test-logging"};

static int connect_log(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof addr), 0);
	return fd;
}

static void turn(struct loop *loop)
{
	for (int i = 0; i < 4; i++) {
		loop_stop(loop);
		loop_run(loop);
	}
}

static size_t drain(struct loop *loop, int fd, struct buf *text)
{
	for (;;) {
		turn(loop);
		char *p = buf_reserve(text, 65536);
		ssize_t n = recv(fd, p, 65535, MSG_DONTWAIT);
		if (n <= 0)
			return text->len;
		text->len += (size_t)n;
		text->data[text->len] = '\0';
	}
}

static void records_wait_for_a_reader(void **state)
{
	struct loop *loop = NULL;
	struct logging *g = NULL;

	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(logging_new(&g), 0);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (const struct sockaddr *)&addr, sizeof addr), 0);
	assert_int_equal(listen(listener, 4), 0);
	assert_int_equal(logging_listen(g, loop, listener), 0);
	log_info("first");
	for (int i = 0; i < 1000; i++)
		log_info("filler number %d that takes its place in the backlog", i);

	int a = connect_log();
	_cleanup_buf_ struct buf text = BUF_INIT;
	assert_true(drain(loop, a, &text) <= LOGGING_BACKLOG_MAX + 512);
	assert_null(strstr(text.data, "first"));
	assert_non_null(strstr(text.data, "earlier records were dropped"));
	assert_non_null(strstr(text.data, "filler number 999 "));

	/* a second reader takes over */
	int b = connect_log();
	turn(loop);
	log_info("for the second");
	buf_clear(&text);
	drain(loop, b, &text);
	assert_non_null(strstr(text.data, "for the second"));
	char c;
	assert_int_equal(recv(a, &c, 1, MSG_DONTWAIT), 0);

	/* and when nobody reads, they wait again */
	close(b);
	turn(loop);
	log_info("nobody home");
	turn(loop);
	int d = connect_log();
	buf_clear(&text);
	drain(loop, d, &text);
	assert_non_null(strstr(text.data, "nobody home"));
	close(a);
	close(d);
	logging_free(g);
	loop_free(loop);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_is_one_json_object),
		cmocka_unit_test(records_wait_for_a_reader),
	};
	return RUN_TESTS();
}
