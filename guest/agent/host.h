/* SPDX-License-Identifier: Apache-2.0 */
/* Connections to the agent's ports: on a vsock only the host is served, never a process of the
 * guest. */
#pragma once

#include <stdint.h>

/**
 * Accepts one, non-blocking. @what names the service for the log. @ret_port (may be NULL) gets the
 * host's port; on a unix socket, where tests are, the number that ends the peer's name, or 0.
 * -EAGAIN: there is none; -ECONNREFUSED: one from inside of the guest was closed; -ENFILE: we are
 * out of descriptors or memory for now, which the caller had better wait out.
 */
int host_accept(int listen_fd, const char *what, uint32_t *ret_port);
