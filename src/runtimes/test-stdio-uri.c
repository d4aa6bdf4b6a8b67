/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/stdio-uri.h"

#include <string.h>

#include "base/testing.h"

static struct stdio_uri parse(const char *uri)
{
	struct stdio_uri u;
	struct err e = ERR_INIT;
	int r = stdio_uri_parse("stdout", uri, &u, &e);

	if (r < 0)
		fail_msg("%s: %s", uri, e.text);
	return u;
}

static void assert_refused(const char *uri, int status, const char *text)
{
	struct stdio_uri u;
	struct err e = ERR_INIT;

	assert_true(stdio_uri_parse("stdout", uri, &u, &e) < 0);
	assert_int_equal(e.status, status);
	if (!strstr(e.text, text) || !strstr(e.text, "stdout"))
		fail_msg("%s: \"%s\" has no \"%s\"", uri, e.text, text);
}

static void a_path_is_taken_as_it_is(void **state)
{
	struct stdio_uri u = parse("/run/a%20b?c#d");
	assert_int_equal(u.kind, STDIO_PATH);
	assert_string_equal(u.path, "/run/a%20b?c#d");
	stdio_uri_free(&u);
	u = parse("");
	assert_int_equal(u.kind, STDIO_NONE);
	assert_null(u.path);
	stdio_uri_free(&u);
}

static void a_path_with_a_scheme_is_decoded(void **state)
{
	struct stdio_uri u = parse("file:///var/log/a%20b%2Bc+d.log");
	assert_int_equal(u.kind, STDIO_FILE);
	assert_string_equal(u.path, "/var/log/a b+c+d.log");
	stdio_uri_free(&u);
	u = parse("fifo:///run/x");
	assert_int_equal(u.kind, STDIO_PATH);
	assert_string_equal(u.path, "/run/x");
	stdio_uri_free(&u);
}

static void a_binarys_arguments_keep_their_order_and_first_value(void **state)
{
	struct stdio_uri u = parse("binary:///usr/bin/l?b=2&a=x%26y+z&&flag&a=again&e=#end");
	static const char *const want[] = {"b", "2", "a", "x&y z", "flag", "", "e", ""};

	assert_int_equal(u.kind, STDIO_BINARY);
	assert_false(u.must_say_ready);
	assert_string_equal(u.path, "/usr/bin/l");
	for (size_t i = 0; i < ARRAY_SIZE(want); i++)
		assert_string_equal(u.args[i], want[i]);
	assert_null(u.args[ARRAY_SIZE(want)]);
	stdio_uri_free(&u);
	u = parse("binary-v2:///l");
	assert_int_equal(u.kind, STDIO_BINARY);
	assert_true(u.must_say_ready);
	assert_null(u.args[0]);
	stdio_uri_free(&u);
}

static void a_stream_has_a_socket_and_an_id(void **state)
{
	struct stdio_uri u = parse("ttrpc+unix:///run/containerd/s/abc?streaming_id=c1-stdout");
	assert_int_equal(u.kind, STDIO_STREAM);
	assert_string_equal(u.path, "/run/containerd/s/abc");
	assert_string_equal(u.stream_id, "c1-stdout");
	stdio_uri_free(&u);
}

static void what_is_wrong_is_said(void **state)
{
	assert_refused("binary-v3:///l", STATUS_UNIMPLEMENTED, "binary-v3:///l");
	assert_refused("ttrpc+vsock://3:1024?streaming_id=a", STATUS_UNIMPLEMENTED, "ttrpc+unix");
	assert_refused("://x", STATUS_UNIMPLEMENTED, "supported");
	assert_refused("binary://host/l", STATUS_INVALID_ARGUMENT, "absolute path");
	assert_refused("binary://", STATUS_INVALID_ARGUMENT, "absolute path");
	assert_refused("file:///a%2", STATUS_INVALID_ARGUMENT, "hexadecimal");
	assert_refused("file:///a%00b", STATUS_INVALID_ARGUMENT, "hexadecimal");
	assert_refused("binary:///l?a=%zz", STATUS_INVALID_ARGUMENT, "key=value");
	assert_refused("binary:///l?a=1;b=2", STATUS_INVALID_ARGUMENT, "key=value");
	assert_refused("ttrpc+unix:///s", STATUS_INVALID_ARGUMENT, "streaming_id");
	assert_refused("ttrpc+unix:///s?streaming_id=", STATUS_INVALID_ARGUMENT, "streaming_id");
}

static void what_is_long_is_refused(void **state)
{
	char uri[STDIO_URI_MAX + 32];
	size_t n = (size_t)snprintf(uri, sizeof uri, "binary:///l?");

	for (int i = 0; i <= STDIO_ARGS_MAX / 2; i++)
		n += (size_t)snprintf(uri + n, sizeof uri - n, "k%d&", i);
	assert_refused(uri, status_from_errno(E2BIG), "more than 64 keys");
	memset(uri, 'a', sizeof uri - 1);
	uri[sizeof uri - 1] = '\0';
	assert_refused(uri, status_from_errno(E2BIG), "bytes");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_is_taken_as_it_is),
		cmocka_unit_test(a_path_with_a_scheme_is_decoded),
		cmocka_unit_test(a_binarys_arguments_keep_their_order_and_first_value),
		cmocka_unit_test(a_stream_has_a_socket_and_an_id),
		cmocka_unit_test(what_is_wrong_is_said),
		cmocka_unit_test(what_is_long_is_refused),
	};
	return RUN_TESTS();
}
