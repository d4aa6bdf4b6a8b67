/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cgroup.h"

#include "base/fd.h"
#include "sys/cgroup2.h"

#include <limits.h>
#include <string.h>

int engine_cgroup_relative(const char *cgroups_path, const char *id, char *ret, size_t size,
			   struct err *e)
{
	const char *from =
		cgroups_path && cgroups_path[strspn(cgroups_path, "/")] ? cgroups_path : id;
	ret[0] = '\0';
	for (const char *p = from; *p;) {
		p += strspn(p, "/:");
		size_t len = strcspn(p, "/:"), used = strlen(ret);
		if (len == 0)
			break;
		if (p[0] == '.' && (len == 1 || (len == 2 && p[1] == '.')))
			return err_set(e, -EINVAL, "cgroupsPath %s has . or .. in it", from);
		int r = path_format(ret + used, size - used, "/%.*s", (int)len, p);
		if (r < 0)
			return err_errno(e, r, "cgroupsPath %s", from);
		p += len;
	}
	return ret[0] ? 0 : err_set(e, -EINVAL, "cgroupsPath %s names nothing", from);
}

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

/* ---- applying */

static int put(const char *dir, const char *file, const char *value, struct err *e)
{
	int r = cgroup2_write(dir, file, value);
	if (r == -ENOENT)
		return err_set(e, r, "cgroup %s has no %s: its controller is not available", dir,
			       file);
	return r < 0 ? err_errno(e, r, "cgroup %s: %s = %s", dir, file, value) : 0;
}

static int put_number(const char *dir, const char *file, int64_t value, struct err *e)
{
	char text[32];
	if (value < 0)
		return put(dir, file, "max", e);
	(void)snprintf(text, sizeof text, "%lld", (long long)value);
	return put(dir, file, text, e);
}

static bool given(int64_t value)
{
	return value != OCI_UNSET;
}

/* Runtimes read a limit of 0 as "not given" where it could only mean a dead container. */
static bool given_nonzero(int64_t value)
{
	return given(value) && value != 0;
}

static int current_limit(const char *dir, int64_t *ret)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int r = cgroup2_read(dir, "memory.max", &b);
	if (r < 0)
		return r;
	*ret = b.len && b.data[0] != 'm' ? strtoll(b.data, NULL, 10) : -1;
	return 0;
}

static int apply_swap(const char *dir, const struct oci_resources *r, struct err *e)
{
	int64_t limit = r->memory.limit, max;
	if (!given_nonzero(r->memory.swap))
		return 0;
	if (!given_nonzero(limit))
		(void)current_limit(dir, &limit);
	int ret = engine_swap_max(r->memory.swap, limit, &max, e);
	if (ret < 0)
		return ret;
	ret = put_number(dir, "memory.swap.max", max, e);
	/* With the controller but without that file the kernel has no swap to limit. */
	return ret == -ENOENT && current_limit(dir, &limit) == 0 ? 0 : ret;
}

static int apply_memory(const char *dir, const struct oci_resources *r, struct err *e)
{
	int ret = apply_swap(dir, r, e);
	if (ret == 0 && given_nonzero(r->memory.limit))
		ret = put_number(dir, "memory.max", r->memory.limit, e);
	if (ret == 0 && given_nonzero(r->memory.reservation))
		ret = put_number(dir, "memory.low", r->memory.reservation, e);
	return ret;
}

/* "QUOTA PERIOD" in microseconds; the period can be left out, the quota cannot. */
static int apply_cpu_time(const char *dir, const struct oci_resources *r, struct err *e)
{
	_cleanup_buf_ struct buf now = BUF_INIT;
	char quota[32] = "max", text[64];
	int64_t period = r->cpu.period;
	if (!given_nonzero(r->cpu.quota) && !given_nonzero(period))
		return 0;
	if (given_nonzero(r->cpu.quota)) {
		if (r->cpu.quota > 0)
			(void)snprintf(quota, sizeof quota, "%lld", (long long)r->cpu.quota);
	} else if (cgroup2_read(dir, "cpu.max", &now) == 0 && now.len) {
		(void)snprintf(quota, sizeof quota, "%.*s", (int)strcspn(now.data, " \n"),
			       now.data);
	}
	if (given_nonzero(period))
		(void)snprintf(text, sizeof text, "%s %lld", quota[0] ? quota : "max",
			       (long long)period);
	else
		(void)snprintf(text, sizeof text, "%s", quota);
	return put(dir, "cpu.max", text, e);
}

static int apply_cpuset(const char *dir, const struct oci_resources *r, struct err *e)
{
	int ret = 0;
	if (r->cpu.cpus && r->cpu.cpus[0])
		ret = put(dir, "cpuset.cpus", r->cpu.cpus, e);
	if (ret == 0 && r->cpu.mems && r->cpu.mems[0])
		ret = put(dir, "cpuset.mems", r->cpu.mems, e);
	return ret;
}

static int apply_cpu(const char *dir, const struct oci_resources *r, struct err *e)
{
	int ret = 0;
	if (given_nonzero(r->cpu.realtime_runtime))
		return err_set(e, -EOPNOTSUPP, "cpu.realtimeRuntime: cgroup version 2 has none");
	bool idle = given_nonzero(r->cpu.idle);
	if (idle)
		ret = put_number(dir, "cpu.idle", r->cpu.idle, e);
	else if (given(r->cpu.idle)) /* older kernels have no such file, and no idle groups */
		(void)cgroup2_write(dir, "cpu.idle", "0");
	/* An idle group takes no weight. */
	if (ret == 0 && given_nonzero(r->cpu.shares) && !idle)
		ret = put_number(dir, "cpu.weight",
				 (int64_t)engine_cpu_weight((uint64_t)r->cpu.shares), e);
	/* A burst must not exceed the quota, so a smaller one makes way before, a larger follows.
	 */
	if (ret == 0 && given(r->cpu.burst))
		(void)cgroup2_write(dir, "cpu.max.burst", "0");
	if (ret == 0)
		ret = apply_cpu_time(dir, r, e);
	if (ret == 0 && given_nonzero(r->cpu.burst))
		ret = put_number(dir, "cpu.max.burst", r->cpu.burst, e);
	return ret == 0 ? apply_cpuset(dir, r, e) : ret;
}

static int apply_rdma(const char *dir, const struct oci_resources *r, struct err *e)
{
	for (size_t i = 0; i < r->n_rdma; i++) {
		const struct oci_rdma *d = &r->rdma[i];
		char text[256], handles[32] = "max", objects[32] = "max";
		if (d->has_handles)
			(void)snprintf(handles, sizeof handles, "%u", d->handles);
		if (d->has_objects)
			(void)snprintf(objects, sizeof objects, "%u", d->objects);
		int ret = path_format(text, sizeof text, "%s hca_handle=%s hca_object=%s",
				      d->device, handles, objects);
		ret = ret < 0 ? err_errno(e, ret, "rdma %s", d->device)
			      : put(dir, "rdma.max", text, e);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int put_io_max(const char *dir, const struct oci_throttle_device *v, size_t n,
		      const char *key, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		char text[96];
		(void)snprintf(text, sizeof text,
			       v[i].rate ? "%lld:%lld %s=%llu" : "%lld:%lld %s=max",
			       (long long)v[i].major, (long long)v[i].minor, key,
			       (unsigned long long)v[i].rate);
		int r = put(dir, "io.max", text, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* BFQ's own file where that scheduler is built in, as its weights are the ones that work then. */
static int put_io_weight(const char *dir, const char *prefix, int64_t weight, struct err *e)
{
	char text[64];
	(void)snprintf(text, sizeof text, "%s%lld", prefix, (long long)weight);
	int r = cgroup2_write(dir, "io.bfq.weight", text);
	if (r == 0 || r != -ENOENT)
		return r < 0 ? err_errno(e, r, "cgroup %s: io.bfq.weight = %s", dir, text) : 0;
	(void)snprintf(text, sizeof text, "%s%llu", prefix,
		       (unsigned long long)engine_io_weight((uint64_t)weight));
	return put(dir, "io.weight", text, e);
}

static int apply_io(const char *dir, const struct oci_resources *r, struct err *e)
{
	__auto_type io = &r->block_io;
	int ret = 0;
	if (given_nonzero(io->weight))
		ret = put_io_weight(dir, "default ", io->weight, e);
	for (size_t i = 0; ret == 0 && i < io->n_weight_device; i++) {
		char prefix[48];
		(void)snprintf(prefix, sizeof prefix, "%lld:%lld ",
			       (long long)io->weight_device[i].major,
			       (long long)io->weight_device[i].minor);
		if (given_nonzero(io->weight_device[i].weight))
			ret = put_io_weight(dir, prefix, io->weight_device[i].weight, e);
	}
	if (ret == 0)
		ret = put_io_max(dir, io->throttle_read_bps, io->n_throttle_read_bps, "rbps", e);
	if (ret == 0)
		ret = put_io_max(dir, io->throttle_write_bps, io->n_throttle_write_bps, "wbps", e);
	if (ret == 0)
		ret = put_io_max(dir, io->throttle_read_iops, io->n_throttle_read_iops, "riops", e);
	if (ret == 0)
		ret = put_io_max(dir, io->throttle_write_iops, io->n_throttle_write_iops, "wiops",
				 e);
	return ret;
}

/* A spec written for another machine lists page sizes that this kernel does not have; a page that
 * cannot exist needs no limit. */
static int apply_hugepages(const char *dir, const struct oci_resources *r, struct err *e)
{
	for (size_t i = 0; i < r->n_hugepages; i++) {
		const struct oci_hugepage_limit *h = &r->hugepages[i];
		char file[64], text[32];
		if (strchr(h->page_size, '/') ||
		    path_format(file, sizeof file, "hugetlb.%s.max", h->page_size) < 0)
			return err_set(e, -EINVAL, "hugepage size %s", h->page_size);
		(void)snprintf(text, sizeof text, "%llu", (unsigned long long)h->limit);
		int ret = cgroup2_write(dir, file, text);
		if (ret < 0 && ret != -ENOENT)
			return err_errno(e, ret, "cgroup %s: %s = %s", dir, file, text);
		(void)snprintf(file, sizeof file, "hugetlb.%s.rsvd.max", h->page_size);
		(void)cgroup2_write(dir, file, text);
	}
	return 0;
}

static int apply_unified(const char *dir, const struct oci_resources *r, struct err *e)
{
	for (size_t i = 0; i < r->n_unified; i++) {
		const struct oci_kv *kv = &r->unified[i];
		if (strchr(kv->key, '/') || strncmp(kv->key, "cgroup.", 7) == 0)
			return err_set(e, -EINVAL, "unified.%s is no limit", kv->key);
		/* A file of several lines takes them one at a time. */
		char line[1024];
		const char *p = kv->value;
		do {
			size_t n = strcspn(p, "\n");
			int ret = path_format(line, sizeof line, "%.*s", (int)n, p);
			ret = ret < 0 ? err_errno(e, ret, "unified.%s", kv->key)
				      : put(dir, kv->key, line, e);
			if (ret < 0)
				return ret;
			p += n + (p[n] == '\n');
		} while (*p);
	}
	return 0;
}

int engine_cgroup_apply(const char *dir, const struct oci_resources *r, struct err *e)
{
	int ret = apply_memory(dir, r, e);
	if (ret == 0)
		ret = apply_cpu(dir, r, e);
	if (ret == 0 && given_nonzero(r->pids_limit))
		ret = put_number(dir, "pids.max", r->pids_limit, e);
	if (ret == 0)
		ret = apply_io(dir, r, e);
	if (ret == 0)
		ret = apply_hugepages(dir, r, e);
	if (ret == 0)
		ret = apply_rdma(dir, r, e);
	return ret == 0 ? apply_unified(dir, r, e) : ret;
}
