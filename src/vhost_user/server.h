/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back end's half of vhost-user: one virtio device of ours behind one connected socket, for
 * QEMU or Cloud Hypervisor. Source: QEMU, docs/interop/vhost-user.rst.
 *
 * It knows nothing of the device but its ops (devices/virtio.h); the device knows nothing of it.
 *
 * The front end is not trusted: what breaks a rule is refused (where it asked for an answer) or
 * ends the connection with a sentence in the log. A connection that ended stops the device; a VMM
 * does not come back.
 *
 * Threads: all on the loop's. Note that QEMU blocks in its start-up until its requests are
 * answered: the loop must be running then.
 */
#pragma once

#include "devices/virtio.h"
#include "io/loop.h"

struct vhost_user;

/** The connection ended (@why: a sentence, borrowed); vhost_user_free() may be called in it. */
typedef void (*vhost_user_gone_fn)(void *arg, const char *why);

/** Serves @dev on the connected socket @fd, consumed also on failure. @gone may be NULL. */
int vhost_user_new(struct loop *loop, int fd, const struct virtio_device_ops *ops, void *dev,
		   vhost_user_gone_fn gone, void *arg, struct vhost_user **ret, struct err *e);
/** Stops the device's queues and resets it, then unmaps the guest. NULL is fine. */
void vhost_user_free(struct vhost_user *u);
