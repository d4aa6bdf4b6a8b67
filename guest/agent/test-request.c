/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/test-request.h"

#include "base/testing.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Everything that requests are made of. */
static void **taken;
static size_t n_taken;
static const char *own_suffix = "";

void request_suffix(const char *suffix)
{
	own_suffix = suffix;
}

static void *take(size_t size)
{
	taken = realloc(taken, (n_taken + 1) * sizeof *taken);
	assert_non_null(taken);
	taken[n_taken] = calloc(1, size ? size : 1);
	assert_non_null(taken[n_taken]);
	return taken[n_taken++];
}

void requests_free(void)
{
	while (n_taken > 0)
		free(taken[--n_taken]);
	free(taken);
	taken = NULL;
}

static ProtobufCMessage *message(const ProtobufCMessageDescriptor *type)
{
	ProtobufCMessage *m = take(type->sizeof_message);
	protobuf_c_message_init(type, m);
	return m;
}

static void *at(ProtobufCMessage *m, unsigned offset)
{
	return (char *)m + offset;
}

static size_t element_size(const ProtobufCFieldDescriptor *f)
{
	if (f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE)
		return sizeof(void *);
	if (f->type == PROTOBUF_C_TYPE_INT64 || f->type == PROTOBUF_C_TYPE_UINT64)
		return sizeof(uint64_t);
	return sizeof(uint32_t);
}

/* Room for @n more elements; the first of them. */
static void *grow(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, size_t n)
{
	size_t *have = at(m, f->quantifier_offset), size = element_size(f);
	void **v = at(m, f->offset);

	char *bigger = take((*have + n) * size);
	if (*have)
		memcpy(bigger, *v, *have * size);
	*v = bigger;
	*have += n;
	return bigger + (*have - n) * size;
}

/* ---- Values ------------------------------------------------------------------------------- */

static char *plain(const char *value, size_t *len)
{
	size_t n = value[0] == '^' ? (size_t)atol(value + 1) : 0;
	char *s = take(n + strlen(value) + strlen(own_suffix) + 1), *to = s;

	if (value[0] == '^') {
		memset(s, 'a', n);
		*len = n;
		return s;
	}
	for (; *value; value++) {
		unsigned byte;
		if (*value == '$') {
			to = stpcpy(to, own_suffix);
		} else if (*value == '%' && sscanf(value + 1, "%2x", &byte) == 1) {
			*to++ = (char)byte;
			value += 2;
		} else {
			*to++ = *value;
		}
	}
	*len = (size_t)(to - s);
	return s;
}

static void put(const ProtobufCFieldDescriptor *f, void *to, const char *value)
{
	size_t len;
	char *s = plain(value, &len);

	if (f->type == PROTOBUF_C_TYPE_STRING)
		*(char **)to = s;
	else if (f->type == PROTOBUF_C_TYPE_BYTES)
		*(ProtobufCBinaryData *)to =
			(ProtobufCBinaryData){.data = (uint8_t *)s, .len = len};
	else if (f->type == PROTOBUF_C_TYPE_INT64)
		*(int64_t *)to = strtoll(s, NULL, 10);
	else if (f->type == PROTOBUF_C_TYPE_UINT64)
		*(uint64_t *)to = strtoull(s, NULL, 10);
	else if (f->type == PROTOBUF_C_TYPE_INT32 || f->type == PROTOBUF_C_TYPE_ENUM)
		*(int32_t *)to = (int32_t)strtol(s, NULL, 10);
	else if (f->type == PROTOBUF_C_TYPE_UINT32)
		*(uint32_t *)to = (uint32_t)strtoul(s, NULL, 10);
	else if (f->type == PROTOBUF_C_TYPE_BOOL)
		*(protobuf_c_boolean *)to = atoi(s);
	else
		fail_msg("field %s has a type that no request needs", f->name);
}

/* ---- Fields ------------------------------------------------------------------------------- */

static ProtobufCMessage *step_into(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, bool add,
				   size_t n)
{
	if (f->label != PROTOBUF_C_LABEL_REPEATED) {
		ProtobufCMessage **one = at(m, f->offset);
		return *one ? *one : (*one = message(f->descriptor));
	}
	ProtobufCMessage ***v = at(m, f->offset);
	size_t have = *(size_t *)at(m, f->quantifier_offset);
	if (have > 0 && !add)
		return (*v)[have - 1];
	ProtobufCMessage **more = grow(m, f, n), *el = message(f->descriptor);
	for (size_t i = 0; i < n; i++)
		more[i] = el;
	return el;
}

static void set_leaf(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const char *value,
		     size_t n)
{
	if (f->label != PROTOBUF_C_LABEL_REPEATED) {
		put(f, at(m, f->offset), value);
		if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
			*(uint32_t *)at(m, f->quantifier_offset) = f->id;
		return;
	}
	char *to = grow(m, f, n);
	for (size_t i = 0; i < n; i++)
		put(f, to + i * element_size(f), value);
}

static void clear(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		*(size_t *)at(m, f->quantifier_offset) = 0;
	else if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		*(void **)at(m, f->offset) = NULL;
	else
		put(f, at(m, f->offset), "");
}

/* One word: walks down to its field. */
static void apply(ProtobufCMessage *m, char *word)
{
	for (char *p = word;;) {
		size_t len = strcspn(p, ".+*!="), n = 1;
		char name[64];

		(void)snprintf(name, sizeof name, "%.*s", (int)len, p);
		const ProtobufCFieldDescriptor *f =
			protobuf_c_message_descriptor_get_field_by_name(m->descriptor, name);
		if (!f)
			fail_msg("%s has no field %s", m->descriptor->name, name);
		p += len;
		bool add = *p == '+' || *p == '*';
		if (*p == '*')
			n = strtoul(p + 1, &p, 10);
		else
			p += add;
		if (*p == '!') {
			clear(m, f);
			return;
		}
		if (*p == '=' || *p == '\0') {
			if (f->type == PROTOBUF_C_TYPE_MESSAGE)
				(void)step_into(m, f, add, n);
			else
				set_leaf(m, f, *p ? p + 1 : "", n);
			return;
		}
		m = step_into(m, f, add, n);
		p++;
	}
}

static void apply_all(ProtobufCMessage *m, const char *text)
{
	char *copy = strdup(text ? text : ""), *save = NULL;

	assert_non_null(copy);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		apply(m, w);
	free(copy);
}

ProtobufCMessage *request_new(const ProtobufCMessageDescriptor *type, const char *base,
			      const char *text)
{
	ProtobufCMessage *m = message(type);

	apply_all(m, base);
	apply_all(m, text);
	return m;
}
