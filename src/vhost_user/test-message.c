/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost_user/message.h"

#include "base/testing.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

struct bench {
	int front, back;
	struct vhost_user_message m;
	struct err e;
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof *b);
	int sv[2];

	assert_non_null(b);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	b->front = sv[0];
	b->back = sv[1];
	vhost_user_message_init(&b->m);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	vhost_user_message_clear(&b->m);
	(void)close_fd(b->front);
	(void)close_fd(b->back);
	free(b);
	return 0;
}

/* Sends bytes with @n_fds fresh eventfds, which are closed on this side. */
static void send_bytes(struct bench *b, const void *data, size_t len, unsigned n_fds)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * 32)];
		struct cmsghdr align;
	} control = {.buf = ""};
	struct iovec iov = {(void *)data, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	int fds[32];

	for (unsigned i = 0; i < n_fds; i++) {
		fds[i] = eventfd(0, EFD_CLOEXEC);
		assert_true(fds[i] >= 0);
	}
	if (n_fds > 0) {
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	assert_int_equal(sendmsg(b->front, &msg, MSG_NOSIGNAL), len);
	for (unsigned i = 0; i < n_fds; i++)
		assert_int_equal(close(fds[i]), 0);
}

static void send_request(struct bench *b, uint32_t request, uint32_t flags, uint32_t size,
			 unsigned n_fds)
{
	uint8_t bytes[sizeof(struct vhost_user_header) + 4096] = {0};
	struct vhost_user_header h = {request, flags, size};

	memcpy(bytes, &h, sizeof h);
	for (uint32_t i = 0; i < size && i < 4096; i++)
		bytes[sizeof h + i] = (uint8_t)i;
	send_bytes(b, bytes, sizeof h + (size < 4096 ? size : 4096), n_fds);
}

static unsigned open_fds(void)
{
	unsigned n = 0;
	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static int recv_one(struct bench *b)
{
	return vhost_user_message_recv(&b->m, b->back, &b->e);
}

/* What the protocol's text says of each request: payload and descriptors. */
static const struct {
	uint32_t request;
	uint32_t size;
	bool flexible; /* other sizes too */
	unsigned min_fds, max_fds;
} wire[] = {
	{VHOST_USER_GET_FEATURES, 0, false, 0, 0},
	{VHOST_USER_SET_FEATURES, 8, false, 0, 0},
	{VHOST_USER_SET_OWNER, 0, false, 0, 0},
	{VHOST_USER_RESET_OWNER, 0, false, 0, 0},
	{VHOST_USER_SET_MEM_TABLE, 8 + 2 * 32, true, 0, 8},
	{VHOST_USER_SET_VRING_NUM, 8, false, 0, 0},
	{VHOST_USER_SET_VRING_ADDR, 40, false, 0, 0},
	{VHOST_USER_SET_VRING_BASE, 8, false, 0, 0},
	{VHOST_USER_GET_VRING_BASE, 8, false, 0, 0},
	{VHOST_USER_SET_VRING_KICK, 8, false, 0, 1},
	{VHOST_USER_SET_VRING_CALL, 8, false, 0, 1},
	{VHOST_USER_SET_VRING_ERR, 8, false, 0, 1},
	{VHOST_USER_GET_PROTOCOL_FEATURES, 0, false, 0, 0},
	{VHOST_USER_SET_PROTOCOL_FEATURES, 8, false, 0, 0},
	{VHOST_USER_GET_QUEUE_NUM, 0, false, 0, 0},
	{VHOST_USER_SET_VRING_ENABLE, 8, false, 0, 0},
	{VHOST_USER_GET_CONFIG, 12 + 8, true, 0, 0},
	{VHOST_USER_GET_MAX_MEM_SLOTS, 0, false, 0, 0},
	{VHOST_USER_ADD_MEM_REG, 40, false, 1, 1},
	{VHOST_USER_REM_MEM_REG, 40, false, 0, 1},
};

static void every_request_is_taken(void **state)
{
	struct bench *b = *state;

	for (size_t i = 0; i < ARRAY_SIZE(wire); i++) {
		for (unsigned n = wire[i].min_fds; n <= wire[i].max_fds; n++) {
			unsigned before = open_fds();
			send_request(b, wire[i].request, 1, wire[i].size, n);
			if (recv_one(b) != 1)
				fail_msg("request %u: %s", wire[i].request, b->e.text);
			assert_int_equal(b->m.h.request, wire[i].request);
			assert_int_equal(b->m.n_fds, n);
			assert_int_equal(open_fds(), before + n);
			for (uint32_t k = 0; k < wire[i].size; k++)
				assert_int_equal(((uint8_t *)&b->m.p)[k], k & 0xff);
			assert_non_null(vhost_user_request_name(wire[i].request));
			vhost_user_message_clear(&b->m);
			assert_int_equal(open_fds(), before);
			assert_int_equal(recv_one(b), 0);
		}
	}
}

static void refused(uint32_t request, uint32_t flags, uint32_t size, unsigned n_fds,
		    const char *what)
{
	struct bench *b;
	unsigned before = open_fds();

	setup((void **)&b);
	send_request(b, request, flags, size, n_fds);
	if (recv_one(b) != -EPROTO)
		fail_msg("request %u, size %u, %u descriptors: %s is taken", request, size, n_fds,
			 what);
	assert_true(strlen(b->e.text) > 0);
	teardown((void **)&b);
	assert_int_equal(open_fds(), before);
}

static void every_wrong_size_is_refused(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(wire); i++) {
		unsigned n = wire[i].min_fds;
		if (!wire[i].flexible) {
			refused(wire[i].request, 1, wire[i].size + 1, n, "one byte too many");
			if (wire[i].size > 0)
				refused(wire[i].request, 1, wire[i].size - 1, n, "one too few");
		}
		refused(wire[i].request, 1, UINT32_MAX, n, "a huge size");
		refused(wire[i].request, 1, 4096, n, "a big size");
	}
	refused(VHOST_USER_SET_MEM_TABLE, 1, 7, 0, "half a table's head");
	refused(VHOST_USER_SET_MEM_TABLE, 1, 8 + 8 * 32 + 1, 0, "nine regions");
	refused(VHOST_USER_GET_CONFIG, 1, 11, 0, "half a head");
	refused(VHOST_USER_GET_CONFIG, 1, 12 + 257, 0, "too much configuration");
	refused(200, 1, 4096, 0, "a huge unknown one");
}

static void every_wrong_number_of_descriptors_is_refused(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(wire); i++) {
		for (unsigned n = wire[i].max_fds + 1; n <= wire[i].max_fds + 2; n++)
			refused(wire[i].request, 1, wire[i].size, n, "one too many");
		if (wire[i].min_fds > 0)
			refused(wire[i].request, 1, wire[i].size, 0, "none");
	}
	refused(VHOST_USER_SET_MEM_TABLE, 1, 72, 30, "thirty");
	refused(200, 1, 0, 9, "nine to an unknown one");
}

static void wrong_flags_are_refused(void **state)
{
	refused(VHOST_USER_GET_FEATURES, 0, 0, 0, "version 0");
	refused(VHOST_USER_GET_FEATURES, 2, 0, 0, "version 2");
	refused(VHOST_USER_GET_FEATURES, 3, 0, 0, "version 3");
	refused(VHOST_USER_GET_FEATURES, 1 | VHOST_USER_REPLY, 0, 0, "a reply");
}

static void unknown_requests_are_passed_on(void **state)
{
	struct bench *b = *state;
	static const uint32_t unknown[] = {0, 6, 7, 19, 39, 40, 1000, UINT32_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
		send_request(b, unknown[i], 1 | VHOST_USER_NEED_REPLY, 16, 2);
		assert_int_equal(recv_one(b), 1);
		assert_null(vhost_user_request_name(unknown[i]));
		assert_false(vhost_user_request_answers(unknown[i]));
		vhost_user_message_clear(&b->m);
	}
}

static void message_may_come_in_pieces(void **state)
{
	struct bench *b = *state;
	uint8_t bytes[sizeof(struct vhost_user_header) + 8] = {0};
	struct vhost_user_header h = {VHOST_USER_SET_VRING_KICK, 1, 8};

	memcpy(bytes, &h, sizeof h);
	bytes[sizeof h] = 1;
	for (size_t i = 0; i < sizeof bytes; i++) {
		assert_int_equal(recv_one(b), 0);
		/* The descriptor rides on a byte in the middle of the payload. */
		send_bytes(b, bytes + i, 1, i == sizeof h + 3);
	}
	assert_int_equal(recv_one(b), 1);
	assert_int_equal(b->m.p.u64, 1);
	assert_int_equal(b->m.n_fds, 1);
}

static void messages_do_not_mix(void **state)
{
	struct bench *b = *state;

	send_request(b, VHOST_USER_SET_VRING_KICK, 1, 8, 1);
	send_request(b, VHOST_USER_SET_FEATURES, 1, 8, 0);
	send_request(b, VHOST_USER_SET_VRING_CALL, 1, 8, 1);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(recv_one(b), 1);
		assert_int_equal(b->m.n_fds, i != 1);
		vhost_user_message_clear(&b->m);
	}
	assert_int_equal(recv_one(b), 0);
}

static void end_is_told(void **state)
{
	struct bench *b = *state;

	send_bytes(b, "\1\0\0\0", 4, 2); /* and the descriptors of half a message are closed */
	unsigned before = open_fds();
	b->front = close_fd(b->front);
	assert_int_equal(recv_one(b), -ECONNRESET);
	assert_int_equal(open_fds(), before + 1);
}

static void answers(void **state)
{
	struct bench *b = *state;
	struct {
		struct vhost_user_header h;
		uint64_t u64;
	} __attribute__((packed)) a;
	uint64_t v = 0x1122334455667788;

	b->m.h.request = VHOST_USER_GET_FEATURES;
	assert_int_equal(vhost_user_message_reply(b->back, &b->m, &v, sizeof v), 0);
	assert_int_equal(read(b->front, &a, sizeof a), sizeof a);
	assert_int_equal(a.h.request, VHOST_USER_GET_FEATURES);
	assert_int_equal(a.h.flags, 1 | VHOST_USER_REPLY);
	assert_int_equal(a.h.size, 8);
	assert_int_equal(a.u64, v);
	/* A front end that does not read what it asked for. */
	int r = 0;
	for (unsigned i = 0; i < 100000 && r == 0; i++)
		r = vhost_user_message_reply(b->back, &b->m, &v, sizeof v);
	assert_true(r == -EAGAIN || r == -EPIPE);
	b->front = close_fd(b->front);
	assert_true(vhost_user_message_reply(b->back, &b->m, &v, sizeof v) < 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_request_is_taken),
		cmocka_unit_test(every_wrong_size_is_refused),
		cmocka_unit_test(every_wrong_number_of_descriptors_is_refused),
		cmocka_unit_test(wrong_flags_are_refused),
		TEST(unknown_requests_are_passed_on),
		TEST(message_may_come_in_pieces),
		TEST(messages_do_not_mix),
		TEST(end_is_told),
		TEST(answers),
	};
	return RUN_TESTS();
}
