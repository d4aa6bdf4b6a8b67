/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vsock device for a VMM that speaks vhost-user, in this process: the guest sees an ordinary
 * virtio vsock, and the host needs neither /dev/vhost-vsock nor a CID that nobody else uses.
 *
 * For QEMU: pass the VMM's descriptor as number N, and add
 *	-chardev socket,id=vsock0,fd=N -device vhost-user-vsock-pci,chardev=vsock0
 * with guest memory that is shared (memory-backend-memfd,share=on). Without share=on QEMU prints a
 * complaint and goes on, and every connect times out. QEMU's start blocks until the device has
 * answered: the loop must be running.
 *
 * Threads: new and free are for any thread. From another than the loop's they wait for the loop,
 * which must be running or about to; on the loop's thread, or before loop_run() on the thread that
 * made it, they act at once.
 */
#pragma once

#include "base/err.h"
#include "devices/vsock.h"

struct vhost_vsock;

/**
 * Makes a device for a guest that will see itself as @cid (3 to 2^32-2; unique only within its VMM,
 * so 3 does for every pod). @ret_vmm_fd is the VMM's end, close-on-exec, the caller's to close once
 * the VMM has it. @hybrid_path: NULL, or where to listen (devices/vsock-hybrid.h).
 */
int vhost_vsock_new(struct loop *loop, uint64_t cid, const char *hybrid_path,
		    struct vhost_vsock **ret, int *ret_vmm_fd, struct err *e);

/** Ends all connections and removes the hybrid socket. No connect may be under way. NULL is fine.
 */
void vhost_vsock_free(struct vhost_vsock *d);

/**
 * A stream to a port of the guest; see vsock_connect(). Waits until the guest's driver is up and
 * then for the guest's answer, until @deadline_ms (0: for ever). -ECONNREFUSED comes at once when
 * nobody listens there yet: the caller decides when to try again. Any thread but the loop's.
 */
int vhost_vsock_connect(struct vhost_vsock *d, uint32_t port, uint64_t deadline_ms, struct err *e);

/** The device, for vsock_listen() and the like. Loop thread. */
struct vsock *vhost_vsock_device(struct vhost_vsock *d);
