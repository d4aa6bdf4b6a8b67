/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What containerd writes into a request's stdin, stdout and stderr: a path, or the address of
 * something else that takes or gives bytes. Pure; any thread.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* Longer than any path with a few words of arguments; these are kept as long as the process. */
#define STDIO_URI_MAX (16u << 10)
/* Arguments of a logging binary: keys and values. */
#define STDIO_ARGS_MAX 128

enum stdio_kind {
	STDIO_NONE,   /* "": nobody wants it */
	STDIO_PATH,   /* "/path", "fifo:///path": a FIFO, or another file that exists */
	STDIO_FILE,   /* "file:///path": made if it is missing, appended to */
	STDIO_BINARY, /* "binary:///path?key=value&...", "binary-v2://...": a program that logs */
	STDIO_STREAM, /* "ttrpc+unix:///socket?streaming_id=ID": containerd's streaming service */
};

struct stdio_uri {
	enum stdio_kind kind;
	bool must_say_ready; /* binary-v2: closing the ready pipe without a byte is a failure */
	const char *path;    /* decoded; absolute but for STDIO_PATH. NULL only for STDIO_NONE */
	/* STDIO_BINARY: key, value, key, value, decoded, in the order of the URI and each key once,
	 * with its first value; a key without a value has "". NULL-terminated. */
	const char *args[STDIO_ARGS_MAX + 1];
	const char *stream_id; /* STDIO_STREAM */
	char *text;	       /* owned: where all of these point to */
};

/** @what ("stdout") names it in the sentence of an error. On failure nothing is to be freed. */
int stdio_uri_parse(const char *what, const char *uri, struct stdio_uri *ret, struct err *e);
void stdio_uri_free(struct stdio_uri *u);
