/* SPDX-License-Identifier: Apache-2.0 */
/* linux.seccomp. Its words stay strings, for libseccomp; validation checks them. */
#include "oci/read.h"

static void read_args(struct oci_reader *rd, const struct json_at *rule_at,
		      struct oci_seccomp_rule *rule)
{
	struct json_at arr;
	size_t n = json_read_array(&rd->j, rule_at, "args", OCI_JSON_VALUES_MAX, &arr);

	rule->args = oci_read_alloc(rd, n, sizeof *rule->args);
	rule->n_args = rule->args ? n : 0;
	for (size_t i = 0; i < rule->n_args && rd->j.r == 0; i++) {
		struct json_at at = json_at_element(&arr, i);
		json_read_need(&rd->j, &at, "index");
		json_read_need(&rd->j, &at, "value");
		rule->args[i] = (struct oci_seccomp_arg){
			.index = (uint32_t)json_read_uint(&rd->j, &at, "index", UINT32_MAX, 0),
			.value = json_read_uint(&rd->j, &at, "value", UINT64_MAX, 0),
			.value_two = json_read_uint(&rd->j, &at, "valueTwo", UINT64_MAX, 0),
			.op = oci_read_needed(rd, &at, "op"),
		};
	}
}

void oci_read_seccomp(struct oci_reader *rd, const struct json_at *at, struct oci_seccomp *s)
{
	struct json_reader *j = &rd->j;
	struct json_at arr;

	s->default_action = oci_read_needed(rd, at, "defaultAction");
	s->has_default_errno_ret = json_read_has(j, at, "defaultErrnoRet");
	s->default_errno_ret = (uint32_t)json_read_uint(j, at, "defaultErrnoRet", UINT32_MAX, 0);
	oci_read_strv(rd, at, "architectures", &s->architectures);
	oci_read_strv(rd, at, "flags", &s->flags);
	s->listener_path = oci_read_text(rd, at, "listenerPath");
	s->listener_metadata = oci_read_text(rd, at, "listenerMetadata");

	size_t n = json_read_array(j, at, "syscalls", OCI_JSON_VALUES_MAX, &arr);
	s->rules = oci_read_alloc(rd, n, sizeof *s->rules);
	s->n_rules = s->rules ? n : 0;
	for (size_t i = 0; i < s->n_rules && j->r == 0; i++) {
		struct json_at el = json_at_element(&arr, i);
		struct oci_seccomp_rule *rule = &s->rules[i];

		json_read_need(j, &el, "names");
		oci_read_strv(rd, &el, "names", &rule->names);
		rule->action = oci_read_needed(rd, &el, "action");
		rule->has_errno_ret = json_read_has(j, &el, "errnoRet");
		rule->errno_ret = (uint32_t)json_read_uint(j, &el, "errnoRet", UINT32_MAX, 0);
		read_args(rd, &el, rule);
	}
}
