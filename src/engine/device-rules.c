/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/device-rules.h"

#include "base/err.h"
#include "engine/device-filter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANY(letter)                                                                            \
	{                                                                                      \
		.allow = true, .type = letter, .major = -1, .minor = -1, .access = (char *)"m" \
	}
#define CHAR(major_, minor_)                                                  \
	{                                                                     \
		.allow = true, .type = 'c', .major = major_, .minor = minor_, \
		.access = (char *)"rwm"                                       \
	}

const struct oci_device_rule engine_device_defaults[] = {
	ANY('c'),      ANY('b'),   CHAR(1, 3), CHAR(1, 5), CHAR(1, 7),
	CHAR(1, 8),    CHAR(1, 9), CHAR(5, 0), CHAR(5, 2), /* ptmx */
	CHAR(136, -1),					   /* pts */
};
const size_t engine_device_n_defaults = ARRAY_SIZE(engine_device_defaults);

unsigned engine_access_bits(const char *access)
{
	unsigned bits = 0;
	for (; *access; access++)
		bits |= *access == 'r' ? 1 : *access == 'w' ? 2 : *access == 'm' ? 4 : 0;
	return bits;
}

static char *access_word(unsigned bits)
{
	static const char *const words[] = {"", "r", "w", "rw", "m", "rm", "wm", "rwm"};
	return (char *)words[bits & ENGINE_ACCESS_ALL];
}

static bool same_device(const struct oci_device_rule *a, const struct oci_device_rule *b)
{
	return a->type == b->type && a->major == b->major && a->minor == b->minor;
}

static void drop(struct engine_device_rules *s, size_t i)
{
	s->v[i] = s->v[--s->n];
}

/* Whether one exception is for that device, and for others: then nothing can be said of that one
 * alone. */
static bool is_part_of(const struct oci_device_rule *r, const struct oci_device_rule *exception)
{
	return exception->type == r->type && !same_device(exception, r) &&
	       (exception->major < 0 || exception->major == r->major) &&
	       (exception->minor < 0 || exception->minor == r->minor) &&
	       engine_access_bits(exception->access) & engine_access_bits(r->access);
}

/* @r is for 'b' or 'c'. There is room for one more. */
static int add(struct engine_device_rules *s, const struct oci_device_rule *r)
{
	unsigned bits = engine_access_bits(r->access);
	size_t i = 0;
	for (size_t k = 0; r->allow == s->allow_all && k < s->n; k++)
		if (is_part_of(r, &s->v[k]))
			return -EOPNOTSUPP;
	while (i < s->n && !same_device(&s->v[i], r))
		i++;
	unsigned had = i < s->n ? engine_access_bits(s->v[i].access) : 0;
	unsigned now = r->allow == s->allow_all ? had & ~bits : had | bits;
	if (now && i == s->n)
		s->v[s->n++] = *r;
	if (now)
		s->v[i].access = access_word(now);
	else if (i < s->n)
		drop(s, i);
	return 0;
}

static int apply(struct engine_device_rules *s, const struct oci_device_rule *r)
{
	struct oci_device_rule one = *r;
	if (r->type != 'a')
		return add(s, r);
	/* As in the program for version 2, this resets all only if it is for all accesses. */
	if (r->major < 0 && r->minor < 0 && engine_access_bits(r->access) == ENGINE_ACCESS_ALL) {
		s->allow_all = r->allow;
		s->n = 0;
		return 0;
	}
	one.type = 'b';
	int ret = add(s, &one);
	one.type = 'c';
	return ret < 0 ? ret : add(s, &one);
}

static int apply_all(struct engine_device_rules *s, const struct oci_device_rule *v, size_t n)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = apply(s, &v[i]);
	return r;
}

static struct engine_device_rules *new_rules(size_t max)
{
	struct engine_device_rules *s = calloc(1, sizeof *s + max * sizeof s->v[0]);
	return s;
}

int engine_device_rules_effective(const struct oci_device_rule *rules, size_t n,
				  struct engine_device_rules **ret)
{
	if (n > ENGINE_DEVICE_RULES_MAX)
		return -E2BIG;
	struct engine_device_rules *s = new_rules(2 * n + engine_device_n_defaults);
	if (!s)
		return -ENOMEM;
	int r = apply_all(s, rules, n);
	if (r == 0)
		r = apply_all(s, engine_device_defaults, engine_device_n_defaults);
	if (r < 0) {
		free(s);
		return r;
	}
	*ret = s;
	return 0;
}

static bool parse_number(const char *text, int64_t *ret)
{
	char *end;
	if (strcmp(text, "*") == 0) {
		*ret = -1;
		return true;
	}
	*ret = strtoll(text, &end, 10);
	return end != text && !*end && *ret >= 0;
}

static bool parse_line(const char *line, size_t len, struct oci_device_rule *ret)
{
	char copy[64], type, major[24], minor[24], access[8];
	if (len >= sizeof copy)
		return false;
	memcpy(copy, line, len);
	copy[len] = '\0';
	if (sscanf(copy, "%c %23[^:]:%23[^ ] %7s", &type, major, minor, access) != 4 ||
	    !strchr("abc", type))
		return false;
	*ret = (struct oci_device_rule){
		.allow = true, .type = type, .access = access_word(engine_access_bits(access))};
	return parse_number(major, &ret->major) && parse_number(minor, &ret->minor);
}

int engine_device_rules_parse(const char *text, struct engine_device_rules **ret)
{
	size_t lines = 1;
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		lines++;
	struct engine_device_rules *s = new_rules(2 * lines);
	if (!s)
		return -ENOMEM;
	for (const char *p = text; *p;) {
		size_t len = strcspn(p, "\n");
		struct oci_device_rule r;
		if (!parse_line(p, len, &r) || apply(s, &r) < 0) {
			free(s);
			return -EBADMSG;
		}
		p += len + (p[len] == '\n');
	}
	*ret = s;
	return 0;
}

bool engine_device_rules_have(const struct engine_device_rules *s, const struct oci_device_rule *r)
{
	unsigned bits = engine_access_bits(r->access);
	for (size_t i = 0; i < s->n; i++)
		if (same_device(&s->v[i], r))
			return (engine_access_bits(s->v[i].access) & bits) == bits;
	return false;
}

static void number_text(int64_t n, char *ret, size_t size)
{
	if (n < 0)
		(void)snprintf(ret, size, "*");
	else
		(void)snprintf(ret, size, "%lld", (long long)n);
}

void engine_device_rule_text(const struct oci_device_rule *r, char *ret, size_t size)
{
	char major[24], minor[24];
	number_text(r->major, major, sizeof major);
	number_text(r->minor, minor, sizeof minor);
	(void)snprintf(ret, size, "%c %s:%s %s", r->type, major, minor, r->access);
}
