/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: one thread owns every connection, timer, signal and child of a process.
 *
 * A thin face over libuv that hides its asynchronous closing: a watch may be freed at any time on
 * the loop thread, also from its own callback, and its callback never runs again.
 *
 * All functions are for the loop thread (or before loop_run()), but for loop_post() and
 * loop_stop(), which any thread may call.
 */
#pragma once

#include "base/cleanup.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_io;
struct loop_timer;
struct loop_signal;

/** Returns 0 or a negative errno. */
int loop_new(struct loop **ret);
/** Frees the loop. Every watch must have been freed; posted work that did not run is dropped. */
void loop_free(struct loop *l);
/** Runs until loop_stop(). */
void loop_run(struct loop *l);
/** Ends loop_run() after the callbacks at hand. Any thread. */
void loop_stop(struct loop *l);
/** Whether the caller is the thread that runs the loop (before loop_run(): that made it). */
bool loop_is_current(const struct loop *l);

/** Runs fn(arg) on the loop thread, in the order posted. Any thread. 0 or -ENOMEM. */
int loop_post(struct loop *l, void (*fn)(void *arg), void *arg);

enum {
	LOOP_READ = 1,
	LOOP_WRITE = 2,
	LOOP_HANGUP = 4, /* reported beside the others; also on error */
	/* Both directions are shut: the peer is gone, or there is an error. Silent after a mere
	 * half-close, when LOOP_HANGUP would be reported for ever. Watch it alone. */
	LOOP_CLOSED = 8,
};

typedef void (*loop_io_fn)(void *arg, unsigned events);

/**
 * Watches a descriptor, level-triggered; @events may be 0 (paused). The descriptor is borrowed, is
 * set non-blocking, and must stay open until loop_io_free(). One watch a descriptor.
 */
int loop_io_new(struct loop *l, int fd, unsigned events, loop_io_fn fn, void *arg,
		struct loop_io **ret);
void loop_io_set(struct loop_io *io, unsigned events);
/** NULL is fine. The descriptor may be closed right afterwards. */
void loop_io_free(struct loop_io *io);

/** Makes a stopped timer. */
int loop_timer_new(struct loop *l, void (*fn)(void *arg), void *arg, struct loop_timer **ret);
/** (Re)arms it, once, @ms from now. */
void loop_timer_start(struct loop_timer *t, uint64_t ms);
void loop_timer_stop(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t);

int loop_signal_new(struct loop *l, int signum, void (*fn)(void *arg, int signum), void *arg,
		    struct loop_signal **ret);
void loop_signal_free(struct loop_signal *s);
