/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process' standard streams: copied between containerd's FIFOs and the guest, wholly on the loop.
 *
 * One read of a stream is outstanding at the agent at any time; its data is written to the FIFO
 * before the next is asked for, so a slow reader slows its own process and nothing else, and no
 * output is held beyond one reply. A FIFO's own read end is kept open until the process is
 * deleted, so that output waits for a reader that comes late; the write end is closed at the end of
 * the stream, which is how the reader learns of it. Streams that nobody wants are read and dropped:
 * a process must not stop because its output is not looked at.
 */
#pragma once

#include "agent/agent.h"

struct process_io;

struct process_io_params {
	struct loop *loop;
	struct agent *agent;
	const char *container_id;      /* copied, as are the others */
	const char *exec_id;	       /* "" for init, here as to the agent */
	const char *in, *out, *errout; /* "" or path, or file:// or fifo:// with one */
	bool terminal;		       /* then there is no separate error stream */
	/** All output has reached its FIFO, or never can. Loop thread, once, after start. */
	void (*on_drained)(void *arg);
	void *arg;
};

/** Opens the streams. Loop thread; does not block. Refuses schemes that it does not know. */
int process_io_new(const struct process_io_params *p, struct process_io **ret, struct err *e);
/** The process runs: starts to copy. */
void process_io_start(struct process_io *io);
/** containerd's CloseIO: standard input ends once what was written to it has been read. */
void process_io_close_stdin(struct process_io *io);
/** The process has ended: nothing more goes to its standard input. */
void process_io_stop_stdin(struct process_io *io);
bool process_io_is_drained(const struct process_io *io);
/** Closes everything; on_drained will not run any more. NULL is fine. */
void process_io_free(struct process_io *io);
