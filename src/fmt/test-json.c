/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"
#include "fmt/json.h"

#include "base/testing.h"

#include <string.h>

static const struct json_limits limits = {.bytes = 4096, .depth = 8, .values = 64};

static json_t *parse(const char *text)
{
	struct err e = ERR_INIT;
	json_t *v = NULL;
	int r = json_text_parse(text, strlen(text), &limits, &v, &e);
	if (r < 0)
		print_error("%s\n", e.text);
	assert_int_equal(r, 0);
	return v;
}

static void refuses_text(const char *text, int want, const char *sentence)
{
	struct err e = ERR_INIT;
	json_t *v = NULL;
	assert_int_equal(json_text_parse(text, strlen(text), &limits, &v, &e), want);
	assert_null(v);
	assert_string_equal(e.text, sentence);
}

static void reads_members(void **state)
{
	json_t *v = parse("{\"s\": \"x\", \"n\": -5, \"u\": 7, \"b\": true, \"z\": null,"
			  " \"a\": [1, 2], \"o\": {\"k\": \"v\"}}");
	struct err e = ERR_INIT;
	struct json_reader jr = {.e = &e};
	struct json_at root = json_at_root(v, NULL), at, el;

	assert_string_equal(json_read_string(&jr, &root, "s", ""), "x");
	assert_string_equal(json_read_string(&jr, &root, "z", "def"), "def");
	assert_string_equal(json_read_string(&jr, &root, "none", "def"), "def");
	assert_int_equal(json_read_int(&jr, &root, "n", -10, 10, 0), -5);
	assert_int_equal(json_read_uint(&jr, &root, "u", 7, 0), 7);
	assert_true(json_read_bool(&jr, &root, "b", false));
	assert_false(json_read_has(&jr, &root, "z"));
	assert_true(json_read_has(&jr, &root, "o"));
	assert_int_equal(json_read_array(&jr, &root, "a", 2, &at), 2);
	el = json_at_element(&at, 1);
	assert_int_equal(json_value_as_uint(&jr, &el, 9), 2);
	assert_true(json_read_object(&jr, &root, "o", &at));
	assert_string_equal(json_read_string(&jr, &at, "k", ""), "v");
	assert_false(json_read_object(&jr, &root, "none", &at));
	assert_int_equal(jr.r, 0);
	json_decref(v);
}

static void refusals_name_path_value_and_rule(void **state)
{
	json_t *v = parse("{\"a\": {\"b.c\": [1, {\"d\": \"x\\ny\"}]}, \"f\": 1.5}");
	struct err e = ERR_INIT;
	struct json_reader jr = {.e = &e};
	struct json_at root = json_at_root(v, "top"), a, arr, el;

	assert_true(json_read_object(&jr, &root, "a", &a));
	assert_int_equal(json_read_array(&jr, &a, "b.c", 9, &arr), 2);
	el = json_at_element(&arr, 1);
	assert_int_equal(json_read_int(&jr, &el, "d", 0, 5, 3), 3);
	assert_int_equal(jr.r, -EINVAL);
	assert_string_equal(e.text, "top.a[\"b.c\"][1].d is \"x\\x0ay\": must be an integer from 0 "
				    "to 5");
	/* the first failure stays */
	assert_string_equal(json_read_string(&jr, &root, "f", "def"), "def");
	assert_string_equal(e.text, "top.a[\"b.c\"][1].d is \"x\\x0ay\": must be an integer from 0 "
				    "to 5");

	root = json_at_root(v, NULL); /* the paths below have no name before them */
	jr.r = 0;
	json_read_uint(&jr, &root, "f", 10, 0);
	assert_string_equal(e.text, "f is 1.5: must be an integer from 0 to 10");
	jr.r = 0;
	json_read_string(&jr, &root, "a", NULL);
	assert_string_equal(e.text, "a is an object: must be a string");
	jr.r = 0;
	json_read_need(&jr, &a, "q");
	assert_string_equal(e.text, "a.q is missing");
	jr.r = 0;
	json_read_array(&jr, &a, "b.c", 1, &arr);
	assert_string_equal(e.text, "a[\"b.c\"] is an array of 2: must have at most 1 elements");
	jr.r = 0;
	json_read_fail_hidden(&jr, &el, "has no '='");
	assert_string_equal(e.text, "a[\"b.c\"][1] has no '='");
	json_decref(v);
}

static void a_root_that_is_no_object(void **state)
{
	json_t *v = parse("[1]");
	struct err e = ERR_INIT;
	struct json_reader jr = {.e = &e};
	struct json_at root = json_at_root(v, NULL);
	json_read_string(&jr, &root, "x", NULL);
	assert_string_equal(e.text, "the document is an array of 1: must be an object");
	json_decref(v);
}

static void integers_up_to_uint64_max(void **state)
{
	json_t *v = parse("{\"a\":18446744073709551615, \"b\":9223372036854775808,"
			  "\"s\":\"18446744073709551615\", \"e\":\"\\\"9223372036854775808\"}");
	struct err e = ERR_INIT;
	struct json_reader jr = {.e = &e};
	struct json_at root = json_at_root(v, NULL);

	assert_true(json_read_uint(&jr, &root, "a", UINT64_MAX, 0) == UINT64_MAX);
	assert_true(json_read_uint(&jr, &root, "b", UINT64_MAX, 0) == (uint64_t)INT64_MAX + 1);
	assert_string_equal(json_read_string(&jr, &root, "s", ""), "18446744073709551615");
	assert_string_equal(json_read_string(&jr, &root, "e", ""), "\"9223372036854775808");
	assert_int_equal(jr.r, 0);
	json_read_string(&jr, &root, "a", NULL); /* a number is no string */
	assert_string_equal(e.text, "a is 18446744073709551615: must be a string");
	jr.r = 0;
	json_read_uint(&jr, &root, "a", UINT32_MAX, 0);
	assert_string_equal(e.text,
			    "a is 18446744073709551615: must be an integer from 0 to 4294967295");
	jr.r = 0;
	json_read_int(&jr, &root, "b", 0, INT64_MAX, 0);
	assert_int_equal(jr.r, -EINVAL);
	json_decref(v);

	/* nobody else can write what stands for such a number */
	refuses_text("[\"\\u0001u64:5\"]", -EINVAL,
		     "the JSON text has a string at byte 1 that begins with U+0001: must be text");
	refuses_text("{\"\\u0001\\u007564:5\": 1}", -EINVAL,
		     "the JSON text has a string at byte 1 that begins with U+0001: must be text");
	json_decref(parse("[\"x\\u0001u64:\", \"\\u0002\"]"));
	assert_false(json_can_hold("\001u64:5"));
	assert_false(json_can_hold("\xff"));
	assert_true(json_can_hold("x\001u64:"));

	refuses_text("18446744073709551616", -EINVAL,
		     "not JSON: line 1, column 20: too big integer");
}

static void numbers_are_written_as_they_were(void **state)
{
	static const char text[] = "{\"a\":18446744073709551615,\"b\":-1,\"c\":\"x\"}";
	json_t *v = parse(text);
	char *out = json_text_dump(v, JSON_COMPACT);
	assert_string_equal(out, text);
	free(out);
	json_decref(v);

	v = json_from_uint(UINT64_MAX);
	out = json_text_dump(v, JSON_ENCODE_ANY);
	assert_string_equal(out, "18446744073709551615");
	free(out);
	json_decref(v);
}

static void limits_hold(void **state)
{
	json_decref(parse("[[[[[[[[]]]]]]]]"));
	refuses_text("[[[[[[[[[]]]]]]]]]", -E2BIG,
		     "the JSON text is nested too deeply at byte 8: at most 8 levels are read");
	json_decref(parse("[\"[[[[[[[[[[[[\", \"\\\"[[[[[[[[[[\"]"));

	char many[256] = "[";
	for (int i = 0; i < 62; i++)
		strcat(many, "1,");
	strcat(many, "1]");
	json_decref(parse(many));
	many[strlen(many) - 1] = '\0';
	strcat(many, ",1]");
	refuses_text(many, -E2BIG, "the JSON text has too many values: at most 64 are read");

	char big[5000];
	memset(big, ' ', sizeof big);
	big[sizeof big - 1] = '\0';
	refuses_text(big, -EFBIG, "the JSON text has 4999 bytes: at most 4096 bytes are read");
}

static void what_is_not_json(void **state)
{
	struct err e = ERR_INIT;
	json_t *v = NULL;

	refuses_text("", -EINVAL, "the JSON text is empty");
	refuses_text("{\"password\": hunter2}", -EINVAL,
		     "not JSON: line 1, column 19: invalid token");
	refuses_text("{\"a\":1,\n\"a\":2}", -EINVAL,
		     "not JSON: line 2, column 3: duplicate object key near '\"a\"'");
	refuses_text("[\"a\\u0000b\"]", -EINVAL,
		     "not JSON: line 1, column 11: \\u0000 is not allowed without JSON_ALLOW_NUL");
	refuses_text("[1] x", -EINVAL, "not JSON: line 1, column 5: end of file expected");
	assert_int_equal(json_text_parse("[\"\0\"]", 5, &limits, &v, &e), -EINVAL);
	assert_int_equal(json_text_parse("[\"\xff\"]", 5, &limits, &v, &e), -EINVAL);
	assert_int_equal(json_text_parse("[\"abc", 5, &limits, &v, &e), -EINVAL);
	assert_int_equal(json_text_parse("[\"abc\\", 6, &limits, &v, &e), -EINVAL);
}

static void long_values_are_cut_in_the_sentence(void **state)
{
	char text[128], want[256];
	struct err e = ERR_INIT;
	struct json_reader jr = {.e = &e};

	/* 79 letters, then a character of two bytes across the limit of 80 */
	(void)snprintf(text, sizeof text, "[\"%079d\xc3\xa4zzzz\"]", 0);
	json_t *v = parse(text);
	struct json_at root = json_at_root(v, NULL), at = json_at_element(&root, 0);
	json_value_as_uint(&jr, &at, 1);
	(void)snprintf(want, sizeof want, "[0] is \"%079d...\": must be an integer from 0 to 1", 0);
	assert_string_equal(e.text, want);
	json_decref(v);
}

static void shows_any_bytes(void **state)
{
	char dst[JSON_SHOW_MAX], all[81];

	assert_string_equal(json_show("", dst), "\"\"");
	assert_string_equal(json_show("a\tb\x7f", dst), "\"a\\x09b\\x7f\"");
	assert_string_equal(json_show("\xe2\x82\xac \xf0\x9f\x98\x80", dst),
			    "\"\xe2\x82\xac \xf0\x9f\x98\x80\"");
	/* alone, cut short, too long a form, a surrogate, beyond the last */
	assert_string_equal(json_show("\x80\xe2\x82", dst), "\"\\x80\\xe2\\x82\"");
	assert_string_equal(json_show("\xc0\xaf\xe0\x80\xaf", dst),
			    "\"\\xc0\\xaf\\xe0\\x80\\xaf\"");
	assert_string_equal(json_show("\xed\xa0\x80", dst), "\"\\xed\\xa0\\x80\"");
	assert_string_equal(json_show("\xf4\x90\x80\x80\xff", dst),
			    "\"\\xf4\\x90\\x80\\x80\\xff\"");
	assert_true(utf8_valid("a \xe2\x82\xac"));
	assert_false(utf8_valid("a \xe2\x82"));
	memset(all, 0xff, 80);
	all[80] = '\0';
	assert_int_equal(strlen(json_show(all, dst)), 4 * 80 + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_members),
		cmocka_unit_test(refusals_name_path_value_and_rule),
		cmocka_unit_test(a_root_that_is_no_object),
		cmocka_unit_test(integers_up_to_uint64_max),
		cmocka_unit_test(numbers_are_written_as_they_were),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(what_is_not_json),
		cmocka_unit_test(shows_any_bytes),
		cmocka_unit_test(long_values_are_cut_in_the_sentence),
	};
	return RUN_TESTS();
}
