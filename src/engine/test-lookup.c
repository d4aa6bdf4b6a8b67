/* SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"

#include "base/fd.h"
#include "engine/lookup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static void test_passwd(void **state)
{
	const char *text = "root:x:0:0:root:/root:/bin/sh\n"
			   "# comment\n"
			   "short:x:7\n"
			   "negative:x:-1:0::/neg:/bin/sh\n"
			   "big:x:99999999999:0::/big:\n"
			   "relative:x:5:0::home:\n"
			   "relative:x:5:0::/five:\n"
			   "nohome:x:6:0:::\n"
			   "last:x:1000:100::/home/last";
	char home[32];
	assert_true(engine_passwd_home(text, 0, home, sizeof home));
	assert_string_equal(home, "/root");
	assert_true(engine_passwd_home(text, 1000, home, sizeof home));
	assert_string_equal(home, "/home/last");
	assert_true(engine_passwd_home(text, 5, home, sizeof home));
	assert_string_equal(home, "/five");
	assert_false(engine_passwd_home(text, 6, home, sizeof home));
	assert_false(engine_passwd_home(text, 7, home, sizeof home));
	assert_false(engine_passwd_home(text, UINT32_MAX, home, sizeof home));
	assert_false(engine_passwd_home("", 0, home, sizeof home));
	assert_false(engine_passwd_home("\n\n::::::\n", 0, home, sizeof home));
	assert_false(engine_passwd_home(text, 0, home, 4)); /* does not fit */
}

static void test_env(void **state)
{
	char *v[] = {(char *)"PATHX=no", (char *)"PATH=/a", (char *)"PATH=/b", NULL};
	struct oci_strv env = {.v = v, .n = 3};
	assert_string_equal(engine_env(&env, "PATH"), "/a");
	assert_null(engine_env(&env, "HOME"));
}

static void make(const char *dir, const char *name, mode_t mode)
{
	char path[PATH_MAX];
	assert_int_equal(path_format(path, sizeof path, "%s/%s", dir, name), 0);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(close(fd), 0);
}

static void test_find_program(void **state)
{
	char dir[] = "/tmp/lookup.XXXXXX", text[128], got[PATH_MAX], want[PATH_MAX];
	assert_non_null(mkdtemp(dir));
	make(dir, "good", 0755);
	make(dir, "plain", 0644);
	(void)snprintf(text, sizeof text, "PATH=/nowhere:%s", dir);
	char *v[] = {text, NULL};
	struct oci_strv env = {.v = v, .n = 1};
	struct err e = ERR_INIT;

	assert_int_equal(engine_find_program("good", &env, got, &e), 0);
	(void)snprintf(want, sizeof want, "%s/good", dir);
	assert_string_equal(got, want);
	assert_int_equal(engine_find_program(want, &env, got, &e), 0);

	assert_int_equal(engine_find_program("foo", &env, got, &e), -ENOENT);
	assert_string_equal(e.text, "exec: \"foo\": executable file not found in $PATH");
	assert_int_equal(e.status, STATUS_NOT_FOUND);
	assert_int_equal(engine_find_program("", &env, got, &e), -ENOENT);
	assert_int_equal(engine_find_program("plain", &env, got, &e), -EACCES);
	assert_string_equal(e.text, "exec: \"plain\": permission denied");
	assert_int_equal(engine_find_program("/no/such", &env, got, &e), -ENOENT);
	assert_string_equal(e.text, "exec: \"/no/such\": stat /no/such: no such file or directory");
	assert_int_equal(engine_find_program("/tmp", &env, got, &e), -EACCES);
	assert_string_equal(e.text, "exec: \"/tmp\": is a directory: permission denied");
	assert_int_equal(remove_tree(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_passwd),
		cmocka_unit_test(test_env),
		cmocka_unit_test(test_find_program),
	};
	return RUN_TESTS();
}
