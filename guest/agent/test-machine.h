/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: a machine that QEMU emulates, with the guest image, a shared directory and vsock. A
 * failure fails the test.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "io/child.h"

#include <stdint.h>

#define MACHINE_SHARE "/run/kata-containers/shared/containers"

struct machine {
	struct child vmm, fs;
	char hybrid[96], console[96], qmp_path[96];
	int qmp; /* the connection, or -EBADF */
	uint64_t boot_ms;
};

/* Of static ones, too. */
#define MACHINE_INIT                                                             \
	{                                                                        \
		.vmm = {.pidfd = -EBADF}, .fs = {.pidfd = -EBADF}, .qmp = -EBADF \
	}

struct machine_options {
	const char *image_dir;	 /* what guest/image/build made; its disk, if any, is the root */
	const char *proxy;	 /* tests/tools/vsock-proxy */
	const char *dir;	 /* for sockets and the console */
	const char *share;	 /* the directory that the guest sees by the tag kataShared */
	const char *memory;	 /* of -m; NULL: 512 MiB, not more */
	const char *cpus;	 /* of -smp; NULL: one */
	const char *machine;	 /* more for -machine, or NULL */
	const char *cmdline;	 /* more for the kernel, or NULL */
	const char *const *args; /* more for QEMU, NULL-terminated, or NULL */
};

/** Boots, and returns a connection to the agent. */
int machine_boot(struct machine *m, const struct machine_options *o);
/** Connects to a port of the guest; negative if it does not answer. */
int machine_connect(struct machine *m, unsigned port);
/** Tells the host's own port of the connection, too. */
int machine_connect_from(struct machine *m, unsigned port, uint32_t *ret_from);
/** Runs a command of QMP (JSON). The test fails if QEMU refuses. */
void machine_qmp(struct machine *m, const char *command);
/** Waits until QEMU has ended and returns its exit code, or kills it. */
int machine_end(struct machine *m);
/** Boots a machine that must end by itself, and tells what its console says. */
void machine_refuses(struct machine *m, const struct machine_options *o, struct buf *ret_console);
/** Ends QEMU at once. */
void machine_kill(struct machine *m);
