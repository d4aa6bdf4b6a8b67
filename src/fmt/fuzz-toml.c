/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes become a tree, and the tree must hold together: links, counts, order, caps. */
#include "fmt/toml.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t check_tree(const struct toml_node *parent)
{
	size_t n = 0, all = 0;
	const struct toml_node *last = NULL;

	for (const struct toml_node *c = parent->first; c; last = c, c = c->next, n++) {
		if ((parent->type == TOML_TABLE) != (c->key != NULL))
			abort();
		if (last && c->key && strcmp(last->key, c->key) >= 0)
			abort();
		if (c->key && toml_get(parent, c->key) != c)
			abort();
		if (c->type == TOML_STRING && !c->string)
			abort();
		if (c->type == TOML_TABLE || c->type == TOML_ARRAY)
			all += check_tree(c);
	}
	if (n != parent->n || last != parent->last)
		abort();
	return all + n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Two texts, divided by a NUL, so that merging is reached too. */
	const uint8_t *nul = memchr(data, '\0', size);
	size_t first = nul ? (size_t)(nul - data) : size;
	_cleanup_toml_ struct toml_doc *base = NULL, *over = NULL;
	struct err e = ERR_INIT;

	if (toml_parse((const char *)data, first, "base", &base, &e) < 0) {
		if (!e.text[0])
			abort();
		return 0;
	}
	if (check_tree(toml_root(base)) > TOML_NODES_MAX)
		abort();
	if (nul && toml_parse((const char *)nul + 1, size - first - 1, "over", &over, NULL) == 0) {
		toml_merge(toml_root(base), toml_root(over));
		check_tree(toml_root(base));
	}
	return 0;
}
