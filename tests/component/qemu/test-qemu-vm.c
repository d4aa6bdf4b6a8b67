/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The QEMU driver with a real QEMU and a real kernel. KATA_TEST_KERNEL and KATA_TEST_INITRD name
 * what guest/image/build makes; KATA_TEST_ACCEL may name an accelerator (default "auto"), and
 * KATA_TEST_PARAMS further kernel parameters. Whoever is /init there must listen on vsock port
 * 1024.
 */
#include "hypervisor/hypervisor.h"

#include "base/clock.h"
#include "base/testing.h"
#include "hypervisor/testing-loop.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>

/* Emulation on a busy or throttled host: five times what a quiet one needs, and more. */
#define BOOT_MS 60000

static struct test_host host;
static struct hypervisor *h;
static struct err e;
static uint64_t begun;

static char *need(const char *name)
{
	char *value = getenv(name);
	if (!value)
		fail_msg("%s is not set: this test needs a kernel and an initramfs", name);
	return value;
}

static int setup(void **state)
{
	struct hypervisor_config *c = &host.config.hypervisor;
	test_host_init(&host, "qemu");
	c->path = (char *)"/usr/bin/qemu-system-x86_64";
	c->kernel = need("KATA_TEST_KERNEL");
	c->initrd = need("KATA_TEST_INITRD");
	c->accelerator = getenv("KATA_TEST_ACCEL") ? getenv("KATA_TEST_ACCEL") : (char *)"auto";
	c->kernel_params = getenv("KATA_TEST_PARAMS") ? getenv("KATA_TEST_PARAMS") : (char *)"";
	c->cpu_features = (char *)"pmu=off";
	c->default_memory = 512;
	h = NULL;
	e = ERR_INIT;
	return 0;
}

static int teardown(void **state)
{
	test_host_free_machine(&host, h);
	test_host_deinit(&host);
	return 0;
}

static void elapsed(const char *what)
{
	print_message("    %-34s %5llu ms\n", what, (unsigned long long)(time_now_ms() - begun));
}

static void start(void)
{
	begun = time_now_ms();
	if (hypervisor_new(&host.params, &h, &e) < 0 || hypervisor_start(h, BOOT_MS, &e) < 0)
		fail_msg("%s", e.text);
	elapsed("QMP says running after");
}

static void fail_with_console(const char *what)
{
	char text[4096];
	hypervisor_console_tail(h, text, sizeof text);
	fail_msg("%s; the console's end:\n%s", what, text);
}

/* Waits until the guest answers on its port. */
static int dial(void)
{
	uint64_t deadline = time_deadline(BOOT_MS);
	while (time_now_ms() < deadline) {
		int fd = hypervisor_connect(h, 1024, BOOT_MS, &e);
		if (fd >= 0)
			return fd;
		if (h->state != HYPERVISOR_RUNNING)
			break;
		struct timespec ts = {.tv_nsec = 10 * 1000 * 1000};
		nanosleep(&ts, NULL);
	}
	fail_with_console(e.text);
	return -1;
}

static void wait_console(const char *text)
{
	static char tail[16 * 1024];
	uint64_t deadline = time_deadline(BOOT_MS);
	do {
		struct timespec ts = {.tv_nsec = 10 * 1000 * 1000};
		nanosleep(&ts, NULL);
		hypervisor_console_tail(h, tail, sizeof tail);
	} while (!strstr(tail, text) && time_now_ms() < deadline);
	if (!strstr(tail, text))
		fail_with_console(text);
}

static void wait_exit(void)
{
	uint64_t deadline = time_deadline(BOOT_MS);
	while (!test_host_wait_exit(&host) && time_now_ms() < deadline)
		;
	assert_int_equal(host.exits, 1);
}

static void the_kernel_boots_and_its_console_is_seen(void **state)
{
	host.config.hypervisor.enable_debug = true;
	host.config.agent.log_level = (char *)"warn";
	start();
	wait_console("Linux version");
	elapsed("first console line after");
	wait_console(" agent.log_vport=1025 agent.log=warn"); /* "Kernel command line: ..." */
	begun = time_now_ms();
	assert_int_equal(hypervisor_stop(h, 1, &e), 0);
	elapsed("quit took");
	assert_true(test_host_wait_exit(&host));
	assert_string_equal(host.reason, "the machine was stopped");
	assert_int_equal(host.exit_code, 0);
}

static void the_guest_is_reached_by_vsock(void **state)
{
	start();
	int fd = dial();
	elapsed("guest answers on vsock after");
	begun = time_now_ms();
	assert_int_equal(hypervisor_stop(h, 0, &e), 0);
	elapsed("kill took");
	/* whoever talks to the guest learns of its end */
	struct timeval tv = {.tv_sec = 10};
	char c;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	ssize_t n = recv(fd, &c, 1, 0);
	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
	close(fd);
	assert_true(test_host_wait_exit(&host));
	assert_string_equal(host.reason, "the machine was stopped");
}

static void a_second_vcpu_and_a_balloon_boot(void **state)
{
	host.config.hypervisor.default_vcpus = 1.5;
	host.config.hypervisor.reclaim_guest_freed_memory = true;
	host.config.hypervisor.disable_vhost_vsock = true;
	start();
	close(dial());
	elapsed("guest answers on vsock after");
	assert_int_equal(kill(h->pid, SIGKILL), 0);
	wait_exit();
	assert_string_equal(host.reason, "QEMU was killed by signal 9");
}

static void a_panic_is_the_reason(void **state)
{
	host.config.hypervisor.kernel_params = (char *)"rdinit=/none init=/none";
	start();
	wait_exit();
	elapsed("panicked and gone after");
	if (!strstr(host.reason, "the guest kernel panicked: "))
		fail_with_console(host.reason);
}

static void what_qemu_says_is_the_error(void **state)
{
	/* an archive is no kernel */
	host.config.hypervisor.kernel = host.config.hypervisor.initrd;
	begun = time_now_ms();
	assert_int_equal(hypervisor_new(&host.params, &h, &e), 0);
	assert_int_equal(hypervisor_start(h, BOOT_MS, &e), -EPROTO);
	elapsed("refused after");
	assert_non_null(strstr(e.text, "start the machine with qemu: QEMU exited with code 1: "));
	print_message("    %s\n", e.text);
}

static void memory_that_cannot_be_had_names_its_key(void **state)
{
	/* more than any process may map: the check against the host's memory is passed by */
	host.config.hypervisor.default_memory = 1;
	assert_int_equal(hypervisor_new(&host.params, &h, &e), -EINVAL);
	host.config.hypervisor.default_memory = 512;
	assert_int_equal(hypervisor_new(&host.params, &h, &e), 0);
	host.config.hypervisor.default_memory = 4000000000u;
	assert_true(hypervisor_start(h, BOOT_MS, &e) < 0);
	print_message("    %s\n", e.text);
	assert_non_null(strstr(e.text, "default_memory = 4000000000 MiB"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_kernel_boots_and_its_console_is_seen),
		T(the_guest_is_reached_by_vsock),
		T(a_second_vcpu_and_a_balloon_boot),
		T(a_panic_is_the_reason),
		T(what_qemu_says_is_the_error),
		T(memory_that_cannot_be_had_names_its_key),
	};
	return RUN_TESTS();
}
