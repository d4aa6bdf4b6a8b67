/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Container Device Interface: what a container gets with a device is written in files that the
 * device's vendor makes in the guest (github.com/cncf-tags/container-device-interface, SPEC.md).
 *
 * A container asks for devices by annotations "cdi.k8s.io/NAME" with values
 * "VENDOR/CLASS=DEVICE,...". The files are *.json and *.yaml in /var/run/cdi and, if those have no
 * such kind, /etc/cdi. For workers.
 */
#pragma once

#include "oci/arena.h"
#include "oci/spec.h"
#include "proto/agent.pb-c.h"

/* Devices of one container. */
#define CDI_DEVICES_MAX 64
/* Files that are looked at. */
#define CDI_FILES_MAX 256

/* Those before win. NULL-terminated. */
extern const char *const cdi_dirs[];

/** A device, in a request's memory. */
struct cdi_device {
	const char *kind, *name; /* "nvidia.com/gpu", "0" */
};

struct cdi_request {
	struct oci_arena *arena;
	struct cdi_device v[CDI_DEVICES_MAX];
	size_t n;
};

#define CDI_REQUEST_INIT ((struct cdi_request){.arena = NULL})

/** Whether there is anything to read. */
bool cdi_requested(const Grpc__Spec *spec);
/** Reads a container's annotations. That of a pod's sandbox asks for nothing. -EINVAL. */
int cdi_request_read(const Grpc__Spec *spec, struct cdi_request *ret, struct err *e);
void cdi_request_free(struct cdi_request *q);

/**
 * Whether all devices are known. -EAGAIN: there are no files of some kind yet, or they cannot be
 * read; -ENODEV: there are, but without that device.
 */
int cdi_look(const char *const *dirs, const struct cdi_request *q, struct err *e);
/** Edits a container's spec as the devices want it; what cannot be done is refused. */
int cdi_apply(const char *const *dirs, const struct cdi_request *q, struct oci_spec *s,
	      struct err *e);
