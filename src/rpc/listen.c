/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/listen.h"

#include "base/clock.h"
#include "base/fd.h"

#include <linux/vm_sockets.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* Connections that wait to be accepted; what the callers' own limits allow at a time. */
#define BACKLOG 128
/* How long a probe waits for a listener whose backlog is full: it is alive, and that is known. */
#define PROBE_MS 100

struct unix_address {
	struct sockaddr_un sun;
	socklen_t len;
	const char *path; /* NULL: abstract */
};

static int unix_parse(const char *address, struct unix_address *ret, struct err *e)
{
	const char *prefix = "unix://";
	const char *name = address;

	if (strncmp(name, prefix, strlen(prefix)) == 0)
		name += strlen(prefix);
	size_t len = strlen(name);
	*ret = (struct unix_address){.sun.sun_family = AF_UNIX};
	if (len == 0 || (name[0] == '@' && len == 1))
		return err_set(e, -EINVAL, "socket address \"%s\" has no name", address);
	if (len >= sizeof ret->sun.sun_path)
		return err_set(e, -ENAMETOOLONG, "socket address %s exceeds %zu bytes", address,
			       sizeof ret->sun.sun_path - 1);
	memcpy(ret->sun.sun_path, name, len);
	ret->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	if (name[0] == '@') {
		ret->sun.sun_path[0] = '\0';
	} else {
		ret->path = name;
		ret->len++;
	}
	return 0;
}

/* Connects within the deadline; 0 or a negative errno. The socket may be left non-blocking. */
static int connect_by(int fd, const struct sockaddr *sa, socklen_t len, uint64_t deadline_ms)
{
	int r = fd_set_nonblock(fd, true);
	if (r < 0)
		return r;
	/* A unix socket whose listener's backlog is full says EAGAIN, and cannot be polled for. */
	while (connect(fd, sa, len) < 0) {
		if (errno == EINTR)
			continue;
		if (errno == EINPROGRESS)
			break;
		if (errno != EAGAIN)
			return -errno;
		int left = time_left_ms(deadline_ms);
		if (left == 0)
			return -ETIMEDOUT;
		(void)poll(NULL, 0, left < 0 || left > 10 ? 10 : left);
	}
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	do
		r = poll(&p, 1, time_left_ms(deadline_ms));
	while (r < 0 && errno == EINTR);
	if (r <= 0)
		return r < 0 ? -errno : -ETIMEDOUT;
	int failure = 0;
	socklen_t size = sizeof failure;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size) < 0)
		return -errno;
	return failure ? -failure : fd_set_nonblock(fd, false);
}

static int unix_connect(const struct unix_address *a, uint64_t deadline_ms)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	int r = connect_by(fd, (const struct sockaddr *)&a->sun, a->len, deadline_ms);
	return r < 0 ? r : TAKE_FD(fd);
}

int rpc_connect_unix(const char *address, uint64_t deadline_ms, struct err *e)
{
	struct unix_address a;
	int r = unix_parse(address, &a, e);
	if (r < 0)
		return r;
	r = unix_connect(&a, deadline_ms);
	return r < 0 ? err_errno(e, r, "connect to %s", address) : r;
}

static int unix_probe(const struct unix_address *a)
{
	int r = unix_connect(a, time_deadline(PROBE_MS));
	if (r >= 0) {
		(void)close_fd(r);
		return 1;
	}
	if (r == -ETIMEDOUT) /* its backlog is full, so there is one */
		return 1;
	return r == -ENOENT || r == -ECONNREFUSED ? 0 : r;
}

int rpc_probe_unix(const char *address, struct err *e)
{
	struct unix_address a;
	int r = unix_parse(address, &a, e);
	if (r < 0)
		return r;
	r = unix_probe(&a);
	return r < 0 ? err_errno(e, r, "probe %s", address) : r;
}

/* Removes a socket on which nobody listens. Never removes anything but a socket. */
static int unix_remove_stale(const struct unix_address *a)
{
	struct stat st;

	if (!a->path)
		return -EADDRINUSE; /* an abstract name goes with its listener */
	if (lstat(a->path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EADDRINUSE;
	int r = unix_probe(a);
	if (r != 0)
		return r < 0 ? r : -EADDRINUSE;
	return unlink(a->path) < 0 && errno != ENOENT ? -errno : 0;
}

static int unix_bind(int fd, const struct unix_address *a, unsigned flags)
{
	/* Before bind(): the path then appears with this mode, whatever the umask (unix(7)). */
	if (fchmod(fd, 0600) < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&a->sun, a->len) == 0)
		return 0;
	if (errno != EADDRINUSE || !(flags & RPC_LISTEN_REPLACE_STALE))
		return -errno;
	int r = unix_remove_stale(a);
	if (r < 0)
		return r;
	return bind(fd, (const struct sockaddr *)&a->sun, a->len) < 0 ? -errno : 0;
}

int rpc_listen_unix(const char *address, unsigned flags, struct err *e)
{
	struct unix_address a;
	int r = unix_parse(address, &a, e);
	if (r < 0)
		return r;
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(e, -errno, "socket");
	r = unix_bind(fd, &a, flags);
	if (r < 0)
		return err_errno(e, r, "bind %s", address);
	if (listen(fd, BACKLOG) < 0)
		return err_errno(e, -errno, "listen at %s", address);
	return TAKE_FD(fd);
}

int rpc_listen_vsock(uint32_t cid, uint32_t port, struct err *e)
{
	struct sockaddr_vm sa = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
	_cleanup_close_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(e, -errno, "vsock socket");
	if (bind(fd, (const struct sockaddr *)&sa, sizeof sa) < 0)
		return err_errno(e, -errno, "bind vsock port %u", port);
	if (listen(fd, BACKLOG) < 0)
		return err_errno(e, -errno, "listen on vsock port %u", port);
	return TAKE_FD(fd);
}

/* The kernel gives up by itself after two seconds, which may be too early. */
static void vsock_set_timeout(int fd, uint64_t deadline_ms)
{
	int left = time_left_ms(deadline_ms);
	struct timeval tv = {.tv_sec = left < 0 ? 3600 : left / 1000 + 1};
	/* Where this fails the kernel's own limit holds, and is reported as a timeout. */
	(void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &tv, sizeof tv);
}

int rpc_connect_vsock(uint32_t cid, uint32_t port, uint64_t deadline_ms, struct err *e)
{
	struct sockaddr_vm sa = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
	_cleanup_close_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, -errno, "vsock socket");
	vsock_set_timeout(fd, deadline_ms);
	int r = connect_by(fd, (const struct sockaddr *)&sa, sizeof sa, deadline_ms);
	if (r < 0)
		return err_errno(e, r, "connect to vsock %u:%u", cid, port);
	return TAKE_FD(fd);
}
