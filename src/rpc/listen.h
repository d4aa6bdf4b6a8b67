/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stream sockets to listen on and to connect with: unix and vsock.
 *
 * An address of a unix socket is a path, or '@' and an abstract name; a "unix://" before it is
 * tolerated. Paths beyond the 107 bytes of struct sockaddr_un are refused. All descriptors are
 * close-on-exec; those that listen are non-blocking, those that are connected are blocking.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum rpc_listen_flag {
	/** Take over a path that nobody listens on. Without it a path that exists is -EADDRINUSE.
	 */
	RPC_LISTEN_REPLACE_STALE = 1,
};

/** A socket of mode 0600 that listens at @address, or a negative errno. -EADDRINUSE: taken. */
int rpc_listen_unix(const char *address, unsigned flags, struct err *e);
/** Whether somebody listens at @address: 1, 0 (no socket there, or a stale one), or a failure. */
int rpc_probe_unix(const char *address, struct err *e);
/**
 * A socket connected to @address before @deadline_ms (base/clock.h; 0: none), or a negative errno:
 * -ENOENT no socket, -ECONNREFUSED nobody listens, -ETIMEDOUT nobody accepts in time.
 */
int rpc_connect_unix(const char *address, uint64_t deadline_ms, struct err *e);

/** A socket that listens on a vsock port; @cid may be VMADDR_CID_ANY. */
int rpc_listen_vsock(uint32_t cid, uint32_t port, struct err *e);
/** A socket connected before @deadline_ms. One attempt: a guest that boots may refuse at first. */
int rpc_connect_vsock(uint32_t cid, uint32_t port, uint64_t deadline_ms, struct err *e);
