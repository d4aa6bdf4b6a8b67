/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last bytes of a text that others write (a console, a VMM's stderr), and its lines as they
 * come. Terminal control sequences, carriage returns, NULs and other control bytes are dropped, and
 * bytes beyond ASCII become '?': the text ends in log lines and in error sentences, whose readers
 * refuse a string that is not UTF-8. Not thread-safe: the owner locks.
 */
#pragma once

#include "base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>

/* A longer line is given in pieces. */
#define TAIL_LINE_MAX 512

/** One line without its newline, never empty. Must not feed the same tail. */
typedef void (*tail_line_fn)(void *arg, const char *line);

struct tail {
	char *ring; /* owned, @size bytes */
	size_t size, at, len;
	char line[TAIL_LINE_MAX];
	size_t line_len;
	enum { TAIL_TEXT, TAIL_ESC, TAIL_CSI } escape;
	tail_line_fn on_line; /* may be NULL */
	void *arg;
};

/** Keeps the last @size bytes. 0 or -ENOMEM. */
int tail_init(struct tail *t, size_t size, tail_line_fn on_line, void *arg);
void tail_free(struct tail *t);
void tail_feed(struct tail *t, const void *data, size_t len);
/** Gives a last line that has no newline. */
void tail_flush(struct tail *t);
/** The last bytes as text, cut at the front to fit @size; from the start of a line if possible. */
void tail_text(const struct tail *t, char *dst, size_t size);
