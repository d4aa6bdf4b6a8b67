/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/netns.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define OWN_NETNS "/proc/thread-self/ns/net"

int netns_open(const char *path, struct err *e)
{
	/* O_NONBLOCK: what is there may be a fifo, for which open() would wait. */
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return err_errno(e, -errno, "open network namespace %s", path);
	if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
		return err_set(e, -EINVAL, "%s is not a network namespace", path);
	return TAKE_FD(fd);
}

static bool is_at(int fd, const char *path, bool in_doubt)
{
	struct stat a, b;

	if (stat(path, &a) < 0 || fstat(fd, &b) < 0)
		return in_doubt;
	return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool netns_is_current(int fd)
{
	return is_at(fd, OWN_NETNS, true);
}

bool netns_is_hosts(int fd)
{
	/* Who may do less than process 1 must not look at it (ptrace(2), access mode checking). */
	return netns_is_current(fd) || is_at(fd, "/proc/1/ns/net", false);
}

int netns_call(int fd, int (*fn)(void *arg, struct err *e), void *arg, struct err *e)
{
	_cleanup_close_ int back = open(OWN_NETNS, O_RDONLY | O_CLOEXEC);
	if (back < 0)
		return err_errno(e, -errno, "open %s", OWN_NETNS);
	if (setns(fd, CLONE_NEWNET) < 0)
		return err_errno(e, -errno, "enter the network namespace");
	int r = fn(arg, e);
	if (setns(back, CLONE_NEWNET) < 0)
		return err_errno(e, -errno, "leave the network namespace");
	return r;
}
