/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/parallel.h"

#include "base/testing.h"

#include <pthread.h>
#include <string.h>

/* Rounds that wait for each other: they can only all end if they run side by side. */
struct together {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned now, most, meet, calls;
	unsigned done[64];
	size_t bad, bad_too;
};

static void begin(struct together *t, unsigned meet)
{
	memset(t, 0, sizeof *t);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	t->meet = meet;
	t->bad = t->bad_too = SIZE_MAX;
}

static int work(void *ctx, size_t i, struct err *e)
{
	struct together *t = ctx;

	pthread_mutex_lock(&t->lock);
	t->done[i]++;
	t->calls++;
	if (++t->now > t->most)
		t->most = t->now;
	pthread_cond_broadcast(&t->changed);
	while (t->most < t->meet)
		pthread_cond_wait(&t->changed, &t->lock);
	t->now--;
	pthread_mutex_unlock(&t->lock);
	return i == t->bad || i == t->bad_too ? err_set(e, -EIO, "round %zu", i) : 0;
}

static void rounds_run_side_by_side(void **state)
{
	struct together t;

	begin(&t, 4);
	assert_int_equal(parallel_run(4, 64, work, &t, NULL), 0);
	assert_int_equal(t.most, 4); /* and never more */
	for (int i = 0; i < 64; i++)
		assert_int_equal(t.done[i], 1);
}

static void few_rounds_take_few_threads(void **state)
{
	struct together t;

	begin(&t, 1);
	assert_int_equal(parallel_run(4, 0, work, &t, NULL), 0);
	assert_int_equal(t.calls, 0);
	assert_int_equal(parallel_run(4, 1, work, &t, NULL), 0);
	assert_int_equal(t.calls, 1);
	begin(&t, 2);
	assert_int_equal(parallel_run(64, 2, work, &t, NULL), 0);
	assert_int_equal(t.most, 2);
	begin(&t, 1);
	assert_int_equal(parallel_run(0, 9, work, &t, NULL), 0);
	assert_int_equal(t.most, 1);
}

static void a_failure_ends_it(void **state)
{
	struct together t;
	struct err e = ERR_INIT;

	begin(&t, 1);
	t.bad = 3;
	assert_int_equal(parallel_run(1, 64, work, &t, &e), -EIO);
	assert_string_equal(e.text, "round 3");
	assert_int_equal(t.calls, 4);
	/* of several, the first in the order of the rounds is told */
	begin(&t, 4);
	t.bad = 2;
	t.bad_too = 0;
	assert_int_equal(parallel_run(4, 4, work, &t, &e), -EIO);
	assert_string_equal(e.text, "round 0");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(rounds_run_side_by_side),
		cmocka_unit_test(few_rounds_take_few_threads),
		cmocka_unit_test(a_failure_ends_it),
	};
	return RUN_TESTS();
}
