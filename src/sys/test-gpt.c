/* SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"

#include "sys/gpt.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SECTORS 4096
#define ENTRIES 128

static uint8_t header[512], table[ENTRIES * 128];

static void put(uint8_t *p, uint64_t n, int bytes)
{
	for (int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(n >> (8 * i));
}

static void seal(void)
{
	put(header + 88, gpt_crc32(table, sizeof table), 4);
	put(header + 16, 0, 4);
	put(header + 16, gpt_crc32(header, 92), 4);
}

/* Partitions 1 (sectors 2048 to 3071) and 3 (3072 to 4095), as a runtime puts layers together. */
static int begin(void **state)
{
	memset(header, 0, sizeof header);
	memset(table, 0, sizeof table);
	memcpy(header, "EFI PART\0\0\1\0\x5c\0\0\0", 16);
	put(header + 24, 1, 8);
	put(header + 32, SECTORS, 8); /* no backup */
	put(header + 40, 34, 8);
	put(header + 48, SECTORS - 1, 8);
	put(header + 72, 2, 8);
	put(header + 80, ENTRIES, 4);
	put(header + 84, 128, 4);
	for (int i = 0; i < 3; i += 2) {
		memset(table + i * 128, 0xaf, 16);
		put(table + i * 128 + 32, 2048 + (uint64_t)i * 512, 8);
		put(table + i * 128 + 40, 2048 + (uint64_t)i * 512 + 1023, 8);
	}
	seal();
	return 0;
}

static int find(unsigned number, struct gpt_partition *ret, struct err *e)
{
	struct gpt g;
	int r = gpt_parse_header(header, sizeof header, SECTORS, &g, e);
	return r < 0 ? r : gpt_parse_entry(&g, table, sizeof table, number, ret, e);
}

static void partitions_are_found(void **state)
{
	struct gpt_partition p;

	/* the checksum's own check value */
	assert_int_equal(gpt_crc32("123456789", 9), 0xcbf43926);
	assert_int_equal(find(1, &p, NULL), 0);
	assert_int_equal(p.lba, 2048);
	assert_int_equal(p.sectors, 1024);
	assert_int_equal(find(3, &p, NULL), 0);
	assert_int_equal(p.lba, 3072);
	assert_int_equal(find(2, &p, NULL), -ENOENT);
	assert_int_equal(find(0, &p, NULL), -ENOENT);
	assert_int_equal(find(129, &p, NULL), -ENOENT);
}

static void every_flipped_bit_is_seen(void **state)
{
	struct gpt_partition p;

	for (size_t i = 0; i < 92; i++) {
		header[i] ^= 0x10;
		assert_int_equal(find(1, &p, NULL), -EINVAL);
		header[i] ^= 0x10;
	}
	for (size_t i = 0; i < sizeof table; i += 61) {
		table[i] ^= 0x10;
		assert_int_equal(find(1, &p, NULL), -EINVAL);
		table[i] ^= 0x10;
	}
	assert_int_equal(find(1, &p, NULL), 0);
}

/* With right checksums, so that only the bounds are left to refuse it. */
static void numbers_are_bounded(void **state)
{
	static const struct {
		int at, bytes;
		uint64_t n;
		const char *word;
	} cases[] = {
		{8, 4, 0x20000, "revision 2"},	     {12, 4, 91, "91 bytes"},
		{12, 4, 513, "513 bytes"},	     {12, 4, UINT32_MAX, "4294967295 bytes"},
		{24, 8, 2, "another sector"},	     {48, 8, SECTORS, "larger disk"},
		{40, 8, SECTORS, "larger disk"},     {72, 8, 1, "not on the disk"},
		{72, 8, SECTORS, "not on the disk"}, {80, 4, 0, "0 entries"},
		{80, 4, 1025, "1025 entries"},	     {84, 4, 127, "127 bytes"},
		{84, 4, 4096, "4096 bytes"},	     {84, 4, 0x2000000, "33554432 bytes"},
	};
	struct gpt_partition p;
	struct err e = ERR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		begin(NULL);
		put(header + cases[i].at, cases[i].n, cases[i].bytes);
		seal();
		assert_int_equal(find(1, &p, &e), -EINVAL);
		assert_non_null(strstr(e.text, cases[i].word));
	}
	begin(NULL);
	put(table + 40, SECTORS, 8);
	seal();
	assert_int_equal(find(1, &p, &e), -EINVAL);
	put(table + 40, 2000, 8);
	seal();
	assert_int_equal(find(1, &p, &e), -EINVAL);
}

static void a_disk_is_read(void **state)
{
	struct gpt_partition p;
	struct err e = ERR_INIT;
	int fd = memfd_create("disk", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, (off_t)SECTORS * 512), 0);
	assert_int_equal(gpt_read(fd, 512, SECTORS, 1, &p, &e), -EINVAL);
	assert_string_equal(e.text, "there is no GUID partition table");
	assert_int_equal(pwrite(fd, header, sizeof header, 512), sizeof header);
	assert_int_equal(pwrite(fd, table, sizeof table, 1024), sizeof table);
	assert_int_equal(gpt_read(fd, 512, SECTORS, 3, &p, &e), 0);
	assert_int_equal(p.lba, 3072);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(gpt_read(fd, 512, SECTORS, 3, &p, &e), -EINVAL);
	assert_int_equal(gpt_read(fd, 8192, SECTORS, 3, &p, &e), -EINVAL);
	close(fd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(partitions_are_found, begin),
		cmocka_unit_test_setup(every_flipped_bit_is_seen, begin),
		cmocka_unit_test_setup(numbers_are_bounded, begin),
		cmocka_unit_test_setup(a_disk_is_read, begin),
	};
	return RUN_TESTS();
}
