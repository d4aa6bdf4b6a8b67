/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the vsock device moves bytes: guest driver, device and host application take turns on
 * one thread, so this is the cost of all three. Prints one JSON line for each direction.
 */
#include "base/clock.h"
#include "devices/testing-vsock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define TOTAL (512ull << 20)
#define GUEST_PORT 1024

static uint32_t host_port;

static void on_open(void *arg, int r, uint32_t port, int fd)
{
	*(int *)arg = r;
	host_port = port;
}

static int connect_stream(struct testing_vsock *t)
{
	struct testing_packet p;
	int sv[2], result = 1;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		exit(1);
	if (vsock_open(t->v, GUEST_PORT, sv[1], 0, on_open, &result, NULL) < 0)
		exit(1);
	if (!testing_vsock_recv(t, &p) || p.h.op != VIRTIO_VSOCK_OP_REQUEST)
		exit(1);
	testing_vsock_done(t, &p);
	testing_vsock_send(t, VIRTIO_VSOCK_OP_RESPONSE, GUEST_PORT, p.h.src_port, 0, NULL, 0);
	if (result != 0)
		exit(1);
	(void)fcntl(sv[0], F_SETFL, O_NONBLOCK);
	return sv[0];
}

static void report(const char *what, uint64_t bytes, uint64_t start_ms)
{
	uint64_t ms = time_now_ms() - start_ms;
	printf("{\"bench\": \"vsock %s\", \"MiB\": %llu, \"ms\": %llu, \"MiB/s\": %llu}\n", what,
	       (unsigned long long)(bytes >> 20), (unsigned long long)ms,
	       (unsigned long long)((bytes >> 20) * 1000 / (ms ? ms : 1)));
}

static void host_to_guest(struct testing_vsock *t, int fd)
{
	static uint8_t block[64 << 10], sink[4096];
	uint64_t sent = 0, got = 0, start = time_now_ms();

	while (got < TOTAL) {
		ssize_t n = sent < TOTAL ? write(fd, block, sizeof block) : 0;
		if (n > 0)
			sent += (uint64_t)n;
		testing_vsock_turn(t);
		struct testing_packet p;
		uint64_t before = got;
		while (testing_vsock_recv(t, &p)) {
			memcpy(sink, p.data, p.len);
			got += p.len;
			testing_vsock_done(t, &p);
		}
		t->fwd_cnt = (uint32_t)got;
		if (got >> 16 != before >> 16)
			testing_vsock_send(t, VIRTIO_VSOCK_OP_CREDIT_UPDATE, GUEST_PORT, host_port,
					   0, NULL, 0);
	}
	report("host to guest", got, start);
}

static void guest_to_host(struct testing_vsock *t, int fd)
{
	static uint8_t block[64 << 10], sink[256 << 10];
	uint64_t sent = 0, got = 0, start = time_now_ms();
	uint32_t fwd_cnt = 0;

	while (got < TOTAL) {
		while (sent < TOTAL && (uint32_t)sent - fwd_cnt + sizeof block <= VSOCK_WINDOW &&
		       testing_vsock_send(t, VIRTIO_VSOCK_OP_RW, GUEST_PORT, host_port, 0, block,
					  sizeof block))
			sent += sizeof block;
		ssize_t n = read(fd, sink, sizeof sink);
		if (n > 0)
			got += (uint64_t)n;
		testing_vsock_turn(t);
		struct testing_packet p;
		while (testing_vsock_recv(t, &p)) {
			fwd_cnt = p.h.fwd_cnt;
			testing_vsock_done(t, &p);
		}
	}
	report("guest to host", got, start);
}

int main(void)
{
	static struct testing_vsock t;

	testing_vsock_init(&t, 128, true);
	int fd = connect_stream(&t);
	host_to_guest(&t, fd);
	guest_to_host(&t, fd);
	(void)close(fd);
	testing_vsock_deinit(&t);
	return 0;
}
