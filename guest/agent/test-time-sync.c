/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/time-sync.h"

#include "base/testing.h"

struct clock {
	int64_t offset, slewed, stepped;
	int r;
};

static int fake_offset(void *arg, int64_t *ret)
{
	const struct clock *c = arg;
	*ret = c->offset;
	return c->r;
}

static int fake_slew(void *arg, int64_t ns)
{
	((struct clock *)arg)->slewed = ns;
	return 0;
}

static int fake_step(void *arg, int64_t ns)
{
	((struct clock *)arg)->stepped = ns;
	return 0;
}

static const struct time_sync_ops ops = {fake_offset, fake_slew, fake_step};

static struct loop *loop;
static struct time_sync *sync_to(struct clock *c)
{
	struct time_sync *t = NULL;
	assert_int_equal(time_sync_new_with(loop, &ops, c, &t), 0);
	return t;
}

static void noise_is_left_alone(void **state)
{
	struct clock c = {.offset = TIME_SYNC_IGNORED_NS};
	struct time_sync *t = sync_to(&c);

	assert_int_equal(time_sync_look(t), 2 * TIME_SYNC_MIN_MS);
	c.offset = -TIME_SYNC_IGNORED_NS;
	assert_int_equal(time_sync_look(t), 4 * TIME_SYNC_MIN_MS);
	for (int i = 0; i < 10; i++)
		assert_in_range(time_sync_look(t), TIME_SYNC_MIN_MS, TIME_SYNC_MAX_MS);
	assert_int_equal(time_sync_look(t), TIME_SYNC_MAX_MS);
	assert_int_equal(c.slewed, 0);
	assert_int_equal(c.stepped, 0);
	time_sync_free(t);
}

static void a_little_is_slewed(void **state)
{
	struct clock c = {.offset = -TIME_SYNC_STEP_NS};
	struct time_sync *t = sync_to(&c);

	assert_int_equal(time_sync_look(t), TIME_SYNC_MIN_MS);
	assert_int_equal(c.slewed, -TIME_SYNC_STEP_NS);
	assert_int_equal(c.stepped, 0);
	time_sync_free(t);
}

static void a_lot_is_stepped_and_watched(void **state)
{
	struct clock c = {.offset = 0};
	struct time_sync *t = sync_to(&c);

	(void)time_sync_look(t);
	(void)time_sync_look(t);
	c.offset = 3600 * TIME_SYNC_STEP_NS; /* an hour in suspend */
	assert_int_equal(time_sync_look(t), TIME_SYNC_MIN_MS);
	assert_int_equal(c.stepped, c.offset);
	assert_int_equal(c.slewed, 0);
	time_sync_free(t);
}

static void a_clock_that_fails_is_asked_seldom(void **state)
{
	struct clock c = {.offset = 3600 * TIME_SYNC_STEP_NS, .r = -EOPNOTSUPP};
	struct time_sync *t = sync_to(&c);

	assert_int_equal(time_sync_look(t), TIME_SYNC_MAX_MS);
	assert_int_equal(c.stepped, 0);
	time_sync_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(noise_is_left_alone),
		cmocka_unit_test(a_little_is_slewed),
		cmocka_unit_test(a_lot_is_stepped_and_watched),
		cmocka_unit_test(a_clock_that_fails_is_asked_seldom),
	};

	if (loop_new(&loop) < 0)
		return 1;
	int r = cmocka_run_group_tests(tests, NULL, NULL);
	loop_free(loop);
	return r;
}
