/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/strand.h"

#include "base/testing.h"

#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#define JOBS 500

struct seen {
	int last; /* touched by one strand only: no lock, so a sanitizer proves the order */
	int in_order;
	sem_t done;
};

struct numbered {
	struct seen *seen;
	int number;
};

static void count(void *arg)
{
	struct numbered *n = arg;
	n->seen->in_order += n->seen->last + 1 == n->number;
	n->seen->last = n->number;
	if (n->number == JOBS)
		sem_post(&n->seen->done);
}

static void jobs_of_one_strand_follow_each_other(void **state)
{
	struct worker_pool *pool = NULL;
	struct strand *strands[4];
	static struct seen seen[4];
	static struct numbered jobs[4][JOBS];

	assert_int_equal(worker_pool_new(3, 0, &pool), 0);
	for (int s = 0; s < 4; s++) {
		sem_init(&seen[s].done, 0, 0);
		assert_int_equal(strand_new(pool, &strands[s]), 0);
	}
	for (int i = 0; i < JOBS; i++) {
		for (int s = 0; s < 4; s++) {
			jobs[s][i] = (struct numbered){.seen = &seen[s], .number = i + 1};
			assert_int_equal(strand_run(strands[s], count, &jobs[s][i]), 0);
		}
	}
	for (int s = 0; s < 4; s++) {
		strand_release(strands[s]); /* what waits still runs */
		sem_wait(&seen[s].done);
		assert_int_equal(seen[s].in_order, JOBS);
	}
	worker_pool_free(pool);
}

static void block(void *arg)
{
	sem_wait(arg);
}

static void post(void *arg)
{
	sem_post(arg);
}

static void a_blocked_strand_holds_up_no_other(void **state)
{
	struct worker_pool *pool = NULL;
	struct strand *a = NULL, *b = NULL;
	sem_t gate, after, done;

	sem_init(&gate, 0, 0);
	sem_init(&after, 0, 0);
	sem_init(&done, 0, 0);
	assert_int_equal(worker_pool_new(2, 0, &pool), 0);
	assert_int_equal(strand_new(pool, &a), 0);
	assert_int_equal(strand_new(pool, &b), 0);
	assert_int_equal(strand_run(a, block, &gate), 0);
	assert_int_equal(strand_run(a, post, &after), 0); /* must not run before the first ends */
	assert_int_equal(strand_run(b, post, &done), 0);
	sem_wait(&done);
	int value;
	sem_getvalue(&after, &value);
	assert_int_equal(value, 0);
	sem_post(&gate);
	sem_wait(&after);
	strand_release(a);
	strand_release(b);
	worker_pool_free(pool);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(jobs_of_one_strand_follow_each_other),
		cmocka_unit_test(a_blocked_strand_holds_up_no_other),
	};
	return RUN_TESTS();
}
