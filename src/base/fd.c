/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

int fd_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EAGAIN)
				return -errno;
			struct pollfd pfd = {.fd = fd, .events = POLLOUT};
			(void)poll(&pfd, 1, -1);
			continue;
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int fd_read_all(int fd, size_t max, struct buf *ret)
{
	for (;;) {
		char *p = buf_reserve(ret, 4096);
		if (!p)
			return -ENOMEM;
		ssize_t n = read(fd, p, 4096);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		p[n] = '\0';
		if (n == 0)
			return 0;
		ret->len += (size_t)n;
		if (ret->len > max)
			return -EFBIG;
	}
}

int file_read(int dir_fd, const char *path, size_t max, struct buf *ret)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fd_read_all(fd, max, ret);
}

int file_write(int dir_fd, const char *path, const char *text)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	size_t len = strlen(text);
	ssize_t n = write(fd, text, len);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

int file_replace(const char *path, const void *data, size_t len, mode_t mode)
{
	char tmp[4096];
	int r = path_format(tmp, sizeof tmp, "%s.XXXXXX", path);
	if (r < 0)
		return r;
	_cleanup_close_ int fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, mode) < 0)
		r = -errno;
	if (r == 0)
		r = fd_write_all(fd, data, len);
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0)
		(void)unlink(tmp);
	return r;
}

static int make_each(char *partial, mode_t mode)
{
	for (char *p = partial + 1;; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		char end = *p;
		*p = '\0';
		if (mkdir(partial, mode) < 0 && errno != EEXIST)
			return -errno;
		if (!end)
			return 0;
		*p = end;
	}
}

int mkdir_parents(const char *path, mode_t mode)
{
	char partial[4096];
	int r = path_format(partial, sizeof partial, "%s", path);

	/* Somebody may be removing an empty parent (rmdir_parents) between two of our steps. */
	for (int tries = 0; r == 0 && tries < 5; tries++) {
		r = make_each(partial, mode);
		if (r != -ENOENT)
			break;
		r = path_format(partial, sizeof partial, "%s", path);
	}
	if (r < 0)
		return r;
	struct stat st;
	if (stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

void rmdir_parents(const char *path, const char *top)
{
	char partial[4096];
	size_t top_len = strlen(top);

	if (path_format(partial, sizeof partial, "%s", path) < 0)
		return;
	while (strlen(partial) > top_len && strncmp(partial, top, top_len) == 0) {
		if (rmdir(partial) < 0 && errno != ENOENT)
			return;
		*strrchr(partial, '/') = '\0';
	}
}

static int remove_at(int dir_fd, const char *name, unsigned depth);

static int remove_children(int fd, unsigned depth)
{
	DIR *dir = fdopendir(fd);
	if (!dir) {
		int r = -errno;
		(void)close(fd);
		return r;
	}
	int r = 0;
	struct dirent *entry;
	while (r == 0 && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = remove_at(dirfd(dir), entry->d_name, depth + 1);
	(void)closedir(dir);
	return r;
}

static int remove_at(int dir_fd, const char *name, unsigned depth)
{
	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (depth > 64)
		return -ELOOP;

	/* STATX_ATTR_MOUNT_ROOT tells a mount point even where the device is the same (bind). */
	struct statx stx;
	if (statx(dir_fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &stx) < 0)
		return -errno;
	if (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT)
		return -EBUSY;

	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = remove_children(fd, depth);
	if (r < 0)
		return r;
	return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int remove_tree_at(int dir_fd, const char *name)
{
	return remove_at(dir_fd, name, 0);
}

int remove_tree(const char *path)
{
	return remove_at(AT_FDCWD, path, 0);
}

int fd_set_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0)
		return -errno;
	int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return wanted == flags || fcntl(fd, F_SETFL, wanted) == 0 ? 0 : -errno;
}

int fd_set_cloexec(int fd, bool on)
{
	return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) < 0 ? -errno : 0;
}

int path_format(char *dst, size_t size, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(dst, size, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	return (size_t)n < size ? 0 : -ENAMETOOLONG;
}
