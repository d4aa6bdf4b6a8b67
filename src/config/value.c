/* SPDX-License-Identifier: Apache-2.0 */
/* Values: their memory, how they are read from text, and how they are spoken of. */
#include "config/internal.h"

#include "base/utf8.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* A loaded configuration takes one or two. */
#define BLOCK_SIZE 4000
/* Enough to recognize a value in a message. */
#define PRINT_MAX 160

struct config_block {
	struct config_block *next;
	size_t used, size;
	_Alignas(16) char data[];
};

void *config_alloc(struct config_arena *arena, size_t size)
{
	size = (size + 7) & ~(size_t)7;
	struct config_block *b = arena->blocks;
	if (!b || b->size - b->used < size) {
		size_t room = size > BLOCK_SIZE ? size : BLOCK_SIZE;
		b = malloc(sizeof *b + room);
		if (!b)
			return NULL;
		*b = (struct config_block){.next = arena->blocks, .size = room};
		arena->blocks = b;
	}
	void *p = b->data + b->used;
	b->used += size;
	return p;
}

char *config_strndup(struct config_arena *arena, const char *s, size_t len)
{
	char *copy = config_alloc(arena, len + 1);
	if (!copy)
		return NULL;
	memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

void config_arena_free(struct config_arena *arena)
{
	while (arena->blocks) {
		struct config_block *b = arena->blocks;
		arena->blocks = b->next;
		free(b);
	}
}

void config_warn(struct config_load *l, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX];
	va_list ap;

	if (!l->warn || ++l->warnings > CONFIG_WARNINGS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	l->warn(l->warn_arg, text);
}

int config_no_memory(struct config_load *l)
{
	return err_set(l->e, -ENOMEM, "out of memory while loading the configuration");
}

struct config_value *config_value(struct config_load *l, enum config_section section,
				  const char *name)
{
	return &l->values[config_key_index(config_key_find(section, name))];
}

/* ---- Sentences --------------------------------------------------------------------------------
 */

void config_print_string(struct buf *b, const char *s)
{
	size_t n;

	buf_puts(b, "\"");
	for (const char *end = s + PRINT_MAX; *s && s < end; s += n ? n : 1) {
		unsigned char c = (unsigned char)*s;
		n = utf8_char(s);
		if (!n)
			buf_printf(b, "\\x%02x", c);
		else if (c == '"' || c == '\\')
			buf_printf(b, "\\%c", c);
		else if (c == '\n')
			buf_puts(b, "\\n");
		else if (c == '\t')
			buf_puts(b, "\\t");
		else if (c < ' ' || c == 0x7f)
			buf_printf(b, "\\u%04x", c);
		else
			buf_append(b, s, n);
	}
	buf_puts(b, *s ? "...\"" : "\"");
}

static void print_strings(struct buf *b, const struct config_strv *s)
{
	buf_puts(b, "[");
	for (size_t i = 0; i < s->n; i++) {
		if (i)
			buf_puts(b, ", ");
		config_print_string(b, s->v[i]);
	}
	buf_puts(b, "]");
}

void config_print_value(struct buf *b, const struct config_key *key, const struct config_value *v)
{
	switch (key->type) {
	case TYPE_BOOL:
		buf_puts(b, v->boolean ? "true" : "false");
		break;
	case TYPE_U32:
	case TYPE_U64:
	case TYPE_I64:
		buf_printf(b, "%" PRId64, v->integer);
		break;
	case TYPE_NUMBER:
		buf_printf(b, "%.15g", v->number);
		break;
	case TYPE_STRING:
		config_print_string(b, v->string);
		break;
	case TYPE_STRINGS:
		print_strings(b, &v->strings);
		break;
	case TYPE_INTEGERS:
	case TYPE_TABLE:
	case TYPE_TABLES:
		buf_puts(b, "set");
		break;
	}
}

void config_print_name(struct buf *b, const char *name)
{
	static const char bare[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

	if (name[0] && !name[strspn(name, bare)] && strlen(name) <= PRINT_MAX)
		buf_puts(b, name);
	else
		config_print_string(b, name);
}

void config_print_table(struct buf *b, enum config_section section, const char *name)
{
	const char *title = config_section_title(section);
	const char *hole = strstr(title, "<name>");

	if (!hole || !name) {
		buf_printf(b, "[%s]", title);
		return;
	}
	buf_printf(b, "[%.*s", (int)(hole - title), title);
	config_print_name(b, name);
	buf_printf(b, "%s]", hole + strlen("<name>"));
}

void config_print_section(struct buf *b, const struct config_load *l, enum config_section section)
{
	bool agent = section == SECTION_AGENT || section == SECTION_MEM_AGENT;
	config_print_table(b, section, agent ? l->agent_name : l->hypervisor_name);
}

void config_print_origin(struct buf *b, const struct config_origin *origin)
{
	switch (origin->from) {
	case FROM_PRESET:
		buf_puts(b, "default");
		break;
	case FROM_FILE:
		buf_printf(b, "%s:%" PRIu32, origin->where, origin->line);
		break;
	case FROM_ANNOTATION:
		buf_printf(b, "annotation %s", origin->where);
		break;
	}
}

static void print_choices(struct buf *b, const char *choices)
{
	buf_puts(b, "must be ");
	for (const char *c = choices, *next; c; c = next) {
		const char *bar = strchr(c, '|');
		next = bar ? bar + 1 : NULL;
		if (c != choices)
			buf_puts(b, next ? ", " : " or ");
		buf_printf(b, "\"%.*s\"", bar ? (int)(bar - c) : (int)strlen(c), c);
	}
}

/* The bounds of a whole number. */
static void integer_bounds(const struct config_key *key, int64_t *min, int64_t *max)
{
	*min = key->min;
	*max = key->max;
	if (key->min == 0 && key->max == 0) {
		*min = key->type == TYPE_I64 ? INT64_MIN : 0;
		*max = key->type == TYPE_U32 ? UINT32_MAX : INT64_MAX;
	}
}

bool config_integer_fits(const struct config_key *key, int64_t n)
{
	int64_t min, max;
	integer_bounds(key, &min, &max);
	return n >= min && n <= max;
}

void config_print_rule(struct buf *b, const struct config_key *key)
{
	int64_t min, max;

	switch (key->type) {
	case TYPE_BOOL:
		buf_puts(b, "must be true or false");
		break;
	case TYPE_U32:
	case TYPE_U64:
	case TYPE_I64:
		integer_bounds(key, &min, &max);
		buf_printf(b, "must be a whole number from %" PRId64 " to %" PRId64, min, max);
		break;
	case TYPE_NUMBER:
		buf_puts(b, "must be a number");
		break;
	case TYPE_STRING:
		if (key->choices)
			print_choices(b, key->choices);
		else
			buf_puts(b, "must be a string");
		break;
	case TYPE_STRINGS:
		buf_puts(b, "must be an array of strings");
		break;
	case TYPE_INTEGERS:
		buf_puts(b, "must be an array of whole numbers");
		break;
	case TYPE_TABLE:
		buf_puts(b, "must be a table");
		break;
	case TYPE_TABLES:
		buf_puts(b, "must be an array of tables");
		break;
	}
}

int config_refuse(struct config_load *l, const struct config_key *key, const char *rule, ...)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	const struct config_value *v = &l->values[config_key_index(key)];
	char text[ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, rule);
	vsnprintf(text, sizeof text, rule, ap);
	va_end(ap);
	if (v->origin.from == FROM_ANNOTATION) {
		buf_printf(&b, "annotation %s", v->origin.where);
	} else {
		buf_printf(&b, "%s in ", key->name);
		config_print_section(&b, l, key->section);
		if (v->origin.from == FROM_FILE)
			buf_printf(&b, " at %s:%" PRIu32, v->origin.where, v->origin.line);
	}
	if (key->type == TYPE_STRING && !v->string[0]) {
		buf_puts(&b, v->origin.from == FROM_PRESET ? " is not set" : " is empty");
	} else {
		buf_puts(&b, " is ");
		config_print_value(&b, key, v);
		if (v->origin.from == FROM_PRESET)
			buf_puts(&b, " (the default)");
	}
	buf_printf(&b, ": %s", text);
	if (buf_failed(&b))
		return config_no_memory(l);
	return err_set(l->e, -EINVAL, "%s", b.data);
}

/* ---- Text -------------------------------------------------------------------------------------
 */

/* The text without the blanks around it, in @dst; -EINVAL if it does not fit. */
static int trim(const char *text, char *dst, size_t size)
{
	const char *blanks = " \t\r\n";
	text += strspn(text, blanks);
	size_t len = strlen(text);
	while (len && strchr(blanks, text[len - 1]))
		len--;
	if (len >= size)
		return -EINVAL;
	memcpy(dst, text, len);
	dst[len] = '\0';
	return 0;
}

static int bool_from_text(const char *text, bool *ret)
{
	*ret = strcmp(text, "true") == 0;
	return *ret || strcmp(text, "false") == 0 ? 0 : -EINVAL;
}

static int integer_from_text(const struct config_key *key, const char *text, int64_t *ret)
{
	char *end;

	if (!text[0] || text[strspn(text, "+-0123456789")])
		return -EINVAL;
	errno = 0;
	long long n = strtoll(text, &end, 10);
	if (errno || *end || !config_integer_fits(key, n))
		return -EINVAL;
	*ret = n;
	return 0;
}

static int number_from_text(const char *text, double *ret)
{
	char *end;

	/* strtod() would take "nan", "0x1p3" and more. */
	if (!text[0] || text[strspn(text, "+-.0123456789eE")])
		return -EINVAL;
	errno = 0;
	*ret = strtod(text, &end);
	return *end || errno ? -EINVAL : 0;
}

int config_value_from_text(struct config_load *l, const struct config_key *key, const char *text,
			   struct config_value *v)
{
	char word[64];

	switch (key->type) {
	case TYPE_BOOL:
		return trim(text, word, sizeof word) < 0 ? -EINVAL
							 : bool_from_text(word, &v->boolean);
	case TYPE_U32:
	case TYPE_U64:
	case TYPE_I64:
		return trim(text, word, sizeof word) < 0
			       ? -EINVAL
			       : integer_from_text(key, word, &v->integer);
	case TYPE_NUMBER:
		return trim(text, word, sizeof word) < 0 ? -EINVAL
							 : number_from_text(word, &v->number);
	case TYPE_STRING:
		v->string = config_strndup(&l->arena, text, strlen(text));
		return v->string ? 0 : config_no_memory(l);
	case TYPE_STRINGS:
	case TYPE_INTEGERS:
	case TYPE_TABLE:
	case TYPE_TABLES:
		break;
	}
	return -EINVAL;
}

int config_strv_add(struct config_load *l, struct config_strv *s, const char *text, size_t len)
{
	/* Grows by doubling, at 0 and at each power of two; the old array stays in the arena. */
	if ((s->n & (s->n - 1)) == 0) {
		char **v = config_alloc(&l->arena, (s->n ? 2 * s->n : 1) * sizeof *v);
		if (!v)
			return config_no_memory(l);
		if (s->n)
			memcpy(v, s->v, s->n * sizeof *v);
		s->v = v;
	}
	char *copy = config_strndup(&l->arena, text, len);
	if (!copy)
		return config_no_memory(l);
	s->v[s->n++] = copy;
	return 0;
}
