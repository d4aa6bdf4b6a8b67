/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of containerd's streaming service as ends of a process' stdio ("ttrpc+unix://SOCKET?
 * streaming_id=ID").
 *
 * With io_type = "streaming", containerd opens the streams at the shim's own socket, each with an
 * id, before it names them in Create or Exec: `struct stdio_streams` keeps those until their
 * process asks for them. After a restart it opens them anew under their old ids, and the copying
 * goes on. Where the socket is another one, the shim is the client that opens the stream there.
 *
 * Both carry containerd.types.transfer messages: Data one way, the WindowUpdates that allow so many
 * bytes the other way. Loop thread only.
 */
#pragma once

#include "rpc/rpc.h"
#include "runtimes/stdio-end.h"
#include "runtimes/stdio-uri.h"

/* What is granted ahead to a client that writes to a standard input; containerd grants as much. */
#define STDIO_WINDOW (64u << 10)
/* The longest id; containerd makes them of a container's or an exec's id and a word. */
#define STDIO_STREAM_ID_MAX 512
/* Streams that were opened and that no process has asked for. */
#define STDIO_STREAMS_MAX 1024

struct stdio_streams;

/** @socket_path: ours; copied. */
int stdio_streams_new(struct loop *loop, const char *socket_path, struct stdio_streams **ret);
/** After all ends. NULL is fine. */
void stdio_streams_free(struct stdio_streams *t);

/** For rpc_method.stream of Streaming/Stream: @t keeps the stream. */
void stdio_streams_take(struct stdio_streams *t, struct rpc_stream *s);

/**
 * An end over the stream that @uri names. @opened runs once, maybe before this returns: at once for
 * one of ours, after the peer's acknowledgement for another's. Not after the end was freed.
 */
int stdio_out_open_stream(struct stdio_streams *t, const struct stdio_uri *uri,
			  void (*opened)(void *arg, int r, const struct err *e), void *arg,
			  struct stdio_out **ret, struct err *e);
int stdio_in_open_stream(struct stdio_streams *t, const struct stdio_uri *uri,
			 void (*opened)(void *arg, int r, const struct err *e), void *arg,
			 struct stdio_in **ret, struct err *e);
