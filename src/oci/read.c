/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/read.h"

int oci_read_text_parse(const char *json, size_t len, json_t **ret, struct err *e)
{
	static const struct json_limits limits = {.bytes = OCI_JSON_BYTES_MAX,
						  .depth = OCI_JSON_DEPTH_MAX,
						  .values = OCI_JSON_VALUES_MAX};
	return json_text_parse(json, len, &limits, ret, e);
}

void *oci_read_alloc(struct oci_reader *rd, size_t n, size_t size)
{
	if (rd->j.r < 0 || n == 0)
		return NULL;
	void *p = oci_arena_array(rd->arena, n, size);
	if (!p)
		json_read_nomem(&rd->j);
	return p;
}

char *oci_read_dup(struct oci_reader *rd, const char *s)
{
	if (rd->j.r < 0 || !s)
		return NULL;
	char *p = oci_arena_strdup(rd->arena, s);
	if (!p)
		json_read_nomem(&rd->j);
	return p;
}

char *oci_read_string(struct oci_reader *rd, const struct json_at *obj, const char *key)
{
	return oci_read_dup(rd, json_read_string(&rd->j, obj, key, NULL));
}

char *oci_read_needed(struct oci_reader *rd, const struct json_at *obj, const char *key)
{
	json_read_need(&rd->j, obj, key);
	return oci_read_string(rd, obj, key);
}

char *oci_read_text(struct oci_reader *rd, const struct json_at *obj, const char *key)
{
	const char *s = json_read_string(&rd->j, obj, key, NULL);
	return s && *s ? oci_read_dup(rd, s) : NULL;
}

void oci_read_strv(struct oci_reader *rd, const struct json_at *obj, const char *key,
		   struct oci_strv *ret)
{
	struct json_at arr;
	size_t n = json_read_array(&rd->j, obj, key, OCI_JSON_VALUES_MAX, &arr);

	if (rd->j.r < 0)
		return;
	if (oci_arena_strv(rd->arena, n, ret) < 0) {
		json_read_nomem(&rd->j);
		return;
	}
	for (size_t i = 0; i < n && rd->j.r == 0; i++) {
		struct json_at at = json_at_element(&arr, i);
		ret->v[i] = oci_read_dup(rd, json_value_as_string(&rd->j, &at));
	}
}

void oci_read_map(struct oci_reader *rd, const struct json_at *obj, const char *key,
		  struct oci_kv **ret, size_t *ret_n)
{
	struct json_at map;
	const char *k;
	json_t *v;
	size_t n = 0;

	if (!json_read_object(&rd->j, obj, key, &map))
		return;
	struct oci_kv *kv = oci_read_alloc(rd, json_object_size(map.value), sizeof *kv);
	if (!kv)
		return;
	json_object_foreach ((json_t *)map.value, k, v) {
		struct json_at at = {.value = v, .up = &map, .key = k};
		kv[n].key = oci_read_dup(rd, k);
		kv[n++].value = oci_read_dup(rd, json_value_as_string(&rd->j, &at));
		if (rd->j.r < 0)
			return;
	}
	*ret = kv;
	*ret_n = n;
}

int64_t oci_read_word(struct oci_reader *rd, const struct json_at *obj, const char *key,
		      const struct oci_word *words, int64_t def)
{
	const char *s = json_read_string(&rd->j, obj, key, NULL);
	char text[OCI_WORDS_TEXT_MAX];
	int64_t v = def;

	if (s && !oci_word_find(words, s, &v))
		json_read_fail_key(&rd->j, obj, key, "must be one of %s",
				   oci_words_text(words, text));
	return v;
}

void oci_read_id_mappings(struct oci_reader *rd, const struct json_at *obj, const char *key,
			  struct oci_id_mapping **ret, size_t *ret_n)
{
	struct json_at arr;
	size_t n = json_read_array(&rd->j, obj, key, OCI_ID_MAPPINGS_MAX, &arr);
	struct oci_id_mapping *m = oci_read_alloc(rd, n, sizeof *m);

	for (size_t i = 0; m && i < n && rd->j.r == 0; i++) {
		struct json_at at = json_at_element(&arr, i);
		json_read_need(&rd->j, &at, "containerID");
		json_read_need(&rd->j, &at, "hostID");
		json_read_need(&rd->j, &at, "size");
		m[i].container_id =
			(uint32_t)json_read_uint(&rd->j, &at, "containerID", UINT32_MAX, 0);
		m[i].host_id = (uint32_t)json_read_uint(&rd->j, &at, "hostID", UINT32_MAX, 0);
		m[i].size = (uint32_t)json_read_uint(&rd->j, &at, "size", UINT32_MAX, 0);
	}
	*ret = m;
	*ret_n = m ? n : 0;
}
