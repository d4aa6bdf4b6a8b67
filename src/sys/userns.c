/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/userns.h"

#include "base/fd.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Only system calls: it is a copy of a process that may have had other threads. */
static void hold(void) __attribute__((noreturn));

static void hold(void)
{
	(void)syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	for (;;)
		(void)syscall(SYS_pause);
}

static pid_t clone_holder(int *ret_pidfd)
{
	/* No signal at its end: whoever reaps everything does not meet it (wait(2), __WCLONE). */
	struct clone_args args = {
		.flags = CLONE_NEWUSER | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
		.pidfd = (uint64_t)(uintptr_t)ret_pidfd,
	};
	long pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0)
		hold();
	return pid < 0 ? -errno : (pid_t)pid;
}

static int open_mapped(pid_t pid, const char *uid_map, const char *gid_map, struct err *e)
{
	char path[32];
	(void)snprintf(path, sizeof path, "/proc/%d", (int)pid);
	_cleanup_close_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_errno(e, -errno, "open %s", path);
	int r = file_write(dir, "uid_map", uid_map);
	if (r < 0)
		return err_errno(e, r, "write uid_map");
	r = file_write(dir, "gid_map", gid_map);
	if (r < 0)
		return err_errno(e, r, "write gid_map");
	int fd = openat(dir, "ns/user", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_errno(e, -errno, "open a user namespace") : fd;
}

int userns_new(const char *uid_map, const char *gid_map, struct err *e)
{
	_cleanup_close_ int pidfd = -EBADF;
	pid_t pid = clone_holder(&pidfd);
	if (pid < 0)
		return err_errno(e, pid, "make a user namespace");
	int fd = open_mapped(pid, uid_map, gid_map, e);
	siginfo_t info;
	(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | __WALL) < 0 && errno == EINTR)
		;
	return fd;
}
