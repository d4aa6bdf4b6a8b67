/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's ends of a process' streams, whatever they are made of. Loop thread only; nothing
 * blocks. Who uses an end sets `ready` and `arg` first. An end may be freed from its own ready().
 */
#pragma once

#include "base/err.h"
#include "io/loop.h"

#include <sys/types.h>

/** Takes the output of a process. */
struct stdio_out {
	const struct stdio_out_ops *ops;
	void (*ready)(void *arg); /* there is room again, after a write returned -EAGAIN */
	void *arg;
};

struct stdio_out_ops {
	/** Returns how much was taken (> 0), -EAGAIN (then ready() comes, later), or why nothing
	 * ever will be taken again. */
	ssize_t (*write)(struct stdio_out *o, const void *data, size_t len);
	/** No more output: the reader learns of the end, and may still take what was written. */
	void (*end)(struct stdio_out *o);
	void (*free)(struct stdio_out *o);
};

/* What one read of an input is worth asking for, since each is a request to the agent. */
#define STDIO_IN_BYTES (256u << 10)

/** Gives the input of a process. */
struct stdio_in {
	const struct stdio_in_ops *ops;
	void (*ready)(void *arg); /* a read will tell something, after watch() */
	void *arg;
};

struct stdio_in_ops {
	/** Calls ready() once, maybe before it returns. */
	void (*watch)(struct stdio_in *i);
	/** Returns the bytes read (> 0), 0 at the end of the input, -EAGAIN, or another errno. */
	ssize_t (*read)(struct stdio_in *i, void *data, size_t size);
	/** The process runs. From now on a client that leaves does not end the input. */
	void (*start)(struct stdio_in *i);
	/** CloseIO: the input ends with what was written by now and by those who still write. */
	void (*close)(struct stdio_in *i);
	void (*free)(struct stdio_in *i);
};

static inline void stdio_out_free(struct stdio_out *o)
{
	if (o)
		o->ops->free(o);
}

static inline void stdio_in_free(struct stdio_in *i)
{
	if (i)
		i->ops->free(i);
}

/**
 * An output over a descriptor; consumes both on success. @keep_fd (or -EBADF) stays open until the
 * end is freed: a FIFO's read end, so that output waits there for a reader that comes late.
 */
int stdio_out_fd(struct loop *loop, int fd, int keep_fd, struct stdio_out **ret);

/** Opens a FIFO, or another file that exists. @what ("stdout") is for the sentence. */
int stdio_out_open_path(struct loop *loop, const char *what, const char *path,
			struct stdio_out **ret, struct err *e);
/** Opens a file for appending; makes it, and its directories, as containerd's own shim does. */
int stdio_out_open_file(struct loop *loop, const char *what, const char *path,
			struct stdio_out **ret, struct err *e);
int stdio_in_open_path(struct loop *loop, const char *path, struct stdio_in **ret, struct err *e);
