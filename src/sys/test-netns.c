/* SPDX-License-Identifier: Apache-2.0 */
/* Needs root: it makes network namespaces. */
#include "base/testing.h"

#include "sys/netns.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int new_netns(void)
{
	int fd = netns_new(NULL);
	assert_true(fd >= 0);
	assert_false(netns_is_current(fd));
	return fd;
}

static void test_what_is_no_namespace_is_refused(void **state)
{
	struct err e = ERR_INIT;
	char fifo[] = "/tmp/test-netns.XXXXXX";
	assert_int_equal(netns_open("/var/run/netns/no-such", &e), -ENOENT);
	assert_non_null(strstr(e.text, "/var/run/netns/no-such"));
	assert_int_equal(netns_open("/etc/passwd", &e), -EINVAL);
	assert_string_equal(e.text, "/etc/passwd is not a network namespace");
	assert_int_equal(netns_open("/proc/self/ns/mnt", &e), -EINVAL);
	assert_int_equal(netns_open("/proc", &e), -EINVAL);
	(void)close(mkstemp(fifo));
	(void)unlink(fifo);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(netns_open(fifo, &e), -EINVAL); /* at once, without a writer */
	(void)unlink(fifo);
}

static void test_the_own_namespace_is_known(void **state)
{
	int own = netns_open("/proc/self/ns/net", NULL), other = new_netns();
	assert_true(netns_is_current(own));
	assert_false(netns_is_current(other));
	assert_true(netns_is_hosts(own));
	assert_false(netns_is_hosts(other));
	assert_true(netns_is_hosts(-1));
	assert_int_equal(fcntl(own, F_GETFD), FD_CLOEXEC);
	(void)close(own);
	(void)close(other);
}

static int look_around(void *arg, struct err *e)
{
	struct if_nameindex *all = if_nameindex();
	assert_non_null(all);
	assert_string_equal(all[0].if_name, "lo");
	assert_null(all[1].if_name);
	if_freenameindex(all);
	struct ifreq lo = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &lo), 0);
	assert_true(lo.ifr_flags & IFF_UP);
	(void)close(fd);
	return netns_is_current(*(int *)arg) ? 7 : err_set(e, -EIO, "elsewhere");
}

static int refuse(void *arg, struct err *e)
{
	return err_set(e, -EPERM, "as asked");
}

static void test_a_call_runs_inside_and_comes_back(void **state)
{
	struct err e = ERR_INIT;
	int fd = new_netns();
	assert_int_equal(netns_call(fd, look_around, &fd, &e), 7);
	assert_false(netns_is_current(fd));
	assert_int_equal(netns_call(fd, refuse, NULL, &e), -EPERM);
	assert_string_equal(e.text, "as asked");
	assert_false(netns_is_current(fd));
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(netns_call(null, refuse, NULL, &e), -EINVAL);
	(void)close(null);
	(void)close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_no_namespace_is_refused),
		cmocka_unit_test(test_the_own_namespace_is_known),
		cmocka_unit_test(test_a_call_runs_inside_and_comes_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
