/* SPDX-License-Identifier: Apache-2.0 */
/* The QEMU driver. Its only face is the ops table; see hypervisor/hypervisor.h. */
#pragma once

#include "hypervisor/hypervisor.h"

extern const struct hypervisor_ops qemu_hypervisor_ops;
