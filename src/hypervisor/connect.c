/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dialling a guest. Plain blocking code with a deadline on every wait, for workers. The peer is the
 * guest or the VMM's muxer: nothing that it sends is trusted.
 */
#include "hypervisor/connect.h"

#include "base/clock.h"
#include "base/fd.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <linux/vm_sockets.h>

/* Cloud Hypervisor's own limit for a line of its protocol; ours need not be larger. */
#define HYBRID_LINE_MAX 32

/* Waits for @events or the deadline. */
static int wait_for(int fd, short events, uint64_t deadline_ms)
{
	struct pollfd p = {.fd = fd, .events = events};
	int r;
	do
		r = poll(&p, 1, time_left_ms(deadline_ms));
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r == 0 ? -ETIMEDOUT : 0;
}

/* connect(2) with a deadline. Returns the socket, blocking again. */
static int dial(int family, const void *addr, socklen_t len, uint64_t deadline_ms)
{
	_cleanup_close_ int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;

	/* A unix socket whose backlog is full says EAGAIN and cannot be waited for: the blocking
	 * form waits, so it gets the deadline as its send timeout. */
	if (family == AF_UNIX) {
		int left = time_left_ms(deadline_ms);
		if (left == 0)
			return -ETIMEDOUT;
		struct timeval tv = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};
		if (left > 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) < 0)
			return -errno;
		(void)fd_set_nonblock(fd, false);
	}
	if (connect(fd, addr, len) < 0) {
		if (errno == EAGAIN)
			return -ETIMEDOUT;
		if (errno != EINPROGRESS)
			return -errno;
		int r = wait_for(fd, POLLOUT, deadline_ms), error = 0;
		socklen_t size = sizeof error;
		if (r < 0)
			return r;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
			return -errno;
		if (error)
			return -error;
	}
	if (family == AF_UNIX) {
		struct timeval never = {.tv_sec = 0};
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &never, sizeof never);
	}
	int r = fd_set_nonblock(fd, false);
	return r < 0 ? r : TAKE_FD(fd);
}

int connect_vsock(uint32_t cid, uint32_t port, uint64_t deadline_ms, struct err *e)
{
	struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
	int fd = dial(AF_VSOCK, &a, sizeof a, deadline_ms);
	if (fd < 0)
		return err_errno(e, fd, "connect to vsock %u:%u", cid, port);
	return fd;
}

int connect_unix(const char *path, uint64_t deadline_ms, struct err *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	if (path_format(a.sun_path, sizeof a.sun_path, "%s", path) < 0)
		return err_set(e, -ENAMETOOLONG, "socket path %s is longer than %zu bytes", path,
			       sizeof a.sun_path - 1);
	int fd = dial(AF_UNIX, &a, sizeof a, deadline_ms);
	if (fd < 0)
		return err_errno(e, fd, "connect to %s", path);
	return fd;
}

/* Reads up to and without the newline, a byte at a time: what follows it belongs to the stream. */
static int read_line(int fd, char *line, size_t size, uint64_t deadline_ms)
{
	for (size_t n = 0; n < size; n++) {
		int r = wait_for(fd, POLLIN, deadline_ms);
		if (r < 0)
			return r;
		ssize_t got = read(fd, &line[n], 1);
		if (got < 0)
			return -errno;
		if (got == 0)
			return -ECONNREFUSED; /* the muxer's way to say that nobody listens */
		if (line[n] == '\n') {
			line[n] = '\0';
			return 0;
		}
	}
	return -EBADMSG;
}

int connect_hybrid(const char *path, uint32_t port, uint64_t deadline_ms, struct err *e)
{
	_cleanup_close_ int fd = connect_unix(path, deadline_ms, e);
	if (fd < 0)
		return fd;

	char line[HYBRID_LINE_MAX];
	(void)snprintf(line, sizeof line, "CONNECT %u\n", port);
	ssize_t sent = send(fd, line, strlen(line), MSG_NOSIGNAL);
	if (sent != (ssize_t)strlen(line))
		return err_errno(e, sent < 0 ? -errno : -EPIPE, "ask %s for guest port %u", path,
				 port);
	int r = read_line(fd, line, sizeof line, deadline_ms);
	if (r < 0)
		return err_errno(e, r, "connect to guest port %u through %s", port, path);
	if (strncmp(line, "OK", 2) != 0 || (line[2] != ' ' && line[2] != '\0'))
		return err_set(e, -EBADMSG,
			       "connect to guest port %u through %s: expected \"OK <number>\"",
			       port, path);
	return TAKE_FD(fd);
}
