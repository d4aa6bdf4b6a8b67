/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's command line, as a pure function of the configuration: no file is opened, nothing is
 * looked up, so golden texts can hold it still. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"
#include "hypervisor/hypervisor.h"

/* The devices that a caller may add. */
#define QEMU_FS_MAX 4

enum qemu_vsock {
	QEMU_VSOCK_NONE,
	QEMU_VSOCK_VHOST, /* the kernel's: a descriptor of /dev/vhost-vsock */
	QEMU_VSOCK_USER,  /* vhost-user: a connected socket of our own device */
};

struct qemu_argv_fs {
	int fd;
	const char *tag;
	unsigned queue_size;
};

/* The descriptors are the child's numbers; -1: none. */
struct qemu_argv_params {
	const struct hypervisor_config *config;
	const char *sandbox_id;
	enum accel accel;
	const char *kernel_cmdline;
	int qmp_fd, console_fd;
	enum qemu_vsock vsock;
	int vsock_fd;
	uint32_t guest_cid;
	const struct qemu_argv_fs *fs;
	size_t n_fs;
};

struct qemu_argv {
	char **v; /* NULL-terminated; owned */
	size_t n;
};

int qemu_argv_build(const struct qemu_argv_params *p, struct qemu_argv *ret, struct err *e);
void qemu_argv_free(struct qemu_argv *a);

/** default_vcpus as QEMU takes it: rounded up, at least 1. */
unsigned qemu_vcpus(const struct hypervisor_config *c);

/**
 * The guest kernel's command line: our base, @agent_params (of config_agent_kernel_params(); may be
 * NULL), then the user's kernel_params, so that these win. Longer than the kernel keeps: -EINVAL
 * with the numbers, since the kernel would drop the end silently.
 */
int qemu_kernel_cmdline(const struct kata_config *config, const char *agent_params, char **ret,
			struct err *e);
