/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/frame.h"

#include "base/fd.h"
#include "base/testing.h"

#include <string.h>
#include <sys/socket.h>

static void feed(struct rpc_reader *r, const void *data, size_t len)
{
	const char *p = data;
	while (len > 0) {
		size_t room;
		void *to = rpc_reader_space(r, &room);
		assert_non_null(to);
		assert_true(room > 0);
		size_t n = room < len ? room : len;
		memcpy(to, p, n);
		rpc_reader_added(r, n);
		p += n;
		len -= n;
		if (rpc_reader_ready(r))
			break; /* must be taken before more is read */
	}
	assert_int_equal(len, 0);
}

static void header_round_trip(void **state)
{
	const uint8_t wire[RPC_HEADER_SIZE] = {0, 1, 2, 3, 0x84, 5, 6, 7, 2, 4};
	uint8_t out[RPC_HEADER_SIZE];
	struct rpc_header h;

	rpc_header_parse(wire, &h);
	assert_int_equal(h.length, 0x00010203);
	assert_int_equal(h.stream, 0x84050607);
	assert_int_equal(h.type, 2);
	assert_int_equal(h.flags, 4);
	rpc_header_write(out, &h);
	assert_memory_equal(out, wire, sizeof wire);
}

static void a_frame_may_come_byte_by_byte(void **state)
{
	const uint8_t wire[] = {0, 0, 0, 3, 0, 0, 0, 9, 1, 0, 'a', 'b', 'c'};
	struct rpc_reader r = {.data = NULL};
	struct rpc_frame_in f;

	for (size_t i = 0; i < sizeof wire; i++) {
		assert_int_equal(rpc_reader_next(&r, &f), 0);
		assert_int_equal(rpc_reader_midway(&r), i > 0);
		feed(&r, wire + i, 1);
	}
	assert_true(rpc_reader_ready(&r));
	assert_int_equal(rpc_reader_next(&r, &f), 1);
	assert_int_equal(f.header.stream, 9);
	assert_int_equal(f.header.length, 3);
	assert_memory_equal(f.data, "abc", 3);
	assert_false(f.oversize);
	assert_false(rpc_reader_midway(&r));
	rpc_reader_free(&r);
}

static void an_empty_frame_is_a_frame(void **state)
{
	const uint8_t wire[2 * RPC_HEADER_SIZE] = {0, 0, 0, 0, 0, 0, 0, 1, 1, 0,
						   0, 0, 0, 0, 0, 0, 0, 3, 1};
	struct rpc_reader r = {.data = NULL};
	struct rpc_frame_in f;

	feed(&r, wire, sizeof wire);
	assert_int_equal(rpc_reader_next(&r, &f), 1);
	assert_int_equal(f.header.stream, 1);
	assert_int_equal(rpc_reader_next(&r, &f), 1);
	assert_int_equal(f.header.stream, 3);
	assert_int_equal(rpc_reader_next(&r, &f), 0);
	rpc_reader_free(&r);
}

static void the_largest_frame_fits(void **state)
{
	struct rpc_reader r = {.data = NULL};
	struct rpc_frame_in f;
	uint8_t h[RPC_HEADER_SIZE];
	const struct rpc_header header = {RPC_DATA_MAX, 1, RPC_FRAME_REQUEST, 0};
	char *data = malloc(RPC_DATA_MAX);

	assert_non_null(data);
	memset(data, 'x', RPC_DATA_MAX);
	rpc_header_write(h, &header);
	feed(&r, h, sizeof h);
	feed(&r, data, RPC_DATA_MAX);
	assert_int_equal(rpc_reader_next(&r, &f), 1);
	assert_int_equal(f.header.length, RPC_DATA_MAX);
	assert_memory_equal(f.data, data, RPC_DATA_MAX);
	assert_false(f.oversize);
	rpc_reader_trim(&r);
	assert_null(r.data);
	free(data);
}

static void a_larger_one_is_skipped_in_little_memory(void **state)
{
	const uint32_t length = RPC_DATA_MAX + 1;
	struct rpc_reader r = {.data = NULL};
	struct rpc_frame_in f;
	uint8_t h[RPC_HEADER_SIZE];
	const struct rpc_header header = {length, 7, RPC_FRAME_REQUEST, 0};

	rpc_header_write(h, &header);
	feed(&r, h, sizeof h);
	for (uint32_t left = length; left > 0;) {
		size_t room;
		assert_int_equal(rpc_reader_next(&r, &f), 0);
		void *p = rpc_reader_space(&r, &room);
		size_t n = room < left ? room : left;
		memset(p, 'x', n);
		rpc_reader_added(&r, n);
		left -= (uint32_t)n;
		assert_true(r.cap <= RPC_READ_MIN);
	}
	assert_true(rpc_reader_ready(&r));
	assert_int_equal(rpc_reader_next(&r, &f), 1);
	assert_true(f.oversize);
	assert_int_equal(f.header.stream, 7);
	assert_int_equal(f.header.length, length);
	/* and the next one is read as if nothing had been */
	feed(&r, "\0\0\0\0\0\0\0\x09\x01\0", RPC_HEADER_SIZE);
	assert_int_equal(rpc_reader_next(&r, &f), 1);
	assert_int_equal(f.header.stream, 9);
	rpc_reader_free(&r);
}

static void trim_gives_back_what_a_large_frame_took(void **state)
{
	const struct rpc_header header = {1 << 20, 1, RPC_FRAME_REQUEST, 0};
	struct rpc_reader r = {.data = NULL};
	struct rpc_frame_in f;
	uint8_t h[RPC_HEADER_SIZE];
	char *data = calloc(1, 1 << 20);

	assert_non_null(data);
	rpc_header_write(h, &header);
	feed(&r, h, sizeof h);
	feed(&r, data, 1 << 20);
	assert_int_equal(rpc_reader_next(&r, &f), 1);
	feed(&r, "\0\0\0\x04\0", 5); /* half of a header remains */
	rpc_reader_trim(&r);
	assert_true(r.cap <= RPC_READ_MIN);
	feed(&r, "\0\0\x03\x01\0data", 9);
	assert_int_equal(rpc_reader_next(&r, &f), 1);
	assert_int_equal(f.header.stream, 3);
	assert_memory_equal(f.data, "data", 4);
	rpc_reader_free(&r);
	free(data);
}

static void fill_reports_end_of_file_and_nothing_yet(void **state)
{
	struct rpc_reader r = {.data = NULL};
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(rpc_reader_fill(&r, fds[0]), -EAGAIN);
	assert_int_equal(write(fds[1], "abc", 3), 3);
	assert_int_equal(rpc_reader_fill(&r, fds[0]), 3);
	assert_true(rpc_reader_midway(&r));
	close(fds[1]);
	assert_int_equal(rpc_reader_fill(&r, fds[0]), 0);
	close(fds[0]);
	rpc_reader_free(&r);
}

static void the_queue_sends_in_order_as_the_socket_takes_it(void **state)
{
	struct rpc_queue q;
	struct rpc_reader r = {.data = NULL};
	struct rpc_frame_in in;
	uint32_t next = 0;
	int fds[2], status;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	rpc_queue_init(&q);
	for (uint32_t i = 0; i < 100; i++) {
		struct rpc_frame *f = rpc_frame_new(20000 + i, RPC_FRAME_RESPONSE, i, 0);
		assert_non_null(f);
		memset(f->bytes + RPC_HEADER_SIZE, (int)i, 20000 + i);
		rpc_queue_push(&q, f);
	}
	assert_true(q.bytes > 2000000);
	do {
		status = rpc_queue_flush(&q, fds[0]);
		assert_true(status == 0 || status == -EAGAIN);
		while (rpc_reader_fill(&r, fds[1]) > 0) {
			while (rpc_reader_next(&r, &in) > 0) {
				assert_int_equal(in.header.stream, next);
				assert_int_equal(in.header.length, 20000 + next);
				assert_int_equal(in.data[19999], next);
				next++;
			}
		}
	} while (status == -EAGAIN);
	assert_int_equal(next, 100);
	assert_int_equal(q.bytes, 0);
	close(fds[1]);
	rpc_queue_push(&q, rpc_frame_new(1, RPC_FRAME_RESPONSE, 1, 0));
	assert_int_equal(rpc_queue_flush(&q, fds[0]), -EPIPE); /* and no signal */
	rpc_queue_clear(&q);
	assert_int_equal(q.bytes, 0);
	close(fds[0]);
	rpc_reader_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_round_trip),
		cmocka_unit_test(a_frame_may_come_byte_by_byte),
		cmocka_unit_test(an_empty_frame_is_a_frame),
		cmocka_unit_test(the_largest_frame_fits),
		cmocka_unit_test(a_larger_one_is_skipped_in_little_memory),
		cmocka_unit_test(trim_gives_back_what_a_large_frame_took),
		cmocka_unit_test(fill_reports_end_of_file_and_nothing_yet),
		cmocka_unit_test(the_queue_sends_in_order_as_the_socket_takes_it),
	};
	return RUN_TESTS();
}
