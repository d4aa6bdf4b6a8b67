/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is on the command line, and what each choice is worth. Figures are seconds from exec to the
 * guest's init under TCG on a slow host (1 vCPU, 2 GiB, Debian's 6.1 cloud kernel as vmlinux,
 * initramfs of 4 MiB; best of 6 interleaved runs, +-0.05; the case as built here is 2.05):
 *
 *	-cpu max instead of qemu64: +0.3. What x86-64-v2 programs (RHEL 9 and its kin) need is
 *	   added to qemu64 and costs nothing; RDRAND lets the guest's random generator be ready
 *	   at 0 s instead of when a module finds entropy.
 *	a compressed kernel image instead of an ELF vmlinux (PVH entry): +0.4
 *	slots=,maxmem=: +0.3. Not given: this driver does not grow a machine's memory.
 *	maxcpus=4 with one CPU started: +0.15. Not given, likewise.
 *	-smp 2: +0.05, and 0.4 of CPU time.
 *	virtio-rng, a balloon, thread=single, pit=off, i8042=off, qboot: nothing.
 *	q35's SMM, SATA, SMBus, USB, vmport and HPET off: nothing under TCG, but about 0.4 of 3.0
 *	   on nested KVM, where each probe of a device is an exit.
 *	console=hvc0: a modular virtio_console shows nothing of the early boot, and so no reason
 *	   of a failed one; the 16550 costs nothing measurable with `quiet`.
 */
#include "hypervisor/qemu/argv.h"

#include <stdint.h>
#include <string.h>

#define ARGS_MAX 96

/* A small list under construction. An allocation failure is kept until the end. */
static void add(struct qemu_argv *a, const char *arg)
{
	if (a->n >= ARGS_MAX)
		return;
	a->v[a->n++] = strdup(arg);
}

_printf_(3, 4) static void add_option(struct qemu_argv *a, const char *option, const char *fmt, ...)
{
	char *value = NULL;
	va_list ap;

	va_start(ap, fmt);
	int n = vasprintf(&value, fmt, ap);
	va_end(ap);
	add(a, option);
	if (a->n < ARGS_MAX)
		a->v[a->n++] = n < 0 ? NULL : value;
	else if (n >= 0)
		free(value);
}

/* A value within an option list: QEMU takes ",," for a comma. */
static char *escape(const char *value)
{
	struct buf b = BUF_INIT;
	for (const char *p = value; *p; p++)
		buf_puts(&b, (char[]){*p, *p == ',' ? ',' : '\0', '\0'});
	buf_puts(&b, "");
	return buf_take(&b);
}

unsigned qemu_vcpus(const struct hypervisor_config *c)
{
	if (!(c->default_vcpus > 1))
		return 1;
	unsigned whole = (unsigned)c->default_vcpus;
	return c->default_vcpus > whole ? whole + 1 : whole;
}

static void add_machine(struct qemu_argv *a, const struct qemu_argv_params *p)
{
	const struct hypervisor_config *c = p->config;
	const char *accel = p->accel == ACCEL_KVM ? "kvm" : "tcg";

	add_option(a, "-machine", "%s,accel=%s,memory-backend=mem,%s%s%s",
		   c->machine_type[0] ? c->machine_type : "q35", accel,
		   "smm=off,sata=off,smbus=off,usb=off,vmport=off,hpet=off",
		   c->machine_accelerators[0] ? "," : "", c->machine_accelerators);
	add_option(a, "-cpu", "%s%s%s",
		   p->accel == ACCEL_KVM ? "host" : "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+rdrand",
		   c->cpu_features[0] ? "," : "", c->cpu_features);
	add_option(a, "-smp", "%u", qemu_vcpus(c));
	add_option(a, "-m", "%uM", c->default_memory);
	/* Shared, since vhost-user devices map the guest's memory. */
	add_option(a, "-object", "memory-backend-memfd,id=mem,size=%uM,share=on%s",
		   c->default_memory, c->enable_mem_prealloc ? ",prealloc=on" : "");
}

static void add_boot(struct qemu_argv *a, const struct qemu_argv_params *p)
{
	const struct hypervisor_config *c = p->config;

	if (c->firmware[0])
		add_option(a, "-bios", "%s", c->firmware);
	add_option(a, "-kernel", "%s", c->kernel);
	if (c->initrd[0])
		add_option(a, "-initrd", "%s", c->initrd);
	add_option(a, "-append", "%s", p->kernel_cmdline);
}

static void add_vsock(struct qemu_argv *a, const struct qemu_argv_params *p)
{
	switch (p->vsock) {
	case QEMU_VSOCK_VHOST:
		add_option(a, "-device", "vhost-vsock-pci,vhostfd=%d,guest-cid=%u", p->vsock_fd,
			   p->guest_cid);
		break;
	case QEMU_VSOCK_USER:
		add_option(a, "-chardev", "socket,id=vsock,fd=%d", p->vsock_fd);
		add_option(a, "-device", "vhost-user-vsock-pci,chardev=vsock");
		break;
	case QEMU_VSOCK_NONE:
		break;
	}
}

static int add_fs(struct qemu_argv *a, const struct qemu_argv_params *p)
{
	for (size_t i = 0; i < p->n_fs; i++) {
		const struct qemu_argv_fs *fs = &p->fs[i];
		_cleanup_free_ char *tag = escape(fs->tag);
		if (!tag)
			return -ENOMEM;
		add_option(a, "-chardev", "socket,id=fs%zu,fd=%d", i, fs->fd);
		add_option(a, "-device", "vhost-user-fs-pci,chardev=fs%zu,tag=%s,queue-size=%u", i,
			   tag, fs->queue_size);
	}
	return 0;
}

static int add_devices(struct qemu_argv *a, const struct qemu_argv_params *p)
{
	add_option(a, "-chardev", "socket,id=console,fd=%d", p->console_fd);
	add_option(a, "-serial", "chardev:console");
	add_option(a, "-chardev", "socket,id=qmp,fd=%d", p->qmp_fd);
	add_option(a, "-mon", "chardev=qmp,mode=control");
	add_option(a, "-device", "virtio-rng-pci");
	if (p->config->reclaim_guest_freed_memory)
		add_option(a, "-device", "virtio-balloon-pci,free-page-reporting=on");
	add_vsock(a, p);
	return add_fs(a, p);
}

int qemu_argv_build(const struct qemu_argv_params *p, struct qemu_argv *ret, struct err *e)
{
	const struct hypervisor_config *c = p->config;
	struct qemu_argv a = {.v = calloc(ARGS_MAX + 1, sizeof *a.v)};
	_cleanup_free_ char *id = escape(p->sandbox_id);

	if (!a.v || !id)
		goto no_memory;
	add(&a, c->path);
	/* Threads of the process then bear names, as `top -H` shows. */
	add_option(&a, "-name", "sandbox-%s,debug-threads=on", id);
	add(&a, "-no-user-config");
	add(&a, "-nodefaults");
	add(&a, "-no-reboot"); /* a panic or reboot of the guest ends the machine */
	add_option(&a, "-display", "none");
	if (c->seccomp_sandbox[0])
		add_option(&a, "-sandbox", "%s", c->seccomp_sandbox);
	add_machine(&a, p);
	add_boot(&a, p);
	if (add_devices(&a, p) < 0)
		goto no_memory;
	for (size_t i = 0; i < a.n; i++)
		if (!a.v[i])
			goto no_memory;
	*ret = a;
	return 0;

no_memory:
	qemu_argv_free(&a);
	return err_errno(e, -ENOMEM, "build QEMU's command line");
}

void qemu_argv_free(struct qemu_argv *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->v[i]);
	free(a->v);
	*a = (struct qemu_argv){.v = NULL};
}
