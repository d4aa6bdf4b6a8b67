/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A logging binary: a program that containerd names by a binary:// URI, and that takes a process'
 * output instead of containerd. The contract is that of containerd's own shim:
 *
 *	argv    the path, then each key and value of the URI
 *	env     CONTAINER_ID and CONTAINER_NAMESPACE, nothing else
 *	fds     3 and 4: the read ends of stdout and stderr; 5: the write end of a pipe on which it
 *		says that it is ready, by a byte or (binary-v2: not) by closing it; 0 to 2:
 * /dev/null
 *
 * It ends by itself when both streams have; if it does not within a bound it gets SIGTERM, then
 * SIGKILL. It dies with the shim, so it needs no line in the journal. Loop thread only; the start
 * itself, which waits for an exec, is a worker's.
 */
#pragma once

#include "io/worker.h"
#include "runtimes/stdio-end.h"
#include "runtimes/stdio-uri.h"

struct logger;

struct logger_params {
	struct loop *loop;
	struct worker_pool *workers;
	struct stdio_uri *uri;		      /* of STDIO_BINARY; consumed: empty on success */
	const char *id, *namespace;	      /* copied */
	uint64_t ready_ms, drain_ms, term_ms; /* 0: 10 s, 12 s, 12 s */
	/** It takes output now, or it failed and is gone. Once, never before logger_new() returns.
	 */
	void (*on_ready)(void *arg, int r, const struct err *e);
	void *arg;
};

int logger_new(const struct logger_params *p, struct logger **ret, struct err *e);
/** The outputs that lead to it, the caller's from then on; once, after on_ready told success. */
void logger_take(struct logger *l, struct stdio_out **ret_out, struct stdio_out **ret_err);
/** After both outputs were freed: @done runs when it has ended, maybe before this returns. */
void logger_end(struct logger *l, void (*done)(void *arg), void *arg);
/** Kills it if it lives. No callback runs any more. NULL is fine. */
void logger_free(struct logger *l);
