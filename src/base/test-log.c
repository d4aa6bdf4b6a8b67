/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "base/testing.h"

#include <string.h>

static char last[LOG_LINE_MAX];
static unsigned count;

static void capture(void *ctx, enum log_level level, const char *msg)
{
	(void)snprintf(last, sizeof last, "%s|%s", log_level_name(level), msg);
	count++;
}

static int fresh(void **state)
{
	log_reset();
	log_set_level(LOG_INFO);
	log_add_sink(capture, NULL);
	count = 0;
	return 0;
}

static void levels_filter(void **state)
{
	log_debug("no");
	assert_int_equal(count, 0);
	log_warn("yes %d", 1);
	assert_string_equal(last, "warning|yes 1");
	log_set_level(LOG_DEBUG);
	log_debug("now");
	assert_string_equal(last, "debug|now");
}

static void a_record_cannot_forge_another(void **state)
{
	log_info("a\nlevel=error msg=forged\x1b[1m");
	assert_string_equal(last, "info|a level=error msg=forged [1m");
}

static void errno_is_kept(void **state)
{
	errno = EXDEV;
	log_error("x");
	assert_int_equal(errno, EXDEV);
}

static void the_fd_sink_writes_one_quoted_line(void **state)
{
	int p[2];
	char line[512];
	assert_int_equal(pipe(p), 0);
	log_reset();
	log_add_sink(log_sink_fd, (void *)(intptr_t)p[1]);
	log_set_sandbox("pod1");
	log_info("say \"hi\"");
	ssize_t n = read(p[0], line, sizeof line - 1);
	assert_true(n > 0);
	line[n] = '\0';
	assert_non_null(strstr(line, "Z\" level=info msg=\"say \\\"hi\\\"\" name=kata-runtime"
				     " sandbox=pod1\n"));
	close(p[0]);
	close(p[1]);
}

static void names_parse(void **state)
{
	enum log_level level;
	assert_int_equal(log_level_parse("critical", &level), 0);
	assert_int_equal(level, LOG_ERROR);
	assert_int_equal(log_level_parse("TRACE", &level), 0);
	assert_int_equal(level, LOG_TRACE);
	assert_int_equal(log_level_parse("loud", &level), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(levels_filter, fresh),
		cmocka_unit_test_setup(a_record_cannot_forge_another, fresh),
		cmocka_unit_test_setup(errno_is_kept, fresh),
		cmocka_unit_test_setup(the_fd_sink_writes_one_quoted_line, fresh),
		cmocka_unit_test_setup(names_parse, fresh),
	};
	return RUN_TESTS();
}
