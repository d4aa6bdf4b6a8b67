/* SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"

#include "sys/userns.h"

#include <linux/nsfs.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

static void test_a_namespace_of_its_own(void **state)
{
	struct err e = ERR_INIT;
	int fd = userns_new("0 1000 10\n100 5000 1\n", "0 2000 10\n", &e);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, NS_GET_NSTYPE), CLONE_NEWUSER);
	/* nobody is left of those who made it */
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	assert_int_equal(errno, ECHILD);
	/* it has those maps: id 3 in there is 1003 here */
	pid_t pid = fork();
	if (pid == 0) {
		bool ok = setns(fd, CLONE_NEWUSER) == 0 && setresgid(3, 3, 3) == 0 &&
			  setresuid(100, 100, 100) == 0 && setresuid(99, 99, 99) < 0;
		_exit(ok ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(close(fd), 0);
}

static void test_maps_that_cannot_be(void **state)
{
	struct err e = ERR_INIT;
	assert_int_equal(userns_new("0 0 1\n0 5 1\n", "0 0 1\n", &e), -EINVAL);
	assert_string_equal(e.text, "write uid_map: Invalid argument");
	e = ERR_INIT;
	assert_int_equal(userns_new("0 0 1\n", "", &e), -EINVAL);
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_namespace_of_its_own),
		cmocka_unit_test(test_maps_that_cannot_be),
	};
	return RUN_TESTS();
}
