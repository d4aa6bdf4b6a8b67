/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vsock-hybrid.h"

#include "base/clock.h"
#include "base/testing.h"
#include "devices/testing-vsock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

struct bench {
	struct testing_vsock t;
	struct vsock_hybrid *h;
	char dir[64];
	char path[96];
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof *b);
	struct err e = ERR_INIT;

	assert_non_null(b);
	testing_vsock_init(&b->t, 128, true);
	strcpy(b->dir, "/tmp/test-vsock-hybrid.XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	(void)snprintf(b->path, sizeof b->path, "%s/v.sock", b->dir);
	if (vsock_hybrid_new(b->t.loop, b->t.v, b->path, &b->h, &e) < 0)
		fail_msg("%s", e.text);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	vsock_hybrid_free(b->h);
	testing_vsock_deinit(&b->t);
	assert_int_equal(access(b->path, F_OK), -1);
	assert_int_equal(rmdir(b->dir), 0);
	free(b);
	return 0;
}

static void turn(struct bench *b)
{
	for (unsigned i = 0; i < 4; i++)
		testing_vsock_turn(&b->t);
}

static int dial(struct bench *b)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, b->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void assert_says(int fd, const char *text)
{
	char buf[128] = "";
	ssize_t n = read(fd, buf, sizeof buf - 1);
	if (n < 0)
		fail_msg("nothing came where \"%s\" was expected", text);
	assert_string_equal(buf, text);
}

static void assert_closed(int fd)
{
	char c;
	ssize_t n = read(fd, &c, 1);
	if (n < 0 && errno == ECONNRESET) /* closed with bytes of ours unread */
		n = 0;
	assert_int_equal(n, 0);
	assert_int_equal(close(fd), 0);
}

/* The guest gets a REQUEST and answers it. */
static uint32_t guest_answers(struct bench *b, uint32_t port, uint16_t op)
{
	struct testing_packet p;

	assert_true(testing_vsock_recv(&b->t, &p));
	assert_int_equal(p.h.op, VIRTIO_VSOCK_OP_REQUEST);
	assert_int_equal(p.h.dst_port, port);
	testing_vsock_done(&b->t, &p);
	assert_true(testing_vsock_send(&b->t, op, port, p.h.src_port, 0, NULL, 0));
	return p.h.src_port;
}

static void parses(void **state)
{
	static const char *const good[] = {"CONNECT 1024\n", "connect 1024\n", "cOnNeCt 1024\n",
					   "CONNECT 00000000000000000001024\n"};
	static const char *const bad[] = {
		"",
		"\n",
		"CONNECT\n",
		"CONNECT \n",
		"CONNECT 1024",
		"CONNECT  1024\n",
		"CONNECT 1024 \n",
		"CONNECT 1024\r\n",
		"CONNECT -1\n",
		"CONNECT +1\n",
		"CONNECT 0x10\n",
		"CONNECT 4294967295\n",
		"CONNECT 4294967296\n",
		"CONNECT 18446744073709552640\n",
		"CONNECT 000000000000000000001024\n",
		" CONNECT 1024\n",
		"DISCONNECT 1024\n",
	};
	uint32_t port = 0;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(vsock_hybrid_parse(good[i], strlen(good[i]), &port), 0);
		assert_int_equal(port, 1024);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (vsock_hybrid_parse(bad[i], strlen(bad[i]), &port) != -EPROTO)
			fail_msg("\"%s\" was taken", bad[i]);
	assert_int_equal(vsock_hybrid_parse("CONNECT 4294967294\n", 19, &port), 0);
	assert_int_equal(port, 4294967294u);
}

static void connects(void **state)
{
	struct bench *b = *state;
	struct testing_packet p;
	char ok[32];

	int fd = dial(b);
	/* What follows the line is the stream's. */
	say(fd, "connect 1024\nfor the guest");
	turn(b);
	uint32_t port = guest_answers(b, 1024, VIRTIO_VSOCK_OP_RESPONSE);
	assert_true(testing_vsock_send(&b->t, VIRTIO_VSOCK_OP_RW, 1024, port, 0, "for you", 7));
	(void)snprintf(ok, sizeof ok, "OK %u\nfor you", port);
	assert_says(fd, ok);
	turn(b);
	assert_true(testing_vsock_recv(&b->t, &p));
	assert_int_equal(p.len, 13);
	assert_memory_equal(p.data, "for the guest", 13);
	assert_int_equal(close(fd), 0);
}

static void line_may_come_in_pieces(void **state)
{
	struct bench *b = *state;
	const char *line = "CONNECT 7\n";

	int fd = dial(b);
	for (; *line; line++) {
		assert_int_equal(write(fd, line, 1), 1);
		turn(b);
	}
	guest_answers(b, 7, VIRTIO_VSOCK_OP_RESPONSE);
	char ok[4] = "";
	assert_int_equal(read(fd, ok, 3), 3);
	assert_string_equal(ok, "OK ");
	assert_int_equal(close(fd), 0);
}

static void refusal_is_an_end(void **state)
{
	struct bench *b = *state;

	int fd = dial(b);
	say(fd, "CONNECT 9\n");
	turn(b);
	guest_answers(b, 9, VIRTIO_VSOCK_OP_RST);
	turn(b);
	assert_closed(fd);
}

static void nonsense_is_an_end(void **state)
{
	struct bench *b = *state;
	static const char *const lines[] = {"GET / HTTP/1.1\r\n", "CONNECT x\n", "\n",
					    "an endless line that never comes to its end at all"};
	struct testing_packet p;

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		int fd = dial(b);
		say(fd, lines[i]);
		turn(b);
		assert_closed(fd);
	}
	assert_false(testing_vsock_recv(&b->t, &p));
}

static void client_that_leaves_is_forgotten(void **state)
{
	struct bench *b = *state;
	struct testing_packet p;

	int fd = dial(b);
	turn(b);
	assert_int_equal(close(fd), 0);
	fd = dial(b);
	say(fd, "CONNECT 5\n");
	turn(b);
	assert_true(testing_vsock_recv(&b->t, &p));
	testing_vsock_done(&b->t, &p);
	assert_int_equal(close(fd), 0);
	turn(b);
	assert_true(testing_vsock_recv(&b->t, &p));
	assert_int_equal(p.h.op, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(vsock_count(b->t.v), 0);
}

static void slow_clients_hold_up_nobody(void **state)
{
	struct bench *b = *state;
	int slow[VSOCK_HYBRID_PENDING_MAX];

	for (unsigned i = 0; i < VSOCK_HYBRID_PENDING_MAX - 1; i++) {
		slow[i] = dial(b);
		say(slow[i], "CONN");
		turn(b);
	}
	int fd = dial(b);
	say(fd, "CONNECT 5\n");
	turn(b);
	guest_answers(b, 5, VIRTIO_VSOCK_OP_RESPONSE);
	assert_int_equal(close(fd), 0);
	/* One too many waits in the backlog until another one ends. */
	slow[VSOCK_HYBRID_PENDING_MAX - 1] = dial(b);
	fd = dial(b);
	say(fd, "CONNECT 6\n");
	turn(b);
	turn(b);
	struct testing_packet p;
	while (testing_vsock_recv(&b->t, &p)) {
		assert_int_not_equal(p.h.op, VIRTIO_VSOCK_OP_REQUEST);
		testing_vsock_done(&b->t, &p);
	}
	for (unsigned i = 0; i < VSOCK_HYBRID_PENDING_MAX; i++)
		assert_int_equal(close(slow[i]), 0);
	turn(b);
	turn(b);
	guest_answers(b, 6, VIRTIO_VSOCK_OP_RESPONSE);
	assert_int_equal(close(fd), 0);
}

static void guest_reaches_unix_sockets(void **state)
{
	struct bench *b = *state;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct testing_packet p;

	assert_true(testing_vsock_send(&b->t, VIRTIO_VSOCK_OP_REQUEST, 5, 1025, 0, NULL, 0));
	assert_true(testing_vsock_recv(&b->t, &p));
	assert_int_equal(p.h.op, VIRTIO_VSOCK_OP_RST); /* nobody listens */
	testing_vsock_done(&b->t, &p);

	(void)snprintf(addr.sun_path, sizeof addr.sun_path, "%s_1025", b->path);
	int l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(l, (struct sockaddr *)&addr, sizeof addr), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_true(testing_vsock_send(&b->t, VIRTIO_VSOCK_OP_REQUEST, 5, 1025, 0, NULL, 0));
	assert_true(testing_vsock_send(&b->t, VIRTIO_VSOCK_OP_RW, 5, 1025, 0, "log line", 8));
	int fd = accept(l, NULL, NULL);
	assert_true(fd >= 0);
	assert_says(fd, "log line");
	assert_true(testing_vsock_recv(&b->t, &p));
	assert_int_equal(p.h.op, VIRTIO_VSOCK_OP_RESPONSE);
	assert_int_equal(close(fd), 0);
	assert_int_equal(close(l), 0);
	assert_int_equal(unlink(addr.sun_path), 0);
}

static void socket_is_private(void **state)
{
	struct bench *b = *state;
	struct stat st;

	assert_int_equal(stat(b->path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void stale_socket_is_replaced_and_files_are_not(void **state)
{
	struct bench *b = *state;
	struct err e = ERR_INIT;
	struct vsock_hybrid *h = NULL;
	char file[128], endless[256];

	/* The port is taken by the first; it goes, and leaves a dead socket behind. */
	assert_int_equal(vsock_hybrid_new(b->t.loop, b->t.v, b->path, &h, &e), -EADDRINUSE);
	vsock_hybrid_free(b->h);
	b->h = NULL;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	strcpy(addr.sun_path, b->path);
	int l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(l, (struct sockaddr *)&addr, sizeof addr), 0);
	assert_int_equal(close(l), 0);
	assert_int_equal(vsock_hybrid_new(b->t.loop, b->t.v, b->path, &b->h, &e), 0);
	vsock_hybrid_free(b->h);

	(void)snprintf(file, sizeof file, "%s/file", b->dir);
	int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(close(fd), 0);
	assert_int_equal(vsock_hybrid_new(b->t.loop, b->t.v, file, &b->h, &e), -EADDRINUSE);
	assert_int_equal(unlink(file), 0);
	memset(endless, 'x', sizeof endless - 1);
	endless[sizeof endless - 1] = '\0';
	assert_int_equal(vsock_hybrid_new(b->t.loop, b->t.v, endless, &b->h, &e), -ENAMETOOLONG);
	b->h = NULL;
}

static void lack_of_descriptors_is_survived(void **state)
{
	struct bench *b = *state;
	struct rlimit old, low;

	int fd = dial(b);
	say(fd, "CONNECT 5\n");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)fd + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	for (unsigned i = 0; i < 5; i++)
		testing_vsock_turn(&b->t);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	struct testing_packet p;
	uint64_t deadline = time_deadline(5000);
	while (!testing_vsock_recv(&b->t, &p) && time_now_ms() < deadline)
		testing_vsock_turn(&b->t);
	assert_int_equal(p.h.op, VIRTIO_VSOCK_OP_REQUEST);
	assert_int_equal(close(fd), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses),
		TEST(connects),
		TEST(line_may_come_in_pieces),
		TEST(refusal_is_an_end),
		TEST(nonsense_is_an_end),
		TEST(client_that_leaves_is_forgotten),
		TEST(slow_clients_hold_up_nobody),
		TEST(guest_reaches_unix_sockets),
		TEST(socket_is_private),
		TEST(stale_socket_is_replaced_and_files_are_not),
		TEST(lack_of_descriptors_is_survived),
	};
	return RUN_TESTS();
}
