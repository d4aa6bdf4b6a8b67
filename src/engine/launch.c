/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/launch.h"

#include "base/clock.h"
#include "base/fd.h"
#include "engine/trees.h"
#include "sys/scm.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static const char *stage_name(uint32_t stage)
{
	static const char *const names[] = {
		[ENGINE_STAGE_LAUNCH] = "it was launched",
		[ENGINE_STAGE_NAMESPACES] = "namespaces were made",
		[ENGINE_STAGE_ROOTFS] = "the rootfs was opened",
		[ENGINE_STAGE_MOUNTS] = "mounts were made",
		[ENGINE_STAGE_DEVICES] = "devices were made",
		[ENGINE_STAGE_TERMINAL] = "the terminal was made",
		[ENGINE_STAGE_HOOKS] = "hooks ran",
		[ENGINE_STAGE_PIVOT] = "the root was changed",
		[ENGINE_STAGE_KERNEL] = "kernel settings were made",
		[ENGINE_STAGE_CREDENTIALS] = "credentials were set",
		[ENGINE_STAGE_PROGRAM] = "the program was looked up",
		[ENGINE_STAGE_WAIT] = "it waited to be started",
		[ENGINE_STAGE_EXEC] = "it was executed",
	};
	return stage < ARRAY_SIZE(names) ? names[stage] : "it was set up";
}

static int make_shared(struct engine_launch *l, const struct engine_job *job, int *ret_fd,
		       uint64_t *ret_job_len, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int r = engine_job_encode(job, &b);
	if (r < 0)
		return err_errno(e, r, "encode the process of container %s", job->id);

	_cleanup_close_ int fd = memfd_create("job", MFD_CLOEXEC);
	l->shared_len = ENGINE_REPORT_SIZE + b.len;
	if (fd < 0 || ftruncate(fd, (off_t)l->shared_len) < 0)
		return err_errno(e, -errno, "memory for a process of container %s", job->id);
	char *p = mmap(NULL, l->shared_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return err_errno(e, -errno, "map a process of container %s", job->id);
	l->report = (struct engine_report *)(void *)p;
	memcpy(p + ENGINE_REPORT_SIZE, b.data, b.len);
	*ret_fd = TAKE_FD(fd);
	*ret_job_len = b.len;
	return 0;
}

static int send_request(int sock, const struct launch_request *request, int conn, int memfd,
			const struct engine_stdio *io, int cgroup_fd,
			const struct engine_namespaces *ns, struct err *e)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return err_errno(e, -errno, "open /dev/null");
	int fds[LAUNCH_FDS_MAX] = {conn, memfd, null, null, null};
	size_t n = LAUNCH_FDS_MIN;
	if (!io->terminal) {
		fds[2] = io->in >= 0 ? io->in : null;
		fds[3] = io->out >= 0 ? io->out : null;
		fds[4] = io->errout >= 0 ? io->errout : null;
	}
	if (cgroup_fd >= 0)
		fds[n++] = cgroup_fd;
	for (size_t i = 0; i < ns->n_joined; i++)
		fds[n++] = ns->joined[i].fd;
	int r = scm_send(sock, request, sizeof *request, fds, n);
	return r < 0 ? err_errno(e, r, "reach the launcher") : 0;
}

static struct launch_offset offset(const struct oci_time_offset *t)
{
	return (struct launch_offset){
		.present = t->present, .secs = t->secs, .nanosecs = t->nanosecs};
}

int engine_launch_begin(int sock, const struct engine_job *job, const struct engine_stdio *io,
			int cgroup_fd, const struct engine_namespaces *ns,
			struct engine_launch *ret, struct err *e)
{
	*ret = ENGINE_LAUNCH_INIT;
	struct launch_request request = {
		.clone_flags = ns->create,
		.n_join = (uint32_t)ns->n_joined,
		.has_cgroup = cgroup_fd >= 0,
	};
	for (size_t i = 0; i < ns->n_joined; i++)
		request.join_flags[i] = ns->joined[i].flag;
	request.monotonic = offset(&job->spec.monotonic);
	request.boottime = offset(&job->spec.boottime);

	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, -errno, "make a socket pair");
	_cleanup_close_ int theirs = pair[1];
	_cleanup_close_ int memfd = -EBADF;
	ret->conn = pair[0];
	int r = make_shared(ret, job, &memfd, &request.job_len, e);
	if (r == 0)
		r = send_request(sock, &request, theirs, memfd, io, cgroup_fd, ns, e);
	if (r < 0)
		engine_launch_abort(ret);
	return r;
}

/* The child's account of its failure. What it wrote is not trusted to be a string. */
static int failure(const struct engine_launch *l, struct err *e)
{
	struct engine_report copy = *l->report;
	copy.text[sizeof copy.text - 1] = '\0';
	if (copy.errnum <= 0 || copy.errnum > 4095)
		return err_set(e, -ESRCH, "the container's process ended while %s",
			       stage_name(copy.stage));
	int r = err_set(e, -copy.errnum, "%s", copy.text);
	if (e && copy.status > 0)
		e->status = copy.status;
	return r;
}

/* The directory is bound to this very process; it was the right one if the process is still there
 * afterwards, as its pid cannot have been given away then. */
static int adopt(struct engine_launch *l, pid_t pid, int pidfd, struct err *e)
{
	char path[32];
	l->pid = pid;
	l->pidfd = pidfd;
	(void)snprintf(path, sizeof path, "/proc/%d", (int)pid);
	l->proc_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = l->proc_fd < 0 ? -errno : 0;
	if (syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0)
		return failure(l, e);
	return r < 0 ? err_errno(e, r, "open %s", path) : 0;
}

static int take(struct engine_launch *l, const struct engine_msg *m, int fd, struct err *e)
{
	switch ((enum engine_msg_type)m->type) {
	case ENGINE_MSG_HELPER:
		if (fd < 0)
			break;
		engine_reap(fd);
		(void)close(fd);
		return 0;
	case ENGINE_MSG_PID:
		if (fd < 0 || l->pidfd >= 0)
			break;
		return adopt(l, m->pid, fd, e);
	case ENGINE_MSG_PTY:
		if (fd < 0 || l->pty >= 0)
			break;
		l->pty = fd;
		return 0;
	case ENGINE_MSG_MOUNTED:
	case ENGINE_MSG_READY:
		if (fd >= 0)
			break;
		return 0;
	case ENGINE_MSG_FILESYSTEM: {
		if (fd < 0)
			break;
		int r = engine_trees_answer(l, fd, e);
		(void)close(fd);
		return r;
	}
	case ENGINE_MSG_GO:
	case ENGINE_MSG_TREE:
		break;
	}
	(void)close_fd(fd);
	return err_set(e, -EBADMSG, "unexpected message %u of the container's process", m->type);
}

int engine_launch_wait(struct engine_launch *l, enum engine_msg_type type, uint64_t deadline_ms,
		       struct err *e)
{
	for (;;) {
		struct engine_msg m;
		int fd = -EBADF;
		size_t n_fds = 1;
		ssize_t n = scm_recv(l->conn, &m, sizeof m, &fd, &n_fds, time_left_ms(deadline_ms));
		if (n == -EINTR)
			continue;
		if (n == -EAGAIN)
			return err_set(e, -ETIMEDOUT,
				       "the container's process did not come far: %s",
				       stage_name(l->report->stage));
		if (n == 0 || n == -ECONNRESET)
			return failure(l, e);
		if (n != sizeof m) {
			(void)close_fd(n_fds ? fd : -EBADF);
			return err_set(e, -EBADMSG, "garbled message of the container's process");
		}
		int r = take(l, &m, n_fds ? fd : -EBADF, e);
		if (r < 0)
			return r;
		if (m.type == type)
			return 0;
	}
}

int engine_launch_go(struct engine_launch *l, struct err *e)
{
	struct engine_msg m = {.type = ENGINE_MSG_GO, .pid = l->pid};
	int r = scm_send(l->conn, &m, sizeof m, NULL, 0);
	if (r == -EPIPE || r == -ECONNRESET)
		return failure(l, e);
	return r < 0 ? err_errno(e, r, "release the container's process") : 0;
}

/* The child may be unable to make any call, so its word in memory is looked at, for the moment
 * that the filter takes; its end is seen at once. */
int engine_launch_listener(struct engine_launch *l, int pidfd, uint64_t deadline_ms, struct err *e)
{
	uint32_t theirs;

	while (!(theirs = atomic_load(&l->report->listener))) {
		struct pollfd p = {.fd = l->conn, .events = POLLIN};
		if (poll(&p, 1, 1) > 0)
			return failure(l, e);
		if (time_left_ms(deadline_ms) == 0)
			return err_set(e, -ETIMEDOUT,
				       "the container's process did not come far: %s",
				       stage_name(l->report->stage));
	}
	int fd = (int)syscall(SYS_pidfd_getfd, pidfd, (int)theirs - 1, 0);
	return fd < 0 ? err_errno(e, -errno, "take the seccomp listener of the process") : fd;
}

void engine_launch_listener_handed(struct engine_launch *l)
{
	atomic_store(&l->report->listener_handed, 1);
}

int engine_launch_finish(struct engine_launch *l, uint64_t deadline_ms, struct err *e)
{
	/* Nothing is expected but the end of file, which is what "failure" is made of. */
	int r = engine_launch_wait(l, ENGINE_MSG_GO, deadline_ms, e);
	if (r == -ETIMEDOUT || r == -EBADMSG)
		return r;
	if (l->report->stage == ENGINE_STAGE_EXEC && l->report->errnum == 0) {
		if (e)
			*e = ERR_INIT;
		return 0;
	}
	return r;
}

void engine_launch_close(struct engine_launch *l)
{
	l->conn = close_fd(l->conn);
	l->proc_fd = close_fd(l->proc_fd);
	if (l->report)
		(void)munmap(l->report, l->shared_len);
	l->report = NULL;
}

void engine_launch_abort(struct engine_launch *l)
{
	if (l->pidfd >= 0) {
		(void)syscall(SYS_pidfd_send_signal, l->pidfd, SIGKILL, NULL, 0);
		engine_reap(l->pidfd);
	}
	l->pidfd = close_fd(l->pidfd);
	l->pty = close_fd(l->pty);
	engine_launch_close(l);
}

void engine_reap(int pidfd)
{
	siginfo_t info;
	while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED) < 0 && errno == EINTR)
		;
}
