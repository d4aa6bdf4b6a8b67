/* SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"

#include "base/cleanup.h"
#include "sys/scm.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;
	assert_non_null(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

static void test_round_trip(void **state)
{
	int s[2], null = open("/dev/null", O_RDWR | O_CLOEXEC), before = count_fds();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	int send[2] = {null, s[0]}, got[3];
	size_t n = 3;
	char data[8];
	assert_int_equal(scm_send(s[0], "abc", 3, send, 2), 0);
	assert_int_equal(scm_recv(s[1], data, sizeof data, got, &n, -1), 3);
	assert_memory_equal(data, "abc", 3);
	assert_int_equal(n, 2);
	struct stat a, b;
	assert_int_equal(fstat(null, &a), 0);
	assert_int_equal(fstat(got[0], &b), 0);
	assert_int_equal(a.st_rdev, b.st_rdev);
	assert_int_equal(fcntl(got[0], F_GETFD), FD_CLOEXEC);
	(void)close(got[0]);
	(void)close(got[1]);

	n = 1;
	assert_int_equal(scm_send(s[0], "x", 1, NULL, 0), 0);
	assert_int_equal(scm_recv(s[1], data, sizeof data, got, &n, 1000), 1);
	assert_int_equal(n, 0);
	n = 1;
	assert_int_equal(scm_recv(s[1], data, sizeof data, got, &n, 1), -EAGAIN);
	assert_int_equal(n, 0);
	(void)close(s[0]);
	n = 1;
	assert_int_equal(scm_recv(s[1], data, sizeof data, got, &n, -1), 0);
	assert_int_equal(scm_send(s[1], "x", 1, NULL, 0), -EPIPE); /* and no SIGPIPE */
	(void)close(s[1]);
	assert_int_equal(count_fds(), before);
	(void)close(null);
}

/* What had to be cut is refused, and no descriptor is left over. */
static void test_cut(void **state)
{
	int s[2], before = count_fds();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	int send[3] = {s[0], s[0], s[0]}, got[3];
	char data[2];
	size_t n = 2;
	assert_int_equal(scm_send(s[0], "ab", 2, send, 3), 0);
	assert_int_equal(scm_recv(s[1], data, sizeof data, got, &n, -1), -EBADMSG);
	assert_int_equal(n, 0);
	n = 3;
	assert_int_equal(scm_send(s[0], "abc", 3, send, 3), 0);
	assert_int_equal(scm_recv(s[1], data, sizeof data, got, &n, -1), -EBADMSG);
	assert_int_equal(n, 0);
	int many[SCM_FDS_MAX + 1] = {0};
	assert_int_equal(scm_send(s[0], "a", 1, many, SCM_FDS_MAX + 1), -EINVAL);
	(void)close(s[0]);
	(void)close(s[1]);
	assert_int_equal(count_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_cut),
	};
	return RUN_TESTS();
}
