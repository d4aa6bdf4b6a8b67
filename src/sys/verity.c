/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/verity.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

/* Offsets in the superblock. */
enum {
	SB_SIGNATURE = 0,
	SB_VERSION = 8,
	SB_HASH_TYPE = 12,
	SB_ALGORITHM = 32,
	SB_DATA_BLOCK = 64,
	SB_HASH_BLOCK = 68,
	SB_DATA_BLOCKS = 72,
	SB_SALT_LEN = 80,
	SB_SALT = 88,
};

static const struct {
	const char *name;
	int bytes;
} algorithms[] = {{"sha256", 32}, {"sha384", 48}, {"sha512", 64}};

int verity_digest_bytes(const char *algorithm)
{
	for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++)
		if (strcmp(algorithms[i].name, algorithm) == 0)
			return algorithms[i].bytes;
	return -EINVAL;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int verity_parse_hex(const char *text, size_t max, uint8_t *ret, size_t *ret_len)
{
	size_t len = strlen(text);

	if (len == 0 || len % 2 || len / 2 > max)
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if (hex_digit(text[i]) < 0)
			return -EINVAL;
	for (size_t i = 0; i < len / 2; i++)
		ret[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
	*ret_len = len / 2;
	return 0;
}

/* ---- The superblock ----------------------------------------------------------------------- */

static uint32_t le32_at(const uint8_t *p)
{
	uint32_t n;
	memcpy(&n, p, sizeof n);
	return le32toh(n);
}

static uint64_t le64_at(const uint8_t *p)
{
	uint64_t n;
	memcpy(&n, p, sizeof n);
	return le64toh(n);
}

int verity_parse_superblock(const void *data, size_t len, struct verity *ret, struct err *e)
{
	const uint8_t *p = data;
	struct verity v = {.root_len = 0};

	if (len < VERITY_SUPERBLOCK_BYTES || memcmp(p + SB_SIGNATURE, "verity\0\0", 8) != 0)
		return err_set(e, -ENODATA, "there is no verity superblock");
	if (le32_at(p + SB_VERSION) != 1)
		return err_set(e, -EINVAL, "verity superblock of version %u: only 1 is known",
			       le32_at(p + SB_VERSION));
	if (!memchr(p + SB_ALGORITHM, '\0', VERITY_ALGORITHM_MAX + 1))
		return err_set(e, -EINVAL, "verity superblock: the algorithm's name has no end");
	memcpy(v.algorithm, p + SB_ALGORITHM, sizeof v.algorithm);
	if (verity_digest_bytes(v.algorithm) < 0)
		return err_set(e, -EINVAL, "verity superblock: an algorithm that is not known");
	v.hash_type = le32_at(p + SB_HASH_TYPE);
	v.data_block_bytes = le32_at(p + SB_DATA_BLOCK);
	v.hash_block_bytes = le32_at(p + SB_HASH_BLOCK);
	v.data_blocks = le64_at(p + SB_DATA_BLOCKS);
	v.salt_len = (size_t)p[SB_SALT_LEN] | (size_t)p[SB_SALT_LEN + 1] << 8;
	if (v.salt_len > VERITY_SALT_MAX)
		return err_set(e, -EINVAL, "verity superblock: a salt of %zu bytes is over %d",
			       v.salt_len, VERITY_SALT_MAX);
	memcpy(v.salt, p + SB_SALT, v.salt_len);
	*ret = v;
	return 0;
}

/* ---- The rules ---------------------------------------------------------------------------- */

static bool block_size_valid(uint32_t n)
{
	return n >= VERITY_BLOCK_MIN && n <= VERITY_BLOCK_MAX && (n & (n - 1)) == 0;
}

/* How many digests a hash block has, as a power of two: log2 of it. */
static unsigned hashes_per_block_bits(const struct verity *v)
{
	unsigned n = v->hash_block_bytes / (unsigned)verity_digest_bytes(v->algorithm);
	return 31 - (unsigned)__builtin_clz(n);
}

uint64_t verity_tree_blocks(const struct verity *v)
{
	unsigned bits = hashes_per_block_bits(v);
	uint64_t total = 0;

	/* each level has a hash for each block of the one below, up to a level of one block */
	for (uint64_t n = v->data_blocks; n > 1;) {
		n = (n >> bits) + ((n & ((1ULL << bits) - 1)) != 0);
		total += n;
	}
	return total;
}

uint64_t verity_sectors(const struct verity *v)
{
	return v->data_blocks * (v->data_block_bytes / 512);
}

static int check_sizes(const struct verity *v, uint64_t data_bytes, uint64_t hash_bytes,
		       struct err *e)
{
	if (v->data_blocks == 0 || v->data_blocks > data_bytes / v->data_block_bytes)
		return err_set(e, -EINVAL,
			       "verity: %llu data blocks of %u bytes are none, or more than the "
			       "device's %llu bytes",
			       (unsigned long long)v->data_blocks, v->data_block_bytes,
			       (unsigned long long)data_bytes);
	bool one = hash_bytes == 0;
	if (one)
		hash_bytes = data_bytes;
	uint64_t blocks = hash_bytes / v->hash_block_bytes, tree = verity_tree_blocks(v);
	if (v->hash_start > blocks || tree > blocks - v->hash_start)
		return err_set(e, -EINVAL,
			       "verity: a hash tree of %llu blocks at block %llu reaches over the "
			       "device's end at %llu bytes",
			       (unsigned long long)tree, (unsigned long long)v->hash_start,
			       (unsigned long long)hash_bytes);
	if (one && v->hash_start * v->hash_block_bytes < v->data_blocks * v->data_block_bytes)
		return err_set(e, -EINVAL, "verity: the hash tree at block %llu lies in the data",
			       (unsigned long long)v->hash_start);
	return 0;
}

int verity_check(const struct verity *v, uint64_t data_bytes, uint64_t hash_bytes, struct err *e)
{
	int digest = verity_digest_bytes(v->algorithm);
	if (digest < 0)
		return err_set(e, -EINVAL,
			       "verity: algorithm \"%s\" is none of sha256, sha384, sha512",
			       v->algorithm);
	if (v->hash_type > 1)
		return err_set(e, -EINVAL, "verity: hash type %u is neither 0 nor 1", v->hash_type);
	if (!block_size_valid(v->data_block_bytes))
		return err_set(e, -EINVAL,
			       "verity: data blocks of %u bytes: not a power of 2 of %d to %d",
			       v->data_block_bytes, VERITY_BLOCK_MIN, VERITY_BLOCK_MAX);
	if (!block_size_valid(v->hash_block_bytes))
		return err_set(e, -EINVAL,
			       "verity: hash blocks of %u bytes: not a power of 2 of %d to %d",
			       v->hash_block_bytes, VERITY_BLOCK_MIN, VERITY_BLOCK_MAX);
	if (v->root_len != (size_t)digest)
		return err_set(e, -EINVAL, "verity: a root hash of %zu bytes: %s has %d",
			       v->root_len, v->algorithm, digest);
	return check_sizes(v, data_bytes, hash_bytes, e);
}

/* ---- The table ---------------------------------------------------------------------------- */

static void put_hex(struct buf *b, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf_printf(b, "%02x", data[i]);
}

int verity_table(const struct verity *v, const char *data_device, const char *hash_device,
		 const char *options, struct buf *ret)
{
	buf_printf(ret, "%u %s %s %u %u %llu %llu %s ", v->hash_type, data_device, hash_device,
		   v->data_block_bytes, v->hash_block_bytes, (unsigned long long)v->data_blocks,
		   (unsigned long long)v->hash_start, v->algorithm);
	put_hex(ret, v->root, v->root_len);
	buf_puts(ret, " ");
	if (v->salt_len)
		put_hex(ret, v->salt, v->salt_len);
	else
		buf_puts(ret, "-");
	unsigned words = options[0] ? 1 : 0;
	for (const char *p = options; (p = strchr(p, ' ')); p++)
		words++;
	if (words)
		buf_printf(ret, " %u %s", words, options);
	return buf_failed(ret) ? -ENOMEM : 0;
}
