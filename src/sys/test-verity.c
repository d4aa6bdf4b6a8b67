/* SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"

#include "sys/verity.h"

#include <string.h>

/* As veritysetup writes it: 1 MiB of data, 4 KiB blocks, sha256, a salt of 32 bytes. */
static void superblock(uint8_t *p)
{
	memset(p, 0, VERITY_SUPERBLOCK_BYTES);
	memcpy(p, "verity\0\0\1\0\0\0\1\0\0\0", 16);
	memcpy(p + 32, "sha256", 6);
	p[65] = p[69] = 0x10;
	p[73] = 1;
	p[80] = 32;
	memset(p + 88, 0xab, 32);
}

static struct verity sane(void)
{
	struct verity v = {.hash_type = 1,
			   .data_block_bytes = 4096,
			   .hash_block_bytes = 4096,
			   .data_blocks = 256,
			   .hash_start = 257,
			   .algorithm = "sha256",
			   .root_len = 32,
			   .salt_len = 2,
			   .salt = {0x0a, 0xff}};
	memset(v.root, 0x5c, 32);
	return v;
}

static void a_superblock_is_read(void **state)
{
	uint8_t sb[VERITY_SUPERBLOCK_BYTES];
	struct verity v;

	superblock(sb);
	assert_int_equal(verity_parse_superblock(sb, sizeof sb, &v, NULL), 0);
	assert_int_equal(v.hash_type, 1);
	assert_int_equal(v.data_block_bytes, 4096);
	assert_int_equal(v.hash_block_bytes, 4096);
	assert_int_equal(v.data_blocks, 256);
	assert_string_equal(v.algorithm, "sha256");
	assert_int_equal(v.salt_len, 32);
	assert_int_equal(v.salt[31], 0xab);
}

static void damaged_superblocks_are_refused(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		int r;
	} cases[] = {
		{0, 'V', -ENODATA}, {8, 2, -EINVAL},  {32, 'S', -EINVAL},
		{38, '1', -EINVAL}, {81, 2, -EINVAL},
	};
	struct verity v;
	uint8_t sb[VERITY_SUPERBLOCK_BYTES];
	struct err e = ERR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		superblock(sb);
		sb[cases[i].at] = cases[i].value;
		assert_int_equal(verity_parse_superblock(sb, sizeof sb, &v, &e), cases[i].r);
	}
	superblock(sb);
	memset(sb + 32, 'a', 32);
	assert_int_equal(verity_parse_superblock(sb, sizeof sb, &v, &e), -EINVAL);
	assert_int_equal(verity_parse_superblock(sb, sizeof sb - 1, &v, &e), -ENODATA);
}

static void trees_are_counted_as_the_kernel_does(void **state)
{
	static const struct {
		uint64_t data, tree;
	} cases[] = {{1, 0}, {2, 1}, {128, 1}, {129, 3}, {16384, 129}, {16385, 129 + 1 + 2}};
	struct verity v = sane();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		v.data_blocks = cases[i].data;
		assert_int_equal(verity_tree_blocks(&v), cases[i].tree);
	}
}

static void all_has_to_fit_the_device(void **state)
{
	struct verity v = sane();
	struct err e = ERR_INIT;
	uint64_t exact = (257 + 3) * 4096;

	assert_int_equal(verity_check(&v, exact, 0, &e), 0);
	assert_int_equal(verity_check(&v, exact - 1, 0, &e), -EINVAL);
	assert_non_null(strstr(e.text, "hash tree of 3 blocks at block 257"));
	v.hash_start = 255;
	assert_int_equal(verity_check(&v, exact, 0, &e), -EINVAL);
	assert_non_null(strstr(e.text, "lies in the data"));
	v.hash_start = UINT64_MAX;
	assert_int_equal(verity_check(&v, exact, 0, &e), -EINVAL);
	/* on two devices nothing overlaps */
	v.hash_start = 0;
	assert_int_equal(verity_check(&v, 256 * 4096, 3 * 4096, &e), 0);
	assert_int_equal(verity_check(&v, 256 * 4096, 3 * 4096 - 1, &e), -EINVAL);
	assert_int_equal(verity_check(&v, 255 * 4096, 3 * 4096, &e), -EINVAL);
	v = sane();
	v.data_blocks = UINT64_MAX / 8;
	assert_int_equal(verity_check(&v, exact, 0, &e), -EINVAL);
	v.data_blocks = 0;
	assert_int_equal(verity_check(&v, exact, 0, &e), -EINVAL);
}

static void odd_numbers_are_refused(void **state)
{
	const uint64_t size = 1 << 30;
	struct err e = ERR_INIT;
	struct verity v = sane();

	v.root_len = 31;
	assert_int_equal(verity_check(&v, size, 0, &e), -EINVAL);
	assert_non_null(strstr(e.text, "31 bytes"));
	v = sane();
	v.hash_type = 2;
	assert_int_equal(verity_check(&v, size, 0, &e), -EINVAL);
	v = sane();
	v.data_block_bytes = 3000;
	assert_int_equal(verity_check(&v, size, 0, &e), -EINVAL);
	v.data_block_bytes = 0;
	assert_int_equal(verity_check(&v, size, 0, &e), -EINVAL);
	v = sane();
	v.hash_block_bytes = 8192;
	assert_int_equal(verity_check(&v, size, 0, &e), -EINVAL);
	v = sane();
	strcpy(v.algorithm, "md5");
	assert_int_equal(verity_check(&v, size, 0, &e), -EINVAL);
	assert_non_null(strstr(e.text, "\"md5\""));
}

static void the_table_is_the_kernels(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct verity v = sane();

	assert_int_equal(verity_table(&v, "/dev/vda1", "254:1", "", &b), 0);
	assert_string_equal(
		b.data, "1 /dev/vda1 254:1 4096 4096 256 257 sha256 "
			"5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c 0aff");
	assert_int_equal(verity_sectors(&v), 2048);
	buf_clear(&b);
	v.salt_len = 0;
	assert_int_equal(verity_table(&v, "a", "b", "panic_on_corruption", &b), 0);
	assert_non_null(strstr(b.data, " - 1 panic_on_corruption"));
}

static void hex_is_strict(void **state)
{
	static const char *const bad[] = {"", "a", "0g", "0x", " 00", "00 ", "001122334455"};
	uint8_t v[5];
	size_t n = 99;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(verity_parse_hex(bad[i], sizeof v, v, &n), -EINVAL);
	assert_int_equal(n, 99);
	assert_int_equal(verity_parse_hex("00fFA0", sizeof v, v, &n), 0);
	assert_int_equal(n, 3);
	assert_memory_equal(v, "\x00\xff\xa0", 3);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_superblock_is_read),
		cmocka_unit_test(damaged_superblocks_are_refused),
		cmocka_unit_test(trees_are_counted_as_the_kernel_does),
		cmocka_unit_test(all_has_to_fit_the_device),
		cmocka_unit_test(odd_numbers_are_refused),
		cmocka_unit_test(the_table_is_the_kernels),
		cmocka_unit_test(hex_is_strict),
	};
	return RUN_TESTS();
}
