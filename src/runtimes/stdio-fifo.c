/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Input from a FIFO (or another file).
 *
 * From the process' start on, its input ends only when CloseIO says so: a client that detaches must
 * not end it, so a write end of ours keeps it open. But a client that came, wrote and left before
 * the start had nothing to detach from: that was all of the input. (ctr 1.6 never sends CloseIO
 * then.) The kernel tells by POLLHUP: there was a writer since we opened, and there is none now.
 */
#include "runtimes/stdio-end.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

struct fifo_in {
	struct stdio_in base;
	int fd;
	int keep_fd; /* the FIFO's write end, from start until CloseIO */
	char *path;  /* NULL: it is no FIFO */
	bool closed; /* CloseIO has come */
	struct loop_io *io;
};

static void on_readable(void *arg, unsigned events)
{
	struct fifo_in *i = arg;

	loop_io_set(i->io, 0);
	i->base.ready(i->base.arg);
}

static void fifo_in_watch(struct stdio_in *base)
{
	struct fifo_in *i = (struct fifo_in *)base;

	if (i->io)
		loop_io_set(i->io, LOOP_READ);
	else
		base->ready(base->arg); /* a regular file always has something to tell */
}

static ssize_t fifo_in_read(struct stdio_in *base, void *data, size_t size)
{
	struct fifo_in *i = (struct fifo_in *)base;
	ssize_t n = read(i->fd, data, size);

	if (n >= 0)
		return n;
	return errno == EINTR ? -EAGAIN : -errno;
}

static void fifo_in_start(struct stdio_in *base)
{
	struct fifo_in *i = (struct fifo_in *)base;
	struct pollfd pfd = {.fd = i->fd, .events = POLLIN};

	if (!i->path || i->closed || (poll(&pfd, 1, 0) > 0 && (pfd.revents & POLLHUP)))
		return;
	i->keep_fd = open(i->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
}

static void fifo_in_close(struct stdio_in *base)
{
	struct fifo_in *i = (struct fifo_in *)base;

	i->closed = true;
	/* A FIFO that has never had a writer has no end either, for who polls it. */
	if (i->path && i->keep_fd < 0)
		i->keep_fd = open(i->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	i->keep_fd = close_fd(i->keep_fd);
}

static void fifo_in_free(struct stdio_in *base)
{
	struct fifo_in *i = (struct fifo_in *)base;

	loop_io_free(i->io);
	(void)close_fd(i->fd);
	(void)close_fd(i->keep_fd);
	free(i->path);
	free(i);
}

static const struct stdio_in_ops fifo_in_ops = {
	fifo_in_watch, fifo_in_read, fifo_in_start, fifo_in_close, fifo_in_free,
};

/* Has the FIFO hold what one read asks for. It takes memory only for what is in it; where that is
 * not allowed, the reads are smaller. */
static void widen(int fd)
{
	int size = fcntl(fd, F_GETPIPE_SZ);
	if (size > 0 && (unsigned)size < STDIO_IN_BYTES)
		(void)fcntl(fd, F_SETPIPE_SZ, (int)STDIO_IN_BYTES);
}

int stdio_in_open_path(struct loop *loop, const char *path, struct stdio_in **ret, struct err *e)
{
	struct stat st;
	struct fifo_in *i = calloc(1, sizeof *i);

	if (!i)
		return err_set(e, -ENOMEM, "out of memory");
	i->base.ops = &fifo_in_ops;
	i->keep_fd = -EBADF;
	i->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int r = i->fd < 0 ? err_errno(e, -errno, "open stdin %s", path) : 0;
	if (r == 0 && fstat(i->fd, &st) == 0 && S_ISFIFO(st.st_mode)) {
		widen(i->fd);
		i->path = strdup(path);
		r = i->path ? 0 : err_set(e, -ENOMEM, "out of memory");
	}
	if (r == 0) {
		r = loop_io_new(loop, i->fd, 0, on_readable, i, &i->io);
		r = r < 0 && r != -EPERM ? err_errno(e, r, "watch stdin %s", path) : 0;
	}
	if (r < 0) {
		fifo_in_free(&i->base);
		return r;
	}
	*ret = &i->base;
	return 0;
}
