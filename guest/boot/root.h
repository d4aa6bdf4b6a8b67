/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which root file system the kernel's command line asks for: the words by which a runtime tells of
 * a root that dm-verity protects (dm-mod.create, kernel: Documentation/admin-guide/device-mapper/
 * dm-init.rst; root, rootfstype). The kernel itself would do as they say, if it had the mapper and
 * its disks' drivers built in. Pure.
 */
#pragma once

#include "base/err.h"
#include "sys/verity.h"

#define ROOT_CMDLINE_MAX 4096

struct root {
	char name[64]; /* of the mapped device */
	char data_device[64], hash_device[64];
	struct verity verity;
	uint64_t sectors;    /* that the table is said to be about */
	const char *options; /* what becomes of the machine when a block is wrong; constant */
	char fstype[16];
};

/** -ENOENT: the command line has no dm-mod.create. Anything but one verity table is refused. */
int root_parse(const char *cmdline, struct root *ret, struct err *e);
