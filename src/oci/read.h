/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files that read config.json: readers that put what they find into an arena. Internal
 * to src/oci. As in fmt/json.h the first failure is kept, and nothing happens after it.
 */
#pragma once

#include "fmt/json.h"
#include "oci/arena.h"
#include "oci/words.h"

struct oci_reader {
	struct json_reader j;
	struct oci_arena *arena;
};

/** Parses a text within this module's limits. */
int oci_read_text_parse(const char *json, size_t len, json_t **ret, struct err *e);

/** Zeroed elements for an array of @n; NULL for none and after a failure. */
void *oci_read_alloc(struct oci_reader *rd, size_t n, size_t size);
char *oci_read_dup(struct oci_reader *rd, const char *s);

/** A member's string, or NULL if it is absent. */
char *oci_read_string(struct oci_reader *rd, const struct json_at *obj, const char *key);
/** A member's string, which must be there. Never NULL unless failed. */
char *oci_read_needed(struct oci_reader *rd, const struct json_at *obj, const char *key);
/** As oci_read_string(), but the empty string too is absent. */
char *oci_read_text(struct oci_reader *rd, const struct json_at *obj, const char *key);
void oci_read_strv(struct oci_reader *rd, const struct json_at *obj, const char *key,
		   struct oci_strv *ret);
/** An object of strings. */
void oci_read_map(struct oci_reader *rd, const struct json_at *obj, const char *key,
		  struct oci_kv **ret, size_t *ret_n);
/** A member that must be one of the words. Absent: @def. */
int64_t oci_read_word(struct oci_reader *rd, const struct json_at *obj, const char *key,
		      const struct oci_word *words, int64_t def);
void oci_read_id_mappings(struct oci_reader *rd, const struct json_at *obj, const char *key,
			  struct oci_id_mapping **ret, size_t *ret_n);

/* Each fills what it is given, which must be as oci_spec_new() or oci_resources_init() left it. */
void oci_read_process(struct oci_reader *rd, const struct json_at *at, struct oci_process *p);
void oci_read_resources(struct oci_reader *rd, const struct json_at *at, struct oci_resources *r);
void oci_read_seccomp(struct oci_reader *rd, const struct json_at *at, struct oci_seccomp *s);

/** The values that an empty document has. */
int oci_process_init(struct oci_arena *a, struct oci_process *p);
