/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scope-bound ownership.
 *
 * A local that owns something says so where it is declared:
 *
 *	_cleanup_free_ char *path = NULL;
 *	_cleanup_close_ int fd = -EBADF;
 *
 * and gives it away with TAKE_PTR() or TAKE_FD(). `goto` remains only for undoing ordered effects
 * on the outside world.
 */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _unused_ __attribute__((unused))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _nodiscard_ __attribute__((warn_unused_result))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/** Moves a pointer out of a variable, leaving NULL behind. */
#define TAKE_PTR(p)                       \
	({                                \
		__auto_type _taken = (p); \
		(p) = NULL;               \
		_taken;                   \
	})

/** Moves a descriptor out of a variable, leaving -EBADF behind. */
#define TAKE_FD(fd)                   \
	({                            \
		int _taken_fd = (fd); \
		(fd) = -EBADF;        \
		_taken_fd;            \
	})

/** Defines `static void name_p(type **p)` for _cleanup_, calling `fn` on a non-NULL pointer. */
#define DEFINE_CLEANUP(type, fn)            \
	static inline void fn##_p(type **p) \
	{                                   \
		if (*p)                     \
			fn(*p);             \
	}

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

/* Closes and keeps errno, so that an error path can still report the first failure. */
static inline void cleanup_close(const int *fd)
{
	if (*fd >= 0) {
		int saved = errno;
		(void)close(*fd);
		errno = saved;
	}
}

static inline void cleanup_fclose(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)

/** Closes a descriptor if it is one. Returns -EBADF: `fd = close_fd(fd)`. */
static inline int close_fd(int fd)
{
	cleanup_close(&fd);
	return -EBADF;
}
