/* SPDX-License-Identifier: Apache-2.0 */
/* Needs root: the programs are the kernel's to verify, and the namespaces are real. */
#include "base/testing.h"

#include "sys/netns.h"
#include "sys/sk-lookup.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int home;

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static socklen_t make_address(const char *ip, int port, union address *ret)
{
	*ret = (union address){.any.sa_family = AF_INET6};
	if (inet_pton(AF_INET6, ip, &ret->in6.sin6_addr) == 1) {
		ret->in6.sin6_port = htons((uint16_t)port);
		return sizeof ret->in6;
	}
	ret->in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	assert_int_equal(inet_pton(AF_INET, ip, &ret->in.sin_addr), 1);
	return sizeof ret->in;
}

/* Connects; returns the socket or -errno. */
static int dial_from(const char *from, const char *ip, int port)
{
	union address a;
	socklen_t len = make_address(ip, port, &a);
	int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (from) {
		union address own;
		socklen_t own_len = make_address(from, 0, &own);
		assert_int_equal(bind(fd, &own.any, own_len), 0);
	}
	if (connect(fd, &a.any, len) == 0)
		return fd;
	int r = -errno;
	(void)close(fd);
	return r;
}

static int dial(const char *ip, int port)
{
	return dial_from(NULL, ip, port);
}

static int listen_at(const char *ip, int port)
{
	union address a;
	socklen_t len = make_address(ip, port, &a);
	int one = 1;
	int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), 0);
	assert_int_equal(bind(fd, &a.any, len), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

/* The port that the next accepted connection was dialled at; 0: there is none. */
static int accepted_port(int fd)
{
	union address a;
	socklen_t len = sizeof a;
	int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	if (c < 0)
		return 0;
	assert_int_equal(getsockname(c, &a.any, &len), 0);
	(void)close(c);
	return ntohs(a.any.sa_family == AF_INET ? a.in.sin_port : a.in6.sin6_port);
}

static void assert_steered(int fd, const char *ip, int port)
{
	int c = dial(ip, port);
	assert_true(c >= 0);
	assert_int_equal(accepted_port(fd), port);
	(void)close(c);
}

struct fixture {
	int netns, listen4, listen6, link;
};

static int setup(void **state)
{
	static struct fixture f;
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	struct err e = ERR_INIT;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &lo), 0);
	(void)close(fd);
	f.netns = netns_open("/proc/thread-self/ns/net", NULL);
	f.listen4 = listen_at("127.0.0.1", 0);
	f.listen6 = listen_at("::1", 0);
	f.link = sk_lookup_attach(f.netns, f.listen4, f.listen6, &e);
	if (f.link < 0)
		(void)fprintf(stderr, "%s\n", e.text);
	assert_true(f.link >= 0);
	assert_int_equal(fcntl(f.link, F_GETFD), FD_CLOEXEC);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	f->link = close_fd(f->link);
	f->listen4 = close_fd(f->listen4);
	f->listen6 = close_fd(f->listen6);
	f->netns = close_fd(f->netns);
	return setns(home, CLONE_NEWNET);
}

static void test_loopback_goes_to_the_socket(void **state)
{
	struct fixture *f = *state;
	assert_steered(f->listen4, "127.0.0.1", 80);
	assert_steered(f->listen4, "127.0.0.1", 65535);
	assert_steered(f->listen4, "127.8.7.6", 8080);
	assert_steered(f->listen4, "::ffff:127.0.0.1", 1);
	assert_steered(f->listen6, "::1", 80);
	assert_steered(f->listen6, "::1", 65535);
	assert_int_equal(accepted_port(f->listen4), 0);
	assert_int_equal(accepted_port(f->listen6), 0);
}

static void test_bytes_flow_both_ways(void **state)
{
	struct fixture *f = *state;
	char text[8] = "";
	int c = dial("::1", 4711), s = accept4(f->listen6, NULL, NULL, SOCK_CLOEXEC);
	assert_true(c >= 0 && s >= 0);
	f->link = close_fd(f->link); /* what is connected stays so */
	assert_int_equal(write(c, "ping", 4), 4);
	assert_int_equal(read(s, text, sizeof text), 4);
	assert_int_equal(write(s, "pong", 4), 4);
	assert_int_equal(read(c, text, sizeof text), 4);
	assert_string_equal(text, "pong");
	(void)close(c);
	(void)close(s);
}

/* A second address that is no loopback, but of this machine. */
static void add_address(const char *ip)
{
	struct ifreq r = {.ifr_name = "lo:1"};
	union address a;
	(void)make_address(ip, 0, &a);
	memcpy(&r.ifr_addr, &a.in, sizeof a.in);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(ioctl(fd, SIOCSIFADDR, &r), 0);
	(void)close(fd);
}

static void test_other_addresses_go_their_way(void **state)
{
	struct fixture *f = *state;
	add_address("192.0.2.1");
	assert_int_equal(dial("192.0.2.1", 80), -ECONNREFUSED);
	assert_int_equal(dial_from("192.0.2.1", "127.0.0.1", 80), -ECONNREFUSED);
	assert_int_equal(dial_from("127.0.0.1", "192.0.2.1", 80), -ECONNREFUSED);
	int all = listen_at("0.0.0.0", 8080);
	int c = dial("192.0.2.1", 8080);
	assert_true(c >= 0);
	assert_int_equal(accepted_port(all), 8080);
	(void)close(c);
	/* on the loopback the pod comes first, whoever listens */
	assert_steered(f->listen4, "127.0.0.1", 8080);
	assert_int_equal(accepted_port(all), 0);
	(void)close(all);
}

static void test_datagrams_go_their_way(void **state)
{
	union address a;
	socklen_t len = make_address("127.0.0.1", 5353, &a);
	char text[8] = "";
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int c = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(s, &a.any, len), 0);
	assert_int_equal(sendto(c, "hello", 5, 0, &a.any, len), 5);
	struct pollfd p = {.fd = s, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(read(s, text, sizeof text), 5);
	assert_string_equal(text, "hello");
	(void)close(s);
	(void)close(c);
}

static void test_the_end_of_the_link_is_the_end(void **state)
{
	struct fixture *f = *state;
	assert_steered(f->listen4, "127.0.0.1", 80);
	f->link = close_fd(f->link);
	assert_int_equal(dial("127.0.0.1", 80), -ECONNREFUSED);
	assert_int_equal(dial("::1", 80), -ECONNREFUSED);
}

static void test_one_family_is_enough(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	f->link = close_fd(f->link);
	f->link = sk_lookup_attach(f->netns, f->listen4, -1, &e);
	assert_true(f->link >= 0);
	assert_steered(f->listen4, "127.0.0.1", 80);
	assert_int_equal(dial("::1", 80), -ECONNREFUSED);
}

static void test_closing_the_socket_ends_the_steering(void **state)
{
	struct fixture *f = *state;
	f->listen4 = close_fd(f->listen4);
	assert_int_equal(dial("127.0.0.1", 80), -ECONNREFUSED);
	assert_steered(f->listen6, "::1", 80);
}

static void test_two_pods_in_one_namespace_do_not_fail(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	int other = listen_at("127.0.0.1", 0);
	int link = sk_lookup_attach(f->netns, other, -1, &e);
	assert_true(link >= 0);
	assert_steered(f->listen4, "127.0.0.1", 80); /* who came first keeps it, ... */
	f->link = close_fd(f->link);
	assert_steered(other, "127.0.0.1", 80); /* ... as long as he is there */
	(void)close(link);
	(void)close(other);
}

static void test_what_is_no_namespace_is_refused(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	assert_true(sk_lookup_attach(f->listen4, f->listen4, -1, &e) < 0);
	assert_non_null(strstr(e.text, "attach a socket lookup program"));
	assert_true(sk_lookup_attach(f->netns, f->netns, -1, &e) < 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_loopback_goes_to_the_socket),
		TEST(test_bytes_flow_both_ways),
		TEST(test_other_addresses_go_their_way),
		TEST(test_datagrams_go_their_way),
		TEST(test_the_end_of_the_link_is_the_end),
		TEST(test_one_family_is_enough),
		TEST(test_closing_the_socket_ends_the_steering),
		TEST(test_two_pods_in_one_namespace_do_not_fail),
		TEST(test_what_is_no_namespace_is_refused),
	};
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
