/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of the runtime specification and of the kernel that a spec can be held to by itself,
 * without looking at the machine. Parsing and decoding end with it; call it again after changing a
 * spec. A refusal is -EINVAL, and names the field as config.json does, its value and the rule;
 * never the text of a variable or an annotation, which may be secret.
 */
#pragma once

#include "oci/spec.h"

/* What a device number can hold: MKDEV of include/linux/kdev_t.h. */
#define OCI_DEVICE_MAJOR_MAX 4095
#define OCI_DEVICE_MINOR_MAX 1048575
/* Kernel 5.8 raised swappiness from 100. */
#define OCI_SWAPPINESS_MAX 200
/* An uint16 in the specification; cgroup v1 takes 10 to 1000. */
#define OCI_BLKIO_WEIGHT_MAX 65535
/* __NEW_UTS_LEN of linux/utsname.h */
#define OCI_HOSTNAME_MAX 64

int oci_spec_validate(const struct oci_spec *s, struct err *e);
int oci_process_validate(const struct oci_process *p, struct err *e);
int oci_resources_validate(const struct oci_resources *r, struct err *e);
