/* SPDX-License-Identifier: Apache-2.0 */
/* How limits are written, in both versions of control groups. Private to engine/cgroup*.c. */
#pragma once

#include "engine/cgroup.h"

#include <stdbool.h>

struct engine_cgroup_ops {
	int (*apply)(const struct cgroup *g, const struct oci_resources *r, struct err *e);
	/** See engine_cgroup_devices(). Returns an enum engine_devices, or a failure. */
	int (*devices)(const struct cgroup *g, const struct oci_device_rule *rules, size_t n,
		       int *program_fd, struct err *e);
};

extern const struct engine_cgroup_ops engine_cgroup1, engine_cgroup2;

static inline bool given(int64_t value)
{
	return value != OCI_UNSET;
}

/* Runtimes read a limit of 0 as "not given" where it could only mean a dead container. */
static inline bool given_nonzero(int64_t value)
{
	return given(value) && value != 0;
}

/** Writes one value. A missing file is -ENOENT, and told as the lack of its controller. */
int engine_cgroup_put(const struct cgroup *g, const char *file, const char *value, struct err *e);
/** -1 is written as @unlimited: "max" or "-1". */
int engine_cgroup_put_number(const struct cgroup *g, const char *file, int64_t value,
			     const char *unlimited, struct err *e);
bool engine_cgroup_has(const struct cgroup *g, const char *file);

/** Refuses a limit of memory below what is in use in @usage_file, if the spec asks for that. */
int engine_cgroup_check_memory(const struct cgroup *g, const char *usage_file,
			       const struct oci_resources *r, struct err *e);
/** For each page size hugetlb.SIZE.@limit, and hugetlb.SIZE.rsvd.@limit where there is such. */
int engine_cgroup_put_hugepages(const struct cgroup *g, const struct oci_resources *r,
				const char *limit, struct err *e);
int engine_cgroup_put_rdma(const struct cgroup *g, const struct oci_resources *r, struct err *e);
