/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's vsock device for a machine. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/** Whether this host has one that can be opened. */
bool qemu_vhost_vsock_present(void);

/**
 * Opens /dev/vhost-vsock and reserves a random guest CID on it, which lasts as long as the device
 * is open. Returns the descriptor.
 */
int qemu_vhost_vsock_open(uint32_t *ret_cid, struct err *e);

/** A random CID that a guest may have: 3 up to VMADDR_CID_ANY, exclusive. */
uint32_t qemu_random_cid(void);
