/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dm-verity: the numbers that describe a protected device, the superblock that veritysetup writes,
 * and the kernel's table. Pure. A superblock is a stranger's: it may say anything, and is only ever
 * trusted as far as the root hash, which comes by another way, proves it right.
 *
 * Sources: kernel Documentation/admin-guide/device-mapper/verity.rst; the superblock is described
 * in cryptsetup's wiki, "DMVerity".
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

#define VERITY_DIGEST_MAX 64
#define VERITY_SALT_MAX 256
#define VERITY_ALGORITHM_MAX 31
#define VERITY_SUPERBLOCK_BYTES 512
/* The kernel takes data blocks up to its page, and we take hash blocks no larger. */
#define VERITY_BLOCK_MIN 512
#define VERITY_BLOCK_MAX 4096

struct verity {
	unsigned hash_type; /* 1; 0 is what Chrome OS began with */
	uint32_t data_block_bytes, hash_block_bytes;
	uint64_t data_blocks;
	uint64_t hash_start; /* of the tree, in hash blocks from the device's begin */
	char algorithm[VERITY_ALGORITHM_MAX + 1];
	uint8_t root[VERITY_DIGEST_MAX];
	size_t root_len;
	uint8_t salt[VERITY_SALT_MAX];
	size_t salt_len;
};

/** Bytes of that algorithm's digest, or -EINVAL: it is none that we trust (SHA-2 of 256 and up). */
int verity_digest_bytes(const char *algorithm);

/** Pairs of hexadecimal digits, at least one and at most @max: -EINVAL if it is anything else. */
int verity_parse_hex(const char *text, size_t max, uint8_t *ret, size_t *ret_len);

/**
 * Reads a superblock: everything but the root hash and where the tree begins. Only version 1.
 * -ENODATA: there is none.
 */
int verity_parse_superblock(const void *data, size_t len, struct verity *ret, struct err *e);

/**
 * Holds all of it against the rules, and data and hash tree against their devices. Sizes are in
 * bytes;
 * @hash_bytes 0: both are on one device, and may not overlap.
 */
int verity_check(const struct verity *v, uint64_t data_bytes, uint64_t hash_bytes, struct err *e);

/** How many hash blocks the tree has; @v has sane block sizes and a known algorithm. */
uint64_t verity_tree_blocks(const struct verity *v);

/** The mapped device's length in sectors of 512 bytes. */
uint64_t verity_sectors(const struct verity *v);

/**
 * The parameters of the kernel's target. @options are its optional words, "" for none: without any,
 * a block that does not match its hash cannot be read (EIO).
 */
int verity_table(const struct verity *v, const char *data_device, const char *hash_device,
		 const char *options, struct buf *ret);
