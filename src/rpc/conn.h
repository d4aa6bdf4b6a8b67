/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection on the loop: what server and client have in common.
 *
 * Frames come in by callback, frames go out through a queue. Loop thread only. The owner may close
 * the connection and free its memory from inside of any callback.
 *
 * While more than `pause_at` bytes wait to be sent, nothing is read: a peer that does not take its
 * replies gets no further requests in. Past RPC_QUEUE_MAX the connection is lost.
 */
#pragma once

#include "rpc/frame.h"

/* Unsent bytes at which a connection is given up: eight of the largest messages. */
#define RPC_QUEUE_MAX (32u << 20)

struct rpc_conn_ops {
	/** A frame came in. Its data is borrowed for the call. */
	void (*frame)(void *arg, const struct rpc_frame_in *f);
	/** The peer will send nothing more. It may still take frames, or be gone: rpc_conn_gone().
	 * Once. The owner closes, now or later. */
	void (*eof)(void *arg);
	/** The connection is of no use any more; @r says why. The owner closes it. */
	void (*lost)(void *arg, int r);
	/** A turn of sending and receiving ended. May be NULL. */
	void (*turned)(void *arg);
};

struct rpc_conn {
	struct loop *loop;
	int fd; /* owned; -EBADF: closed */
	struct loop_io *io;
	struct rpc_reader in;
	struct rpc_queue out;
	size_t pause_at;
	const struct rpc_conn_ops *ops;
	void *arg;

	int broken;   /* negative errno: sending failed */
	bool reading; /* inside of the frame callbacks: what they send leaves together */
	bool eof;     /* seen */
	bool hangup;  /* seen while not reading; no longer watched, lest it wake us forever */
	bool *gone;   /* set by rpc_conn_close(), for the callback that is at work */
};

/** Consumes @fd on success. */
int rpc_conn_open(struct rpc_conn *c, struct loop *loop, int fd, size_t pause_at,
		  const struct rpc_conn_ops *ops, void *arg);
/** Closes and forgets what is queued. No callback. Twice is fine. */
void rpc_conn_close(struct rpc_conn *c);
/** Queues a frame, consumed, without sending it. NULL, for want of memory, breaks the connection,
 * so that the peer does not wait for ever. */
void rpc_conn_queue(struct rpc_conn *c, struct rpc_frame *f);
/** Sends what can be sent now. Never calls back: a failure comes as lost() from the loop. */
void rpc_conn_flush(struct rpc_conn *c);
/** The same also from inside of a callback, which otherwise sends at its end. */
void rpc_conn_flush_now(struct rpc_conn *c);
/** Whether the peer closed its socket, so that nothing can reach it. */
bool rpc_conn_gone(const struct rpc_conn *c);

/** An eventfd that the loop watches: how other threads say that there is work. */
struct rpc_wake {
	int fd; /* -EBADF: none */
	struct loop_io *io;
	void (*fn)(void *arg);
	void *arg;
};

#define RPC_WAKE_INIT ((struct rpc_wake){.fd = -EBADF})

/** Any thread. */
int rpc_wake_open(struct rpc_wake *w);
/** Loop thread: from now on fn(arg) runs there after each rpc_wake_up(). */
int rpc_wake_watch(struct rpc_wake *w, struct loop *loop, void (*fn)(void *arg), void *arg);
/** Any thread, while the descriptor is open. */
void rpc_wake_up(struct rpc_wake *w);
void rpc_wake_close(struct rpc_wake *w);
