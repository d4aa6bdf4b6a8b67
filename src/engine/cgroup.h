/* SPDX-License-Identifier: Apache-2.0 */
/* A container's cgroup: its place, its limits. Version 2 only. */
#pragma once

#include "base/err.h"
#include "oci/spec.h"

/**
 * The path below the root that a spec's cgroupsPath means: "/a/b", "slice:prefix:name" (as
 * slice/prefix/name, there being no systemd), or nothing: "/<id>". -EINVAL for ".." in it.
 */
int engine_cgroup_relative(const char *cgroups_path, const char *id, char *ret, size_t size,
			   struct err *e);

/** Applies limits; absent values stay. The first that cannot be applied ends it. */
int engine_cgroup_apply(const char *dir, const struct oci_resources *r, struct err *e);

/* ---- conversions between the spec's numbers, which are those of version 1, and version 2's */

/** cpu.weight (1..10000) for shares (2..262144); 0 stays 0: not set. */
uint64_t engine_cpu_weight(uint64_t shares);
/** io.weight or io.bfq.weight (1..10000) for a blkio weight (10..1000). */
uint64_t engine_io_weight(uint64_t weight);
/**
 * memory.swap.max for a limit of memory and swap together: the difference. -EINVAL where there is
 * no sense in it. @limit OCI_UNSET: unknown.
 */
int engine_swap_max(int64_t swap, int64_t limit, int64_t *ret, struct err *e);
