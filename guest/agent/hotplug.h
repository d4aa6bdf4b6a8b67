/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for hardware that is on its way, without holding a worker: a request whose devices are
 * not there is put aside by the loop, and looked at again after each event of the kernel that may
 * concern it. There is no polling, and nothing is opened before somebody has to wait.
 *
 * The order makes it free of races: look; if that fails, listen, look again; then look after each
 * event that came since the last look began.
 */
#pragma once

#include "guest/agent/uevent.h"

#include <stdint.h>

struct agent;
struct hotplug;
struct job;

/* Beside the kinds of uevent.h. */
#define HOTPLUG_CDI 256u /* a file was written where specifications of CDI are (cdi.h) */

struct hotplug_want {
	/* Whether all is there: 0; -EAGAIN and a sentence: not yet; else: it will never do. On a
	 * worker, on the job's strand; may be called many times. */
	int (*look)(struct job *j, struct err *e);
	unsigned kinds; /* of events that may change the answer */
	uint64_t timeout_ms;
};

int hotplug_new(struct agent *a, struct hotplug **ret);
/** For the end of the process: jobs that still wait are abandoned. NULL is fine. */
void hotplug_free(struct hotplug *h);

/**
 * Calls then(j), on the loop, when look() is content (j->r is 0), or will not be: j->r and j->e
 * then tell why, -ENODEV if the time has passed. then() has to start the job, or finish it.
 */
void hotplug_wait(struct job *j, const struct hotplug_want *want, void (*then)(struct job *j));

/** The sandbox ends: nothing is waited for any more. Who waits fails, without its time passing. */
void hotplug_give_up(struct hotplug *h);

/** Something of these kinds has happened. */
void hotplug_notify(struct hotplug *h, unsigned kinds);
