/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/host.h"

#include "base/fd.h"
#include "base/log.h"

#include <linux/vm_sockets.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

union peer {
	struct sockaddr any;
	struct sockaddr_vm vm;
	struct sockaddr_un un;
};

static uint32_t unix_port(const struct sockaddr_un *peer, socklen_t size)
{
	const socklen_t at =
		offsetof(struct sockaddr_un, sun_path) + 1; /* abstract names begin with 0 */
	char name[sizeof peer->sun_path + 1] = "";

	if (size > at && size <= sizeof *peer)
		memcpy(name, peer->sun_path + 1, size - at);
	const char *digits = strrchr(name, '-');
	return digits ? (uint32_t)strtoul(digits + 1, NULL, 10) : 0;
}

int host_accept(int listen_fd, const char *what, uint32_t *ret_port)
{
	union peer peer = {.any.sa_family = AF_UNSPEC};
	socklen_t size = sizeof peer;

	int fd = accept4(listen_fd, &peer.any, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS)
			return -EAGAIN;
		log_warn("%s: cannot accept: %s", what, strerror(errno));
		return -ENFILE;
	}
	if (peer.any.sa_family == AF_VSOCK && peer.vm.svm_cid != VMADDR_CID_HOST) {
		log_warn("%s: a connection from inside of the guest is refused", what);
		(void)close_fd(fd);
		return -ECONNREFUSED;
	}
	if (ret_port)
		*ret_port = peer.any.sa_family == AF_VSOCK ? peer.vm.svm_port
							   : unix_port(&peer.un, size);
	return fd;
}
