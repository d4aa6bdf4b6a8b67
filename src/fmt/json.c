/* SPDX-License-Identifier: Apache-2.0 */
#include "fmt/json.h"

#include "base/utf8.h"

#include "base/buf.h"

#include <inttypes.h>
#include <string.h>

/*
 * jansson's integers are signed; limits such as RLIM_INFINITY are not. Before parsing, a number
 * beyond INT64_MAX is rewritten into a string that begins with this mark, and every function here
 * takes such a string for a number and nothing else. A string of others that begins with U+0001 is
 * refused while reading, so that nobody else can make such numbers.
 */
#define BIG_MARK "\001u64:"
#define BIG_MARK_JSON "\\u0001u64:"

/* How much of a string a refusal shows. */
#define SHOW_MAX 80

/* ---- The text ----------------------------------------------------------------------------- */

static int parse_digits(const char *s, size_t len, uint64_t *ret)
{
	uint64_t v = 0;

	if (len == 0)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v))
			return -ERANGE;
	}
	*ret = v;
	return 0;
}

static bool number_char(char c)
{
	return (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.' || c == 'e' || c == 'E';
}

static size_t string_end(const char *text, size_t len, size_t i)
{
	for (i++; i < len && text[i] != '"'; i++)
		if (text[i] == '\\')
			i++;
	return i < len ? i + 1 : len;
}

/* Copies the text to @out with its big numbers marked, and checks depth and number of values. It
 * agrees with the parser about where strings end up to the first error, and there both stop. */
static int scan(const char *text, size_t len, const struct json_limits *limits, struct buf *out,
		struct err *e)
{
	size_t depth = 0, values = 1, copied = 0;

	for (size_t i = 0; i < len;) {
		char c = text[i];
		size_t start = i;
		uint64_t v;

		if (c == '"') {
			if (len - i > 6 && memcmp(text + i + 1, "\\u0001", 6) == 0)
				return err_set(e, -EINVAL,
					       "the JSON text has a string at byte %zu that begins "
					       "with U+0001: must be text",
					       i);
			i = string_end(text, len, i);
			continue;
		}
		if (number_char(c)) {
			while (i < len && number_char(text[i]))
				i++;
			if (parse_digits(text + start, i - start, &v) == 0 && v > INT64_MAX) {
				buf_append(out, text + copied, start - copied);
				buf_printf(out, "\"" BIG_MARK_JSON "%" PRIu64 "\"", v);
				copied = i;
			}
			continue;
		}
		if ((c == '[' || c == '{') && ++depth > limits->depth)
			return err_set(e, -E2BIG,
				       "the JSON text is nested too deeply at byte %zu: at most "
				       "%zu levels are read",
				       i, limits->depth);
		if ((c == ']' || c == '}') && depth > 0)
			depth--;
		if ((c == ',' || c == '[' || c == '{') && ++values > limits->values)
			return err_set(e, -E2BIG,
				       "the JSON text has too many values: at most %zu are read",
				       limits->values);
		i++;
	}
	buf_append(out, text + copied, len - copied);
	return buf_failed(out) ? err_set(e, -ENOMEM, "out of memory") : 0;
}

int json_text_parse(const char *text, size_t len, const struct json_limits *limits, json_t **ret,
		    struct err *e)
{
	if (len > limits->bytes)
		return err_set(e, -EFBIG, "the JSON text has %zu bytes: at most %zu bytes are read",
			       len, limits->bytes);
	if (len == 0)
		return err_set(e, -EINVAL, "the JSON text is empty");

	_cleanup_buf_ struct buf b = BUF_INIT;
	int r = scan(text, len, limits, &b, e);
	if (r < 0)
		return r;

	json_error_t je;
	json_t *v = json_loadb(b.data, b.len, JSON_REJECT_DUPLICATES, &je);
	if (v) {
		*ret = v;
		return 0;
	}
	/* For most of its allocations the parser leaves no text at all. */
	if (!je.text[0] || json_error_code(&je) == json_error_out_of_memory)
		return err_set(e, -ENOMEM, "out of memory");
	/* The parser's text ends with the token that it stopped at: show it for a repeated key,
	 * never otherwise, since it may be part of a password. */
	char *near = strstr(je.text, " near '");
	if (near && json_error_code(&je) != json_error_duplicate_key)
		*near = '\0';
	return err_set(e, -EINVAL, "not JSON: line %d, column %d: %s", je.line, je.column, je.text);
}

/* ---- Where, and what is there ------------------------------------------------------------- */

/* Whether a value is an integer that was too big for jansson. */
static bool is_big(const json_t *v, uint64_t *ret)
{
	if (!json_is_string(v))
		return false;
	const char *s = json_string_value(v);
	if (strncmp(s, BIG_MARK, strlen(BIG_MARK)) != 0)
		return false;
	if (parse_digits(s + strlen(BIG_MARK), strlen(s + strlen(BIG_MARK)), ret) < 0)
		*ret = UINT64_MAX; /* not from here: not a string all the same */
	return true;
}

static bool plain_key(const char *key)
{
	if (!*key)
		return false;
	for (; *key; key++)
		if (!(*key >= 'a' && *key <= 'z') && !(*key >= 'A' && *key <= 'Z') &&
		    !(*key >= '0' && *key <= '9') && *key != '_' && *key != '-')
			return false;
	return true;
}

bool json_can_hold(const char *s)
{
	return utf8_valid(s) && s[0] != BIG_MARK[0];
}

const char *json_show(const char *s, char *dst)
{
	char *out = dst;
	size_t shown = 0;

	*out++ = '"';
	while (*s) {
		size_t n = utf8_char(s);
		bool plain = n > 1 || (n == 1 && (unsigned char)*s >= 0x20 && *s != 0x7f);
		if (shown + (plain ? n : 1) > SHOW_MAX)
			break;
		if (plain) {
			memcpy(out, s, n);
			out += n;
		} else {
			n = 1;
			out += sprintf(out, "\\x%02x", (unsigned char)*s);
		}
		s += n;
		shown += n;
	}
	strcpy(out, *s ? "...\"" : "\"");
	return dst;
}

static void put_quoted(struct buf *b, const char *s)
{
	buf_puts(b, json_show(s, (char[JSON_SHOW_MAX]){0}));
}

static void put_path(struct buf *b, const struct json_at *at)
{
	if (at->up)
		put_path(b, at->up);
	if (!at->key) {
		if (at->up)
			buf_printf(b, "[%zu]", at->index);
	} else if (plain_key(at->key)) {
		buf_printf(b, "%s%s", b->len > 0 ? "." : "", at->key);
	} else {
		buf_puts(b, "[");
		put_quoted(b, at->key);
		buf_puts(b, "]");
	}
}

static void put_value(struct buf *b, const json_t *v)
{
	uint64_t big;

	if (!v) {
		buf_puts(b, "missing");
	} else if (is_big(v, &big)) {
		buf_printf(b, "%" PRIu64, big);
	} else {
		switch (json_typeof(v)) {
		case JSON_OBJECT:
			buf_puts(b, "an object");
			break;
		case JSON_ARRAY:
			buf_printf(b, "an array of %zu", json_array_size(v));
			break;
		case JSON_STRING:
			put_quoted(b, json_string_value(v));
			break;
		case JSON_INTEGER:
			buf_printf(b, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
			break;
		case JSON_REAL:
			buf_printf(b, "%.15g", json_real_value(v));
			break;
		case JSON_TRUE:
		case JSON_FALSE:
			buf_puts(b, json_is_true(v) ? "true" : "false");
			break;
		case JSON_NULL:
			buf_puts(b, "null");
			break;
		}
	}
}

static int _printf_(4, 0) fail(struct json_reader *jr, const struct json_at *at, bool show,
			       const char *fmt, va_list ap)
{
	if (jr->r < 0)
		return jr->r;

	_cleanup_buf_ struct buf b = BUF_INIT;
	char rule[512];
	(void)vsnprintf(rule, sizeof rule, fmt, ap);
	put_path(&b, at);
	if (b.len == 0)
		buf_puts(&b, "the document");
	if (show) {
		buf_puts(&b, " is ");
		put_value(&b, at->value);
	}
	if (buf_failed(&b))
		return jr->r = err_set(jr->e, -ENOMEM, "out of memory");
	return jr->r = err_set(jr->e, -EINVAL, show ? "%s: %s" : "%s %s", b.data, rule);
}

int json_read_fail(struct json_reader *jr, const struct json_at *at, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int r = fail(jr, at, true, fmt, ap);
	va_end(ap);
	return r;
}

int json_read_fail_hidden(struct json_reader *jr, const struct json_at *at, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int r = fail(jr, at, false, fmt, ap);
	va_end(ap);
	return r;
}

void json_read_nomem(struct json_reader *jr)
{
	if (jr->r == 0)
		jr->r = err_set(jr->e, -ENOMEM, "out of memory");
}

struct json_at json_at_root(const json_t *value, const char *name)
{
	return (struct json_at){.value = value, .key = name && *name ? name : NULL};
}

struct json_at json_at_element(const struct json_at *array, size_t index)
{
	return (struct json_at){
		.value = json_array_get(array->value, index), .up = array, .index = index};
}

/* ---- Members ------------------------------------------------------------------------------ */

static struct json_at member(struct json_reader *jr, const struct json_at *obj, const char *key)
{
	struct json_at at = {.up = obj, .key = key};

	if (jr->r < 0 || !json_value_is_object(jr, obj))
		return at;
	at.value = json_object_get(obj->value, key);
	if (json_is_null(at.value))
		at.value = NULL;
	return at;
}

int json_read_fail_key(struct json_reader *jr, const struct json_at *obj, const char *key,
		       const char *fmt, ...)
{
	struct json_at at = {.up = obj, .key = key, .value = json_object_get(obj->value, key)};
	va_list ap;
	va_start(ap, fmt);
	int r = fail(jr, &at, true, fmt, ap);
	va_end(ap);
	return r;
}

bool json_read_has(struct json_reader *jr, const struct json_at *obj, const char *key)
{
	return member(jr, obj, key).value;
}

void json_read_need(struct json_reader *jr, const struct json_at *obj, const char *key)
{
	struct json_at at = member(jr, obj, key);
	if (!at.value)
		json_read_fail_hidden(jr, &at, "is missing");
}

bool json_read_object(struct json_reader *jr, const struct json_at *obj, const char *key,
		      struct json_at *ret)
{
	*ret = member(jr, obj, key);
	return ret->value && json_value_is_object(jr, ret);
}

size_t json_read_array(struct json_reader *jr, const struct json_at *obj, const char *key,
		       size_t max, struct json_at *ret)
{
	*ret = member(jr, obj, key);
	if (!ret->value)
		return 0;
	if (!json_is_array(ret->value)) {
		json_read_fail(jr, ret, "must be an array");
		return 0;
	}
	size_t n = json_array_size(ret->value);
	if (n > max) {
		json_read_fail(jr, ret, "must have at most %zu elements", max);
		return 0;
	}
	return n;
}

const char *json_read_string(struct json_reader *jr, const struct json_at *obj, const char *key,
			     const char *def)
{
	struct json_at at = member(jr, obj, key);
	if (!at.value)
		return def;
	const char *s = json_value_as_string(jr, &at);
	return s ? s : def;
}

bool json_read_bool(struct json_reader *jr, const struct json_at *obj, const char *key, bool def)
{
	struct json_at at = member(jr, obj, key);
	if (!at.value)
		return def;
	if (!json_is_boolean(at.value)) {
		json_read_fail(jr, &at, "must be true or false");
		return def;
	}
	return json_is_true(at.value);
}

int64_t json_read_int(struct json_reader *jr, const struct json_at *obj, const char *key,
		      int64_t min, int64_t max, int64_t def)
{
	struct json_at at = member(jr, obj, key);
	if (!at.value)
		return def;
	if (json_is_integer(at.value)) {
		json_int_t v = json_integer_value(at.value);
		if (v >= min && v <= max)
			return v;
	}
	json_read_fail(jr, &at, "must be an integer from %" PRId64 " to %" PRId64, min, max);
	return def;
}

uint64_t json_read_uint(struct json_reader *jr, const struct json_at *obj, const char *key,
			uint64_t max, uint64_t def)
{
	struct json_at at = member(jr, obj, key);
	if (!at.value)
		return def;
	uint64_t v = json_value_as_uint(jr, &at, max);
	return jr->r < 0 ? def : v;
}

/* ---- Values ------------------------------------------------------------------------------- */

bool json_value_is_object(struct json_reader *jr, const struct json_at *at)
{
	if (json_is_object(at->value))
		return true;
	json_read_fail(jr, at, "must be an object");
	return false;
}

const char *json_value_as_string(struct json_reader *jr, const struct json_at *at)
{
	uint64_t big;

	if (json_is_string(at->value) && !is_big(at->value, &big))
		return json_string_value(at->value);
	json_read_fail(jr, at, "must be a string");
	return NULL;
}

uint64_t json_value_as_uint(struct json_reader *jr, const struct json_at *at, uint64_t max)
{
	uint64_t v;

	if (is_big(at->value, &v)) {
		if (v <= max)
			return v;
	} else if (json_is_integer(at->value)) {
		json_int_t i = json_integer_value(at->value);
		if (i >= 0 && (uint64_t)i <= max)
			return (uint64_t)i;
	}
	json_read_fail(jr, at, "must be an integer from 0 to %" PRIu64, max);
	return 0;
}

/* ---- Writing ------------------------------------------------------------------------------ */

json_t *json_from_uint(uint64_t v)
{
	if (v <= INT64_MAX)
		return json_integer((json_int_t)v);
	char s[sizeof BIG_MARK + 20];
	(void)snprintf(s, sizeof s, BIG_MARK "%" PRIu64, v);
	return json_string(s);
}

char *json_text_dump(const json_t *v, size_t flags)
{
	static const char mark[] = "\"" BIG_MARK_JSON;
	_cleanup_free_ char *text = json_dumps(v, flags);
	_cleanup_buf_ struct buf b = BUF_INIT;

	if (!text)
		return NULL;
	char *p = text, *m;
	while ((m = strstr(p, mark))) {
		const char *digits = m + strlen(mark);
		size_t n = strspn(digits, "0123456789");
		buf_append(&b, p, (size_t)(m - p));
		buf_append(&b, digits, n);
		p = (char *)digits + n + (digits[n] == '"');
	}
	buf_puts(&b, p);
	return buf_take(&b);
}
