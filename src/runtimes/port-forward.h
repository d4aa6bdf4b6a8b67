/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Port-forward: who is in the pod's network namespace on the host, as containerd is when it
 * forwards a port, and connects to a TCP port of 127.0.0.0/8 or ::1 there, reaches who listens on
 * that port of the pod's loopback in the guest.
 *
 * A listening socket of each family in the namespace, to which a program of the kernel steers every
 * such connection (sys/sk-lookup.h); for each, a stream to the agent (rpc/forward.h), and a relay
 * between the two. A port on which nobody listens in the guest is a connection that is reset at
 * once. All of it is descriptors of this process: it goes when the process does.
 *
 * One stream at a time is dialled, on a worker: a guest that hangs holds up one, for a bounded
 * time. The rest is on the loop thread. Without a client there is no timer and no work.
 */
#pragma once

#include "base/err.h"
#include "io/loop.h"
#include "io/worker.h"

/* Each holds two descriptors, and memory while bytes wait. More wait in the listener's backlog. */
#define PORT_FORWARD_CONNS_MAX 128
/* From a client's connection to the agent's answer. */
#define PORT_FORWARD_TIMEOUT_MS 10000

struct port_forward;

struct port_forward_params {
	struct loop *loop;
	struct worker_pool *workers;
	int netns_fd; /* borrowed for the call */
	/** A stream to a guest port, as hypervisor_connect(). Called from workers. */
	int (*dial)(void *arg, uint32_t port, uint64_t timeout_ms, struct err *e);
	void *arg;
};

/**
 * Begins to serve. Worker. -EOPNOTSUPP: the kernel or our rights do not allow it, or the namespace
 * is that of the host, whose loopback is not the pod's.
 */
int port_forward_new(const struct port_forward_params *p, struct port_forward **ret, struct err *e);
/** From its return on dial() is not called. Waits for the call at hand. Worker. NULL is fine. */
void port_forward_stop(struct port_forward *f);
/** Ends the service and all connections. After stop. Loop thread. NULL is fine. */
void port_forward_free(struct port_forward *f);
