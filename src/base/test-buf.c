/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include "base/testing.h"

#include <string.h>

static void appends_and_prints(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	buf_puts(&b, "a");
	buf_printf(&b, "-%d-%s", 42, "z");
	buf_append(&b, "\0x", 2);
	assert_int_equal(b.len, 8);
	assert_memory_equal(b.data, "a-42-z\0x", 9);
}

static void grows_past_any_size(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	for (int i = 0; i < 10000; i++)
		buf_printf(&b, "%04d", i);
	assert_false(buf_failed(&b));
	assert_int_equal(b.len, 40000);
	assert_memory_equal(b.data + 39996, "9999", 5);
}

static void consumes_from_the_front(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	buf_puts(&b, "hello world");
	buf_consume(&b, 6);
	assert_string_equal(b.data, "world");
	buf_consume(&b, 5);
	assert_int_equal(b.len, 0);
}

static void take_gives_ownership_even_when_empty(void **state)
{
	struct buf b = BUF_INIT;
	_cleanup_free_ char *empty = buf_take(&b);
	assert_string_equal(empty, "");
	buf_puts(&b, "x");
	_cleanup_free_ char *x = buf_take(&b);
	assert_string_equal(x, "x");
	assert_null(b.data);
}

static void an_absurd_size_fails_and_stays_failed(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	assert_null(buf_reserve(&b, SIZE_MAX - 5));
	assert_true(buf_failed(&b));
	buf_puts(&b, "x");
	assert_null(buf_take(&b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appends_and_prints),
		cmocka_unit_test(grows_past_any_size),
		cmocka_unit_test(consumes_from_the_front),
		cmocka_unit_test(take_gives_ownership_even_when_empty),
		cmocka_unit_test(an_absurd_size_fails_and_stays_failed),
	};
	return RUN_TESTS();
}
