/* SPDX-License-Identifier: Apache-2.0 */
/* The relay runs on a loop thread; the test is the two peers, and waits for what it expects. */
#include "base/testing.h"

#include "base/fd.h"
#include "io/relay.h"
#include "io/testing.h"

#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

struct fixture {
	struct loop *loop;
	pthread_t thread;
	int left, right;     /* the peers' ends */
	int inner[2];	     /* the relay's */
	struct relay *relay; /* loop thread */
	sem_t ended, done;
	bool reset;
};

static void on_end(void *arg, bool reset)
{
	struct fixture *f = arg;
	f->reset = reset;
	relay_free(TAKE_PTR(f->relay));
	(void)sem_post(&f->ended);
}

static void begin(void *arg)
{
	struct fixture *f = arg;
	assert_int_equal(relay_new(f->loop, f->inner[0], f->inner[1], on_end, f, &f->relay), 0);
	(void)sem_post(&f->done);
}

static void stop(void *arg)
{
	struct fixture *f = arg;
	relay_free(TAKE_PTR(f->relay));
	(void)sem_post(&f->done);
}

static void on_loop(struct fixture *f, void (*fn)(void *arg))
{
	assert_int_equal(loop_post(f->loop, fn, f), 0);
	(void)sem_wait(&f->done);
}

static void tcp_pair(int pair[2])
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
	pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(pair[0], (struct sockaddr *)&a, sizeof a), 0);
	pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(pair[1] >= 0);
	(void)close(listener);
}

/* Left is TCP, as a client of a forwarded port; right a unix socket, as a way into the guest. */
static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	int left[2], right[2];

	tcp_pair(left);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, right), 0);
	f->left = left[0];
	f->inner[0] = left[1];
	f->right = right[0];
	f->inner[1] = right[1];
	(void)sem_init(&f->ended, 0, 0);
	(void)sem_init(&f->done, 0, 0);
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(testing_loop_start(f->loop, &f->thread), 0);
	on_loop(f, begin);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	on_loop(f, stop);
	loop_stop(f->loop);
	(void)pthread_join(f->thread, NULL);
	loop_free(f->loop);
	(void)close_fd(f->left);
	(void)close_fd(f->right);
	(void)sem_destroy(&f->ended);
	(void)sem_destroy(&f->done);
	free(f);
	return 0;
}

static void wait_end(struct fixture *f)
{
	while (sem_wait(&f->ended) < 0)
		;
}

static void assert_reads(int fd, const char *text)
{
	char got[64] = "";
	size_t len = strlen(text), n = 0;
	while (n < len) {
		ssize_t part = read(fd, got + n, len - n);
		assert_true(part > 0);
		n += (size_t)part;
	}
	assert_string_equal(got, text);
}

static void assert_eof(int fd)
{
	char c;
	assert_int_equal(read(fd, &c, 1), 0);
}

static void assert_writes(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void bytes_go_both_ways(void **state)
{
	struct fixture *f = *state;
	assert_writes(f->left, "a question");
	assert_reads(f->right, "a question");
	assert_writes(f->right, "an answer");
	assert_reads(f->left, "an answer");
}

static void an_end_of_one_direction_leaves_the_other(void **state)
{
	struct fixture *f = *state;
	assert_writes(f->left, "all of it");
	assert_int_equal(shutdown(f->left, SHUT_WR), 0);
	assert_reads(f->right, "all of it");
	assert_eof(f->right);
	assert_writes(f->right, "still here");
	assert_reads(f->left, "still here");
	assert_int_equal(shutdown(f->right, SHUT_WR), 0);
	assert_eof(f->left);
	wait_end(f);
	assert_false(f->reset);
}

static void the_other_side_may_end_first(void **state)
{
	struct fixture *f = *state;
	assert_writes(f->right, "bye");
	assert_int_equal(shutdown(f->right, SHUT_WR), 0);
	assert_reads(f->left, "bye");
	assert_eof(f->left);
	assert_writes(f->left, "bye bye");
	f->left = close_fd(f->left);
	assert_reads(f->right, "bye bye");
	assert_eof(f->right);
	wait_end(f);
	assert_false(f->reset);
}

/* A unix socket tells of a close what TCP does not: the going ends the relay although the other
 * side says nothing. */
static void a_side_that_goes_takes_the_relay_along(void **state)
{
	struct fixture *f = *state;
	assert_writes(f->right, "last words");
	f->right = close_fd(f->right);
	assert_reads(f->left, "last words");
	assert_eof(f->left);
	wait_end(f);
}

static void a_reset_is_passed_on_at_once(void **state)
{
	struct fixture *f = *state;
	relay_reset_on_close(f->left);
	f->left = close_fd(f->left);
	assert_eof(f->right);
	f->right = close_fd(f->right);
	wait_end(f);
	assert_true(f->reset);
}

/* Unread bytes at a close reset a unix socket too. */
static void a_failure_inside_resets_the_client(void **state)
{
	struct fixture *f = *state;
	char c;
	assert_writes(f->left, "never read");
	struct pollfd p = {.fd = f->right, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 20000), 1);
	f->right = close_fd(f->right);
	wait_end(f);
	assert_true(f->reset);
	assert_int_equal(read(f->left, &c, 1), -1);
	assert_int_equal(errno, ECONNRESET);
}

struct flood {
	int fd;
	size_t len;
};

static unsigned char byte_at(size_t i)
{
	return (unsigned char)(i * 2654435761u >> 13);
}

static void *pour(void *arg)
{
	const struct flood *w = arg;
	unsigned char part[5000];
	for (size_t done = 0; done < w->len;) {
		size_t n = w->len - done < sizeof part ? w->len - done : sizeof part;
		for (size_t i = 0; i < n; i++)
			part[i] = byte_at(done + i);
		if (fd_write_all(w->fd, part, n) < 0)
			return "write failed";
		done += n;
	}
	(void)shutdown(w->fd, SHUT_WR);
	return NULL;
}

static void *swallow(void *arg)
{
	const struct flood *w = arg;
	unsigned char part[7001];
	size_t done = 0;
	for (ssize_t n; (n = read(w->fd, part, sizeof part)) > 0; done += (size_t)n)
		for (ssize_t i = 0; i < n; i++)
			if (part[i] != byte_at(done + (size_t)i))
				return "wrong byte";
	return done == w->len ? NULL : "wrong length";
}

static void floods_arrive_whole(void **state)
{
	struct fixture *f = *state;
	struct flood left = {f->left, 5 << 20}, right = {f->right, 5 << 20};
	pthread_t t[4];
	void *(*const work[4])(void *) = {pour, pour, swallow, swallow};
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, work[i], i % 2 ? &right : &left), 0);
	for (int i = 0; i < 4; i++) {
		void *wrong = NULL;
		assert_int_equal(pthread_join(t[i], &wrong), 0);
		assert_null(wrong);
	}
	wait_end(f);
	assert_false(f->reset);
}

static void who_does_not_read_holds_up_the_sender_only(void **state)
{
	struct fixture *f = *state;
	static char block[64 << 10];
	size_t taken = 0;
	int quiet = 0;
	assert_int_equal(fd_set_nonblock(f->left, true), 0);
	while (quiet < 3) { /* until nothing has gone for some time */
		ssize_t n = write(f->left, block, sizeof block);
		if (n > 0) {
			taken += (size_t)n;
			quiet = 0;
		} else {
			struct pollfd p = {.fd = f->left, .events = POLLOUT};
			quiet += poll(&p, 1, 100) == 0;
		}
		assert_true(taken < 64 << 20);
	}
	assert_writes(f->right, "the other way is free");
	assert_int_equal(fd_set_nonblock(f->left, false), 0);
	assert_reads(f->left, "the other way is free");
	for (size_t n = 0; n < taken;) {
		ssize_t part = read(f->right, block, sizeof block);
		assert_true(part > 0);
		n += (size_t)part;
	}
}

static void freeing_closes_both(void **state)
{
	struct fixture *f = *state;
	on_loop(f, stop);
	assert_eof(f->left);
	assert_eof(f->right);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bytes_go_both_ways),
		TEST(an_end_of_one_direction_leaves_the_other),
		TEST(the_other_side_may_end_first),
		TEST(a_side_that_goes_takes_the_relay_along),
		TEST(a_reset_is_passed_on_at_once),
		TEST(a_failure_inside_resets_the_client),
		TEST(floods_arrive_whole),
		TEST(who_does_not_read_holds_up_the_sender_only),
		TEST(freeing_closes_both),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
