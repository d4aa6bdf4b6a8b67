/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/mount-options.h"

#include "base/testing.h"

#include <string.h>
#include <sys/mount.h>

static int parse(const char *const *words, size_t n, struct mount_options *o, struct err *e)
{
	return mount_options_parse((char *const *)words, n, o, e);
}

static void flags_data_and_propagation_are_told_apart(void **state)
{
	struct mount_options o = MOUNT_OPTIONS_INIT;
	const char *words[] = {"nosuid", "size=64k", "noexec", "rshared", "mode=755", "ro"};
	assert_int_equal(parse(words, 6, &o, NULL), 0);
	assert_int_equal(o.flags, MS_NOSUID | MS_NOEXEC | MS_RDONLY);
	assert_int_equal(o.propagation, MS_SHARED | MS_REC);
	assert_string_equal(o.data.data, "size=64k,mode=755");
	mount_options_free(&o);
}

static void the_last_word_wins(void **state)
{
	struct mount_options o = MOUNT_OPTIONS_INIT;
	const char *words[] = {"ro", "rw", "nodev", "rbind"};
	assert_int_equal(parse(words, 4, &o, NULL), 0);
	assert_int_equal(o.flags, MS_NODEV | MS_BIND | MS_REC);
	assert_int_equal(o.clear, MS_RDONLY);
	assert_null(o.data.data);
	mount_options_free(&o);
}

static void loop_is_refused(void **state)
{
	struct err e = ERR_INIT;
	struct mount_options o = MOUNT_OPTIONS_INIT;
	const char *words[] = {"loop"};
	assert_int_equal(parse(words, 1, &o, &e), -EINVAL);
	assert_non_null(strstr(e.text, "\"loop\""));
	mount_options_free(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flags_data_and_propagation_are_told_apart),
		cmocka_unit_test(the_last_word_wins),
		cmocka_unit_test(loop_is_refused),
	};
	return RUN_TESTS();
}
