/* SPDX-License-Identifier: Apache-2.0 */
/* A loop on a thread of its own, for tests whose main thread plays a worker. */
#pragma once

#include "io/loop.h"

#include <pthread.h>
#include <semaphore.h>

static inline void testing_loop_note(void *arg)
{
	(void)sem_post(arg);
}

static inline void *testing_loop_main(void *loop)
{
	loop_run(loop);
	return NULL;
}

/** Returns once it runs: until then a loop takes the thread that made it for its own. 0 or -1. */
static inline int testing_loop_start(struct loop *loop, pthread_t *ret)
{
	sem_t running;

	if (sem_init(&running, 0, 0) < 0 || loop_post(loop, testing_loop_note, &running) < 0 ||
	    pthread_create(ret, NULL, testing_loop_main, loop) != 0)
		return -1;
	while (sem_wait(&running) < 0)
		;
	(void)sem_destroy(&running);
	return 0;
}
