/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The primary partition table of a disk (UEFI specification, "GUID Partition Table Disk Layout"),
 * read with bounds: everything in it is a stranger's, and counts only if both checksums agree. The
 * backup at the disk's end is not looked at; a disk that is put together of layers has none.
 */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define GPT_HEADER_BYTES 92
/* The usual table has 128 entries of 128 bytes; this is eight times that. */
#define GPT_ENTRIES_MAX 1024
#define GPT_TABLE_BYTES_MAX (128 * 1024)

struct gpt {
	uint64_t sectors;   /* of the disk */
	uint64_t table_lba; /* where the entries are */
	uint32_t entries, entry_bytes;
	uint32_t table_crc;
	uint64_t first_lba, last_lba; /* that partitions may use */
};

struct gpt_partition {
	uint64_t lba, sectors;
};

/** Checks a header, which is the disk's second sector. @disk_sectors: its size. -EINVAL. */
int gpt_parse_header(const void *data, size_t len, uint64_t disk_sectors, struct gpt *ret,
		     struct err *e);
/** How long the table is. */
size_t gpt_table_bytes(const struct gpt *g);
/** Finds a partition (numbered from 1) in the table. -ENOENT: there is none of that number. */
int gpt_parse_entry(const struct gpt *g, const void *table, size_t len, unsigned number,
		    struct gpt_partition *ret, struct err *e);

/** Reads a partition's place from an open disk; in sectors of @sector_bytes. */
int gpt_read(int disk_fd, unsigned sector_bytes, uint64_t disk_sectors, unsigned number,
	     struct gpt_partition *ret, struct err *e);
/** The checksum of the format: CRC-32 as in Ethernet. */
uint32_t gpt_crc32(const void *data, size_t len);
