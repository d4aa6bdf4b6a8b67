/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/inroot.h"

#include "base/fd.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* As the kernel's own limit (MAXSYMLINKS). */
#define LINKS_MAX 40

int inroot_open(int root_fd, const char *path, int flags)
{
	/* "" would be ENOENT; to this tree it is the root, like "/". */
	const struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	for (int tries = 0; tries < 64; tries++) {
		int fd = (int)syscall(SYS_openat2, root_fd, path[0] ? path : ".", &how, sizeof how);
		if (fd >= 0)
			return fd;
		/* EAGAIN: a rename somewhere made the kernel unsure about ".."; ask again. */
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return -EAGAIN;
}

/* The target of the link at a resolved path; -EINVAL if it is no link, -ENOENT. */
static int read_link(int root_fd, const char *resolved, char ret[PATH_MAX])
{
	_cleanup_close_ int fd = inroot_open(root_fd, resolved, O_PATH | O_NOFOLLOW);
	if (fd < 0)
		return fd;
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISLNK(st.st_mode))
		return -EINVAL;
	ssize_t n = readlinkat(fd, "", ret, PATH_MAX);
	if (n < 0)
		return -errno;
	if (n == PATH_MAX)
		return -ENAMETOOLONG;
	ret[n] = '\0';
	return 0;
}

/* Takes the first component off *@rest; false at the end. */
static bool next_component(const char **rest, const char **ret, size_t *ret_len)
{
	*rest += strspn(*rest, "/");
	if (!**rest)
		return false;
	*ret = *rest;
	*ret_len = strcspn(*rest, "/");
	*rest += *ret_len;
	return true;
}

static void drop_last(char *resolved)
{
	char *slash = strrchr(resolved, '/');
	if (slash)
		*slash = '\0';
	else
		resolved[0] = '\0';
}

int inroot_resolve(int root_fd, const char *path, char ret[PATH_MAX])
{
	char pending[PATH_MAX], link[PATH_MAX];
	int r = path_format(pending, sizeof pending, "%s", path);
	if (r < 0)
		return r;
	ret[0] = '\0';

	const char *rest = pending, *name;
	size_t len;
	int links = 0;
	while (next_component(&rest, &name, &len)) {
		if (len == 1 && name[0] == '.')
			continue;
		if (len == 2 && name[0] == '.' && name[1] == '.') {
			drop_last(ret);
			continue;
		}
		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		size_t before = strlen(ret);
		r = path_format(ret + before, PATH_MAX - before, "%s%.*s", before ? "/" : "",
				(int)len, name);
		if (r < 0)
			return r;

		r = read_link(root_fd, ret, link);
		if (r == -EINVAL || r == -ENOENT || r == -ENOTDIR)
			continue; /* not a link, or not there; what is missing may be made */
		if (r < 0)
			return r;
		if (++links > LINKS_MAX)
			return -ELOOP;
		char joined[PATH_MAX];
		r = path_format(joined, sizeof joined, "%s/%s", link, rest);
		if (r < 0)
			return r;
		memcpy(pending, joined, sizeof pending);
		rest = pending;
		ret[link[0] == '/' ? 0 : before] = '\0';
	}
	return 0;
}

/* Walks a resolved path without following links, making what is missing. */
static int walk_mkdir(int root_fd, const char *resolved, mode_t mode)
{
	_cleanup_close_ int fd = fcntl(root_fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;

	const char *rest = resolved, *component;
	size_t len;
	while (next_component(&rest, &component, &len)) {
		char name[NAME_MAX + 1];
		int r = path_format(name, sizeof name, "%.*s", (int)len, component);
		if (r < 0)
			return r;
		int next = openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0 && errno == ENOENT) {
			if (mkdirat(fd, name, mode) < 0 && errno != EEXIST)
				return -errno;
			next = openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		}
		if (next < 0)
			return -errno;
		(void)close(fd);
		fd = next;
	}
	return TAKE_FD(fd);
}

int inroot_mkdir(int root_fd, const char *path, mode_t mode)
{
	char resolved[PATH_MAX];
	int r = inroot_resolve(root_fd, path, resolved);
	return r < 0 ? r : walk_mkdir(root_fd, resolved, mode);
}

/* The path without "." and "..", as if there were no links. */
static int clean(const char *path, char ret[PATH_MAX])
{
	const char *name;
	size_t len;
	ret[0] = '\0';
	while (next_component(&path, &name, &len)) {
		size_t before = strlen(ret);
		if (len == 1 && name[0] == '.')
			continue;
		if (len == 2 && name[0] == '.' && name[1] == '.') {
			drop_last(ret);
			continue;
		}
		int r = path_format(ret + before, PATH_MAX - before, "%s%.*s", before ? "/" : "",
				    (int)len, name);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What is no directory: a link, or something else? */
static int plain_error(int root_fd, const char *cleaned)
{
	char resolved[PATH_MAX];
	int r = inroot_resolve(root_fd, cleaned, resolved);
	return r == 0 && strcmp(resolved, cleaned) == 0 ? -ENOTDIR : -ELOOP;
}

int inroot_mkdir_plain(int root_fd, const char *path, mode_t mode)
{
	char cleaned[PATH_MAX];
	int r = clean(path, cleaned);
	if (r == 0)
		r = walk_mkdir(root_fd, cleaned, mode);
	return r == -ENOTDIR ? plain_error(root_fd, cleaned) : r;
}

static int split_parent(int root_fd, char *resolved, char ret_name[NAME_MAX + 1])
{
	char *slash = strrchr(resolved, '/');
	const char *name = slash ? slash + 1 : resolved;
	int r = path_format(ret_name, NAME_MAX + 1, "%s", name);
	if (r < 0)
		return r;
	if (!ret_name[0])
		return -EINVAL;
	if (slash)
		*slash = '\0';
	else
		resolved[0] = '\0';
	return walk_mkdir(root_fd, resolved, 0755);
}

int inroot_mkfile(int root_fd, const char *path, mode_t mode)
{
	char resolved[PATH_MAX], name[NAME_MAX + 1];
	int r = inroot_resolve(root_fd, path, resolved);
	if (r < 0)
		return r;
	_cleanup_close_ int dir = split_parent(root_fd, resolved, name);
	if (dir < 0)
		return dir;

	int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		int made = openat(dir, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
		if (made < 0 && errno != EEXIST)
			return -errno;
		(void)close_fd(made);
		fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd < 0)
		return -errno;
	struct stat st;
	if (fstat(fd, &st) < 0 || S_ISLNK(st.st_mode)) {
		(void)close(fd);
		return -ELOOP;
	}
	return fd;
}

int inroot_parent(int root_fd, const char *path, char ret_name[NAME_MAX + 1])
{
	/* The last component is not resolved: it is to be made, and a link there to be replaced. */
	char copy[PATH_MAX], resolved[PATH_MAX];
	int r = path_format(copy, sizeof copy, "%s", path);
	if (r < 0)
		return r;
	size_t len = strlen(copy);
	while (len > 0 && copy[len - 1] == '/')
		copy[--len] = '\0';
	char *slash = strrchr(copy, '/');
	const char *name = slash ? slash + 1 : copy;
	if (!name[0] || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	r = path_format(ret_name, NAME_MAX + 1, "%s", name);
	if (r < 0)
		return r;
	if (slash)
		*slash = '\0';
	r = inroot_resolve(root_fd, slash ? copy : "", resolved);
	return r < 0 ? r : walk_mkdir(root_fd, resolved, 0755);
}
