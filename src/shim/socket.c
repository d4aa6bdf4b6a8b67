/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/socket.h"

#include "base/fd.h"

#include <fcntl.h>
#include <poll.h>
#include <sha2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG 128
#define ANSWER_TIMEOUT_MS 1000
#define TRIES_MAX 8 /* each is lost to another `start` for the same id */

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

int shim_socket_identify(const char *path, struct shim_socket_id *ret)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return -errno;
	*ret = (struct shim_socket_id){.dev = st.st_dev, .ino = st.st_ino, .made = st.st_ctim};
	return 0;
}

static bool is_same(const char *path, const struct shim_socket_id *id)
{
	struct shim_socket_id now;
	return shim_socket_identify(path, &now) == 0 && now.dev == id->dev && now.ino == id->ino &&
	       now.made.tv_sec == id->made.tv_sec && now.made.tv_nsec == id->made.tv_nsec;
}

/*
 * Whoever makes or removes a socket here holds its directory's lock, for some microseconds: so a
 * socket that is bound listens, and nobody removes what another has just put in place. Returns a
 * descriptor to close.
 */
static int lock_dir(const char *socket_path)
{
	char dir[SHIM_SOCKET_PATH_MAX];
	(void)snprintf(dir, sizeof dir, "%s", socket_path);
	*strrchr(dir, '/') = '\0';
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX) < 0) {
		if (errno != EINTR) {
			int r = -errno;
			(void)close(fd);
			return r;
		}
	}
	return fd;
}

void shim_socket_remove(const char *path, const struct shim_socket_id *id)
{
	_cleanup_close_ int lock = lock_dir(path);
	if (lock >= 0 && is_same(path, id))
		(void)unlink(path);
}

void shim_socket_remove_stale(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct shim_socket_id id;

	if (path_format(addr.sun_path, sizeof addr.sun_path, "%s", path) == 0 &&
	    shim_socket_identify(path, &id) == 0 && !is_live(&addr))
		shim_socket_remove(path, &id);
}

/* Returns 0, 1 if there is a socket (which one, in @stale), or a negative errno. A socket that
 * @stale names already is replaced. */
static int try_listen(int fd, const struct sockaddr_un *addr, struct shim_socket_id *stale,
		      struct err *e)
{
	const char *path = addr->sun_path;
	_cleanup_close_ int lock = lock_dir(path);
	if (lock < 0)
		return err_errno(e, lock, "lock the directory of %s", path);
	if (is_same(path, stale) && unlink(path) < 0)
		return err_errno(e, -errno, "remove the stale socket %s", path);
	if (bind(fd, (const struct sockaddr *)addr, sizeof *addr) < 0) {
		if (errno != EADDRINUSE)
			return err_errno(e, -errno, "bind %s", path);
		int r = shim_socket_identify(path, stale);
		return r < 0 ? err_errno(e, r, "look at %s", path) : 1;
	}
	if (listen(fd, BACKLOG) < 0) {
		int r = -errno;
		(void)unlink(path);
		return err_errno(e, r, "listen on %s", path);
	}
	return 0;
}

int shim_socket_listen(const char *path, int *ret_fd, struct err *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct shim_socket_id stale = {.ino = 0};
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

	for (int tries = 0; tries < TRIES_MAX; tries++) {
		r = try_listen(fd, &addr, &stale, e);
		if (r < 0)
			return r;
		if (r == 0) {
			*ret_fd = TAKE_FD(fd);
			return 0;
		}
		if (is_live(&addr))
			return 1;
	}
	return err_set(e, -EADDRINUSE, "the socket %s is replaced by others again and again", path);
}
