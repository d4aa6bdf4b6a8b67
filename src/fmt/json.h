/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading JSON that others wrote: jansson behind limits, and typed readers that know where they
 * are, so that a refusal names the path, the value and the rule:
 *
 *	linux.namespaces[2].type is "foo": must be one of pid, network, mount
 *
 * A reader remembers its first failure; after that every function of it does nothing and returns
 * the default. So read freely, and look at reader.r once (and in long loops).
 *
 * A member that is null counts as absent, as Go reads it. Unknown members are ignored. Integers may
 * be up to UINT64_MAX, which jansson alone cannot hold. A duplicate member, \u0000, a number with a
 * fraction where an integer belongs: refused.
 *
 * No state but the caller's; any thread. Trusts nothing of the text.
 */
#pragma once

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Checked before the parser runs, which by itself recurses 2048 deep and allocates some hundred
 * bytes for two characters of text. */
struct json_limits {
	size_t bytes;  /* of text */
	size_t depth;  /* of nested objects and arrays */
	size_t values; /* of all kinds, approximately: counts commas and opening brackets */
};

/**
 * Parses a text. -EFBIG or -E2BIG beyond a limit, -EINVAL where it is not JSON; the sentence gives
 * line and column, and of the text itself at most a repeated key (it may hold secrets).
 *
 * jansson 2.14 does not survive every failed allocation while it reads. What it needs follows from
 * the limits: about 250 bytes for each value, and the text.
 */
int json_text_parse(const char *text, size_t len, const struct json_limits *limits, json_t **ret,
		    struct err *e);

/** One value and the way to it. Lives on the stack; what @up points to must outlive it. */
struct json_at {
	const json_t *value; /* NULL: absent */
	const struct json_at *up;
	const char *key; /* in an object; NULL: an element of an array, or the root */
	size_t index;
};

struct json_reader {
	int r;	       /* 0, or the first failure */
	struct err *e; /* or NULL */
};

/** The top of a document; @name (may be NULL) begins the paths. */
struct json_at json_at_root(const json_t *value, const char *name);

/** Refuses a value: "<path> is <value>: <text>". Returns the reader's r. */
int json_read_fail(struct json_reader *jr, const struct json_at *at, const char *fmt, ...)
	_printf_(3, 4);
/** The same for a member, present or not. */
int json_read_fail_key(struct json_reader *jr, const struct json_at *obj, const char *key,
		       const char *fmt, ...) _printf_(4, 5);
/** Refuses without showing the value, which may be secret: "<path> <text>". */
int json_read_fail_hidden(struct json_reader *jr, const struct json_at *at, const char *fmt, ...)
	_printf_(3, 4);
/** Records that memory ran out. */
void json_read_nomem(struct json_reader *jr);

/* Enough for any string that json_show() shows. */
#define JSON_SHOW_MAX 352
/**
 * Quotes a string for a sentence: at most 80 bytes of it, control characters and bytes that are
 * not UTF-8 as \xNN. @dst has JSON_SHOW_MAX bytes; returns it.
 */
const char *json_show(const char *s, char *dst);
/** Whether a document can hold a string: UTF-8 that does not begin with U+0001, which marks big
 * integers in here. */
bool json_can_hold(const char *s);

/** Whether @obj is an object that has @key with a value other than null. */
bool json_read_has(struct json_reader *jr, const struct json_at *obj, const char *key);
/** Refuses @obj if it has no @key: "<path>.<key> is missing". */
void json_read_need(struct json_reader *jr, const struct json_at *obj, const char *key);

/** Goes into a member that must be an object. False if it is absent. */
bool json_read_object(struct json_reader *jr, const struct json_at *obj, const char *key,
		      struct json_at *ret);
/** Goes into a member that must be an array of at most @max; returns its length, 0 if absent. */
size_t json_read_array(struct json_reader *jr, const struct json_at *obj, const char *key,
		       size_t max, struct json_at *ret);
struct json_at json_at_element(const struct json_at *array, size_t index);

/* Members. @def is returned if absent. Strings are borrowed from the document. */
const char *json_read_string(struct json_reader *jr, const struct json_at *obj, const char *key,
			     const char *def);
bool json_read_bool(struct json_reader *jr, const struct json_at *obj, const char *key, bool def);
int64_t json_read_int(struct json_reader *jr, const struct json_at *obj, const char *key,
		      int64_t min, int64_t max, int64_t def);
uint64_t json_read_uint(struct json_reader *jr, const struct json_at *obj, const char *key,
			uint64_t max, uint64_t def);

/* Values: the elements of arrays and the members of maps. */
const char *json_value_as_string(struct json_reader *jr, const struct json_at *at);
uint64_t json_value_as_uint(struct json_reader *jr, const struct json_at *at, uint64_t max);
/** Checks that it is an object. */
bool json_value_is_object(struct json_reader *jr, const struct json_at *at);

/** An integer of the full range as a value for json_text_dump(). NULL: out of memory. */
json_t *json_from_uint(uint64_t v);
/** The text of a document, with the integers of json_from_uint(); malloc'ed. @flags as jansson's.
 */
char *json_text_dump(const json_t *v, size_t flags);
