/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio socket device whose host side is file descriptors. Source: VIRTIO 1.2, section 5.10.
 *
 * The guest sees an ordinary vsock and the host as CID 2. On this side each connection is a stream
 * socket that the device owns and moves bytes to and from, straight between it and guest memory;
 * whoever made the connection holds the other end. Nobody needs /dev/vhost-vsock or a free CID.
 *
 * Threads: everything belongs to the loop thread but vsock_connect(), which is for all others.
 *
 * Limits: VSOCK_CONNS_MAX connections, of which the guest may open VSOCK_GUEST_CONNS_MAX; each
 * buffers at most its window of what the guest sent and the host has not read (VSOCK_WINDOW, and
 * VSOCK_WINDOW_SMALL once VSOCK_FULL_WINDOWS connections exist): 60 MiB in all.
 */
#pragma once

#include "devices/virtio.h"
#include "io/loop.h"

#define VSOCK_HOST_CID 2

/* More than a pod of a hundred containers with three streams each. */
#define VSOCK_CONNS_MAX 1024
/* The host can always reach its agent, whatever the guest opens. */
#define VSOCK_GUEST_CONNS_MAX 768
/* What Linux promises its peer too; one full round trip of the largest packets (64 KiB). */
#define VSOCK_WINDOW (256u << 10)
#define VSOCK_WINDOW_SMALL (32u << 10)
#define VSOCK_FULL_WINDOWS 128

/* Where the ports of connections from the host begin; Firecracker's and Cloud Hypervisor's rule. */
#define VSOCK_HOST_PORT_FIRST (1u << 30)
#define VSOCK_HOST_PORT_LAST ((1u << 31) - 1)

/* Listens for all ports that nobody else listens for. */
#define VSOCK_PORT_ANY UINT32_MAX

struct vsock;
struct vsock_conn;

/** What a transport needs. The device state is the struct vsock; queues: 0 to the guest, 1 from. */
extern const struct virtio_device_ops vsock_ops;

/** 0, -ENOMEM, or -EINVAL: @guest_cid is below 3 or no 32-bit number. */
int vsock_new(struct loop *loop, uint64_t guest_cid, struct vsock **ret);
/** Ends all connections; pending ones fail with -ECANCELED. NULL is fine. */
void vsock_free(struct vsock *v);

/**
 * How a connection attempt ended: 0, or -ECONNREFUSED (nobody listens in the guest), -ETIMEDOUT,
 * -ECONNRESET (the machine is gone), -ECONNABORTED (the other end of @fd closed), -ECANCELED.
 * Nothing was moved yet. @fd is the device's; after a failure it is closed.
 */
typedef void (*vsock_open_fn)(void *arg, int r, uint32_t host_port, int fd);

/**
 * Connects the stream socket @fd (consumed, also on failure) to a port of the guest. Waits for the
 * guest's driver, until @deadline_ms (base/clock.h; 0: none). @done is called exactly once unless
 * this fails: -ENOSPC (too many connections), -ECONNRESET (the machine is gone), -ENOMEM.
 * @ret may be NULL; it is valid until @done was called.
 */
int vsock_open(struct vsock *v, uint32_t guest_port, int fd, uint64_t deadline_ms,
	       vsock_open_fn done, void *arg, struct vsock_conn **ret);

/**
 * Connects to a port of the guest and returns a descriptor (blocking mode, close-on-exec), or
 * -ECONNREFUSED as soon as the guest says so, -ETIMEDOUT, or what vsock_open() says. Any thread but
 * the loop's, which must be running; not while vsock_free() runs.
 */
int vsock_connect(struct vsock *v, uint32_t guest_port, uint64_t deadline_ms, struct err *e);

/**
 * A guest wants to connect to @host_port. Returns the stream socket to use, which is consumed, or
 * a negative errno to refuse.
 */
typedef int (*vsock_accept_fn)(void *arg, uint32_t host_port, uint32_t guest_port);

/** -EADDRINUSE, -ENOSPC (16 ports), 0. */
int vsock_listen(struct vsock *v, uint32_t host_port, vsock_accept_fn fn, void *arg);
void vsock_unlisten(struct vsock *v, uint32_t host_port);

/** Connections that exist in any state. */
unsigned vsock_count(const struct vsock *v);
