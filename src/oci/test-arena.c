/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/arena.h"

#include "base/testing.h"

#include <string.h>

static void hands_out_zeroed_aligned_memory(void **state)
{
	_cleanup_arena_ struct oci_arena *a = oci_arena_new();
	static const char zero[20000];
	static const size_t sizes[] = {0, 1, 7, 16, 33, 100, 1000, 3000, 8192, 20000};
	char *seen[200];
	size_t len[200];

	assert_non_null(a);
	for (size_t i = 0; i < ARRAY_SIZE(seen); i++) {
		len[i] = sizes[i % ARRAY_SIZE(sizes)];
		seen[i] = oci_arena_alloc(a, len[i]);
		assert_non_null(seen[i]);
		assert_int_equal((uintptr_t)seen[i] % _Alignof(max_align_t), 0);
		assert_memory_equal(seen[i], zero, len[i]);
		memset(seen[i], (int)(i | 1), len[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(seen); i++) /* nothing overlaps */
		for (size_t k = 0; k < len[i]; k++)
			assert_int_equal((unsigned char)seen[i][k], i | 1);
}

static void copies_strings(void **state)
{
	_cleanup_arena_ struct oci_arena *a = oci_arena_new();
	struct oci_strv v;

	assert_string_equal(oci_arena_strdup(a, "abc"), "abc");
	assert_string_equal(oci_arena_strdup(a, ""), "");
	assert_null(oci_arena_strdup(a, NULL));
	assert_int_equal(oci_arena_strv(a, 0, &v), 0);
	assert_int_equal(v.n, 0);
	assert_null(v.v[0]);
	assert_int_equal(oci_arena_strv(a, 3, &v), 0);
	assert_int_equal(v.n, 3);
	assert_null(v.v[3]);
}

static void refuses_too_much(void **state)
{
	_cleanup_arena_ struct oci_arena *a = oci_arena_new();
	struct oci_strv v;
	size_t got = 0;

	assert_null(oci_arena_array(a, SIZE_MAX / 2, 8));
	assert_null(oci_arena_alloc(a, SIZE_MAX));
	assert_null(oci_arena_alloc(a, OCI_ARENA_MAX + 1));
	assert_int_equal(oci_arena_strv(a, SIZE_MAX, &v), -ENOMEM);
	assert_int_equal(oci_arena_strv(a, SIZE_MAX - 1, &v), -ENOMEM);
	while (oci_arena_alloc(a, 1 << 20))
		got++;
	assert_int_equal(got, OCI_ARENA_MAX >> 20);
}

static void freeing_nothing_is_fine(void **state)
{
	oci_arena_free(NULL);
	struct oci_arena *a = oci_arena_new();
	oci_arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hands_out_zeroed_aligned_memory),
		cmocka_unit_test(copies_strings),
		cmocka_unit_test(refuses_too_much),
		cmocka_unit_test(freeing_nothing_is_fine),
	};
	return RUN_TESTS();
}
