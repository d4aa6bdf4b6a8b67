/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watchable storages: directories of the share that are copied and kept up to date (mirror.h), so
 * that their files change in the guest's own file system, and programs that watch them by inotify
 * are told.
 *
 * The host is asked each two seconds, on a worker, and only while there are such storages: without
 * them there is no timer either.
 */
#pragma once

#include "base/err.h"
#include "io/loop.h"
#include "io/worker.h"

struct watches;

/** All is borrowed. Loop thread. */
int watches_new(struct loop *loop, struct worker_pool *pool, struct watches **ret);
/** When no workers run any more. NULL is fine. */
void watches_free(struct watches *w);
