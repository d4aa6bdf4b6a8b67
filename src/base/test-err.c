/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include "base/testing.h"

#include <string.h>

static void sets_sentence_errno_and_status(void **state)
{
	struct err e = ERR_INIT;
	assert_int_equal(err_set(&e, -ENOENT, "container %s does not exist", "c1"), -ENOENT);
	assert_string_equal(e.text, "container c1 does not exist");
	assert_int_equal(e.errnum, ENOENT);
	assert_int_equal(e.status, STATUS_NOT_FOUND);
}

static void errno_text_is_appended(void **state)
{
	struct err e = ERR_INIT;
	assert_int_equal(err_errno(&e, -EACCES, "open %s", "/x"), -EACCES);
	assert_string_equal(e.text, "open /x: Permission denied");
}

static void wrap_prefixes_and_keeps_the_status(void **state)
{
	struct err e = ERR_INIT;
	int r = err_status(&e, STATUS_ALREADY_EXISTS, "exec e1 exists");
	assert_int_equal(r, -EEXIST);
	assert_int_equal(err_wrap(&e, r, "container %d", 7), -EEXIST);
	assert_string_equal(e.text, "container 7: exec e1 exists");
	assert_int_equal(e.status, STATUS_ALREADY_EXISTS);
}

static void wrap_without_a_sentence_uses_the_errno(void **state)
{
	struct err e = ERR_INIT;
	assert_int_equal(err_wrap(&e, -EPIPE, "send"), -EPIPE);
	assert_string_equal(e.text, "send: Broken pipe");
	assert_int_equal(e.status, STATUS_UNAVAILABLE);
}

static void its_own_text_may_be_an_argument(void **state)
{
	struct err e = ERR_INIT;
	err_set(&e, -EIO, "inner");
	err_set(&e, -EIO, "outer: %s", e.text);
	assert_string_equal(e.text, "outer: inner");
}

static void a_long_text_is_cut(void **state)
{
	struct err e = ERR_INIT;
	char big[2 * ERR_TEXT_MAX];
	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = '\0';
	err_set(&e, -EIO, "%s", big);
	assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
	err_wrap(&e, -EIO, "%s", big);
	assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
}

static void null_error_is_fine(void **state)
{
	assert_int_equal(err_set(NULL, -EIO, "x"), -EIO);
	assert_int_equal(err_errno(NULL, -EIO, "x"), -EIO);
	assert_int_equal(err_wrap(NULL, -EIO, "x"), -EIO);
	assert_string_equal(err_text(NULL, -EIO), "Input/output error");
}

static void every_status_survives_a_round_trip(void **state)
{
	for (int s = STATUS_OK; s <= STATUS_UNAUTHENTICATED; s++) {
		assert_int_equal(status_from_errno(errno_from_status(s)), s);
		assert_non_null(status_name(s));
	}
	assert_int_equal(status_from_errno(E2BIG), STATUS_INVALID_ARGUMENT);
	assert_int_equal(status_from_errno(ENODEV), STATUS_NOT_FOUND);
	assert_int_equal(errno_from_status(999), EIO);
	assert_string_equal(status_name(999), "UNKNOWN");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets_sentence_errno_and_status),
		cmocka_unit_test(errno_text_is_appended),
		cmocka_unit_test(wrap_prefixes_and_keeps_the_status),
		cmocka_unit_test(wrap_without_a_sentence_uses_the_errno),
		cmocka_unit_test(its_own_text_may_be_an_argument),
		cmocka_unit_test(a_long_text_is_cut),
		cmocka_unit_test(null_error_is_fine),
		cmocka_unit_test(every_status_survives_a_round_trip),
	};
	return RUN_TESTS();
}
