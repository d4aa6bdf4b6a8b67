/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/connect.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/testing.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

struct peer {
	char dir[32], path[64];
	int listener;
	pthread_t thread;
	const char *answer; /* hybrid: what to say after the request; NULL: nothing */
	char request[64];
};

static int setup(void **state)
{
	struct peer *p = calloc(1, sizeof *p);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	strcpy(p->dir, "/tmp/test-connect-XXXXXX");
	if (!mkdtemp(p->dir))
		return -1;
	(void)snprintf(p->path, sizeof p->path, "%s/s", p->dir);
	strcpy(a.sun_path, p->path);
	p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	*state = p;
	return bind(p->listener, (void *)&a, sizeof a) || listen(p->listener, 0) ? -1 : 0;
}

static int teardown(void **state)
{
	struct peer *p = *state;
	close(p->listener);
	unlink(p->path);
	rmdir(p->dir);
	free(p);
	return 0;
}

/* Takes one connection: reads a line, answers, and echoes one more line. */
static void *serve(void *arg)
{
	struct peer *p = arg;
	int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return NULL;
	for (size_t n = 0; n < sizeof p->request - 1; n++)
		if (read(fd, &p->request[n], 1) != 1 || p->request[n] == '\n')
			break;
	if (p->answer) {
		(void)fd_write_all(fd, p->answer, strlen(p->answer));
		shutdown(fd, SHUT_WR);
	}
	char rest[16];
	while (read(fd, rest, sizeof rest) > 0)
		;
	close(fd);
	return NULL;
}

static int dial_hybrid(struct peer *p, const char *answer, uint64_t timeout_ms, struct err *e)
{
	p->answer = answer;
	assert_int_equal(pthread_create(&p->thread, NULL, serve, p), 0);
	return connect_hybrid(p->path, 1024, time_deadline(timeout_ms), e);
}

static void hang_up_and_join(struct peer *p, int fd)
{
	if (fd >= 0)
		close(fd);
	pthread_join(p->thread, NULL);
}

static void hybrid_leaves_the_stream_whole(void **state)
{
	struct peer *p = *state;
	_cleanup_buf_ struct buf rest = BUF_INIT;
	struct err e = ERR_INIT;
	int fd = dial_hybrid(p, "OK 1073741824\nfirst words", 5000, &e);
	assert_true(fd >= 0);
	assert_string_equal(p->request, "CONNECT 1024\n");
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fd_read_all(fd, 100, &rest), 0);
	assert_string_equal(rest.data, "first words");
	hang_up_and_join(p, fd);
}

static void hybrid_refusals(void **state)
{
	static const struct {
		const char *answer;
		int r;
	} table[] = {
		{"", -ECONNREFUSED},
		{"OK 1", -ECONNREFUSED}, /* ended within the line */
		{"NO\n", -EBADMSG},
		{"OKAY 1\n", -EBADMSG},
		{"OK 11111111111111111111111111111111111111\n", -EBADMSG},
	};
	struct peer *p = *state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct err e = ERR_INIT;
		int fd = dial_hybrid(p, table[i].answer, 5000, &e);
		assert_int_equal(fd, table[i].r);
		assert_non_null(strstr(e.text, "guest port 1024"));
		hang_up_and_join(p, fd);
	}
}

static void a_silent_muxer_meets_the_deadline(void **state)
{
	struct peer *p = *state;
	struct err e = ERR_INIT;
	uint64_t begun = time_now_ms();
	int fd = dial_hybrid(p, NULL, 30, &e);
	assert_int_equal(fd, -ETIMEDOUT);
	assert_int_equal(e.status, STATUS_DEADLINE_EXCEEDED);
	assert_true(time_now_ms() - begun < 3000);
	hang_up_and_join(p, fd);
}

static void unix_connects_refuses_and_times_out(void **state)
{
	struct peer *p = *state;
	struct err e = ERR_INIT;
	int first = connect_unix(p->path, time_deadline(1000), &e);
	assert_true(first >= 0);
	/* the backlog of 0 holds one; the next has to wait */
	assert_int_equal(connect_unix(p->path, time_deadline(30), &e), -ETIMEDOUT);
	assert_non_null(strstr(e.text, p->path));
	close(first);
	close(p->listener);
	p->listener = -1;
	assert_int_equal(connect_unix(p->path, 0, &e), -ECONNREFUSED);
	assert_int_equal(connect_unix("/no/such/socket", 0, &e), -ENOENT);

	char path[200];
	memset(path, 'x', sizeof path - 1);
	path[sizeof path - 1] = '\0';
	assert_int_equal(connect_unix(path, 0, &e), -ENAMETOOLONG);
	assert_non_null(strstr(e.text, "107 bytes"));
}

static void vsock_failure_names_the_port(void **state)
{
	struct err e = ERR_INIT;
	/* whether the host has vsock or not, nobody listens there */
	assert_true(connect_vsock(77, 1024, time_deadline(200), &e) < 0);
	assert_non_null(strstr(e.text, "vsock 77:1024"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(hybrid_leaves_the_stream_whole),    T(hybrid_refusals),
		T(a_silent_muxer_meets_the_deadline), T(unix_connects_refuses_and_times_out),
		T(vsock_failure_names_the_port),
	};
	return RUN_TESTS();
}
