/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork(2), not posix_spawn(3): the child must set a parent-death signal and may enter a network
 * namespace. Between fork and exec only async-signal-safe calls are made, because other threads
 * may hold any lock. An exec failure comes back through a close-on-exec pipe.
 */
#include "io/child.h"

#include "base/clock.h"
#include "base/fd.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum stage { STAGE_SETUP, STAGE_NETNS, STAGE_CWD, STAGE_EXEC };

struct failure {
	enum stage stage;
	int errnum;
};

#define FDS_MAX 32

static const char *program(const struct child_spec *spec)
{
	return spec->path ? spec->path : spec->argv[0];
}

static _Noreturn void child_fail(int report, enum stage stage)
{
	struct failure f = {.stage = stage, .errnum = errno};
	ssize_t n = write(report, &f, sizeof f);
	(void)n;
	_exit(127);
}

/* Descriptors are first moved above every target number, then put in place: no order of targets
 * can overwrite a source that is still needed. */
static void place_fds(const struct child_spec *spec, int null_fd, int *report)
{
	int lowest = 3 + FDS_MAX + 1, moved[FDS_MAX + 3], target[FDS_MAX + 3];
	int n = 0;

	for (size_t i = 0; i < spec->n_fds; i++)
		if (spec->fds[i].as >= lowest)
			lowest = spec->fds[i].as + 1;

	int moved_report = fcntl(*report, F_DUPFD_CLOEXEC, lowest);
	if (moved_report < 0)
		child_fail(*report, STAGE_SETUP);
	*report = moved_report;

	const int stdio[3] = {spec->in, spec->out, spec->errout};
	for (int i = 0; i < 3; i++, n++) {
		moved[n] = fcntl(stdio[i] >= 0 ? stdio[i] : null_fd, F_DUPFD_CLOEXEC, lowest);
		target[n] = i;
	}
	for (size_t i = 0; i < spec->n_fds; i++, n++) {
		moved[n] = fcntl(spec->fds[i].fd, F_DUPFD_CLOEXEC, lowest);
		target[n] = spec->fds[i].as;
	}
	for (int i = 0; i < n; i++)
		if (moved[i] < 0 || dup2(moved[i], target[i]) < 0)
			child_fail(*report, STAGE_SETUP);
}

static _Noreturn void child_main(const struct child_spec *spec, int null_fd, int report,
				 pid_t parent)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		(void)sigaction(s, &dfl, NULL);
	if (spec->ignore_sigterm)
		(void)signal(SIGTERM, SIG_IGN); /* exec keeps what is ignored */
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);

	if (!spec->outlive) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
			child_fail(report, STAGE_SETUP);
		if (getppid() != parent) /* died before the signal was set */
			_exit(127);
	}
	/* Also what we inherited ourselves: the header promises exactly the given ones. */
	if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0 && errno != ENOSYS)
		child_fail(report, STAGE_SETUP);
	if (spec->new_session)
		(void)setsid();
	if (spec->netns_fd >= 0 && setns(spec->netns_fd, CLONE_NEWNET) < 0)
		child_fail(report, STAGE_NETNS);
	if (spec->cwd && chdir(spec->cwd) < 0)
		child_fail(report, STAGE_CWD);
	place_fds(spec, null_fd, &report);
	if (spec->terminal && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
		child_fail(report, STAGE_SETUP);
	if (spec->envp)
		execvpe(program(spec), (char *const *)spec->argv, (char *const *)spec->envp);
	else
		execvp(program(spec), (char *const *)spec->argv);
	child_fail(report, STAGE_EXEC);
}

static int report_failure(const struct child_spec *spec, const struct failure *f, struct err *e)
{
	switch (f->stage) {
	case STAGE_NETNS:
		return err_errno(e, -f->errnum, "enter the network namespace for %s",
				 program(spec));
	case STAGE_CWD:
		return err_errno(e, -f->errnum, "change to directory %s for %s", spec->cwd,
				 program(spec));
	case STAGE_EXEC:
		return err_errno(e, -f->errnum, "run %s", program(spec));
	case STAGE_SETUP:
		break;
	}
	return err_errno(e, -f->errnum, "prepare to run %s", program(spec));
}

int child_spawn(const struct child_spec *spec, struct child *ret, struct err *e)
{
	if (spec->n_fds > FDS_MAX)
		return err_set(e, -E2BIG, "run %s: more than %d descriptors", program(spec),
			       FDS_MAX);

	int report[2];
	_cleanup_close_ int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0)
		return err_errno(e, -errno, "open /dev/null");
	if (pipe2(report, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "make a pipe");

	pid_t parent = getpid();
	/* Signals stay blocked across fork, so that no handler of ours runs in the child. */
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid_t pid = fork();
	if (pid == 0)
		child_main(spec, null_fd, report[1], parent);
	int fork_errno = errno;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)close(report[1]);
	if (pid < 0) {
		(void)close(report[0]);
		return err_errno(e, -fork_errno, "fork for %s", program(spec));
	}

	struct child c = {.pid = pid, .pidfd = (int)syscall(SYS_pidfd_open, pid, 0)};
	int pidfd_errno = errno;
	struct failure f;
	ssize_t n;
	do
		n = read(report[0], &f, sizeof f);
	while (n < 0 && errno == EINTR);
	(void)close(report[0]);
	if (c.pidfd < 0) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		return err_errno(e, -pidfd_errno, "open a pidfd for %s", program(spec));
	}
	if (n == sizeof f) {
		child_destroy(&c);
		return report_failure(spec, &f, e);
	}
	*ret = c;
	return 0;
}

int child_kill(const struct child *c, int signum)
{
	if (c->pidfd < 0)
		return -ESRCH;
	return syscall(SYS_pidfd_send_signal, c->pidfd, signum, NULL, 0) < 0 ? -errno : 0;
}

int child_wait(struct child *c, uint64_t deadline_ms, int *ret_status)
{
	if (c->pidfd < 0)
		return -ECHILD;

	struct pollfd pfd = {.fd = c->pidfd, .events = POLLIN};
	int r;
	do
		r = poll(&pfd, 1, time_left_ms(deadline_ms));
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	if (r == 0)
		return -ETIMEDOUT;

	siginfo_t info = {.si_pid = 0};
	if (waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED) < 0)
		return -errno;
	c->pidfd = close_fd(c->pidfd);
	c->pid = 0;
	if (ret_status)
		*ret_status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
	return 0;
}

void child_destroy(struct child *c)
{
	if (c->pidfd < 0)
		return;
	(void)child_kill(c, SIGKILL);
	(void)child_wait(c, 0, NULL);
}

int child_run(const struct child_spec *spec, uint64_t timeout_ms, struct err *e)
{
	struct child c = CHILD_INIT;
	int status, r = child_spawn(spec, &c, e);
	if (r < 0)
		return r;
	r = child_wait(&c, time_deadline(timeout_ms), &status);
	if (r == -ETIMEDOUT) {
		child_destroy(&c);
		return err_set(e, r, "%s did not end within %llu ms", program(spec),
			       (unsigned long long)timeout_ms);
	}
	return r < 0 ? r : status;
}
