/* SPDX-License-Identifier: Apache-2.0 */
/* A stream of bytes that both ends can make and check without having seen the other's: no byte can
 * be lost, doubled or moved unnoticed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline uint64_t pattern_word(uint64_t at)
{
	return at / 8 * 0x9e3779b97f4a7c15ull;
}

static inline uint8_t pattern_byte(uint64_t at)
{
	return (uint8_t)(pattern_word(at) >> (8 * (at % 8)));
}

/* By words where possible: the checking must not be what is measured. */
static inline void pattern_fill(uint8_t *dst, size_t len, uint64_t at)
{
	size_t i = 0;

	for (; i < len && (at + i) % 8; i++)
		dst[i] = pattern_byte(at + i);
	for (; i + 8 <= len; i += 8) {
		uint64_t w = pattern_word(at + i);
		__builtin_memcpy(dst + i, &w, 8);
	}
	for (; i < len; i++)
		dst[i] = pattern_byte(at + i);
}

static inline bool pattern_check(const uint8_t *p, size_t len, uint64_t at)
{
	size_t i = 0;

	for (; i < len && (at + i) % 8; i++)
		if (p[i] != pattern_byte(at + i))
			return false;
	for (; i + 8 <= len; i += 8) {
		uint64_t w;
		__builtin_memcpy(&w, p + i, 8);
		if (w != pattern_word(at + i))
			return false;
	}
	for (; i < len; i++)
		if (p[i] != pattern_byte(at + i))
			return false;
	return true;
}
