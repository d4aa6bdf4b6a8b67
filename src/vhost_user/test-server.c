/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost_user/server.h"

#include "base/testing.h"
#include "devices/testing-guest.h"
#include "vhost_user/testing-front-end.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define RAM (64u << 10)
#define QUEUE 16
#define N_QUEUES 2

/* A device that writes down what happens to it. */
struct fake {
	struct virtqueue *q[N_QUEUES];
	unsigned starts, stops, kicks, resets;
	uint64_t features;
};

static void fake_config(void *dev, uint8_t *dst)
{
	memcpy(dst, "config!", 8);
}

static void fake_features(void *dev, uint64_t features)
{
	((struct fake *)dev)->features = features;
}

static void fake_start(void *dev, unsigned index, struct virtqueue *q)
{
	struct fake *f = dev;
	assert_null(f->q[index]);
	f->q[index] = q;
	f->starts++;
}

static void fake_kick(void *dev, unsigned index)
{
	struct fake *f = dev;
	assert_non_null(f->q[index]);
	f->kicks++;
}

static void fake_stop(void *dev, unsigned index)
{
	struct fake *f = dev;
	assert_non_null(f->q[index]);
	f->q[index] = NULL;
	f->stops++;
}

static void fake_reset(void *dev)
{
	struct fake *f = dev;
	assert_null(f->q[0]);
	assert_null(f->q[1]);
	f->resets++;
}

static const struct virtio_device_ops fake_ops = {
	.name = "fake",
	.n_queues = N_QUEUES,
	.features = 1 << 5,
	.config_size = 8,
	.read_config = fake_config,
	.set_features = fake_features,
	.queue_start = fake_start,
	.queue_kick = fake_kick,
	.queue_stop = fake_stop,
	.reset = fake_reset,
};

struct bench {
	struct loop *loop;
	int front;
	struct vhost_user *u;
	struct fake dev;
	bool gone;
	char why[256];
	struct testing_ram ram;
	struct testing_driver drv[N_QUEUES];
	int kick[N_QUEUES], call[N_QUEUES];
};

static void on_gone(void *arg, const char *why)
{
	struct bench *b = arg;
	assert_false(b->gone);
	b->gone = true;
	(void)snprintf(b->why, sizeof b->why, "%s", why);
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof *b);
	int sv[2];

	assert_non_null(b);
	assert_int_equal(loop_new(&b->loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	b->front = sv[0];
	assert_int_equal(
		vhost_user_new(b->loop, sv[1], &fake_ops, &b->dev, on_gone, b, &b->u, NULL), 0);
	testing_ram_init(&b->ram, RAM);
	for (unsigned i = 0; i < N_QUEUES; i++) {
		testing_driver_init(&b->drv[i], &b->ram, QUEUE);
		b->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		b->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	(void)close_fd(b->front);
	vhost_user_free(b->u);
	assert_null(b->dev.q[0]);
	assert_null(b->dev.q[1]);
	for (unsigned i = 0; i < N_QUEUES; i++) {
		(void)close(b->kick[i]);
		(void)close(b->call[i]);
	}
	testing_ram_deinit(&b->ram);
	loop_free(b->loop);
	free(b);
	return 0;
}

/* ---- Talking --------------------------------------------------------------------------------- */

static void tell(struct bench *b, uint32_t request, const void *payload, uint32_t size,
		 const int *fds, unsigned n_fds)
{
	(void)testing_front_send(b->front, request, VHOST_USER_VERSION, payload, size, fds, n_fds);
	testing_front_turn(b->loop);
}

static void tell_u64(struct bench *b, uint32_t request, uint64_t v)
{
	tell(b, request, &v, sizeof v, NULL, 0);
}

static void tell_state(struct bench *b, uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_user_vring_state s = {index, num};
	tell(b, request, &s, sizeof s, NULL, 0);
}

static void tell_fd(struct bench *b, uint32_t request, uint64_t index, int fd)
{
	tell(b, request, &index, sizeof index, &fd, 1);
}

static struct testing_reply ask(struct bench *b, uint32_t request, const void *payload,
				uint32_t size)
{
	struct testing_reply r;

	tell(b, request, payload, size, NULL, 0);
	if (!testing_front_reply(b->front, &r))
		fail_msg("no answer to request %u: %s", request, b->why);
	assert_int_equal(r.h.request, request);
	assert_int_equal(r.h.flags, VHOST_USER_VERSION | VHOST_USER_REPLY);
	return r;
}

/* A request with need_reply; returns the acknowledgement. */
static uint64_t ack(struct bench *b, uint32_t request, const void *payload, uint32_t size,
		    const int *fds, unsigned n_fds)
{
	struct testing_reply r;

	(void)testing_front_send(b->front, request, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY,
				 payload, size, fds, n_fds);
	testing_front_turn(b->loop);
	if (!testing_front_reply(b->front, &r))
		fail_msg("request %u is not acknowledged: %s", request, b->why);
	assert_int_equal(r.h.request, request);
	assert_int_equal(r.h.size, 8);
	return r.p.u64;
}

static void expect_gone(struct bench *b, const char *why)
{
	char c;

	assert_true(b->gone);
	if (!strstr(b->why, why))
		fail_msg("\"%s\" does not speak of \"%s\"", b->why, why);
	/* The end, or a reset where a payload was left unread. */
	assert_true(recv(b->front, &c, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET);
	assert_true(b->dev.resets >= 1);
}

static struct vhost_user_region region(struct bench *b, unsigned i)
{
	const struct guest_region *g = &b->ram.mem.regions[i];
	return (struct vhost_user_region){
		.gpa = g->gpa,
		.size = g->size,
		.user_addr = 0x7f0000000000 + (uint64_t)i * RAM, /* the front end's own */
		.mmap_offset = (uint64_t)i * RAM,
	};
}

static void share_memory(struct bench *b)
{
	struct vhost_user_mem_table t = {.n = 2, .regions = {region(b, 0), region(b, 1)}};
	const int fds[] = {b->ram.fd, b->ram.fd};
	tell(b, VHOST_USER_SET_MEM_TABLE, &t, 8 + 2 * sizeof t.regions[0], fds, 2);
}

static struct vhost_user_vring_addr ring_addr(struct bench *b, unsigned i)
{
	const uint64_t user = 0x7f0000000000;
	return (struct vhost_user_vring_addr){
		.index = i,
		.desc = user + b->drv[i].desc_gpa,
		.avail = user + b->drv[i].avail_gpa,
		.used = user + b->drv[i].used_gpa,
	};
}

static void prepare_ring(struct bench *b, unsigned i, uint32_t base)
{
	struct vhost_user_vring_addr a = ring_addr(b, i);

	tell_state(b, VHOST_USER_SET_VRING_NUM, i, QUEUE);
	tell_state(b, VHOST_USER_SET_VRING_BASE, i, base);
	tell(b, VHOST_USER_SET_VRING_ADDR, &a, sizeof a, NULL, 0);
	tell_fd(b, VHOST_USER_SET_VRING_CALL, i, b->call[i]);
	tell_fd(b, VHOST_USER_SET_VRING_KICK, i, b->kick[i]);
}

/* The order in which QEMU 7.2 says things. */
static void start_as_qemu_does(struct bench *b)
{
	ask(b, VHOST_USER_GET_FEATURES, NULL, 0);
	ask(b, VHOST_USER_GET_PROTOCOL_FEATURES, NULL, 0);
	tell_u64(b, VHOST_USER_SET_PROTOCOL_FEATURES,
		 VHOST_USER_PROTOCOL_F_CONFIG | VHOST_USER_PROTOCOL_F_REPLY_ACK |
			 VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
	tell(b, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0);
	tell_u64(b, VHOST_USER_SET_FEATURES, 0x140000000);
	share_memory(b);
	for (unsigned i = 0; i < N_QUEUES; i++)
		prepare_ring(b, i, 0);
	assert_int_equal(b->dev.starts, 0);
	for (unsigned i = 0; i < N_QUEUES; i++)
		tell_state(b, VHOST_USER_SET_VRING_ENABLE, i, 1);
	assert_int_equal(b->dev.starts, N_QUEUES);
	if (b->gone)
		fail_msg("%s", b->why);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void negotiates(void **state)
{
	struct bench *b = *state;
	uint64_t offered = ask(b, VHOST_USER_GET_FEATURES, NULL, 0).p.u64;

	assert_int_equal(offered, 1ull << 32 | 1 << 30 | 1 << 29 | 1 << 28 | 1 << 5);
	assert_int_equal(ask(b, VHOST_USER_GET_PROTOCOL_FEATURES, NULL, 0).p.u64,
			 1 << 15 | 1 << 9 | 1 << 3 | 1);
	assert_int_equal(ask(b, VHOST_USER_GET_QUEUE_NUM, NULL, 0).p.u64, N_QUEUES);
	assert_int_equal(ask(b, VHOST_USER_GET_MAX_MEM_SLOTS, NULL, 0).p.u64, GUEST_REGIONS_MAX);
	tell_u64(b, VHOST_USER_SET_FEATURES, 1ull << 32 | 1 << 5);
	assert_int_equal(b->dev.features, 1ull << 32 | 1 << 5);
	tell_u64(b, VHOST_USER_SET_FEATURES, 1ull << 26);
	expect_gone(b, "never offered");
}

static void protocol_features_are_checked(void **state)
{
	struct bench *b = *state;
	tell_u64(b, VHOST_USER_SET_PROTOCOL_FEATURES, 1 << 4);
	expect_gone(b, "never offered");
}

static void configuration_is_read(void **state)
{
	struct bench *b = *state;
	static const struct {
		uint32_t offset, size, answer;
	} cases[] = {{0, 8, 8},
		     {2, 4, 4},
		     {8, 0, 0},
		     {0, 9, UINT32_MAX},
		     {9, 0, UINT32_MAX},
		     {4, UINT32_MAX, UINT32_MAX},
		     {UINT32_MAX, 1, UINT32_MAX}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vhost_user_config c = {.offset = cases[i].offset, .size = cases[i].size};
		struct testing_reply r = ask(b, VHOST_USER_GET_CONFIG, &c, 12 + 9);
		if (cases[i].answer == UINT32_MAX) {
			assert_int_equal(r.h.size, 0);
			continue;
		}
		assert_int_equal(r.h.size, 12 + cases[i].size);
		assert_memory_equal(r.p.config.data, &"config!"[cases[i].offset], cases[i].size);
	}
}

static void runs_kicks_and_calls(void **state)
{
	struct bench *b = *state;
	struct virtqueue_chain c;
	struct iovec iov[4];
	const struct testing_buf buf = {0x8000, 5, false};
	const struct testing_buf high = {TESTING_RAM_HIGH, 5, true};
	uint64_t one = 1;
	uint32_t len;

	start_as_qemu_does(b);
	memcpy(testing_ram_at(&b->ram, 0x8000), "hello", 5);
	assert_true(testing_driver_add(&b->drv[1], &buf, 1) >= 0);
	assert_int_equal(write(b->kick[1], &one, 8), 8);
	testing_front_turn(b->loop);
	assert_int_equal(b->dev.kicks, 1);
	assert_int_equal(virtqueue_pop(b->dev.q[1], &c, iov, 4), 1);
	assert_memory_equal(c.readable[0].iov_base, "hello", 5);
	virtqueue_push(b->dev.q[1], c.head, 0);
	virtqueue_notify(b->dev.q[1]);
	assert_int_equal(read(b->call[1], &one, 8), 8);
	assert_true(testing_driver_get(&b->drv[1], &len) >= 0);

	assert_true(testing_driver_add(&b->drv[0], &high, 1) >= 0);
	assert_int_equal(virtqueue_pop(b->dev.q[0], &c, iov, 4), 1);
	memcpy(c.writable[0].iov_base, "there", 5);
	assert_memory_equal(testing_ram_at(&b->ram, TESTING_RAM_HIGH), "there", 5);
}

static void stops_and_goes_on(void **state)
{
	struct bench *b = *state;
	struct virtqueue_chain c;
	struct iovec iov[4];
	const struct testing_buf buf = {0x8000, 5, false};

	start_as_qemu_does(b);
	assert_true(testing_driver_add(&b->drv[1], &buf, 1) >= 0);
	assert_int_equal(virtqueue_pop(b->dev.q[1], &c, iov, 4), 1);
	virtqueue_push(b->dev.q[1], c.head, 0);

	struct vhost_user_vring_state s = {.index = 1, .num = 77};
	struct testing_reply r = ask(b, VHOST_USER_GET_VRING_BASE, &s, sizeof s);
	assert_int_equal(r.p.state.index, 1);
	assert_int_equal(r.p.state.num, 1);
	assert_null(b->dev.q[1]);
	assert_non_null(b->dev.q[0]);
	uint64_t one = 1;
	assert_int_equal(write(b->kick[1], &one, 8), 8); /* heard by nobody */
	testing_front_turn(b->loop);
	assert_int_equal(b->dev.kicks, 0);

	prepare_ring(b, 1, 1); /* still enabled: the kick descriptor starts it */
	assert_non_null(b->dev.q[1]);
	assert_int_equal(b->dev.q[1]->next_avail, 1);
	assert_int_equal(b->dev.q[1]->next_used, 1);
	testing_front_turn(b->loop);
	assert_int_equal(b->dev.kicks, 1);

	tell_state(b, VHOST_USER_SET_VRING_ENABLE, 0, 0);
	assert_null(b->dev.q[0]);
	tell_state(b, VHOST_USER_SET_VRING_ENABLE, 0, 1);
	assert_non_null(b->dev.q[0]);
	tell(b, VHOST_USER_RESET_OWNER, NULL, 0, NULL, 0);
	assert_null(b->dev.q[0]);
	assert_null(b->dev.q[1]);
	assert_false(b->gone);
}

static void old_front_ends_need_not_enable(void **state)
{
	struct bench *b = *state;

	tell_u64(b, VHOST_USER_SET_FEATURES, 1ull << 32);
	share_memory(b);
	prepare_ring(b, 0, 0);
	assert_non_null(b->dev.q[0]);
}

static void front_end_vanishes(void **state)
{
	struct bench *b = *state;

	start_as_qemu_does(b);
	b->front = close_fd(b->front);
	testing_front_turn(b->loop);
	assert_true(b->gone);
	assert_int_equal(b->dev.stops, N_QUEUES);
	assert_int_equal(b->dev.resets, 1);
	testing_front_turn(b->loop);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static uint64_t ack_region(struct bench *b, uint32_t request, struct vhost_user_region r, int fd)
{
	struct vhost_user_mem_reg reg = {.region = r};
	return ack(b, request, &reg, sizeof reg, &fd, fd >= 0);
}

static void memory_is_added_and_removed(void **state)
{
	struct bench *b = *state;

	tell_u64(b, VHOST_USER_SET_PROTOCOL_FEATURES,
		 VHOST_USER_PROTOCOL_F_REPLY_ACK | VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
	tell_u64(b, VHOST_USER_SET_FEATURES, 1ull << 32);
	assert_int_equal(ack_region(b, VHOST_USER_ADD_MEM_REG, region(b, 0), b->ram.fd), 0);
	assert_int_equal(ack_region(b, VHOST_USER_ADD_MEM_REG, region(b, 1), b->ram.fd), 0);
	assert_int_not_equal(ack_region(b, VHOST_USER_ADD_MEM_REG, region(b, 1), b->ram.fd), 0);
	prepare_ring(b, 0, 0);
	assert_non_null(b->dev.q[0]);
	assert_int_equal(ack_region(b, VHOST_USER_REM_MEM_REG, region(b, 1), -1), 0);
	assert_non_null(b->dev.q[0]); /* its rings lie in the other */
	assert_int_not_equal(ack_region(b, VHOST_USER_REM_MEM_REG, region(b, 1), -1), 0);
	assert_int_equal(ack_region(b, VHOST_USER_REM_MEM_REG, region(b, 0), b->ram.fd), 0);
	assert_null(b->dev.q[0]);
	assert_false(b->gone);
}

static void rings_follow_their_memory(void **state)
{
	struct bench *b = *state;

	start_as_qemu_does(b);
	struct vring_desc *before = b->dev.q[0]->desc;
	before[3].addr = 0x1234;
	share_memory(b);
	assert_non_null(b->dev.q[0]);
	assert_ptr_not_equal(b->dev.q[0]->desc, before);
	assert_int_equal(b->dev.q[0]->desc[3].addr, 0x1234);

	struct vhost_user_mem_table t = {.n = 0}; /* all memory is taken away */
	tell(b, VHOST_USER_SET_MEM_TABLE, &t, 8, NULL, 0);
	assert_int_equal(b->dev.stops, N_QUEUES);
	assert_false(b->gone);
}

static void bad_regions_are_refused(void **state)
{
	struct bench *b = *state;
	struct vhost_user_region good = region(b, 0), r;

	tell_u64(b, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_PROTOCOL_F_REPLY_ACK);
	r = good;
	r.size = 0;
	assert_int_not_equal(ack_region(b, VHOST_USER_ADD_MEM_REG, r, b->ram.fd), 0);
	r = good;
	r.size = 2 * RAM + 1; /* past the end of the file */
	assert_int_not_equal(ack_region(b, VHOST_USER_ADD_MEM_REG, r, b->ram.fd), 0);
	r = good;
	r.mmap_offset = UINT64_MAX - RAM + 1;
	assert_int_not_equal(ack_region(b, VHOST_USER_ADD_MEM_REG, r, b->ram.fd), 0);
	r = good;
	r.gpa = UINT64_MAX - RAM + 1;
	assert_int_not_equal(ack_region(b, VHOST_USER_ADD_MEM_REG, r, b->ram.fd), 0);
	r = good;
	r.user_addr = UINT64_MAX - 1;
	assert_int_not_equal(ack_region(b, VHOST_USER_ADD_MEM_REG, r, b->ram.fd), 0);
	assert_int_not_equal(ack_region(b, VHOST_USER_ADD_MEM_REG, good, b->kick[0]), 0);
	assert_int_equal(ack_region(b, VHOST_USER_ADD_MEM_REG, good, b->ram.fd), 0);
}

static void shrinking_is_sealed_off(void **state)
{
	struct bench *b = *state;
	int fd = memfd_create("sealable", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(ftruncate(fd, RAM), 0);
	tell_u64(b, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_PROTOCOL_F_REPLY_ACK);
	assert_int_equal(ack_region(b, VHOST_USER_ADD_MEM_REG, region(b, 0), fd), 0);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(close(fd), 0);
}

static void bad_tables_end_the_connection(void **state)
{
	static const struct {
		uint32_t n, size;
		unsigned n_fds;
	} bad[] = {{3, 8 + 2 * 32, 2}, {2, 8 + 2 * 32, 1}, {1, 8 + 2 * 32, 2},
		   {9, 8 + 8 * 32, 8}, {2, 8 + 32, 2},	   {UINT32_MAX, 8, 0}};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct bench *b;
		setup((void **)&b);
		struct vhost_user_mem_table t = {.n = bad[i].n,
						 .regions = {region(b, 0), region(b, 1)}};
		int fds[8];
		for (unsigned k = 0; k < 8; k++)
			fds[k] = b->ram.fd;
		tell(b, VHOST_USER_SET_MEM_TABLE, &t, bad[i].size, fds, bad[i].n_fds);
		expect_gone(b, "memory table");
		teardown((void **)&b);
	}
}

/* ---- Broken rules ---------------------------------------------------------------------------- */

static void ring_arguments_are_checked(void **state)
{
	static const struct {
		uint32_t request, index, num;
		const char *why;
	} bad[] = {
		{VHOST_USER_SET_VRING_NUM, 2, 16, "queue 2 of a device that has 2"},
		{VHOST_USER_SET_VRING_NUM, UINT32_MAX, 16, "of a device that has 2"},
		{VHOST_USER_SET_VRING_NUM, 0, 0, "power of two"},
		{VHOST_USER_SET_VRING_NUM, 0, 17, "power of two"},
		{VHOST_USER_SET_VRING_NUM, 0, 2048, "power of two"},
		{VHOST_USER_SET_VRING_BASE, 2, 0, "of a device that has 2"},
		{VHOST_USER_SET_VRING_BASE, 0, 65536, "0 to 65535"},
		{VHOST_USER_SET_VRING_ENABLE, 2, 1, "of a device that has 2"},
		{VHOST_USER_SET_VRING_ENABLE, 0, 2, "0 or 1"},
		{VHOST_USER_GET_VRING_BASE, 2, 0, "of a device that has 2"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct bench *b;
		setup((void **)&b);
		tell_state(b, bad[i].request, bad[i].index, bad[i].num);
		expect_gone(b, bad[i].why);
		teardown((void **)&b);
	}
}

static void running_rings_are_left_alone(void **state)
{
	static const uint32_t requests[] = {VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_BASE};

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		struct bench *b;
		setup((void **)&b);
		start_as_qemu_does(b);
		tell_state(b, requests[i], 0, 8);
		expect_gone(b, "is running");
		teardown((void **)&b);
	}
	struct bench *b;
	setup((void **)&b);
	start_as_qemu_does(b);
	tell_u64(b, VHOST_USER_SET_FEATURES, 1ull << 32);
	expect_gone(b, "while queue 0 is running");
	teardown((void **)&b);
}

static void rings_outside_of_memory_do_not_start(void **state)
{
	static const struct {
		int64_t desc, avail, used;
		const char *why;
	} shift[] = {
		{-0x1000000, 0, 0, "do not lie in guest memory"},
		{0, 2 * RAM, 0, "do not lie in guest memory"},
		{0, 0, 3 * (int64_t)RAM, "do not lie in guest memory"},
		{8, 0, 0, "not aligned"},
		{0, 1, 0, "not aligned"},
		{0, 0, 2, "not aligned"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(shift); i++) {
		struct bench *b;
		setup((void **)&b);
		tell_u64(b, VHOST_USER_SET_FEATURES, 0x140000000);
		share_memory(b);
		prepare_ring(b, 0, 0);
		struct vhost_user_vring_addr a = ring_addr(b, 0);
		a.desc += (uint64_t)shift[i].desc;
		a.avail += (uint64_t)shift[i].avail;
		a.used += (uint64_t)shift[i].used;
		tell(b, VHOST_USER_SET_VRING_ADDR, &a, sizeof a, NULL, 0);
		tell_state(b, VHOST_USER_SET_VRING_ENABLE, 0, 1);
		expect_gone(b, shift[i].why);
		assert_int_equal(b->dev.starts, 0);
		teardown((void **)&b);
	}
}

static void rings_need_their_parts(void **state)
{
	struct bench *b = *state;

	tell_u64(b, VHOST_USER_SET_FEATURES, 1ull << 32);
	share_memory(b);
	tell_fd(b, VHOST_USER_SET_VRING_KICK, 0, b->kick[0]);
	expect_gone(b, "no size or no address");
}

static void logs_are_not_kept(void **state)
{
	struct bench *b = *state;
	struct vhost_user_vring_addr a = ring_addr(b, 0);

	a.flags = 1;
	tell(b, VHOST_USER_SET_VRING_ADDR, &a, sizeof a, NULL, 0);
	expect_gone(b, "log");
}

static void ring_descriptors_are_checked(void **state)
{
	int p[2];
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	static const uint32_t requests[] = {VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL,
					    VHOST_USER_SET_VRING_ERR};

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		struct bench *b;
		setup((void **)&b);
		tell_fd(b, requests[i], 0, p[1]);
		expect_gone(b, "no eventfd");
		teardown((void **)&b);

		setup((void **)&b);
		tell_fd(b, requests[i], 5, b->call[0]);
		expect_gone(b, "queue 5 of a device that has 2");
		teardown((void **)&b);

		setup((void **)&b);
		tell_fd(b, requests[i], VHOST_USER_VRING_NO_FD, b->call[0]);
		expect_gone(b, "1 descriptors where the request says none");
		teardown((void **)&b);

		setup((void **)&b);
		tell_u64(b, requests[i], 0);
		expect_gone(b, "0 descriptors where the request says one");
		teardown((void **)&b);

		setup((void **)&b);
		tell_u64(b, requests[i], 1 << 9 | VHOST_USER_VRING_NO_FD);
		expect_gone(b, "reserved bits");
		teardown((void **)&b);
	}
	struct bench *b;
	setup((void **)&b);
	tell_u64(b, VHOST_USER_SET_VRING_CALL, VHOST_USER_VRING_NO_FD);
	tell_u64(b, VHOST_USER_SET_VRING_ERR, 1 | VHOST_USER_VRING_NO_FD);
	assert_false(b->gone);
	tell_u64(b, VHOST_USER_SET_VRING_KICK, VHOST_USER_VRING_NO_FD);
	expect_gone(b, "polling");
	teardown((void **)&b);
	(void)close(p[0]);
	(void)close(p[1]);
}

static void unknown_requests(void **state)
{
	struct bench *b = *state;

	tell_u64(b, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_PROTOCOL_F_REPLY_ACK);
	assert_int_not_equal(ack(b, 33, NULL, 0, NULL, 0), 0);
	assert_false(b->gone);
	assert_int_equal(ack(b, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0), 0);
	tell(b, 33, NULL, 0, NULL, 0);
	expect_gone(b, "request 33 is unknown");
}

static void refusals_are_counted(void **state)
{
	struct bench *b = *state;

	tell_u64(b, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_PROTOCOL_F_REPLY_ACK);
	for (unsigned i = 0; i < 64; i++)
		assert_int_not_equal(ack(b, 33, NULL, 0, NULL, 0), 0);
	assert_false(b->gone);
	(void)testing_front_send(b->front, 33, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, NULL, 0,
				 NULL, 0);
	testing_front_turn(b->loop);
	expect_gone(b, "one of 65");
}

static void acknowledgements_must_be_negotiated(void **state)
{
	struct bench *b = *state;
	struct testing_reply r;

	(void)testing_front_send(b->front, VHOST_USER_SET_OWNER,
				 VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, NULL, 0, NULL, 0);
	testing_front_turn(b->loop);
	assert_false(testing_front_reply(b->front, &r));
	assert_false(b->gone);
}

static void malformed_messages_end_the_connection(void **state)
{
	struct bench *b = *state;
	uint64_t v = 0;

	start_as_qemu_does(b);
	tell(b, VHOST_USER_SET_FEATURES, &v, 4, NULL, 0);
	expect_gone(b, "SET_FEATURES (2) has 4 bytes of payload: the rule is 8 to 8");
	assert_int_equal(b->dev.stops, N_QUEUES);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(negotiates),
		TEST(protocol_features_are_checked),
		TEST(configuration_is_read),
		TEST(runs_kicks_and_calls),
		TEST(stops_and_goes_on),
		TEST(old_front_ends_need_not_enable),
		TEST(front_end_vanishes),
		TEST(memory_is_added_and_removed),
		TEST(rings_follow_their_memory),
		TEST(bad_regions_are_refused),
		TEST(shrinking_is_sealed_off),
		cmocka_unit_test(bad_tables_end_the_connection),
		cmocka_unit_test(ring_arguments_are_checked),
		cmocka_unit_test(running_rings_are_left_alone),
		cmocka_unit_test(rings_outside_of_memory_do_not_start),
		TEST(rings_need_their_parts),
		TEST(logs_are_not_kept),
		cmocka_unit_test(ring_descriptors_are_checked),
		TEST(unknown_requests),
		TEST(refusals_are_counted),
		TEST(acknowledgements_must_be_negotiated),
		TEST(malformed_messages_end_the_connection),
	};
	return RUN_TESTS();
}
