/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/hooks.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/testing.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

static char dir[] = "/tmp/test-hooks-XXXXXX";

static char *in_dir(const char *name, char *dst)
{
	(void)snprintf(dst, 64, "%s/%s", dir, name);
	return dst;
}

/* A hook that runs a script; $0 is its directory. */
static struct oci_hook script(char **argv, const char *text)
{
	argv[0] = (char *)"hook";
	argv[1] = (char *)"-c";
	argv[2] = (char *)text;
	argv[3] = dir;
	argv[4] = NULL;
	return (struct oci_hook){.path = (char *)"/bin/sh", .args = {.v = argv, .n = 4}};
}

static int run_script(const char *text, struct err *e)
{
	char *argv[5];
	struct oci_hook h = script(argv, text);
	struct oci_hook_list l = {&h, 1};
	return oci_hooks_run(&l, "{}", "prestart", e);
}

static const char *content(const char *name, struct buf *b)
{
	char path[64];
	buf_clear(b);
	assert_int_equal(file_read(AT_FDCWD, in_dir(name, path), 65536, b), 0);
	return b->data ? b->data : "";
}

static void gets_its_arguments_environment_and_the_state(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct err e = ERR_INIT;
	char *argv[5], *env[] = {(char *)"A=b c", (char *)"PATH=/bin:/usr/bin", NULL};
	struct oci_hook h = script(argv, "cat > $0/state; cat /proc/$$/environ | tr '\\0' '\\n'"
					 " > $0/env; tr '\\0' ' ' < /proc/$$/cmdline > $0/argv;"
					 "l=$(readlink /proc/$$/fd/1); echo $l > $0/stdout");
	struct oci_hook_list l = {&h, 1};

	h.env = (struct oci_strv){env, 2};
	assert_int_equal(setenv("LEAK", "1", 1), 0);
	assert_int_equal(oci_hooks_run(&l, "{\"id\":\"x\"}", "prestart", &e), 0);
	assert_string_equal(content("state", &b), "{\"id\":\"x\"}");
	assert_string_equal(content("env", &b), "A=b c\nPATH=/bin:/usr/bin\n");
	assert_int_equal(strncmp(content("argv", &b), "hook -c cat", 11), 0);
	assert_string_equal(content("stdout", &b), "/dev/null\n");
}

static void may_have_no_arguments_and_no_environment(void **state)
{
	struct err e = ERR_INIT;
	struct oci_hook h = {.path = (char *)"/bin/true"};
	struct oci_hook_list l = {&h, 1}, none = {NULL, 0};

	assert_int_equal(oci_hooks_run(&l, "{}", "prestart", &e), 0);
	h.path = (char *)"/usr/bin/env"; /* fails on nothing: an empty environment is fine */
	assert_int_equal(oci_hooks_run(&l, "{}", "prestart", &e), 0);
	assert_int_equal(oci_hooks_run(&none, "{}", "prestart", &e), 0);
}

static void a_failure_names_hook_code_and_reason(void **state)
{
	struct err e = ERR_INIT;

	assert_int_equal(run_script("echo first >&2; echo 'no such device' >&2; exit 3", &e), -EIO);
	assert_string_equal(e.text,
			    "prestart hook /bin/sh failed with exit code 3: no such device");
	assert_int_equal(run_script("exit 1", &e), -EIO);
	assert_string_equal(e.text, "prestart hook /bin/sh failed with exit code 1");
	assert_int_equal(run_script("printf 'a\\tb\\377\\n\\n  \\n' >&2; kill -9 $$", &e), -EIO);
	assert_string_equal(e.text, "prestart hook /bin/sh failed with exit code 137: a?b?");
	/* far more than a pipe holds */
	assert_int_equal(run_script("i=0; while [ $i -lt 20000 ]; do echo line $i >&2;"
				    "i=$((i+1)); done; exit 9",
				    &e),
			 -EIO);
	assert_string_equal(e.text, "prestart hook /bin/sh failed with exit code 9: line 19999");
}

static void a_long_line_is_cut_at_its_beginning(void **state)
{
	struct err e = ERR_INIT;
	assert_int_equal(run_script("printf '%01000dEND' 0 >&2; exit 2", &e), -EIO);
	assert_true(strlen(e.text) < 330);
	assert_string_equal(e.text + strlen(e.text) - 4, "0END");
}

static void what_cannot_be_run_is_named(void **state)
{
	struct err e = ERR_INIT;
	struct oci_hook h = {.path = (char *)"/no/such/hook"};
	struct oci_hook_list l = {&h, 1};

	assert_int_equal(oci_hooks_run(&l, "{}", "poststop", &e), -ENOENT);
	assert_string_equal(e.text, "poststop hook: run /no/such/hook: No such file or directory");
	h.path = (char *)"true";
	assert_int_equal(oci_hooks_run(&l, "{}", "poststop", &e), -EINVAL);
	assert_string_equal(e.text, "poststop hook true: must be an absolute path");
}

static void its_time_is_limited(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct err e = ERR_INIT;
	char *argv[5];
	struct oci_hook h = script(argv, "sleep 100 & echo $! > $0/pid; wait");
	struct oci_hook_list l = {&h, 1};
	uint64_t begin = time_now_ms();

	h.timeout = 1;
	assert_int_equal(oci_hooks_run(&l, "{}", "createRuntime", &e), -ETIMEDOUT);
	assert_string_equal(e.text, "createRuntime hook /bin/sh did not end within 1 s");
	assert_true(time_now_ms() - begin < 5000);
	/* its children too; an orphan's zombie may linger until somebody reaps it */
	pid_t pid = (pid_t)strtol(content("pid", &b), NULL, 10);
	assert_true(pid > 1);
	for (int i = 0; i < 200 && kill(pid, 0) == 0; i++) {
		char path[64];
		(void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
		buf_clear(&b);
		if (file_read(AT_FDCWD, path, 4096, &b) < 0 || strstr(b.data, ") Z "))
			return;
		(void)usleep(10000);
	}
	assert_int_equal(kill(pid, 0), -1);
}

static void what_it_leaves_running_is_not_waited_for(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct err e = ERR_INIT;
	uint64_t begin = time_now_ms();

	assert_int_equal(run_script("sleep 5 & echo $! > $0/pid", &e), 0);
	assert_true(time_now_ms() - begin < 3000);
	assert_int_equal(kill((pid_t)strtol(content("pid", &b), NULL, 10), SIGKILL), 0);
}

static void a_state_larger_than_a_pipe_may_be_ignored(void **state)
{
	struct err e = ERR_INIT;
	_cleanup_buf_ struct buf b = BUF_INIT;
	char *argv[5];
	struct oci_hook h = script(argv, "exit 0");
	struct oci_hook_list l = {&h, 1};

	assert_non_null(buf_reserve(&b, 1 << 20));
	memset(b.data, ' ', 1 << 20);
	b.data[1 << 20] = '\0';
	assert_int_equal(oci_hooks_run(&l, b.data, "prestart", &e), 0);
	h = script(argv, "[ $(wc -c) = 1048576 ]");
	assert_int_equal(oci_hooks_run(&l, b.data, "prestart", &e), 0);
	buf_clear(&b);
}

static void a_list_stops_or_goes_on(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct err e = ERR_INIT;
	char *argv[3][5], path[64];
	struct oci_hook h[] = {
		script(argv[0], "echo 1 >> $0/list"),
		script(argv[1], "echo 2 >> $0/list; exit 4"),
		script(argv[2], "echo 3 >> $0/list; exit 5"),
	};
	struct oci_hook_list l = {h, 3};

	assert_int_equal(oci_hooks_run(&l, "{}", "prestart", &e), -EIO);
	assert_string_equal(content("list", &b), "1\n2\n");
	assert_int_equal(unlink(in_dir("list", path)), 0);
	e = ERR_INIT;
	assert_int_equal(oci_hooks_run_all(&l, "{}", "poststop", &e), -EIO);
	assert_string_equal(content("list", &b), "1\n2\n3\n");
	assert_string_equal(e.text, "poststop hook /bin/sh failed with exit code 4");
	l.n = 1;
	assert_int_equal(oci_hooks_run_all(&l, "{}", "poststop", &e), 0);
}

static void the_state_is_told_as_json(void **state)
{
	struct oci_kv kv[] = {{(char *)"a.b/c", (char *)"d \"e\""}};
	struct oci_spec s = {.version = (char *)"1.0.2"};

	char *text = oci_state_json(&s, "id1", "creating", 0, "/bundle");
	assert_string_equal(text,
			    "{\"ociVersion\":\"1.0.2\",\"id\":\"id1\",\"status\":\"creating\","
			    "\"bundle\":\"/bundle\"}");
	free(text);
	s.annotations = kv;
	s.n_annotations = 1;
	text = oci_state_json(&s, "id1", "running", 42, "/b");
	assert_string_equal(text, "{\"ociVersion\":\"1.0.2\",\"id\":\"id1\",\"status\":\"running\","
				  "\"pid\":42,\"bundle\":\"/b\","
				  "\"annotations\":{\"a.b/c\":\"d \\\"e\\\"\"}}");
	free(text);
}

static int setup(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	return remove_tree(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gets_its_arguments_environment_and_the_state),
		cmocka_unit_test(may_have_no_arguments_and_no_environment),
		cmocka_unit_test(a_failure_names_hook_code_and_reason),
		cmocka_unit_test(a_long_line_is_cut_at_its_beginning),
		cmocka_unit_test(what_cannot_be_run_is_named),
		cmocka_unit_test(its_time_is_limited),
		cmocka_unit_test(what_it_leaves_running_is_not_waited_for),
		cmocka_unit_test(a_state_larger_than_a_pipe_may_be_ignored),
		cmocka_unit_test(a_list_stops_or_goes_on),
		cmocka_unit_test(the_state_is_told_as_json),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
