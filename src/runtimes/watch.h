/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches over a pod that is up: hears from the agent of containers that ran out of memory, and
 * notices an agent that does not answer any more. Loop thread.
 *
 * It costs an idle pod one wake-up in an interval of 30 seconds, and a busy one nothing: whose
 * replies come is alive.
 */
#pragma once

#include <stdbool.h>

struct runtime;
struct watch;

/** Begins for a sandbox that is up. Without memory it only warns: the pod can do without. */
void watch_start(struct runtime *rt);
/** Ends; what is on its way finds nobody. Idempotent. NULL is fine. */
void watch_stop(struct watch *w);
/** After the agent's connection is gone. NULL is fine. */
void watch_free(struct watch *w);
/** Whether the agent is listened to, so that it could tell of a lack of memory. NULL: no. */
bool watch_hears_of_oom(const struct watch *w);
