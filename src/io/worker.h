/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small fixed pool of threads for straight-line work (create, start, exec): plain blocking C with
 * a deadline on every wait. The number of threads never grows with the number of containers; all
 * of them exist from the start, because a child's parent-death signal is tied to the thread that
 * made it, so these threads must live as long as the process.
 */
#pragma once

#include "base/cleanup.h"

struct worker_pool;

/** Starts @n threads with @stack_bytes each (0: 256 KiB). */
int worker_pool_new(unsigned n, size_t stack_bytes, struct worker_pool **ret);
/** Runs fn(arg) on a worker, first come, first served. Any thread. 0 or -ENOMEM. */
int worker_pool_run(struct worker_pool *p, void (*fn)(void *arg), void *arg);
/** Waits for the work at hand, drops what has not begun, joins the threads. */
void worker_pool_free(struct worker_pool *p);
