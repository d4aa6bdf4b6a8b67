/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"
#include "engine/cgroup-limits.h"
#include "engine/device-filter.h"
#include "engine/engine.h"

#include <limits.h>
#include <string.h>

/* ---- Conversions ------------------------------------------------------------------------------
 */

uint64_t engine_cpu_weight(uint64_t shares)
{
	if (shares == 0)
		return 0;
	if (shares < 2)
		shares = 2;
	if (shares > 262144)
		shares = 262144;
	/* The linear map that all runtimes agree on: 2 -> 1, 262144 -> 10000. */
	return 1 + ((shares - 2) * 9999) / 262142;
}

uint64_t engine_io_weight(uint64_t weight)
{
	if (weight < 10)
		weight = 10;
	if (weight > 1000)
		weight = 1000;
	return 1 + (weight - 10) * 9999 / 990;
}

int engine_swap_max(int64_t swap, int64_t limit, int64_t *ret, struct err *e)
{
	if (swap < 0) {
		*ret = -1;
		return 0;
	}
	if (limit == OCI_UNSET || limit < 0)
		return err_set(e, -EINVAL, "memory.swap %lld needs a memory.limit",
			       (long long)swap);
	if (swap < limit)
		return err_set(e, -EINVAL, "memory.swap %lld is less than memory.limit %lld",
			       (long long)swap, (long long)limit);
	*ret = swap - limit;
	return 0;
}

/* ---- Limits -----------------------------------------------------------------------------------
 */

static int put(const struct cgroup *g, const char *file, const char *value, struct err *e)
{
	return engine_cgroup_put(g, file, value, e);
}

static int put_number(const struct cgroup *g, const char *file, int64_t value, struct err *e)
{
	return engine_cgroup_put_number(g, file, value, "max", e);
}

/* Unlimited memory means unlimited swap, unless told otherwise: that is what -1 did in version 1,
 * where the two were one number. */
static int apply_swap(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	int64_t limit = r->memory.limit, max = -1;
	if (!given_nonzero(r->memory.swap) && limit != -1)
		return 0;
	if (given_nonzero(r->memory.swap)) {
		if (!given_nonzero(limit))
			(void)cgroup_read_number(g, "memory.max", &limit);
		int ret = engine_swap_max(r->memory.swap, limit, &max, e);
		if (ret < 0)
			return ret;
	}
	/* With the controller but without that file the kernel has no swap to limit. */
	if (!engine_cgroup_has(g, "memory.swap.max") && engine_cgroup_has(g, "memory.max"))
		return 0;
	return put_number(g, "memory.swap.max", max, e);
}

static int apply_memory(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	int ret = engine_cgroup_check_memory(g, "memory.current", r, e);
	if (ret == 0)
		ret = apply_swap(g, r, e);
	if (ret == 0 && given_nonzero(r->memory.limit))
		ret = put_number(g, "memory.max", r->memory.limit, e);
	if (ret == 0 && given_nonzero(r->memory.reservation))
		ret = put_number(g, "memory.low", r->memory.reservation, e);
	return ret;
}

/* "QUOTA PERIOD" in microseconds; the period can be left out, the quota cannot. */
static int apply_cpu_time(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	_cleanup_buf_ struct buf now = BUF_INIT;
	char quota[32] = "max", text[64];
	int64_t period = r->cpu.period;
	if (!given_nonzero(r->cpu.quota) && !given_nonzero(period))
		return 0;
	if (given_nonzero(r->cpu.quota)) {
		if (r->cpu.quota > 0)
			(void)snprintf(quota, sizeof quota, "%lld", (long long)r->cpu.quota);
	} else if (cgroup_read(g, "cpu.max", &now) == 0 && now.len) {
		(void)snprintf(quota, sizeof quota, "%.*s", (int)strcspn(now.data, " \n"),
			       now.data);
	}
	if (given_nonzero(period))
		(void)snprintf(text, sizeof text, "%s %lld", quota[0] ? quota : "max",
			       (long long)period);
	else
		(void)snprintf(text, sizeof text, "%s", quota);
	return put(g, "cpu.max", text, e);
}

static int apply_cpuset(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	int ret = 0;
	if (r->cpu.cpus && r->cpu.cpus[0])
		ret = put(g, "cpuset.cpus", r->cpu.cpus, e);
	if (ret == 0 && r->cpu.mems && r->cpu.mems[0])
		ret = put(g, "cpuset.mems", r->cpu.mems, e);
	return ret;
}

static int apply_cpu(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	int ret = 0;
	if (given_nonzero(r->cpu.realtime_runtime))
		return err_set(e, -EOPNOTSUPP, "cpu.realtimeRuntime: cgroup version 2 has none");
	bool idle = given_nonzero(r->cpu.idle);
	if (idle)
		ret = put_number(g, "cpu.idle", r->cpu.idle, e);
	else if (given(r->cpu.idle)) /* older kernels have no such file, and no idle groups */
		(void)cgroup_write(g, "cpu.idle", "0");
	/* An idle group takes no weight. */
	if (ret == 0 && given_nonzero(r->cpu.shares) && !idle)
		ret = put_number(g, "cpu.weight",
				 (int64_t)engine_cpu_weight((uint64_t)r->cpu.shares), e);
	/* A burst must not exceed the quota, so a smaller one makes way before, a larger follows.
	 */
	if (ret == 0 && given(r->cpu.burst))
		(void)cgroup_write(g, "cpu.max.burst", "0");
	if (ret == 0)
		ret = apply_cpu_time(g, r, e);
	if (ret == 0 && given_nonzero(r->cpu.burst))
		ret = put_number(g, "cpu.max.burst", r->cpu.burst, e);
	return ret == 0 ? apply_cpuset(g, r, e) : ret;
}

static int put_io_max(const struct cgroup *g, const struct oci_throttle_device *v, size_t n,
		      const char *key, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		char text[96];
		(void)snprintf(text, sizeof text,
			       v[i].rate ? "%lld:%lld %s=%llu" : "%lld:%lld %s=max",
			       (long long)v[i].major, (long long)v[i].minor, key,
			       (unsigned long long)v[i].rate);
		int r = put(g, "io.max", text, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* BFQ's own file where that scheduler is built in, as its weights are the ones that work then. */
static int put_io_weight(const struct cgroup *g, const char *prefix, int64_t weight, struct err *e)
{
	char text[64];
	(void)snprintf(text, sizeof text, "%s%lld", prefix, (long long)weight);
	int r = cgroup_write(g, "io.bfq.weight", text);
	if (r == 0 || r != -ENOENT)
		return r < 0 ? err_errno(e, r, "cgroup %s: io.bfq.weight = %s", g->relative, text)
			     : 0;
	(void)snprintf(text, sizeof text, "%s%llu", prefix,
		       (unsigned long long)engine_io_weight((uint64_t)weight));
	return put(g, "io.weight", text, e);
}

static int apply_io(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	__auto_type io = &r->block_io;
	int ret = 0;
	if (given_nonzero(io->weight))
		ret = put_io_weight(g, "default ", io->weight, e);
	for (size_t i = 0; ret == 0 && i < io->n_weight_device; i++) {
		char prefix[48];
		(void)snprintf(prefix, sizeof prefix, "%lld:%lld ",
			       (long long)io->weight_device[i].major,
			       (long long)io->weight_device[i].minor);
		if (given_nonzero(io->weight_device[i].weight))
			ret = put_io_weight(g, prefix, io->weight_device[i].weight, e);
	}
	if (ret == 0)
		ret = put_io_max(g, io->throttle_read_bps, io->n_throttle_read_bps, "rbps", e);
	if (ret == 0)
		ret = put_io_max(g, io->throttle_write_bps, io->n_throttle_write_bps, "wbps", e);
	if (ret == 0)
		ret = put_io_max(g, io->throttle_read_iops, io->n_throttle_read_iops, "riops", e);
	if (ret == 0)
		ret = put_io_max(g, io->throttle_write_iops, io->n_throttle_write_iops, "wiops", e);
	return ret;
}

/* Of the core's own files the others move processes, or freeze and kill them. */
static bool is_limit(const char *key)
{
	return !strchr(key, '/') &&
	       (strncmp(key, "cgroup.", 7) != 0 || strncmp(key, "cgroup.max.", 11) == 0);
}

static int apply_unified(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	for (size_t i = 0; i < r->n_unified; i++) {
		const struct oci_kv *kv = &r->unified[i];
		if (!is_limit(kv->key))
			return err_set(e, -EINVAL, "unified.%s is no limit", kv->key);
		/* A file of several lines takes them one at a time. */
		char line[1024];
		const char *p = kv->value;
		do {
			size_t n = strcspn(p, "\n");
			int ret = path_format(line, sizeof line, "%.*s", (int)n, p);
			ret = ret < 0 ? err_errno(e, ret, "unified.%s", kv->key)
				      : put(g, kv->key, line, e);
			if (ret < 0)
				return ret;
			p += n + (p[n] == '\n');
		} while (*p);
	}
	return 0;
}

static int apply(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	int ret = apply_memory(g, r, e);
	if (ret == 0)
		ret = apply_cpu(g, r, e);
	if (ret == 0 && given_nonzero(r->pids_limit))
		ret = put_number(g, "pids.max", r->pids_limit, e);
	if (ret == 0)
		ret = apply_io(g, r, e);
	if (ret == 0)
		ret = engine_cgroup_put_hugepages(g, r, "max", e);
	if (ret == 0)
		ret = engine_cgroup_put_rdma(g, r, e);
	return ret == 0 ? apply_unified(g, r, e) : ret;
}

static int filter_devices(const struct cgroup *g, const struct oci_device_rule *rules, size_t n,
			  int *program_fd, struct err *e)
{
	char dir[PATH_MAX];
	int r = cgroup_dir(g, "", dir, sizeof dir);
	if (r < 0)
		return err_errno(e, r, "cgroup %s", g->relative);
	r = engine_device_attach(dir, rules, n, *program_fd, e);
	if (r < 0 && r != -EBADF && r != -EOPNOTSUPP)
		return r;
	if (r == -EOPNOTSUPP && *program_fd >= 0)
		return r; /* the old one stays in force */
	(void)close_fd(*program_fd);
	*program_fd = r >= 0 ? r : -EBADF;
	return r >= 0	     ? ENGINE_DEVICES_FILTERED
	       : r == -EBADF ? ENGINE_DEVICES_ALL_ALLOWED
			     : ENGINE_DEVICES_UNFILTERED;
}

const struct engine_cgroup_ops engine_cgroup2 = {.apply = apply, .devices = filter_devices};
