/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cgroup.h"

#include "base/fd.h"
#include "engine/cgroup-limits.h"

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

/* ---- What both versions do ---------------------------------------------------------------- */

int engine_cgroup_put(const struct cgroup *g, const char *file, const char *value, struct err *e)
{
	int r = cgroup_write(g, file, value);
	if (r == -ENOENT)
		return err_set(e, r, "cgroup %s has no %s: its controller is not available",
			       g->relative, file);
	return r < 0 ? err_errno(e, r, "cgroup %s: %s = %s", g->relative, file, value) : 0;
}

int engine_cgroup_put_number(const struct cgroup *g, const char *file, int64_t value,
			     const char *unlimited, struct err *e)
{
	char text[32];
	if (value < 0)
		return engine_cgroup_put(g, file, unlimited, e);
	(void)snprintf(text, sizeof text, "%lld", (long long)value);
	return engine_cgroup_put(g, file, text, e);
}

bool engine_cgroup_has(const struct cgroup *g, const char *file)
{
	char path[PATH_MAX];
	return cgroup_path(g, file, path, sizeof path) == 0 && access(path, F_OK) == 0;
}

int engine_cgroup_check_memory(const struct cgroup *g, const char *usage_file,
			       const struct oci_resources *r, struct err *e)
{
	int64_t used;
	if (!r->memory.check_before_update || !given_nonzero(r->memory.limit) ||
	    r->memory.limit < 0 || cgroup_read_number(g, usage_file, &used) < 0 ||
	    used <= r->memory.limit)
		return 0;
	return err_status(e, STATUS_FAILED_PRECONDITION,
			  "memory.limit %lld is less than what is in use, %lld",
			  (long long)r->memory.limit, (long long)used);
}

/* A spec written for another machine lists page sizes that this kernel does not have; a page that
 * cannot exist needs no limit. */
int engine_cgroup_put_hugepages(const struct cgroup *g, const struct oci_resources *r,
				const char *limit, struct err *e)
{
	for (size_t i = 0; i < r->n_hugepages; i++) {
		const struct oci_hugepage_limit *h = &r->hugepages[i];
		char file[64], text[32];
		if (strchr(h->page_size, '/') ||
		    path_format(file, sizeof file, "hugetlb.%s.%s", h->page_size, limit) < 0)
			return err_set(e, -EINVAL, "hugepage size %s", h->page_size);
		(void)snprintf(text, sizeof text, "%llu", (unsigned long long)h->limit);
		int ret = cgroup_write(g, file, text);
		if (ret < 0 && ret != -ENOENT)
			return err_errno(e, ret, "cgroup %s: %s = %s", g->relative, file, text);
		/* pages that are reserved but not touched yet: since Linux 5.7 */
		if (path_format(file, sizeof file, "hugetlb.%s.rsvd.%s", h->page_size, limit) == 0)
			(void)cgroup_write(g, file, text);
	}
	return 0;
}

int engine_cgroup_put_rdma(const struct cgroup *g, const struct oci_resources *r, struct err *e)
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
			      : engine_cgroup_put(g, "rdma.max", text, e);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* ---- Either version ----------------------------------------------------------------------- */

static const struct engine_cgroup_ops *ops(const struct cgroup *g)
{
	return g->version == 1 ? &engine_cgroup1 : &engine_cgroup2;
}

int engine_cgroup_apply(const struct cgroup *g, const struct oci_resources *r, struct err *e)
{
	return ops(g)->apply(g, r, e);
}

int engine_cgroup_devices(const struct cgroup *g, const struct oci_device_rule *rules, size_t n,
			  int *program_fd, struct err *e)
{
	return ops(g)->devices(g, rules, n, program_fd, e);
}
