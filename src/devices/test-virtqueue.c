/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtqueue.h"

#include "base/testing.h"
#include "devices/iov.h"
#include "devices/testing-guest.h"

#include <string.h>

#define QUEUE 8
#define RAM (64 << 10)

struct bench {
	struct testing_ram ram;
	struct testing_driver drv;
	struct virtqueue q;
	struct virtqueue_chain c;
	struct iovec iov[VIRTQUEUE_IOV_MAX];
	unsigned interrupts;
};

static void count_interrupt(void *arg)
{
	struct bench *b = arg;
	b->interrupts++;
}

static int setup_features(void **state, uint64_t features)
{
	struct bench *b = calloc(1, sizeof *b);
	assert_non_null(b);
	testing_ram_init(&b->ram, RAM);
	testing_driver_init(&b->drv, &b->ram, QUEUE);
	b->q.interrupt = count_interrupt;
	b->q.interrupt_arg = b;
	assert_int_equal(testing_driver_start_device(&b->drv, &b->q, features), 0);
	*state = b;
	return 0;
}

static int setup(void **state)
{
	return setup_features(state, 1ull << VIRTIO_RING_F_INDIRECT_DESC);
}

static int setup_plain(void **state)
{
	return setup_features(state, 0);
}

static int setup_event_idx(void **state)
{
	return setup_features(state, 1ull << VIRTIO_RING_F_EVENT_IDX);
}

static int teardown(void **state)
{
	struct bench *b = *state;
	testing_ram_deinit(&b->ram);
	free(b);
	return 0;
}

static int pop(struct bench *b)
{
	return virtqueue_pop(&b->q, &b->c, b->iov, VIRTQUEUE_IOV_MAX);
}

/* The queue is broken, by the rule that @why names, and stays so. */
static void assert_broken(struct bench *b, const char *why)
{
	assert_int_equal(pop(b), -EPROTO);
	assert_non_null(b->q.why);
	if (!strstr(b->q.why, why))
		fail_msg("\"%s\" does not speak of \"%s\"", b->q.why, why);
	assert_int_equal(pop(b), -EPROTO);
	virtqueue_push(&b->q, 0, 0);
	assert_int_equal(b->drv.used->idx, 0);
}

/* Puts @head into the available ring as the driver's code never would. */
static void offer(struct bench *b, uint16_t head)
{
	b->drv.avail->ring[b->drv.avail->idx % QUEUE] = head;
	b->drv.avail->idx++;
}

static void set_desc(struct bench *b, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
		     uint16_t next)
{
	b->drv.desc[i] =
		(struct vring_desc){.addr = addr, .len = len, .flags = flags, .next = next};
}

static void request_and_completion(void **state)
{
	struct bench *b = *state;
	const struct testing_buf bufs[] = {
		{.gpa = 0x8000, .len = 5}, {.gpa = 0x9000, .len = 3}, {0xa000, 16, true}};
	char text[8];
	uint32_t len;

	assert_int_equal(pop(b), 0);
	memcpy(testing_ram_at(&b->ram, 0x8000), "hello", 5);
	memcpy(testing_ram_at(&b->ram, 0x9000), "you", 3);
	int head = testing_driver_add(&b->drv, bufs, 3);
	assert_int_equal(pop(b), 1);
	assert_int_equal(b->c.head, head);
	assert_int_equal(b->c.n_readable, 2);
	assert_int_equal(b->c.n_writable, 1);
	assert_int_equal(b->c.readable_bytes, 8);
	assert_int_equal(b->c.writable_bytes, 16);
	assert_int_equal(iov_to_buf(b->c.readable, 2, text, sizeof text), 8);
	assert_memory_equal(text, "helloyou", 8);
	assert_int_equal(iov_from_buf(b->c.writable, 1, "answer", 6), 6);
	virtqueue_push(&b->q, b->c.head, 6);
	assert_int_equal(testing_driver_get(&b->drv, &len), head);
	assert_int_equal(len, 6);
	assert_memory_equal(testing_ram_at(&b->ram, 0xa000), "answer", 6);
	assert_int_equal(pop(b), 0);
}

static void goes_round_many_times(void **state)
{
	struct bench *b = *state;
	const struct testing_buf buf = {0x8000, 8, true};
	uint32_t len;

	for (unsigned i = 0; i < 70000; i++) {
		assert_true(testing_driver_add(&b->drv, &buf, 1) >= 0);
		assert_int_equal(pop(b), 1);
		virtqueue_push(&b->q, b->c.head, i % 9);
		assert_true(testing_driver_get(&b->drv, &len) >= 0);
		assert_int_equal(len, i % 9);
	}
	assert_null(b->q.why);
}

static void unpop_gives_back(void **state)
{
	struct bench *b = *state;
	const struct testing_buf one = {0x8000, 8, true}, two = {0x9000, 8, true};

	int first = testing_driver_add(&b->drv, &one, 1);
	testing_driver_add(&b->drv, &two, 1);
	assert_int_equal(pop(b), 1);
	assert_int_equal(pop(b), 1);
	virtqueue_unpop(&b->q, 2);
	assert_int_equal(pop(b), 1);
	assert_int_equal(b->c.head, first);
}

static void full_chain_is_the_longest(void **state)
{
	struct bench *b = *state;
	for (unsigned i = 0; i < QUEUE; i++)
		set_desc(b, i, 0x8000, 4, i + 1 < QUEUE ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	offer(b, 0);
	assert_int_equal(pop(b), 1);
	assert_int_equal(b->c.n_readable, QUEUE);
}

static void empty_buffers_have_no_piece(void **state)
{
	struct bench *b = *state;
	set_desc(b, 0, UINT64_MAX, 0, VRING_DESC_F_NEXT, 1);
	set_desc(b, 1, 0x8000, 4, 0, 0);
	offer(b, 0);
	assert_int_equal(pop(b), 1);
	assert_int_equal(b->c.n_readable, 1);
}

static void small_array_leaves_the_request(void **state)
{
	struct bench *b = *state;
	const struct testing_buf bufs[] = {{0x8000, 4, false}, {0x9000, 4, false}};
	testing_driver_add(&b->drv, bufs, 2);
	assert_int_equal(virtqueue_pop(&b->q, &b->c, b->iov, 1), -ENOBUFS);
	assert_null(b->q.why);
	assert_int_equal(pop(b), 1);
}

static void loop_is_refused(void **state)
{
	struct bench *b = *state;
	set_desc(b, 0, 0x8000, 4, VRING_DESC_F_NEXT, 1);
	set_desc(b, 1, 0x8000, 4, VRING_DESC_F_NEXT, 0);
	offer(b, 0);
	assert_broken(b, "longer than its queue");
}

static void index_jump_is_refused(void **state)
{
	struct bench *b = *state;
	b->drv.avail->idx = QUEUE + 1;
	assert_broken(b, "jumped");
}

static void index_going_back_is_refused(void **state)
{
	struct bench *b = *state;
	const struct testing_buf buf = {0x8000, 8, true};
	testing_driver_add(&b->drv, &buf, 1);
	assert_int_equal(pop(b), 1);
	b->drv.avail->idx = 0;
	assert_broken(b, "jumped");
}

static void head_outside_is_refused(void **state)
{
	struct bench *b = *state;
	offer(b, QUEUE);
	assert_broken(b, "outside of its table");
}

static void next_outside_is_refused(void **state)
{
	struct bench *b = *state;
	set_desc(b, 0, 0x8000, 4, VRING_DESC_F_NEXT, 0xffff);
	offer(b, 0);
	assert_broken(b, "outside of its table");
}

static void bad_addresses_are_refused(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} bad[] = {
		{RAM, 1},
		{RAM - 4, 5},
		{RAM - 4, UINT32_MAX >> 8},
		{UINT64_MAX, 1},
		{UINT64_MAX - 3, 16},
		{TESTING_RAM_HIGH - 1, 2},
		{TESTING_RAM_HIGH + RAM - 1, 2},
		{TESTING_RAM_HIGH + RAM, 1},
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct bench *b;
		assert_int_equal(setup((void **)&b), 0);
		set_desc(b, 0, bad[i].addr, bad[i].len, VRING_DESC_F_WRITE, 0);
		offer(b, 0);
		assert_broken(b, "outside of guest memory");
		teardown((void **)&b);
	}
}

static void readable_after_writable_is_refused(void **state)
{
	struct bench *b = *state;
	const struct testing_buf bufs[] = {{0x8000, 4, true}, {0x9000, 4, false}};
	testing_driver_add(&b->drv, bufs, 2);
	assert_broken(b, "follows a writable");
}

static void too_many_bytes_are_refused(void **state)
{
	struct bench *b = *state;
	set_desc(b, 0, 0, UINT32_MAX, 0, 0);
	offer(b, 0);
	assert_broken(b, "longer than 256 MiB");
}

static void buffer_may_cross_adjacent_regions(void **state)
{
	struct bench *b = *state;
	struct guest_memory split = {.n = 0};
	struct guest_region r = b->ram.mem.regions[0];
	struct guest_region low = {0, 0x9000, r.hva, r.user_addr};
	struct guest_region high = {0x9000, RAM - 0x9000, r.hva + 0x9000, r.user_addr + 0x9000};
	assert_int_equal(guest_memory_add(&split, &low), 0);
	assert_int_equal(guest_memory_add(&split, &high), 0);
	b->q.mem = &split;
	set_desc(b, 0, 0x8ffe, 4, VRING_DESC_F_WRITE, 0);
	offer(b, 0);
	assert_int_equal(pop(b), 1);
	assert_int_equal(b->c.n_writable, 2);
	assert_int_equal(b->c.writable_bytes, 4);
	assert_int_equal(b->c.writable[0].iov_len, 2);
	assert_ptr_equal(b->c.writable[1].iov_base, high.hva);
}

/* ---- Indirect tables ------------------------------------------------------------------------- */

static struct vring_desc *table_at(struct bench *b, uint64_t gpa)
{
	return testing_ram_at(&b->ram, gpa);
}

static void indirect_table_is_followed(void **state)
{
	struct bench *b = *state;
	struct vring_desc *t = table_at(b, 0x4000);
	t[0] = (struct vring_desc){0x8000, 7, VRING_DESC_F_NEXT, 2};
	t[2] = (struct vring_desc){0x9000, 9, VRING_DESC_F_WRITE, 0};
	set_desc(b, 0, 0x4000, 3 * 16, VRING_DESC_F_INDIRECT, 0);
	offer(b, 0);
	assert_int_equal(pop(b), 1);
	assert_int_equal(b->c.readable_bytes, 7);
	assert_int_equal(b->c.writable_bytes, 9);
}

static void indirect_must_be_negotiated(void **state)
{
	struct bench *b = *state;
	set_desc(b, 0, 0x4000, 16, VRING_DESC_F_INDIRECT, 0);
	offer(b, 0);
	assert_broken(b, "never negotiated");
}

static void indirect_violations(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags;
		const char *why;
	} bad[] = {
		{0x4000, 0, VRING_DESC_F_INDIRECT, "multiple of 16"},
		{0x4000, 17, VRING_DESC_F_INDIRECT, "multiple of 16"},
		{0x4000, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, "successor"},
		{0x4004, 16, VRING_DESC_F_INDIRECT, "not aligned"},
		{RAM - 16, 32, VRING_DESC_F_INDIRECT, "outside of guest memory"},
		{UINT64_MAX - 15, 16, VRING_DESC_F_INDIRECT, "outside of guest memory"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct bench *b;
		assert_int_equal(setup((void **)&b), 0);
		set_desc(b, 0, bad[i].addr, bad[i].len, bad[i].flags, 1);
		offer(b, 0);
		assert_broken(b, bad[i].why);
		teardown((void **)&b);
	}
}

static void nested_indirect_is_refused(void **state)
{
	struct bench *b = *state;
	*table_at(b, 0x4000) = (struct vring_desc){0x5000, 16, VRING_DESC_F_INDIRECT, 0};
	set_desc(b, 0, 0x4000, 16, VRING_DESC_F_INDIRECT, 0);
	offer(b, 0);
	assert_broken(b, "leads to another");
}

static void indirect_loop_is_refused(void **state)
{
	struct bench *b = *state;
	*table_at(b, 0x4000) = (struct vring_desc){0x8000, 4, VRING_DESC_F_NEXT, 0};
	set_desc(b, 0, 0x4000, 16, VRING_DESC_F_INDIRECT, 0);
	offer(b, 0);
	assert_broken(b, "longer than its queue");
}

static void indirect_index_is_bounded_by_its_table(void **state)
{
	struct bench *b = *state;
	*table_at(b, 0x4000) = (struct vring_desc){0x8000, 4, VRING_DESC_F_NEXT, 1};
	set_desc(b, 0, 0x4000, 16, VRING_DESC_F_INDIRECT, 0);
	offer(b, 0);
	assert_broken(b, "outside of its table");
}

/* ---- Notification ---------------------------------------------------------------------------- */

static void add_and_complete(struct bench *b)
{
	const struct testing_buf buf = {0x8000, 8, true};
	uint32_t len;
	assert_true(testing_driver_add(&b->drv, &buf, 1) >= 0);
	assert_int_equal(pop(b), 1);
	virtqueue_push(&b->q, b->c.head, 0);
	assert_true(testing_driver_get(&b->drv, &len) >= 0);
}

static void interrupts_follow_the_flag(void **state)
{
	struct bench *b = *state;
	virtqueue_notify(&b->q);
	assert_int_equal(b->interrupts, 0); /* nothing was pushed */
	add_and_complete(b);
	virtqueue_notify(&b->q);
	assert_int_equal(b->interrupts, 1);
	b->drv.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	add_and_complete(b);
	virtqueue_notify(&b->q);
	assert_int_equal(b->interrupts, 1);
}

static void interrupts_follow_the_event_index(void **state)
{
	struct bench *b = *state;
	uint16_t *used_event = &b->drv.avail->ring[QUEUE];

	*used_event = 2; /* after the third completion */
	add_and_complete(b);
	virtqueue_notify(&b->q);
	add_and_complete(b);
	virtqueue_notify(&b->q);
	assert_int_equal(b->interrupts, 0);
	add_and_complete(b);
	virtqueue_notify(&b->q);
	assert_int_equal(b->interrupts, 1);
	add_and_complete(b);
	virtqueue_notify(&b->q);
	assert_int_equal(b->interrupts, 1);
}

static void kicks_are_asked_for_by_flag(void **state)
{
	struct bench *b = *state;
	const struct testing_buf buf = {0x8000, 8, true};
	assert_false(virtqueue_want_kick(&b->q, false));
	assert_false(testing_driver_kick_wanted(&b->drv));
	assert_false(virtqueue_want_kick(&b->q, true));
	assert_true(testing_driver_kick_wanted(&b->drv));
	testing_driver_add(&b->drv, &buf, 1);
	assert_true(virtqueue_want_kick(&b->q, true));
}

static void kicks_are_asked_for_by_index(void **state)
{
	struct bench *b = *state;
	add_and_complete(b);
	assert_false(virtqueue_want_kick(&b->q, true));
	uint16_t event;
	memcpy(&event, &b->drv.used->ring[QUEUE], sizeof event);
	assert_int_equal(event, 1);
	assert_int_equal(b->drv.used->flags, 0);
}

/* ---- Starting, memory ------------------------------------------------------------------------ */

static void start_checks_its_arguments(void **state)
{
	struct bench *b = *state;
	struct testing_driver *d = &b->drv;
	struct virtqueue q = {.size = 0};
	static const unsigned bad_sizes[] = {0, 3, 6, 2048, 65536, UINT32_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(bad_sizes); i++)
		assert_int_equal(virtqueue_start(&q, &b->ram.mem, bad_sizes[i], d->desc, d->avail,
						 d->used, 0, 0),
				 -EINVAL);
	assert_int_equal(virtqueue_start(&q, &b->ram.mem, QUEUE, (char *)d->desc + 8, d->avail,
					 d->used, 0, 0),
			 -EINVAL);
	assert_int_equal(virtqueue_start(&q, &b->ram.mem, QUEUE, d->desc, (char *)d->avail + 1,
					 d->used, 0, 0),
			 -EINVAL);
	assert_int_equal(virtqueue_start(&q, &b->ram.mem, QUEUE, d->desc, d->avail,
					 (char *)d->used + 2, 0, 0),
			 -EINVAL);
	assert_int_equal(virtqueue_start(&q, &b->ram.mem, QUEUE, NULL, d->avail, d->used, 0, 0),
			 -EINVAL);
	assert_int_equal(virtqueue_pop(&q, &b->c, b->iov, 1), -EPROTO);
}

static void regions_must_not_meet(void **state)
{
	static uint8_t page[4096];
	struct guest_memory m = {.n = 0};
	const struct guest_region first = {0x1000, 0x1000, page, 0x10000};
	const struct guest_region bad[] = {
		{0x1000, 0, page, 0x20000},		     /* empty */
		{UINT64_MAX - 0xfff, 0x1000, page, 0x20000}, /* ends past the last address */
		{0x3000, 0x1000, page, UINT64_MAX - 1},	     /* the same for the user's address */
		{0x1fff, 0x1000, page, 0x20000},	     /* overlaps */
		{0x0, 0x1001, page, 0x20000},
		{0x0, UINT64_MAX - 1, page, 0x20000},
		{0x3000, 0x1000, page, 0x10fff},
	};

	assert_int_equal(guest_memory_add(&m, &first), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(guest_memory_add(&m, &bad[i]), -EINVAL);
	assert_int_equal(m.n, 1);
	for (unsigned i = 1; i < GUEST_REGIONS_MAX; i++) {
		struct guest_region r = {0x1000 + 0x1000 * i, 0x1000, page, 0x10000 + 0x1000 * i};
		assert_int_equal(guest_memory_add(&m, &r), 0);
	}
	struct guest_region one_more = {1 << 30, 0x1000, page, 1 << 30};
	assert_int_equal(guest_memory_add(&m, &one_more), -ENOSPC);
	assert_non_null(guest_memory_at(&m, 0x1000, 0x1000));
	assert_null(guest_memory_at(&m, 0x1000, 0x1001));
	assert_null(guest_memory_at(&m, 0xfff, 1));
	assert_null(guest_memory_at(&m, 0x1800, UINT64_MAX));
	assert_non_null(guest_memory_at_user(&m, 0x10fff, 1));
	assert_null(guest_memory_at_user(&m, 0x10fff, 2));
}

static void slices(void **state)
{
	char a[4], c[6], out[10];
	const struct iovec iov[] = {{a, 4}, {c, 6}};
	struct iovec s[2];

	assert_int_equal(iov_total(iov, 2), 10);
	assert_int_equal(iov_from_buf(iov, 2, "0123456789xx", 12), 10);
	assert_int_equal(iov_slice(iov, 2, 3, 4, s, 2), 2);
	assert_int_equal(iov_to_buf(s, 2, out, sizeof out), 4);
	assert_memory_equal(out, "3456", 4);
	assert_int_equal(iov_slice(iov, 2, 4, 100, s, 2), 1);
	assert_ptr_equal(s[0].iov_base, c);
	assert_int_equal(s[0].iov_len, 6);
	assert_int_equal(iov_slice(iov, 2, 10, 1, s, 2), 0);
	assert_int_equal(iov_slice(iov, 2, 0, 10, s, 1), 1);
}

#define TEST(name, how) cmocka_unit_test_setup_teardown(name, how, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(request_and_completion, setup),
		TEST(goes_round_many_times, setup),
		TEST(unpop_gives_back, setup),
		TEST(full_chain_is_the_longest, setup),
		TEST(empty_buffers_have_no_piece, setup),
		TEST(small_array_leaves_the_request, setup),
		TEST(loop_is_refused, setup),
		TEST(index_jump_is_refused, setup),
		TEST(index_going_back_is_refused, setup),
		TEST(head_outside_is_refused, setup),
		TEST(next_outside_is_refused, setup),
		cmocka_unit_test(bad_addresses_are_refused),
		TEST(readable_after_writable_is_refused, setup),
		TEST(too_many_bytes_are_refused, setup),
		TEST(buffer_may_cross_adjacent_regions, setup),
		TEST(indirect_table_is_followed, setup),
		TEST(indirect_must_be_negotiated, setup_plain),
		cmocka_unit_test(indirect_violations),
		TEST(nested_indirect_is_refused, setup),
		TEST(indirect_loop_is_refused, setup),
		TEST(indirect_index_is_bounded_by_its_table, setup),
		TEST(interrupts_follow_the_flag, setup_plain),
		TEST(interrupts_follow_the_event_index, setup_event_idx),
		TEST(kicks_are_asked_for_by_flag, setup_plain),
		TEST(kicks_are_asked_for_by_index, setup_event_idx),
		TEST(start_checks_its_arguments, setup),
		cmocka_unit_test(regions_must_not_meet),
		cmocka_unit_test(slices),
	};
	return RUN_TESTS();
}
