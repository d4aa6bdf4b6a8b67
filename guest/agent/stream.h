/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process' standard streams, as the agent's end of them: reads and writes that wait for their
 * turn without holding a thread. Loop thread only.
 *
 * End of an output stream is when its last writer closed it (a terminal: EIO), or, once the process
 * has exited, after STREAM_SILENCE_MS without a byte: a child left behind in the background may
 * keep the pipe open for ever, and must not keep the process from ending for its client.
 */
#pragma once

#include "base/list.h"
#include "io/loop.h"

#include <sys/types.h>

#define STREAM_SILENCE_MS 500

/* One read's answer. The runtime asks for 8 KiB; larger reads save round trips, up to this. */
#define STREAM_READ_MAX (1u << 20)
/* The runtime keeps one read a stream; a few more are room for its reconnection. */
#define STREAM_WAITING_MAX 16
/* Bytes of input that wait for a process that does not read. One frame of the RPC is always taken.
 */
#define STREAM_QUEUED_MAX (4u << 20)

/* ---- Output of the process ---------------------------------------------------------------- */

/**
 * Receives a read's outcome: 0 and the data (@len 0: end of stream), borrowed for the call, or a
 * negative errno if the stream was closed under the read.
 */
typedef void (*stream_read_fn)(void *arg, int r, const void *data, size_t len);
/** Whether a read that waits is still wanted: its answer takes bytes out of the stream for good. */
typedef bool (*stream_wanted_fn)(void *arg);

struct stream_out {
	struct loop *loop;
	int fd; /* owned; -EBADF: there is none, or it is closed */
	struct loop_io *io;
	struct loop_timer *silence;
	struct list readers;
	unsigned n_readers;
	bool exited; /* the process is no more */
	bool eof;
	bool eof_seen; /* a reader was told; also true where there was no stream to begin with */
	bool used;     /* somebody has read */
};

/** Consumes @fd; -EBADF makes a stream that is at its end. */
int stream_out_init(struct stream_out *s, struct loop *loop, int fd);
/**
 * Reads up to @max bytes (1 to STREAM_READ_MAX): what there is at once, or the first that comes.
 * @done runs once, maybe before this returns; with -ECANCELED for a read that is not @wanted any
 * more when its turn has come. -EAGAIN if too many reads wait already.
 */
int stream_out_read(struct stream_out *s, size_t max, stream_wanted_fn wanted, stream_read_fn done,
		    void *arg);
/** The process has exited: from now on silence ends the stream. */
void stream_out_exited(struct stream_out *s);
/** Closes; waiting reads get -ECANCELED. */
void stream_out_close(struct stream_out *s);

/* ---- Input of the process ----------------------------------------------------------------- */

/** Receives a write's outcome: 0 when all bytes are in the pipe, else a negative errno. */
typedef void (*stream_write_fn)(void *arg, int r);

struct stream_in {
	struct loop *loop;
	int fd; /* owned */
	struct loop_io *io;
	struct list writes;
	unsigned n_writes;
	size_t queued;
	bool tty;
	bool ended; /* end of input was asked for */
};

/** Consumes @fd; -EBADF makes a stream that is closed. @tty: it is a terminal's master. */
int stream_in_init(struct stream_in *s, struct loop *loop, int fd, bool tty);
/**
 * Writes all of @data, which is borrowed until @done has run (once, maybe before this returns).
 * -EPIPE if the input is closed, -EAGAIN if too much waits already.
 */
int stream_in_write(struct stream_in *s, const void *data, size_t len, stream_write_fn done,
		    void *arg);
/**
 * End of input, after what waits has been written: closes a pipe; types the end-of-file character
 * on a terminal, which stays open. May be asked for again.
 */
void stream_in_end(struct stream_in *s);
/** Closes; waiting writes get -ECANCELED. */
void stream_in_close(struct stream_in *s);
