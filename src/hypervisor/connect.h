/* SPDX-License-Identifier: Apache-2.0 */
/* One attempt to reach a port of a guest, with a deadline (base/clock.h). Each returns a blocking,
 * close-on-exec stream socket, or a negative errno with a sentence. Any worker. */
#pragma once

#include "base/err.h"

#include <stdint.h>

int connect_vsock(uint32_t cid, uint32_t port, uint64_t deadline_ms, struct err *e);
int connect_unix(const char *path, uint64_t deadline_ms, struct err *e);
/** Sends "CONNECT <port>\n" and expects "OK <number>\n"; not a byte beyond it is consumed. */
int connect_hybrid(const char *path, uint32_t port, uint64_t deadline_ms, struct err *e);
