/* SPDX-License-Identifier: Apache-2.0 */
/* A loop whose rounds run side by side, on threads that end with it. */
#pragma once

#include "base/err.h"

/**
 * Runs work(ctx, i) for each i below @n, at most @threads at a time; the calling thread is one of
 * them, and the only one if others cannot be had. Returns when all that began have ended: 0, or the
 * failure of the lowest i that failed. After a failure no further round begins.
 */
int parallel_run(unsigned threads, size_t n, int (*work)(void *ctx, size_t i, struct err *e),
		 void *ctx, struct err *e);
