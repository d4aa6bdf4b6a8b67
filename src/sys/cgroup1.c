/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/fd.h"
#include "sys/cgroup-tree.h"

#include <limits.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/vfs.h>

const char *const cgroup1_hierarchies[] = {
	"freezer", "pids",    "memory",	  "devices",	"cpuset", "cpu",     "cpuacct", "blkio",
	"hugetlb", "net_cls", "net_prio", "perf_event", "rdma",	  "systemd", NULL,
};

/* The directory of @controller for the whole machine; false if there is none. */
static bool find_top(const struct cgroup *g, const char *controller, char *ret, size_t size)
{
	struct statfs fs;
	return path_format(ret, size, "%s/%s", g->root, controller) == 0 && statfs(ret, &fs) == 0 &&
	       fs.f_type == CGROUP_SUPER_MAGIC;
}

static bool find_dir(const struct cgroup *g, const char *controller, char *ret, size_t size)
{
	return find_top(g, controller, ret, size) && cgroup_dir(g, controller, ret, size) == 0;
}

static int first_dir(const struct cgroup *g, char *ret, size_t size)
{
	for (size_t i = 0; cgroup1_hierarchies[i]; i++)
		if (find_dir(g, cgroup1_hierarchies[i], ret, size))
			return 0;
	return -ENOENT;
}

static bool has_text(const char *dir, const char *file)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	return cgroup_dir_read(dir, file, &b) == 0 && b.len && b.data[0] != '\n';
}

static int inherit(const char *dir, const char *file)
{
	char up[PATH_MAX];
	_cleanup_buf_ struct buf theirs = BUF_INIT;
	if (has_text(dir, file))
		return 0;
	int r = path_format(up, sizeof up, "%s/..", dir);
	if (r == 0)
		r = cgroup_dir_read(up, file, &theirs);
	return r < 0 || !theirs.len ? r : cgroup_dir_write(dir, file, theirs.data);
}

/* A cpuset is empty when it is made, and takes no process so; unless the hierarchy is mounted with
 * cpuset_v2_mode: then it has what its parent has, also what that gets later. */
static int made(const char *dir)
{
	char path[PATH_MAX];
	int r = path_format(path, sizeof path, "%s/cpuset.cpus", dir);
	if (r < 0 || access(path, F_OK) < 0) /* another controller's directory */
		return r;
	if (has_text(dir, "cpuset.effective_cpus") && has_text(dir, "cpuset.effective_mems"))
		return 0;
	r = inherit(dir, "cpuset.cpus");
	return r < 0 ? r : inherit(dir, "cpuset.mems");
}

static int refuse_used(const struct cgroup *g, const char *dir, struct err *e)
{
	_cleanup_free_ pid_t *list = NULL;
	size_t n = 0;
	int r = cgroup_tree_pids(dir, &list, &n);
	if (r < 0)
		return err_errno(e, r, "cgroup %s", dir);
	return n ? err_set(e, -EEXIST, "cgroup %s is in use", g->relative) : 0;
}

static int remove_group(const struct cgroup *g, uint64_t deadline_ms)
{
	char dir[PATH_MAX];
	int ret = 0;
	for (size_t i = 0; cgroup1_hierarchies[i]; i++) {
		if (!find_dir(g, cgroup1_hierarchies[i], dir, sizeof dir))
			continue;
		int r = cgroup_tree_remove(dir, deadline_ms);
		ret = ret < 0 ? ret : r;
	}
	return ret;
}

/* Looks first: what is in use is somebody else's, and stays as it is when the rest fails. */
static int make(const struct cgroup *g, struct err *e)
{
	char dir[PATH_MAX];
	int r = 0;
	for (size_t i = 0; r == 0 && cgroup1_hierarchies[i]; i++)
		if (find_dir(g, cgroup1_hierarchies[i], dir, sizeof dir) && access(dir, F_OK) == 0)
			r = refuse_used(g, dir, e);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && cgroup1_hierarchies[i]; i++)
		if (find_top(g, cgroup1_hierarchies[i], dir, sizeof dir))
			r = cgroup_tree_make(dir, g->relative, NULL, made, e);
	/* -EINVAL: a path that may lead anywhere */
	if (r < 0 && r != -EINVAL)
		(void)remove_group(g, 0);
	return r;
}

static int attach(const struct cgroup *g, pid_t pid, struct err *e)
{
	char dir[PATH_MAX], text[16];
	(void)snprintf(text, sizeof text, "%d", (int)pid);
	for (size_t i = 0; cgroup1_hierarchies[i]; i++) {
		if (!find_dir(g, cgroup1_hierarchies[i], dir, sizeof dir))
			continue;
		int r = cgroup_dir_write(dir, "cgroup.procs", text);
		if (r < 0)
			return err_errno(e, r, "put a process into cgroup %s", dir);
	}
	return 0;
}

static int pids(const struct cgroup *g, pid_t **ret, size_t *ret_n)
{
	char dir[PATH_MAX];
	int r = first_dir(g, dir, sizeof dir);
	return r < 0 ? r : cgroup_tree_pids(dir, ret, ret_n);
}

static bool is_frozen(const struct cgroup *g)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	return cgroup_read(g, "freezer.state", &b) == 0 && b.len &&
	       strncmp(b.data, "FROZEN", 6) == 0;
}

/* A task that forks while the others are being frozen is asked again by the next writing. The
 * kernel tells nobody of the change. */
static int freeze(const struct cgroup *g, int frozen, uint64_t deadline_ms)
{
	if (!frozen) {
		int r = cgroup_write(g, "freezer.state", "THAWED");
		return r == -ENOENT ? -EOPNOTSUPP : r;
	}
	for (long ms = 1;;) {
		int r = cgroup_write(g, "freezer.state", "FROZEN");
		if (r < 0)
			return r == -ENOENT ? -EOPNOTSUPP : r;
		if (is_frozen(g))
			return 0;
		if (time_left_ms(deadline_ms) == 0) {
			(void)cgroup_write(g, "freezer.state", "THAWED");
			return -ETIMEDOUT;
		}
		cgroup_pause(&ms);
	}
}

static int thaw(const char *dir, void *arg)
{
	(void)cgroup_dir_write(dir, "freezer.state", "THAWED");
	return 0;
}

/* Also groups that the container has made and frozen itself: what is frozen does not die. */
static void thaw_all(const struct cgroup *g)
{
	char dir[PATH_MAX];
	if (find_dir(g, "freezer", dir, sizeof dir))
		(void)cgroup_tree_walk(dir, thaw, NULL);
}

/* What is frozen cannot fork, and dies when it is thawed. Without a freezer, until none is left. */
static int kill_all(const struct cgroup *g, uint64_t deadline_ms)
{
	for (long ms = 1;;) {
		size_t n = 0;
		(void)cgroup_write(g, "freezer.state", "FROZEN");
		int r = cgroup_kill_once(g, &n);
		thaw_all(g);
		if (r < 0 || n == 0)
			return r;
		if (time_left_ms(deadline_ms) == 0)
			return -ETIMEDOUT;
		cgroup_pause(&ms);
	}
}

const struct cgroup_ops cgroup1_ops = {
	.make = make,
	.attach = attach,
	.pids = pids,
	.kill = kill_all,
	.freeze = freeze,
	.remove = remove_group,
};
