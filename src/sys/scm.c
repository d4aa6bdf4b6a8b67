/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/scm.h"

#include "base/cleanup.h"

#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

union control {
	char bytes[CMSG_SPACE(SCM_FDS_MAX * sizeof(int))];
	struct cmsghdr align;
};

int scm_send(int sock, const void *data, size_t len, const int *fds, size_t n_fds)
{
	union control control = {.bytes = {0}};
	struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	if (n_fds > SCM_FDS_MAX)
		return -EINVAL;
	if (n_fds) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	for (;;) {
		if (sendmsg(sock, &msg, MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

/* Moves what came into @fds; what does not fit is closed. */
static bool take_fds(struct msghdr *msg, int *fds, size_t *n_fds)
{
	size_t room = *n_fds;
	bool fits = true;
	*n_fds = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (*n_fds < room) {
				fds[(*n_fds)++] = fd;
			} else {
				(void)close(fd);
				fits = false;
			}
		}
	}
	return fits && !(msg->msg_flags & (MSG_CTRUNC | MSG_TRUNC));
}

ssize_t scm_recv(int sock, void *data, size_t len, int *fds, size_t *n_fds, int timeout_ms)
{
	union control control = {.bytes = {0}};
	struct iovec iov = {.iov_base = data, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof control.bytes};
	if (timeout_ms >= 0) {
		struct pollfd p = {.fd = sock, .events = POLLIN};
		int r = poll(&p, 1, timeout_ms);
		if (r <= 0) {
			*n_fds = 0;
			return r == 0 ? -EAGAIN : -errno;
		}
	}
	ssize_t n;
	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		*n_fds = 0;
		return -errno;
	}
	if (take_fds(&msg, fds, n_fds))
		return n;
	while (*n_fds > 0)
		(void)close(fds[--*n_fds]);
	return -EBADMSG;
}
