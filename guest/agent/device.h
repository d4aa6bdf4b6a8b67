/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's devices, as the runtime names them: which block device is at that place on the PCI
 * bus?
 *
 * All that is known comes from sysfs, each time anew. A device that is not there yet may be on its
 * way, since the runtime asks the VMM to plug it in, then tells us; waiting for it is hotplug.h's,
 * before a job is begun, so that no worker is parked. These functions look once. They may load
 * kernel modules and scan buses, so they are for workers; any number at once.
 */
#pragma once

#include "base/err.h"
#include "guest/agent/pci.h"

#include <sys/types.h>

struct devices;

struct devices_options {
	struct modules *modules; /* borrowed: a device may need its driver */
	const char *sysfs, *dev; /* borrowed; NULL: /sys, /dev; others for tests */
};

int devices_new(const struct devices_options *o, struct devices **ret, struct err *e);
void devices_free(struct devices *d);

/* "/dev/" and a name of the kernel (DISK_NAME_LEN is 32) */
#define DEVICE_PATH_MAX 64

struct device_block {
	char path[DEVICE_PATH_MAX]; /* "/dev/vda": the node exists */
	dev_t rdev;
};

/** Whether a Storage's or Device's driver is one that names a block device to be found here. */
bool devices_is_block_driver(const char *driver);

/**
 * Finds a block device by the words of a Storage or Device message. @driver is "blk" (@source: a
 * PCI path "02/01", or "/dev/..."), "mmioblk" and "nvdimm" ("/dev/..."), or "scsi" ("ID:LUN").
 * -EINVAL: @source is not of that form; -ENODEV: there is none (the request's devices were waited
 * for before its job began).
 */
int devices_find_block(struct devices *d, const char *driver, const char *source,
		       struct device_block *ret, struct err *e);
/** The same; -EAGAIN where it may yet come. */
int devices_look_block(struct devices *d, const char *driver, const char *source,
		       struct device_block *ret, struct err *e);

/** The sysfs directory of the device at a PCI path (pci.h). -EAGAIN: it may yet come. */
int devices_look_pci(struct devices *d, const char *path, char ret_dir[PCI_DIR_MAX], struct err *e);

/**
 * The name of the network card at a PCI path. -EAGAIN: it may yet come. @ret has IFNAMSIZ bytes.
 */
int devices_look_net(struct devices *d, const char *path, char *ret_name, struct err *e);

/**
 * Gives the PCI device with that sysfs directory to vfio-pci, and finds the group that it is in:
 * "/dev/vfio/7". -EAGAIN: the group may yet come. Done before: does nothing.
 */
int devices_vfio_bind(struct devices *d, const char *dir, struct device_block *ret, struct err *e);

const char *devices_dev(const struct devices *d);
