/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Specs as config.json. Members with their default value are left out, so that two specs are equal
 * exactly if their documents are. An allocation failure is found at the end: a member that could
 * not be set marks the writer.
 */
#include "fmt/json.h"
#include "oci/spec.h"
#include "oci/words.h"

#include <string.h>

struct writer {
	bool failed;
};

/* Sets a member; consumes the value, of which NULL is a failure to make it. */
static void put(struct writer *w, json_t *obj, const char *key, json_t *v)
{
	if (json_object_set_new(obj, key, v) < 0)
		w->failed = true;
}

static void add(struct writer *w, json_t *arr, json_t *v)
{
	if (json_array_append_new(arr, v) < 0)
		w->failed = true;
}

/* Sets a member unless it is empty. */
static void put_some(struct writer *w, json_t *obj, const char *key, json_t *v)
{
	if (v && json_object_size(v) == 0 && json_array_size(v) == 0)
		json_decref(v);
	else
		put(w, obj, key, v);
}

/* What was made in memory may be no text that JSON can hold: escaped then. */
static json_t *text(const char *s)
{
	return json_string(json_can_hold(s) ? s : json_show(s, (char[JSON_SHOW_MAX]){0}));
}

static void put_text(struct writer *w, json_t *obj, const char *key, const char *s)
{
	if (s && *s)
		put(w, obj, key, text(s));
}

static void put_uint(struct writer *w, json_t *obj, const char *key, uint64_t v)
{
	put(w, obj, key, json_from_uint(v));
}

static void put_int(struct writer *w, json_t *obj, const char *key, int64_t v)
{
	put(w, obj, key, json_integer(v));
}

static void put_limit(struct writer *w, json_t *obj, const char *key, int64_t v)
{
	if (v != OCI_UNSET)
		put_int(w, obj, key, v);
}

static void put_flag(struct writer *w, json_t *obj, const char *key, bool v)
{
	if (v)
		put(w, obj, key, json_true());
}

static json_t *strv(struct writer *w, const struct oci_strv *v)
{
	json_t *arr = json_array();
	for (size_t i = 0; i < v->n; i++)
		add(w, arr, text(v->v[i]));
	return arr;
}

static json_t *map(struct writer *w, const struct oci_kv *kv, size_t n)
{
	json_t *obj = json_object();
	for (size_t i = 0; i < n; i++)
		if (json_object_set_new(obj, kv[i].key, text(kv[i].value)) < 0)
			w->failed = true;
	return obj;
}

static json_t *id_mappings(struct writer *w, const struct oci_id_mapping *m, size_t n)
{
	json_t *arr = json_array();
	for (size_t i = 0; i < n; i++) {
		json_t *o = json_object();
		put_uint(w, o, "containerID", m[i].container_id);
		put_uint(w, o, "hostID", m[i].host_id);
		put_uint(w, o, "size", m[i].size);
		add(w, arr, o);
	}
	return arr;
}

/* ---- Process ------------------------------------------------------------------------------ */

static json_t *user(struct writer *w, const struct oci_user *u)
{
	json_t *o = json_object(), *gids = json_array();

	put_uint(w, o, "uid", u->uid);
	put_uint(w, o, "gid", u->gid);
	if (u->has_umask)
		put_uint(w, o, "umask", u->umask);
	for (size_t i = 0; i < u->n_additional_gids; i++)
		add(w, gids, json_from_uint(u->additional_gids[i]));
	put_some(w, o, "additionalGids", gids);
	put_text(w, o, "username", u->username);
	return o;
}

static json_t *cap_set(struct writer *w, uint64_t set)
{
	json_t *arr = json_array();
	for (int i = 0; i < 64; i++)
		if (set & UINT64_C(1) << i && oci_capability_name(i))
			add(w, arr, json_string(oci_capability_name(i)));
	return arr;
}

static json_t *caps(struct writer *w, const struct oci_capabilities *c)
{
	json_t *o = json_object();
	put_some(w, o, "bounding", cap_set(w, c->bounding));
	put_some(w, o, "effective", cap_set(w, c->effective));
	put_some(w, o, "inheritable", cap_set(w, c->inheritable));
	put_some(w, o, "permitted", cap_set(w, c->permitted));
	put_some(w, o, "ambient", cap_set(w, c->ambient));
	return o;
}

static json_t *rlimits(struct writer *w, const struct oci_process *p)
{
	json_t *arr = json_array();
	for (size_t i = 0; i < p->n_rlimits; i++) {
		json_t *o = json_object();
		put_text(w, o, "type", oci_word_name(oci_rlimit_words, p->rlimits[i].resource));
		put_uint(w, o, "soft", p->rlimits[i].soft);
		put_uint(w, o, "hard", p->rlimits[i].hard);
		add(w, arr, o);
	}
	return arr;
}

static json_t *scheduler(struct writer *w, const struct oci_scheduler *s)
{
	json_t *o = json_object(), *flags = json_array();

	put_text(w, o, "policy", oci_word_name(oci_sched_policy_words, s->policy));
	put_int(w, o, "nice", s->nice);
	put_int(w, o, "priority", s->priority);
	for (size_t i = 0; oci_sched_flag_words[i].name; i++)
		if (s->flags & (uint64_t)oci_sched_flag_words[i].value)
			add(w, flags, json_string(oci_sched_flag_words[i].name));
	put_some(w, o, "flags", flags);
	put_uint(w, o, "runtime", s->runtime_ns);
	put_uint(w, o, "deadline", s->deadline_ns);
	put_uint(w, o, "period", s->period_ns);
	return o;
}

static json_t *process(struct writer *w, const struct oci_process *p)
{
	json_t *o = json_object();

	put_flag(w, o, "terminal", p->terminal);
	if (p->console_height || p->console_width) {
		json_t *c = json_object();
		put_uint(w, c, "height", p->console_height);
		put_uint(w, c, "width", p->console_width);
		put(w, o, "consoleSize", c);
	}
	put(w, o, "user", user(w, &p->user));
	put(w, o, "args", strv(w, &p->args));
	put_some(w, o, "env", strv(w, &p->env));
	put(w, o, "cwd", text(p->cwd));
	if (p->caps.present)
		put(w, o, "capabilities", caps(w, &p->caps));
	put_some(w, o, "rlimits", rlimits(w, p));
	put_flag(w, o, "noNewPrivileges", p->no_new_privileges);
	put_text(w, o, "apparmorProfile", p->apparmor_profile);
	put_text(w, o, "selinuxLabel", p->selinux_label);
	if (p->has_oom_score_adj)
		put_int(w, o, "oomScoreAdj", p->oom_score_adj);
	if (p->scheduler.present)
		put(w, o, "scheduler", scheduler(w, &p->scheduler));
	if (p->io_priority.present) {
		json_t *io = json_object();
		put_text(w, io, "class", oci_word_name(oci_io_class_words, p->io_priority.class));
		put_int(w, io, "priority", p->io_priority.level);
		put(w, o, "ioPriority", io);
	}
	if (p->exec_cpu_affinity.initial || p->exec_cpu_affinity.final) {
		json_t *affinity = json_object();
		put_text(w, affinity, "initial", p->exec_cpu_affinity.initial);
		put_text(w, affinity, "final", p->exec_cpu_affinity.final);
		put(w, o, "execCPUAffinity", affinity);
	}
	return o;
}

/* ---- Resources ---------------------------------------------------------------------------- */

static json_t *device_rules(struct writer *w, const struct oci_resources *r)
{
	json_t *arr = json_array();
	for (size_t i = 0; i < r->n_devices; i++) {
		const struct oci_device_rule *d = &r->devices[i];
		json_t *o = json_object();
		put(w, o, "allow", json_boolean(d->allow));
		put_text(w, o, "type", (char[]){d->type, '\0'});
		if (d->major >= 0)
			put_int(w, o, "major", d->major);
		if (d->minor >= 0)
			put_int(w, o, "minor", d->minor);
		put(w, o, "access", text(d->access));
		add(w, arr, o);
	}
	return arr;
}

static json_t *memory(struct writer *w, const struct oci_resources *r)
{
	json_t *o = json_object();
	put_limit(w, o, "limit", r->memory.limit);
	put_limit(w, o, "reservation", r->memory.reservation);
	put_limit(w, o, "swap", r->memory.swap);
	put_limit(w, o, "kernel", r->memory.kernel);
	put_limit(w, o, "kernelTCP", r->memory.kernel_tcp);
	put_limit(w, o, "swappiness", r->memory.swappiness);
	put_flag(w, o, "disableOOMKiller", r->memory.disable_oom_killer);
	put_flag(w, o, "checkBeforeUpdate", r->memory.check_before_update);
	return o;
}

static json_t *cpu(struct writer *w, const struct oci_resources *r)
{
	json_t *o = json_object();
	put_limit(w, o, "shares", r->cpu.shares);
	put_limit(w, o, "quota", r->cpu.quota);
	put_limit(w, o, "period", r->cpu.period);
	put_limit(w, o, "realtimeRuntime", r->cpu.realtime_runtime);
	put_limit(w, o, "realtimePeriod", r->cpu.realtime_period);
	put_limit(w, o, "burst", r->cpu.burst);
	put_limit(w, o, "idle", r->cpu.idle);
	put_text(w, o, "cpus", r->cpu.cpus);
	put_text(w, o, "mems", r->cpu.mems);
	return o;
}

static json_t *throttles(struct writer *w, const struct oci_throttle_device *d, size_t n)
{
	json_t *arr = json_array();
	for (size_t i = 0; i < n; i++) {
		json_t *o = json_object();
		put_int(w, o, "major", d[i].major);
		put_int(w, o, "minor", d[i].minor);
		put_uint(w, o, "rate", d[i].rate);
		add(w, arr, o);
	}
	return arr;
}

static json_t *block_io(struct writer *w, const struct oci_resources *r)
{
	json_t *o = json_object(), *weights = json_array();

	put_limit(w, o, "weight", r->block_io.weight);
	put_limit(w, o, "leafWeight", r->block_io.leaf_weight);
	for (size_t i = 0; i < r->block_io.n_weight_device; i++) {
		const struct oci_blkio_device *d = &r->block_io.weight_device[i];
		json_t *el = json_object();
		put_int(w, el, "major", d->major);
		put_int(w, el, "minor", d->minor);
		put_limit(w, el, "weight", d->weight);
		put_limit(w, el, "leafWeight", d->leaf_weight);
		add(w, weights, el);
	}
	put_some(w, o, "weightDevice", weights);
	put_some(w, o, "throttleReadBpsDevice",
		 throttles(w, r->block_io.throttle_read_bps, r->block_io.n_throttle_read_bps));
	put_some(w, o, "throttleWriteBpsDevice",
		 throttles(w, r->block_io.throttle_write_bps, r->block_io.n_throttle_write_bps));
	put_some(w, o, "throttleReadIOPSDevice",
		 throttles(w, r->block_io.throttle_read_iops, r->block_io.n_throttle_read_iops));
	put_some(w, o, "throttleWriteIOPSDevice",
		 throttles(w, r->block_io.throttle_write_iops, r->block_io.n_throttle_write_iops));
	return o;
}

static json_t *network(struct writer *w, const struct oci_resources *r)
{
	json_t *o = json_object(), *arr = json_array();
	if (r->network.class_id)
		put_uint(w, o, "classID", r->network.class_id);
	for (size_t i = 0; i < r->network.n_priorities; i++) {
		json_t *el = json_object();
		put(w, el, "name", text(r->network.priorities[i].name));
		put_uint(w, el, "priority", r->network.priorities[i].priority);
		add(w, arr, el);
	}
	put_some(w, o, "priorities", arr);
	return o;
}

static json_t *resources(struct writer *w, const struct oci_resources *r)
{
	json_t *o = json_object(), *huge = json_array(), *rdma = json_object();

	put_some(w, o, "devices", device_rules(w, r));
	put_some(w, o, "memory", memory(w, r));
	put_some(w, o, "cpu", cpu(w, r));
	if (r->pids_limit != OCI_UNSET) {
		json_t *pids = json_object();
		put_int(w, pids, "limit", r->pids_limit);
		put(w, o, "pids", pids);
	}
	put_some(w, o, "blockIO", block_io(w, r));
	for (size_t i = 0; i < r->n_hugepages; i++) {
		json_t *el = json_object();
		put(w, el, "pageSize", text(r->hugepages[i].page_size));
		put_uint(w, el, "limit", r->hugepages[i].limit);
		add(w, huge, el);
	}
	put_some(w, o, "hugepageLimits", huge);
	put_some(w, o, "unified", map(w, r->unified, r->n_unified));
	for (size_t i = 0; i < r->n_rdma; i++) {
		json_t *el = json_object();
		if (r->rdma[i].has_handles)
			put_uint(w, el, "hcaHandles", r->rdma[i].handles);
		if (r->rdma[i].has_objects)
			put_uint(w, el, "hcaObjects", r->rdma[i].objects);
		put(w, rdma, r->rdma[i].device, el);
	}
	put_some(w, o, "rdma", rdma);
	put_some(w, o, "network", network(w, r));
	return o;
}

/* ---- Linux -------------------------------------------------------------------------------- */

static json_t *namespaces(struct writer *w, const struct oci_spec *s)
{
	json_t *arr = json_array();
	for (size_t i = 0; i < s->n_namespaces; i++) {
		json_t *o = json_object();
		put_text(w, o, "type", oci_word_name(oci_namespace_words, s->namespaces[i].type));
		put_text(w, o, "path", s->namespaces[i].path);
		add(w, arr, o);
	}
	return arr;
}

static json_t *devices(struct writer *w, const struct oci_spec *s)
{
	json_t *arr = json_array();
	for (size_t i = 0; i < s->n_devices; i++) {
		const struct oci_device *d = &s->devices[i];
		json_t *o = json_object();
		put(w, o, "path", text(d->path));
		put_text(w, o, "type", (char[]){d->type, '\0'});
		put_int(w, o, "major", d->major);
		put_int(w, o, "minor", d->minor);
		if (d->has_mode)
			put_uint(w, o, "fileMode", d->mode);
		if (d->has_uid)
			put_uint(w, o, "uid", d->uid);
		if (d->has_gid)
			put_uint(w, o, "gid", d->gid);
		add(w, arr, o);
	}
	return arr;
}

static json_t *seccomp_rule(struct writer *w, const struct oci_seccomp_rule *rule)
{
	json_t *o = json_object(), *args = json_array();

	put(w, o, "names", strv(w, &rule->names));
	put(w, o, "action", text(rule->action));
	if (rule->has_errno_ret)
		put_uint(w, o, "errnoRet", rule->errno_ret);
	for (size_t i = 0; i < rule->n_args; i++) {
		json_t *a = json_object();
		put_uint(w, a, "index", rule->args[i].index);
		put_uint(w, a, "value", rule->args[i].value);
		put_uint(w, a, "valueTwo", rule->args[i].value_two);
		put(w, a, "op", text(rule->args[i].op));
		add(w, args, a);
	}
	put_some(w, o, "args", args);
	return o;
}

static json_t *seccomp(struct writer *w, const struct oci_seccomp *c)
{
	json_t *o = json_object(), *rules = json_array();

	put(w, o, "defaultAction", text(c->default_action));
	if (c->has_default_errno_ret)
		put_uint(w, o, "defaultErrnoRet", c->default_errno_ret);
	put_some(w, o, "architectures", strv(w, &c->architectures));
	put_some(w, o, "flags", strv(w, &c->flags));
	put_text(w, o, "listenerPath", c->listener_path);
	put_text(w, o, "listenerMetadata", c->listener_metadata);
	for (size_t i = 0; i < c->n_rules; i++)
		add(w, rules, seccomp_rule(w, &c->rules[i]));
	put_some(w, o, "syscalls", rules);
	return o;
}

static void put_time_offset(struct writer *w, json_t *obj, const char *key,
			    const struct oci_time_offset *t)
{
	if (!t->present)
		return;
	json_t *o = json_object();
	put_int(w, o, "secs", t->secs);
	put_uint(w, o, "nanosecs", t->nanosecs);
	put(w, obj, key, o);
}

static json_t *linux_part(struct writer *w, const struct oci_spec *s)
{
	json_t *o = json_object(), *offsets = json_object();

	put_some(w, o, "uidMappings", id_mappings(w, s->uid_mappings, s->n_uid_mappings));
	put_some(w, o, "gidMappings", id_mappings(w, s->gid_mappings, s->n_gid_mappings));
	put_some(w, o, "sysctl", map(w, s->sysctl, s->n_sysctl));
	put_some(w, o, "resources", resources(w, &s->resources));
	put_text(w, o, "cgroupsPath", s->cgroups_path);
	put_some(w, o, "namespaces", namespaces(w, s));
	put_some(w, o, "devices", devices(w, s));
	if (s->has_seccomp)
		put(w, o, "seccomp", seccomp(w, &s->seccomp));
	put_text(w, o, "rootfsPropagation", s->rootfs_propagation);
	put_some(w, o, "maskedPaths", strv(w, &s->masked_paths));
	put_some(w, o, "readonlyPaths", strv(w, &s->readonly_paths));
	put_text(w, o, "mountLabel", s->mount_label);
	if (s->has_personality) {
		json_t *p = json_object();
		put_text(w, p, "domain",
			 oci_word_name(oci_personality_words, (int64_t)s->personality));
		put(w, o, "personality", p);
	}
	put_time_offset(w, offsets, "monotonic", &s->monotonic);
	put_time_offset(w, offsets, "boottime", &s->boottime);
	put_some(w, o, "timeOffsets", offsets);
	if (s->intel_rdt.present) {
		json_t *rdt = json_object();
		put_text(w, rdt, "closID", s->intel_rdt.clos_id);
		put_text(w, rdt, "l3CacheSchema", s->intel_rdt.l3_cache_schema);
		put_text(w, rdt, "memBwSchema", s->intel_rdt.mem_bw_schema);
		put_flag(w, rdt, "enableCMT", s->intel_rdt.enable_cmt);
		put_flag(w, rdt, "enableMBM", s->intel_rdt.enable_mbm);
		put(w, o, "intelRdt", rdt);
	}
	return o;
}

/* ---- The whole ---------------------------------------------------------------------------- */

static json_t *mounts(struct writer *w, const struct oci_spec *s)
{
	json_t *arr = json_array();
	for (size_t i = 0; i < s->n_mounts; i++) {
		const struct oci_mount *m = &s->mounts[i];
		json_t *o = json_object();
		put(w, o, "destination", text(m->destination));
		put_text(w, o, "type", m->type);
		put_text(w, o, "source", m->source);
		put_some(w, o, "options", strv(w, &m->options));
		put_some(w, o, "uidMappings", id_mappings(w, m->uid_mappings, m->n_uid_mappings));
		put_some(w, o, "gidMappings", id_mappings(w, m->gid_mappings, m->n_gid_mappings));
		add(w, arr, o);
	}
	return arr;
}

static json_t *hook_list(struct writer *w, const struct oci_hook_list *l)
{
	json_t *arr = json_array();
	for (size_t i = 0; i < l->n; i++) {
		json_t *o = json_object();
		put(w, o, "path", text(l->v[i].path));
		put_some(w, o, "args", strv(w, &l->v[i].args));
		put_some(w, o, "env", strv(w, &l->v[i].env));
		if (l->v[i].timeout)
			put_int(w, o, "timeout", l->v[i].timeout);
		add(w, arr, o);
	}
	return arr;
}

static json_t *hooks(struct writer *w, const struct oci_hooks *h)
{
	json_t *o = json_object();
	put_some(w, o, "prestart", hook_list(w, &h->prestart));
	put_some(w, o, "createRuntime", hook_list(w, &h->create_runtime));
	put_some(w, o, "createContainer", hook_list(w, &h->create_container));
	put_some(w, o, "startContainer", hook_list(w, &h->start_container));
	put_some(w, o, "poststart", hook_list(w, &h->poststart));
	put_some(w, o, "poststop", hook_list(w, &h->poststop));
	return o;
}

static json_t *finish(const struct writer *w, json_t *v)
{
	if (!w->failed)
		return v;
	json_decref(v);
	return NULL;
}

json_t *oci_spec_to_json(const struct oci_spec *s)
{
	struct writer w = {.failed = false};
	json_t *o = json_object(), *root = json_object();

	put(&w, o, "ociVersion", text(s->version));
	if (s->has_process)
		put(&w, o, "process", process(&w, &s->process));
	put(&w, root, "path", text(s->root_path));
	put_flag(&w, root, "readonly", s->root_readonly);
	put(&w, o, "root", root);
	put_text(&w, o, "hostname", s->hostname);
	put_text(&w, o, "domainname", s->domainname);
	put_some(&w, o, "mounts", mounts(&w, s));
	put_some(&w, o, "hooks", hooks(&w, &s->hooks));
	put_some(&w, o, "annotations", map(&w, s->annotations, s->n_annotations));
	put_some(&w, o, "linux", linux_part(&w, s));
	return finish(&w, o);
}

json_t *oci_process_to_json(const struct oci_process *p)
{
	struct writer w = {.failed = false};
	return finish(&w, process(&w, p));
}

json_t *oci_resources_to_json(const struct oci_resources *r)
{
	struct writer w = {.failed = false};
	return finish(&w, resources(&w, r));
}
