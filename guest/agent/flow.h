/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between a connection and a process' streams (stream.h): what the process says goes out on a
 * socket, what comes in on one is its input. Bounded memory; who is slow holds up the other. Loop
 * thread.
 *
 * A flow consumes its socket and borrows the stream, which it must not outlive. Two flows in
 * opposite directions on one connection need a descriptor each (a loop watches one once).
 */
#pragma once

#include "guest/agent/stream.h"

/*
 * Of one read or write; what waits for a slow peer. It is what our vsock device takes unasked
 * (devices/vsock.h), and much less wakes the process too often: with 64 KiB, bytes cost a guest a
 * third more.
 */
#define FLOW_BYTES (256u << 10)

struct flow_out;
struct flow_in;

/**
 * Copies all that @from has to the socket @fd, then ends that direction of it. @ended runs once,
 * from the loop, when all is delivered (r 0) or the peer is gone (a negative errno): then nobody
 * reads @from any more. It may free the flow. On failure @fd is still the caller's.
 */
int flow_out_new(struct loop *loop, int fd, struct stream_out *from,
		 void (*ended)(void *arg, int r), void *arg, struct flow_out **ret);
void flow_out_free(struct flow_out *f);

/**
 * Copies what comes from the socket @fd to @to; the peer's end of it is the end of the input.
 * @ended runs once, from the loop, when that has come, or the process takes no more.
 */
int flow_in_new(struct loop *loop, int fd, struct stream_in *to, void (*ended)(void *arg, int r),
		void *arg, struct flow_in **ret);
void flow_in_free(struct flow_in *f);
