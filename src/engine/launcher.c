/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/launcher.h"

#include "base/buf.h"
#include "base/fd.h"
#include "engine/child.h"
#include "engine/job.h"
#include "engine/wire.h"
#include "sys/scm.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

struct request {
	struct launch_request head;
	int fds[LAUNCH_FDS_MAX];
	size_t n_fds;
	void *shared; /* the memfd */
	size_t shared_len;
	int proc_fd; /* the launcher's */
};

static struct engine_report *report_of(const struct request *q)
{
	return q->shared;
}

static int conn_of(const struct request *q)
{
	return q->fds[0];
}

static void request_close(struct request *q)
{
	for (size_t i = 0; i < q->n_fds; i++)
		(void)close(q->fds[i]);
	if (q->shared)
		(void)munmap(q->shared, q->shared_len);
}

static int request_check(struct request *q, ssize_t len)
{
	const struct launch_request *h = &q->head;
	if (len != sizeof *h || h->n_join > ENGINE_NAMESPACES || h->has_cgroup > 1 ||
	    q->n_fds != LAUNCH_FDS_MIN + h->has_cgroup + h->n_join || h->job_len > ENGINE_JOB_MAX)
		return -EBADMSG;

	struct stat st;
	q->shared_len = ENGINE_REPORT_SIZE + (size_t)h->job_len;
	if (fstat(q->fds[1], &st) < 0 || st.st_size < 0 || (size_t)st.st_size != q->shared_len)
		return -EBADMSG;
	void *p = mmap(NULL, q->shared_len, PROT_READ | PROT_WRITE, MAP_SHARED, q->fds[1], 0);
	if (p == MAP_FAILED)
		return -errno;
	q->shared = p;
	return 0;
}

static void report(const struct request *q, int r, const char *what)
{
	struct err e = ERR_INIT;
	err_errno(&e, r, "%s", what);
	engine_report_set(report_of(q), &e, r);
}

/* Tells the engine of a new process, by a pidfd that cannot be mistaken. */
static void announce(const struct request *q, uint32_t type, pid_t pid, int pidfd)
{
	struct engine_msg m = {.type = type, .pid = pid};
	/* If it is not there any more, its end of the socket is closed, and the child sees that. */
	(void)scm_send(conn_of(q), &m, sizeof m, &pidfd, 1);
	(void)close(pidfd);
}

static pid_t clone_process(uint64_t flags, int cgroup_fd, int *ret_pidfd)
{
	struct clone_args args = {
		/* The new process is the engine's child. Its end is told by the signal that the
		 * launcher's own end would be told by, SIGCHLD. */
		.flags = flags | CLONE_PARENT | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
		.pidfd = (uint64_t)(uintptr_t)ret_pidfd,
	};
	if (cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup_fd;
	}
	long pid = syscall(SYS_clone3, &args, sizeof args);
	return pid < 0 ? -errno : (pid_t)pid;
}

static void become_child(const struct request *q) __attribute__((noreturn));

static void become_child(const struct request *q)
{
	struct engine_child c = {
		.conn = conn_of(q),
		.stdio = {q->fds[2], q->fds[3], q->fds[4]},
		.proc_fd = q->proc_fd,
		.trees = ENGINE_TREES_INIT,
		.report = report_of(q),
		.job_data = (const char *)q->shared + ENGINE_REPORT_SIZE,
		.job_len = (size_t)q->head.job_len,
	};
	engine_child_run(&c);
}

/* A new cgroup namespace is rooted where the cloning process is, so the child makes it, once it is
 * in its cgroup. A time namespace must have its offsets before somebody is in it. */
static uint64_t clone_flags(const struct request *q)
{
	return q->head.clone_flags & ~(uint64_t)(CLONE_NEWCGROUP | CLONE_NEWTIME);
}

static void clone_child(const struct request *q, int cgroup_fd)
{
	int pidfd = -EBADF;
	pid_t pid = clone_process(clone_flags(q), cgroup_fd, &pidfd);
	if (pid == 0)
		become_child(q);
	if (pid < 0)
		report(q, pid, "clone the container's process");
	else
		announce(q, ENGINE_MSG_PID, pid, pidfd);
}

/*
 * Namespaces may belong to the user namespace that is joined with them, or to the one that we are
 * in. So what our own rights suffice for comes first, then the user namespace (which stands first
 * in the list), then the rest.
 */
static int join_all(const struct request *q)
{
	const int *ns = q->fds + LAUNCH_FDS_MIN + q->head.has_cgroup;
	uint64_t done = 0;
	for (int own = 1; own >= 0; own--)
		for (uint32_t i = 0; i < q->head.n_join; i++) {
			uint64_t flags = q->head.join_flags[i];
			if (done & 1u << i || (own && flags & CLONE_NEWUSER))
				continue;
			if (setns(ns[i], (int)flags) == 0)
				done |= 1u << i;
			else if (!own || errno != EPERM)
				return -errno;
		}
	return 0;
}

static void print_offset(struct buf *b, const char *clock, const struct launch_offset *o)
{
	if (o->present)
		buf_printf(b, "%s %lld %u\n", clock, (long long)o->secs, o->nanosecs);
}

/* The children's, not our own: they are born into it. */
static int make_time_namespace(const struct request *q)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	print_offset(&b, "monotonic", &q->head.monotonic);
	print_offset(&b, "boottime", &q->head.boottime);
	if (buf_failed(&b))
		return -ENOMEM;
	if (unshare(CLONE_NEWTIME) < 0)
		return -errno;
	return b.len ? file_write(q->proc_fd, "self/timens_offsets", b.data) : 0;
}

/* The helper: joins what exists already, makes the process in there, and ends. */
static void join_and_clone(const struct request *q) __attribute__((noreturn));

static void join_and_clone(const struct request *q)
{
	int r = join_all(q);
	if (r < 0)
		report(q, r, "enter the container's namespaces");
	if (r == 0 && q->head.clone_flags & CLONE_NEWTIME) {
		r = make_time_namespace(q);
		if (r < 0)
			report(q, r, "make a time namespace with the spec's timeOffsets");
	}
	if (r < 0)
		_exit(1);
	clone_child(q, -EBADF); /* the helper is in the cgroup already */
	_exit(0);
}

static void serve(struct request *q)
{
	int cgroup_fd = q->head.has_cgroup ? q->fds[LAUNCH_FDS_MIN] : -EBADF;
	if (!q->head.n_join && !(q->head.clone_flags & CLONE_NEWTIME)) {
		clone_child(q, cgroup_fd);
		return;
	}
	int pidfd = -EBADF;
	pid_t pid = clone_process(0, cgroup_fd, &pidfd);
	if (pid == 0)
		join_and_clone(q);
	if (pid < 0)
		report(q, pid, "clone the helper");
	else
		announce(q, ENGINE_MSG_HELPER, pid, pidfd);
}

/* Returns a descriptor of /proc: taken here, where no container's mounts are yet. */
static int settle(int *sock)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t none;
	for (int i = 1; i < NSIG; i++)
		(void)sigaction(i, &dfl, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);

	(void)prctl(PR_SET_NAME, "engine-launcher", 0, 0, 0);
	/* A process of a container that meets one of ours before its exec must not look inside. */
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	(void)setsid();
	/* A user namespace may forbid its processes to drop them. */
	(void)setgroups(0, NULL);
	if (chdir("/") < 0)
		_exit(1);

	/* Keep nothing of the engine's but the socket. */
	if (*sock != 3) {
		if (dup3(*sock, 3, O_CLOEXEC) < 0)
			_exit(1);
		*sock = 3;
	}
	(void)syscall(SYS_close_range, 4, ~0U, 0);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 3; i++)
		if (null < 0 || dup2(null, i) < 0)
			_exit(1);
	(void)close(null);
	return open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

void engine_launcher_run(int sock)
{
	int proc_fd = settle(&sock);
	for (;;) {
		struct request q = {.n_fds = LAUNCH_FDS_MAX, .proc_fd = proc_fd};
		ssize_t n = scm_recv(sock, &q.head, sizeof q.head, q.fds, &q.n_fds, -1);
		if (n == 0 || (n < 0 && n != -EBADMSG && n != -EMFILE && n != -ENFILE))
			_exit(0);
		/* A request that is not understood is dropped: the engine sees the socket close. */
		if (n > 0 && request_check(&q, n) == 0)
			serve(&q);
		request_close(&q);
	}
}
