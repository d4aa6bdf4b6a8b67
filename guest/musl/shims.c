/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a static agent needs besides musl 1.2.3: system calls that it does not wrap yet, and the
 * names by which Debian's static libraries, built for glibc, call what musl has under another. The
 * kinds of data that pass between them and libc are laid out alike on x86_64.
 *
 * The names with _chk are glibc's bounds checks: each ends the process where the caller's object is
 * too small, as it does there (the Linux Standard Base describes them).
 */
#include "guest/musl/musl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- System calls --------------------------------------------------------------------------- */

int statx(int fd, const char *restrict path, int flags, unsigned mask, struct statx *restrict st)
{
	return (int)syscall(SYS_statx, fd, path, flags, mask, st);
}

int close_range(unsigned first, unsigned last, int flags)
{
	return (int)syscall(SYS_close_range, first, last, flags);
}

int fsopen(const char *type, unsigned flags)
{
	return (int)syscall(SYS_fsopen, type, flags);
}

int fsconfig(int fd, unsigned command, const char *key, const void *value, int aux)
{
	return (int)syscall(SYS_fsconfig, fd, command, key, value, aux);
}

int fsmount(int fd, unsigned flags, unsigned attributes)
{
	return (int)syscall(SYS_fsmount, fd, flags, attributes);
}

int fspick(int fd, const char *path, unsigned flags)
{
	return (int)syscall(SYS_fspick, fd, path, flags);
}

int open_tree(int fd, const char *path, unsigned flags)
{
	return (int)syscall(SYS_open_tree, fd, path, flags);
}

int move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	return (int)syscall(SYS_move_mount, from_fd, from, to_fd, to, flags);
}

int mount_setattr(int fd, const char *path, unsigned flags, struct mount_attr *attr, size_t size)
{
	return (int)syscall(SYS_mount_setattr, fd, path, flags, attr, size);
}

/* ---- Functions of glibc --------------------------------------------------------------------- */

static void free_entries(struct dirent **v, size_t n)
{
	while (n > 0)
		free(v[--n]);
	free(v);
}

/* Appends a copy of @de; 0 or -1. */
static int add_entry(struct dirent ***v, size_t *n, const struct dirent *de)
{
	struct dirent **grown = reallocarray(*v, *n + 1, sizeof **v);
	if (!grown)
		return -1;
	*v = grown;
	(*v)[*n] = malloc(de->d_reclen);
	if (!(*v)[*n])
		return -1;
	memcpy((*v)[(*n)++], de, de->d_reclen);
	return 0;
}

int scandirat(int dir_fd, const char *path, struct dirent ***ret,
	      int (*wanted)(const struct dirent *),
	      int (*compare)(const struct dirent **, const struct dirent **))
{
	struct dirent **v = NULL;
	size_t n = 0;

	int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		if (fd >= 0)
			(void)close(fd);
		return -1;
	}
	errno = 0;
	for (struct dirent *de; errno == 0 && (de = readdir(d));)
		if (!wanted || wanted(de))
			(void)add_entry(&v, &n, de);
	int failed = errno;
	(void)closedir(d);
	if (failed) {
		free_entries(v, n);
		errno = failed;
		return -1;
	}
	if (compare && n > 1)
		qsort(v, n, sizeof *v,
		      (int (*)(const void *, const void *))(void (*)(void))compare);
	*ret = v;
	return (int)n;
}

/* There are no arenas, and freed pages go back by themselves. */
int mallopt(int what, int value)
{
	return 1;
}

int malloc_trim(size_t keep)
{
	return 0;
}

/* ---- Names in libraries --------------------------------------------------------------------- */

/* libuv asks whether a bug of glibc's concerns it. */
const char *gnu_get_libc_version(void);
const char *gnu_get_libc_version(void)
{
	return "2.36";
}

long __sysconf(int name);
long __sysconf(int name)
{
	return sysconf(name);
}

int __open64_2(const char *path, int flags);
int __open64_2(const char *path, int flags)
{
	return open(path, flags);
}

int fcntl64(int fd, int command, ...);
int fcntl64(int fd, int command, ...)
{
	va_list ap;

	va_start(ap, command);
	void *argument = va_arg(ap, void *); /* an int is passed alike */
	va_end(ap);
	return fcntl(fd, command, argument);
}

char *__realpath_chk(const char *path, char *ret, size_t size);
char *__realpath_chk(const char *path, char *ret, size_t size)
{
	if (size < PATH_MAX)
		abort();
	return realpath(path, ret);
}

void *__memcpy_chk(void *dst, const void *src, size_t n, size_t size);
void *__memcpy_chk(void *dst, const void *src, size_t n, size_t size)
{
	if (n > size)
		abort();
	return memcpy(dst, src, n);
}

void *__memmove_chk(void *dst, const void *src, size_t n, size_t size);
void *__memmove_chk(void *dst, const void *src, size_t n, size_t size)
{
	if (n > size)
		abort();
	return memmove(dst, src, n);
}

char *__strncpy_chk(char *dst, const char *src, size_t n, size_t size);
char *__strncpy_chk(char *dst, const char *src, size_t n, size_t size)
{
	if (n > size)
		abort();
	return strncpy(dst, src, n);
}

int __vsnprintf_chk(char *dst, size_t n, int flag, size_t size, const char *format, va_list ap);
int __vsnprintf_chk(char *dst, size_t n, int flag, size_t size, const char *format, va_list ap)
{
	if (n > size)
		abort();
	return vsnprintf(dst, n, format, ap);
}

int __snprintf_chk(char *dst, size_t n, int flag, size_t size, const char *format, ...);
int __snprintf_chk(char *dst, size_t n, int flag, size_t size, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	int r = __vsnprintf_chk(dst, n, flag, size, format, ap);
	va_end(ap);
	return r;
}

int __sprintf_chk(char *dst, int flag, size_t size, const char *format, ...);
int __sprintf_chk(char *dst, int flag, size_t size, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	int r = vsnprintf(dst, size, format, ap);
	va_end(ap);
	if (r >= 0 && (size_t)r >= size)
		abort();
	return r;
}

int __fprintf_chk(FILE *f, int flag, const char *format, ...);
int __fprintf_chk(FILE *f, int flag, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	int r = vfprintf(f, format, ap);
	va_end(ap);
	return r;
}
