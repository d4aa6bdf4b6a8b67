/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the begin of a disk: refused, or a partition that lies on it. Once as they are, and
 * once with checksums made right, which no mutation would ever find.
 */
#include "sys/gpt.h"

#include <string.h>

#define SECTORS 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put32(uint8_t *p, uint32_t n)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(n >> (8 * i));
}

static void parse(const uint8_t *disk, size_t size, unsigned number)
{
	struct gpt g;
	struct gpt_partition p;

	if (size < 1024 || gpt_parse_header(disk + 512, 512, SECTORS, &g, NULL) < 0)
		return;
	size_t len = gpt_table_bytes(&g);
	if (len > GPT_TABLE_BYTES_MAX)
		abort();
	if (len > size - 1024 || gpt_parse_entry(&g, disk + 1024, len, number, &p, NULL) < 0)
		return;
	if (p.sectors == 0 || p.lba >= SECTORS || p.sectors > SECTORS - p.lba)
		abort();
}

static void repair(uint8_t *disk, size_t size)
{
	uint8_t *h = disk + 512;
	uint32_t header, entries, bytes;

	memcpy(&header, h + 12, 4);
	memcpy(&entries, h + 80, 4);
	memcpy(&bytes, h + 84, 4);
	if ((uint64_t)entries * bytes <= size - 1024)
		put32(h + 88, gpt_crc32(disk + 1024, (size_t)entries * bytes));
	put32(h + 16, 0);
	if (header <= 512)
		put32(h + 16, gpt_crc32(h, header));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	parse(data, size, 1);
	if (size < 1024)
		return 0;
	uint8_t *copy = malloc(size);
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	repair(copy, size);
	for (unsigned n = 0; n < 4; n++)
		parse(copy, size, n);
	free(copy);
	return 0;
}
