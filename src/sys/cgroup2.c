/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/cgroup2.h"

#include "base/clock.h"
#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MAX (4u << 20) /* cgroup.procs of a great many processes */
#define DEPTH_MAX 64

int cgroup2_write(const char *dir, const char *file, const char *value)
{
	char path[PATH_MAX];
	int r = path_format(path, sizeof path, "%s/%s", dir, file);
	return r < 0 ? r : file_write(AT_FDCWD, path, value);
}

int cgroup2_read(const char *dir, const char *file, struct buf *ret)
{
	char path[PATH_MAX];
	int r = path_format(path, sizeof path, "%s/%s", dir, file);
	return r < 0 ? r : file_read(AT_FDCWD, path, FILE_MAX, ret);
}

int cgroup2_read_key(const char *dir, const char *file, const char *key, uint64_t *ret)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int r = cgroup2_read(dir, file, &b);
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

/* One by one: a controller that cannot be passed on must not keep back the others. Whether a limit
 * can be set shows when it is set. */
static void enable_controllers(const char *dir)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	if (cgroup2_read(dir, "cgroup.controllers", &b) < 0 || !b.len)
		return;
	char *save = NULL;
	for (char *c = strtok_r(b.data, " \n", &save); c; c = strtok_r(NULL, " \n", &save)) {
		char word[64];
		if (path_format(word, sizeof word, "+%s", c) == 0)
			(void)cgroup2_write(dir, "cgroup.subtree_control", word);
	}
}

static bool good_name(const char *name, size_t len)
{
	return len <= NAME_MAX && !(len == 1 && name[0] == '.') &&
	       !(len == 2 && name[0] == '.' && name[1] == '.');
}

int cgroup2_make(const char *root, const char *relative, char **ret, struct err *e)
{
	char path[PATH_MAX];
	int r = path_format(path, sizeof path, "%s", root);
	for (const char *p = relative; r == 0;) {
		p += strspn(p, "/");
		size_t len = strcspn(p, "/"), before = strlen(path);
		if (len == 0)
			break;
		if (!good_name(p, len))
			return err_set(e, -EINVAL, "cgroup path %s is not clean", relative);
		enable_controllers(path);
		r = path_format(path + before, sizeof path - before, "/%.*s", (int)len, p);
		if (r == 0 && mkdir(path, 0755) < 0 && errno != EEXIST)
			r = -errno;
		p += len;
	}
	if (r < 0)
		return err_errno(e, r, "make cgroup %s", path);
	if (strlen(path) <= strlen(root))
		return err_set(e, -EINVAL, "cgroup path \"%s\" is the root", relative);
	uint64_t populated = 0;
	r = cgroup2_read_key(path, "cgroup.events", "populated", &populated);
	if (r < 0)
		return err_errno(e, r, "cgroup %s", path);
	if (populated)
		return err_set(e, -EEXIST, "cgroup %s is in use", path);
	*ret = strdup(path);
	return *ret ? 0 : err_errno(e, -ENOMEM, "cgroup %s", path);
}

/* Calls @fn for every cgroup below @dir, the deepest first, then for @dir. */
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

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_nsec = ms * 1000000L};
	(void)nanosleep(&ts, NULL);
}

static int remove_one(const char *dir, void *arg)
{
	const uint64_t *deadline = arg;
	for (long ms = 1;; ms = ms < 50 ? ms * 2 : ms) {
		if (rmdir(dir) == 0 || errno == ENOENT)
			return 0;
		if (errno != EBUSY || time_left_ms(*deadline) == 0)
			return -errno;
		pause_ms(ms); /* a process that has just ended still counts for a moment */
	}
}

int cgroup2_remove(const char *dir, struct err *e)
{
	uint64_t deadline = time_deadline(2000);
	int r = walk(dir, remove_one, &deadline, 0);
	return r < 0 && r != -ENOENT ? err_errno(e, r, "remove cgroup %s", dir) : 0;
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
	int r = cgroup2_read(dir, "cgroup.procs", &b);
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

int cgroup2_pids(const char *dir, pid_t **ret, size_t *ret_n)
{
	struct pids p = {.n = 0};
	int r = walk(dir, collect_pids, &p, 0);
	if (r < 0) {
		free(p.v);
		return r;
	}
	*ret = p.v;
	*ret_n = p.n;
	return 0;
}

/* Waits until a key of cgroup.events has a value; the file says by POLLPRI when it changes. */
static int wait_event(const char *dir, const char *key, uint64_t value, uint64_t deadline_ms)
{
	char path[PATH_MAX];
	int r = path_format(path, sizeof path, "%s/cgroup.events", dir);
	if (r < 0)
		return r;
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (;;) {
		char drain[256];
		uint64_t now;
		(void)!pread(fd, drain, sizeof drain, 0);
		r = cgroup2_read_key(dir, "cgroup.events", key, &now);
		if (r < 0 || now == value)
			return r;
		int left = time_left_ms(deadline_ms);
		if (left == 0)
			return -ETIMEDOUT;
		struct pollfd p = {.fd = fd, .events = POLLPRI};
		(void)poll(&p, 1, left < 0 || left > 100 ? 100 : left);
	}
}

int cgroup2_freeze(const char *dir, int frozen, uint64_t deadline_ms, struct err *e)
{
	int r = cgroup2_write(dir, "cgroup.freeze", frozen ? "1" : "0");
	if (r == 0)
		r = wait_event(dir, "frozen", frozen ? 1 : 0, deadline_ms);
	if (r < 0 && frozen)
		(void)cgroup2_write(dir, "cgroup.freeze", "0");
	return r < 0 ? err_errno(e, r, "%s cgroup %s", frozen ? "freeze" : "thaw", dir) : 0;
}

/* Before Linux 5.14: nothing that is frozen can fork, so one pass gets all. */
static int kill_frozen(const char *dir)
{
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = 0;
	(void)cgroup2_write(dir, "cgroup.freeze", "1");
	int r = cgroup2_pids(dir, &pids, &n);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (kill(pids[i], SIGKILL) < 0 && errno != ESRCH)
			r = -errno;
	(void)cgroup2_write(dir, "cgroup.freeze", "0");
	return r;
}

int cgroup2_kill(const char *dir, uint64_t deadline_ms, struct err *e)
{
	int r = cgroup2_write(dir, "cgroup.kill", "1");
	if (r == -ENOENT)
		r = kill_frozen(dir);
	if (r == 0)
		r = wait_event(dir, "populated", 0, deadline_ms);
	return r < 0 ? err_errno(e, r, "kill everything in cgroup %s", dir) : 0;
}
