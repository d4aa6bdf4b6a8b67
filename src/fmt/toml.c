/* SPDX-License-Identifier: Apache-2.0 */
#include "fmt/toml.h"

#include "fmt/toml-parser.h"

#include <stdlib.h>
#include <string.h>

/* Big enough for a shipped configuration in a handful of allocations. */
#define BLOCK_SIZE 8192

struct block {
	struct block *next;
	size_t used, size;
	_Alignas(16) char data[];
};

struct toml_doc {
	struct block *blocks;
	const char *file;
	struct toml_node root;
	size_t nodes;
	/* Why the builder stopped, for toml_parse(). */
	int failed;
	struct toml_position failed_at;
	const char *failed_text;
};

/* ---- Memory -----------------------------------------------------------------------------------
 */

static void *doc_alloc(struct toml_doc *doc, size_t size)
{
	size = (size + 15) & ~(size_t)15;
	struct block *b = doc->blocks;
	if (!b || b->size - b->used < size) {
		size_t room = size > BLOCK_SIZE ? size : BLOCK_SIZE;
		b = malloc(sizeof *b + room);
		if (!b)
			return NULL;
		*b = (struct block){.next = doc->blocks, .size = room};
		doc->blocks = b;
	}
	void *p = b->data + b->used;
	b->used += size;
	return p;
}

static const char *doc_strndup(struct toml_doc *doc, const char *s, size_t len)
{
	char *copy = doc_alloc(doc, len + 1);
	if (!copy)
		return NULL;
	if (len)
		memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

void toml_free(struct toml_doc *doc)
{
	if (!doc)
		return;
	while (doc->blocks) {
		struct block *b = doc->blocks;
		doc->blocks = b->next;
		free(b);
	}
	free(doc);
}

/* ---- Depth of keys ----------------------------------------------------------------------------
 */

/*
 * toml++ bounds the depth of values, not of dotted keys: "a.a.a.a..." would nest as deep as the
 * text is long, and its destructors recurse. So dots are counted first. This walk only needs to
 * tell strings and comments from the rest: where it and the parser disagree the text is wrong, and
 * the parser stops there.
 */
struct scan {
	const char *p, *end;
	uint32_t line;
};

/* Moves past a string that begins at @s->p with a quote. An unfinished one ends the scan. */
static void skip_string(struct scan *s)
{
	char quote = *s->p;
	bool multi = s->end - s->p >= 3 && s->p[1] == quote && s->p[2] == quote;

	s->p += multi ? 3 : 1;
	for (; s->p < s->end; s->p++) {
		if (*s->p == '\n') {
			s->line++;
			if (!multi)
				return;
		} else if (*s->p == '\\' && quote == '"') {
			if (++s->p < s->end && *s->p == '\n')
				s->line++;
		} else if (*s->p == quote && !multi) {
			s->p++;
			return;
		} else if (*s->p == quote && s->end - s->p >= 3 && s->p[1] == quote &&
			   s->p[2] == quote) {
			s->p += 3;
			/* Up to two quotes may stand before the closing three. */
			while (s->p < s->end && *s->p == quote)
				s->p++;
			return;
		}
	}
}

/* Returns the line of a key that has too many names, or 0. */
static uint32_t find_deep_key(const char *text, size_t len)
{
	struct scan s = {.p = text, .end = text + len, .line = 1};
	unsigned dots = 0;

	while (s.p < s.end) {
		switch (*s.p) {
		case '"':
		case '\'':
			skip_string(&s);
			continue;
		case '#':
			while (s.p < s.end && *s.p != '\n')
				s.p++;
			continue;
		case '.':
			if (++dots >= TOML_DEPTH_MAX)
				return s.line;
			break;
		case '\n':
			s.line++;
			dots = 0;
			break;
		case '=':
		case ',':
		case '[':
		case ']':
		case '{':
		case '}':
			dots = 0;
			break;
		default:
			break;
		}
		s.p++;
	}
	return 0;
}

/* ---- The tree ---------------------------------------------------------------------------------
 */

static void append_child(struct toml_node *parent, struct toml_node *child)
{
	child->next = NULL;
	if (parent->last)
		parent->last->next = child;
	else
		parent->first = child;
	parent->last = child;
	parent->n++;
}

static void *builder_stop(struct toml_doc *doc, int r, const struct toml_event *event,
			  const char *text)
{
	doc->failed = r;
	doc->failed_at = (struct toml_position){event->line, event->column};
	doc->failed_text = text;
	return NULL;
}

void *toml_builder_add(void *builder, void *parent, const struct toml_event *event)
{
	struct toml_doc *doc = builder;

	if (++doc->nodes > TOML_NODES_MAX)
		return builder_stop(doc, -EFBIG, event, "the text has more than 65536 values");
	if ((event->key && memchr(event->key, '\0', event->key_len)) ||
	    (event->string && memchr(event->string, '\0', event->string_len)))
		return builder_stop(doc, -EINVAL, event, "a key or string must not hold U+0000");

	struct toml_node *node = doc_alloc(doc, sizeof *node);
	if (!node)
		return builder_stop(doc, -ENOMEM, event, "out of memory");
	*node = (struct toml_node){
		.file = doc->file,
		.key_at = {event->key_line, event->key_column},
		.at = {event->line, event->column},
		.type = (enum toml_type)event->type,
	};
	if (event->key) {
		node->key = doc_strndup(doc, event->key, event->key_len);
		if (!node->key)
			return builder_stop(doc, -ENOMEM, event, "out of memory");
	}
	switch (node->type) {
	case TOML_STRING:
		node->string = doc_strndup(doc, event->string, event->string_len);
		if (!node->string)
			return builder_stop(doc, -ENOMEM, event, "out of memory");
		break;
	case TOML_INTEGER:
		node->integer = event->integer;
		break;
	case TOML_FLOAT:
		node->number = event->number;
		break;
	case TOML_BOOL:
		node->boolean = event->boolean;
		break;
	case TOML_TABLE:
	case TOML_ARRAY:
	case TOML_DATETIME:
		break;
	}
	append_child(parent, node);
	return node;
}

static int doc_new(const char *file, struct toml_doc **ret)
{
	struct toml_doc *doc = calloc(1, sizeof *doc);
	if (!doc)
		return -ENOMEM;
	doc->file = doc_strndup(doc, file, strlen(file));
	if (!doc->file) {
		toml_free(doc);
		return -ENOMEM;
	}
	doc->root = (struct toml_node){.file = doc->file, .type = TOML_TABLE};
	*ret = doc;
	return 0;
}

int toml_parse(const char *text, size_t len, const char *file, struct toml_doc **ret, struct err *e)
{
	_cleanup_toml_ struct toml_doc *doc = NULL;
	struct toml_problem problem = {.text = ""};

	if (len > TOML_TEXT_MAX)
		return err_set(e, -EFBIG, "%s: the text is %zu bytes long: must be at most %d",
			       file, len, TOML_TEXT_MAX);
	uint32_t deep = find_deep_key(text, len);
	if (deep)
		return err_set(e, -EINVAL, "%s:%u: a key must have at most %d names", file, deep,
			       TOML_DEPTH_MAX);
	if (doc_new(file, &doc) < 0)
		return err_set(e, -ENOMEM, "%s: out of memory", file);

	int r = toml_parser_run(text, len, doc, &doc->root, &problem);
	if (r < 0)
		return err_set(e, -EINVAL, "%s:%u:%u: %s", file, problem.line, problem.column,
			       problem.text);
	if (r > 0)
		return err_set(e, doc->failed, "%s:%u:%u: %s", file, doc->failed_at.line,
			       doc->failed_at.column, doc->failed_text);
	*ret = TAKE_PTR(doc);
	return 0;
}

struct toml_node *toml_root(struct toml_doc *doc)
{
	return &doc->root;
}

struct toml_node *toml_get(const struct toml_node *table, const char *key)
{
	if (table->type != TOML_TABLE)
		return NULL;
	for (struct toml_node *n = table->first; n; n = n->next)
		if (strcmp(n->key, key) == 0)
			return n;
	return NULL;
}

void toml_merge(struct toml_node *base, struct toml_node *over)
{
	struct toml_node **at = &base->first;

	/* Both lists are sorted, so one walk along the two is enough. */
	for (struct toml_node *n = over->first, *next; n; n = next) {
		next = n->next;
		while (*at && strcmp((*at)->key, n->key) < 0)
			at = &(*at)->next;
		struct toml_node *old = *at && strcmp((*at)->key, n->key) == 0 ? *at : NULL;
		if (old && old->type == TOML_TABLE && n->type == TOML_TABLE) {
			toml_merge(old, n);
			continue;
		}
		n->next = old ? old->next : *at;
		*at = n;
		if (!old)
			base->n++;
		if (!n->next)
			base->last = n;
	}
}

const char *toml_type_name(enum toml_type type)
{
	switch (type) {
	case TOML_TABLE:
		return "a table";
	case TOML_ARRAY:
		return "an array";
	case TOML_STRING:
		return "a string";
	case TOML_INTEGER:
		return "a whole number";
	case TOML_FLOAT:
		return "a number";
	case TOML_BOOL:
		return "a boolean";
	case TOML_DATETIME:
		return "a date or time";
	}
	return "unknown";
}
