/* SPDX-License-Identifier: Apache-2.0 */
#include "base/id.h"

#include "base/testing.h"

#include <string.h>

static void ids_are_safe_names(void **state)
{
	struct err e = ERR_INIT;
	char longest[258];
	memset(longest, 'a', sizeof longest);
	longest[256] = '\0';
	assert_int_equal(id_check("-id", "a1", &e), 0);
	assert_int_equal(id_check("-id", "A.b_c-9", &e), 0);
	assert_int_equal(id_check("-id", longest, &e), -EINVAL);
	assert_int_equal(id_check("-id", longest + 1, &e), 0);
	assert_int_equal(id_check("-id", "a", &e), 0);
	assert_int_equal(id_check("-id", "0", &e), 0);
	const char *bad[] = {"",    "-",   ".",	  "a/b",  "../x",
			     "-ab", ".ab", "a b", "a\nb", "\xc3\xa4\xc3\xa4"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(id_check("-id", bad[i], &e), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_are_safe_names),
	};
	return RUN_TESTS();
}
