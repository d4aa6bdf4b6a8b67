/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/fd.h"
#include "sys/cgroup-tree.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>

/* One by one: a controller that cannot be passed on must not keep back the others. Whether a limit
 * can be set shows when it is set. */
static void enable_controllers(const char *dir)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	if (cgroup_dir_read(dir, "cgroup.controllers", &b) < 0 || !b.len)
		return;
	char *save = NULL;
	for (char *c = strtok_r(b.data, " \n", &save); c; c = strtok_r(NULL, " \n", &save)) {
		char word[64];
		if (path_format(word, sizeof word, "+%s", c) == 0)
			(void)cgroup_dir_write(dir, "cgroup.subtree_control", word);
	}
}

static int make(const struct cgroup *g, struct err *e)
{
	uint64_t populated = 0;
	int r = cgroup_tree_make(g->root, g->relative, enable_controllers, NULL, e);
	if (r < 0)
		return r;
	r = cgroup_read_key(g, "cgroup.events", "populated", &populated);
	if (r < 0)
		return err_errno(e, r, "cgroup %s", g->relative);
	return populated ? err_set(e, -EEXIST, "cgroup %s is in use", g->relative) : 0;
}

static int attach(const struct cgroup *g, pid_t pid, struct err *e)
{
	char text[16];
	(void)snprintf(text, sizeof text, "%d", (int)pid);
	int r = cgroup_write(g, "cgroup.procs", text);
	return r < 0 ? err_errno(e, r, "put a process into cgroup %s", g->relative) : 0;
}

static int pids(const struct cgroup *g, pid_t **ret, size_t *ret_n)
{
	char dir[PATH_MAX];
	int r = cgroup_dir(g, "", dir, sizeof dir);
	return r < 0 ? r : cgroup_tree_pids(dir, ret, ret_n);
}

/* Waits until a key of cgroup.events has a value; the file says by POLLPRI when it changes. */
static int wait_event(const struct cgroup *g, const char *key, uint64_t value, uint64_t deadline_ms)
{
	char path[PATH_MAX];
	int r = cgroup_path(g, "cgroup.events", path, sizeof path);
	if (r < 0)
		return r;
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (;;) {
		char drain[256];
		uint64_t now;
		(void)!pread(fd, drain, sizeof drain, 0);
		r = cgroup_read_key(g, "cgroup.events", key, &now);
		if (r < 0 || now == value)
			return r;
		int left = time_left_ms(deadline_ms);
		if (left == 0)
			return -ETIMEDOUT;
		struct pollfd p = {.fd = fd, .events = POLLPRI};
		(void)poll(&p, 1, left < 0 || left > 100 ? 100 : left);
	}
}

static int freeze(const struct cgroup *g, int frozen, uint64_t deadline_ms)
{
	int r = cgroup_write(g, "cgroup.freeze", frozen ? "1" : "0");
	if (r == 0)
		r = wait_event(g, "frozen", frozen ? 1 : 0, deadline_ms);
	if (r < 0 && frozen)
		(void)cgroup_write(g, "cgroup.freeze", "0");
	return r == -ENOENT ? -EOPNOTSUPP : r; /* before Linux 5.2 */
}

/* Before Linux 5.14: nothing that is frozen can fork, so one pass gets all; without a freezer
 * several do. */
static int kill_walking(const struct cgroup *g, uint64_t deadline_ms)
{
	size_t n = 0;
	long ms = 1;
	int r;
	do {
		(void)freeze(g, 1, deadline_ms);
		r = cgroup_kill_once(g, &n);
		(void)cgroup_write(g, "cgroup.freeze", "0");
		if (n)
			cgroup_pause(&ms);
	} while (r == 0 && n && time_left_ms(deadline_ms) != 0);
	return r;
}

static int kill_all(const struct cgroup *g, uint64_t deadline_ms)
{
	int r = cgroup_write(g, "cgroup.kill", "1");
	if (r == -ENOENT)
		r = kill_walking(g, deadline_ms);
	return r == 0 ? wait_event(g, "populated", 0, deadline_ms) : r;
}

static int remove_group(const struct cgroup *g, uint64_t deadline_ms)
{
	char dir[PATH_MAX];
	int r = cgroup_dir(g, "", dir, sizeof dir);
	return r < 0 ? r : cgroup_tree_remove(dir, deadline_ms);
}

const struct cgroup_ops cgroup2_ops = {
	.make = make,
	.attach = attach,
	.pids = pids,
	.kill = kill_all,
	.freeze = freeze,
	.remove = remove_group,
};
