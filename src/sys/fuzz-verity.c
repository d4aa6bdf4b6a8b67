/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a superblock: refused, or numbers that the check bounds and a table that is made. */
#include "sys/verity.h"

#include <string.h>

#define DEVICE_BYTES (64ULL << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct verity v;
	_cleanup_buf_ struct buf table = BUF_INIT;

	if (verity_parse_superblock(data, size, &v, NULL) < 0)
		return 0;
	v.root_len = (size_t)verity_digest_bytes(v.algorithm);
	v.hash_start = size > VERITY_SUPERBLOCK_BYTES ? data[VERITY_SUPERBLOCK_BYTES] * 64U : 1024;
	if (verity_check(&v, DEVICE_BYTES, 0, NULL) < 0)
		return 0;
	if (v.data_blocks * v.data_block_bytes > DEVICE_BYTES ||
	    (v.hash_start + verity_tree_blocks(&v)) * v.hash_block_bytes > DEVICE_BYTES)
		abort();
	if (verity_table(&v, "a", "b", "", &table) == 0 && strlen(table.data) > 2048)
		abort();
	return 0;
}
