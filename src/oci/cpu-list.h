/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of processors as the kernel writes them: "0-3,7". Pure functions; any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define OCI_CPUS_MAX 8192 /* the most that a kernel can be built for (NR_CPUS) */

/* As sched_setaffinity(2) takes it. */
struct oci_cpu_set {
	unsigned long bits[OCI_CPUS_MAX / (8 * sizeof(unsigned long))];
};

/**
 * -EINVAL: not numbers and ranges (first to last), separated by commas; or none. -ERANGE: a number
 * that is no processor's. @ret may be NULL.
 */
int oci_cpu_list_parse(const char *text, struct oci_cpu_set *ret);
