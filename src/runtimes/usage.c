/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/usage.h"

#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#define PROCESSES_MAX 256 /* a pod has a VMM and a few helpers, each hook some more */
#define FILE_MAX (64u << 10)

static int read_proc(pid_t pid, const char *name, struct buf *ret)
{
	char path[64];
	(void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
	buf_clear(ret);
	int r = file_read(AT_FDCWD, path, FILE_MAX, ret);
	return r < 0 ? r : ret->data ? 0 : -ESRCH;
}

/* Fields 14, 15 and 20 of proc(5); the name, which may hold anything, ends at the last ")". */
static int add_stat(pid_t pid, struct usage *u)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	unsigned long long user, system;
	long threads, hz = sysconf(_SC_CLK_TCK);
	int r = read_proc(pid, "stat", &b);
	if (r < 0)
		return r;
	const char *after = strrchr(b.data, ')');
	if (!after || sscanf(after + 1,
			     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d "
			     "%*d %ld",
			     &user, &system, &threads) != 3)
		return -EPROTO;
	u->cpu_user_ns += user * (1000000000ull / (unsigned long long)hz);
	u->cpu_system_ns += system * (1000000000ull / (unsigned long long)hz);
	u->threads += (uint64_t)threads;
	return 0;
}

static void add_memory(pid_t pid, struct usage *u)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	unsigned long long kib;

	if (read_proc(pid, "smaps_rollup", &b) < 0)
		return;
	const char *pss = strstr(b.data, "\nPss:");
	if (pss && sscanf(pss + 5, "%llu", &kib) == 1)
		u->memory_bytes += kib * 1024;
}

struct queue {
	pid_t pid[PROCESSES_MAX];
	size_t n;
};

static void push_children(pid_t pid, const char *tid, struct queue *q)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	char name[64];

	(void)snprintf(name, sizeof name, "task/%.16s/children", tid);
	if (read_proc(pid, name, &b) < 0)
		return;
	for (char *p = b.data, *end; q->n < PROCESSES_MAX; p = end) {
		long child = strtol(p, &end, 10);
		if (end == p || child <= 0)
			return;
		q->pid[q->n++] = (pid_t)child;
	}
}

static void push_all_children(pid_t pid, struct queue *q)
{
	char path[64];
	(void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *dir = opendir(path);
	if (!dir)
		return;
	for (struct dirent *d; (d = readdir(dir));)
		if (d->d_name[0] != '.' && strlen(d->d_name) < 16)
			push_children(pid, d->d_name, q);
	(void)closedir(dir);
}

int usage_read(pid_t pid, struct usage *ret, struct err *e)
{
	struct queue q = {.pid = {pid}, .n = 1};
	struct usage u = {.threads = 0};

	for (size_t i = 0; i < q.n; i++) {
		int r = add_stat(q.pid[i], &u);
		if (r < 0 && i == 0)
			return err_errno(e, r == -ENOENT ? -ESRCH : r, "read /proc/%d/stat",
					 (int)pid);
		if (r < 0)
			continue;
		add_memory(q.pid[i], &u);
		push_all_children(q.pid[i], &q);
	}
	*ret = u;
	return 0;
}
