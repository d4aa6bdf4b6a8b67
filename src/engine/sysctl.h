/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel settings that a container may have of its own: those that its namespaces own. Pure. */
#pragma once

#include "base/err.h"
#include "oci/spec.h"

/**
 * May this spec set @key ("net.ipv4.ip_forward", "net/ipv4/ip_forward")? Else -EINVAL.
 * @network_is_pods: net.* is allowed without a network namespace in the spec.
 */
int engine_sysctl_check(const struct oci_spec *spec, const char *key, bool network_is_pods,
			struct err *e);

/** The path below /proc/sys. Dots become slashes, unless the key is written with slashes. */
int engine_sysctl_path(const char *key, char *ret, size_t size);
