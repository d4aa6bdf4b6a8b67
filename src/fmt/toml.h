/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TOML 1.0 text becomes a tree of C nodes, each of which knows where it was written.
 *
 * Owns: the nodes and strings of a document, in one arena that toml_free() gives back whole. Any
 * thread; a document is not shared. Trusts nothing in the text: its size, the depth of its keys and
 * values and the number of its nodes are capped, and a string or key that holds U+0000 is refused,
 * so that a C string is always the whole of it.
 *
 * The grammar is toml++'s, behind the one C++ file of the project (toml-parser.cc).
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Kata's largest shipped file is 40 KiB; parsing takes about 50 times the text in memory. */
#define TOML_TEXT_MAX (1024 * 1024)
/*
 * Names in one key or table header; the deepest of the field's configuration has three. Together
 * with a depth of 16 for arrays and inline tables it bounds every recursion to a few hundred.
 */
#define TOML_DEPTH_MAX 32
/* A complete configuration has about 200 nodes. */
#define TOML_NODES_MAX 65536

enum toml_type {
	TOML_TABLE,
	TOML_ARRAY,
	TOML_STRING,
	TOML_INTEGER,
	TOML_FLOAT,
	TOML_BOOL,
	TOML_DATETIME, /* its value is not kept: nothing here uses one */
};

/* Counted from 1; 0 where unknown (the root). A column counts characters, not bytes. */
struct toml_position {
	uint32_t line, column;
};

struct toml_node {
	struct toml_node *next; /* the next child of the same parent */
	const char *key;	/* NULL for the root and for members of arrays */
	const char *file;	/* as given to toml_parse() */
	struct toml_position key_at, at;
	enum toml_type type;
	union {
		const char *string;
		int64_t integer;
		double number;
		bool boolean;
		struct { /* TOML_TABLE (sorted by key), TOML_ARRAY (as written) */
			struct toml_node *first, *last;
			size_t n;
		};
	};
};

struct toml_doc;

/**
 * Parses @len bytes of @text. @file names it in messages and in every node (duplicated).
 * Failure: -EINVAL with "FILE:LINE:COLUMN: why"; -EFBIG for a text over TOML_TEXT_MAX; -ENOMEM.
 */
int toml_parse(const char *text, size_t len, const char *file, struct toml_doc **ret,
	       struct err *e);
/** Frees the document and every node of it. NULL is fine. */
void toml_free(struct toml_doc *doc);
/** The table that holds everything. Lives as long as @doc. */
struct toml_node *toml_root(struct toml_doc *doc);

/** The member @key of a table; NULL if there is none or if @table is no table. */
struct toml_node *toml_get(const struct toml_node *table, const char *key);
/**
 * Lays @over onto @base: tables merge member by member, anything else is replaced, whatever type it
 * had. Nodes move: both documents must outlive the use of @base, and @over is not used again.
 */
void toml_merge(struct toml_node *base, struct toml_node *over);
/** "a table", "a string"... for messages. */
const char *toml_type_name(enum toml_type type);

DEFINE_CLEANUP(struct toml_doc, toml_free)
#define _cleanup_toml_ _cleanup_(toml_free_p)
