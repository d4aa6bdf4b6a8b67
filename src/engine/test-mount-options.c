/* SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"

#include "engine/mount-options.h"

#include <string.h>
#include <sys/mount.h>

static int parse(const char *text, struct engine_mount_options *ret, struct err *e)
{
	char *v[] = {(char *)text, NULL};
	return engine_mount_options_parse(&(struct oci_strv){.v = v, .n = 1}, ret, e);
}

static void test_flags(void **state)
{
	struct engine_mount_options o;
	assert_int_equal(parse("nosuid,noexec,nodev,ro", &o, NULL), 0);
	assert_int_equal(o.attr_set, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV |
					     MOUNT_ATTR_RDONLY);
	assert_int_equal(o.attr_clear, 0);
	assert_int_equal(o.rec_set, 0);
	assert_int_equal(o.n_data, 0);
	engine_mount_options_free(&o);
}

static void test_last_word_counts(void **state)
{
	struct engine_mount_options o;
	assert_int_equal(parse("ro,rw,noatime,relatime", &o, NULL), 0);
	assert_int_equal(o.attr_set, 0);
	assert_int_equal(o.attr_clear, MOUNT_ATTR_RDONLY | MOUNT_ATTR__ATIME);
	engine_mount_options_free(&o);
	assert_int_equal(parse("relatime,strictatime", &o, NULL), 0);
	assert_int_equal(o.attr_set, MOUNT_ATTR_STRICTATIME);
	assert_int_equal(o.attr_clear, 0);
	engine_mount_options_free(&o);
}

static void test_bind_and_propagation(void **state)
{
	struct engine_mount_options o;
	assert_int_equal(parse("rbind,rprivate,rro", &o, NULL), 0);
	assert_true(o.bind);
	assert_true(o.recursive);
	assert_int_equal(o.propagation, MS_PRIVATE);
	assert_true(o.propagation_recursive);
	assert_int_equal(o.attr_set, 0);
	assert_int_equal(o.rec_set, MOUNT_ATTR_RDONLY);
	engine_mount_options_free(&o);
	/* "relatime" is not a recursive "elatime", and "rw" not a recursive "w" */
	assert_int_equal(parse("bind,rrelatime", &o, NULL), 0);
	assert_false(o.recursive);
	assert_int_equal(o.rec_clear, MOUNT_ATTR__ATIME);
	engine_mount_options_free(&o);
}

static void test_data(void **state)
{
	struct engine_mount_options o;
	assert_int_equal(parse("newinstance,ptmxmode=0666,,x=a=b,sync", &o, NULL), 0);
	assert_int_equal(o.n_data, 4);
	assert_string_equal(o.data[0].key, "newinstance");
	assert_null(o.data[0].value);
	assert_string_equal(o.data[1].key, "ptmxmode");
	assert_string_equal(o.data[1].value, "0666");
	assert_string_equal(o.data[2].key, "x");
	assert_string_equal(o.data[2].value, "a=b");
	assert_string_equal(o.data[3].key, "sync");
	assert_false(o.data_too_long);
	engine_mount_options_free(&o);

	char text[400] = "lowerdir=";
	memset(text + 9, 'x', 300);
	assert_int_equal(parse(text, &o, NULL), 0);
	assert_true(o.data_too_long);
	engine_mount_options_free(&o);
}

static void test_runtimes_own(void **state)
{
	struct engine_mount_options o;
	assert_int_equal(parse("rbind,idmap", &o, NULL), 0);
	assert_true(o.idmap && !o.idmap_recursive && !o.copy_up);
	engine_mount_options_free(&o);
	assert_int_equal(parse("ridmap,tmpcopyup", &o, NULL), 0);
	assert_true(o.idmap && o.idmap_recursive && o.copy_up);
	assert_int_equal(o.n_data, 0); /* nothing of this is the filesystem's */
	engine_mount_options_free(&o);
}

static void test_refusals(void **state)
{
	struct engine_mount_options o;
	struct err e = ERR_INIT;
	char text[3 * (MOUNT_OPTIONS_MAX + 1) + 1] = "";
	for (int i = 0; i <= MOUNT_OPTIONS_MAX; i++)
		strcat(text, "a1,");
	assert_int_equal(parse(text, &o, &e), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_last_word_counts),
		cmocka_unit_test(test_bind_and_propagation),
		cmocka_unit_test(test_data),
		cmocka_unit_test(test_runtimes_own),
		cmocka_unit_test(test_refusals),
	};
	return RUN_TESTS();
}
