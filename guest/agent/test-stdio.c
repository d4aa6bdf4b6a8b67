/* SPDX-License-Identifier: Apache-2.0 */
/* Stdio by streams that the host opens beforehand, and the debug console. Needs root. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/console.h"
#include "guest/agent/test-client.h"

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define WAIT_MS 20000

static struct fixture f;
static const char *agent_program;
static char passfd_path[96], console_path[96];

struct streams {
	int in, out, errout;
};

/* Opens three and has the next create() or exec() name them. */
static struct streams open_streams(void)
{
	static uint32_t port = 1000;
	struct streams s = {stream_open(passfd_path, port + 1), stream_open(passfd_path, port + 2),
			    stream_open(passfd_path, port + 3)};

	for (size_t i = 0; i < 3; i++)
		f.ports[i] = port + 1 + (uint32_t)i;
	port += 3;
	return s;
}

static void close_streams(struct streams *s)
{
	s->in = close_fd(s->in);
	s->out = close_fd(s->out);
	s->errout = close_fd(s->errout);
	memset(f.ports, 0, sizeof f.ports);
}

/* Reads to the end of the stream and returns the number of bytes; @text may be NULL. */
static size_t drain(int fd, struct buf *text)
{
	static char data[1 << 16];
	size_t total = 0;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		ssize_t n = read(fd, data, sizeof data);
		assert_true(n >= 0);
		if (n == 0)
			return total;
		total += (size_t)n;
		if (text)
			buf_append(text, data, (size_t)n);
	}
}

static void expect(int fd, const char *expected)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	(void)drain(fd, &text);
	assert_string_equal(text.data ? text.data : "", expected);
}

static void wait_async(const char *id, const char *exec_id, bool early, struct async *a)
{
	Grpc__WaitProcessRequest q = GRPC__WAIT_PROCESS_REQUEST__INIT;

	q.container_id = (char *)id;
	q.exec_id = (char *)exec_id;
	q.early = early;
	call_async(&f, "WaitProcess", &q.base, a);
}

static void the_feature_is_told(void **state)
{
	Grpc__GuestDetailsRequest q = GRPC__GUEST_DETAILS_REQUEST__INIT;
	Grpc__GuestDetailsResponse *details = NULL;
	bool told = false;

	assert_int_equal(call(&f, "GetGuestDetails", &q.base, &details, NULL), STATUS_OK);
	for (size_t i = 0; i < details->agent_details->n_extra_features; i++)
		told |= strcmp(details->agent_details->extra_features[i], "stdio-stream") == 0;
	assert_true(told);
	grpc__guest_details_response__free_unpacked(details, NULL);
}

static void the_streams_are_the_process_own(void **state)
{
	run(&f, "own", "sleep 1000");
	struct streams s = open_streams();
	assert_int_equal(exec_sh(&f, "own", "e", "cat; echo err >&2; exit 3"), STATUS_OK);
	assert_int_equal(write(s.in, "to and fro\n", 11), 11);
	assert_int_equal(shutdown(s.in, SHUT_WR), 0);
	expect(s.out, "to and fro\n");
	expect(s.errout, "err\n");
	assert_int_equal(wait_process(&f, "own", "e"), 3);
	close_streams(&s);

	/* a container's init, too */
	s = open_streams();
	assert_int_equal(
		create(&f, "init", &(struct container_options){.script = "read x; echo $x"}, NULL),
		STATUS_OK);
	assert_int_equal(start(&f, "init"), STATUS_OK);
	assert_int_equal(write(s.in, "word\n", 5), 5);
	expect(s.out, "word\n");
	expect(s.errout, "");
	assert_int_equal(wait_process(&f, "init", ""), 0);
	close_streams(&s);
	assert_int_equal(remove_container(&f, "init", 20), STATUS_OK);
	assert_int_equal(remove_container(&f, "own", 20), STATUS_OK);
}

static void a_lot_passes(void **state)
{
	run(&f, "lot", "sleep 1000");
	struct streams s = open_streams();
	assert_int_equal(exec_sh(&f, "lot", "e", "head -c 104857600 /dev/zero"), STATUS_OK);
	assert_int_equal(drain(s.out, NULL), 104857600);
	assert_int_equal(wait_process(&f, "lot", "e"), 0);
	close_streams(&s);

	s = open_streams();
	assert_int_equal(exec_sh(&f, "lot", "i", "wc -c"), STATUS_OK);
	static char zeroes[1 << 16];
	for (int i = 0; i < 512; i++)
		assert_int_equal(send(s.in, zeroes, sizeof zeroes, 0), sizeof zeroes);
	assert_int_equal(shutdown(s.in, SHUT_WR), 0);
	expect(s.out, "33554432\n");
	assert_int_equal(wait_process(&f, "lot", "i"), 0);
	close_streams(&s);
	assert_int_equal(remove_container(&f, "lot", 20), STATUS_OK);
}

/* The runtime of the field drops the streams once Wait is answered. */
static void the_end_is_told_after_the_output(void **state)
{
	struct async late, early;

	run(&f, "end", "sleep 1000");
	struct streams s = open_streams();
	/* more than the pipe and the sockets hold, but all of it written before the exit */
	assert_int_equal(exec_sh(&f, "end", "e", "head -c 1000000 /dev/zero; exit 9"), STATUS_OK);
	wait_async("end", "e", false, &late);
	wait_async("end", "e", true, &early);
	assert_true(async_wait(&early, WAIT_MS));
	assert_int_equal(((Grpc__WaitProcessResponse *)early.response)->status, 9);
	assert_false(async_wait(&late, 300));
	assert_int_equal(drain(s.out, NULL), 1000000);
	assert_true(async_wait(&late, WAIT_MS));
	assert_int_equal(((Grpc__WaitProcessResponse *)late.response)->status, 9);
	async_end(&late);
	async_end(&early);
	close_streams(&s);
	assert_int_equal(remove_container(&f, "end", 20), STATUS_OK);
}

static void a_child_left_behind_holds_up_nothing(void **state)
{
	run(&f, "left", "sleep 1000");
	struct streams s = open_streams();
	assert_int_equal(exec_sh(&f, "left", "e", "sleep 900 & echo done"), STATUS_OK);
	expect(s.out, "done\n");
	assert_int_equal(wait_process(&f, "left", "e"), 0);
	close_streams(&s);
	assert_int_equal(exec_sh(&f, "left", "f", "exit 4"), STATUS_OK);
	assert_int_equal(wait_process(&f, "left", "f"), 4);
	assert_int_equal(remove_container(&f, "left", 20), STATUS_OK);
}

static void a_host_that_hangs_up_loses_nothing_but_output(void **state)
{
	run(&f, "gone", "sleep 1000");
	struct streams s = open_streams();
	assert_int_equal(exec_sh(&f, "gone", "e", "cat; echo heard; exit 5"), STATUS_OK);
	close_streams(&s);
	assert_int_equal(wait_process(&f, "gone", "e"), 5);
	assert_int_equal(remove_container(&f, "gone", 20), STATUS_OK);
}

static void terminals_have_one_stream_for_both(void **state)
{
	const char *argv[] = {"/bin/sh", "-c", "test -t 0 && read x && echo got $x >&2", NULL};
	_cleanup_buf_ struct buf text = BUF_INIT;

	run(&f, "tty", "sleep 1000");
	struct streams s = open_streams();
	assert_int_equal(exec(&f, "tty", "e", true, argv, NULL), STATUS_OK);
	assert_int_equal(write(s.in, "it\n", 3), 3);
	(void)drain(s.out, &text);
	assert_non_null(strstr(text.data, "got it"));
	expect(s.errout, "");
	assert_int_equal(wait_process(&f, "tty", "e"), 0);
	close_streams(&s);
	assert_int_equal(remove_container(&f, "tty", 20), STATUS_OK);
}

static void a_stream_that_is_not_there_is_said(void **state)
{
	struct err e = ERR_INIT;

	f.ports[1] = 77777;
	assert_int_equal(create(&f, "none", &(struct container_options){.script = "true"}, &e),
			 STATUS_NOT_FOUND);
	assert_non_null(strstr(e.text, "77777"));
	f.ports[1] = 0;
	/* nothing is left of the attempt */
	run(&f, "none", "sleep 1000");
	f.ports[0] = 77778;
	assert_int_equal(exec_sh(&f, "none", "e", "true"), STATUS_NOT_FOUND);
	f.ports[0] = 0;
	assert_int_equal(exec_sh(&f, "none", "e", "true"), STATUS_OK);
	assert_int_equal(wait_process(&f, "none", "e"), 0);
	assert_int_equal(remove_container(&f, "none", 20), STATUS_OK);
}

static void streams_that_nobody_uses_are_bounded(void **state)
{
	int fds[300];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = stream_open(passfd_path, 500000 + (uint32_t)i);
	/* the oldest was given up for the newest */
	struct pollfd p = {.fd = fds[0], .events = POLLIN};
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	char byte;
	assert_int_equal(read(fds[0], &byte, 1), 0);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		(void)close(fds[i]);
}

/* ---- The debug console --------------------------------------------------------------------- */

static int open_console(void)
{
	struct sockaddr_un them = {.sun_family = AF_UNIX};

	(void)snprintf(them.sun_path, sizeof them.sun_path, "%s", console_path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&them, sizeof them), 0);
	return fd;
}

static void type(int fd, const char *line)
{
	assert_int_equal(send(fd, line, strlen(line), MSG_NOSIGNAL), strlen(line));
}

/* Reads until @word has come; the text so far is in @text. */
static void await_word(int fd, const char *word, struct buf *text)
{
	char data[512];

	while (!text->data || !strstr(text->data, word)) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		ssize_t n = read(fd, data, sizeof data);
		assert_true(n > 0);
		buf_append(text, data, (size_t)n);
	}
}

static void the_console_is_a_shell_on_a_terminal(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	int fd = open_console();
	type(fd, "test -t 0 && echo six-$((6*7)); exit\n");
	(void)drain(fd, &text);
	assert_non_null(strstr(text.data, "six-42"));
	(void)close(fd);
}

static void the_console_ends_with_its_input(void **state)
{
	int fd = open_console();
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	(void)drain(fd, NULL);
	(void)close(fd);
}

static void a_client_that_goes_takes_its_shell_along(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	uint64_t deadline = time_deadline(WAIT_MS);

	int fd = open_console();
	type(fd, "echo shell-$((6*7))=$$=\n");
	await_word(fd, "shell-42=", &text);
	await_word(fd, "=\r", &text);
	int pid = atoi(strstr(text.data, "shell-42=") + strlen("shell-42="));
	assert_true(pid > 1);
	assert_int_equal(kill(pid, 0), 0);
	(void)close(fd);
	while (kill(pid, 0) == 0) {
		assert_true(time_left_ms(deadline) > 0);
		(void)usleep(10 * 1000);
	}
}

static void consoles_are_bounded(void **state)
{
	int fds[CONSOLE_SESSIONS_MAX + 1];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = open_console();
	/* the last has its turn when another has ended */
	struct pollfd p = {.fd = fds[CONSOLE_SESSIONS_MAX], .events = POLLIN};
	assert_int_equal(poll(&p, 1, 300), 0);
	(void)close(fds[0]);
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	for (size_t i = 1; i < ARRAY_SIZE(fds); i++)
		(void)close(fds[i]);
}

static int setup(void **state)
{
	char address[128];

	(void)snprintf(passfd_path, sizeof passfd_path, "/tmp/runtime-c-test-passfd-%d",
		       (int)getpid());
	(void)snprintf(address, sizeof address, "unix://%s", passfd_path);
	(void)setenv("KATA_AGENT_PASSFD_ADDR", address, 1);
	(void)snprintf(console_path, sizeof console_path, "/tmp/runtime-c-test-console-%d",
		       (int)getpid());
	(void)snprintf(address, sizeof address, "unix://%s", console_path);
	(void)setenv("KATA_AGENT_CONSOLE_ADDR", address, 1);
	fixture_start(&f, agent_program);
	return 0;
}

static int teardown(void **state)
{
	int status = fixture_stop(&f);
	(void)unlink(passfd_path);
	(void)unlink(console_path);
	return status;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_feature_is_told),
		cmocka_unit_test(the_streams_are_the_process_own),
		cmocka_unit_test(a_lot_passes),
		cmocka_unit_test(the_end_is_told_after_the_output),
		cmocka_unit_test(a_child_left_behind_holds_up_nothing),
		cmocka_unit_test(a_host_that_hangs_up_loses_nothing_but_output),
		cmocka_unit_test(terminals_have_one_stream_for_both),
		cmocka_unit_test(a_stream_that_is_not_there_is_said),
		cmocka_unit_test(streams_that_nobody_uses_are_bounded),
		cmocka_unit_test(the_console_is_a_shell_on_a_terminal),
		cmocka_unit_test(the_console_ends_with_its_input),
		cmocka_unit_test(a_client_that_goes_takes_its_shell_along),
		cmocka_unit_test(consoles_are_bounded),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s AGENT\n", argv[0]);
		return 2;
	}
	agent_program = argv[1];
	return cmocka_run_group_tests(tests, setup, teardown);
}
