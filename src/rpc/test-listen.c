/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/listen.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/testing.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

static char dir[64];

static int setup(void **state)
{
	(void)snprintf(dir, sizeof dir, "/tmp/runtime-c-listen-XXXXXX");
	assert_non_null(mkdtemp(dir));
	return 0;
}

static int teardown(void **state)
{
	return remove_tree(dir);
}

static void unix_address(char *dst, size_t size, const char *name)
{
	assert_int_equal(path_format(dst, size, "unix://%s/%s", dir, name), 0);
}

static const char *path_of(const char *address)
{
	return address + strlen("unix://");
}

static void connects_to_what_listens(void **state)
{
	char address[128];
	struct err e = ERR_INIT;
	struct stat st;

	unix_address(address, sizeof address, "s");
	assert_int_equal(rpc_probe_unix(address, &e), 0);
	mode_t mask = umask(0);
	int fd = rpc_listen_unix(address, 0, &e);
	umask(mask);
	assert_true(fd >= 0);
	assert_int_equal(stat(path_of(address), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);

	int c = rpc_connect_unix(address, time_deadline(1000), &e);
	assert_true(c >= 0);
	assert_true(fcntl(c, F_GETFD) & FD_CLOEXEC);
	assert_false(fcntl(c, F_GETFL) & O_NONBLOCK);
	int s = accept(fd, NULL, NULL);
	assert_true(s >= 0);
	assert_int_equal(write(c, "x", 1), 1);
	char byte;
	assert_int_equal(read(s, &byte, 1), 1);
	assert_int_equal(rpc_probe_unix(path_of(address), &e), 1); /* without the prefix */
	close(s);
	close(c);
	close(fd);
}

static void a_live_socket_is_not_taken_over(void **state)
{
	char address[128];
	struct err e = ERR_INIT;

	unix_address(address, sizeof address, "s");
	int fd = rpc_listen_unix(address, 0, &e);
	assert_true(fd >= 0);
	assert_int_equal(rpc_listen_unix(address, 0, &e), -EADDRINUSE);
	assert_int_equal(rpc_listen_unix(address, RPC_LISTEN_REPLACE_STALE, &e), -EADDRINUSE);
	assert_non_null(strstr(e.text, path_of(address)));
	close(fd);
	/* stale now */
	assert_int_equal(rpc_probe_unix(address, &e), 0);
	assert_int_equal(rpc_connect_unix(address, 0, &e), -ECONNREFUSED);
	assert_int_equal(rpc_listen_unix(address, 0, &e), -EADDRINUSE);
	fd = rpc_listen_unix(address, RPC_LISTEN_REPLACE_STALE, &e);
	assert_true(fd >= 0);
	assert_int_equal(rpc_probe_unix(address, &e), 1);
	close(fd);
}

static void nothing_but_a_socket_is_removed(void **state)
{
	char address[128];
	struct err e = ERR_INIT;

	unix_address(address, sizeof address, "file");
	int fd = open(path_of(address), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(rpc_listen_unix(address, RPC_LISTEN_REPLACE_STALE, &e), -EADDRINUSE);
	assert_int_equal(access(path_of(address), F_OK), 0);
}

static void abstract_names_work(void **state)
{
	char address[64];
	struct err e = ERR_INIT;

	(void)snprintf(address, sizeof address, "unix://@runtime-c-test-%d", (int)getpid());
	assert_int_equal(rpc_connect_unix(address, 0, &e), -ECONNREFUSED);
	int fd = rpc_listen_unix(address, RPC_LISTEN_REPLACE_STALE, &e);
	assert_true(fd >= 0);
	assert_int_equal(rpc_probe_unix(address, &e), 1);
	assert_int_equal(rpc_listen_unix(address, RPC_LISTEN_REPLACE_STALE, &e), -EADDRINUSE);
	close(fd);
	assert_int_equal(rpc_probe_unix(address, &e), 0);
}

static void bad_addresses_are_refused(void **state)
{
	char address[256];
	struct err e = ERR_INIT;

	assert_int_equal(rpc_listen_unix("", 0, &e), -EINVAL);
	assert_int_equal(rpc_listen_unix("unix://", 0, &e), -EINVAL);
	assert_int_equal(rpc_connect_unix("@", 0, &e), -EINVAL);
	memset(address, 'x', sizeof address - 1);
	address[0] = '/';
	address[sizeof address - 1] = '\0';
	assert_int_equal(rpc_probe_unix(address, &e), -ENAMETOOLONG);
	address[108] = '\0';
	assert_int_equal(rpc_listen_unix(address, 0, &e), -ENAMETOOLONG);
	unix_address(address, sizeof address, "none/s");
	assert_int_equal(rpc_listen_unix(address, 0, &e), -ENOENT);
	assert_int_equal(rpc_connect_unix(address, 0, &e), -ENOENT);
}

static void a_full_backlog_times_out(void **state)
{
	char address[128];
	struct err e = ERR_INIT;
	int fds[256], n = 0, r = 0;

	unix_address(address, sizeof address, "s");
	int fd = rpc_listen_unix(address, 0, &e);
	assert_true(fd >= 0);
	while (n < 256 && (r = rpc_connect_unix(address, time_deadline(60), &e)) >= 0)
		fds[n++] = r;
	assert_int_equal(r, -ETIMEDOUT);
	assert_int_equal(rpc_probe_unix(address, &e), 1); /* busy is not dead */
	while (n > 0)
		close(fds[--n]);
	close(fd);
}

static void a_vsock_nobody_listens_on_fails_in_time(void **state)
{
	struct err e = ERR_INIT;
	uint64_t begin = time_now_ms();

	/* CID 1 is this machine's loopback; without vsock in the kernel this fails as well. */
	int r = rpc_connect_vsock(1, 0x7ffffffe, time_deadline(500), &e);
	assert_true(r < 0);
	assert_true(strlen(e.text) > 0);
	assert_true(time_now_ms() - begin < 5000);
}

#define LISTEN_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LISTEN_TEST(connects_to_what_listens),
		LISTEN_TEST(a_live_socket_is_not_taken_over),
		LISTEN_TEST(nothing_but_a_socket_is_removed),
		LISTEN_TEST(abstract_names_work),
		LISTEN_TEST(bad_addresses_are_refused),
		LISTEN_TEST(a_full_backlog_times_out),
		LISTEN_TEST(a_vsock_nobody_listens_on_fails_in_time),
	};
	return RUN_TESTS();
}
