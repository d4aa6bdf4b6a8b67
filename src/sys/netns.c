/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/netns.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
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

static int set_lo_up(struct err *e)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
		return err_errno(e, -errno, "set lo up in a new network namespace");
	return 0;
}

static int unshare_netns(struct err *e)
{
	if (unshare(CLONE_NEWNET) < 0)
		return err_errno(e, -errno, "make a network namespace");
	_cleanup_close_ int fd = netns_open(OWN_NETNS, e);
	if (fd < 0)
		return fd;
	int r = set_lo_up(e);
	return r < 0 ? r : TAKE_FD(fd);
}

int netns_new(struct err *e)
{
	_cleanup_close_ int back = open(OWN_NETNS, O_RDONLY | O_CLOEXEC);
	if (back < 0)
		return err_errno(e, -errno, "open %s", OWN_NETNS);
	_cleanup_close_ int fd = unshare_netns(e);
	if (setns(back, CLONE_NEWNET) < 0)
		return err_errno(e, -errno, "leave the new network namespace");
	return fd < 0 ? fd : TAKE_FD(fd);
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
