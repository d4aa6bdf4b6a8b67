/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strand: jobs on the worker pool, one after another in the order given. Each container has one,
 * so what is done to it never overlaps, a container that waits holds up no other, and no thread is
 * parked on a lock.
 */
#pragma once

#include "base/cleanup.h"
#include "io/worker.h"

struct strand;

int strand_new(struct worker_pool *pool, struct strand **ret);
/** Runs fn(arg) on a worker after everything given before. Any thread. 0 or -ENOMEM. */
int strand_run(struct strand *s, void (*fn)(void *arg), void *arg);
/** Gives up the owner's hold; jobs that wait still run. NULL is fine. */
void strand_release(struct strand *s);
