/* SPDX-License-Identifier: Apache-2.0 */
#include "io/child.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/testing.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>

static void exit_codes_and_signals(void **state)
{
	struct err e = ERR_INIT;
	struct child_spec spec = CHILD_SPEC_INIT;
	spec.argv = (const char *const[]){"/bin/sh", "-c", "exit 42", NULL};
	assert_int_equal(child_run(&spec, 5000, &e), 42);
	spec.argv = (const char *const[]){"sh", "-c", "kill -9 $$", NULL};
	assert_int_equal(child_run(&spec, 5000, &e), 137);
}

static void a_missing_program_is_the_callers_error(void **state)
{
	struct err e = ERR_INIT;
	struct child c = CHILD_INIT;
	struct child_spec spec = CHILD_SPEC_INIT;
	spec.argv = (const char *const[]){"/no/such/program", NULL};
	assert_int_equal(child_spawn(&spec, &c, &e), -ENOENT);
	assert_string_equal(e.text, "run /no/such/program: No such file or directory");
	assert_int_equal(c.pid, 0);
	spec.argv = (const char *const[]){"/bin/true", NULL};
	spec.cwd = "/no/such/dir";
	assert_int_equal(child_spawn(&spec, &c, &e), -ENOENT);
	assert_non_null(strstr(e.text, "/no/such/dir"));
}

static void the_program_may_have_another_name(void **state)
{
	struct err e = ERR_INIT;
	struct child_spec spec = CHILD_SPEC_INIT;
	spec.path = "/bin/sh";
	spec.argv = (const char *const[]){"other", "-c", "[ $0 = other ] && exit 7", NULL};
	assert_int_equal(child_run(&spec, 5000, &e), 7);
	spec.path = "/no/such/program";
	assert_int_equal(child_run(&spec, 5000, &e), -ENOENT);
	assert_string_equal(e.text, "run /no/such/program: No such file or directory");
}

static void descriptors_land_where_asked_and_no_others_leak(void **state)
{
	struct err e = ERR_INIT;
	struct child c = CHILD_INIT;
	struct child_spec spec = CHILD_SPEC_INIT;
	_cleanup_buf_ struct buf out = BUF_INIT;
	int a[2], b[2], res[2];
	assert_int_equal(pipe2(a, O_CLOEXEC), 0);
	assert_int_equal(pipe2(b, O_CLOEXEC), 0);
	assert_int_equal(pipe2(res, O_CLOEXEC), 0);
	int inheritable = dup(0); /* as a careless parent of ours would leave it */
	assert_true(inheritable >= 0);
	assert_int_equal(write(a[1], "A", 1), 1);
	assert_int_equal(write(b[1], "B", 1), 1);
	/* the targets are each other's sources, the hard case */
	struct child_fd fds[] = {{a[0], b[0]}, {b[0], a[0]}};
	char script[256];
	(void)snprintf(script, sizeof script,
		       "head -c1 <&%d; head -c1 <&%d; ls /proc/self/fd | wc -l", b[0], a[0]);
	spec.argv = (const char *const[]){"bash", "-c", script, NULL};
	spec.out = res[1];
	spec.fds = fds;
	spec.n_fds = 2;
	assert_int_equal(child_spawn(&spec, &c, &e), 0);
	close(res[1]);
	assert_int_equal(fd_read_all(res[0], 100, &out), 0);
	int status;
	assert_int_equal(child_wait(&c, 0, &status), 0);
	/* 0 1 2, the two given, and ls' own directory */
	assert_string_equal(out.data, "AB6\n");
	close(inheritable);
	close(res[0]);
	close(a[0]);
	close(a[1]);
	close(b[0]);
	close(b[1]);
}

static void a_timeout_kills(void **state)
{
	struct err e = ERR_INIT;
	struct child_spec spec = CHILD_SPEC_INIT;
	spec.argv = (const char *const[]){"sleep", "1000", NULL};
	assert_int_equal(child_run(&spec, 30, &e), -ETIMEDOUT);
	assert_non_null(strstr(e.text, "30 ms"));
}

static void waiting_has_a_deadline_and_killing_works(void **state)
{
	struct err e = ERR_INIT;
	struct child c = CHILD_INIT;
	int status = -1;
	struct child_spec spec = CHILD_SPEC_INIT;
	spec.argv = (const char *const[]){"sleep", "1000", NULL};
	assert_int_equal(child_spawn(&spec, &c, &e), 0);
	assert_int_equal(child_wait(&c, time_deadline(10), &status), -ETIMEDOUT);
	assert_int_equal(child_kill(&c, SIGTERM), 0);
	assert_int_equal(child_wait(&c, 0, &status), 0);
	assert_int_equal(status, 128 + SIGTERM);
	assert_int_equal(child_kill(&c, SIGTERM), -ESRCH);
	child_destroy(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exit_codes_and_signals),
		cmocka_unit_test(a_missing_program_is_the_callers_error),
		cmocka_unit_test(the_program_may_have_another_name),
		cmocka_unit_test(descriptors_land_where_asked_and_no_others_leak),
		cmocka_unit_test(a_timeout_kills),
		cmocka_unit_test(waiting_has_a_deadline_and_killing_works),
	};
	return RUN_TESTS();
}
