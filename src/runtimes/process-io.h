/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process' standard streams: copied between containerd's ends (runtimes/stdio-end.h) and the
 * guest, wholly on the loop.
 *
 * One read of a stream is outstanding at the agent at any time; its data is written out before the
 * next is asked for, so a slow reader slows its own process and nothing else, and no output is held
 * beyond one reply. A FIFO's own read end is kept open until the process is deleted, so that output
 * waits for a reader that comes late or again; the write end is closed at the end of the stream,
 * which is how the reader learns of it. Streams that nobody wants are read and dropped: a process
 * must not stop because its output is not looked at.
 */
#pragma once

#include "agent/agent.h"
#include "io/worker.h"

struct process_io;
struct stdio_streams;

struct process_io_params {
	struct loop *loop;
	struct worker_pool *workers;
	struct stdio_streams *streams; /* NULL: there is no streaming service */
	const char *container_id;      /* copied, as are the others */
	const char *exec_id;	       /* "" for init, here as to the agent */
	const char *namespace;	       /* containerd's, for a logging binary */
	const char *in, *out, *errout; /* see runtimes/stdio-uri.h */
	bool terminal;		       /* then there is no separate error stream */
	/** All output has reached its end, or never can. Loop thread, once, after start. */
	void (*on_drained)(void *arg);
	void *arg;
};

/** Reads what the streams are, and refuses what is not known. Loop thread, as all of them. */
int process_io_new(const struct process_io_params *p, struct process_io **ret, struct err *e);
/** Opens the streams. @done runs once, maybe before this returns; not after process_io_free(). */
void process_io_open(struct process_io *io, void (*done)(void *arg, int r, const struct err *e),
		     void *arg);
/** The process runs: starts to copy. Both opened and @agent's. */
void process_io_start(struct process_io *io, struct agent *agent);
/** containerd's CloseIO: standard input ends once what was written to it has been read. At any
 * time, also before it is opened. */
void process_io_close_stdin(struct process_io *io);
/** The process has ended: nothing more goes to its standard input. */
void process_io_stop_stdin(struct process_io *io);
bool process_io_is_drained(const struct process_io *io);
/**
 * The process is being deleted: waits until its output is delivered, or nobody takes it; closes all
 * ends; waits until a logging binary has ended. All of that is bounded. Then @done runs, maybe
 * before this returns, but not after process_io_free().
 */
void process_io_end(struct process_io *io, void (*done)(void *arg), void *arg);
/** Closes everything at once; no callback will run any more. NULL is fine. */
void process_io_free(struct process_io *io);
