/* SPDX-License-Identifier: Apache-2.0 */
/* config.json's process, which is also what an exec is asked for with. */
#include "oci/read.h"
#include "oci/validate.h"

#include <limits.h>

static void read_user(struct oci_reader *rd, const struct json_at *process, struct oci_user *u)
{
	struct json_reader *j = &rd->j;
	struct json_at at, gids;

	if (!json_read_object(j, process, "user", &at))
		return;
	u->uid = (uint32_t)json_read_uint(j, &at, "uid", UINT32_MAX, 0);
	u->gid = (uint32_t)json_read_uint(j, &at, "gid", UINT32_MAX, 0);
	u->has_umask = json_read_has(j, &at, "umask");
	u->umask = (uint32_t)json_read_uint(j, &at, "umask", UINT32_MAX, 0);
	u->username = oci_read_text(rd, &at, "username");
	size_t n = json_read_array(j, &at, "additionalGids", NGROUPS_MAX, &gids);
	u->additional_gids = oci_read_alloc(rd, n, sizeof *u->additional_gids);
	u->n_additional_gids = u->additional_gids ? n : 0;
	for (size_t i = 0; i < u->n_additional_gids && j->r == 0; i++) {
		struct json_at gid = json_at_element(&gids, i);
		u->additional_gids[i] = (uint32_t)json_value_as_uint(j, &gid, UINT32_MAX);
	}
}

static uint64_t read_cap_set(struct oci_reader *rd, const struct json_at *caps, const char *key,
			     struct oci_strv *unknown)
{
	struct json_at arr;
	size_t n = json_read_array(&rd->j, caps, key, OCI_JSON_VALUES_MAX, &arr);
	uint64_t set = 0;

	for (size_t i = 0; i < n && rd->j.r == 0; i++) {
		struct json_at at = json_at_element(&arr, i);
		const char *name = json_value_as_string(&rd->j, &at);
		int cap = name ? oci_capability_parse(name) : -EINVAL;
		if (cap >= 0)
			set |= UINT64_C(1) << cap;
		else
			unknown->v[unknown->n++] = oci_read_dup(rd, name);
	}
	return set;
}

static void read_caps(struct oci_reader *rd, const struct json_at *process,
		      struct oci_capabilities *c)
{
	static const char *const keys[] = {"bounding", "effective", "inheritable", "permitted",
					   "ambient"};
	uint64_t *const sets[] = {&c->bounding, &c->effective, &c->inheritable, &c->permitted,
				  &c->ambient};
	struct json_at at, arr;
	size_t n = 0;

	if (!json_read_object(&rd->j, process, "capabilities", &at))
		return;
	c->present = true;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		n += json_read_array(&rd->j, &at, keys[i], OCI_JSON_VALUES_MAX, &arr);
	if (rd->j.r < 0)
		return;
	if (oci_arena_strv(rd->arena, n, &c->unknown) < 0) {
		json_read_nomem(&rd->j);
		return;
	}
	c->unknown.n = 0; /* there is room for every name; the unknown ones are few */
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		*sets[i] = read_cap_set(rd, &at, keys[i], &c->unknown);
}

static void read_rlimits(struct oci_reader *rd, const struct json_at *process,
			 struct oci_process *p)
{
	struct json_at arr;
	size_t n = json_read_array(&rd->j, process, "rlimits", OCI_JSON_VALUES_MAX, &arr);

	p->rlimits = oci_read_alloc(rd, n, sizeof *p->rlimits);
	p->n_rlimits = p->rlimits ? n : 0;
	for (size_t i = 0; i < p->n_rlimits && rd->j.r == 0; i++) {
		struct json_at at = json_at_element(&arr, i);
		json_read_need(&rd->j, &at, "type");
		json_read_need(&rd->j, &at, "soft");
		json_read_need(&rd->j, &at, "hard");
		p->rlimits[i] = (struct oci_rlimit){
			.resource = (int)oci_read_word(rd, &at, "type", oci_rlimit_words, 0),
			.soft = json_read_uint(&rd->j, &at, "soft", UINT64_MAX, 0),
			.hard = json_read_uint(&rd->j, &at, "hard", UINT64_MAX, 0),
		};
	}
}

static void read_scheduler(struct oci_reader *rd, const struct json_at *process,
			   struct oci_scheduler *s)
{
	struct json_reader *j = &rd->j;
	struct json_at at;
	struct oci_strv flags = {.n = 0};
	char text[OCI_WORDS_TEXT_MAX];

	if (!json_read_object(j, process, "scheduler", &at))
		return;
	json_read_need(j, &at, "policy");
	*s = (struct oci_scheduler){
		.present = true,
		.policy = (int)oci_read_word(rd, &at, "policy", oci_sched_policy_words, 0),
		.nice = (int32_t)json_read_int(j, &at, "nice", -20, 19, 0),
		.priority = (int32_t)json_read_int(j, &at, "priority", 0, 99, 0),
		.runtime_ns = json_read_uint(j, &at, "runtime", UINT64_MAX, 0),
		.deadline_ns = json_read_uint(j, &at, "deadline", UINT64_MAX, 0),
		.period_ns = json_read_uint(j, &at, "period", UINT64_MAX, 0),
	};
	oci_read_strv(rd, &at, "flags", &flags);
	for (size_t i = 0; i < flags.n && j->r == 0; i++) {
		int64_t bit = 0;
		if (!oci_word_find(oci_sched_flag_words, flags.v[i], &bit))
			json_read_fail_key(j, &at, "flags", "\"%.64s\" must be one of %s",
					   flags.v[i], oci_words_text(oci_sched_flag_words, text));
		s->flags |= (uint64_t)bit;
	}
}

static void read_io_priority(struct oci_reader *rd, const struct json_at *process,
			     struct oci_io_priority *io)
{
	struct json_at at;

	if (!json_read_object(&rd->j, process, "ioPriority", &at))
		return;
	json_read_need(&rd->j, &at, "class");
	io->present = true;
	io->class = (int)oci_read_word(rd, &at, "class", oci_io_class_words, 0);
	io->level = (int)json_read_int(&rd->j, &at, "priority", 0, 7, 0);
}

static void read_affinity(struct oci_reader *rd, const struct json_at *process,
			  struct oci_cpu_affinity *a)
{
	struct json_at at;

	if (!json_read_object(&rd->j, process, "execCPUAffinity", &at))
		return;
	a->initial = oci_read_text(rd, &at, "initial");
	a->final = oci_read_text(rd, &at, "final");
}

void oci_read_process(struct oci_reader *rd, const struct json_at *at, struct oci_process *p)
{
	struct json_reader *j = &rd->j;
	struct json_at console;

	p->terminal = json_read_bool(j, at, "terminal", false);
	if (json_read_object(j, at, "consoleSize", &console)) {
		p->console_height = (uint32_t)json_read_uint(j, &console, "height", UINT32_MAX, 0);
		p->console_width = (uint32_t)json_read_uint(j, &console, "width", UINT32_MAX, 0);
	}
	read_user(rd, at, &p->user);
	json_read_need(j, at, "args");
	oci_read_strv(rd, at, "args", &p->args);
	oci_read_strv(rd, at, "env", &p->env);
	p->cwd = oci_read_needed(rd, at, "cwd");
	read_caps(rd, at, &p->caps);
	read_rlimits(rd, at, p);
	p->no_new_privileges = json_read_bool(j, at, "noNewPrivileges", false);
	p->apparmor_profile = oci_read_text(rd, at, "apparmorProfile");
	p->selinux_label = oci_read_text(rd, at, "selinuxLabel");
	p->has_oom_score_adj = json_read_has(j, at, "oomScoreAdj");
	p->oom_score_adj = (int)json_read_int(j, at, "oomScoreAdj", -1000, 1000, 0);
	read_scheduler(rd, at, &p->scheduler);
	read_io_priority(rd, at, &p->io_priority);
	read_affinity(rd, at, &p->exec_cpu_affinity);
}

int oci_process_parse(const char *json, size_t len, struct oci_process **ret,
		      struct oci_arena **ret_arena, struct err *e)
{
	json_auto_t *doc = NULL;
	int r = oci_read_text_parse(json, len, &doc, e);
	if (r < 0)
		return r;

	_cleanup_arena_ struct oci_arena *a = oci_arena_new();
	struct oci_process *p = a ? oci_arena_alloc(a, sizeof *p) : NULL;
	if (!p || oci_process_init(a, p) < 0)
		return err_set(e, -ENOMEM, "out of memory");

	struct oci_reader rd = {.j = {.e = e}, .arena = a};
	struct json_at root = json_at_root(doc, "process");
	oci_read_process(&rd, &root, p);
	if (rd.j.r < 0)
		return rd.j.r;
	r = oci_process_validate(p, e);
	if (r < 0)
		return r;
	*ret = p;
	*ret_arena = TAKE_PTR(a);
	return 0;
}
