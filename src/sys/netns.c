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

bool netns_is_current(int fd)
{
	struct stat own, other;

	if (stat(OWN_NETNS, &own) < 0 || fstat(fd, &other) < 0)
		return true;
	return own.st_dev == other.st_dev && own.st_ino == other.st_ino;
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
