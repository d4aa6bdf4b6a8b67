/* SPDX-License-Identifier: Apache-2.0 */
/* Outputs that are a descriptor: FIFOs, files, pipes. */
#include "base/fd.h"
#include "runtimes/stdio-end.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

struct fd_out {
	struct stdio_out base;
	int fd, keep_fd;
	struct loop_io *watch; /* NULL: a regular file, which never blocks and cannot be watched */
};

static void on_writable(void *arg, unsigned events)
{
	struct fd_out *o = arg;

	loop_io_set(o->watch, 0);
	o->base.ready(o->base.arg);
}

static ssize_t fd_out_write(struct stdio_out *base, const void *data, size_t len)
{
	struct fd_out *o = (struct fd_out *)base;

	if (o->fd < 0)
		return -EPIPE;
	for (;;) {
		ssize_t n = write(o->fd, data, len);
		if (n >= 0)
			return n;
		if (errno == EAGAIN && o->watch) {
			loop_io_set(o->watch, LOOP_WRITE);
			return -EAGAIN;
		}
		if (errno != EINTR)
			return errno == EAGAIN ? -EIO : -errno;
	}
}

static void fd_out_end(struct stdio_out *base)
{
	struct fd_out *o = (struct fd_out *)base;

	loop_io_free(TAKE_PTR(o->watch));
	o->fd = close_fd(o->fd);
}

static void fd_out_free(struct stdio_out *base)
{
	struct fd_out *o = (struct fd_out *)base;

	fd_out_end(base);
	(void)close_fd(o->keep_fd);
	free(o);
}

static const struct stdio_out_ops fd_out_ops = {fd_out_write, fd_out_end, fd_out_free};

int stdio_out_fd(struct loop *loop, int fd, int keep_fd, struct stdio_out **ret)
{
	struct fd_out *o = calloc(1, sizeof *o);
	if (!o)
		return -ENOMEM;
	int r = loop_io_new(loop, fd, 0, on_writable, o, &o->watch);
	if (r < 0 && r != -EPERM) {
		free(o);
		return r;
	}
	o->base.ops = &fd_out_ops;
	o->fd = fd;
	o->keep_fd = keep_fd;
	*ret = &o->base;
	return 0;
}

static int open_or_say(const char *what, const char *path, int flags, mode_t mode, struct err *e)
{
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode);
	return fd >= 0 ? fd : err_errno(e, -errno, "open %s %s", what, path);
}

static int wrap(struct loop *loop, const char *what, const char *path, int *fd, int *keep_fd,
		struct stdio_out **ret, struct err *e)
{
	int r = stdio_out_fd(loop, *fd, *keep_fd, ret);
	if (r < 0)
		return err_errno(e, r, "watch %s %s", what, path);
	*fd = *keep_fd = -EBADF;
	return 0;
}

int stdio_out_open_path(struct loop *loop, const char *what, const char *path,
			struct stdio_out **ret, struct err *e)
{
	_cleanup_close_ int fd = -EBADF, keep_fd = -EBADF;
	struct stat st;

	/* A FIFO opens for writing without a wait only while somebody can read it: we can. */
	if (stat(path, &st) == 0 && S_ISFIFO(st.st_mode)) {
		keep_fd = open_or_say(what, path, O_RDONLY, 0, e);
		if (keep_fd < 0)
			return keep_fd;
	}
	fd = open_or_say(what, path, keep_fd >= 0 ? O_WRONLY : O_WRONLY | O_APPEND, 0, e);
	return fd < 0 ? fd : wrap(loop, what, path, &fd, &keep_fd, ret, e);
}

int stdio_out_open_file(struct loop *loop, const char *what, const char *path,
			struct stdio_out **ret, struct err *e)
{
	_cleanup_close_ int fd = -EBADF, keep_fd = -EBADF;
	_cleanup_free_ char *dir = strdup(path);

	if (!dir)
		return err_set(e, -ENOMEM, "out of memory");
	char *slash = strrchr(dir, '/');
	if (slash && slash != dir) {
		*slash = '\0';
		int r = mkdir_parents(dir, 0755);
		if (r < 0)
			return err_errno(e, r, "make the directory %s for %s", dir, what);
	}
	fd = open_or_say(what, path, O_WRONLY | O_CREAT | O_APPEND, 0644, e);
	return fd < 0 ? fd : wrap(loop, what, path, &fd, &keep_fd, ret, e);
}
