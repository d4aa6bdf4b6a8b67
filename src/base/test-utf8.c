/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include "base/testing.h"

static void characters_have_their_length(void **state)
{
	assert_int_equal(utf8_char(""), 1);
	assert_int_equal(utf8_char("a"), 1);
	assert_int_equal(utf8_char("\xc3\xa9"), 2);
	assert_int_equal(utf8_char("\xe2\x82\xac"), 3);
	assert_int_equal(utf8_char("\xf0\x9f\x98\x80"), 4);
}

static void the_bounds_of_each_form_are_valid(void **state)
{
	static const char *const good[] = {
		"",
		"\x7f",
		"\xc2\x80",
		"\xdf\xbf",
		"\xe0\xa0\x80",
		"\xed\x9f\xbf",
		"\xee\x80\x80",
		"\xef\xbf\xbf",
		"a\xc3\xa9z",
		"\xf0\x90\x80\x80",
		"\xf4\x8f\xbf\xbf",
	};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(utf8_valid(good[i]));
}

static void what_is_no_utf_8_is_found(void **state)
{
	static const char *const bad[] = {
		"\x80",
		"\xc0\x80",
		"\xc1\xbf",
		"\xc2",
		"\xc2z",
		"\xe0\x9f\xbf",
		"\xed\xa0\x80",
		"\xe1\x80",
		"\xe1\x80z",
		"\xf0\x8f\xbf\xbf",
		"\xf4\x90\x80\x80",
		"\xf5\x80\x80\x80",
		"\xf1\x80\x80",
		"a\xff",
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(utf8_valid(bad[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(characters_have_their_length),
		cmocka_unit_test(the_bounds_of_each_form_are_valid),
		cmocka_unit_test(what_is_no_utf_8_is_found),
	};
	return RUN_TESTS();
}
