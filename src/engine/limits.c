/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Set from outside, because inside a user namespace nobody may raise anything, and as the last
 * thing before exec, because the setting up itself must not suffer.
 *
 * What the engine has no right to is not fatal: a limit is raised as far as it may be, and an OOM
 * score that may not be lowered stays. (An engine with CAP_SYS_RESOURCE has every right.)
 */
#include "engine/container.h"

#include "base/fd.h"
#include "oci/cpu-list.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static int set_rlimit(pid_t pid, const struct oci_rlimit *l, struct err *e)
{
	struct rlimit64 wanted = {.rlim_cur = l->soft, .rlim_max = l->hard}, old;
	if (prlimit64(pid, (enum __rlimit_resource)l->resource, &wanted, NULL) == 0)
		return 0;
	int r = -errno;
	if (r == -EPERM && prlimit64(pid, (enum __rlimit_resource)l->resource, NULL, &old) == 0) {
		if (wanted.rlim_max > old.rlim_max)
			wanted.rlim_max = old.rlim_max;
		if (wanted.rlim_cur > wanted.rlim_max)
			wanted.rlim_cur = wanted.rlim_max;
		if (prlimit64(pid, (enum __rlimit_resource)l->resource, &wanted, NULL) == 0)
			return 0;
	}
	return err_errno(e, r, "rlimit %d: soft %llu, hard %llu", l->resource,
			 (unsigned long long)l->soft, (unsigned long long)l->hard);
}

static bool own_score_is_lowered(void)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	return file_read(AT_FDCWD, "/proc/self/oom_score_adj", 64, &b) == 0 && b.len &&
	       b.data[0] == '-';
}

/* Without a value the container must not inherit the protection that the engine gave itself. */
static int set_oom_score(int proc_pid_fd, const struct oci_process *p, struct err *e)
{
	char text[16];
	if (!p->has_oom_score_adj && !own_score_is_lowered())
		return 0;
	int value = p->has_oom_score_adj ? p->oom_score_adj : 0;
	(void)snprintf(text, sizeof text, "%d", value);
	int r = file_write(proc_pid_fd, "oom_score_adj", text);
	if (r == -EACCES || r == -EPERM)
		return 0;
	return r < 0 ? err_errno(e, r, "oomScoreAdj %d", value) : 0;
}

#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_VALUE(class, level) ((class) << 13 | (level))

static int set_io_priority(pid_t pid, const struct oci_io_priority *p, struct err *e)
{
	if (!p->present)
		return 0;
	if (syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, IOPRIO_VALUE(p->class, p->level)) < 0)
		return err_errno(e, -errno, "ioPriority: class %d, level %d", p->class, p->level);
	return 0;
}

/* struct sched_attr of linux/sched/types.h, whose header clashes with sched.h. */
struct scheduler_attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static int set_scheduler(pid_t pid, const struct oci_scheduler *s, struct err *e)
{
	if (!s->present)
		return 0;
	struct scheduler_attr attr = {
		.size = sizeof attr,
		.policy = (uint32_t)s->policy,
		.flags = s->flags,
		.nice = s->nice,
		.priority = (uint32_t)s->priority,
		.runtime = s->runtime_ns,
		.deadline = s->deadline_ns,
		.period = s->period_ns,
	};
	if (syscall(SYS_sched_setattr, pid, &attr, 0) < 0)
		return err_errno(e, -errno, "scheduler: policy %d", s->policy);
	return 0;
}

/* The kernel takes what the cgroup allows of it, and refuses a set of which nothing is left. */
static int set_affinity(pid_t pid, const char *list)
{
	struct oci_cpu_set set;
	int r = oci_cpu_list_parse(list, &set);
	if (r == 0 && syscall(SYS_sched_setaffinity, pid, sizeof set, &set) < 0)
		r = -errno;
	return r;
}

void engine_affinity_begin(pid_t pid, const struct oci_cpu_affinity *a)
{
	if (a->initial)
		(void)set_affinity(pid, a->initial);
}

int engine_affinity_end(pid_t pid, const struct oci_cpu_affinity *a, struct err *e)
{
	struct oci_cpu_set all;

	if (a->final) {
		int r = set_affinity(pid, a->final);
		return r < 0 ? err_errno(e, r, "execCPUAffinity.final %s", a->final) : 0;
	}
	if (!a->initial)
		return 0;
	memset(&all, 0xff, sizeof all);
	return syscall(SYS_sched_setaffinity, pid, sizeof all, &all) < 0
		       ? err_errno(e, -errno, "execCPUAffinity")
		       : 0;
}

int engine_apply_limits(const struct engine_launch *l, const struct oci_process *p, struct err *e)
{
	for (size_t i = 0; i < p->n_rlimits; i++) {
		int r = set_rlimit(l->pid, &p->rlimits[i], e);
		if (r < 0)
			return r;
	}
	int r = set_oom_score(l->proc_fd, p, e);
	if (r == 0)
		r = set_io_priority(l->pid, &p->io_priority, e);
	return r == 0 ? set_scheduler(l->pid, &p->scheduler, e) : r;
}
