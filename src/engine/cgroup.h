/* SPDX-License-Identifier: Apache-2.0 */
/* A container's cgroup: its place, its limits, its devices. */
#pragma once

#include "base/err.h"
#include "oci/spec.h"
#include "sys/cgroup.h"

/**
 * The path below the root that a spec's cgroupsPath means: "/a/b", "slice:prefix:name" (as
 * slice/prefix/name, there being no systemd), or nothing: "/<id>". -EINVAL for ".." in it.
 */
int engine_cgroup_relative(const char *cgroups_path, const char *id, char *ret, size_t size,
			   struct err *e);

/**
 * Applies limits; absent values stay. The first that cannot be applied ends it. What the group's
 * version does not know is refused where the container would be without a limit that it asked for
 * (realtime in version 2, unified in version 1), and passed over where it is not a limit or has no
 * use any more: in version 2 swappiness, disableOOMKiller, the network's classes and priorities; in
 * both kernel memory.
 */
int engine_cgroup_apply(const struct cgroup *g, const struct oci_resources *r, struct err *e);

/**
 * Allows the devices of the rules, and those that every container has; refuses all others. Rules
 * that were in force are replaced. In version 2 by a program, which is in *@program_fd (-EBADF:
 * none). Returns an enum engine_devices: that nothing is refused because the kernel or our rights
 * do not allow it is no failure, unless rules were in force, which stay so.
 */
int engine_cgroup_devices(const struct cgroup *g, const struct oci_device_rule *rules, size_t n,
			  int *program_fd, struct err *e);

/* ---- conversions between the spec's numbers, which are those of version 1, and version 2's */

/** cpu.weight (1..10000) for shares (2..262144); 0 stays 0: not set. */
uint64_t engine_cpu_weight(uint64_t shares);
/** io.weight (1..10000) for a blkio weight (10..1000). */
uint64_t engine_io_weight(uint64_t weight);
/**
 * memory.swap.max for a limit of memory and swap together: the difference. -EINVAL where there is
 * no sense in it. @limit OCI_UNSET: unknown.
 */
int engine_swap_max(int64_t swap, int64_t limit, int64_t *ret, struct err *e);
