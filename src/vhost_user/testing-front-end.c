/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost_user/testing-front-end.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

bool testing_front_send(int fd, uint32_t request, uint32_t flags, const void *payload,
			uint32_t size, const int *fds, unsigned n_fds)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * 16)];
		struct cmsghdr align;
	} control = {.buf = ""};
	struct vhost_user_header h = {request, flags, size};
	struct iovec iov[2] = {{&h, sizeof h}, {(void *)payload, size}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = size ? 2 : 1};

	if (n_fds > 0) {
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL) == (ssize_t)(sizeof h + size);
}

static void stop_loop(void *arg)
{
	loop_stop(arg);
}

void testing_front_turn(struct loop *loop)
{
	for (unsigned i = 0; i < 2; i++) {
		if (loop_post(loop, stop_loop, loop) < 0)
			abort();
		loop_run(loop);
	}
}

bool testing_front_reply(int fd, struct testing_reply *ret)
{
	ssize_t n = recv(fd, &ret->h, sizeof ret->h, MSG_DONTWAIT);

	if (n != sizeof ret->h || ret->h.size > sizeof ret->p)
		return false;
	return ret->h.size == 0 ||
	       recv(fd, &ret->p, ret->h.size, MSG_DONTWAIT) == (ssize_t)ret->h.size;
}
