/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hands the descriptor of a filter with SCMP_ACT_NOTIFY to whoever decides about its calls.
 * Source: the runtime specification, config-linux.md "Seccomp", listenerPath. Blocks; any thread.
 */
#pragma once

#include "base/err.h"
#include "oci/spec.h"

/**
 * Connects to the spec's listenerPath and sends the container process state with @fd (borrowed).
 * @pid: the process that has the filter; @init_pid: the container's. @deadline_ms: base/clock.h.
 */
int engine_listener_send(const struct oci_spec *s, const char *id, const char *status, pid_t pid,
			 pid_t init_pid, const char *bundle, int fd, uint64_t deadline_ms,
			 struct err *e);
