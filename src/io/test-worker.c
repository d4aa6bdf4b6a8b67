/* SPDX-License-Identifier: Apache-2.0 */
#include "io/worker.h"

#include "base/testing.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

static atomic_int done;
static pthread_barrier_t barrier;

static void work(void *arg)
{
	atomic_fetch_add(&done, 1);
}

static void meet(void *arg)
{
	pthread_barrier_wait(&barrier);
	atomic_fetch_add(&done, 1);
}

static void all_jobs_run(void **state)
{
	struct worker_pool *p;
	atomic_store(&done, 0);
	assert_int_equal(worker_pool_new(3, 0, &p), 0);
	for (int i = 0; i < 200; i++)
		assert_int_equal(worker_pool_run(p, work, NULL), 0);
	while (atomic_load(&done) < 200)
		sched_yield();
	worker_pool_free(p);
	assert_int_equal(atomic_load(&done), 200);
}

static void jobs_run_side_by_side(void **state)
{
	struct worker_pool *p;
	atomic_store(&done, 0);
	pthread_barrier_init(&barrier, NULL, 2);
	assert_int_equal(worker_pool_new(2, 0, &p), 0);
	assert_int_equal(worker_pool_run(p, meet, NULL), 0);
	assert_int_equal(worker_pool_run(p, meet, NULL), 0); /* would hang on a single thread */
	while (atomic_load(&done) < 2)
		sched_yield();
	worker_pool_free(p);
	pthread_barrier_destroy(&barrier);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_jobs_run),
		cmocka_unit_test(jobs_run_side_by_side),
	};
	return RUN_TESTS();
}
