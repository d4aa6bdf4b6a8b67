/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vsock.h"

#include "base/clock.h"
#include "base/testing.h"
#include "devices/testing-vsock.h"
#include "io/worker.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define GPORT 1024
#define QUEUE 64

enum {
	REQUEST = VIRTIO_VSOCK_OP_REQUEST,
	RESPONSE = VIRTIO_VSOCK_OP_RESPONSE,
	RST = VIRTIO_VSOCK_OP_RST,
	SHUTDOWN = VIRTIO_VSOCK_OP_SHUTDOWN,
	RW = VIRTIO_VSOCK_OP_RW,
	CREDIT_UPDATE = VIRTIO_VSOCK_OP_CREDIT_UPDATE,
	CREDIT_REQUEST = VIRTIO_VSOCK_OP_CREDIT_REQUEST,
	RCV = VIRTIO_VSOCK_SHUTDOWN_RCV,
	SEND = VIRTIO_VSOCK_SHUTDOWN_SEND,
};

/* ---- Ground ---------------------------------------------------------------------------------- */

static int setup(void **state)
{
	struct testing_vsock *t = calloc(1, sizeof *t);
	assert_non_null(t);
	testing_vsock_init(t, QUEUE, true);
	*state = t;
	return 0;
}

static int setup_no_buffers(void **state)
{
	struct testing_vsock *t = calloc(1, sizeof *t);
	assert_non_null(t);
	testing_vsock_init(t, QUEUE, false);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct testing_vsock *t = *state;
	testing_vsock_deinit(t);
	free(t);
	return 0;
}

/* The next packet is of this kind. Returns its header, and gives the buffer back. */
static struct virtio_vsock_hdr expect(struct testing_vsock *t, uint16_t op)
{
	struct testing_packet p;
	if (!testing_vsock_recv(t, &p))
		fail_msg("no packet where operation %u was expected", op);
	assert_int_equal(p.h.op, op);
	testing_vsock_done(t, &p);
	return p.h;
}

static void expect_nothing(struct testing_vsock *t)
{
	struct testing_packet p;
	testing_vsock_turn(t);
	if (testing_vsock_recv(t, &p))
		fail_msg("operation %u came unasked", p.h.op);
}

/* One stream, seen from both ends. */
struct stream {
	struct testing_vsock *t;
	int fd; /* the host's end, non-blocking */
	uint32_t gport, hport;
	int result; /* of vsock_open(); 1: none yet */
};

static void on_open(void *arg, int r, uint32_t host_port, int fd)
{
	struct stream *s = arg;
	assert_int_equal(s->result, 1);
	assert_true(fd >= 0);
	s->result = r;
	s->hport = host_port;
}

static void open_stream(struct testing_vsock *t, struct stream *s, uint32_t gport,
			uint64_t deadline_ms)
{
	int sv[2];
	*s = (struct stream){.t = t, .gport = gport, .result = 1};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	s->fd = sv[0];
	assert_int_equal(fcntl(s->fd, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(vsock_open(t->v, gport, sv[1], deadline_ms, on_open, s, NULL), 0);
}

static void guest_sends(struct stream *s, uint16_t op, uint32_t flags, const void *data,
			uint32_t len)
{
	assert_true(testing_vsock_send(s->t, op, s->gport, s->hport, flags, data, len));
}

static void connect_stream(struct testing_vsock *t, struct stream *s)
{
	open_stream(t, s, GPORT, 0);
	struct virtio_vsock_hdr h = expect(t, REQUEST);
	assert_int_equal(h.dst_port, GPORT);
	assert_true(h.src_port >= VSOCK_HOST_PORT_FIRST);
	assert_int_equal(h.type, VIRTIO_VSOCK_TYPE_STREAM);
	assert_true(h.buf_alloc == VSOCK_WINDOW || h.buf_alloc == VSOCK_WINDOW_SMALL);
	s->hport = h.src_port;
	guest_sends(s, RESPONSE, 0, NULL, 0);
	assert_int_equal(s->result, 0);
}

static void close_stream(struct stream *s)
{
	assert_int_equal(close(s->fd), 0);
}

static void assert_host_reads(struct stream *s, const char *text)
{
	char buf[256] = "";
	ssize_t n = read(s->fd, buf, sizeof buf - 1);
	assert_int_equal(n, strlen(text));
	assert_string_equal(buf, text);
}

static void assert_host_eof(struct stream *s)
{
	char c;
	assert_int_equal(read(s->fd, &c, 1), 0);
}

static void assert_host_waits(struct stream *s)
{
	char c;
	assert_int_equal(read(s->fd, &c, 1), -1);
	assert_int_equal(errno, EAGAIN);
}

static void assert_guest_reads(struct stream *s, const char *text)
{
	struct testing_packet p;
	testing_vsock_turn(s->t);
	assert_true(testing_vsock_recv(s->t, &p));
	assert_int_equal(p.h.op, RW);
	assert_int_equal(p.h.dst_port, s->gport);
	assert_int_equal(p.h.src_port, s->hport);
	assert_int_equal(p.len, strlen(text));
	assert_memory_equal(p.data, text, p.len);
	testing_vsock_done(s->t, &p);
}

static void host_writes(struct stream *s, const char *text)
{
	assert_int_equal(write(s->fd, text, strlen(text)), strlen(text));
}

/* ---- Connecting ------------------------------------------------------------------------------ */

static void connects_and_talks(void **state)
{
	struct testing_vsock *t = *state;
	struct stream s;

	connect_stream(t, &s);
	host_writes(&s, "to the guest");
	assert_guest_reads(&s, "to the guest");
	guest_sends(&s, RW, 0, "to the host", 11);
	assert_host_reads(&s, "to the host");
	assert_true(t->interrupts[0] > 0);
	assert_int_equal(vsock_count(t->v), 1);
	close_stream(&s);
}

static void refused(void **state)
{
	struct testing_vsock *t = *state;
	struct stream s;

	open_stream(t, &s, GPORT, 0);
	s.hport = expect(t, REQUEST).src_port;
	guest_sends(&s, RST, 0, NULL, 0);
	assert_int_equal(s.result, -ECONNREFUSED);
	assert_host_eof(&s);
	assert_int_equal(vsock_count(t->v), 0);
	expect_nothing(t);
	close_stream(&s);
}

static void turn_until(struct testing_vsock *t, const int *result)
{
	uint64_t deadline = time_deadline(5000);
	while (*result == 1 && time_now_ms() < deadline)
		testing_vsock_turn(t);
}

static void times_out_and_refuses_the_late_answer(void **state)
{
	struct testing_vsock *t = *state;
	struct stream s;

	open_stream(t, &s, GPORT, time_deadline(30));
	uint32_t hport = expect(t, REQUEST).src_port;
	turn_until(t, &s.result);
	assert_int_equal(s.result, -ETIMEDOUT);
	s.hport = hport;
	expect(t, RST);
	assert_int_equal(vsock_count(t->v), 0);
	guest_sends(&s, RESPONSE, 0, NULL, 0);
	expect(t, RST);
	close_stream(&s);
}

static void lost_request_is_repeated(void **state)
{
	struct testing_vsock *t = *state;
	struct testing_packet p;
	struct stream s;
	uint64_t deadline = time_deadline(5000);

	open_stream(t, &s, GPORT, 0);
	s.hport = expect(t, REQUEST).src_port;
	while (!testing_vsock_recv(t, &p) && time_now_ms() < deadline)
		testing_vsock_turn(t);
	assert_int_equal(p.h.op, REQUEST);
	assert_int_equal(p.h.src_port, s.hport);
	testing_vsock_done(t, &p);
	guest_sends(&s, RESPONSE, 0, NULL, 0);
	assert_int_equal(s.result, 0);
	guest_sends(&s, RESPONSE, 0, NULL, 0); /* to the second */
	expect_nothing(t);
	host_writes(&s, "x");
	assert_guest_reads(&s, "x");
	close_stream(&s);
}

static void waits_for_the_driver(void **state)
{
	struct testing_vsock *t = *state;
	struct stream s, late;

	testing_vsock_stop(t);
	open_stream(t, &s, GPORT, 0);
	open_stream(t, &late, GPORT, time_deadline(20));
	turn_until(t, &late.result);
	assert_int_equal(late.result, -ETIMEDOUT);
	testing_vsock_restart(t);
	s.hport = expect(t, REQUEST).src_port;
	guest_sends(&s, RESPONSE, 0, NULL, 0);
	assert_int_equal(s.result, 0);
	expect_nothing(t);
	close_stream(&s);
	close_stream(&late);
}

static void waits_for_a_buffer(void **state)
{
	static struct stream s; /* its attempt ends with the device */
	struct testing_vsock *t = *state;

	open_stream(t, &s, GPORT, 0);
	testing_vsock_turn(t);
	testing_vsock_offer(t, 1);
	expect(t, REQUEST);
	close_stream(&s);
}

static void client_gives_up(void **state)
{
	struct testing_vsock *t = *state;
	struct stream s;

	open_stream(t, &s, GPORT, 0);
	expect(t, REQUEST);
	close_stream(&s);
	testing_vsock_turn(t);
	assert_int_equal(s.result, -ECONNABORTED);
	expect(t, RST);
	assert_int_equal(vsock_count(t->v), 0);
}

/* ---- Connections of the guest's -------------------------------------------------------------- */

struct listener {
	int fd; /* the accepted stream, or an errno to refuse with */
	uint32_t host_port, guest_port;
	unsigned calls;
};

static int on_accept(void *arg, uint32_t host_port, uint32_t guest_port)
{
	struct listener *l = arg;
	int sv[2];

	l->calls++;
	l->host_port = host_port;
	l->guest_port = guest_port;
	if (l->fd < 0)
		return l->fd;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(fcntl(sv[0], F_SETFL, O_NONBLOCK), 0);
	l->fd = sv[0];
	return sv[1];
}

static void guest_connects(void **state)
{
	struct testing_vsock *t = *state;
	struct listener l = {.fd = 0};
	struct stream s = {.t = t, .gport = 5000, .hport = 80};

	assert_int_equal(vsock_listen(t->v, 80, on_accept, &l), 0);
	assert_int_equal(vsock_listen(t->v, 80, on_accept, &l), -EADDRINUSE);
	guest_sends(&s, REQUEST, 0, NULL, 0);
	assert_int_equal(l.host_port, 80);
	assert_int_equal(l.guest_port, 5000);
	s.fd = l.fd;
	host_writes(&s, "early"); /* and yet after the RESPONSE */
	struct virtio_vsock_hdr h = expect(t, RESPONSE);
	assert_int_equal(h.src_port, 80);
	assert_int_equal(h.dst_port, 5000);
	assert_guest_reads(&s, "early");
	guest_sends(&s, RW, 0, "hello", 5);
	assert_host_reads(&s, "hello");
	vsock_unlisten(t->v, 80);
	s.gport = 5001;
	guest_sends(&s, REQUEST, 0, NULL, 0);
	expect(t, RST);
	close_stream(&s);
}

static void guest_is_refused(void **state)
{
	struct testing_vsock *t = *state;
	struct listener l = {.fd = -ECONNREFUSED};
	struct stream s = {.t = t, .gport = 5000, .hport = 80};

	guest_sends(&s, REQUEST, 0, NULL, 0); /* nobody listens */
	struct virtio_vsock_hdr h = expect(t, RST);
	assert_int_equal(h.src_port, 80);
	assert_int_equal(h.dst_port, 5000);
	assert_int_equal(vsock_listen(t->v, VSOCK_PORT_ANY, on_accept, &l), 0);
	guest_sends(&s, REQUEST, 0, NULL, 0); /* somebody does, and says no */
	expect(t, RST);
	assert_int_equal(l.calls, 1);
	assert_int_equal(vsock_count(t->v), 0);
}

static void guest_cannot_use_up_the_host(void **state)
{
	struct testing_vsock *t = *state;
	struct listener l = {.fd = 0};
	struct stream s;
	static int fds[VSOCK_GUEST_CONNS_MAX + 1];
	unsigned refusals = 0;

	assert_int_equal(vsock_listen(t->v, 80, on_accept, &l), 0);
	for (uint32_t i = 0; i <= VSOCK_GUEST_CONNS_MAX; i++) {
		struct testing_packet p;
		assert_true(testing_vsock_send(t, REQUEST, 5000 + i, 80, 0, NULL, 0));
		fds[i] = l.fd;
		assert_true(testing_vsock_recv(t, &p));
		refusals += p.h.op == RST;
		testing_vsock_done(t, &p);
	}
	assert_int_equal(refusals, 1);
	assert_int_equal(vsock_count(t->v), VSOCK_GUEST_CONNS_MAX);
	connect_stream(t, &s);
	host_writes(&s, "still here");
	assert_guest_reads(&s, "still here");
	for (uint32_t i = 0; i <= VSOCK_GUEST_CONNS_MAX; i++)
		(void)close(fds[i]);
	close_stream(&s);
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

static uint8_t pattern(uint64_t i)
{
	return (uint8_t)((i / 8 * 0x9e3779b97f4a7c15ull) >> (8 * (i % 8)));
}

static void fill(uint8_t *p, size_t n, uint64_t at)
{
	for (size_t i = 0; i < n; i++)
		p[i] = pattern(at + i);
}

static void check(const uint8_t *p, size_t n, uint64_t at)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != pattern(at + i))
			fail_msg("byte %llu is wrong", (unsigned long long)(at + i));
}

#define TOTAL (64ull << 20)

/* Both directions at once, with reads and writes of odd sizes. */
static void carries_64_mib_both_ways(void **state)
{
	static uint8_t out[50021], in[70001], block[40009];
	struct testing_vsock *t = *state;
	struct stream s;
	uint64_t h_sent = 0, h_got = 0, g_sent = 0, g_got = 0, max_ahead = 0;
	uint32_t told = 0, fwd = 0;

	connect_stream(t, &s);
	while (h_got < TOTAL || g_got < TOTAL) {
		size_t n = TOTAL - h_sent < sizeof out ? (size_t)(TOTAL - h_sent) : sizeof out;
		fill(out, n, h_sent);
		ssize_t w = n ? write(s.fd, out, n) : 0;
		h_sent += w > 0 ? (uint64_t)w : 0;

		uint32_t credit = VSOCK_WINDOW - ((uint32_t)g_sent - fwd);
		n = TOTAL - g_sent < sizeof block ? (size_t)(TOTAL - g_sent) : sizeof block;
		if (n > 0 && n <= credit) {
			fill(block, n, g_sent);
			if (testing_vsock_send(t, RW, GPORT, s.hport, 0, block, (uint32_t)n))
				g_sent += n;
		}
		testing_vsock_turn(t);

		ssize_t r = read(s.fd, in, sizeof in);
		if (r > 0) {
			check(in, (size_t)r, h_got);
			h_got += (uint64_t)r;
		}
		struct testing_packet p;
		while (testing_vsock_recv(t, &p)) {
			fwd = p.h.fwd_cnt;
			check(p.data, p.len, g_got);
			g_got += p.len;
			testing_vsock_done(t, &p);
		}
		if ((uint32_t)g_got - told > max_ahead)
			max_ahead = (uint32_t)g_got - told;
		if ((uint32_t)g_got - told > t->buf_alloc / 2) {
			t->fwd_cnt = told = (uint32_t)g_got;
			guest_sends(&s, CREDIT_UPDATE, 0, NULL, 0);
		}
	}
	assert_int_equal(h_got, TOTAL);
	assert_int_equal(g_got, TOTAL);
	assert_true(max_ahead <= t->buf_alloc);
	close_stream(&s);
}

static void never_sends_beyond_the_guests_credit(void **state)
{
	static uint8_t out[100000];
	struct testing_vsock *t = *state;
	struct testing_packet p;
	struct stream s;
	uint32_t got = 0;

	t->buf_alloc = 10000;
	connect_stream(t, &s);
	fill(out, sizeof out, 0);
	assert_int_equal(write(s.fd, out, sizeof out), sizeof out);
	for (unsigned round = 1; got < sizeof out; round++) {
		bool asked = false;
		testing_vsock_turn(t);
		while (testing_vsock_recv(t, &p)) {
			asked = asked || p.h.op == CREDIT_REQUEST;
			check(p.data, p.len, got);
			got += p.len;
			testing_vsock_done(t, &p);
		}
		assert_int_equal(got, 10000 * round);
		assert_true(asked);
		t->fwd_cnt = got;
		guest_sends(&s, CREDIT_UPDATE, 0, NULL, 0);
	}
	close_stream(&s);
}

static void guest_that_overruns_its_credit_is_reset(void **state)
{
	static uint8_t block[64 << 10];
	struct testing_vsock *t = *state;
	struct testing_packet p;
	struct stream s;
	int small = 4096;
	unsigned sent = 0;

	connect_stream(t, &s);
	assert_int_equal(setsockopt(s.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
	/* The host reads nothing: its socket takes some, the window the rest. */
	for (; sent < 100; sent++) {
		guest_sends(&s, RW, 0, block, sizeof block);
		if (testing_vsock_recv(t, &p) && p.h.op == RST)
			break;
	}
	assert_in_range(sent, VSOCK_WINDOW / sizeof block, 20);
	assert_int_equal(vsock_count(t->v), 0);
	close_stream(&s);
}

static void credit_is_told(void **state)
{
	static uint8_t block[64 << 10], in[300 << 10];
	struct testing_vsock *t = *state;
	struct stream s;

	connect_stream(t, &s);
	guest_sends(&s, RW, 0, block, 1000);
	expect_nothing(t); /* not worth a packet yet */
	guest_sends(&s, CREDIT_REQUEST, 0, NULL, 0);
	assert_int_equal(expect(t, CREDIT_UPDATE).fwd_cnt, 1000);
	for (unsigned i = 0; i < VSOCK_WINDOW / 2 / sizeof block; i++)
		guest_sends(&s, RW, 0, block, sizeof block);
	assert_true(expect(t, CREDIT_UPDATE).fwd_cnt >= VSOCK_WINDOW / 2);
	assert_true(read(s.fd, in, sizeof in) > 0);
	close_stream(&s);
}

static void receive_buffers_in_pieces(void **state)
{
	struct testing_vsock *t = *state;
	struct stream s;
	uint32_t len = 0;
	struct virtio_vsock_hdr h;

	open_stream(t, &s, GPORT, 0);
	/* A header that is cut in two, and a payload in two more pieces. */
	uint64_t gpa = t->rx_gpa[0];
	struct testing_buf bufs[] = {{gpa, 10, true},
				     {gpa + 1000, sizeof h - 10, true},
				     {gpa + 2000, 3, true},
				     {gpa + 3000, 100, true}};
	for (int i = 0; i < 2; i++) {
		assert_true(testing_driver_add(&t->drv[0], bufs, ARRAY_SIZE(bufs)) >= 0);
		vsock_ops.queue_kick(t->v, 0);
		testing_vsock_turn(t);
		assert_true(testing_driver_get(&t->drv[0], &len) >= 0);
		memcpy(&h, testing_ram_at(&t->ram, gpa), 10);
		memcpy((uint8_t *)&h + 10, testing_ram_at(&t->ram, gpa + 1000), sizeof h - 10);
		assert_int_equal(h.dst_cid, TESTING_CID);
		if (i == 0) {
			s.hport = h.src_port;
			guest_sends(&s, RESPONSE, 0, NULL, 0);
			host_writes(&s, "in pieces");
		}
	}
	assert_int_equal(h.op, RW);
	assert_int_equal(h.len, 9);
	assert_int_equal(len, sizeof h + 9);
	assert_memory_equal(testing_ram_at(&t->ram, gpa + 2000), "in ", 3);
	assert_memory_equal(testing_ram_at(&t->ram, gpa + 3000), "pieces", 6);
	close_stream(&s);
}

/* ---- Ends ------------------------------------------------------------------------------------ */

static void host_half_closes(void **state)
{
	struct testing_vsock *t = *state;
	struct stream s;

	connect_stream(t, &s);
	host_writes(&s, "last");
	assert_int_equal(shutdown(s.fd, SHUT_WR), 0);
	assert_guest_reads(&s, "last");
	testing_vsock_turn(t);
	assert_int_equal(expect(t, SHUTDOWN).flags, SEND);
	expect_nothing(t);
	guest_sends(&s, RW, 0, "answer", 6);
	assert_host_reads(&s, "answer");
	expect_nothing(t);
	close_stream(&s);
	testing_vsock_turn(t);
	assert_int_equal(expect(t, SHUTDOWN).flags, SEND | RCV);
	assert_int_equal(vsock_count(t->v), 1);
	guest_sends(&s, RST, 0, NULL, 0);
	assert_int_equal(vsock_count(t->v), 0);
	expect_nothing(t);
}

static void guest_half_closes(void **state)
{
	struct testing_vsock *t = *state;
	struct stream s;

	connect_stream(t, &s);
	guest_sends(&s, RW, 0, "last", 4);
	guest_sends(&s, SHUTDOWN, SEND, NULL, 0);
	assert_host_reads(&s, "last");
	assert_host_eof(&s);
	host_writes(&s, "answer");
	assert_guest_reads(&s, "answer");
	guest_sends(&s, RW, 0, "more", 4); /* which it said it would not */
	expect(t, RST);
	close_stream(&s);
	assert_int_equal(vsock_count(t->v), 0);
}

static void guest_stops_reading(void **state)
{
	struct testing_vsock *t = *state;
	struct stream s;

	connect_stream(t, &s);
	guest_sends(&s, SHUTDOWN, RCV, NULL, 0);
	assert_int_equal(send(s.fd, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	guest_sends(&s, RW, 0, "still", 5);
	assert_host_reads(&s, "still");
	close_stream(&s);
	testing_vsock_turn(t);
	assert_int_equal(expect(t, SHUTDOWN).flags, SEND | RCV);
	guest_sends(&s, SHUTDOWN, SEND | RCV, NULL, 0);
	expect(t, RST);
	assert_int_equal(vsock_count(t->v), 0);
}

/* Reads the pattern up to the end of file. */
static uint64_t host_drains(struct testing_vsock *t, struct stream *s)
{
	static uint8_t in[30011];
	uint64_t got = 0, deadline = time_deadline(5000);

	while (time_now_ms() < deadline) {
		ssize_t n = read(s->fd, in, sizeof in);
		if (n == 0)
			return got;
		if (n > 0) {
			check(in, (size_t)n, got);
			got += (uint64_t)n;
		}
		testing_vsock_turn(t);
	}
	fail_msg("no end of file after %llu bytes", (unsigned long long)got);
	return 0;
}

/* The guest's last bytes, more than the host's socket takes, and then its end by @op. */
static void guest_ends_with_bytes_pending(struct testing_vsock *t, uint16_t op)
{
	static uint8_t block[64 << 10];
	struct stream s;
	int small = 4096;
	uint64_t sent = 0;

	open_stream(t, &s, GPORT, 0);
	s.hport = expect(t, REQUEST).src_port;
	guest_sends(&s, RESPONSE, 0, NULL, 0);
	assert_int_equal(setsockopt(s.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
	for (; sent < VSOCK_WINDOW; sent += sizeof block) {
		fill(block, sizeof block, sent);
		guest_sends(&s, RW, 0, block, sizeof block);
	}
	guest_sends(&s, op, SEND | RCV, NULL, 0);
	struct testing_packet p;
	while (testing_vsock_recv(t, &p)) {
		assert_int_equal(p.h.op, CREDIT_UPDATE);
		testing_vsock_done(t, &p);
	}
	assert_int_equal(host_drains(t, &s), sent);
	while (testing_vsock_recv(t, &p)) {
		assert_true(p.h.op == CREDIT_UPDATE || (p.h.op == RST && op == SHUTDOWN));
		testing_vsock_done(t, &p);
	}
	assert_int_equal(vsock_count(t->v), 0);
	close_stream(&s);
}

static void guest_closes_with_bytes_pending(void **state)
{
	guest_ends_with_bytes_pending(*state, SHUTDOWN);
}

static void guest_resets_with_bytes_pending(void **state)
{
	guest_ends_with_bytes_pending(*state, RST);
}

static void host_closes_with_bytes_pending(void **state)
{
	static uint8_t out[150000];
	struct testing_vsock *t = *state;
	struct testing_packet p = {.len = 0};
	struct stream s;
	uint32_t got = 0;
	uint64_t deadline = time_deadline(5000);

	t->buf_alloc = 7000;
	connect_stream(t, &s);
	fill(out, sizeof out, 0);
	assert_int_equal(write(s.fd, out, sizeof out), sizeof out);
	close_stream(&s);
	while (time_now_ms() < deadline) {
		testing_vsock_turn(t);
		if (!testing_vsock_recv(t, &p)) {
			t->fwd_cnt = got;
			guest_sends(&s, CREDIT_UPDATE, 0, NULL, 0);
			continue;
		}
		testing_vsock_done(t, &p);
		if (p.h.op == SHUTDOWN)
			break;
		if (p.h.op == RW) {
			check(p.data, p.len, got);
			got += p.len;
		}
	}
	assert_int_equal(p.h.op, SHUTDOWN);
	assert_int_equal(p.h.flags, SEND | RCV);
	assert_int_equal(got, sizeof out);
}

static void host_closes_unread(void **state)
{
	static uint8_t block[64 << 10];
	struct testing_vsock *t = *state;
	struct testing_packet p;
	struct stream s;

	connect_stream(t, &s);
	for (unsigned i = 0; i < VSOCK_WINDOW / sizeof block; i++)
		guest_sends(&s, RW, 0, block, sizeof block);
	close_stream(&s);
	uint16_t last = 0;
	uint32_t flags = 0;
	for (unsigned i = 0; i < 3; i++) {
		testing_vsock_turn(t);
		while (testing_vsock_recv(t, &p)) {
			last = p.h.op;
			flags = p.h.flags;
			testing_vsock_done(t, &p);
		}
	}
	assert_int_equal(last, SHUTDOWN);
	assert_int_equal(flags, SEND | RCV);
	guest_sends(&s, RW, 0, block, 10); /* was on its way: no harm */
	guest_sends(&s, RST, 0, NULL, 0);
	expect_nothing(t);
	assert_int_equal(vsock_count(t->v), 0);
}

static void host_stops_reading(void **state)
{
	struct testing_vsock *t = *state;
	struct stream s;

	connect_stream(t, &s);
	assert_int_equal(shutdown(s.fd, SHUT_RD), 0);
	guest_sends(&s, RW, 0, "unwanted", 8);
	assert_int_equal(expect(t, SHUTDOWN).flags, RCV);
	guest_sends(&s, CREDIT_REQUEST, 0, NULL, 0);
	assert_int_equal(expect(t, CREDIT_UPDATE).fwd_cnt, 8); /* counts as taken */
	host_writes(&s, "but I talk");
	assert_guest_reads(&s, "but I talk");
	close_stream(&s);
	testing_vsock_turn(t);
	assert_int_equal(expect(t, SHUTDOWN).flags, SEND | RCV);
}

/* ---- Many ------------------------------------------------------------------------------------ */

#define MANY 500

static void five_hundred_connections(void **state)
{
	static struct stream s[MANY];
	struct testing_vsock *t = *state;
	char text[32];

	for (unsigned i = 0; i < MANY; i++)
		connect_stream(t, &s[i]);
	assert_int_equal(vsock_count(t->v), MANY);
	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(text, sizeof text, "stream %u", i);
		host_writes(&s[i], text);
		assert_guest_reads(&s[i], text);
		guest_sends(&s[i], RW, 0, text, (uint32_t)strlen(text));
	}
	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(text, sizeof text, "stream %u", i);
		assert_host_reads(&s[i], text);
		guest_sends(&s[i], SHUTDOWN, SEND | RCV, NULL, 0);
		assert_int_equal(expect(t, RST).src_port, s[i].hport);
		close_stream(&s[i]);
	}
	assert_int_equal(vsock_count(t->v), 0);
}

static void everybody_gets_a_turn(void **state)
{
	static uint8_t out[100000];
	static struct stream s[8];
	struct testing_vsock *t = *state;
	unsigned seen = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(s); i++) {
		connect_stream(t, &s[i]);
		assert_int_equal(write(s[i].fd, out, sizeof out), sizeof out);
	}
	/* Two rounds of the guest's few buffers reach more than one of the streams. */
	for (unsigned round = 0; round < 16; round++) {
		struct testing_packet p;
		testing_vsock_turn(t);
		for (unsigned i = 0; i < QUEUE && testing_vsock_recv(t, &p); i++) {
			for (unsigned k = 0; k < ARRAY_SIZE(s); k++)
				if (s[k].hport == p.h.src_port)
					seen |= 1u << k;
			testing_vsock_done(t, &p);
		}
	}
	assert_int_equal(seen, 0xff);
	for (unsigned i = 0; i < ARRAY_SIZE(s); i++)
		close_stream(&s[i]);
}

static void full_table_lets_go_of_the_half_dead(void **state)
{
	static struct stream s[VSOCK_CONNS_MAX];
	struct testing_vsock *t = *state;
	struct stream extra;
	int sv[2];

	for (unsigned i = 0; i < VSOCK_CONNS_MAX; i++)
		connect_stream(t, &s[i]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(vsock_open(t->v, GPORT, sv[1], 0, on_open, &extra, NULL), -ENOSPC);
	assert_int_equal(close(sv[0]), 0);
	close_stream(&s[7]); /* the guest keeps its end */
	testing_vsock_turn(t);
	expect(t, SHUTDOWN);
	connect_stream(t, &extra);
	assert_int_equal(vsock_count(t->v), VSOCK_CONNS_MAX);
	guest_sends(&s[7], RW, 0, "hello?", 6);
	expect(t, RST);
	close_stream(&extra);
	for (unsigned i = 0; i < VSOCK_CONNS_MAX; i++)
		if (i != 7)
			close_stream(&s[i]);
}

/* ---- Misbehaviour ---------------------------------------------------------------------------- */

static void refusals_do_not_pile_up(void **state)
{
	struct testing_vsock *t = *state;
	uint32_t sent = 0, answered = 0;

	/* No receive buffer: the device takes what it can remember, then lets the guest wait. */
	while (testing_vsock_send(t, RW, 9, sent, 0, "x", 1)) {
		sent++;
		testing_vsock_turn(t);
		assert_in_range(sent, 1, 1000);
	}
	testing_vsock_offer(t, QUEUE);
	for (unsigned i = 0; i < 20; i++) {
		struct testing_packet p;
		testing_vsock_turn(t);
		while (testing_vsock_recv(t, &p)) {
			assert_int_equal(p.h.op, RST);
			assert_int_equal(p.h.src_port, answered++);
			testing_vsock_done(t, &p);
		}
	}
	assert_int_equal(answered, sent);
}

static void storm_of_resets(void **state)
{
	struct testing_vsock *t = *state;
	struct stream s;

	connect_stream(t, &s);
	for (uint32_t i = 0; i < 10000; i++)
		assert_true(testing_vsock_send(t, RST, i, i, 0, NULL, 0));
	expect_nothing(t); /* a RST is never answered */
	for (uint32_t i = 0; i < 1000; i++) {
		assert_true(testing_vsock_send(t, REQUEST, i, 5, 0, NULL, 0));
		expect(t, RST);
	}
	host_writes(&s, "unmoved");
	assert_guest_reads(&s, "unmoved");
	close_stream(&s);
}

static void foreign_packets(void **state)
{
	struct testing_vsock *t = *state;
	struct listener l = {.fd = 0};

	assert_int_equal(vsock_listen(t->v, 80, on_accept, &l), 0);
	t->src_cid = TESTING_CID + 1;
	assert_true(testing_vsock_send(t, REQUEST, 1, 80, 0, NULL, 0));
	expect_nothing(t);
	t->src_cid = TESTING_CID;
	t->type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	assert_true(testing_vsock_send(t, REQUEST, 1, 80, 0, NULL, 0));
	assert_int_equal(expect(t, RST).type, VIRTIO_VSOCK_TYPE_SEQPACKET);
	assert_int_equal(l.calls, 0);
}

static void broken_streams_are_reset(void **state)
{
	static const uint16_t bad_ops[] = {VIRTIO_VSOCK_OP_INVALID, REQUEST, 8, 0xffff};
	struct testing_vsock *t = *state;
	struct stream s;

	for (size_t i = 0; i < ARRAY_SIZE(bad_ops); i++) {
		connect_stream(t, &s);
		guest_sends(&s, bad_ops[i], 0, NULL, 0);
		assert_int_equal(expect(t, RST).src_port, s.hport);
		testing_vsock_turn(t);
		assert_host_eof(&s);
		close_stream(&s);
	}
	connect_stream(t, &s);
	struct virtio_vsock_hdr h = {.src_cid = TESTING_CID,
				     .dst_cid = VSOCK_HOST_CID,
				     .src_port = GPORT,
				     .dst_port = s.hport,
				     .len = 100,
				     .type = VIRTIO_VSOCK_TYPE_STREAM,
				     .op = RW,
				     .buf_alloc = 1000};
	assert_true(testing_vsock_send_raw(t, &h, "short", 5));
	expect(t, RST);
	close_stream(&s);
	open_stream(t, &s, GPORT, 0);
	s.hport = expect(t, REQUEST).src_port;
	guest_sends(&s, RW, 0, "too early", 9);
	assert_int_equal(s.result, -ECONNREFUSED);
	expect(t, RST);
	close_stream(&s);
	assert_int_equal(vsock_count(t->v), 0);
}

static void hostile_credit_is_harmless(void **state)
{
	struct testing_vsock *t = *state;
	struct testing_packet p;
	struct stream s;
	static uint8_t out[100000];

	connect_stream(t, &s);
	t->fwd_cnt = 0x80000000; /* more than was ever sent */
	guest_sends(&s, CREDIT_UPDATE, 0, NULL, 0);
	assert_int_equal(write(s.fd, out, sizeof out), sizeof out);
	testing_vsock_turn(t);
	assert_false(testing_vsock_recv(t, &p)); /* "in flight" is huge: no credit */
	t->fwd_cnt = 0;
	t->buf_alloc = UINT32_MAX;
	guest_sends(&s, CREDIT_UPDATE, 0, NULL, 0);
	testing_vsock_turn(t);
	assert_true(testing_vsock_recv(t, &p));
	testing_vsock_done(t, &p);
	close_stream(&s);
}

static void assert_device_gave_up(struct testing_vsock *t, struct stream *s)
{
	int sv[2];
	assert_int_equal(vsock_count(t->v), 0);
	assert_host_eof(s);
	close_stream(s);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(vsock_open(t->v, GPORT, sv[1], 0, on_open, s, NULL), -ECONNRESET);
	(void)close(sv[0]);
}

static void short_packet_breaks_the_device(void **state)
{
	struct testing_vsock *t = *state;
	struct stream s;
	const struct testing_buf b = {.gpa = t->tx_gpa[0], .len = 43};

	connect_stream(t, &s);
	assert_true(testing_driver_add(&t->drv[1], &b, 1) >= 0);
	vsock_ops.queue_kick(t->v, 1);
	assert_device_gave_up(t, &s);
}

static void small_buffer_breaks_the_device(void **state)
{
	struct testing_vsock *t = *state;
	struct stream s;
	const struct testing_buf b = {.gpa = t->rx_gpa[0], .len = 44, .writable = true};

	open_stream(t, &s, GPORT, 0);
	assert_true(testing_driver_add(&t->drv[0], &b, 1) >= 0);
	vsock_ops.queue_kick(t->v, 0);
	assert_int_equal(s.result, -ECONNRESET);
	assert_device_gave_up(t, &s);
}

static void driver_restart_ends_connections(void **state)
{
	static struct stream opening; /* its attempt ends with the device */
	struct testing_vsock *t = *state;
	struct stream s;

	connect_stream(t, &s);
	guest_sends(&s, RW, 0, "last", 4);
	testing_vsock_stop(t);
	testing_vsock_turn(t);
	open_stream(t, &opening, 99, 0);
	testing_vsock_restart(t);
	assert_host_reads(&s, "last");
	assert_host_eof(&s);
	assert_int_equal(expect(t, REQUEST).dst_port, 99); /* starts over with the new driver */
	close_stream(&s);
	close_stream(&opening);
}

static void pause_keeps_connections(void **state)
{
	struct testing_vsock *t = *state;
	struct stream s;
	uint16_t next[2];

	connect_stream(t, &s);
	for (unsigned i = 0; i < 2; i++) {
		vsock_ops.queue_stop(t->v, i);
		next[i] = t->q[i].next_avail;
		virtqueue_stop(&t->q[i]);
	}
	host_writes(&s, "while it slept");
	testing_vsock_turn(t);
	for (unsigned i = 0; i < 2; i++) {
		struct testing_driver *d = &t->drv[i];
		assert_int_equal(virtqueue_start(&t->q[i], &t->ram.mem, d->size, d->desc, d->avail,
						 d->used, 0, next[i]),
				 0);
		vsock_ops.queue_start(t->v, i, &t->q[i]);
	}
	assert_guest_reads(&s, "while it slept");
	guest_sends(&s, RW, 0, "awake", 5);
	assert_host_reads(&s, "awake");
	close_stream(&s);
}

static void last_words_are_heard(void **state)
{
	struct testing_vsock *t = *state;
	struct stream s;

	connect_stream(t, &s);
	t->drv[1].used->flags = VRING_USED_F_NO_NOTIFY; /* the kick is lost */
	guest_sends(&s, RW, 0, "farewell", 8);
	assert_host_waits(&s);
	testing_vsock_stop(t);
	vsock_ops.reset(t->v);
	assert_host_reads(&s, "farewell");
	assert_host_eof(&s);
	close_stream(&s);
}

static void machine_ends(void **state)
{
	struct testing_vsock *t = *state;
	struct stream s, opening;

	connect_stream(t, &s);
	open_stream(t, &opening, 99, 0);
	testing_vsock_stop(t);
	vsock_ops.reset(t->v);
	assert_int_equal(opening.result, -ECONNRESET);
	close_stream(&opening);
	assert_device_gave_up(t, &s);
}

/* ---- From other threads ---------------------------------------------------------------------- */

struct caller {
	struct vsock *v;
	uint64_t deadline_ms;
	int result;
	struct err e;
	bool ended; /* atomic */
};

static void call(void *arg)
{
	struct caller *c = arg;
	c->result = vsock_connect(c->v, GPORT, c->deadline_ms, &c->e);
	__atomic_store_n(&c->ended, true, __ATOMIC_RELEASE);
}

static void turn_until_ended(struct testing_vsock *t, struct caller *c)
{
	while (!__atomic_load_n(&c->ended, __ATOMIC_ACQUIRE))
		testing_vsock_turn(t);
}

static void wait_request(struct testing_vsock *t, struct stream *s)
{
	struct testing_packet p;
	do
		testing_vsock_turn(t);
	while (!testing_vsock_recv(t, &p));
	testing_vsock_done(t, &p);
	assert_int_equal(p.h.op, REQUEST);
	*s = (struct stream){.t = t, .gport = GPORT, .hport = p.h.src_port};
}

static void threads_connect(void **state)
{
	struct testing_vsock *t = *state;
	struct worker_pool *pool = NULL;
	struct stream s;

	assert_int_equal(worker_pool_new(1, 0, &pool), 0);

	struct caller fine = {.v = t->v, .deadline_ms = time_deadline(5000)};
	assert_int_equal(worker_pool_run(pool, call, &fine), 0);
	wait_request(t, &s);
	guest_sends(&s, RESPONSE, 0, NULL, 0);
	turn_until_ended(t, &fine);
	assert_true(fine.result >= 0);
	assert_int_equal(fcntl(fine.result, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(fcntl(fine.result, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	guest_sends(&s, RW, 0, "hi", 2);
	s.fd = fine.result;
	assert_host_reads(&s, "hi");
	close_stream(&s);
	testing_vsock_turn(t);
	expect(t, SHUTDOWN);

	struct caller refused_one = {.v = t->v, .deadline_ms = 0};
	assert_int_equal(worker_pool_run(pool, call, &refused_one), 0);
	wait_request(t, &s);
	guest_sends(&s, RST, 0, NULL, 0);
	turn_until_ended(t, &refused_one);
	assert_int_equal(refused_one.result, -ECONNREFUSED);
	assert_string_equal(refused_one.e.text,
			    "connect to vsock port 1024: nobody listens in the guest");

	struct caller late = {.v = t->v, .deadline_ms = time_deadline(20)};
	assert_int_equal(worker_pool_run(pool, call, &late), 0);
	turn_until_ended(t, &late);
	assert_int_equal(late.result, -ETIMEDOUT);

	/* Nobody turns the loop: the caller still comes back, and the loop copes later. */
	struct caller alone = {.v = t->v, .deadline_ms = time_deadline(20)};
	assert_int_equal(worker_pool_run(pool, call, &alone), 0);
	while (!__atomic_load_n(&alone.ended, __ATOMIC_ACQUIRE))
		(void)poll(NULL, 0, 5);
	assert_int_equal(alone.result, -ETIMEDOUT);
	testing_vsock_turn(t);
	testing_vsock_turn(t);

	worker_pool_free(pool);
	assert_int_equal(vsock_connect(t->v, GPORT, 0, NULL), -EDEADLK);
}

static void bad_cids_are_refused(void **state)
{
	static const uint64_t bad[] = {0, 1, 2, UINT32_MAX, 1ull << 32, UINT64_MAX};
	struct vsock *v = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(vsock_new(NULL, bad[i], &v), -EINVAL);
}

#define TEST(name, how) cmocka_unit_test_setup_teardown(name, how, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(connects_and_talks, setup),
		TEST(refused, setup),
		TEST(times_out_and_refuses_the_late_answer, setup),
		TEST(lost_request_is_repeated, setup),
		TEST(waits_for_the_driver, setup),
		TEST(waits_for_a_buffer, setup_no_buffers),
		TEST(client_gives_up, setup),
		TEST(guest_connects, setup),
		TEST(guest_is_refused, setup),
		TEST(guest_cannot_use_up_the_host, setup),
		TEST(carries_64_mib_both_ways, setup),
		TEST(never_sends_beyond_the_guests_credit, setup),
		TEST(guest_that_overruns_its_credit_is_reset, setup),
		TEST(credit_is_told, setup),
		TEST(receive_buffers_in_pieces, setup_no_buffers),
		TEST(host_half_closes, setup),
		TEST(guest_half_closes, setup),
		TEST(guest_stops_reading, setup),
		TEST(guest_closes_with_bytes_pending, setup),
		TEST(guest_resets_with_bytes_pending, setup),
		TEST(host_closes_with_bytes_pending, setup),
		TEST(host_closes_unread, setup),
		TEST(host_stops_reading, setup),
		TEST(five_hundred_connections, setup),
		TEST(everybody_gets_a_turn, setup),
		TEST(full_table_lets_go_of_the_half_dead, setup),
		TEST(refusals_do_not_pile_up, setup_no_buffers),
		TEST(storm_of_resets, setup),
		TEST(foreign_packets, setup),
		TEST(broken_streams_are_reset, setup),
		TEST(hostile_credit_is_harmless, setup),
		TEST(short_packet_breaks_the_device, setup),
		TEST(small_buffer_breaks_the_device, setup_no_buffers),
		TEST(driver_restart_ends_connections, setup),
		TEST(pause_keeps_connections, setup),
		TEST(last_words_are_heard, setup),
		TEST(machine_ends, setup),
		TEST(threads_connect, setup),
		cmocka_unit_test(bad_cids_are_refused),
	};
	return RUN_TESTS();
}
