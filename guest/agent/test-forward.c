/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's end of a forwarded port: the test is the runtime, and the server in the pod. */
#include "base/testing.h"

#include "base/fd.h"
#include "guest/agent/forward.h"
#include "io/testing.h"
#include "rpc/forward.h"
#include "rpc/listen.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

struct fixture {
	struct loop *loop;
	pthread_t thread;
	struct forward *forward; /* loop thread */
	char address[64];
	sem_t done;
};

static int setup(void **state)
{
	static unsigned serial;
	struct fixture *f = calloc(1, sizeof *f);
	struct err e = ERR_INIT;
	(void)snprintf(f->address, sizeof f->address, "unix://@test-forward-%d-%u", (int)getpid(),
		       serial++);
	int fd = rpc_listen_unix(f->address, 0, &e);
	assert_true(fd >= 0);
	(void)sem_init(&f->done, 0, 0);
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(forward_new(f->loop, fd, &f->forward), 0);
	assert_int_equal(testing_loop_start(f->loop, &f->thread), 0);
	*state = f;
	return 0;
}

static void free_forward(void *arg)
{
	struct fixture *f = arg;
	forward_free(TAKE_PTR(f->forward));
	(void)sem_post(&f->done);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(loop_post(f->loop, free_forward, f), 0);
	(void)sem_wait(&f->done);
	loop_stop(f->loop);
	(void)pthread_join(f->thread, NULL);
	loop_free(f->loop);
	(void)sem_destroy(&f->done);
	free(f);
	return 0;
}

/* A server at a free port of a loopback address; returns its socket. */
static int serve(int family, unsigned *ret_port)
{
	union forward_address a = {.any.sa_family = (sa_family_t)family};
	socklen_t len = sizeof a;
	if (family == AF_INET)
		a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		a.in6.sin6_addr = (struct in6_addr)IN6ADDR_LOOPBACK_INIT;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, &a.any, forward_address_len(&a)), 0);
	assert_int_equal(getsockname(fd, &a.any, &len), 0);
	assert_int_equal(listen(fd, 8), 0);
	*ret_port = ntohs(family == AF_INET ? a.in.sin_port : a.in6.sin6_port);
	return fd;
}

static int ask(const struct fixture *f, const char *line)
{
	int fd = rpc_connect_unix(f->address, 0, NULL);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, line, strlen(line)), strlen(line));
	return fd;
}

static int ask_port(const struct fixture *f, const char *ip, unsigned port)
{
	char line[64];
	(void)snprintf(line, sizeof line, "connect tcp %s %u\n", ip, port);
	return ask(f, line);
}

/* Reads @len bytes exactly. */
static void assert_reads(int fd, const char *text)
{
	char got[64] = "";
	for (size_t n = 0; n < strlen(text);) {
		ssize_t part = read(fd, got + n, strlen(text) - n);
		assert_true(part > 0);
		n += (size_t)part;
	}
	assert_string_equal(got, text);
}

static void assert_refused(int fd, const char *why)
{
	struct err e = ERR_INIT;
	_cleanup_buf_ struct buf answer = BUF_INIT;
	assert_int_equal(fd_read_all(fd, FORWARD_ANSWER_MAX, &answer), 0);
	assert_int_equal(forward_parse_answer(answer.data, answer.len, &e), -ECONNREFUSED);
	assert_non_null(strstr(e.text, why));
	(void)close(fd);
}

static void a_connection_to(const struct fixture *f, int family, const char *ip)
{
	unsigned port;
	int listener = serve(family, &port), c = ask_port(f, ip, port);
	int s = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_reads(c, "OK\n");
	assert_int_equal(write(s, "server first", 12), 12);
	assert_reads(c, "server first");
	assert_int_equal(write(c, "then the client", 15), 15);
	assert_int_equal(shutdown(c, SHUT_WR), 0);
	assert_reads(s, "then the client");
	assert_int_equal(read(s, (char[1]){0}, 1), 0);
	assert_int_equal(write(s, "bye", 3), 3);
	(void)close(s);
	assert_reads(c, "bye");
	assert_int_equal(read(c, (char[1]){0}, 1), 0);
	(void)close(c);
	(void)close(listener);
}

static void a_server_is_found_at_either_address(void **state)
{
	a_connection_to(*state, AF_INET, "127.0.0.1");
	a_connection_to(*state, AF_INET6, "::1");
	a_connection_to(*state, AF_INET6, "127.0.0.1");
	a_connection_to(*state, AF_INET, "::1");
}

static void a_port_without_a_server_is_refused(void **state)
{
	unsigned port;
	(void)close(serve(AF_INET, &port));
	assert_refused(ask_port(*state, "127.0.0.1", port), "Connection refused");
	assert_refused(ask_port(*state, "::1", port), "Connection refused");
}

static void a_bad_request_is_refused(void **state)
{
	assert_refused(ask(*state, "connect tcp 10.0.0.1 80\n"), "not of the loopback");
	assert_refused(ask(*state, "GET / HTTP/1.0\n"), "not a request");
	assert_refused(ask(*state, "connect tcp 127.0.0.1 80\nGET / HTTP/1.0\n"), "no port");
	char longest[FORWARD_REQUEST_MAX + 1];
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	assert_refused(ask(*state, longest), "not a request");
}

static void a_request_may_come_in_pieces(void **state)
{
	unsigned port;
	char rest[32];
	int listener = serve(AF_INET, &port), c = ask(*state, "connect tcp 127.");
	struct pollfd p = {.fd = c, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 50), 0);
	(void)snprintf(rest, sizeof rest, "0.0.1 %u\n", port);
	assert_int_equal(write(c, rest, strlen(rest)), strlen(rest));
	assert_reads(c, "OK\n");
	(void)close(c);
	(void)close(listener);
}

static void who_comes_beyond_the_cap_waits(void **state)
{
	unsigned port;
	int conns[FORWARD_CONNS_MAX], listener = serve(AF_INET, &port);
	for (int i = 0; i < FORWARD_CONNS_MAX; i++) {
		conns[i] = ask_port(*state, "127.0.0.1", port);
		assert_reads(conns[i], "OK\n");
		(void)close(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	}
	int last = ask_port(*state, "127.0.0.1", port);
	struct pollfd p = {.fd = last, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 100), 0);
	(void)close(conns[0]);
	assert_reads(last, "OK\n");
	(void)close(last);
	for (int i = 1; i < FORWARD_CONNS_MAX; i++)
		(void)close(conns[i]);
	(void)close(listener);
}

static void the_end_closes_everything(void **state)
{
	struct fixture *f = *state;
	unsigned port;
	int listener = serve(AF_INET, &port), half = ask(f, "connect"),
	    c = ask_port(f, "::1", port);
	assert_reads(c, "OK\n");
	int s = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_int_equal(loop_post(f->loop, free_forward, f), 0);
	assert_int_equal(read(s, (char[1]){0}, 1), 0);
	assert_int_equal(read(c, (char[1]){0}, 1), 0);
	assert_true(read(half, (char[1]){0}, 1) <= 0);
	(void)close(half);
	(void)close(s);
	(void)close(c);
	(void)close(listener);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_server_is_found_at_either_address),
		TEST(a_port_without_a_server_is_refused),
		TEST(a_bad_request_is_refused),
		TEST(a_request_may_come_in_pieces),
		TEST(who_comes_beyond_the_cap_waits),
		TEST(the_end_closes_everything),
	};
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
