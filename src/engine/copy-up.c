/* SPDX-License-Identifier: Apache-2.0 */
/* The source is an image's and may hold anything; nothing of it is followed. */
#include "engine/mounts.h"

#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

/* Three descriptors a level; a directory that a tmpfs is to start with is shallow. */
#define DEPTH_MAX 100
#define XATTR_LIST_MAX 65536 /* linux/limits.h */
#define XATTR_SIZE_MAX 65536

struct entry {
	const char *name;
	int from, to; /* directories */
	struct stat st;
};

static int open_source(int dir, const char *name, int flags)
{
	const struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
					      O_NOCTTY | O_CLOEXEC),
		.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH,
	};
	int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof how);
	return fd < 0 ? -errno : fd;
}

/* What the new filesystem does not take is left out, as cp -a does it. */
static int copy_xattrs(int from, int to)
{
	_cleanup_free_ char *names = malloc(XATTR_LIST_MAX), *value = malloc(XATTR_SIZE_MAX);
	if (!names || !value)
		return -ENOMEM;
	ssize_t n = flistxattr(from, names, XATTR_LIST_MAX);
	for (const char *p = names; n > 0 && p < names + n; p += strlen(p) + 1) {
		ssize_t size = fgetxattr(from, p, value, XATTR_SIZE_MAX);
		if (size >= 0 && fsetxattr(to, p, value, (size_t)size, 0) < 0 && errno == ENOSPC)
			return -ENOSPC;
	}
	return 0;
}

/* The mode comes after the owner, whose change takes set-user-ID away. */
static int copy_meta(int from, int to, const struct stat *st)
{
	const struct timespec times[] = {st->st_atim, st->st_mtim};
	if (fchown(to, st->st_uid, st->st_gid) < 0 || fchmod(to, st->st_mode & 07777) < 0)
		return -errno;
	int r = copy_xattrs(from, to);
	if (r == 0 && futimens(to, times) < 0)
		r = -errno;
	return r;
}

static int copy_file(const struct entry *en)
{
	_cleanup_close_ int from = open_source(en->from, en->name, 0);
	struct stat st;
	if (from == -EXDEV)
		return 0; /* a mount of its own */
	if (from < 0 || fstat(from, &st) < 0)
		return from < 0 ? from : -errno;
	if (!S_ISREG(st.st_mode))
		return 0;
	_cleanup_close_ int to = openat(en->to, en->name,
					O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0)
		return -errno;
	for (;;) {
		ssize_t n = sendfile(to, from, NULL, 1 << 20);
		if (n == 0)
			return copy_meta(from, to, &st);
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static int copy_link(const struct entry *en)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(en->from, en->name, target, sizeof target);
	if (n < 0 || (size_t)n >= sizeof target)
		return n < 0 ? -errno : -ENAMETOOLONG;
	target[n] = '\0';
	if (symlinkat(target, en->to, en->name) < 0 ||
	    fchownat(en->to, en->name, en->st.st_uid, en->st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

static int copy_fifo(const struct entry *en)
{
	if (mknodat(en->to, en->name, S_IFIFO | (en->st.st_mode & 07777), 0) < 0 ||
	    fchownat(en->to, en->name, en->st.st_uid, en->st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

static int copy_directory(int from, int to, int depth, struct err *e);

static int copy_subdirectory(const struct entry *en, int depth, struct err *e)
{
	if (mkdirat(en->to, en->name, 0700) < 0)
		return -errno;
	_cleanup_close_ int to = open_source(en->to, en->name, O_DIRECTORY);
	_cleanup_close_ int from = open_source(en->from, en->name, O_DIRECTORY);
	if (to < 0)
		return to;
	if (from == -EXDEV) /* a mount of its own: the place for it is made */
		return fchmod(to, en->st.st_mode & 07777) < 0 ? -errno : 0;
	return from < 0 ? from : copy_directory(from, to, depth + 1, e);
}

static int copy_entry(const struct entry *en, int depth, struct err *e)
{
	int r = 0;
	switch (en->st.st_mode & S_IFMT) {
	case S_IFREG:
		r = copy_file(en);
		break;
	case S_IFDIR:
		r = copy_subdirectory(en, depth, e);
		break;
	case S_IFLNK:
		r = copy_link(en);
		break;
	case S_IFIFO:
		r = copy_fifo(en);
		break;
	default:
		break;
	}
	/* The innermost sentence stays. */
	return r < 0 && !(e && e->errnum) ? err_errno(e, r, "copy %s", en->name) : r;
}

static int copy_directory(int from, int to, int depth, struct err *e)
{
	struct stat st;
	if (depth > DEPTH_MAX)
		return err_set(e, -ELOOP, "more than %d directories deep", DEPTH_MAX);
	int copy = fcntl(from, F_DUPFD_CLOEXEC, 3);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	if (!d || fstat(from, &st) < 0) {
		int r = -errno;
		d ? (void)closedir(d) : (void)close_fd(copy);
		return err_errno(e, r, "read a directory");
	}
	int r = 0;
	for (struct dirent *de; r == 0 && (errno = 0, de = readdir(d));) {
		struct entry en = {.name = de->d_name, .from = from, .to = to};
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		r = fstatat(from, de->d_name, &en.st, AT_SYMLINK_NOFOLLOW) < 0
			    ? err_errno(e, -errno, "look at %s", de->d_name)
			    : copy_entry(&en, depth, e);
	}
	(void)closedir(d);
	if (r == 0 && copy_meta(from, to, &st) < 0)
		r = err_errno(e, -errno, "owner and mode of a directory");
	return r;
}

int engine_copy_up(int from, int to, struct err *e)
{
	/* Both are O_PATH; and what is on top of them stays out of it. */
	_cleanup_close_ int source = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int target = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (source < 0 || target < 0)
		return err_errno(e, -errno, "open the directory");
	return copy_directory(source, target, 0, e);
}
