/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/test-machine.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/testing.h"
#include "rpc/listen.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

/* A slow machine, several times over. */
#define BOOT_MS 60000
#define ARGS_MAX 128

static void start_fs(struct machine *m, const char *socket, const char *source)
{
	char socket_arg[128], source_arg[128];
	struct err e = ERR_INIT;

	(void)snprintf(socket_arg, sizeof socket_arg, "--socket-path=%s", socket);
	(void)snprintf(source_arg, sizeof source_arg, "source=%s", source);
	const char *argv[] = {
		"/usr/lib/qemu/virtiofsd", socket_arg, "-o", source_arg, "-o", "cache=auto",
		"--thread-pool-size=0",	   NULL};
	struct child_spec spec = CHILD_SPEC_INIT;
	spec.argv = argv;
	if (child_spawn(&spec, &m->fs, &e) < 0)
		fail_msg("%s", e.text);
	for (int i = 0; access(socket, F_OK) < 0; i++) {
		assert_true(i < 1000);
		(void)usleep(10000);
	}
}

/* The words for a protected root, as a runtime makes them of kernel_verity_params; "" without. */
static void root_words(const char *image_dir, char *ret, size_t size)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[256], root[80], salt[80];
	unsigned long long blocks;

	ret[0] = '\0';
	(void)snprintf(path, sizeof path, "%s/kata.verity", image_dir);
	if (file_read(AT_FDCWD, path, 1024, &text) < 0)
		return;
	assert_int_equal(sscanf(text.data,
				"root_hash=%64[0-9a-f],salt=%64[0-9a-f],data_blocks=%llu,", root,
				salt, &blocks),
			 3);
	(void)snprintf(ret, size,
		       "dm-mod.create=\"dm-verity,,,ro,0 %llu verity 1 /dev/vda1 /dev/vda2 4096 "
		       "4096 %llu 0 sha256 %s %s\" root=/dev/dm-0 rootflags=ro rootfstype=erofs ",
		       blocks * 8, blocks, root, salt);
}

static void start_vmm(struct machine *m, const struct machine_options *o, const char *fs_socket)
{
	char kernel[256], initrd[256], serial[128], chardev[160], qmp[160], machine[256],
		drive[320], words[512], line[1024];
	struct err e = ERR_INIT;

	(void)snprintf(kernel, sizeof kernel, "%s/vmlinux", o->image_dir);
	(void)snprintf(initrd, sizeof initrd, "%s/kata-initramfs.img", o->image_dir);
	(void)snprintf(serial, sizeof serial, "file:%s", m->console);
	(void)snprintf(chardev, sizeof chardev, "socket,id=fs,path=%s", fs_socket);
	(void)snprintf(qmp, sizeof qmp, "unix:%s,server=on,wait=off", m->qmp_path);
	(void)snprintf(machine, sizeof machine,
		       "q35,memory-backend=mem,smm=off,sata=off,smbus=off,usb=off,vmport=off,"
		       "hpet=off%s%s",
		       o->machine ? "," : "", o->machine ? o->machine : "");
	root_words(o->image_dir, words, sizeof words);
	(void)snprintf(drive, sizeof drive,
		       "file=%s/kata.img,if=none,id=root,format=raw,readonly=on", o->image_dir);
	(void)snprintf(
		line, sizeof line,
		"%sconsole=ttyS0 quiet panic=-1 cryptomgr.notests no_timer_check tsc=reliable "
		"mitigations=off random.trust_cpu=on cgroup_no_v1=all "
		"systemd.unified_cgroup_hierarchy=1 agent.log=debug agent.log_vport=1025 %s",
		words, o->cmdline ? o->cmdline : "");
	const char *fixed[] = {o->proxy,
			       m->hybrid,
			       "3",
			       "--",
			       "qemu-system-x86_64",
			       "-accel",
			       "tcg",
			       "-cpu",
			       "qemu64",
			       "-m",
			       o->memory ? o->memory : "512",
			       "-smp",
			       o->cpus ? o->cpus : "1",
			       "-M",
			       machine,
			       "-object",
			       "memory-backend-memfd,id=mem,size=512M,share=on",
			       "-nodefaults",
			       "-no-user-config",
			       "-display",
			       "none",
			       "-no-reboot",
			       "-serial",
			       serial,
			       "-chardev",
			       chardev,
			       "-device",
			       "vhost-user-fs-pci,chardev=fs,tag=kataShared",
			       "-qmp",
			       qmp,
			       "-kernel",
			       kernel,
			       "-initrd",
			       initrd,
			       "-append",
			       line};
	const char *argv[ARGS_MAX] = {NULL};
	size_t n = 0;
	for (; n < ARRAY_SIZE(fixed); n++)
		argv[n] = fixed[n];
	/* the first disk, before those of the test */
	const char *disk[] = {"-drive", drive, "-device", "virtio-blk-pci,drive=root"};
	for (size_t i = 0; words[0] && i < ARRAY_SIZE(disk); i++)
		argv[n++] = disk[i];
	for (size_t i = 0; o->args && o->args[i]; i++) {
		assert_true(n < ARGS_MAX - 1);
		argv[n++] = o->args[i];
	}
	struct child_spec spec = CHILD_SPEC_INIT;
	spec.argv = argv;
	spec.errout = STDERR_FILENO;
	if (child_spawn(&spec, &m->vmm, &e) < 0)
		fail_msg("%s", e.text);
}

/* As Kata's hybrid vsock does. */
int machine_connect_from(struct machine *m, unsigned port, uint32_t *ret_from)
{
	char line[64];
	size_t n = 0;

	int fd = rpc_connect_unix(m->hybrid, time_deadline(1000), NULL);
	if (fd < 0)
		return fd;
	(void)snprintf(line, sizeof line, "connect %u\n", port);
	if (fd_write_all(fd, line, strlen(line)) < 0)
		return close_fd(fd);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	while (n < sizeof line - 1 && poll(&p, 1, 2000) == 1 && read(fd, line + n, 1) == 1 &&
	       line[n] != '\n')
		n++;
	line[n] = '\0';
	if (sscanf(line, "OK %" SCNu32, ret_from) != 1)
		return close_fd(fd);
	return fd;
}

int machine_connect(struct machine *m, unsigned port)
{
	uint32_t from;
	return machine_connect_from(m, port, &from);
}

static void start_machine(struct machine *m, const struct machine_options *o)
{
	char fs_socket[96];

	(void)snprintf(m->hybrid, sizeof m->hybrid, "%s/hybrid.sock", o->dir);
	(void)snprintf(m->console, sizeof m->console, "%s/console", o->dir);
	(void)snprintf(m->qmp_path, sizeof m->qmp_path, "%s/qmp.sock", o->dir);
	(void)snprintf(fs_socket, sizeof fs_socket, "%s/fs.sock", o->dir);
	(void)unlink(fs_socket); /* of an earlier one */
	start_fs(m, fs_socket, o->share);
	start_vmm(m, o, fs_socket);
}

int machine_boot(struct machine *m, const struct machine_options *o)
{
	uint64_t begin = time_now_ms();
	start_machine(m, o);
	int fd = -1;
	while (fd < 0 && time_now_ms() - begin < BOOT_MS) {
		fd = machine_connect(m, 1024);
		if (fd < 0)
			(void)usleep(10000);
	}
	if (fd < 0)
		fail_msg("the guest cannot be reached; its console is %s", m->console);
	m->boot_ms = time_now_ms() - begin;
	return fd;
}

/* ---- QMP ---------------------------------------------------------------------------------- */

/* Sends a command, and reads to its answer; events are passed over. */
static void qmp_run(struct machine *m, const char *command)
{
	struct pollfd p = {.fd = m->qmp, .events = POLLIN};
	char line[4096];
	size_t n = 0;

	assert_int_equal(fd_write_all(m->qmp, command, strlen(command)), 0);
	assert_int_equal(fd_write_all(m->qmp, "\n", 1), 0);
	for (;;) {
		assert_int_equal(poll(&p, 1, 30000), 1);
		assert_int_equal(read(m->qmp, line + n, 1), 1);
		if (line[n] != '\n' && n < sizeof line - 2) {
			n++;
			continue;
		}
		line[n] = '\0';
		n = 0;
		if (strstr(line, "\"error\": {"))
			fail_msg("%s: %s", command, line);
		if (strstr(line, "\"return\": "))
			return;
	}
}

void machine_qmp(struct machine *m, const char *command)
{
	if (m->qmp < 0) {
		m->qmp = rpc_connect_unix(m->qmp_path, time_deadline(10000), NULL);
		assert_true(m->qmp >= 0);
		qmp_run(m, "{\"execute\":\"qmp_capabilities\"}");
	}
	qmp_run(m, command);
}

int machine_end(struct machine *m)
{
	int status = -1;

	m->qmp = close_fd(m->qmp);
	(void)child_wait(&m->vmm, time_deadline(20000), &status);
	child_destroy(&m->vmm);
	child_destroy(&m->fs);
	return status;
}

void machine_refuses(struct machine *m, const struct machine_options *o, struct buf *ret_console)
{
	int status;

	start_machine(m, o);
	if (child_wait(&m->vmm, time_deadline(BOOT_MS), &status) < 0)
		fail_msg("the machine neither came up nor ended; its console is %s", m->console);
	assert_int_equal(file_read(AT_FDCWD, m->console, 1 << 20, ret_console), 0);
	machine_kill(m);
}

void machine_kill(struct machine *m)
{
	m->qmp = close_fd(m->qmp);
	child_destroy(&m->vmm);
	child_destroy(&m->fs);
}
