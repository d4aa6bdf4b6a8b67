/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's clock follows the host's, where KVM lends that as a PTP clock (drivers/ptp/
 * ptp_kvm_common.c): a guest that was paused, or whose machine slept, is right again soon. Small
 * differences are slewed, so that time never runs backwards; large ones are stepped. Loop thread.
 *
 * It looks each 8 seconds at first, and up to 64 s apart as long as the clocks agree.
 */
#pragma once

#include "base/err.h"
#include "io/loop.h"

#define TIME_SYNC_MIN_MS 8000
#define TIME_SYNC_MAX_MS 64000
/* More is not caught up by slewing (at 500 ppm) within half an hour. */
#define TIME_SYNC_STEP_NS 1000000000ll
/* Less is noise of the measurement. */
#define TIME_SYNC_IGNORED_NS 50000ll
/* Agreement: nothing that deserves a look sooner. */
#define TIME_SYNC_GOOD_NS 1000000ll

struct time_sync;

/** How the clocks are read and set; another one is for tests. */
struct time_sync_ops {
	/* How far the host's clock is ahead of ours, in ns. 0 or a negative errno. */
	int (*offset)(void *arg, int64_t *ret_ns);
	int (*slew)(void *arg, int64_t ns);
	int (*step)(void *arg, int64_t ns);
};

/**
 * Whether this machine may have such a clock, which a kernel module (ptp_kvm) provides: it runs on
 * KVM.
 */
bool time_sync_possible(void);
/** Follows the clock of KVM. -ENODEV: there is none. */
int time_sync_new(struct loop *loop, struct time_sync **ret, struct err *e);
/** Follows another one. */
int time_sync_new_with(struct loop *loop, const struct time_sync_ops *ops, void *arg,
		       struct time_sync **ret);
void time_sync_free(struct time_sync *t);
/** Looks once, as the timer does, and returns when to look again, in ms. */
uint64_t time_sync_look(struct time_sync *t);
