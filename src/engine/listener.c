/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/listener.h"

#include "base/clock.h"
#include "base/fd.h"
#include "oci/hooks.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static int set_timeout(int sock, uint64_t deadline_ms)
{
	int ms = time_left_ms(deadline_ms);
	/* 0 would mean for ever */
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 + 1};
	return setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) < 0 ? -errno : 0;
}

static int connect_to(const char *path, uint64_t deadline_ms, struct err *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof addr.sun_path)
		return err_set(e, -ENAMETOOLONG, "seccomp listener %s: longer than %zu bytes", path,
			       sizeof addr.sun_path - 1);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	_cleanup_close_ int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return err_errno(e, -errno, "seccomp listener");
	int r = set_timeout(sock, deadline_ms);
	if (r == 0 && connect(sock, (const struct sockaddr *)&addr, sizeof addr) < 0)
		r = errno == EAGAIN ? -ETIMEDOUT : -errno;
	return r < 0 ? err_errno(e, r, "connect to the seccomp listener %s", path) : TAKE_FD(sock);
}

/* The descriptor goes with the first bytes. */
static int send_all(int sock, const char *text, int fd)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {.space = {0}};
	struct iovec iov = {.iov_base = (char *)text, .iov_len = strlen(text)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof control};

	control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)),
					.cmsg_level = SOL_SOCKET,
					.cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
	while (iov.iov_len > 0) {
		ssize_t n = sendmsg(sock, &m, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
		m.msg_control = NULL;
		m.msg_controllen = 0;
	}
	return 0;
}

int engine_listener_send(const struct oci_spec *s, const char *id, const char *status, pid_t pid,
			 pid_t init_pid, const char *bundle, int fd, uint64_t deadline_ms,
			 struct err *e)
{
	const char *path = s->seccomp.listener_path;
	_cleanup_free_ char *text = oci_process_state_json(s, id, status, pid, init_pid, bundle);
	if (!text)
		return err_errno(e, -ENOMEM, "state for the seccomp listener");
	_cleanup_close_ int sock = connect_to(path, deadline_ms, e);
	if (sock < 0)
		return sock;
	int r = send_all(sock, text, fd);
	return r < 0 ? err_errno(e, r, "tell the seccomp listener %s", path) : 0;
}
