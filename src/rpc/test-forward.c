/* SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"

#include "rpc/forward.h"

#include <arpa/inet.h>
#include <string.h>

static void test_a_request_reads_as_it_was_written(void **state)
{
	static const char *const lines[] = {
		"connect tcp 127.0.0.1 8080\n",
		"connect tcp 127.255.0.9 1\n",
		"connect tcp ::1 65535\n",
	};
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		union forward_address a;
		char again[FORWARD_REQUEST_MAX];
		size_t len = strlen(lines[i]);
		assert_int_equal(forward_parse(lines[i], len, &a, NULL), 0);
		assert_int_equal(forward_request(&a, again), len);
		assert_memory_equal(again, lines[i], len);
		assert_int_equal(forward_address_len(&a),
				 strchr(lines[i], ':') ? sizeof a.in6 : sizeof a.in);
	}
}

static void test_bad_requests_are_refused(void **state)
{
	static const char *const lines[] = {
		"",
		"\n",
		"connect tcp \n",
		"connect tcp 127.0.0.1 80",
		"connect tcp 127.0.0.1 80 \n",
		"connect tcp 127.0.0.1 80\n\n",
		"connect tcp 127.0.0.1  80\n",
		"connect tcp 127.0.0.1\n",
		"connect tcp 127.0.0.1 \n",
		"connect tcp 127.0.0.1 0\n",
		"connect tcp 127.0.0.1 080\n",
		"connect tcp 127.0.0.1 +80\n",
		"connect tcp 127.0.0.1 65536\n",
		"connect tcp 127.0.0.1 655360\n",
		"connect tcp 127.1 80\n",
		"connect tcp 128.0.0.1 80\n",
		"connect tcp 0.0.0.0 80\n",
		"connect tcp ::2 80\n",
		"connect tcp ::ffff:127.0.0.1 80\n",
		"connect tcp localhost 80\n",
		"connect udp 127.0.0.1 80\n",
		"CONNECT TCP 127.0.0.1 80\n",
		"connect tcp 0000:0000:0000:0000:0000:0000:0000:0000:0001 80\n",
		"connect tcp 127.0.0.1 80                                          \n",
	};
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		union forward_address a;
		struct err e = ERR_INIT;
		int r = forward_parse(lines[i], strlen(lines[i]), &a, &e);
		if (r != -EPROTO)
			print_error("taken: %s", lines[i]);
		assert_int_equal(r, -EPROTO);
		assert_true(e.text[0]);
	}
	union forward_address a;
	assert_int_equal(forward_parse("connect tcp 127.0.0.1\0 80\n", 26, &a, NULL), -EPROTO);
}

static void test_only_the_loopback_is_asked_for(void **state)
{
	char line[FORWARD_REQUEST_MAX];
	union forward_address a = {.in = {.sin_family = AF_INET, .sin_port = htons(80)}};
	assert_int_equal(forward_request(&a, line), -EADDRNOTAVAIL);
	a.in.sin_addr.s_addr = htonl(0x0a000001);
	assert_int_equal(forward_request(&a, line), -EADDRNOTAVAIL);
	a = (union forward_address){.in6 = {.sin6_family = AF_INET6}};
	assert_int_equal(forward_request(&a, line), -EADDRNOTAVAIL);
	a = (union forward_address){.any = {.sa_family = AF_UNIX}};
	assert_int_equal(forward_request(&a, line), -EADDRNOTAVAIL);
}

static void test_answers(void **state)
{
	struct err e = ERR_INIT;
	char longest[FORWARD_ANSWER_MAX + 2];
	assert_int_equal(forward_parse_answer("OK\n", 3, &e), 0);
	assert_int_equal(forward_parse_answer("ERR nobody\x1b[1m there\n", 21, &e), -ECONNREFUSED);
	assert_string_equal(e.text, "nobody?[1m there");
	assert_int_equal(forward_parse_answer("ERR \n", 5, &e), -ECONNREFUSED);
	assert_int_equal(forward_parse_answer("OK", 2, &e), -EPROTO);
	assert_int_equal(forward_parse_answer("OK \n", 4, &e), -EPROTO);
	assert_int_equal(forward_parse_answer("ERR\n", 4, &e), -EPROTO);
	assert_int_equal(forward_parse_answer("ERR x", 5, &e), -EPROTO);
	assert_int_equal(forward_parse_answer("", 0, &e), -EPROTO);
	memset(longest, 'x', sizeof longest);
	memcpy(longest, "ERR ", 4);
	longest[FORWARD_ANSWER_MAX - 1] = '\n';
	assert_int_equal(forward_parse_answer(longest, FORWARD_ANSWER_MAX, &e), -ECONNREFUSED);
	assert_int_equal(strlen(e.text), FORWARD_ANSWER_MAX - 5);
	longest[FORWARD_ANSWER_MAX] = '\n';
	assert_int_equal(forward_parse_answer(longest, FORWARD_ANSWER_MAX + 1, &e), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_request_reads_as_it_was_written),
		cmocka_unit_test(test_bad_requests_are_refused),
		cmocka_unit_test(test_only_the_loopback_is_asked_for),
		cmocka_unit_test(test_answers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
