/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Port-forward with both ends of it, and nothing in between: the shim's in a network namespace of
 * its own, as a pod's on the host; the agent's in this process' namespace, as a guest's. The test
 * is the client in the one and the server in the other. Needs root.
 */
#include "base/fd.h"
#include "base/log.h"
#include "guest/agent/forward.h"
#include "io/testing.h"
#include "io/worker.h"
#include "rpc/forward.h"
#include "rpc/listen.h"
#include "runtimes/port-forward.h"
#include "sys/netns.h"

#include "base/testing.h"

#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

struct fixture {
	struct loop *loop;
	pthread_t thread;
	struct worker_pool *workers;
	int netns;
	char address[64];
	struct forward *agent;	   /* loop thread */
	struct port_forward *shim; /* loop thread, once made */
	sem_t done;

	/* what dial() does instead of reaching the agent */
	_Atomic int dial_error;
	_Atomic(const char *) script; /* what an agent of ours answers to whatever */
	_Atomic(sem_t *) hold;	      /* dial() waits for it */
	sem_t dialling;
	atomic_int agents_end; /* of the last scripted stream */
};

/* ---- The two places ------------------------------------------------------------------------- */

static int bring_lo_up(void *arg, struct err *e)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r = ioctl(fd, SIOCSIFFLAGS, &lo) < 0 ? -errno : 0;
	(void)close(fd);
	return r;
}

static int make_netns(void)
{
	int home = netns_open("/proc/thread-self/ns/net", NULL);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	int fd = netns_open("/proc/thread-self/ns/net", NULL);
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	(void)close(home);
	assert_true(fd >= 0);
	return fd;
}

static int make_socket(void *family, struct err *e)
{
	return socket(*(const int *)family, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void loopback(int family, unsigned port, union forward_address *ret)
{
	*ret = (union forward_address){.any.sa_family = (sa_family_t)family};
	if (family == AF_INET) {
		ret->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		ret->in.sin_port = htons((uint16_t)port);
	} else {
		ret->in6.sin6_addr = (struct in6_addr)IN6ADDR_LOOPBACK_INIT;
		ret->in6.sin6_port = htons((uint16_t)port);
	}
}

/* A client in the pod's namespace on the host; -errno. */
static int dial_pod(const struct fixture *f, int family, unsigned port)
{
	union forward_address a;
	loopback(family, port, &a);
	int fd = netns_call(f->netns, make_socket, &family, NULL);
	assert_true(fd >= 0);
	if (connect(fd, &a.any, forward_address_len(&a)) == 0)
		return fd;
	int r = -errno;
	(void)close(fd);
	return r;
}

/* A server in the "guest". */
static int serve(int family, unsigned *ret_port)
{
	union forward_address a;
	socklen_t len = sizeof a;
	loopback(family, 0, &a);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, &a.any, forward_address_len(&a)), 0);
	assert_int_equal(getsockname(fd, &a.any, &len), 0);
	assert_int_equal(listen(fd, 128), 0);
	*ret_port = ntohs(family == AF_INET ? a.in.sin_port : a.in6.sin6_port);
	return fd;
}

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

static void assert_reset(int fd)
{
	char c;
	assert_true(fd >= 0);
	assert_int_equal(read(fd, &c, 1), -1);
	assert_int_equal(errno, ECONNRESET);
	(void)close(fd);
}

/* ---- Fixture -------------------------------------------------------------------------------- */

/* An agent that answers with @script, whatever it is asked. */
static int dial_script(struct fixture *f)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(write(pair[1], f->script, strlen(f->script)), strlen(f->script));
	assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
	(void)close_fd(f->agents_end); /* of the one before; open, it takes the request */
	f->agents_end = pair[1];
	return pair[0];
}

static int dial(void *arg, uint32_t port, uint64_t timeout_ms, struct err *e)
{
	struct fixture *f = arg;
	(void)sem_post(&f->dialling);
	if (f->hold)
		while (sem_wait(f->hold) < 0)
			;
	if (port != AGENT_FORWARD_PORT)
		return err_set(e, -EINVAL, "port %u", port);
	if (f->dial_error)
		return err_set(e, f->dial_error, "as asked");
	return f->script ? dial_script(f) : rpc_connect_unix(f->address, 0, e);
}

static int setup(void **state)
{
	static unsigned serial;
	struct fixture *f = calloc(1, sizeof *f);
	struct err e = ERR_INIT;

	(void)snprintf(f->address, sizeof f->address, "unix://@test-port-forward-%d-%u",
		       (int)getpid(), serial++);
	(void)sem_init(&f->done, 0, 0);
	(void)sem_init(&f->dialling, 0, 0);
	f->agents_end = -EBADF;
	f->netns = make_netns();
	assert_int_equal(netns_call(f->netns, bring_lo_up, NULL, NULL), 0);
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(worker_pool_new(2, 0, &f->workers), 0);
	int fd = rpc_listen_unix(f->address, 0, &e);
	assert_true(fd >= 0);
	assert_int_equal(forward_new(f->loop, fd, &f->agent), 0);
	assert_int_equal(testing_loop_start(f->loop, &f->thread), 0);
	const struct port_forward_params p = {.loop = f->loop,
					      .workers = f->workers,
					      .netns_fd = f->netns,
					      .dial = dial,
					      .arg = f};
	int r = port_forward_new(&p, &f->shim, &e);
	if (r < 0)
		print_error("%s\n", e.text);
	assert_int_equal(r, 0);
	*state = f;
	return 0;
}

static void free_shim(void *arg)
{
	struct fixture *f = arg;
	port_forward_free(TAKE_PTR(f->shim));
	(void)sem_post(&f->done);
}

static void free_agent(void *arg)
{
	struct fixture *f = arg;
	forward_free(TAKE_PTR(f->agent));
	(void)sem_post(&f->done);
}

static void on_loop(struct fixture *f, void (*fn)(void *arg))
{
	assert_int_equal(loop_post(f->loop, fn, f), 0);
	while (sem_wait(&f->done) < 0)
		;
}

static void end_shim(struct fixture *f)
{
	port_forward_stop(f->shim);
	on_loop(f, free_shim);
}

static void nothing(void *arg)
{
	struct fixture *f = arg;
	(void)sem_post(&f->done);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	end_shim(f);
	on_loop(f, free_agent);
	/* a pool that is freed drops what has not begun: what was queued before this has, then */
	assert_int_equal(worker_pool_run(f->workers, nothing, f), 0);
	while (sem_wait(&f->done) < 0)
		;
	worker_pool_free(f->workers);
	on_loop(f, nothing); /* what workers have posted has run */
	loop_stop(f->loop);
	(void)pthread_join(f->thread, NULL);
	loop_free(f->loop);
	(void)close(f->netns);
	(void)close_fd(f->agents_end);
	(void)sem_destroy(&f->done);
	(void)sem_destroy(&f->dialling);
	free(f);
	return 0;
}

/* ---- Tests ---------------------------------------------------------------------------------- */

static void talk(const struct fixture *f, int client_family, int server_family)
{
	unsigned port;
	int listener = serve(server_family, &port), c = dial_pod(f, client_family, port);
	assert_true(c >= 0);
	int s = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_int_equal(write(s, "the server first", 16), 16);
	assert_reads(c, "the server first");
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

static void client_and_server_meet(void **state)
{
	talk(*state, AF_INET, AF_INET);
	talk(*state, AF_INET6, AF_INET6);
	talk(*state, AF_INET, AF_INET6);
	talk(*state, AF_INET6, AF_INET);
}

/* The client may speak at once: it does not know that there is a way to go. */
static void nothing_is_lost_while_the_agent_is_asked(void **state)
{
	unsigned port;
	int listener = serve(AF_INET, &port), c = dial_pod(*state, AF_INET, port);
	assert_int_equal(write(c, "eager", 5), 5);
	(void)close(c);
	int s = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_reads(s, "eager");
	assert_int_equal(read(s, (char[1]){0}, 1), 0);
	(void)close(s);
	(void)close(listener);
}

static void a_port_without_a_server_resets_the_client(void **state)
{
	unsigned port;
	(void)close(serve(AF_INET, &port));
	assert_reset(dial_pod(*state, AF_INET, port));
	assert_reset(dial_pod(*state, AF_INET6, port));
	talk(*state, AF_INET, AF_INET); /* and the next one is served */
}

static void a_guest_that_cannot_be_reached_resets_the_client(void **state)
{
	struct fixture *f = *state;
	f->dial_error = -ECONNREFUSED;
	assert_reset(dial_pod(f, AF_INET, 80));
	assert_reset(dial_pod(f, AF_INET, 80));
	f->dial_error = 0;
	talk(f, AF_INET, AF_INET);
}

static void an_agent_that_answers_nonsense_resets_the_client(void **state)
{
	static const char *const scripts[] = {
		"", "OK", "ERR no\n", "ERR", "NO\n", "OKAY\n", "O\nK", "ERR no end", "\n\n\n\n",
	};
	struct fixture *f = *state;
	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		f->script = scripts[i];
		assert_reset(dial_pod(f, AF_INET, 80));
	}
}

static void what_follows_the_answer_is_the_servers(void **state)
{
	struct fixture *f = *state;
	f->script = "OK\nERR is what I say\n";
	int c = dial_pod(f, AF_INET, 80);
	assert_reads(c, "ERR is what I say\n");
	assert_int_equal(read(c, (char[1]){0}, 1), 0);
	(void)close(c);
}

static void many_are_served_at_once(void **state)
{
	enum { N = PORT_FORWARD_CONNS_MAX + 10 };
	unsigned port;
	int listener = serve(AF_INET, &port), c[N], s[N];
	/* more than there may be: the rest waits in the backlog until others have gone */
	for (int i = 0; i < N; i++)
		assert_true((c[i] = dial_pod(*state, i % 2 ? AF_INET : AF_INET6, port)) >= 0);
	for (int i = 0; i < N; i++) {
		s[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		assert_int_equal(write(s[i], "x", 1), 1);
		(void)close(s[i]);
		if (i == PORT_FORWARD_CONNS_MAX - 1)
			for (int k = 0; k < N; k++)
				(void)shutdown(c[k], SHUT_WR);
	}
	for (int i = 0; i < N; i++) {
		assert_reads(c[i], "x");
		(void)close(c[i]);
	}
	(void)close(listener);
}

static void the_end_of_the_service_closes_everything(void **state)
{
	struct fixture *f = *state;
	unsigned port;
	int listener = serve(AF_INET, &port), c = dial_pod(f, AF_INET, port);
	int s = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_int_equal(write(s, "x", 1), 1);
	assert_reads(c, "x");
	end_shim(f);
	assert_int_equal(read(c, (char[1]){0}, 1), 0);
	assert_int_equal(read(s, (char[1]){0}, 1), 0);
	assert_int_equal(dial_pod(f, AF_INET, port), -ECONNREFUSED);
	assert_int_equal(dial_pod(f, AF_INET6, port), -ECONNREFUSED);
	(void)close(c);
	(void)close(s);
	(void)close(listener);
}

static void *release(void *hold)
{
	(void)usleep(100 * 1000);
	(void)sem_post(hold);
	return NULL;
}

static void the_end_waits_for_a_dial(void **state)
{
	struct fixture *f = *state;
	pthread_t t;
	sem_t hold;
	(void)sem_init(&hold, 0, 0);
	f->hold = &hold;
	int c = dial_pod(f, AF_INET, 80), waiting = dial_pod(f, AF_INET, 80);
	while (sem_wait(&f->dialling) < 0)
		;
	assert_int_equal(pthread_create(&t, NULL, release, &hold), 0);
	port_forward_stop(f->shim);
	(void)pthread_join(t, NULL);
	(void)sem_destroy(&hold); /* nobody is in dial() any more */
	f->hold = NULL;
	on_loop(f, free_shim);
	/* both are told, one way or the other */
	assert_true(read(c, (char[1]){0}, 1) <= 0);
	assert_true(read(waiting, (char[1]){0}, 1) <= 0);
	(void)close(c);
	(void)close(waiting);
}

static void the_hosts_own_namespace_is_refused(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	struct port_forward *other = NULL;
	struct port_forward_params p = {
		.loop = f->loop, .workers = f->workers, .dial = dial, .arg = f};
	p.netns_fd = netns_open("/proc/self/ns/net", NULL);
	assert_int_equal(port_forward_new(&p, &other, &e), -EOPNOTSUPP);
	assert_non_null(strstr(e.text, "is the host's"));
	assert_null(other);
	(void)close(p.netns_fd);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(client_and_server_meet),
		TEST(nothing_is_lost_while_the_agent_is_asked),
		TEST(a_port_without_a_server_resets_the_client),
		TEST(a_guest_that_cannot_be_reached_resets_the_client),
		TEST(an_agent_that_answers_nonsense_resets_the_client),
		TEST(what_follows_the_answer_is_the_servers),
		TEST(many_are_served_at_once),
		TEST(the_end_of_the_service_closes_everything),
		TEST(the_end_waits_for_a_dial),
		TEST(the_hosts_own_namespace_is_refused),
	};
	if (geteuid() != 0) {
		(void)fprintf(stderr, "test-port-forward makes namespaces: run it as root\n");
		return 1;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	if (getenv("TEST_LOG")) {
		log_add_sink(log_sink_fd, (void *)(intptr_t)STDERR_FILENO);
		log_set_level(LOG_DEBUG);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
