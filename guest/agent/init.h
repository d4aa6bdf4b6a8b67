/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The work of the first process of a machine. Only for the agent as PID 1; elsewhere somebody did
 * all of this already.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>

/** Mounts, console, environment: what everything else needs. Before the command line is read. */
int init_early(struct err *e);

/**
 * Control groups, loopback, limits, host name. A failure of one is reported by the log only.
 * @unified: control groups of version 2; else of version 1, as long as the kernel has any.
 */
void init_late(bool unified);

/** Syncs and powers the machine off. Does not return. */
_Noreturn void init_power_off(void);
