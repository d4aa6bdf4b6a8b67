/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices that one request asks for: those of its storages are waited for, those of a container
 * get into its spec as well.
 *
 * The spec that the runtime sends has the devices of the host in it, by the host's numbers. Each
 * Device message names one of them by its path in the container, and says what it is in the guest.
 */
#pragma once

#include "base/err.h"
#include "guest/agent/device.h"
#include "guest/agent/pci-map.h"
#include "oci/spec.h"
#include "proto/agent.pb-c.h"

#include <stdbool.h>

/* Devices of one request, and PCI devices of one of them: more than a machine has slots for. */
#define DEVICES_PER_REQUEST_MAX 256
#define DEVICE_OPTIONS_MAX 64

struct device_request {
	Grpc__Device *const *devices; /* borrowed */
	size_t n_devices;
	Grpc__Storage *const *storages; /* borrowed */
	size_t n_storages;
};

/** Whether there is anything to wait for. */
bool device_request_waits(const struct device_request *q);
/** The uevents that may change the answer of device_request_look(). */
unsigned device_request_kinds(void);
/**
 * Looks whether everything is there, and gives devices to vfio-pci that belong to it. -EAGAIN: not
 * yet; -EINVAL: some message is not as it should be. For workers.
 */
int device_request_look(struct devices *d, const struct device_request *q, struct err *e);

/**
 * Makes the spec's devices those of the guest: their numbers, and those of the rules about them. A
 * device about which the spec has no rule of its own is allowed ("rwm"). Rewrites the environment's
 * PCI addresses; the map for later execs is @ret_map, NULL if there is nothing to map. -EINVAL: the
 * spec has no such device.
 */
int device_request_apply(struct devices *d, const struct device_request *q, struct oci_spec *s,
			 struct pci_map **ret_map, struct err *e);

/** Adds a device and a rule that allows it. A device of that path in the spec is replaced. */
int device_spec_add(struct oci_spec *s, const struct oci_device *device, const char *access,
		    struct err *e);
/** Allows a device; @access as in the specification. */
int device_spec_allow(struct oci_spec *s, char type, int64_t major, int64_t minor,
		      const char *access, struct err *e);
