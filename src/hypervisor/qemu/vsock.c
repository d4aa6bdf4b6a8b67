/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/qemu/vsock.h"

#include <fcntl.h>
#include <linux/vhost.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <linux/vm_sockets.h>

#define DEVICE "/dev/vhost-vsock"

/* Of 2^32 CIDs a handful is taken: a second collision in a row does not happen by chance. */
#define CID_ATTEMPTS 16

bool qemu_vhost_vsock_present(void)
{
	return access(DEVICE, R_OK | W_OK) == 0;
}

uint32_t qemu_random_cid(void)
{
	uint32_t cid;
	do {
		if (getrandom(&cid, sizeof cid, 0) != sizeof cid)
			cid = (uint32_t)getpid() + VMADDR_CID_HOST + 1;
	} while (cid <= VMADDR_CID_HOST || cid == VMADDR_CID_ANY);
	return cid;
}

int qemu_vhost_vsock_open(uint32_t *ret_cid, struct err *e)
{
	_cleanup_close_ int fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, -errno, "open %s", DEVICE);

	for (int i = 0; i < CID_ATTEMPTS; i++) {
		uint64_t cid = qemu_random_cid();
		if (ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &cid) == 0) {
			*ret_cid = (uint32_t)cid;
			return TAKE_FD(fd);
		}
		if (errno != EADDRINUSE)
			return err_errno(e, -errno, "set guest CID %u on %s", (uint32_t)cid,
					 DEVICE);
	}
	return err_set(e, -EADDRINUSE, "%s: %d random guest CIDs were all taken", DEVICE,
		       CID_ATTEMPTS);
}
