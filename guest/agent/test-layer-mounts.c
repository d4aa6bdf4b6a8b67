/* SPDX-License-Identifier: Apache-2.0 */
/* Who shares what with whom, with mounts that are only played. */
#include "guest/agent/layer-mounts.h"

#include "base/testing.h"
#include "guest/agent/parallel.h"

#include <pthread.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned now, most, meet, mounted, unmounted;
static int result;
static char dir[] = "/tmp/test-layer-mounts.XXXXXX";
static struct layer_mounts *table;

static int play_mount(struct layer_mount *m, const void *what, struct err *e)
{
	pthread_mutex_lock(&lock);
	mounted++;
	if (++now > most)
		most = now;
	pthread_cond_broadcast(&changed);
	while (most < meet)
		pthread_cond_wait(&changed, &lock);
	now--;
	pthread_mutex_unlock(&lock);
	assert_int_equal(access(m->path, F_OK), 0);
	return result < 0 ? err_set(e, result, "as told") : 0;
}

static void play_unmount(struct layer_mount *m)
{
	pthread_mutex_lock(&lock);
	unmounted++;
	pthread_mutex_unlock(&lock);
}

static int begin(void **state)
{
	static const struct layer_mount_ops ops = {play_mount, play_unmount};
	char layers[64];

	now = most = meet = mounted = unmounted = 0;
	result = 0;
	memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(layers, sizeof layers, "%s/layers", dir);
	return layer_mounts_new(layers, &ops, &table);
}

/* Nothing may be left: not even the directory. */
static int end(void **state)
{
	layer_mounts_free(table);
	return rmdir(dir);
}

static void one_key_is_mounted_once(void **state)
{
	struct layer_mount *a, *b, *c;

	assert_int_equal(layer_mounts_get(table, "k", NULL, &a, NULL), 0);
	assert_int_equal(layer_mounts_get(table, "k", NULL, &b, NULL), 0);
	assert_int_equal(layer_mounts_get(table, "other", NULL, &c, NULL), 0);
	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	assert_string_not_equal(a->path, c->path);
	assert_int_equal(mounted, 2);
	layer_mounts_put(table, a);
	assert_int_equal(unmounted, 0);
	layer_mounts_put(table, b);
	assert_int_equal(unmounted, 1);
	layer_mounts_put(table, c);
	assert_int_equal(unmounted, 2);
}

static void a_failure_leaves_nothing(void **state)
{
	struct layer_mount *m;
	struct err e = ERR_INIT;

	result = -EIO;
	assert_int_equal(layer_mounts_get(table, "k", NULL, &m, &e), -EIO);
	assert_string_equal(e.text, "as told");
	assert_int_equal(unmounted, 1); /* what was done by half */
	result = 0;
	assert_int_equal(layer_mounts_get(table, "k", NULL, &m, &e), 0);
	layer_mounts_put(table, m);
}

static struct layer_mount *got[64];

static int get_own(void *ctx, size_t i, struct err *e)
{
	char key[16];
	(void)snprintf(key, sizeof key, "%zu", i);
	return layer_mounts_get(table, key, NULL, &got[i], e);
}

static int get_same(void *ctx, size_t i, struct err *e)
{
	return layer_mounts_get(table, "same", NULL, &got[i], e);
}

static int put(void *ctx, size_t i, struct err *e)
{
	layer_mounts_put(table, got[i]);
	return 0;
}

static void different_layers_are_mounted_at_the_same_time(void **state)
{
	meet = 4; /* none returns before four have begun */
	assert_int_equal(parallel_run(4, 64, get_own, NULL, NULL), 0);
	assert_int_equal(most, 4);
	assert_int_equal(mounted, 64);
	assert_int_equal(parallel_run(4, 64, put, NULL, NULL), 0);
	assert_int_equal(unmounted, 64);
}

static void who_comes_meanwhile_waits(void **state)
{
	for (int i = 0; i < 50; i++) {
		assert_int_equal(parallel_run(8, 64, get_same, NULL, NULL), 0);
		assert_int_equal(most, 1);
		assert_int_equal(parallel_run(8, 64, put, NULL, NULL), 0);
		assert_int_equal(mounted, i + 1);
		assert_int_equal(unmounted, i + 1);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_key_is_mounted_once, begin, end),
		cmocka_unit_test_setup_teardown(a_failure_leaves_nothing, begin, end),
		cmocka_unit_test_setup_teardown(different_layers_are_mounted_at_the_same_time,
						begin, end),
		cmocka_unit_test_setup_teardown(who_comes_meanwhile_waits, begin, end),
	};
	return RUN_TESTS();
}
