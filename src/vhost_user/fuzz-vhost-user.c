/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A front end that says what the input says, to a real vsock device. The input is records: byte 0
 * tells how many descriptors come along (bits 0-3), their kind (bits 4-5: memory file, eventfds,
 * a pipe's end, the socket itself), and whether the next byte gives the length of raw bytes instead
 * of a header that is right; then a request number, and the payload by that request's size.
 *
 * Addresses in the input are taken as they are; those of the seeds meet the memory file.
 */
#include "devices/testing-guest.h"
#include "devices/vsock.h"
#include "vhost_user/message.h"
#include "vhost_user/server.h"
#include "vhost_user/testing-front-end.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define RAM (64u << 10)
#define QUEUE 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct testing_ram ram;
static struct testing_driver drv[2];
static int kick = -1, call = -1, pipe_end = -1;

static void prepare(void)
{
	int p[2];

	if (!ram.mapping) {
		testing_ram_init(&ram, RAM);
		kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (kick < 0 || call < 0 || pipe2(p, O_CLOEXEC) < 0)
			abort();
		pipe_end = p[1];
	}
	ram.next = 0;
	for (unsigned i = 0; i < 2; i++)
		testing_driver_init(&drv[i], &ram, QUEUE);
	const struct testing_buf rx = {0x4000, 4096, true}, tx = {0x6000, 100, false};
	for (unsigned i = 0; i < QUEUE; i++) {
		(void)testing_driver_add(&drv[0], &rx, 1);
		(void)testing_driver_add(&drv[1], &tx, 1);
	}
}

static int pick_fd(unsigned kind, unsigned i, int front)
{
	switch (kind) {
	case 0:
		return ram.fd;
	case 1:
		return i ? call : kick;
	case 2:
		return pipe_end;
	default:
		return front;
	}
}

struct size_of {
	uint32_t request;
	uint32_t size;
};

static uint32_t right_size(uint32_t request)
{
	static const struct size_of sizes[] = {
		{VHOST_USER_SET_FEATURES, 8},	  {VHOST_USER_SET_MEM_TABLE, 8 + 2 * 32},
		{VHOST_USER_SET_VRING_NUM, 8},	  {VHOST_USER_SET_VRING_ADDR, 40},
		{VHOST_USER_SET_VRING_BASE, 8},	  {VHOST_USER_GET_VRING_BASE, 8},
		{VHOST_USER_SET_VRING_KICK, 8},	  {VHOST_USER_SET_VRING_CALL, 8},
		{VHOST_USER_SET_VRING_ERR, 8},	  {VHOST_USER_SET_PROTOCOL_FEATURES, 8},
		{VHOST_USER_SET_VRING_ENABLE, 8}, {VHOST_USER_GET_CONFIG, 20},
		{VHOST_USER_ADD_MEM_REG, 40},	  {VHOST_USER_REM_MEM_REG, 40},
	};
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		if (sizes[i].request == request)
			return sizes[i].size;
	return 0;
}

/* Sends one record; returns the bytes of input that it took, 0 at the end. */
static size_t send_record(int front, const uint8_t *data, size_t size)
{
	uint8_t payload[sizeof(union vhost_user_payload)] = {0};
	int fds[16];

	if (size < 2)
		return 0;
	unsigned n_fds = data[0] & 15;
	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = pick_fd(data[0] >> 4 & 3, i, front);
	if (data[0] & 0x80) {
		size_t len = data[1] < size - 2 ? data[1] : size - 2;
		(void)send(front, data + 2, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		return 2 + len;
	}
	uint32_t flags = VHOST_USER_VERSION | (data[0] & 0x40 ? VHOST_USER_NEED_REPLY : 0);
	uint32_t want = right_size(data[1]);
	size_t have = want < size - 2 ? want : size - 2;
	memcpy(payload, data + 2, have);
	(void)testing_front_send(front, data[1], flags, payload, want, fds, n_fds);
	return 2 + have;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct testing_reply reply;
	struct loop *loop = NULL;
	struct vsock *v = NULL;
	struct vhost_user *u = NULL;
	int sv[2];

	if (size > 4096)
		return 0;
	prepare();
	if (loop_new(&loop) < 0 || vsock_new(loop, 3, &v) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0 ||
	    vhost_user_new(loop, sv[1], &vsock_ops, v, NULL, NULL, &u, NULL) < 0)
		abort();
	for (size_t used; (used = send_record(sv[0], data, size)) > 0; data += used, size -= used) {
		uint64_t one = 1;
		(void)!write(kick, &one, sizeof one);
		testing_front_turn(loop);
		while (testing_front_reply(sv[0], &reply))
			if (!(reply.h.flags & VHOST_USER_REPLY))
				abort();
	}
	(void)close(sv[0]);
	testing_front_turn(loop);
	vhost_user_free(u);
	vsock_free(v);
	loop_free(loop);
	return 0;
}
