/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growable byte string. Always NUL-terminated past its length once it holds anything, so text in
 * it can be printed. An allocation failure is remembered: append freely, check buf_failed() once.
 */
#pragma once

#include "base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>

struct buf {
	char *data; /* owned; NULL while empty */
	size_t len;
	size_t cap;
	bool failed;
};

#define BUF_INIT ((struct buf){.data = NULL})

void buf_free(struct buf *b);
static inline void buf_clear(struct buf *b)
{
	b->len = 0;
	if (b->data)
		b->data[0] = '\0';
}
void buf_append(struct buf *b, const void *data, size_t len);
void buf_puts(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) _printf_(2, 3);
/** Makes room for @len more bytes and returns where they go (then add to ->len), or NULL. */
void *buf_reserve(struct buf *b, size_t len);
/** Drops @n bytes from the front. */
void buf_consume(struct buf *b, size_t n);
/** The text, owned by the caller; NULL if an allocation failed. Leaves the buffer empty. */
char *buf_take(struct buf *b);
static inline bool buf_failed(const struct buf *b)
{
	return b->failed;
}

#define _cleanup_buf_ _cleanup_(buf_free)
