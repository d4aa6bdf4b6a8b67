/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/stdio-uri.h"

#include <string.h>

static const struct {
	const char *scheme;
	enum stdio_kind kind;
} schemes[] = {
	{"fifo", STDIO_PATH},	     {"file", STDIO_FILE},	   {"binary", STDIO_BINARY},
	{"binary-v2", STDIO_BINARY}, {"ttrpc+unix", STDIO_STREAM},
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes in place: %41, and in a query "+" for a blank. */
static int decode(char *s, bool query)
{
	char *out = s;

	for (; *s; s++) {
		if (query && *s == '+') {
			*out++ = ' ';
		} else if (*s != '%') {
			*out++ = *s;
		} else {
			int high = hex_digit(s[1]), low = high < 0 ? -1 : hex_digit(s[2]);
			if (low < 0 || (high == 0 && low == 0))
				return -EINVAL;
			*out++ = (char)(high << 4 | low);
			s += 2;
		}
	}
	*out = '\0';
	return 0;
}

static bool has_key(const struct stdio_uri *u, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i += 2)
		if (strcmp(u->args[i], key) == 0)
			return true;
	return false;
}

/* Splits "key=value&key=value" in place. */
static int parse_query(struct stdio_uri *u, char *query, struct err *e)
{
	size_t n = 0;
	char *next;

	for (char *key = query; key; key = next) {
		next = strchr(key, '&');
		if (next)
			*next++ = '\0';
		if (!key[0])
			continue;
		char *value = strchr(key, '=');
		if (value)
			*value++ = '\0';
		else
			value = key + strlen(key);
		if (strchr(key, ';') || strchr(value, ';') || decode(key, true) < 0 ||
		    decode(value, true) < 0)
			return err_set(e, -EINVAL,
				       "the argument after '?' must be key=value&..., with what is "
				       "special written as %%41");
		if (has_key(u, n, key))
			continue;
		if (n + 2 > STDIO_ARGS_MAX)
			return err_set(e, -E2BIG, "more than %d keys", STDIO_ARGS_MAX / 2);
		u->args[n++] = key;
		u->args[n++] = value;
	}
	return 0;
}

static int parse_stream(struct stdio_uri *u, struct err *e)
{
	for (size_t i = 0; u->args[i]; i += 2)
		if (strcmp(u->args[i], "streaming_id") == 0)
			u->stream_id = u->args[i + 1];
	if (!u->stream_id || !u->stream_id[0])
		return err_set(e, -EINVAL, "it has no streaming_id");
	return 0;
}

/* @rest: what follows "scheme://", ours to cut. */
static int parse_rest(struct stdio_uri *u, char *rest, struct err *e)
{
	char *end = strchr(rest, '#');
	if (end)
		*end = '\0';
	char *query = strchr(rest, '?');
	if (query)
		*query++ = '\0';
	if (rest[0] != '/')
		return err_set(e, -EINVAL, "an absolute path must follow ://");
	if (decode(rest, false) < 0)
		return err_set(e, -EINVAL, "%% must be followed by two hexadecimal digits");
	u->path = rest;
	if (u->kind != STDIO_BINARY && u->kind != STDIO_STREAM)
		return 0;
	int r = query ? parse_query(u, query, e) : 0;
	return r == 0 && u->kind == STDIO_STREAM ? parse_stream(u, e) : r;
}

static int parse_scheme(struct stdio_uri *u, char *text, char *rest, struct err *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		if (strlen(schemes[i].scheme) != (size_t)(rest - text) ||
		    memcmp(schemes[i].scheme, text, (size_t)(rest - text)) != 0)
			continue;
		u->kind = schemes[i].kind;
		u->must_say_ready = strncmp(text, "binary-v2", 9) == 0;
		return parse_rest(u, rest + 3, e);
	}
	return err_status(e, STATUS_UNIMPLEMENTED,
			  "only paths, fifo://, file://, binary://, binary-v2:// and ttrpc+unix:// "
			  "are supported");
}

int stdio_uri_parse(const char *what, const char *uri, struct stdio_uri *ret, struct err *e)
{
	struct stdio_uri u = {.kind = STDIO_NONE};

	if (!uri[0]) {
		*ret = u;
		return 0;
	}
	if (strlen(uri) > STDIO_URI_MAX)
		return err_set(e, -E2BIG, "%s has more than %u bytes", what, STDIO_URI_MAX);
	u.text = strdup(uri);
	if (!u.text)
		return err_set(e, -ENOMEM, "out of memory");
	char *rest = strstr(u.text, "://");
	int r = 0;
	if (rest) {
		r = parse_scheme(&u, u.text, rest, e);
	} else {
		u.kind = STDIO_PATH;
		u.path = u.text;
	}
	if (r < 0) {
		free(u.text);
		return err_wrap(e, r, "%s \"%.256s\"", what, uri);
	}
	*ret = u;
	return 0;
}

void stdio_uri_free(struct stdio_uri *u)
{
	free(u->text);
	*u = (struct stdio_uri){.kind = STDIO_NONE};
}
