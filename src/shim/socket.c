/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/socket.h"

#include "base/fd.h"

#include <poll.h>
#include <sha2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG 128
#define ANSWER_TIMEOUT_MS 1000

int shim_socket_path(const char *dir, const char *address, const char *namespace, const char *id,
		     char ret[static SHIM_SOCKET_PATH_MAX])
{
	SHA2_CTX sha;
	uint8_t digest[SHA256_DIGEST_LENGTH];
	char hex[2 * sizeof digest + 1];

	SHA256Init(&sha);
	SHA256Update(&sha, (const uint8_t *)address, strlen(address));
	SHA256Update(&sha, (const uint8_t *)"/", 1);
	SHA256Update(&sha, (const uint8_t *)namespace, strlen(namespace));
	SHA256Update(&sha, (const uint8_t *)"/", 1);
	SHA256Update(&sha, (const uint8_t *)id, strlen(id));
	SHA256Final(digest, &sha);
	for (size_t i = 0; i < sizeof digest; i++)
		(void)snprintf(hex + 2 * i, 3, "%02X", digest[i]);
	return path_format(ret, SHIM_SOCKET_PATH_MAX, "%s/%s", dir, hex);
}

/* The directory is the shims' own: who may enter it may speak to every pod. */
static int make_dir(const char *socket_path, struct err *e)
{
	char dir[SHIM_SOCKET_PATH_MAX];
	(void)snprintf(dir, sizeof dir, "%s", socket_path);
	*strrchr(dir, '/') = '\0';

	int r = mkdir_parents(dir, 0711);
	if (r == 0 && strcmp(dir, SHIM_SOCKET_DIR) == 0 && chmod(dir, 0700) < 0)
		r = -errno;
	return r < 0 ? err_errno(e, r, "make directory %s", dir) : 0;
}

/*
 * Whether a shim answers. A connection alone proves nothing: that of a process which is just being
 * killed still succeeds. A request on an even stream is refused by every ttrpc server, at once.
 * One that takes the connection and says nothing counts as live: it may be slow, and its pod's
 * socket must not be taken from it.
 */
static bool is_live(const struct sockaddr_un *addr)
{
	static const uint8_t refused_request[10] = {0, 0, 0, 0, 0, 0, 0, 2, 1, 0};
	uint8_t answer;
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return true; /* unknown: never unlink what may be alive */
	if (connect(fd, (const struct sockaddr *)addr, sizeof *addr) < 0)
		return errno == EAGAIN; /* the backlog is full, so there is a listener */
	if (send(fd, refused_request, sizeof refused_request, MSG_NOSIGNAL) < 0)
		return false;
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	if (poll(&pfd, 1, ANSWER_TIMEOUT_MS) <= 0)
		return true;
	return recv(fd, &answer, 1, 0) == 1;
}

int shim_socket_listen(const char *path, int *ret_fd, struct err *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int r = path_format(addr.sun_path, sizeof addr.sun_path, "%s", path);
	if (r < 0)
		return err_set(e, r, "socket path %s is longer than a unix socket's may be", path);

	r = make_dir(path, e);
	if (r < 0)
		return r;

	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, -errno, "make a socket");
	/* The mode of a socket file comes from its descriptor, before bind makes it visible. */
	if (fchmod(fd, 0600) < 0)
		return err_errno(e, -errno, "restrict the socket %s", path);

	if (bind(fd, (const struct sockaddr *)&addr, sizeof addr) < 0) {
		if (errno != EADDRINUSE)
			return err_errno(e, -errno, "bind %s", path);
		if (is_live(&addr))
			return 1;
		if (unlink(path) < 0 && errno != ENOENT)
			return err_errno(e, -errno, "remove the stale socket %s", path);
		if (bind(fd, (const struct sockaddr *)&addr, sizeof addr) < 0)
			return err_errno(e, -errno, "bind %s", path);
	}
	if (listen(fd, BACKLOG) < 0)
		return err_errno(e, -errno, "listen on %s", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}
