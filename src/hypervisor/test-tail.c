/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/tail.h"

#include "base/testing.h"

#include <string.h>

static char lines[4096];

static void on_line(void *arg, const char *line)
{
	assert_ptr_equal(arg, lines);
	assert_true(strlen(lines) + strlen(line) + 2 < sizeof lines);
	strcat(strcat(lines, line), "|");
}

static struct tail make(size_t size)
{
	struct tail t;
	lines[0] = '\0';
	assert_int_equal(tail_init(&t, size, on_line, lines), 0);
	return t;
}

static void feed(struct tail *t, const char *s)
{
	tail_feed(t, s, strlen(s));
}

static void lines_come_whole_however_they_are_cut(void **state)
{
	static const char text[] = "one\r\n\ntwo\x1b[1;31m red\x1b[0m\n\x1b"
				   "cthree";
	for (size_t cut = 0; cut < sizeof text; cut++) {
		struct tail t = make(100);
		tail_feed(&t, text, cut);
		tail_feed(&t, text + cut, sizeof text - 1 - cut);
		assert_string_equal(lines, "one|two red|");
		tail_flush(&t);
		tail_flush(&t);
		assert_string_equal(lines, "one|two red|three|");
		tail_free(&t);
	}
}

static void nothing_but_plain_text_gets_out(void **state)
{
	struct tail t = make(600);
	char out[600];
	for (int c = 0; c < 256; c++) {
		char byte = (char)c;
		tail_feed(&t, &byte, 1);
		if (c == 0x1b)
			feed(&t, "c"); /* or the next byte would be its argument */
	}
	feed(&t, "\x1b[12\nafter a broken sequence\n");
	tail_text(&t, out, sizeof out);
	for (const char *p = out; *p; p++)
		assert_true((*p >= 0x20 && *p < 0x7f) || *p == '\n' || *p == '\t');
	assert_non_null(strstr(out, "xyz{|}~???"));
	assert_non_null(strstr(out, "after a broken sequence"));
	tail_free(&t);
}

static void only_the_end_is_kept_and_starts_with_a_line(void **state)
{
	struct tail t = make(20);
	char out[64], small[8], one[1] = {'x'};
	tail_text(&t, out, sizeof out);
	assert_string_equal(out, "");
	feed(&t, "short\n");
	tail_text(&t, out, sizeof out);
	assert_string_equal(out, "short\n");
	for (int i = 0; i < 100; i++) {
		(void)snprintf(out, sizeof out, "line %d\n", i);
		feed(&t, out);
	}
	tail_text(&t, out, sizeof out);
	assert_string_equal(out, "line 98\nline 99\n");
	tail_text(&t, small, sizeof small);
	assert_string_equal(small, "ine 99\n");
	tail_text(&t, one, sizeof one);
	assert_string_equal(one, "");
	feed(&t, "an endless line without a break");
	tail_text(&t, out, sizeof out);
	assert_string_equal(out, "line without a break");
	tail_free(&t);
}

static void a_long_line_comes_in_pieces(void **state)
{
	struct tail t = make(64);
	char big[TAIL_LINE_MAX * 2];
	memset(big, 'x', sizeof big);
	tail_feed(&t, big, sizeof big);
	feed(&t, "\n");
	/* two full pieces and a rest of 2, and a bar after each */
	assert_int_equal(strlen(lines), sizeof big + 3);
	tail_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_come_whole_however_they_are_cut),
		cmocka_unit_test(nothing_but_plain_text_gets_out),
		cmocka_unit_test(only_the_end_is_kept_and_starts_with_a_line),
		cmocka_unit_test(a_long_line_comes_in_pieces),
	};
	return RUN_TESTS();
}
