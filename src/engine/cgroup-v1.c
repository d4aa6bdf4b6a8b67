/* SPDX-License-Identifier: Apache-2.0 */
/* Limits in the files of version 1 (kernel: Documentation/admin-guide/cgroup-v1/), whose numbers
 * are those of the spec. */
#include "base/fd.h"
#include "engine/cgroup-limits.h"
#include "engine/device-rules.h"
#include "engine/engine.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

static int put(const struct cgroup *g, const char *file, const char *value, struct err *e)
{
	return engine_cgroup_put(g, file, value, e);
}

static int put_given(const struct cgroup *g, const char *file, int64_t value, struct err *e)
{
	return given_nonzero(value) ? engine_cgroup_put_number(g, file, value, "-1", e) : 0;
}

/* ---- Memory -----------------------------------------------------------------------------------
 */

#define MEMORY "memory.limit_in_bytes"
#define MEMORY_AND_SWAP "memory.memsw.limit_in_bytes"

/* The limit of both must never be below that of memory alone: the kernel refuses the first of two
 * writings that are in the wrong order. */
static int put_both(const struct cgroup *g, int64_t limit, int64_t swap, struct err *e)
{
	int64_t now = -1;
	(void)cgroup_read_number(g, MEMORY_AND_SWAP, &now);
	/* what is unlimited is told as the largest number of whole pages */
	bool raise = swap < 0 || (now >= 0 && swap > now);
	int r = raise ? put_given(g, MEMORY_AND_SWAP, swap, e) : put_given(g, MEMORY, limit, e);
	if (r < 0)
		return r;
	return raise ? put_given(g, MEMORY, limit, e) : put_given(g, MEMORY_AND_SWAP, swap, e);
}

static int apply_limit(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	int64_t limit = r->memory.limit, swap = r->memory.swap, max;
	/* Unlimited memory means both, unless told otherwise. */
	if (limit == -1 && !given_nonzero(swap) && engine_cgroup_has(g, MEMORY_AND_SWAP))
		swap = -1;
	if (given_nonzero(swap) && given_nonzero(limit)) {
		int ret = engine_swap_max(swap, limit, &max, e); /* refuses what makes no sense */
		return ret < 0 ? ret : put_both(g, limit, swap, e);
	}
	int ret = put_given(g, MEMORY, limit, e);
	return ret == 0 ? put_given(g, MEMORY_AND_SWAP, swap, e) : ret;
}

static int apply_memory(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	int ret = engine_cgroup_check_memory(g, "memory.usage_in_bytes", r, e);
	if (ret == 0)
		ret = apply_limit(g, r, e);
	if (ret == 0)
		ret = put_given(g, "memory.soft_limit_in_bytes", r->memory.reservation, e);
	if (ret == 0)
		ret = put_given(g, "memory.kmem.tcp.limit_in_bytes", r->memory.kernel_tcp, e);
	if (ret == 0 && given(r->memory.swappiness))
		ret = engine_cgroup_put_number(g, "memory.swappiness", r->memory.swappiness, "0",
					       e);
	if (ret == 0 && r->memory.disable_oom_killer)
		ret = put(g, "memory.oom_control", "1", e);
	return ret;
}

/* ---- CPU --------------------------------------------------------------------------------------
 */

/* A shorter period makes the old quota a larger share, which the parent's limit may not allow: then
 * the quota goes first. */
static int apply_cpu_time(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	bool both = given_nonzero(r->cpu.quota) && given_nonzero(r->cpu.period);
	int ret = put_given(g, "cpu.cfs_period_us", r->cpu.period, e);
	if (ret == -EINVAL && both) {
		ret = put_given(g, "cpu.cfs_quota_us", r->cpu.quota, e);
		return ret == 0 ? put_given(g, "cpu.cfs_period_us", r->cpu.period, e) : ret;
	}
	return ret == 0 ? put_given(g, "cpu.cfs_quota_us", r->cpu.quota, e) : ret;
}

static int apply_realtime(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	int ret = put_given(g, "cpu.rt_period_us", r->cpu.realtime_period, e);
	return ret == 0 ? put_given(g, "cpu.rt_runtime_us", r->cpu.realtime_runtime, e) : ret;
}

/* A group can only have processors that its parents have; those follow what the machine gets later
 * only if somebody tells them. */
static void widen_parents(const struct cgroup *g, const char *file)
{
	char top[PATH_MAX], dir[PATH_MAX];
	_cleanup_buf_ struct buf all = BUF_INIT;
	if (path_format(top, sizeof top, "%s/cpuset", g->root) < 0 ||
	    path_format(dir, sizeof dir, "%s/%s", top, file) < 0 ||
	    file_read(AT_FDCWD, dir, 65536, &all) < 0 || !all.len)
		return;
	const char *name = g->relative + strspn(g->relative, "/");
	for (const char *end = strchr(name, '/'); end; end = strchr(end + 1, '/'))
		if (path_format(dir, sizeof dir, "%s/%.*s/%s", top, (int)(end - name), name,
				file) == 0)
			(void)file_write(AT_FDCWD, dir, all.data);
}

static int put_set(const struct cgroup *g, const char *file, const char *list, struct err *e)
{
	if (!list || !list[0])
		return 0;
	int r = cgroup_write(g, file, list);
	if (r == -EACCES) /* cpuset's word for "not in the parent's" */
		widen_parents(g, file);
	return r == 0 ? 0 : put(g, file, list, e);
}

static int apply_cpu(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	int ret = 0;
	bool idle = given_nonzero(r->cpu.idle);
	if (idle)
		ret = put(g, "cpu.idle", "1", e);
	else if (given(r->cpu.idle)) /* older kernels have no such file, and no idle groups */
		(void)cgroup_write(g, "cpu.idle", "0");
	/* An idle group takes no shares. */
	if (ret == 0 && !idle)
		ret = put_given(g, "cpu.shares", r->cpu.shares, e);
	if (ret == 0)
		ret = apply_realtime(g, r, e);
	/* A burst must not exceed the quota. */
	if (ret == 0 && given(r->cpu.burst))
		(void)cgroup_write(g, "cpu.cfs_burst_us", "0");
	if (ret == 0)
		ret = apply_cpu_time(g, r, e);
	if (ret == 0)
		ret = put_given(g, "cpu.cfs_burst_us", r->cpu.burst, e);
	if (ret == 0)
		ret = put_set(g, "cpuset.cpus", r->cpu.cpus, e);
	return ret == 0 ? put_set(g, "cpuset.mems", r->cpu.mems, e) : ret;
}

/* ---- Block devices ----------------------------------------------------------------------------
 */

/* BFQ's own file where that scheduler is built in: the others are gone with CFQ. */
static const char *weight_file(const struct cgroup *g, const char *bfq, const char *cfq)
{
	return engine_cgroup_has(g, bfq) ? bfq : cfq;
}

static int put_device(const struct cgroup *g, const char *file, int64_t major, int64_t minor,
		      uint64_t value, struct err *e)
{
	char text[96];
	(void)snprintf(text, sizeof text, "%lld:%lld %llu", (long long)major, (long long)minor,
		       (unsigned long long)value);
	return put(g, file, text, e);
}

static int put_throttle(const struct cgroup *g, const char *file,
			const struct oci_throttle_device *v, size_t n, struct err *e)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = put_device(g, file, v[i].major, v[i].minor, v[i].rate, e);
	return r;
}

static int put_weights(const struct cgroup *g, const struct oci_blkio_device *d, struct err *e)
{
	int r = 0;
	if (given_nonzero(d->weight))
		r = put_device(g, weight_file(g, "blkio.bfq.weight_device", "blkio.weight_device"),
			       d->major, d->minor, (uint64_t)d->weight, e);
	if (r == 0 && given_nonzero(d->leaf_weight))
		r = put_device(g, "blkio.leaf_weight_device", d->major, d->minor,
			       (uint64_t)d->leaf_weight, e);
	return r;
}

static int apply_io(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	__auto_type io = &r->block_io;
	int ret = put_given(g, weight_file(g, "blkio.bfq.weight", "blkio.weight"), io->weight, e);
	if (ret == 0)
		ret = put_given(g, "blkio.leaf_weight", io->leaf_weight, e);
	for (size_t i = 0; ret == 0 && i < io->n_weight_device; i++)
		ret = put_weights(g, &io->weight_device[i], e);
	if (ret == 0)
		ret = put_throttle(g, "blkio.throttle.read_bps_device", io->throttle_read_bps,
				   io->n_throttle_read_bps, e);
	if (ret == 0)
		ret = put_throttle(g, "blkio.throttle.write_bps_device", io->throttle_write_bps,
				   io->n_throttle_write_bps, e);
	if (ret == 0)
		ret = put_throttle(g, "blkio.throttle.read_iops_device", io->throttle_read_iops,
				   io->n_throttle_read_iops, e);
	if (ret == 0)
		ret = put_throttle(g, "blkio.throttle.write_iops_device", io->throttle_write_iops,
				   io->n_throttle_write_iops, e);
	return ret;
}

/* ---- Network, and all -------------------------------------------------------------------------
 */

static int apply_network(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	int ret = 0;
	if (r->network.class_id)
		ret = engine_cgroup_put_number(g, "net_cls.classid", r->network.class_id, "0", e);
	for (size_t i = 0; ret == 0 && i < r->network.n_priorities; i++) {
		char text[64];
		ret = path_format(text, sizeof text, "%s %u", r->network.priorities[i].name,
				  r->network.priorities[i].priority);
		ret = ret < 0 ? err_errno(e, ret, "network priority")
			      : put(g, "net_prio.ifpriomap", text, e);
	}
	return ret;
}

static int apply(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	if (r->n_unified)
		return err_set(e, -EOPNOTSUPP, "unified.%s: this machine has cgroup version 1",
			       r->unified[0].key);
	int ret = apply_memory(g, r, e);
	if (ret == 0)
		ret = apply_cpu(g, r, e);
	if (ret == 0 && given_nonzero(r->pids_limit))
		ret = engine_cgroup_put_number(g, "pids.max", r->pids_limit, "max", e);
	if (ret == 0)
		ret = apply_io(g, r, e);
	if (ret == 0)
		ret = engine_cgroup_put_hugepages(g, r, "limit_in_bytes", e);
	if (ret == 0)
		ret = engine_cgroup_put_rdma(g, r, e);
	return ret == 0 ? apply_network(g, r, e) : ret;
}

/* ---- Devices ----------------------------------------------------------------------------------
 */

static int put_rules(const struct cgroup *g, const char *file, const struct oci_device_rule *v,
		     size_t n, const struct engine_device_rules *unless, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		char text[64];
		if (unless && engine_device_rules_have(unless, &v[i]))
			continue;
		engine_device_rule_text(&v[i], text, sizeof text);
		int r = put(g, file, text, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* From what is in force to what is wanted: at no time more is refused than in either. */
static int change_rules(const struct cgroup *g, const struct engine_device_rules *now,
			const struct engine_device_rules *want, struct err *e)
{
	int r = 0;
	if (want->allow_all) {
		r = put(g, "devices.allow", "a", e);
		return r == 0 ? put_rules(g, "devices.deny", want->v, want->n, NULL, e) : r;
	}
	if (now->allow_all)
		r = put(g, "devices.deny", "a", e);
	if (r == 0)
		r = put_rules(g, "devices.allow", want->v, want->n, now->allow_all ? NULL : now, e);
	if (r == 0 && !now->allow_all)
		r = put_rules(g, "devices.deny", now->v, now->n, want, e);
	return r;
}

static int filter_devices(const struct cgroup *g, const struct oci_device_rule *rules, size_t n,
			  int *program_fd, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	_cleanup_free_ struct engine_device_rules *now = NULL, *want = NULL;
	int r = cgroup_read(g, "devices.list", &text);
	if (r == -ENOENT)
		return ENGINE_DEVICES_UNFILTERED;
	if (r == 0)
		r = engine_device_rules_parse(text.len ? text.data : "", &now);
	if (r == 0)
		r = engine_device_rules_effective(rules, n, &want);
	if (r < 0)
		return err_errno(e, r, "device rules of cgroup %s", g->relative);
	r = change_rules(g, now, want, e);
	if (r < 0)
		return r;
	return want->allow_all && !want->n ? ENGINE_DEVICES_ALL_ALLOWED : ENGINE_DEVICES_FILTERED;
}

const struct engine_cgroup_ops engine_cgroup1 = {.apply = apply, .devices = filter_devices};
