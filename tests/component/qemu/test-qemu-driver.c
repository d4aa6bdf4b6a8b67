/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The QEMU driver against a stand-in for QEMU (fake-qemu.c, its path in FAKE_QEMU): each way to
 * come up, to fail and to end. The kernel's vsock device is replaced by link-time wrapping, so that
 * the test asks nothing of the host.
 */
#include "hypervisor/hypervisor.h"

#include "base/clock.h"
#include "base/testing.h"
#include "hypervisor/qemu/vsock.h"
#include "hypervisor/testing-loop.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

bool __wrap_qemu_vhost_vsock_present(void);
int __wrap_qemu_vhost_vsock_open(uint32_t *ret_cid, struct err *e);

bool __wrap_qemu_vhost_vsock_present(void)
{
	return true;
}

int __wrap_qemu_vhost_vsock_open(uint32_t *ret_cid, struct err *e)
{
	*ret_cid = 4242;
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static struct test_host host;
static struct hypervisor *h;
static struct err e;

static int setup(void **state)
{
	struct hypervisor_config *c = &host.config.hypervisor;
	test_host_init(&host, "qemu");
	c->path = getenv("FAKE_QEMU");
	c->kernel = c->initrd = c->path;
	c->accelerator = (char *)"tcg";
	h = NULL;
	e = ERR_INIT;
	return c->path ? 0 : -1;
}

static int teardown(void **state)
{
	test_host_free_machine(&host, h);
	test_host_deinit(&host);
	return 0;
}

static char params[64];

static void make(const char *mode)
{
	(void)snprintf(params, sizeof params, "fake=%s", mode);
	host.config.hypervisor.kernel_params = params;
	assert_int_equal(hypervisor_new(&host.params, &h, &e), 0);
}

static void start(const char *mode)
{
	make(mode);
	if (hypervisor_start(h, 20000, &e) < 0)
		fail_msg("%s", e.text);
	assert_true(h->pid > 0);
}

static void an_orderly_life(void **state)
{
	struct agent_address a;
	char text[1024];
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	struct hypervisor_device d = {.type = DEVICE_VHOST_USER_FS,
				      .fs = {.fd = pair[1], .tag = "kataShared"}};
	make("ok");
	assert_int_equal(hypervisor_agent_address(h, &a, &e), -EBUSY);
	assert_int_equal(hypervisor_add_device(h, &d, &e), 0);
	assert_int_equal(hypervisor_start(h, 20000, &e), 0);
	assert_int_equal(h->state, HYPERVISOR_RUNNING);
	assert_int_equal(hypervisor_agent_address(h, &a, &e), 0);
	assert_int_equal(a.transport, AGENT_VSOCK);
	assert_int_equal(a.cid, 4242);

	uint64_t begun = time_now_ms();
	assert_int_equal(hypervisor_stop(h, 50, &e), 0);
	assert_true(time_now_ms() - begun < 1000); /* it obeyed quit */
	assert_true(test_host_wait_exit(&host));
	assert_string_equal(host.reason, "the machine was stopped");
	assert_int_equal(host.exit_code, 0);

	/* what it inherited: stdio, QMP, console, vsock, the file system; nothing else */
	hypervisor_console_tail(h, text, sizeof text);
	assert_string_equal(text, "fds: 0 1 2 3 4 5 6 env: 1 cwd: / leader: 1\n");
	char c;
	assert_int_equal(read(pair[0], &c, 1), 0); /* no copy of the device's end is left */
	close(pair[0]);
}

static void each_failure_to_start_has_its_reason_and_leaves_nothing(void **state)
{
	static const struct {
		const char *mode;
		int r;
		const char *text;
	} table[] = {
		{"no-memory", -EPROTO,
		 "QEMU exited with code 1: default_memory = 256 MiB: qemu: cannot set up guest "
		 "memory 'mem': Cannot allocate memory"},
		{"bad-kernel", -EPROTO,
		 "QEMU exited with code 1: qemu: first; qemu: could not load kernel"},
		{"abort-early", -EPROTO, "QEMU was killed by signal 6"},
		{"hang", -ETIMEDOUT, "QEMU did not come up in time"},
		{"close-qmp", -ETIMEDOUT, "QEMU did not come up in time"},
		{"garbage", -EPROTO,
		 "QMP: a line that is no JSON (column 4: '[' or '{' expected near 'boom')"},
		{"long-line", -EPROTO, "QMP: a line of more than 1048576 bytes"},
		{"refuse", -EPROTO, "QMP qmp_capabilities: no"},
		{"prelaunch", -EPROTO,
		 "QEMU's machine is in state \"prelaunch\" instead of running"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		char text[512];
		uint64_t begun = time_now_ms();
		bool times_out = table[i].r == -ETIMEDOUT;
		make(table[i].mode);
		assert_int_equal(hypervisor_start(h, times_out ? 200 : 60000, &e), table[i].r);
		(void)snprintf(text, sizeof text, "start the machine with qemu: %s", table[i].text);
		assert_string_equal(e.text, text);
		assert_true(time_now_ms() - begun < 20000); /* not at the deadline */
		assert_int_equal(kill(h->pid, 0), -1);
		assert_int_equal(hypervisor_stop(h, 1000, &e), 0);
		test_host_free_machine(&host, h);
		h = NULL;
	}
	assert_int_equal(host.exits, 0);
}

static void each_end_is_told_once_with_its_reason(void **state)
{
	static const struct {
		const char *mode;
		int code;
		const char *reason;
	} table[] = {
		{"power-off", 0, "the guest powered off"},
		{"reset", 0, "the guest rebooted"},
		{"panic", 0, "the guest kernel panicked: No working init found."},
		{"abort-later", 134, "QEMU was killed by signal 6"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		start(table[i].mode);
		assert_true(test_host_wait_exit(&host));
		assert_int_equal(host.exit_code, table[i].code);
		assert_string_equal(host.reason, table[i].reason);
		assert_int_equal(h->state, HYPERVISOR_STOPPED);
		assert_int_equal(hypervisor_stop(h, 1000, &e), 0);
		assert_int_equal(host.exits, 1);
		test_host_free_machine(&host, h);
		h = NULL;
		host.exits = 0;
	}
}

static void a_kill_from_outside_is_seen_at_once(void **state)
{
	start("ok");
	uint64_t begun = time_now_ms();
	assert_int_equal(kill(h->pid, SIGKILL), 0);
	assert_true(test_host_wait_exit(&host));
	assert_true(time_now_ms() - begun < 1000);
	assert_string_equal(host.reason, "QEMU was killed by signal 9");
	assert_int_equal(host.exit_code, 137);
}

static void a_guest_that_powers_off_in_grace_is_not_cut_short(void **state)
{
	start("power-off");
	uint64_t begun = time_now_ms();
	assert_int_equal(hypervisor_stop(h, 20000, &e), 0);
	assert_true(time_now_ms() - begun < 10000);
	assert_true(test_host_wait_exit(&host));
	assert_string_equal(host.reason, "the guest powered off");
}

static void stop_without_grace(void **state)
{
	start("ok");
	assert_int_equal(hypervisor_stop(h, 0, &e), 0);
	assert_true(test_host_wait_exit(&host));
	assert_int_equal(host.exit_code, 137);
	assert_string_equal(host.reason, "the machine was stopped");
}

static void a_qemu_that_does_not_quit_is_killed(void **state)
{
	start("ignore-quit");
	uint64_t begun = time_now_ms();
	assert_int_equal(hypervisor_stop(h, 10, &e), 0);
	assert_true(time_now_ms() - begun >= 1000);
	assert_true(test_host_wait_exit(&host));
	assert_int_equal(host.exit_code, 137);
}

static void garbage_on_qmp_does_not_end_a_running_machine(void **state)
{
	start("garbage-later");
	struct timespec ts = {.tv_nsec = 200 * 1000 * 1000};
	nanosleep(&ts, NULL);
	assert_int_equal(h->state, HYPERVISOR_RUNNING);
	/* but there is no asking any more: it is killed without waiting */
	uint64_t begun = time_now_ms();
	assert_int_equal(hypervisor_stop(h, 10, &e), 0);
	assert_true(time_now_ms() - begun < 900);
	assert_true(test_host_wait_exit(&host));
	assert_int_equal(host.exit_code, 137);
}

static void a_flooding_console_keeps_only_its_end(void **state)
{
	char text[64];
	start("flood");
	assert_int_equal(hypervisor_stop(h, 10, &e), 0);
	hypervisor_console_tail(h, text, sizeof text);
	assert_non_null(strstr(text, "line 19999 of the flood\n"));
	assert_null(strchr(text, '\x1b'));
}

static void without_the_kernels_vsock_ours_serves(void **state)
{
	struct agent_address a;
	host.config.hypervisor.disable_vhost_vsock = true;
	start("ok");
	assert_int_equal(hypervisor_agent_address(h, &a, &e), 0);
	assert_int_equal(a.transport, AGENT_INPROC);
	/* this machine has no guest: nobody brings the device up */
	assert_int_equal(hypervisor_connect(h, 1024, 50, &e), -ETIMEDOUT);
	assert_int_equal(kill(h->pid, SIGKILL), 0);
	assert_true(test_host_wait_exit(&host));
	assert_int_equal(hypervisor_connect(h, 1024, 50, &e), -EBUSY);
}

static void devices_are_checked(void **state)
{
	struct hypervisor_device d = {.type = DEVICE_VHOST_USER_FS, .fs = {.fd = -1, .tag = ""}};
	make("ok");
	assert_int_equal(hypervisor_add_device(h, &d, &e), -EINVAL);
	d.fs.tag = "a-tag-of-more-than-thirty-six-characters";
	assert_int_equal(hypervisor_add_device(h, &d, &e), -EINVAL);
	d.fs.tag = "t";
	d.fs.queue_size = 1000;
	assert_int_equal(hypervisor_add_device(h, &d, &e), -EINVAL);
	assert_non_null(strstr(e.text, "virtio_fs_queue_size = 1000"));
	d.fs.queue_size = 0;
	for (int i = 0; i < 4; i++) {
		d.fs.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		assert_int_equal(hypervisor_add_device(h, &d, &e), 0);
	}
	assert_int_equal(hypervisor_add_device(h, &d, &e), -ENOSPC);
}

static void freeing_a_running_machine_kills_it(void **state)
{
	start("ok");
	pid_t pid = h->pid;
	test_host_free_machine(&host, h);
	h = NULL;
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(host.exits, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_orderly_life),
		T(each_failure_to_start_has_its_reason_and_leaves_nothing),
		T(each_end_is_told_once_with_its_reason),
		T(a_kill_from_outside_is_seen_at_once),
		T(a_guest_that_powers_off_in_grace_is_not_cut_short),
		T(stop_without_grace),
		T(a_qemu_that_does_not_quit_is_killed),
		T(garbage_on_qmp_does_not_end_a_running_machine),
		T(a_flooding_console_keeps_only_its_end),
		T(without_the_kernels_vsock_ours_serves),
		T(devices_are_checked),
		T(freeing_a_running_machine_kills_it),
	};
	return RUN_TESTS();
}
