/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/yaml.h"

#include <string.h>

/* Bytes of a plain scalar over several lines: each line copies those before. */
#define PLAIN_MAX 4096

struct reader {
	struct oci_arena *arena;
	const char *p, *end;
	const char *line_begin;
	unsigned line, depth;
	size_t nodes;
	struct err *e;
};

static int parse_node(struct reader *rd, int indent, struct yaml_node **ret);
static int parse_flow(struct reader *rd, struct yaml_node **ret);

static int refuse(struct reader *rd, const char *what)
{
	return err_set(rd->e, -EINVAL, "line %u: %s", rd->line, what);
}

static int no_memory(struct reader *rd)
{
	return err_set(rd->e, -ENOMEM, "no memory for what is in line %u", rd->line);
}

static int node_new(struct reader *rd, enum yaml_kind kind, struct yaml_node **ret)
{
	if (++rd->nodes > YAML_NODES_MAX)
		return refuse(rd, "too many values");
	*ret = oci_arena_alloc(rd->arena, sizeof **ret);
	if (!*ret)
		return no_memory(rd);
	(*ret)->kind = kind;
	(*ret)->line = rd->line;
	return 0;
}

static void node_add(struct yaml_node *to, struct yaml_node **last, struct yaml_node *n)
{
	if (*last)
		(*last)->next = n;
	else
		to->first = n;
	*last = n;
	to->n++;
}

/* ---- Characters --------------------------------------------------------------------------- */

static char peek(const struct reader *rd)
{
	return rd->p < rd->end ? *rd->p : '\0';
}

static char peek_next(const struct reader *rd)
{
	return rd->p + 1 < rd->end ? rd->p[1] : '\0';
}

static int column(const struct reader *rd)
{
	return (int)(rd->p - rd->line_begin);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Also at the end of the text. */
static bool is_space(char c)
{
	return is_blank(c) || c == '\n' || c == '\0';
}

static void skip_blanks(struct reader *rd)
{
	while (rd->p < rd->end && is_blank(*rd->p))
		rd->p++;
}

static void next_line(struct reader *rd)
{
	rd->p++;
	rd->line++;
	rd->line_begin = rd->p;
}

/* To the next character that means something: past blanks, comments, ends of lines. */
static int skip_to_content(struct reader *rd)
{
	for (;;) {
		const char *from = rd->p;
		while (peek(rd) == ' ')
			rd->p++;
		if (peek(rd) == '\t' && from == rd->line_begin)
			return refuse(rd, "indented by a tab");
		skip_blanks(rd);
		if (peek(rd) == '#' && (rd->p == rd->line_begin || is_blank(rd->p[-1])))
			while (rd->p < rd->end && *rd->p != '\n')
				rd->p++;
		if (rd->p == rd->end || *rd->p != '\n')
			return 0;
		next_line(rd);
	}
}

/* "---" or "..." at the beginning of a line */
static bool at_document_mark(const struct reader *rd)
{
	return rd->p == rd->line_begin && rd->end - rd->p >= 3 &&
	       (memcmp(rd->p, "---", 3) == 0 || memcmp(rd->p, "...", 3) == 0) &&
	       (rd->end - rd->p == 3 || is_space(rd->p[3]));
}

static bool at_list_item(const struct reader *rd)
{
	return peek(rd) == '-' && is_space(peek_next(rd)) && rd->p < rd->end;
}

/* ---- Scalars ------------------------------------------------------------------------------ */

static int hex_digits(struct reader *rd, int n, unsigned *ret)
{
	*ret = 0;
	for (; n > 0; n--, rd->p++) {
		char c = peek(rd);
		unsigned v = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
			     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
			     : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
						    : 16;
		if (v == 16)
			return refuse(rd, "a broken escape sequence");
		*ret = *ret << 4 | v;
	}
	return 0;
}

static char *put_utf8(char *to, unsigned c)
{
	if (c < 0x80) {
		*to++ = (char)c;
	} else if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
		*to++ = (char)(0x80 | (c & 0x3f));
	} else {
		if (c < 0x10000) {
			*to++ = (char)(0xe0 | c >> 12);
		} else {
			*to++ = (char)(0xf0 | c >> 18);
			*to++ = (char)(0x80 | (c >> 12 & 0x3f));
		}
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	}
	return to;
}

/* \uD83D\uDE00: two halves of one character */
static int parse_unicode(struct reader *rd, unsigned *ret)
{
	unsigned low = 0;

	int r = hex_digits(rd, 4, ret);
	if (r < 0 || *ret < 0xd800 || *ret > 0xdfff)
		return r;
	if (*ret > 0xdbff || peek(rd) != '\\' || peek_next(rd) != 'u')
		return refuse(rd, "half a character");
	rd->p += 2;
	r = hex_digits(rd, 4, &low);
	if (r == 0 && (low < 0xdc00 || low > 0xdfff))
		r = refuse(rd, "half a character");
	*ret = 0x10000 + ((*ret - 0xd800) << 10) + (low & 0x3ff);
	return r;
}

/* What follows a backslash. */
static int parse_escape(struct reader *rd, char **to)
{
	static const char from[] = "\"\\/bfnrt ", into[] = "\"\\/\b\f\n\r\t ";
	char c = peek(rd);
	const char *at = c ? strchr(from, c) : NULL;
	unsigned code = 0;
	int r = 0;

	rd->p++;
	if (at) {
		*(*to)++ = into[at - from];
		return 0;
	}
	if (c == 'u')
		r = parse_unicode(rd, &code);
	else if (c == 'x')
		r = hex_digits(rd, 2, &code);
	else
		r = refuse(rd, "an unknown escape sequence");
	if (r == 0 && code == 0)
		r = refuse(rd, "a NUL in a string");
	if (r == 0)
		*to = put_utf8(*to, code);
	return r;
}

/* The bytes to the closing quote, or to the end of the line. */
static size_t quoted_length(const struct reader *rd, char quote)
{
	const char *p = rd->p;

	for (; p < rd->end && *p != '\n'; p++) {
		bool two = (*p == '\\' && quote == '"') ||
			   (*p == quote && quote == '\'' && p + 1 < rd->end && p[1] == quote);
		if (two && p + 1 < rd->end)
			p++;
		else if (*p == quote)
			break;
	}
	return (size_t)(p - rd->p);
}

/* A quoted string; no escape is shorter than what it stands for. */
static int parse_quoted(struct reader *rd, const char **ret)
{
	char quote = *rd->p++;
	char *text = oci_arena_alloc(rd->arena, quoted_length(rd, quote) + 1), *to = text;
	if (!text)
		return no_memory(rd);
	for (;;) {
		if (rd->p >= rd->end || *rd->p == '\n')
			return refuse(rd, "a string does not end on its line");
		char c = *rd->p++;
		if (c == quote && (quote == '"' || peek(rd) != quote))
			break;
		if (c == '\\' && quote == '"') {
			int r = parse_escape(rd, &to);
			if (r < 0)
				return r;
			continue;
		}
		if (c == quote)
			rd->p++;
		*to++ = c;
	}
	*ret = text;
	return 0;
}

/* Where a plain scalar ends on this line. */
static const char *plain_end(const struct reader *rd, bool flow)
{
	const char *p = rd->p;

	for (; p < rd->end && *p != '\n'; p++) {
		if (*p == ':' &&
		    (p + 1 == rd->end || is_space(p[1]) || (flow && strchr(",[]{}", p[1]))))
			break;
		if (*p == '#' && p > rd->p && is_blank(p[-1]))
			break;
		if (flow && strchr(",[]{}", *p))
			break;
	}
	while (p > rd->p && is_blank(p[-1]))
		p--;
	return p;
}

static int check_plain(struct reader *rd, bool flow)
{
	char c = peek(rd);

	if (c && strchr("&*!|>%@`", c))
		return refuse(rd, "anchors, tags, block scalars and the like are not supported");
	if (c && strchr(flow ? ",[]{}\"'" : ",]}", c))
		return refuse(rd, "a value is expected");
	if ((c == '?' || c == ':' || c == '-') && is_space(peek_next(rd)))
		return refuse(rd, "a value is expected");
	return 0;
}

static int take_plain(struct reader *rd, bool flow, const char **ret)
{
	int r = check_plain(rd, flow);
	if (r < 0)
		return r;
	const char *end = plain_end(rd, flow);
	size_t len = (size_t)(end - rd->p);
	char *text = oci_arena_alloc(rd->arena, len + 1);
	if (!text)
		return no_memory(rd);
	memcpy(text, rd->p, len);
	rd->p = end;
	*ret = text;
	return 0;
}

/* A scalar that ends with its line, as a value of a block. */
static int parse_scalar(struct reader *rd, struct yaml_node **ret)
{
	int r = node_new(rd, YAML_SCALAR, ret);

	if (r < 0)
		return r;
	(*ret)->quoted = peek(rd) == '"' || peek(rd) == '\'';
	r = (*ret)->quoted ? parse_quoted(rd, &(*ret)->text) : take_plain(rd, false, &(*ret)->text);
	if (r < 0)
		return r;
	skip_blanks(rd);
	bool comment = peek(rd) == '#' && is_blank(rd->p[-1]);
	if (rd->p < rd->end && *rd->p != '\n' && !comment)
		return refuse(rd, "something stands behind a value");
	return 0;
}

/* ---- Brackets ----------------------------------------------------------------------------- */

static int parse_flow_key(struct reader *rd, const char **ret)
{
	bool quoted = peek(rd) == '"' || peek(rd) == '\'';
	int r = quoted ? parse_quoted(rd, ret) : take_plain(rd, true, ret);
	if (r == 0)
		r = skip_to_content(rd);
	if (r == 0 && peek(rd) != ':')
		r = refuse(rd, "a key without a colon");
	if (r == 0) {
		rd->p++;
		r = skip_to_content(rd);
	}
	return r;
}

static int check_key(struct reader *rd, const struct yaml_node *map, const char *key)
{
	if (map->n >= YAML_KEYS_MAX)
		return refuse(rd, "too many keys");
	for (const struct yaml_node *n = map->first; n; n = n->next)
		if (strcmp(n->key, key) == 0)
			return err_set(rd->e, -EINVAL, "line %u: the key \"%.80s\" is there twice",
				       rd->line, key);
	return 0;
}

static int parse_flow_items(struct reader *rd, struct yaml_node *to, char close)
{
	struct yaml_node *last = NULL, *item;

	for (;;) {
		const char *key = NULL;
		int r = skip_to_content(rd);
		if (r < 0)
			return r;
		if (peek(rd) == close) {
			rd->p++;
			return 0;
		}
		if (to->kind == YAML_MAP) {
			r = parse_flow_key(rd, &key);
			if (r == 0)
				r = check_key(rd, to, key);
		}
		if (r == 0)
			r = parse_flow(rd, &item);
		if (r == 0)
			r = skip_to_content(rd);
		if (r < 0)
			return r;
		item->key = key;
		node_add(to, &last, item);
		if (peek(rd) == ',')
			rd->p++;
		else if (peek(rd) != close)
			return refuse(rd, "a comma or a closing bracket is expected");
	}
}

static int parse_flow(struct reader *rd, struct yaml_node **ret)
{
	char c = peek(rd);
	int r;

	if (c == '[' || c == '{') {
		if (++rd->depth > YAML_DEPTH_MAX)
			return refuse(rd, "nested too deep");
		rd->p++;
		r = node_new(rd, c == '[' ? YAML_LIST : YAML_MAP, ret);
		if (r == 0)
			r = parse_flow_items(rd, *ret, c == '[' ? ']' : '}');
		rd->depth--;
		return r;
	}
	r = node_new(rd, YAML_SCALAR, ret);
	if (r < 0)
		return r;
	(*ret)->quoted = c == '"' || c == '\'';
	return (*ret)->quoted ? parse_quoted(rd, &(*ret)->text)
			      : take_plain(rd, true, &(*ret)->text);
}

/* ---- Blocks ------------------------------------------------------------------------------- */

/* Whether the line goes on as "key:", quoted or not. */
static bool at_key(const struct reader *rd)
{
	const char *p = rd->p;
	char quote = peek(rd);

	if (quote == '"' || quote == '\'') {
		for (p++; p < rd->end && *p != '\n' && *p != quote; p++)
			if (*p == '\\' && quote == '"' && p + 1 < rd->end)
				p++;
		if (p >= rd->end || *p != quote)
			return false;
		p++;
	} else {
		p = plain_end(rd, false);
	}
	while (p < rd->end && is_blank(*p))
		p++;
	return p < rd->end && *p == ':' && (p + 1 == rd->end || is_space(p[1]));
}

/* The lines below that are indented more belong to a plain scalar, which a writer has folded. */
static int continue_plain(struct reader *rd, int indent, struct yaml_node *scalar)
{
	for (;;) {
		struct reader ahead = *rd;
		const char *more;
		int r = skip_to_content(&ahead);
		if (r < 0)
			return r;
		if (ahead.p == ahead.end || ahead.line == rd->line || column(&ahead) <= indent)
			return 0;
		if (ahead.line != rd->line + 1 || at_key(&ahead) ||
		    strlen(scalar->text) > PLAIN_MAX)
			return refuse(&ahead, "indented more than its neighbours");
		r = take_plain(&ahead, false, &more);
		size_t len = r < 0 ? 0 : strlen(scalar->text) + 1 + strlen(more) + 1;
		char *text = r < 0 ? NULL : oci_arena_alloc(rd->arena, len);
		if (!text)
			return r < 0 ? r : no_memory(rd);
		(void)snprintf(text, len, "%s %s", scalar->text, more);
		scalar->text = text;
		*rd = ahead;
	}
}

/* What follows "key:" or "-": on the same line, or in the lines below that are indented more than
 * @indent. A list may stand as deep as its key (@list_at). */
static int parse_value(struct reader *rd, int indent, int list_at, struct yaml_node **ret)
{
	unsigned line = rd->line;

	int r = skip_to_content(rd);
	if (r < 0)
		return r;
	if (rd->line != line) {
		bool deeper = column(rd) > indent || (column(rd) == list_at && at_list_item(rd));
		if (rd->p == rd->end || !deeper || at_document_mark(rd)) {
			r = node_new(rd, YAML_SCALAR, ret);
			if (r == 0)
				(*ret)->text = "";
			return r;
		}
	}
	bool flow = peek(rd) == '[' || peek(rd) == '{';
	if (rd->line == line && list_at >= 0 && !flow && (at_list_item(rd) || at_key(rd)))
		return refuse(rd, "a mapping or list does not begin on its key's line");
	r = parse_node(rd, column(rd), ret);
	if (r == 0 && (*ret)->kind == YAML_SCALAR && !(*ret)->quoted)
		r = continue_plain(rd, indent, *ret);
	return r;
}

/* After a value: whether the block at that column goes on. */
static int next_item(struct reader *rd, int at, bool *ret)
{
	int r = skip_to_content(rd);
	if (r < 0)
		return r;
	*ret = rd->p < rd->end && column(rd) == at && !at_document_mark(rd);
	if (rd->p < rd->end && column(rd) > at)
		return refuse(rd, "indented more than its neighbours");
	return 0;
}

static int parse_list(struct reader *rd, int at, struct yaml_node *to)
{
	struct yaml_node *last = NULL, *item;
	bool more = true;

	while (more && at_list_item(rd)) {
		rd->p++;
		int r = parse_value(rd, at, -1, &item);
		if (r < 0)
			return r;
		node_add(to, &last, item);
		r = next_item(rd, at, &more);
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_key(struct reader *rd, const char **ret)
{
	bool quoted = peek(rd) == '"' || peek(rd) == '\'';
	int r = quoted ? parse_quoted(rd, ret) : take_plain(rd, false, ret);

	skip_blanks(rd);
	if (r == 0 && peek(rd) != ':')
		r = refuse(rd, "a key without a colon");
	rd->p += r == 0;
	return r;
}

static int parse_map(struct reader *rd, int at, struct yaml_node *to)
{
	struct yaml_node *last = NULL, *item;
	bool more = true;

	while (more) {
		const char *key;
		if (at_list_item(rd))
			return refuse(rd, "a list's item among keys");
		int r = parse_key(rd, &key);
		if (r == 0)
			r = check_key(rd, to, key);
		if (r == 0)
			r = parse_value(rd, at, at, &item);
		if (r < 0)
			return r;
		item->key = key;
		node_add(to, &last, item);
		r = next_item(rd, at, &more);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The node that begins here, in that column. */
static int parse_node(struct reader *rd, int at, struct yaml_node **ret)
{
	char c = peek(rd);
	int r;

	if (++rd->depth > YAML_DEPTH_MAX)
		return refuse(rd, "nested too deep");
	if (at_list_item(rd)) {
		r = node_new(rd, YAML_LIST, ret);
		if (r == 0)
			r = parse_list(rd, at, *ret);
	} else if (c == '[' || c == '{') {
		r = parse_flow(rd, ret);
	} else if (at_key(rd)) {
		r = node_new(rd, YAML_MAP, ret);
		if (r == 0)
			r = parse_map(rd, at, *ret);
	} else {
		r = parse_scalar(rd, ret);
	}
	rd->depth--;
	return r;
}

int yaml_parse(struct oci_arena *arena, const char *text, size_t len, struct yaml_node **ret,
	       struct err *e)
{
	struct reader rd = {.arena = arena,
			    .p = text,
			    .end = text + len,
			    .line_begin = text,
			    .line = 1,
			    .e = e};
	struct yaml_node *root;

	if (len > YAML_BYTES_MAX)
		return err_set(e, -EFBIG, "%zu bytes are more than %u", len, YAML_BYTES_MAX);
	if (memchr(text, '\0', len))
		return err_set(e, -EINVAL, "the text has a NUL in it");
	int r = skip_to_content(&rd);
	if (r == 0 && at_document_mark(&rd)) {
		rd.p += 3;
		r = skip_to_content(&rd);
	}
	if (r == 0 && rd.p == rd.end)
		r = refuse(&rd, "there is nothing");
	if (r == 0)
		r = parse_node(&rd, column(&rd), &root);
	if (r == 0)
		r = skip_to_content(&rd);
	if (r == 0 && rd.p < rd.end)
		r = refuse(&rd, at_document_mark(&rd) ? "more than one document"
						      : "something stands behind the value");
	if (r == 0)
		*ret = root;
	return r;
}

bool yaml_is_null(const struct yaml_node *n)
{
	return !n || (n->kind == YAML_SCALAR && !n->quoted &&
		      (!n->text[0] || strcmp(n->text, "~") == 0 || strcmp(n->text, "null") == 0));
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
	for (const struct yaml_node *n = map->kind == YAML_MAP ? map->first : NULL; n; n = n->next)
		if (strcmp(n->key, key) == 0)
			return yaml_is_null(n) ? NULL : n;
	return NULL;
}
