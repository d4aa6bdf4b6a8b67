/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's devices, as the runtime names them: which block device is at that place on the PCI
 * bus? One that is not there yet may be on its way: the runtime asks the VMM to plug it in, then
 * tells us. So sysfs is looked at first, then the kernel's uevents are waited for.
 *
 * All functions block at most `agent.hotplug_timeout`, and may be called by any worker.
 */
#pragma once

#include "base/err.h"

#include <stdint.h>
#include <sys/types.h>

struct devices;

struct devices_options {
	uint64_t hotplug_timeout_ms;
	struct modules *modules; /* borrowed: a device may need its driver */
};

int devices_new(const struct devices_options *o, struct devices **ret, struct err *e);
void devices_free(struct devices *d);

struct device_block {
	char path[64]; /* "/dev/vda": the node exists */
	dev_t rdev;
};

/**
 * Finds a block device by the words of a Storage or Device message. @driver is "blk" (@source: a
 * PCI path "02/01", or "/dev/..."), "mmioblk" and "nvdimm" ("/dev/..."), or "scsi" ("ID:LUN").
 * -EINVAL: @source is not of that form; -ENODEV: there is none, also after waiting.
 */
int devices_find_block(struct devices *d, const char *driver, const char *source,
		       struct device_block *ret, struct err *e);
