/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttrpc: containerd's small RPC over a stream socket.
 *
 * Frame: a 10-byte big-endian header (u32 data length, u32 stream id, u8 type, u8 flags), then the
 * data. Types: 1 request, 2 response, 3 data. Flags: 1 remote closed, 2 remote open, 4 no data.
 * Source: github.com/containerd/ttrpc PROTOCOL.md.
 *
 * Server and client are table-driven: a service is a protobuf-c service descriptor, which knows
 * each method's name, request and response type. Calls are unary, but for methods that a table
 * marks as streams; a stream opened by a peer for any other is answered UNIMPLEMENTED.
 */
#pragma once

#include "base/err.h"
#include "io/loop.h"

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

/* The largest data of one frame; both of the field's implementations refuse more. */
#define RPC_DATA_MAX (4u << 20)

/* ---- Streams ------------------------------------------------------------------------------ */

/**
 * Messages both ways, beside other calls of a connection; made by rpc_client_open(), or by a peer
 * and given to an rpc_stream_handler. Its user owns it until rpc_stream_free(). Loop thread only.
 */
struct rpc_stream;

struct rpc_stream_ops {
	/** A message came; borrowed for the call. There is no bound on how many a peer sends: who
	 * keeps them bounds them. */
	void (*message)(void *arg, const ProtobufCMessage *m);
	/** The last callback: the peer sends no more (@r 0; a client's stream may still be sent
	 * to), or the stream is broken (@r < 0) and only to be freed. */
	void (*ended)(void *arg, int r, const struct err *e);
	/** After a send was refused with -EAGAIN: there is room again. May be NULL. */
	void (*writable)(void *arg);
};

/** Queues a message of the method's type. -EAGAIN: too much waits to be sent, writable() will come;
 * -EPIPE: it is closed or broken; -EMSGSIZE; -ENOMEM. */
int rpc_stream_send(struct rpc_stream *s, const ProtobufCMessage *m);
/** No more is sent. A server's close ends the whole stream, with success; nothing is told then. */
void rpc_stream_close(struct rpc_stream *s);
/** A server's close with a failure; a client's is a plain close. */
void rpc_stream_fail(struct rpc_stream *s, int status, const char *text);
/** Closes it (a server: as CANCELLED) if that is not done, and forgets it; also from inside of its
 * callbacks. NULL is fine. */
void rpc_stream_free(struct rpc_stream *s);

/* ---- Server ------------------------------------------------------------------------------- */

struct rpc_server;
/** One request that waits for its answer. Whoever holds it must answer it exactly once. */
struct rpc_call;

/**
 * Handles one method. Runs on the loop thread and must not block: it answers at once, keeps the
 * call to answer later (a deferred reply), or hands it to a worker.
 */
typedef void (*rpc_handler)(void *ctx, struct rpc_call *call);

/** Takes a stream that a peer opened: owns it, and must rpc_stream_accept() or free it at once. */
typedef void (*rpc_stream_handler)(void *ctx, struct rpc_stream *s);
void rpc_stream_accept(struct rpc_stream *s, const struct rpc_stream_ops *ops, void *arg);

struct rpc_method {
	const char *name; /* as in the descriptor: "Create" */
	rpc_handler fn;
	rpc_stream_handler stream; /* instead of fn: a stream, each way of messages */
};

struct rpc_service {
	const char *name; /* on the wire: "containerd.task.v2.Task" */
	const ProtobufCServiceDescriptor *desc;
	const struct rpc_method *methods; /* ends with a NULL name; a method that the descriptor
					     has but not this table answers UNIMPLEMENTED */
	void *ctx;
	/** Asked before each handler of the table (not for streams), if not NULL: whether it may
	 * run. If not, this answers the call. */
	bool (*admit)(void *ctx, struct rpc_call *call);
};

int rpc_server_new(struct loop *loop, struct rpc_server **ret);
/** @service is borrowed for the server's life. Two names may share one descriptor and table.
 * -EEXIST: the name is taken; -EINVAL: a method that the descriptor does not have. */
int rpc_server_add(struct rpc_server *s, const struct rpc_service *service);
/** Accepts connections on a listening socket; consumes @fd on success. May be called repeatedly.
 * Server functions are for the loop thread. */
int rpc_server_listen(struct rpc_server *s, int fd);
/** Serves one connected socket; consumes @fd on success. */
int rpc_server_serve(struct rpc_server *s, int fd);
/** @fn runs on the loop thread whenever the last connection has gone, but not for the end of the
 * server itself. It may not free the server. */
void rpc_server_on_idle(struct rpc_server *s, void (*fn)(void *arg), void *arg);
/** Stops accepting; open connections go on. */
void rpc_server_stop_listening(struct rpc_server *s);
/**
 * Waits at most @timeout_ms for queued replies to leave, without running other work.
 * For the moment before exit, so that the reply to Shutdown arrives.
 */
void rpc_server_flush(struct rpc_server *s, uint64_t timeout_ms);
/** Closes everything. Calls that are still held stay valid: answering them then does nothing. */
void rpc_server_free(struct rpc_server *s);

/** The decoded request, of the method's input type. Owned by the call. */
const ProtobufCMessage *rpc_call_request(const struct rpc_call *c);
const char *rpc_call_service(const struct rpc_call *c); /* wire name */
const char *rpc_call_method(const struct rpc_call *c);
/** The first value of a metadata key (lower case), or NULL. */
const char *rpc_call_metadata(const struct rpc_call *c, const char *key);
/** The client's deadline (base/clock.h), 0 for none. When it passes, the server itself answers
 * DEADLINE_EXCEEDED; the work goes on, and its own answer is dropped. */
uint64_t rpc_call_deadline(const struct rpc_call *c);

/**
 * Whether somebody still awaits the reply: neither has the deadline passed (the server answered
 * then) nor did the connection end. A handler that gives data away, like a read from a pipe, asks
 * first. Any thread; a false is final, a true may be out of date.
 */
bool rpc_call_wanted(const struct rpc_call *c);

/** Answers; consumes the call. @response is borrowed, of the method's output type; NULL stands for
 * an empty one. Any thread. A response above RPC_DATA_MAX becomes RESOURCE_EXHAUSTED. */
void rpc_call_reply(struct rpc_call *c, const ProtobufCMessage *response);
/** Answers with a failure; consumes the call. A status of OK in @e becomes UNKNOWN. Any thread. */
void rpc_call_fail(struct rpc_call *c, const struct err *e);
void rpc_call_failf(struct rpc_call *c, int status, const char *fmt, ...) _printf_(3, 4);

/* ---- Client ------------------------------------------------------------------------------- */

struct rpc_client;

/**
 * Speaks over a connected stream socket; consumes @fd on success. @on_close (may be NULL) runs once
 * on the loop thread when the connection ends, unless rpc_client_free() ended it; every pending
 * call has failed with UNAVAILABLE before. Any thread.
 */
int rpc_client_new(struct loop *loop, int fd, void (*on_close)(void *arg), void *arg,
		   struct rpc_client **ret);
/**
 * Loop thread; also from a callback of this client. Pending calls fail with CANCELLED, among them
 * those that other threads wait for. No other thread may be about to start one. NULL is fine.
 */
void rpc_client_free(struct rpc_client *c);
/** Whether the connection still stands. Any thread. */
bool rpc_client_alive(struct rpc_client *c);
/** How many replies have come: that it grows tells of a peer that is alive. Loop thread. */
uint64_t rpc_client_replies(const struct rpc_client *c);

/**
 * Receives the outcome on the loop thread. @r is 0 and @response the decoded reply, owned by the
 * callee (protobuf_c_message_free_unpacked), or @r is negative, @response NULL and @e says why,
 * with the peer's status code.
 */
typedef void (*rpc_done_fn)(void *arg, int r, ProtobufCMessage *response, const struct err *e);

struct rpc_request {
	const ProtobufCServiceDescriptor *service;
	const char *service_name; /* NULL: the descriptor's full name */
	const char *method;
	const ProtobufCMessage *message;
	uint64_t timeout_ms; /* 0: none; also sent to the peer */
	/* NULL-terminated key, value, key, value...; may be NULL */
	const char *const *metadata;
};

/** Starts a call. Any thread. On failure to start, returns it and @done never runs. */
int rpc_client_start(struct rpc_client *c, const struct rpc_request *req, rpc_done_fn done,
		     void *arg, struct err *e);

/**
 * Opens a stream: @req's message, timeout and the reply's type are not used. Loop thread. @ops
 * hears of everything from then on, but never from inside of this call; when the connection ends,
 * as UNAVAILABLE (or CANCELLED, by rpc_client_free()).
 */
int rpc_client_open(struct rpc_client *c, const struct rpc_request *req,
		    const struct rpc_stream_ops *ops, void *arg, struct rpc_stream **ret,
		    struct err *e);

/**
 * Calls and waits; for workers, never for the loop thread. *@ret_response is owned by the caller
 * and may be NULL if nobody wants it. -ETIMEDOUT at the deadline: the late reply is dropped.
 */
int rpc_client_call(struct rpc_client *c, const struct rpc_request *req,
		    ProtobufCMessage **ret_response, struct err *e);
