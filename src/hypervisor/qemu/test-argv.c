/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Golden texts: one configuration, one file with an argument a line. After a wanted change, run
 * with KATA_GOLDEN_UPDATE=1 and read the difference. The directory comes as GOLDEN_DIR.
 */
#include "hypervisor/qemu/argv.h"

#include "base/fd.h"
#include "base/testing.h"

#include <fcntl.h>
#include <string.h>

static char empty[] = "";

static struct kata_config config(void)
{
	struct kata_config c = {.file = empty};
	struct hypervisor_config *h = &c.hypervisor;
	h->path = (char *)"/usr/bin/qemu-system-x86_64";
	h->kernel = (char *)"/usr/share/kata-containers/vmlinux.container";
	h->initrd = (char *)"/usr/share/kata-containers/kata-containers-initrd.img";
	h->image = h->firmware = h->kernel_params = h->accelerator = h->machine_type = empty;
	h->machine_accelerators = h->seccomp_sandbox = empty;
	h->cpu_features = (char *)"pmu=off";
	h->default_vcpus = 1;
	h->default_memory = 2048;
	c.agent.log_port = 1025;
	return c;
}

static struct qemu_argv_params params(const struct kata_config *c)
{
	return (struct qemu_argv_params){
		.config = &c->hypervisor,
		.sandbox_id = "abc",
		.accel = ACCEL_KVM,
		.kernel_cmdline = "console=ttyS0",
		.qmp_fd = 3,
		.console_fd = 4,
	};
}

static void compare_with_golden(const char *name, const struct buf *text)
{
	const char *dir = getenv("GOLDEN_DIR");
	_cleanup_buf_ struct buf golden = BUF_INIT;
	char path[512];

	assert_non_null(dir);
	(void)snprintf(path, sizeof path, "%s/%s.txt", dir, name);
	if (getenv("KATA_GOLDEN_UPDATE")) {
		assert_int_equal(file_replace(path, text->data, text->len, 0644), 0);
		return;
	}
	assert_int_equal(file_read(AT_FDCWD, path, 64 * 1024, &golden), 0);
	assert_string_equal(text->data, golden.data);
}

static void check(const char *name, const struct qemu_argv_params *p)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct qemu_argv a;
	struct err e = ERR_INIT;
	assert_int_equal(qemu_argv_build(p, &a, &e), 0);
	for (size_t i = 0; i < a.n; i++)
		buf_printf(&text, "%s\n", a.v[i]);
	assert_null(a.v[a.n]);
	qemu_argv_free(&a);
	compare_with_golden(name, &text);
}

static void kvm_with_vhost_vsock_and_a_file_system(void **state)
{
	struct kata_config c = config();
	struct qemu_argv_params p = params(&c);
	struct qemu_argv_fs fs = {.fd = 6, .tag = "kataShared", .queue_size = 1024};
	p.vsock = QEMU_VSOCK_VHOST;
	p.vsock_fd = 5;
	p.guest_cid = 4242;
	p.fs = &fs;
	p.n_fs = 1;
	check("kvm", &p);
}

static void tcg_with_user_vsock(void **state)
{
	struct kata_config c = config();
	struct qemu_argv_params p = params(&c);
	p.accel = ACCEL_TCG;
	p.vsock = QEMU_VSOCK_USER;
	p.vsock_fd = 5;
	check("tcg", &p);
}

static void every_key_that_matters(void **state)
{
	struct kata_config c = config();
	c.hypervisor.machine_type = (char *)"pc-q35-7.2";
	c.hypervisor.machine_accelerators = (char *)"kernel_irqchip=split";
	c.hypervisor.cpu_features = empty;
	c.hypervisor.default_vcpus = 2.5;
	c.hypervisor.default_memory = 512;
	c.hypervisor.enable_mem_prealloc = true;
	c.hypervisor.reclaim_guest_freed_memory = true;
	c.hypervisor.firmware = (char *)"/usr/share/qemu/bios-microvm.bin";
	c.hypervisor.seccomp_sandbox = (char *)"on,obsolete=deny";
	struct qemu_argv_params p = params(&c);
	/* hostile values stay within their own option */
	struct qemu_argv_fs fs[] = {{6, "a,addr=1", 128}, {7, "b", 1024}};
	p.sandbox_id = "x,process=evil";
	p.kernel_cmdline = "a=\"b c\" d,e -device evil";
	p.fs = fs;
	p.n_fs = 2;
	check("every-key", &p);
}

static void vcpus_are_rounded_up(void **state)
{
	static const struct {
		double in;
		unsigned out;
	} table[] = {{0, 1}, {-3, 1}, {0.1, 1}, {1, 1}, {1.01, 2}, {2, 2}, {7.5, 8}};
	struct hypervisor_config c = {.default_vcpus = 0};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		c.default_vcpus = table[i].in;
		assert_int_equal(qemu_vcpus(&c), table[i].out);
	}
}

static void the_kernel_command_line(void **state)
{
	_cleanup_free_ char *text = NULL, *debug = NULL;
	_cleanup_buf_ struct buf lines = BUF_INIT;
	struct kata_config c = config();
	struct err e = ERR_INIT;
	c.hypervisor.kernel_params = (char *)"panic=5 systemd.unified_cgroup_hierarchy=1";
	assert_int_equal(qemu_kernel_cmdline(&c, "agent.log=debug", &text, &e), 0);
	/* ours come before the user's, so that the user's win */
	assert_true(strstr(text, "panic=1") < strstr(text, "panic=5"));
	assert_non_null(strstr(text, " quiet "));

	c.hypervisor.enable_debug = true;
	assert_int_equal(qemu_kernel_cmdline(&c, NULL, &debug, &e), 0);
	assert_null(strstr(debug, "quiet"));
	buf_printf(&lines, "%s\n%s\n", text, debug);
	compare_with_golden("cmdline", &lines);
}

static void a_command_line_that_the_kernel_would_cut_is_refused(void **state)
{
	char big[2048];
	char *text = NULL;
	struct kata_config c = config();
	struct err e = ERR_INIT;
	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = '\0';
	c.hypervisor.kernel_params = big;
	assert_int_equal(qemu_kernel_cmdline(&c, NULL, &text, &e), -EINVAL);
	assert_null(text);
	assert_non_null(strstr(e.text, "its kernel keeps 2047"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kvm_with_vhost_vsock_and_a_file_system),
		cmocka_unit_test(tcg_with_user_vsock),
		cmocka_unit_test(every_key_that_matters),
		cmocka_unit_test(vcpus_are_rounded_up),
		cmocka_unit_test(the_kernel_command_line),
		cmocka_unit_test(a_command_line_that_the_kernel_would_cut_is_refused),
	};
	return RUN_TESTS();
}
