/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-vsock-vm VMLINUX INITRAMFS
 *
 * Our vsock device under a real guest: QEMU by emulation, a distribution's kernel, guest-echo.c as
 * init. One machine serves all tests, in order.
 */
#include "base/clock.h"
#include "base/testing.h"
#include "io/child.h"
#include "io/testing.h"
#include "pattern.h"
#include "vhost_user/vhost-vsock.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define PORT 1024
#define BOOT_MS 120000
#define STEP_MS 60000
#define BULK (100ull << 20)
#define MANY 100

static const char *kernel, *initramfs;
static struct loop *loop;
static pthread_t loop_thread;
static struct vhost_vsock *device;
static struct child qemu = CHILD_INIT;
static int qmp = -1;
static struct err e;

/* ---- The machine ----------------------------------------------------------------------------- */

static void qmp_say(const char *json)
{
	char line[4096];
	size_t len = 0;
	struct pollfd p = {.fd = qmp, .events = POLLIN};

	if (json)
		assert_int_equal(write(qmp, json, strlen(json)), strlen(json));
	/* Up to the answer; the greeting is taken for one. Events pass by. */
	for (;;) {
		assert_int_equal(poll(&p, 1, STEP_MS), 1);
		assert_int_equal(read(qmp, line + len, 1), 1);
		if (line[len] != '\n') {
			assert_true(++len < sizeof line - 1);
			continue;
		}
		line[len] = '\0';
		len = 0;
		if (strstr(line, "\"error\""))
			fail_msg("%s: %s", json, line);
		if (strstr(line, "\"return\"") || strstr(line, "\"QMP\""))
			return;
	}
}

static int start_machine(void **state)
{
	const char *const argv[] = {
		"qemu-system-x86_64",
		"-machine",
		"q35,accel=tcg",
		"-cpu",
		"qemu64",
		"-nodefaults",
		"-no-user-config",
		"-display",
		"none",
		"-smp",
		"2",
		"-m",
		"256M,slots=2,maxmem=1G",
		"-object",
		"memory-backend-memfd,id=ram,size=256M,share=on",
		"-numa",
		"node,memdev=ram",
		"-kernel",
		kernel,
		"-initrd",
		initramfs,
		"-append",
		"console=ttyS0 quiet panic=1 cryptomgr.notests no_timer_check tsc=reliable",
		"-serial",
		"stdio",
		"-chardev",
		"socket,id=vsock,fd=3",
		"-device",
		"vhost-user-vsock-pci,chardev=vsock",
		"-chardev",
		"socket,id=qmp,fd=4",
		"-mon",
		"chardev=qmp,mode=control",
		NULL};
	struct child_spec spec = CHILD_SPEC_INIT;
	int vmm = -1, pair[2];

	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(testing_loop_start(loop, &loop_thread), 0);
	assert_int_equal(vhost_vsock_new(loop, 3, NULL, &device, &vmm, &e), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	qmp = pair[0];
	const struct child_fd fds[] = {{.fd = vmm, .as = 3}, {.fd = pair[1], .as = 4}};
	spec.argv = argv;
	spec.out = spec.errout = 2;
	spec.fds = fds;
	spec.n_fds = 2;
	if (child_spawn(&spec, &qemu, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(close(vmm), 0);
	assert_int_equal(close(pair[1]), 0);
	qmp_say(NULL);
	qmp_say("{\"execute\": \"qmp_capabilities\"}\n");
	return 0;
}

static int stop_machine(void **state)
{
	child_destroy(&qemu);
	vhost_vsock_free(device);
	loop_stop(loop);
	assert_int_equal(pthread_join(loop_thread, NULL), 0);
	loop_free(loop);
	(void)close(qmp);
	return 0;
}

/* ---- Streams --------------------------------------------------------------------------------- */

/* A stream to the guest's server, which may still be booting; @line is its order. */
static int order(const char *line)
{
	uint64_t deadline = time_deadline(BOOT_MS);
	int fd;

	do {
		fd = vhost_vsock_connect(device, PORT, deadline, &e);
		if (fd == -ECONNREFUSED)
			(void)poll(NULL, 0, 10);
	} while (fd == -ECONNREFUSED && time_now_ms() < deadline);
	if (fd < 0)
		fail_msg("%s", e.text);
	struct timeval tv = {.tv_sec = STEP_MS / 1000};
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv), 0);
	assert_int_equal(send(fd, line, strlen(line), MSG_NOSIGNAL), strlen(line));
	return fd;
}

static void assert_line(int fd, const char *want)
{
	char got[128] = "";
	size_t len = 0;

	while (len < sizeof got - 1 && recv(fd, got + len, 1, 0) == 1 && got[len++] != '\n')
		;
	assert_string_equal(got, want);
}

static void assert_end(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, 0);
	if (n < 0 && errno == ECONNRESET)
		n = 0;
	assert_int_equal(n, 0);
	assert_int_equal(close(fd), 0);
}

static void rate(const char *what, uint64_t since)
{
	uint64_t ms = time_now_ms() - since;
	print_message(
		"{\"bench\": \"vsock vm %s\", \"MiB\": %llu, \"ms\": %llu, \"MiB/s\": %llu}\n",
		what, BULK >> 20, (unsigned long long)ms,
		(unsigned long long)((BULK >> 20) * 1000 / (ms ? ms : 1)));
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static void boots_and_echoes(void **state)
{
	uint64_t start = time_now_ms();
	int fd = order("echo\n");

	print_message("the guest answered after %llu ms\n",
		      (unsigned long long)(time_now_ms() - start));
	start = time_now_ms();
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(send(fd, "ping\n", 5, MSG_NOSIGNAL), 5);
		assert_line(fd, "ping\n");
	}
	print_message("100 round trips took %llu ms\n",
		      (unsigned long long)(time_now_ms() - start));
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_end(fd);
}

static void nobody_listens(void **state)
{
	uint64_t start = time_now_ms();
	assert_int_equal(vhost_vsock_connect(device, 4711, time_deadline(STEP_MS), &e),
			 -ECONNREFUSED);
	assert_true(time_now_ms() - start < 5000);
}

static void hundred_mib_from_the_guest(void **state)
{
	static uint8_t buf[256 << 10];
	uint64_t got = 0, start = time_now_ms();
	char line[64];
	ssize_t n;

	(void)snprintf(line, sizeof line, "source %llu\n", BULK);
	int fd = order(line);
	while ((n = recv(fd, buf, sizeof buf, 0)) > 0) {
		if (!pattern_check(buf, (size_t)n, got))
			fail_msg("wrong bytes after %llu", (unsigned long long)got);
		got += (uint64_t)n;
	}
	assert_int_equal(n, 0);
	assert_int_equal(got, BULK);
	rate("from the guest", start);
	assert_int_equal(close(fd), 0);
}

static void hundred_mib_to_the_guest(void **state)
{
	static uint8_t buf[256 << 10];
	char want[64];
	uint64_t start = time_now_ms();

	int fd = order("sink\n");
	for (uint64_t sent = 0; sent < BULK; sent += sizeof buf) {
		pattern_fill(buf, sizeof buf, sent);
		for (size_t done = 0; done < sizeof buf;) {
			ssize_t n = send(fd, buf + done, sizeof buf - done, MSG_NOSIGNAL);
			if (n < 0)
				fail_msg("after %llu bytes: %s", (unsigned long long)(sent + done),
					 strerror(errno));
			done += (size_t)n;
		}
	}
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	(void)snprintf(want, sizeof want, "%llu ok\n", BULK);
	assert_line(fd, want);
	rate("to the guest", start);
	assert_end(fd);
}

static int accept_call(void *arg, uint32_t host_port, uint32_t guest_port)
{
	int *ends = arg;
	return TAKE_FD(ends[1]);
}

struct listening {
	int ends[2];
	int result;
	bool done; /* atomic */
};

static void listen_on_loop(void *arg)
{
	struct listening *l = arg;
	l->result = vsock_listen(vhost_vsock_device(device), 9000, accept_call, l->ends);
	__atomic_store_n(&l->done, true, __ATOMIC_RELEASE);
}

static void guest_calls_the_host(void **state)
{
	static struct listening l;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, l.ends), 0);
	assert_int_equal(loop_post(loop, listen_on_loop, &l), 0);
	while (!__atomic_load_n(&l.done, __ATOMIC_ACQUIRE))
		(void)poll(NULL, 0, 1);
	assert_int_equal(l.result, 0);
	int fd = order("call 9000\n");
	assert_line(l.ends[0], "hello\n");
	char c;
	assert_int_equal(recv(l.ends[0], &c, 1, 0), 0); /* the guest half-closed */
	assert_int_equal(send(l.ends[0], "good day\n", 9, MSG_NOSIGNAL), 9);
	assert_int_equal(close(l.ends[0]), 0);
	assert_line(fd, "good day\n");
	assert_end(fd);
	fd = order("call 9001\n");
	assert_line(fd, "connect: Connection reset by peer\n");
	assert_end(fd);
}

static void many_streams_at_once(void **state)
{
	int fds[MANY];

	for (unsigned i = 0; i < MANY; i++)
		fds[i] = order("echo\n");
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(dprintf(fds[i], "stream %u\n", i) > 0, 1);
	for (unsigned i = 0; i < MANY; i++) {
		char want[32];
		(void)snprintf(want, sizeof want, "stream %u\n", i);
		assert_line(fds[i], want);
		assert_int_equal(close(fds[i]), 0);
	}
}

static void survives_a_pause(void **state)
{
	int fd = order("echo\n");

	qmp_say("{\"execute\": \"stop\"}\n");
	assert_int_equal(send(fd, "asleep\n", 7, MSG_NOSIGNAL), 7);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 200), 0);
	qmp_say("{\"execute\": \"cont\"}\n");
	assert_line(fd, "asleep\n");
	assert_int_equal(close(fd), 0);
}

static void survives_new_memory(void **state)
{
	int fd = order("echo\n");

	qmp_say("{\"execute\": \"object-add\", \"arguments\": {\"qom-type\": "
		"\"memory-backend-memfd\", \"id\": \"more\", \"size\": 134217728, "
		"\"share\": true}}\n");
	qmp_say("{\"execute\": \"device_add\", \"arguments\": {\"driver\": \"pc-dimm\", "
		"\"id\": \"dimm0\", \"memdev\": \"more\"}}\n");
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(send(fd, "bigger\n", 7, MSG_NOSIGNAL), 7);
		assert_line(fd, "bigger\n");
	}
	assert_int_equal(close(fd), 0);
}

static void reboot_ends_streams(void **state)
{
	int held = order("hold\n");

	assert_line(held, "held\n");
	int fd = order("again\n");
	assert_end(fd);
	assert_end(held);
	fd = order("echo\n");
	assert_int_equal(send(fd, "new life\n", 9, MSG_NOSIGNAL), 9);
	assert_line(fd, "new life\n");
	assert_int_equal(close(fd), 0);
}

static void end_of_the_machine_is_the_end(void **state)
{
	int fd = order("hold\n");

	assert_line(fd, "held\n");
	assert_int_equal(child_kill(&qemu, SIGKILL), 0);
	assert_end(fd);
	int r = vhost_vsock_connect(device, PORT, time_deadline(STEP_MS), &e);
	assert_int_equal(r, -ECONNRESET);
	assert_string_equal(e.text, "connect to vsock port 1024: the machine has ended");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(boots_and_echoes),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(hundred_mib_from_the_guest),
		cmocka_unit_test(hundred_mib_to_the_guest),
		cmocka_unit_test(guest_calls_the_host),
		cmocka_unit_test(many_streams_at_once),
		cmocka_unit_test(survives_a_pause),
		cmocka_unit_test(survives_new_memory),
		cmocka_unit_test(reboot_ends_streams),
		cmocka_unit_test(end_of_the_machine_is_the_end),
	};

	if (argc != 3) {
		(void)fprintf(stderr, "usage: %s VMLINUX INITRAMFS\n", argv[0]);
		return 2;
	}
	kernel = argv[1];
	initramfs = argv[2];
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, start_machine, stop_machine);
}
