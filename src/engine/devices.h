/* SPDX-License-Identifier: Apache-2.0 */
/* /dev of a container, and its terminal. For the child, before it pivots. */
#pragma once

#include "base/err.h"
#include "oci/spec.h"

/* The devices that every container has (runtime-spec, config-linux.md, "Default Devices"). */
#define ENGINE_DEFAULT_DEVICES 6
extern const struct oci_device engine_default_devices[ENGINE_DEFAULT_DEVICES];

/**
 * Makes the default devices and links, and the spec's devices. @user_ns: device nodes cannot be
 * made, so the engine's own are bound. The caller's umask must be 0.
 */
int engine_devices_make(int root_fd, const struct oci_spec *spec, bool user_ns, struct err *e);

/** Does the spec leave /dev to the engine (rather than binding somebody's there)? */
bool engine_devices_wanted(const struct oci_spec *spec);

/**
 * Opens a terminal of the container's own devpts, owned by the process' user and with its size.
 * Both descriptors are close-on-exec and the caller's.
 */
int engine_terminal_open(int root_fd, const struct oci_process *p, int *ret_master, int *ret_slave,
			 struct err *e);
/** Puts the terminal at /dev/console. */
int engine_terminal_console(int root_fd, int slave, struct err *e);
