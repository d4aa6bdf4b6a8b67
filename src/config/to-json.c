/* SPDX-License-Identifier: Apache-2.0 */
/* The hypervisor's part of the effective configuration as JSON, for tools that look at a pod. */
#include "config/internal.h"

#include "fmt/json.h"

static json_t *text(const char *s)
{
	json_t *v = json_string(s);
	return v ? v : json_string("(not UTF-8)");
}

static json_t *texts(const struct config_strv *s)
{
	json_t *v = json_array();
	for (size_t i = 0; v && i < s->n; i++)
		(void)json_array_append_new(v, text(s->v[i]));
	return v;
}

static json_t *value(const void *field, enum config_type type)
{
	switch (type) {
	case TYPE_BOOL:
		return json_boolean(*(const bool *)field);
	case TYPE_U32:
		return json_integer(*(const uint32_t *)field);
	case TYPE_U64:
	case TYPE_I64:
		return json_from_uint(*(const uint64_t *)field);
	case TYPE_NUMBER:
		return json_real(*(const double *)field);
	case TYPE_STRING:
		return text(*(char *const *)field);
	case TYPE_STRINGS:
		return texts(field);
	case TYPE_INTEGERS:
	case TYPE_TABLE:
	case TYPE_TABLES:
		break;
	}
	return json_null();
}

json_t *config_hypervisor_json(const struct kata_config *c)
{
	json_t *v = json_object();

	for (size_t i = 0; v && i < config_keys_count; i++) {
		const struct config_key *key = &config_keys[i];
		if (key->section == SECTION_HYPERVISOR && key->offset != KEY_NOT_ACTED_ON)
			(void)json_object_set_new(v, key->name,
						  value((const char *)c + key->offset, key->type));
	}
	return v;
}
