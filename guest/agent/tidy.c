/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gives memory back to the machine. What a burst of processes and containers took is freed piece by
 * piece, and libc keeps it for the next one: 2 KiB for each process, 6 KiB for each container. The
 * guest's memory is better spent on its containers.
 */
#include "guest/agent/agent.h"

#include <malloc.h>

/* After the first thing that ended: the others of its burst end in that time, too. */
#define TIDY_MS 1000

static void on_tidy(void *arg)
{
	struct agent *a = arg;

	a->untidy = false;
	(void)malloc_trim(0);
}

int tidy_start(struct agent *a)
{
	return loop_timer_new(a->loop, on_tidy, a, &a->tidy);
}

void tidy_stop(struct agent *a)
{
	loop_timer_free(a->tidy);
	a->tidy = NULL;
}

void tidy_later(struct agent *a)
{
	if (a->untidy || !a->tidy)
		return;
	a->untidy = true;
	loop_timer_start(a->tidy, TIDY_MS);
}
