/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processors and memory that were plugged in, made usable; swap.
 *
 * A container that may use every processor needs no change of its control group: a cpuset of
 * cgroup v2 without a value follows its parent, and one with a value gets those of its processors
 * that come online later (kernel: Documentation/admin-guide/cgroup-v2.rst, cpuset.cpus.effective).
 */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct rpc_call;

/** Brings every processor online that can be; returns how many are. @sysfs is "/sys". */
unsigned online_processors(const char *sysfs);
/** Brings every block of memory online. Does what it can, and returns the first failure. */
int online_memory(const char *sysfs, struct err *e);
/** Tells the kernel of memory at these addresses. What it knows already is fine. */
int online_probe(const char *sysfs, const uint64_t *addresses, size_t n, struct err *e);
/** Swaps to a device or file that has been made ready for it. One that is in use is fine. */
int online_swap(const char *path, struct err *e);

void online_cpu_mem(void *ctx, struct rpc_call *call);
void online_mem_by_probe(void *ctx, struct rpc_call *call);
void online_add_swap(void *ctx, struct rpc_call *call);
void online_add_swap_path(void *ctx, struct rpc_call *call);
