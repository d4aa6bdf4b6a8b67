/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Read-only device-mapper devices of one target, by the kernel's own calls (linux/dm-ioctl.h):
 * neither libdevmapper nor udev is needed. The node is made under /dev/mapper; where udev runs, its
 * link of that name serves as well. Needs CAP_SYS_ADMIN. Any thread; nothing is kept.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* DM_NAME_LEN, with the final NUL */
#define DM_NAME_MAX 127

/** What the device consists of, from its first sector on. */
struct dm_target {
	const char *type;   /* "verity" */
	uint64_t sectors;   /* of 512 bytes */
	const char *params; /* in the target's own words */
};

/** Opens the mapper's control node, made if it is missing. -ENODEV: the kernel has none. */
int dm_open(struct err *e);

/**
 * Makes a read-only device that works. -EEXIST: the name is taken. After a failure nothing is left.
 */
int dm_make(int control_fd, const char *name, const struct dm_target *t, dev_t *ret, struct err *e);

/**
 * Removes a device. One that is in use goes when its last user does: then 1 is returned, else 0,
 * also if there is no such device.
 */
int dm_remove(int control_fd, const char *name, struct err *e);

/** Makes /dev/mapper/NAME, and tells that path. What stood there under this name is replaced. */
int dm_make_node(const char *name, dev_t dev, char *ret, size_t size, struct err *e);
/** Removes the node, unless it is of another device already. */
void dm_remove_node(const char *name, dev_t dev);
