/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tap devices: network interfaces whose other end is a descriptor, which a machine is given as its
 * card. They live as long as the descriptors, so that nothing is left behind whoever dies.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>

/* The kernel's MAX_TAP_QUEUES. */
#define TAP_QUEUES_MAX 256

/**
 * Makes one, in the network namespace of the calling thread: with the header of virtio before each
 * frame, and @n_queues descriptors in @ret, the caller's; none if it fails. It is down.
 * -EINVAL: no such name, or not 1 to TAP_QUEUES_MAX queues; -EBUSY: there is an interface of that
 * name; -ENOENT: this host has no /dev/net/tun.
 */
int tap_new(const char *name, int *ret, unsigned n_queues, struct err *e);
