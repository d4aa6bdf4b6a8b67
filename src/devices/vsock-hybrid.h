/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vsock device behind a unix socket, by the contract that Firecracker and Cloud Hypervisor share:
 *
 * - to the guest: a client connects to PATH and sends "CONNECT <port>\n" (any case, at most 32
 *   bytes); the answer is "OK <host port>\n" and then the stream, or the end of the connection;
 * - from the guest: a connection to host port P arrives at the unix socket PATH_P, if one listens.
 *
 * Threads: the loop's.
 */
#pragma once

#include "devices/vsock.h"

/* Clients that have not got their answer; further ones wait in the backlog of the socket. */
#define VSOCK_HYBRID_PENDING_MAX 64
#define VSOCK_HYBRID_LINE_MAX 32
/* For the command, and again for the guest's answer. */
#define VSOCK_HYBRID_TIMEOUT_MS 10000

struct vsock_hybrid;

/** Listens at @path, mode 0600; a stale socket there is replaced. Takes VSOCK_PORT_ANY of @v. */
int vsock_hybrid_new(struct loop *loop, struct vsock *v, const char *path,
		     struct vsock_hybrid **ret, struct err *e);
/** Before vsock_free(). Ends what is pending, keeps what is connected, removes the socket. */
void vsock_hybrid_free(struct vsock_hybrid *h);

/** The port of a line "CONNECT <port>\n" of @len bytes, or -EPROTO. */
int vsock_hybrid_parse(const char *line, size_t len, uint32_t *ret_port);
