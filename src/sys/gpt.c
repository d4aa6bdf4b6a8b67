/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/gpt.h"

#include <endian.h>
#include <string.h>
#include <sys/types.h>

/* Offsets in the header and in an entry. */
enum {
	H_SIGNATURE = 0,
	H_REVISION = 8,
	H_SIZE = 12,
	H_CRC = 16,
	H_MY_LBA = 24,
	H_FIRST_USABLE = 40,
	H_LAST_USABLE = 48,
	H_TABLE_LBA = 72,
	H_ENTRIES = 80,
	H_ENTRY_SIZE = 84,
	H_TABLE_CRC = 88,
	E_TYPE = 0,
	E_FIRST = 32,
	E_LAST = 40,
	E_MIN_SIZE = 128,
};
#define SECTOR_MAX 4096

static uint32_t u32_at(const uint8_t *p)
{
	uint32_t n;
	memcpy(&n, p, sizeof n);
	return le32toh(n);
}

static uint64_t u64_at(const uint8_t *p)
{
	uint64_t n;
	memcpy(&n, p, sizeof n);
	return le64toh(n);
}

/* A nibble at a time: 64 bytes of table, and a table of 16 KiB takes a fraction of a millisecond.
 */
uint32_t gpt_crc32(const void *data, size_t len)
{
	static const uint32_t table[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
		0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
		0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};
	const uint8_t *p = data;
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc = table[(crc ^ p[i]) & 15] ^ crc >> 4;
		crc = table[(crc ^ p[i] >> 4) & 15] ^ crc >> 4;
	}
	return ~crc;
}

static int check_header(const uint8_t *p, size_t len, struct err *e)
{
	uint8_t copy[SECTOR_MAX];
	uint32_t size = u32_at(p + H_SIZE);

	if (memcmp(p + H_SIGNATURE, "EFI PART", 8) != 0)
		return err_set(e, -EINVAL, "there is no GUID partition table");
	if (u32_at(p + H_REVISION) >> 16 != 1)
		return err_set(e, -EINVAL, "partition table of revision %u: only 1 is known",
			       u32_at(p + H_REVISION) >> 16);
	if (size < GPT_HEADER_BYTES || size > len || size > sizeof copy)
		return err_set(e, -EINVAL, "partition table: a header of %u bytes", size);
	memcpy(copy, p, size);
	memset(copy + H_CRC, 0, 4);
	if (gpt_crc32(copy, size) != u32_at(p + H_CRC))
		return err_set(e, -EINVAL, "partition table: the header's checksum is wrong");
	if (u64_at(p + H_MY_LBA) != 1)
		return err_set(e, -EINVAL, "partition table: its header belongs to another sector");
	return 0;
}

size_t gpt_table_bytes(const struct gpt *g)
{
	return (size_t)g->entries * g->entry_bytes;
}

int gpt_parse_header(const void *data, size_t len, uint64_t disk_sectors, struct gpt *ret,
		     struct err *e)
{
	const uint8_t *p = data;

	if (len < GPT_HEADER_BYTES)
		return err_set(e, -EINVAL, "partition table: the header is cut");
	int r = check_header(p, len, e);
	if (r < 0)
		return r;
	struct gpt g = {.sectors = disk_sectors,
			.table_lba = u64_at(p + H_TABLE_LBA),
			.entries = u32_at(p + H_ENTRIES),
			.entry_bytes = u32_at(p + H_ENTRY_SIZE),
			.table_crc = u32_at(p + H_TABLE_CRC),
			.first_lba = u64_at(p + H_FIRST_USABLE),
			.last_lba = u64_at(p + H_LAST_USABLE)};
	if (g.entries == 0 || g.entries > GPT_ENTRIES_MAX)
		return err_set(e, -EINVAL, "partition table: %u entries: not 1 to %d", g.entries,
			       GPT_ENTRIES_MAX);
	if (g.entry_bytes < E_MIN_SIZE || g.entry_bytes > GPT_TABLE_BYTES_MAX ||
	    gpt_table_bytes(&g) > GPT_TABLE_BYTES_MAX)
		return err_set(e, -EINVAL, "partition table: entries of %u bytes", g.entry_bytes);
	if (g.table_lba < 2 || g.table_lba >= disk_sectors)
		return err_set(e, -EINVAL, "partition table: its entries are not on the disk");
	if (g.first_lba > g.last_lba || g.last_lba >= disk_sectors)
		return err_set(e, -EINVAL, "partition table: it is of a larger disk");
	*ret = g;
	return 0;
}

int gpt_parse_entry(const struct gpt *g, const void *table, size_t len, unsigned number,
		    struct gpt_partition *ret, struct err *e)
{
	static const uint8_t unused[16];

	if (len != gpt_table_bytes(g) || gpt_crc32(table, len) != g->table_crc)
		return err_set(e, -EINVAL, "partition table: the entries' checksum is wrong");
	if (number == 0 || number > g->entries)
		return err_set(e, -ENOENT, "partition %u: the table has %u entries", number,
			       g->entries);
	const uint8_t *p = (const uint8_t *)table + (size_t)(number - 1) * g->entry_bytes;
	if (memcmp(p + E_TYPE, unused, sizeof unused) == 0)
		return err_set(e, -ENOENT, "partition %u: its entry is not in use", number);
	uint64_t first = u64_at(p + E_FIRST), last = u64_at(p + E_LAST);
	if (first < g->first_lba || last > g->last_lba || first > last)
		return err_set(e, -EINVAL, "partition %u: it is not on the disk", number);
	*ret = (struct gpt_partition){.lba = first, .sectors = last - first + 1};
	return 0;
}

static int read_at(int fd, void *data, size_t len, uint64_t offset, struct err *e)
{
	ssize_t n = pread(fd, data, len, (off_t)offset);
	if (n < 0)
		return err_errno(e, -errno, "read the partition table");
	return (size_t)n < len ? err_set(e, -EINVAL, "partition table: the disk ends in it") : 0;
}

int gpt_read(int disk_fd, unsigned sector_bytes, uint64_t disk_sectors, unsigned number,
	     struct gpt_partition *ret, struct err *e)
{
	uint8_t header[SECTOR_MAX];
	struct gpt g;

	if (sector_bytes < 512 || sector_bytes > SECTOR_MAX)
		return err_set(e, -EINVAL, "a disk with sectors of %u bytes", sector_bytes);
	int r = read_at(disk_fd, header, sector_bytes, sector_bytes, e);
	if (r == 0)
		r = gpt_parse_header(header, sector_bytes, disk_sectors, &g, e);
	if (r < 0)
		return r;
	size_t len = gpt_table_bytes(&g);
	_cleanup_free_ void *table = malloc(len);
	if (!table)
		return err_set(e, -ENOMEM, "no memory for a partition table");
	r = read_at(disk_fd, table, len, g.table_lba * sector_bytes, e);
	return r < 0 ? r : gpt_parse_entry(&g, table, len, number, ret, e);
}
