/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading YAML 1.2 as programs write it: mappings and sequences by indentation or in brackets,
 * plain and quoted scalars, comments; JSON is a part of that. What people like beside (anchors,
 * tags, block scalars, several documents, keys that are no scalars) is refused with its line.
 *
 * No state but the arena; one thread at a time. Trusts nothing of the text.
 */
#pragma once

#include "oci/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define YAML_BYTES_MAX (1u << 20)
#define YAML_DEPTH_MAX 32
#define YAML_NODES_MAX 65536
#define YAML_KEYS_MAX 1024 /* of one mapping */

enum yaml_kind { YAML_SCALAR, YAML_MAP, YAML_LIST };

struct yaml_node {
	enum yaml_kind kind;
	unsigned line;
	const char *key;  /* in a mapping */
	const char *text; /* of a scalar */
	bool quoted;	  /* surely a string */
	size_t n;	  /* of a mapping or list */
	struct yaml_node *first, *next;
};

/** Parses a text; the tree is of the arena. -EINVAL: "line 7: ...". */
int yaml_parse(struct oci_arena *arena, const char *text, size_t len, struct yaml_node **ret,
	       struct err *e);

/** Nothing at all, or written as such: "", "~", "null". */
bool yaml_is_null(const struct yaml_node *n);
/** A member of a mapping; NULL if there is none, or a null. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);
