/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device of a disk's partition. The kernel looks for partitions when it meets a disk, and
 * tells of the disk only afterwards. One that it does not know all the same is asked for: by
 * another look, else by its place in the table. Nothing is waited for but the kernel's own work.
 * Any thread.
 */
#pragma once

#include "base/err.h"

#include <sys/types.h>

struct partition {
	char path[64]; /* "/dev/vda1", "/dev/nvme0n1p1": the node exists */
	dev_t dev;
};

/**
 * Finds partition @number of the disk whose node is @disk. Its place must be that of the disk's
 * GUID partition table. -ENODEV: the table has none of that number.
 */
int partition_find(const char *disk, unsigned number, struct partition *ret, struct err *e);

/**
 * The same by what the kernel knows alone, whatever kind of table that is from. -ENODEV: the disk
 * has no partition of that number, or the kernel does not know its table.
 */
int partition_known(const char *disk, unsigned number, struct partition *ret, struct err *e);
