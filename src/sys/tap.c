/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/tap.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>

#define TUN_DEVICE "/dev/net/tun"

/* linux/if_tun.h; fails where the interface is there already, instead of joining it */
#define FLAG_EXCLUSIVE 0x8000

static int open_queue(const char *name, unsigned flags, struct err *e)
{
	struct ifreq q = {.ifr_flags = (short)(unsigned short)flags};
	_cleanup_close_ int fd = open(TUN_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return err_errno(e, -errno, "open " TUN_DEVICE);
	memcpy(q.ifr_name, name, strlen(name));
	if (ioctl(fd, TUNSETIFF, &q) < 0)
		return err_errno(e, -errno, "make tap device %s", name);
	return TAKE_FD(fd);
}

int tap_new(const char *name, int *ret, unsigned n_queues, struct err *e)
{
	unsigned flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;

	/* the kernel would number one with a '%' */
	if (!name[0] || strlen(name) >= IF_NAMESIZE || strchr(name, '%'))
		return err_set(e, -EINVAL, "\"%.100s\" is no name for a tap device", name);
	if (n_queues < 1 || n_queues > TAP_QUEUES_MAX)
		return err_set(e, -EINVAL, "tap device %s: %u queues are not 1 to %d", name,
			       n_queues, TAP_QUEUES_MAX);
	for (unsigned i = 0; i < n_queues; i++)
		ret[i] = -EBADF;
	if (n_queues > 1)
		flags |= IFF_MULTI_QUEUE;
	for (unsigned i = 0; i < n_queues; i++) {
		int r = open_queue(name, flags | (i == 0 ? FLAG_EXCLUSIVE : 0), e);
		if (r < 0) {
			for (unsigned k = 0; k < i; k++)
				ret[k] = close_fd(ret[k]);
			return r;
		}
		ret[i] = r;
	}
	return 0;
}
