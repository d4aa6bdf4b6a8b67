/* SPDX-License-Identifier: Apache-2.0 */
#include "io/tool.h"

#include "base/testing.h"

#include <signal.h>
#include <string.h>

static int sh(const char *script, const char *input, size_t output_max, uint64_t timeout_ms,
	      struct buf *ret, struct err *e)
{
	const char *argv[] = {"/bin/sh", "-c", script, NULL};
	const struct tool_spec spec = {.argv = argv,
				       .input = input,
				       .input_len = strlen(input),
				       .output_max = output_max,
				       .timeout_ms = timeout_ms};
	return tool_run(&spec, ret, e);
}

static void what_goes_in_comes_out(void **state)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	static char large[1 << 20];

	memset(large, 'x', sizeof large - 1);
	assert_int_equal(sh("cat", large, sizeof large, 20000, &out, NULL), 0);
	assert_int_equal(out.len, sizeof large - 1);
	assert_string_equal(out.data, large);
}

static void input_that_nobody_reads_is_no_failure(void **state)
{
	_cleanup_buf_ struct buf out = BUF_INIT;

	assert_int_equal(sh("exec <&-; echo enough", "much", 100, 20000, &out, NULL), 0);
	assert_string_equal(out.data, "enough\n");
}

static void a_failure_tells_its_reason(void **state)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	struct err e = ERR_INIT;

	assert_int_equal(sh("echo the reason >&2; exit 3", "", 100, 20000, &out, &e), -EIO);
	assert_string_equal(e.text, "/bin/sh: it failed with status 3: the reason");
}

static void too_much_is_refused(void **state)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	struct err e = ERR_INIT;

	assert_int_equal(sh("yes", "", 1000, 20000, &out, &e), -EMSGSIZE);
	assert_non_null(strstr(e.text, "1000 bytes"));
}

static void time_is_bounded(void **state)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	struct err e = ERR_INIT;

	assert_int_equal(sh("sleep 1000", "", 1000, 50, &out, &e), -ETIMEDOUT);
	assert_non_null(strstr(e.text, "50 ms"));
}

static void a_missing_program_is_said(void **state)
{
	const char *argv[] = {"/nonexistent/tool", NULL};
	const struct tool_spec spec = {.argv = argv, .output_max = 10, .timeout_ms = 1000};
	_cleanup_buf_ struct buf out = BUF_INIT;
	struct err e = ERR_INIT;

	assert_int_equal(tool_run(&spec, &out, &e), -ENOENT);
	assert_non_null(strstr(e.text, "/nonexistent/tool"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_goes_in_comes_out),
		cmocka_unit_test(input_that_nobody_reads_is_no_failure),
		cmocka_unit_test(a_failure_tells_its_reason),
		cmocka_unit_test(too_much_is_refused),
		cmocka_unit_test(time_is_bounded),
		cmocka_unit_test(a_missing_program_is_said),
	};
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
