/* SPDX-License-Identifier: Apache-2.0 */
/* The whole of it but for the VMM: a loop's thread, callers on others, and a front end's socket. */
#include "vhost_user/vhost-vsock.h"

#include "base/clock.h"
#include "base/testing.h"
#include "devices/testing-guest.h"
#include "io/testing.h"
#include "vhost_user/testing-front-end.h"

#include <linux/virtio_vsock.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define RAM (256u << 10)
#define QUEUE 16

struct bench {
	struct loop *loop;
	pthread_t thread;
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof *b);

	assert_non_null(b);
	assert_int_equal(loop_new(&b->loop), 0);
	assert_int_equal(testing_loop_start(b->loop, &b->thread), 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	loop_stop(b->loop);
	assert_int_equal(pthread_join(b->thread, NULL), 0);
	loop_free(b->loop);
	free(b);
	return 0;
}

/* ---- A VMM's worth of front end -------------------------------------------------------------- */

struct vmm {
	int fd;
	struct testing_ram ram;
	struct testing_driver drv[2];
	int kick[2], call[2];
};

static void tell(struct vmm *m, uint32_t request, const void *p, uint32_t size, int fd)
{
	assert_true(testing_front_send(m->fd, request, VHOST_USER_VERSION, p, size, &fd, fd >= 0));
}

static void tell_state(struct vmm *m, uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_user_vring_state s = {index, num};
	tell(m, request, &s, sizeof s, -1);
}

static uint64_t guest_cid(struct vmm *m)
{
	struct vhost_user_config c = {.size = 8};
	struct testing_reply r;
	uint64_t cid;
	struct pollfd p = {.fd = m->fd, .events = POLLIN};

	tell(m, VHOST_USER_GET_CONFIG, &c, 20, -1);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_true(testing_front_reply(m->fd, &r));
	assert_int_equal(r.h.size, 20);
	memcpy(&cid, r.p.config.data, sizeof cid);
	return cid;
}

static void boot(struct vmm *m)
{
	uint64_t features = 0x140000000;
	struct vhost_user_mem_table t = {
		.n = 1, .regions = {{.gpa = 0, .size = RAM, .user_addr = 0x1000000}}};

	testing_ram_init(&m->ram, RAM);
	tell(m, VHOST_USER_SET_FEATURES, &features, 8, -1);
	tell(m, VHOST_USER_SET_MEM_TABLE, &t, 8 + 32, m->ram.fd);
	for (uint32_t i = 0; i < 2; i++) {
		uint64_t index = i;
		testing_driver_init(&m->drv[i], &m->ram, QUEUE);
		m->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		m->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		struct vhost_user_vring_addr a = {
			.index = i,
			.desc = 0x1000000 + m->drv[i].desc_gpa,
			.avail = 0x1000000 + m->drv[i].avail_gpa,
			.used = 0x1000000 + m->drv[i].used_gpa,
		};
		tell_state(m, VHOST_USER_SET_VRING_NUM, i, QUEUE);
		tell_state(m, VHOST_USER_SET_VRING_BASE, i, 0);
		tell(m, VHOST_USER_SET_VRING_ADDR, &a, sizeof a, -1);
		tell(m, VHOST_USER_SET_VRING_KICK, &index, 8, m->kick[i]);
		tell(m, VHOST_USER_SET_VRING_CALL, &index, 8, m->call[i]);
	}
	const struct testing_buf rx = {0x10000, 4096, true};
	assert_true(testing_driver_add(&m->drv[0], &rx, 1) >= 0);
	for (uint32_t i = 0; i < 2; i++)
		tell_state(m, VHOST_USER_SET_VRING_ENABLE, i, 1);
}

/* Waits for the one packet that the guest has room for, and answers it with @op. */
static void guest_answers(struct vmm *m, uint16_t op)
{
	struct pollfd p = {.fd = m->call[0], .events = POLLIN};
	struct virtio_vsock_hdr h;
	uint64_t n = 1;
	uint32_t len;

	while (testing_driver_get(&m->drv[0], &len) < 0)
		assert_int_equal(poll(&p, 1, 5000), 1);
	(void)!read(m->call[0], &n, sizeof n);
	memcpy(&h, testing_ram_at(&m->ram, 0x10000), sizeof h);
	assert_int_equal(h.op, VIRTIO_VSOCK_OP_REQUEST);
	uint32_t port = h.src_port;
	h.src_port = h.dst_port;
	h.dst_port = port;
	h.dst_cid = h.src_cid;
	h.src_cid = 3;
	h.op = op;
	memcpy(testing_ram_at(&m->ram, 0x20000), &h, sizeof h);
	const struct testing_buf tx = {0x20000, sizeof h, false}, rx = {0x10000, 4096, true};
	assert_true(testing_driver_add(&m->drv[1], &tx, 1) >= 0);
	assert_true(testing_driver_add(&m->drv[0], &rx, 1) >= 0);
	n = 1;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(write(m->kick[i], &n, sizeof n), sizeof n);
}

static void power_off(struct vmm *m)
{
	(void)close(m->fd);
	for (unsigned i = 0; i < 2; i++) {
		(void)close(m->kick[i]);
		(void)close(m->call[i]);
	}
	testing_ram_deinit(&m->ram);
}

/* ---- Tests ----------------------------------------------------------------------------------- */

struct caller {
	struct vhost_vsock *d;
	uint64_t timeout_ms;
	pthread_t thread;
	int result;
	struct err e;
};

static void *call(void *arg)
{
	struct caller *c = arg;
	c->result = vhost_vsock_connect(c->d, 1024, time_deadline(c->timeout_ms), &c->e);
	return NULL;
}

static void serves_a_machine(void **state)
{
	struct bench *b = *state;
	struct vhost_vsock *d = NULL;
	struct vmm m = {.fd = -1};
	struct err e = ERR_INIT;

	assert_int_equal(vhost_vsock_new(b->loop, 3, NULL, &d, &m.fd, &e), 0);
	assert_int_equal(guest_cid(&m), 3);

	/* Two callers come before the machine is up. */
	struct caller one = {.d = d, .timeout_ms = 5000}, hasty = {.d = d, .timeout_ms = 10};
	assert_int_equal(pthread_create(&hasty.thread, NULL, call, &hasty), 0);
	assert_int_equal(pthread_join(hasty.thread, NULL), 0);
	assert_int_equal(hasty.result, -ETIMEDOUT);
	assert_int_equal(pthread_create(&one.thread, NULL, call, &one), 0);
	boot(&m);
	guest_answers(&m, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(pthread_join(one.thread, NULL), 0);
	assert_int_equal(one.result, -ECONNREFUSED);

	assert_int_equal(pthread_create(&one.thread, NULL, call, &one), 0);
	guest_answers(&m, VIRTIO_VSOCK_OP_RESPONSE);
	assert_int_equal(pthread_join(one.thread, NULL), 0);
	assert_true(one.result >= 0);

	struct caller last = {.d = d, .timeout_ms = 0};
	assert_int_equal(pthread_create(&last.thread, NULL, call, &last), 0);
	(void)poll(NULL, 0, 10);
	power_off(&m);
	assert_int_equal(pthread_join(last.thread, NULL), 0);
	assert_int_equal(last.result, -ECONNRESET);
	assert_string_equal(last.e.text, "connect to vsock port 1024: the machine has ended");
	char c;
	assert_int_equal(recv(one.result, &c, 1, 0), 0);
	assert_int_equal(close(one.result), 0);
	vhost_vsock_free(d);
}

struct churn {
	struct loop *loop;
	pthread_t thread;
};

static void *churn(void *arg)
{
	struct churn *c = arg;

	for (unsigned i = 0; i < 20; i++) {
		struct vhost_vsock *d = NULL;
		struct err e = ERR_INIT;
		int fd = -1;
		if (vhost_vsock_new(c->loop, 3 + i, NULL, &d, &fd, &e) < 0)
			return (void *)1;
		if (i % 2)
			(void)close(fd);
		int r = vhost_vsock_connect(d, 1, time_deadline(1), &e);
		if (r != -ETIMEDOUT && r != -ECONNRESET)
			return (void *)2;
		vhost_vsock_free(d);
		if (i % 2 == 0)
			(void)close(fd);
	}
	return NULL;
}

static void made_and_freed_from_many_threads(void **state)
{
	struct bench *b = *state;
	struct churn c[4];

	for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
		c[i].loop = b->loop;
		assert_int_equal(pthread_create(&c[i].thread, NULL, churn, &c[i]), 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
		void *result = NULL;
		assert_int_equal(pthread_join(c[i].thread, &result), 0);
		assert_null(result);
	}
}

static void failures_leave_nothing(void **state)
{
	struct bench *b = *state;
	struct vhost_vsock *d = NULL;
	struct err e = ERR_INIT;
	int fd = -1;

	assert_int_equal(vhost_vsock_new(b->loop, 2, NULL, &d, &fd, &e), -EINVAL);
	assert_int_equal(vhost_vsock_new(b->loop, 3, "/nowhere/at/all", &d, &fd, &e), -ENOENT);
	assert_string_equal(e.text, "listen at /nowhere/at/all: No such file or directory");
	assert_null(d);
	assert_int_equal(fd, -1);
	vhost_vsock_free(NULL);
}

static void hybrid_socket_comes_and_goes(void **state)
{
	struct bench *b = *state;
	struct vhost_vsock *d = NULL;
	struct err e = ERR_INIT;
	struct stat st;
	char dir[] = "/tmp/test-vhost-vsock.XXXXXX", path[64];
	int fd = -1;

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof path, "%s/v", dir);
	assert_int_equal(vhost_vsock_new(b->loop, 3, path, &d, &fd, &e), 0);
	assert_int_equal(stat(path, &st), 0);
	vhost_vsock_free(d);
	assert_int_equal(stat(path, &st), -1);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(close(fd), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(serves_a_machine),
		TEST(made_and_freed_from_many_threads),
		TEST(failures_leave_nothing),
		TEST(hybrid_socket_comes_and_goes),
	};
	return RUN_TESTS();
}
