/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/cgroup.h"

#include "base/clock.h"
#include "base/fd.h"
#include "sys/cgroup-tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define FILE_MAX (4u << 20) /* cgroup.procs of a great many processes */
#define DEPTH_MAX 64
#define REMOVE_TIMEOUT_MS 2000

/* ---- Directories -------------------------------------------------------------------------- */

int cgroup_dir_write(const char *dir, const char *file, const char *value)
{
	char path[PATH_MAX];
	int r = path_format(path, sizeof path, "%s/%s", dir, file);
	return r < 0 ? r : file_write(AT_FDCWD, path, value);
}

int cgroup_dir_read(const char *dir, const char *file, struct buf *ret)
{
	char path[PATH_MAX];
	int r = path_format(path, sizeof path, "%s/%s", dir, file);
	return r < 0 ? r : file_read(AT_FDCWD, path, FILE_MAX, ret);
}

void cgroup_pause(long *ms)
{
	struct timespec ts = {.tv_nsec = *ms * 1000000L};
	(void)nanosleep(&ts, NULL);
	*ms = *ms < 25 ? *ms * 2 : 50;
}

static bool good_name(const char *name, size_t len)
{
	return len <= NAME_MAX && !(len == 1 && name[0] == '.') &&
	       !(len == 2 && name[0] == '.' && name[1] == '.');
}

int cgroup_tree_make(const char *top, const char *relative, void (*enter)(const char *dir),
		     int (*made)(const char *dir), struct err *e)
{
	char path[PATH_MAX];
	int r = path_format(path, sizeof path, "%s", top);
	for (const char *p = relative; r == 0;) {
		p += strspn(p, "/");
		size_t len = strcspn(p, "/"), before = strlen(path);
		if (len == 0)
			break;
		if (!good_name(p, len))
			return err_set(e, -EINVAL, "cgroup path %s is not clean", relative);
		if (enter)
			enter(path);
		r = path_format(path + before, sizeof path - before, "/%.*s", (int)len, p);
		if (r == 0 && mkdir(path, 0755) < 0 && errno != EEXIST)
			r = -errno;
		if (r == 0 && made)
			r = made(path);
		p += len;
	}
	if (r < 0)
		return err_errno(e, r, "make cgroup %s", path);
	return strlen(path) > strlen(top)
		       ? 0
		       : err_set(e, -EINVAL, "cgroup path \"%s\" is the root", relative);
}

typedef int walk_fn(const char *dir, void *arg);

static int walk(const char *dir, walk_fn *fn, void *arg, unsigned depth)
{
	if (depth > DEPTH_MAX)
		return -ELOOP;
	DIR *d = opendir(dir);
	if (!d)
		return -errno;
	int r = 0;
	for (struct dirent *entry; r == 0 && (entry = readdir(d));) {
		if (entry->d_type != DT_DIR || strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0)
			continue;
		char path[PATH_MAX];
		r = path_format(path, sizeof path, "%s/%s", dir, entry->d_name);
		if (r == 0)
			r = walk(path, fn, arg, depth + 1);
		if (r == -ENOENT) /* removed meanwhile */
			r = 0;
	}
	(void)closedir(d);
	return r < 0 ? r : fn(dir, arg);
}

int cgroup_tree_walk(const char *dir, walk_fn *fn, void *arg)
{
	return walk(dir, fn, arg, 0);
}

static int remove_one(const char *dir, void *arg)
{
	const uint64_t *deadline = arg;
	for (long ms = 1;;) {
		if (rmdir(dir) == 0 || errno == ENOENT)
			return 0;
		if (errno != EBUSY || time_left_ms(*deadline) == 0)
			return -errno;
		cgroup_pause(&ms); /* a process that has just ended still counts for a moment */
	}
}

int cgroup_tree_remove(const char *dir, uint64_t deadline_ms)
{
	int r = cgroup_tree_walk(dir, remove_one, &deadline_ms);
	return r == -ENOENT ? 0 : r;
}

struct pids {
	pid_t *v;
	size_t n, cap;
};

static int add_pid(struct pids *p, pid_t pid)
{
	if (p->n == p->cap) {
		size_t cap = p->cap ? p->cap * 2 : 64;
		pid_t *v = realloc(p->v, cap * sizeof *v);
		if (!v)
			return -ENOMEM;
		p->v = v;
		p->cap = cap;
	}
	p->v[p->n++] = pid;
	return 0;
}

static int collect_pids(const char *dir, void *arg)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int r = cgroup_dir_read(dir, "cgroup.procs", &b);
	if (r == -EOPNOTSUPP) /* a threaded cgroup: its processes are listed in its parent */
		return 0;
	if (r < 0)
		return r;
	char *save = NULL;
	for (char *l = b.len ? strtok_r(b.data, "\n", &save) : NULL; r == 0 && l;
	     l = strtok_r(NULL, "\n", &save)) {
		long pid = strtol(l, NULL, 10);
		if (pid > 0 && pid <= INT_MAX) /* 0: of a pid namespace that we do not see */
			r = add_pid(arg, (pid_t)pid);
	}
	return r;
}

int cgroup_tree_pids(const char *dir, pid_t **ret, size_t *ret_n)
{
	struct pids p = {.n = 0};
	int r = cgroup_tree_walk(dir, collect_pids, &p);
	if (r < 0) {
		free(p.v);
		return r;
	}
	*ret = p.v;
	*ret_n = p.n;
	return 0;
}

int cgroup_kill_once(const struct cgroup *g, size_t *ret_n)
{
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = 0;
	int r = cgroup_pids(g, &pids, &n);
	for (size_t i = 0; i < n; i++)
		if (kill(pids[i], SIGKILL) < 0 && errno != ESRCH && r == 0)
			r = -errno;
	if (ret_n)
		*ret_n = n;
	return r;
}

/* ---- Either version ----------------------------------------------------------------------- */

static const struct cgroup_ops *ops(const struct cgroup *g)
{
	return g->version == 1 ? &cgroup1_ops : &cgroup2_ops;
}

static bool is_mount_of(const char *dir, const char *name, long magic)
{
	char path[PATH_MAX];
	struct statfs fs;
	return path_format(path, sizeof path, "%s/%s", dir, name) == 0 && statfs(path, &fs) == 0 &&
	       (long)fs.f_type == magic;
}

int cgroup_version(const char *root)
{
	static const char *const some[] = {"memory", "cpu", "pids", "devices", "freezer"};
	if (is_mount_of(root, "", CGROUP2_SUPER_MAGIC))
		return 2;
	for (size_t i = 0; i < ARRAY_SIZE(some); i++)
		if (is_mount_of(root, some[i], CGROUP_SUPER_MAGIC))
			return 1;
	return -ENOENT;
}

void cgroup_free(struct cgroup *g)
{
	if (!g)
		return;
	free(g->root);
	free(g->relative);
	free(g);
}

struct cgroup *cgroup_dup(const struct cgroup *g)
{
	struct cgroup *copy = calloc(1, sizeof *copy);
	if (!copy)
		return NULL;
	*copy = (struct cgroup){
		.version = g->version, .root = strdup(g->root), .relative = strdup(g->relative)};
	if (copy->root && copy->relative)
		return copy;
	cgroup_free(copy);
	return NULL;
}

int cgroup_make(const char *root, const char *relative, struct cgroup **ret, struct err *e)
{
	const struct cgroup want = {.version = cgroup_version(root),
				    .root = (char *)root,
				    .relative = (char *)relative};
	if (want.version < 0)
		return err_errno(e, want.version, "control groups at %s", root);
	struct cgroup *g = cgroup_dup(&want);
	int r = g ? ops(g)->make(g, e) : err_errno(e, -ENOMEM, "cgroup %s", relative);
	if (r < 0) {
		cgroup_free(g);
		return r;
	}
	*ret = g;
	return 0;
}

int cgroup_dir(const struct cgroup *g, const char *controller, char *ret, size_t size)
{
	return g->version == 1 ? path_format(ret, size, "%s/%s%s", g->root, controller, g->relative)
			       : path_format(ret, size, "%s%s", g->root, g->relative);
}

int cgroup_path(const struct cgroup *g, const char *file, char *ret, size_t size)
{
	char controller[32];
	size_t n = strcspn(file, ".");
	if (n == 0 || !file[n] || strchr(file, '/'))
		return -EINVAL;
	int r = path_format(controller, sizeof controller, "%.*s", (int)n, file);
	if (r == 0)
		r = cgroup_dir(g, controller, ret, size);
	size_t used = r == 0 ? strlen(ret) : 0;
	return r == 0 ? path_format(ret + used, size - used, "/%s", file) : r;
}

int cgroup_write(const struct cgroup *g, const char *file, const char *value)
{
	char path[PATH_MAX];
	int r = cgroup_path(g, file, path, sizeof path);
	return r < 0 ? r : file_write(AT_FDCWD, path, value);
}

int cgroup_read(const struct cgroup *g, const char *file, struct buf *ret)
{
	char path[PATH_MAX];
	int r = cgroup_path(g, file, path, sizeof path);
	return r < 0 ? r : file_read(AT_FDCWD, path, FILE_MAX, ret);
}

int cgroup_read_number(const struct cgroup *g, const char *file, int64_t *ret)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int r = cgroup_read(g, file, &b);
	if (r < 0)
		return r;
	if (b.len && strncmp(b.data, "max", 3) == 0) {
		*ret = -1;
		return 0;
	}
	char *end = b.data;
	errno = 0;
	long long v = b.len ? strtoll(b.data, &end, 10) : 0;
	if (end == b.data)
		return -EBADMSG;
	*ret = errno == ERANGE ? -1 : v;
	return 0;
}

int cgroup_read_key(const struct cgroup *g, const char *file, const char *key, uint64_t *ret)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int r = cgroup_read(g, file, &b);
	if (r < 0)
		return r;
	size_t n = strlen(key);
	char *save = NULL;
	for (char *l = b.len ? strtok_r(b.data, "\n", &save) : NULL; l;
	     l = strtok_r(NULL, "\n", &save))
		if (strncmp(l, key, n) == 0 && l[n] == ' ') {
			char *end;
			errno = 0;
			*ret = strtoull(l + n + 1, &end, 10);
			return errno || *end ? -EBADMSG : 0;
		}
	return -ENOENT;
}

int cgroup_exists(const struct cgroup *g)
{
	char path[PATH_MAX];
	int r = g->version == 2 ? cgroup_dir(g, "", path, sizeof path) : -ENOENT;
	for (size_t i = 0; g->version == 1 && r == -ENOENT && cgroup1_hierarchies[i]; i++)
		if (cgroup_dir(g, cgroup1_hierarchies[i], path, sizeof path) == 0 &&
		    access(path, F_OK) == 0)
			r = 0;
	return r == 0 && access(path, F_OK) < 0 ? -errno : r;
}

int cgroup_attach(const struct cgroup *g, pid_t pid, struct err *e)
{
	return ops(g)->attach(g, pid, e);
}

int cgroup_pids(const struct cgroup *g, pid_t **ret, size_t *ret_n)
{
	return ops(g)->pids(g, ret, ret_n);
}

int cgroup_kill(const struct cgroup *g, uint64_t deadline_ms, struct err *e)
{
	int r = ops(g)->kill(g, deadline_ms);
	return r < 0 ? err_errno(e, r, "kill everything in cgroup %s", g->relative) : 0;
}

int cgroup_freeze(const struct cgroup *g, int frozen, uint64_t deadline_ms, struct err *e)
{
	int r = ops(g)->freeze(g, frozen, deadline_ms);
	return r < 0 ? err_errno(e, r, "%s cgroup %s", frozen ? "freeze" : "thaw", g->relative) : 0;
}

int cgroup_remove(const struct cgroup *g, struct err *e)
{
	int r = ops(g)->remove(g, time_deadline(REMOVE_TIMEOUT_MS));
	return r < 0 ? err_errno(e, r, "remove cgroup %s", g->relative) : 0;
}
