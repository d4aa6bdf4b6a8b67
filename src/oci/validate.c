/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/validate.h"

#include "fmt/json.h"
#include "oci/cpu-list.h"
#include "oci/words.h"

#include <limits.h>
#include <linux/sched.h>
#include <string.h>

#define TRY(x)                        \
	do {                          \
		int try_r = (x);      \
		if (try_r < 0)        \
			return try_r; \
	} while (0)

#define SHOW(s) json_show(s, (char[JSON_SHOW_MAX]){0})
#define REFUSE(...) return err_set(e, -EINVAL, __VA_ARGS__)

/* ---- Things that occur in several places --------------------------------------------------- */

static int _printf_(3, 4) check_path(const char *path, struct err *e, const char *fmt, ...)
{
	char at[128];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(at, sizeof at, fmt, ap);
	va_end(ap);
	if (path[0] != '/')
		REFUSE("%s is %s: must be an absolute path", at, SHOW(path));
	if (strlen(path) >= PATH_MAX)
		REFUSE("%s has %zu bytes: must be shorter than %d", at, strlen(path), PATH_MAX);
	return 0;
}

static int check_env(const struct oci_strv *env, const char *at, struct err *e)
{
	for (size_t i = 0; i < env->n; i++) {
		const char *eq = strchr(env->v[i], '=');
		if (!eq || eq == env->v[i])
			REFUSE("%s[%zu] is no variable: must be NAME=value", at, i);
	}
	return 0;
}

static int check_word(const char *word, const struct oci_word *words, const char *at, struct err *e)
{
	if (!oci_word_find(words, word, NULL))
		REFUSE("%s is %s: must be one of %s", at, SHOW(word),
		       oci_words_text(words, (char[OCI_WORDS_TEXT_MAX]){0}));
	return 0;
}

static int check_words(const struct oci_strv *v, const struct oci_word *words, const char *where,
		       struct err *e)
{
	for (size_t i = 0; i < v->n; i++) {
		char at[64];
		(void)snprintf(at, sizeof at, "%s[%zu]", where, i);
		TRY(check_word(v->v[i], words, at, e));
	}
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* JSON cannot repeat a key, but the wire can, and then two readers may see two values. */
static int check_unique_keys(const struct oci_kv *kv, size_t n, const char *at, struct err *e)
{
	if (n == 0)
		return 0;
	_cleanup_free_ const char **keys = calloc(n, sizeof *keys);
	if (!keys)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		if (!kv[i].key[0])
			REFUSE("%s has an empty key", at);
		keys[i] = kv[i].key;
	}
	qsort(keys, n, sizeof *keys, compare_keys);
	for (size_t i = 1; i < n; i++)
		if (strcmp(keys[i - 1], keys[i]) == 0)
			REFUSE("%s[%s] is there twice", at, SHOW(keys[i]));
	return 0;
}

static int check_id_mappings(const struct oci_id_mapping *m, size_t n, const char *at,
			     struct err *e)
{
	if (n > OCI_ID_MAPPINGS_MAX)
		REFUSE("%s has %zu elements: at most %u are possible", at, n, OCI_ID_MAPPINGS_MAX);
	for (size_t i = 0; i < n; i++) {
		if (m[i].size == 0)
			REFUSE("%s[%zu].size is 0: must be greater", at, i);
		if (m[i].size > UINT32_MAX - m[i].container_id ||
		    m[i].size > UINT32_MAX - m[i].host_id)
			REFUSE("%s[%zu] maps %u ids from %u to %u: must stay below %u", at, i,
			       m[i].size, m[i].container_id, m[i].host_id, UINT32_MAX);
	}
	return 0;
}

/* ---- Process ------------------------------------------------------------------------------ */

/* setuid(2) and its like take (uid_t)-1 for "leave as it is". */
static int check_user(const struct oci_user *u, struct err *e)
{
	if (u->uid == UINT32_MAX)
		REFUSE("process.user.uid is %u: this id means \"none\" to the kernel", u->uid);
	if (u->gid == UINT32_MAX)
		REFUSE("process.user.gid is %u: this id means \"none\" to the kernel", u->gid);
	if (u->n_additional_gids > NGROUPS_MAX)
		REFUSE("process.user.additionalGids has %zu elements: at most %d are possible",
		       u->n_additional_gids, NGROUPS_MAX);
	for (size_t i = 0; i < u->n_additional_gids; i++)
		if (u->additional_gids[i] == UINT32_MAX)
			REFUSE("process.user.additionalGids[%zu] is %u: this id means \"none\" to "
			       "the kernel",
			       i, UINT32_MAX);
	if (u->has_umask && u->umask > 0777)
		REFUSE("process.user.umask is %u: must be at most 511 (octal 777)", u->umask);
	return 0;
}

static int check_rlimits(const struct oci_process *p, struct err *e)
{
	uint64_t seen = 0;

	for (size_t i = 0; i < p->n_rlimits; i++) {
		const struct oci_rlimit *l = &p->rlimits[i];
		const char *name = oci_word_name(oci_rlimit_words, l->resource);
		if (!name)
			REFUSE("process.rlimits[%zu].type is %d: no such limit", i, l->resource);
		if (seen & UINT64_C(1) << l->resource)
			REFUSE("process.rlimits[%zu].type is \"%s\": is there already", i, name);
		seen |= UINT64_C(1) << l->resource;
		if (l->soft > l->hard)
			REFUSE("process.rlimits[%zu] (%s) has a soft limit of %llu: must not "
			       "exceed the hard limit, %llu",
			       i, name, (unsigned long long)l->soft, (unsigned long long)l->hard);
	}
	return 0;
}

static int check_affinity(const char *list, const char *name, struct err *e)
{
	int r = list ? oci_cpu_list_parse(list, NULL) : 0;
	if (r == -ERANGE)
		REFUSE("process.execCPUAffinity.%s is %s: processors are numbered below %d", name,
		       SHOW(list), OCI_CPUS_MAX);
	if (r < 0)
		REFUSE("process.execCPUAffinity.%s is %s: must be a list such as 0-3,7", name,
		       SHOW(list));
	return 0;
}

/* Which numbers a policy takes: sched(7). */
static int check_scheduler(const struct oci_scheduler *s, struct err *e)
{
	bool realtime = s->policy == SCHED_FIFO || s->policy == SCHED_RR;
	bool deadline = s->policy == SCHED_DEADLINE;
	const char *policy = oci_word_name(oci_sched_policy_words, s->policy);

	if (!s->present)
		return 0;
	if (!policy)
		REFUSE("process.scheduler.policy is %d: no such policy", s->policy);
	if (s->priority != 0 && !realtime)
		REFUSE("process.scheduler.priority is %d: %s has no priorities", s->priority,
		       policy);
	if (realtime && (s->priority < 1 || s->priority > 99))
		REFUSE("process.scheduler.priority is %d: must be from 1 to 99 for %s", s->priority,
		       policy);
	if (!deadline && (s->runtime_ns || s->deadline_ns || s->period_ns))
		REFUSE("process.scheduler has runtime, deadline or period: %s has none", policy);
	if (deadline && (s->runtime_ns == 0 || s->runtime_ns > s->deadline_ns ||
			 (s->period_ns && s->deadline_ns > s->period_ns)))
		REFUSE("process.scheduler has runtime %llu, deadline %llu, period %llu: each must "
		       "be at most the next",
		       (unsigned long long)s->runtime_ns, (unsigned long long)s->deadline_ns,
		       (unsigned long long)s->period_ns);
	return 0;
}

int oci_process_validate(const struct oci_process *p, struct err *e)
{
	if (p->args.n == 0)
		REFUSE("process.args is empty: must begin with the program to run");
	if (!p->args.v[0][0])
		REFUSE("process.args[0] is empty: must be the program to run");
	TRY(check_env(&p->env, "process.env", e));
	TRY(check_path(p->cwd, e, "process.cwd"));
	TRY(check_user(&p->user, e));
	TRY(check_rlimits(p, e));
	if (p->has_oom_score_adj && (p->oom_score_adj < -1000 || p->oom_score_adj > 1000))
		REFUSE("process.oomScoreAdj is %d: must be from -1000 to 1000", p->oom_score_adj);
	TRY(check_scheduler(&p->scheduler, e));
	TRY(check_affinity(p->exec_cpu_affinity.initial, "initial", e));
	TRY(check_affinity(p->exec_cpu_affinity.final, "final", e));
	/* struct winsize of asm-generic/termios.h */
	if (p->console_height > UINT16_MAX || p->console_width > UINT16_MAX)
		REFUSE("process.consoleSize is %ux%u: at most %d are possible", p->console_width,
		       p->console_height, UINT16_MAX);
	return 0;
}

/* ---- Resources ---------------------------------------------------------------------------- */

static int check_rule(const struct oci_device_rule *d, size_t i, struct err *e)
{
	if (!oci_word_name(oci_rule_type_words, d->type))
		REFUSE("linux.resources.devices[%zu].type is \"%c\": must be one of a, c, b", i,
		       d->type);
	if (d->major < -1 || d->major > OCI_DEVICE_MAJOR_MAX)
		REFUSE("linux.resources.devices[%zu].major is %lld: must be from -1 to %d", i,
		       (long long)d->major, OCI_DEVICE_MAJOR_MAX);
	if (d->minor < -1 || d->minor > OCI_DEVICE_MINOR_MAX)
		REFUSE("linux.resources.devices[%zu].minor is %lld: must be from -1 to %d", i,
		       (long long)d->minor, OCI_DEVICE_MINOR_MAX);
	if (d->access[strspn(d->access, "rwm")] || strlen(d->access) > 3)
		REFUSE("linux.resources.devices[%zu].access is %s: must be of the letters r, w, m",
		       i, SHOW(d->access));
	return 0;
}

/* The name of a control file is made of it: "2MB", "1GB". */
static bool page_size_ok(const char *s)
{
	size_t digits = strspn(s, "0123456789");
	const char *unit = s + digits;

	return digits > 0 && digits < 8 && s[0] != '0' &&
	       (strcmp(unit, "KB") == 0 || strcmp(unit, "MB") == 0 || strcmp(unit, "GB") == 0);
}

static int check_limits(const struct oci_resources *r, struct err *e)
{
	const struct {
		const char *name;
		int64_t v, min;
	} limits[] = {
		{"memory.limit", r->memory.limit, -1},
		{"memory.reservation", r->memory.reservation, -1},
		{"memory.swap", r->memory.swap, -1},
		{"memory.kernel", r->memory.kernel, -1},
		{"memory.kernelTCP", r->memory.kernel_tcp, -1},
		{"memory.swappiness", r->memory.swappiness, 0},
		{"cpu.shares", r->cpu.shares, 0},
		{"cpu.quota", r->cpu.quota, -1},
		{"cpu.period", r->cpu.period, 0},
		{"cpu.realtimeRuntime", r->cpu.realtime_runtime, -1},
		{"cpu.realtimePeriod", r->cpu.realtime_period, 0},
		{"cpu.burst", r->cpu.burst, 0},
		{"cpu.idle", r->cpu.idle, 0},
		{"pids.limit", r->pids_limit, -1},
		{"blockIO.weight", r->block_io.weight, 0},
		{"blockIO.leafWeight", r->block_io.leaf_weight, 0},
	};
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		if (limits[i].v != OCI_UNSET && limits[i].v < limits[i].min)
			REFUSE("linux.resources.%s is %lld: must be at least %lld", limits[i].name,
			       (long long)limits[i].v, (long long)limits[i].min);
	if (r->memory.swappiness > OCI_SWAPPINESS_MAX)
		REFUSE("linux.resources.memory.swappiness is %lld: must be at most %d",
		       (long long)r->memory.swappiness, OCI_SWAPPINESS_MAX);
	return 0;
}

static int check_cpu_list(const char *list, const char *name, struct err *e)
{
	if (list && list[strspn(list, "0123456789,-\n ")])
		REFUSE("linux.resources.cpu.%s is %s: must be a list such as 0-3,7", name,
		       SHOW(list));
	return 0;
}

/* The keys are names of files in a cgroup's directory. */
static int check_unified(const struct oci_resources *r, struct err *e)
{
	TRY(check_unique_keys(r->unified, r->n_unified, "linux.resources.unified", e));
	for (size_t i = 0; i < r->n_unified; i++) {
		const char *key = r->unified[i].key;
		if (strchr(key, '/') || key[0] == '.' || !strchr(key, '.'))
			REFUSE("linux.resources.unified has the key %s: must be the name of a "
			       "cgroup file, such as memory.high",
			       SHOW(key));
	}
	return 0;
}

int oci_resources_validate(const struct oci_resources *r, struct err *e)
{
	for (size_t i = 0; i < r->n_devices; i++)
		TRY(check_rule(&r->devices[i], i, e));
	TRY(check_limits(r, e));
	TRY(check_cpu_list(r->cpu.cpus, "cpus", e));
	TRY(check_cpu_list(r->cpu.mems, "mems", e));
	for (size_t i = 0; i < r->n_hugepages; i++)
		if (!page_size_ok(r->hugepages[i].page_size))
			REFUSE("linux.resources.hugepageLimits[%zu].pageSize is %s: must be a size "
			       "such as 2MB",
			       i, SHOW(r->hugepages[i].page_size));
	TRY(check_unified(r, e));
	for (size_t i = 0; i < r->network.n_priorities; i++) {
		const char *name = r->network.priorities[i].name;
		if (!name[0] || strpbrk(name, "/ \n\t"))
			REFUSE("linux.resources.network.priorities[%zu].name is %s: must be an "
			       "interface's name",
			       i, SHOW(name));
	}
	for (size_t i = 0; i < r->n_rdma; i++)
		if (!r->rdma[i].device[0] || strpbrk(r->rdma[i].device, "/ \n"))
			REFUSE("linux.resources.rdma has the device %s: must be a device's name",
			       SHOW(r->rdma[i].device));
	return 0;
}

/* ---- Linux -------------------------------------------------------------------------------- */

static int check_namespaces(const struct oci_spec *s, struct err *e)
{
	unsigned int seen = 0;

	for (size_t i = 0; i < s->n_namespaces; i++) {
		const struct oci_namespace *ns = &s->namespaces[i];
		const char *name = oci_word_name(oci_namespace_words, ns->type);
		if (!name)
			REFUSE("linux.namespaces[%zu].type is %d: no such namespace", i,
			       (int)ns->type);
		if (seen & 1u << ns->type)
			REFUSE("linux.namespaces[%zu].type is \"%s\": is there already", i, name);
		seen |= 1u << ns->type;
		if (ns->path)
			TRY(check_path(ns->path, e, "linux.namespaces[%zu].path", i));
	}
	if ((s->n_uid_mappings || s->n_gid_mappings) && !oci_spec_namespace(s, OCI_NS_USER))
		REFUSE("linux.uidMappings, gidMappings are given: need a user namespace");
	if ((s->monotonic.present || s->boottime.present) && !oci_spec_namespace(s, OCI_NS_TIME))
		REFUSE("linux.timeOffsets is given: needs a time namespace");
	return 0;
}

static int check_uts_name(const struct oci_spec *s, const char *name, const char *key,
			  struct err *e)
{
	if (!name)
		return 0;
	if (strlen(name) > OCI_HOSTNAME_MAX)
		REFUSE("%s is %s: must have at most %d bytes", key, SHOW(name), OCI_HOSTNAME_MAX);
	if (!oci_spec_namespace(s, OCI_NS_UTS))
		REFUSE("%s is %s: needs a uts namespace", key, SHOW(name));
	return 0;
}

/* The name becomes a path below /proc/sys; dots and slashes both separate. */
static int check_sysctl(const struct oci_spec *s, struct err *e)
{
	TRY(check_unique_keys(s->sysctl, s->n_sysctl, "linux.sysctl", e));
	for (size_t i = 0; i < s->n_sysctl; i++) {
		const char *key = s->sysctl[i].key;
		size_t len = strlen(key);
		bool ok = !strchr("./", key[0]) && !strchr("./", key[len - 1]);
		for (const char *p = key; ok && *p; p++)
			ok = (unsigned char)*p > ' ' &&
			     !(strchr("./", p[0]) && p[1] && strchr("./", p[1]));
		if (!ok)
			REFUSE("linux.sysctl has the key %s: must be names separated by dots",
			       SHOW(key));
	}
	return 0;
}

static int check_devices(const struct oci_spec *s, struct err *e)
{
	for (size_t i = 0; i < s->n_devices; i++) {
		const struct oci_device *d = &s->devices[i];
		TRY(check_path(d->path, e, "linux.devices[%zu].path", i));
		if (!oci_word_name(oci_device_type_words, d->type))
			REFUSE("linux.devices[%zu].type is \"%c\": must be one of c, b, u, p", i,
			       d->type);
		if (d->major < 0 || d->major > OCI_DEVICE_MAJOR_MAX)
			REFUSE("linux.devices[%zu].major is %lld: must be from 0 to %d", i,
			       (long long)d->major, OCI_DEVICE_MAJOR_MAX);
		if (d->minor < 0 || d->minor > OCI_DEVICE_MINOR_MAX)
			REFUSE("linux.devices[%zu].minor is %lld: must be from 0 to %d", i,
			       (long long)d->minor, OCI_DEVICE_MINOR_MAX);
	}
	return 0;
}

static int check_seccomp_rule(const struct oci_seccomp_rule *rule, size_t i, struct err *e)
{
	char at[80];

	(void)snprintf(at, sizeof at, "linux.seccomp.syscalls[%zu].action", i);
	TRY(check_word(rule->action, oci_seccomp_action_words, at, e));
	if (rule->names.n == 0)
		REFUSE("linux.seccomp.syscalls[%zu].names is empty: must have at least one", i);
	/* SECCOMP_RET_DATA of linux/seccomp.h has 16 bits */
	if (rule->errno_ret > UINT16_MAX)
		REFUSE("linux.seccomp.syscalls[%zu].errnoRet is %u: must be at most %d", i,
		       rule->errno_ret, UINT16_MAX);
	for (size_t k = 0; k < rule->n_args; k++) {
		if (rule->args[k].index > 5)
			REFUSE("linux.seccomp.syscalls[%zu].args[%zu].index is %u: must be at "
			       "most 5",
			       i, k, rule->args[k].index);
		(void)snprintf(at, sizeof at, "linux.seccomp.syscalls[%zu].args[%zu].op", i, k);
		TRY(check_word(rule->args[k].op, oci_seccomp_op_words, at, e));
	}
	return 0;
}

static int check_seccomp(const struct oci_seccomp *c, struct err *e)
{
	TRY(check_word(c->default_action, oci_seccomp_action_words, "linux.seccomp.defaultAction",
		       e));
	if (c->default_errno_ret > UINT16_MAX)
		REFUSE("linux.seccomp.defaultErrnoRet is %u: must be at most %d",
		       c->default_errno_ret, UINT16_MAX);
	TRY(check_words(&c->architectures, oci_seccomp_arch_words, "linux.seccomp.architectures",
			e));
	TRY(check_words(&c->flags, oci_seccomp_flag_words, "linux.seccomp.flags", e));
	if (c->listener_metadata && !c->listener_path)
		REFUSE("linux.seccomp.listenerMetadata is given: needs listenerPath");
	if (c->listener_path)
		TRY(check_path(c->listener_path, e, "linux.seccomp.listenerPath"));
	for (size_t i = 0; i < c->n_rules; i++)
		TRY(check_seccomp_rule(&c->rules[i], i, e));
	return 0;
}

/* Whether a path has the component "..", and so could leave where it is meant to stay. */
static bool climbs(const char *path)
{
	for (const char *p = path; (p = strstr(p, "..")); p += 2)
		if ((p == path || p[-1] == '/') && (p[2] == '\0' || p[2] == '/'))
			return true;
	return false;
}

static int check_linux(const struct oci_spec *s, struct err *e)
{
	TRY(check_namespaces(s, e));
	TRY(check_id_mappings(s->uid_mappings, s->n_uid_mappings, "linux.uidMappings", e));
	TRY(check_id_mappings(s->gid_mappings, s->n_gid_mappings, "linux.gidMappings", e));
	TRY(check_sysctl(s, e));
	TRY(check_devices(s, e));
	if (s->cgroups_path && (climbs(s->cgroups_path) || strlen(s->cgroups_path) >= PATH_MAX))
		REFUSE("linux.cgroupsPath is %s: must have no \"..\" and be shorter than %d",
		       SHOW(s->cgroups_path), PATH_MAX);
	TRY(oci_resources_validate(&s->resources, e));
	if (s->has_seccomp)
		TRY(check_seccomp(&s->seccomp, e));
	for (size_t i = 0; i < s->masked_paths.n; i++)
		TRY(check_path(s->masked_paths.v[i], e, "linux.maskedPaths[%zu]", i));
	for (size_t i = 0; i < s->readonly_paths.n; i++)
		TRY(check_path(s->readonly_paths.v[i], e, "linux.readonlyPaths[%zu]", i));
	if (s->rootfs_propagation)
		TRY(check_word(s->rootfs_propagation, oci_propagation_words,
			       "linux.rootfsPropagation", e));
	return 0;
}

/* ---- The whole ---------------------------------------------------------------------------- */

static bool is_bind(const struct oci_mount *m)
{
	if (m->type && strcmp(m->type, "bind") == 0)
		return true;
	for (size_t i = 0; i < m->options.n; i++)
		if (strcmp(m->options.v[i], "bind") == 0 || strcmp(m->options.v[i], "rbind") == 0)
			return true;
	return false;
}

static int check_mounts(const struct oci_spec *s, struct err *e)
{
	for (size_t i = 0; i < s->n_mounts; i++) {
		const struct oci_mount *m = &s->mounts[i];
		char at[64];

		TRY(check_path(m->destination, e, "mounts[%zu].destination", i));
		if (!m->source && is_bind(m))
			REFUSE("mounts[%zu].source is missing: the bind mount on %s needs one", i,
			       SHOW(m->destination));
		if (m->source && strlen(m->source) >= PATH_MAX)
			REFUSE("mounts[%zu].source has %zu bytes: must be shorter than %d", i,
			       strlen(m->source), PATH_MAX);
		(void)snprintf(at, sizeof at, "mounts[%zu].uidMappings", i);
		TRY(check_id_mappings(m->uid_mappings, m->n_uid_mappings, at, e));
		(void)snprintf(at, sizeof at, "mounts[%zu].gidMappings", i);
		TRY(check_id_mappings(m->gid_mappings, m->n_gid_mappings, at, e));
	}
	return 0;
}

static int check_hooks(const struct oci_hook_list *l, const char *name, struct err *e)
{
	for (size_t i = 0; i < l->n; i++) {
		char at[64];
		TRY(check_path(l->v[i].path, e, "hooks.%s[%zu].path", name, i));
		(void)snprintf(at, sizeof at, "hooks.%s[%zu].env", name, i);
		TRY(check_env(&l->v[i].env, at, e));
		if (l->v[i].timeout < 0)
			REFUSE("hooks.%s[%zu].timeout is %d: must be greater than 0", name, i,
			       l->v[i].timeout);
	}
	return 0;
}

int oci_spec_validate(const struct oci_spec *s, struct err *e)
{
	/* Empty comes from the wire, where nobody reads it. */
	if (s->version[0] && strncmp(s->version, "1.", 2) != 0)
		REFUSE("ociVersion is %s: only 1.x is understood", SHOW(s->version));
	if (!s->root_path[0])
		REFUSE("root.path is empty: must be the path of the root file system");
	if (strlen(s->root_path) >= PATH_MAX)
		REFUSE("root.path has %zu bytes: must be shorter than %d", strlen(s->root_path),
		       PATH_MAX);
	if (s->has_process)
		TRY(oci_process_validate(&s->process, e));
	TRY(check_mounts(s, e));
	TRY(check_uts_name(s, s->hostname, "hostname", e));
	TRY(check_uts_name(s, s->domainname, "domainname", e));
	TRY(check_unique_keys(s->annotations, s->n_annotations, "annotations", e));

	const struct {
		const char *name;
		const struct oci_hook_list *list;
	} lists[] = {
		{"prestart", &s->hooks.prestart},
		{"createRuntime", &s->hooks.create_runtime},
		{"createContainer", &s->hooks.create_container},
		{"startContainer", &s->hooks.start_container},
		{"poststart", &s->hooks.poststart},
		{"poststop", &s->hooks.poststop},
	};
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		TRY(check_hooks(lists[i].list, lists[i].name, e));
	return check_linux(s, e);
}
