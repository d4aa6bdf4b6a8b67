/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collects children that nobody else does: processes whose parent ended, which the kernel gives to
 * the agent (as PID 1, or as their subreaper).
 *
 * Everybody's own children are collected by who started them: a container's processes by their
 * pidfd (process.c), a hook by the engine. So nothing here waits for "any" child, which would steal
 * from them. After a SIGCHLD, and only then, the zombies among our children are looked at, and
 * those that are still there at a second look are orphans.
 */
#include "guest/agent/agent.h"

#include "base/fd.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Longer than anybody takes to collect his own. */
#define SWEEP_MS 2000
/* Zombies looked at in one sweep; the others have their turn in the next. */
#define SWEEP_MAX 256

struct zombie {
	pid_t pid;
	unsigned long long start; /* jiffies since boot: a pid alone may be another process' */
};

static struct zombie seen[SWEEP_MAX];
static size_t n_seen;

/* Is this a zombie child of ours? Fields of /proc/PID/stat: proc(5). */
static bool is_our_zombie(const char *name, struct zombie *ret)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[300], state;
	int ppid;

	(void)snprintf(path, sizeof path, "/proc/%s/stat", name);
	if (file_read(AT_FDCWD, path, 4096, &text) < 0 || !text.data)
		return false;
	const char *at = strrchr(text.data, ')'); /* the name before it may hold anything */
	if (!at || sscanf(at + 1,
			  " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
			  "%*d %llu",
			  &state, &ppid, &ret->start) != 3)
		return false;
	ret->pid = (pid_t)atoi(name);
	return state == 'Z' && ppid == getpid();
}

static bool is_known(const struct agent *a, pid_t pid)
{
	struct list *l, *m;

	if (pid == engine_launcher_pid(a->engine))
		return true;
	list_for_each (l, &a->containers) {
		struct container *c = list_entry(l, struct container, link);
		list_for_each (m, &c->processes) {
			struct process *p = list_entry(m, struct process, link);
			if (p->pid == pid && !p->exited)
				return true;
		}
	}
	return false;
}

static bool was_seen(const struct zombie *z)
{
	for (size_t i = 0; i < n_seen; i++)
		if (seen[i].pid == z->pid && seen[i].start == z->start)
			return true;
	return false;
}

static void on_sweep(void *arg)
{
	struct agent *a = arg;
	struct zombie now[SWEEP_MAX], z;
	size_t n = 0;

	DIR *d = opendir("/proc");
	if (!d)
		return;
	for (struct dirent *de; n < SWEEP_MAX && (de = readdir(d));) {
		if (!isdigit((unsigned char)de->d_name[0]) || !is_our_zombie(de->d_name, &z) ||
		    is_known(a, z.pid))
			continue;
		if (a->jobs == 0 && was_seen(&z) && waitpid(z.pid, NULL, WNOHANG | __WALL) == z.pid)
			log_debug("collected orphan %d", (int)z.pid);
		else
			now[n++] = z;
	}
	(void)closedir(d);
	memcpy(seen, now, n * sizeof *now);
	n_seen = n;
	if (n > 0)
		loop_timer_start(a->sweep, SWEEP_MS);
}

static void on_sigchld(void *arg, int signum)
{
	struct agent *a = arg;
	loop_timer_start(a->sweep, SWEEP_MS);
}

static void on_launcher(void *arg, unsigned events)
{
	struct agent *a = arg;

	loop_io_free(a->launcher_io);
	a->launcher_io = NULL;
	log_error("the engine's launcher has ended: no further process can be started");
}

int reaper_start(struct agent *a)
{
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return -errno;
	int r = loop_timer_new(a->loop, on_sweep, a, &a->sweep);
	if (r == 0)
		r = loop_signal_new(a->loop, SIGCHLD, on_sigchld, a, &a->sigchld);
	if (r < 0)
		return r;
	a->launcher_fd = (int)syscall(SYS_pidfd_open, engine_launcher_pid(a->engine), 0);
	if (a->launcher_fd < 0)
		return -errno;
	return loop_io_new(a->loop, a->launcher_fd, LOOP_READ, on_launcher, a, &a->launcher_io);
}

void reaper_stop(struct agent *a)
{
	loop_io_free(a->launcher_io);
	loop_signal_free(a->sigchld);
	loop_timer_free(a->sweep);
	a->launcher_io = NULL;
	a->sigchld = NULL;
	a->sweep = NULL;
	a->launcher_fd = close_fd(a->launcher_fd);
}
