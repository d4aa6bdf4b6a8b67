/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/log-forward.h"

#include "base/testing.h"

#include <string.h>
#include <sys/socket.h>

static char seen[16384];
static unsigned lines;
static struct loop *loop;

static void capture(void *ctx, enum log_level level, const char *msg)
{
	size_t n = strlen(seen);
	(void)snprintf(seen + n, sizeof seen - n, "%s|%.60s\n", log_level_name(level), msg);
	if (++lines == 4)
		loop_stop(loop);
}

static void stop(void *arg)
{
	loop_stop(loop);
}

static void lines_keep_their_level_and_long_ones_are_cut(void **state)
{
	struct log_forward *f;
	char big[5000];
	int pair[2];
	log_reset();
	log_set_level(LOG_DEBUG);
	log_add_sink(capture, NULL);
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(log_forward_new(loop, pair[0], &f), 0);

	const char text[] = "{\"msg\":\"a\",\"level\":\"WARN\"}\n\nplain words\n";
	assert_int_equal(write(pair[1], text, sizeof text - 1), sizeof text - 1);
	memset(big, 'x', sizeof big);
	big[sizeof big - 1] = '\n';
	assert_int_equal(write(pair[1], big, sizeof big), sizeof big);
	const char last[] = "{\"level\":\"CRIT\",\"msg\":\"end\"}";
	assert_int_equal(write(pair[1], last, sizeof last - 1), sizeof last - 1);
	close(pair[1]); /* the last line has no newline */
	loop_run(loop);

	assert_non_null(strstr(seen, "warning|agent: {\"msg\":\"a\",\"level\":\"WARN\"}\n"));
	assert_non_null(strstr(seen, "info|agent: plain words\n"));
	assert_non_null(strstr(seen, "info|agent: xxxxx"));
	assert_non_null(strstr(seen, "error|agent: {\"level\":\"CRIT\",\"msg\":\"end\"}\n"));
	assert_int_equal(lines, 4);
	log_forward_free(f); /* on the loop, which has to run once more */
	assert_int_equal(loop_post(loop, stop, NULL), 0);
	loop_run(loop);
	loop_free(loop);
}

static void a_cut_level_is_no_level(void **state)
{
	assert_int_equal(log_forward_level("\"level\":\"ER", 11), LOG_INFO);
	assert_int_equal(log_forward_level("\"level\":\"ERRO", 13), LOG_ERROR);
	assert_int_equal(log_forward_level("", 0), LOG_INFO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_keep_their_level_and_long_ones_are_cut),
		cmocka_unit_test(a_cut_level_is_no_level),
	};
	return RUN_TESTS();
}
