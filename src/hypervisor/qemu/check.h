/* SPDX-License-Identifier: Apache-2.0 */
/* What can be known to be wrong before QEMU is started. */
#pragma once

#include "base/err.h"
#include "config/config.h"

#include <stdint.h>

/** @host_memory_mib is what this host has; 0 skips that rule. Reads file attributes only. */
int qemu_check_config(const struct hypervisor_config *c, uint64_t host_memory_mib, struct err *e);
uint64_t qemu_host_memory_mib(void);
