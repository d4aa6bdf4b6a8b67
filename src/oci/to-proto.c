/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From specs to messages. Every piece is malloc'ed on its own, as protobuf-c's own decoder does it,
 * so that a half-built message can be freed as any other. An allocation that fails marks the
 * writer, leaves its place NULL, and is found at the end.
 */
#include "oci/spec-proto.h"
#include "oci/words.h"

#include <string.h>

struct writer {
	bool failed;
};

/* An initialized message, or NULL. */
#define NEW(w, type, init)                          \
	({                                          \
		type *new_m = malloc(sizeof(type)); \
		if (new_m)                          \
			init(new_m);                \
		else                                \
			(w)->failed = true;         \
		new_m;                              \
	})

/* An array of @n pointers; NULL for none. */
#define VEC(w, array, count, n)              \
	do {                                 \
		(array) = vec((w), (n));     \
		(count) = (array) ? (n) : 0; \
	} while (0)

static void *vec(struct writer *w, size_t n)
{
	if (n == 0)
		return NULL;
	void *p = calloc(n, sizeof(void *));
	if (!p)
		w->failed = true;
	return p;
}

static char *copy(struct writer *w, const char *s)
{
	char *p = strdup(s);
	if (!p)
		w->failed = true;
	return p;
}

/* The decoder's own empty string stands for absent fields; it is never freed. */
static char *text(struct writer *w, const char *s)
{
	return s && *s ? copy(w, s) : (char *)protobuf_c_empty_string;
}

static void strv(struct writer *w, const struct oci_strv *v, char ***ret, size_t *ret_n)
{
	VEC(w, *ret, *ret_n, v->n);
	for (size_t i = 0; i < *ret_n; i++)
		(*ret)[i] = copy(w, v->v[i]);
}

/* ---- Process ------------------------------------------------------------------------------ */

static Grpc__User *user(struct writer *w, const struct oci_user *u)
{
	Grpc__User *m = NEW(w, Grpc__User, grpc__user__init);
	if (!m)
		return NULL;
	m->uid = u->uid;
	m->gid = u->gid;
	m->username = text(w, u->username);
	if (u->has_umask) {
		m->umask_given_case = GRPC__USER__UMASK_GIVEN_UMASK;
		m->umask = u->umask;
	}
	if (u->n_additional_gids) {
		m->additionalgids = calloc(u->n_additional_gids, sizeof *m->additionalgids);
		if (m->additionalgids) {
			m->n_additionalgids = u->n_additional_gids;
			memcpy(m->additionalgids, u->additional_gids,
			       u->n_additional_gids * sizeof *m->additionalgids);
		} else {
			w->failed = true;
		}
	}
	return m;
}

static void cap_set(struct writer *w, uint64_t set, char ***ret, size_t *ret_n)
{
	size_t n = 0;

	VEC(w, *ret, *ret_n, (size_t)__builtin_popcountll(set));
	for (int i = 0; i < 64 && n < *ret_n; i++)
		if (set & UINT64_C(1) << i && oci_capability_name(i))
			(*ret)[n++] = copy(w, oci_capability_name(i));
	*ret_n = n; /* a bit that has no name is not sent */
}

static Grpc__LinuxCapabilities *caps(struct writer *w, const struct oci_capabilities *c)
{
	Grpc__LinuxCapabilities *m =
		NEW(w, Grpc__LinuxCapabilities, grpc__linux_capabilities__init);
	if (!m)
		return NULL;
	cap_set(w, c->bounding, &m->bounding, &m->n_bounding);
	cap_set(w, c->effective, &m->effective, &m->n_effective);
	cap_set(w, c->inheritable, &m->inheritable, &m->n_inheritable);
	cap_set(w, c->permitted, &m->permitted, &m->n_permitted);
	cap_set(w, c->ambient, &m->ambient, &m->n_ambient);
	return m;
}

static Grpc__POSIXRlimit *rlimit(struct writer *w, const struct oci_rlimit *l)
{
	Grpc__POSIXRlimit *m = NEW(w, Grpc__POSIXRlimit, grpc__posixrlimit__init);
	if (!m)
		return NULL;
	m->type = text(w, oci_word_name(oci_rlimit_words, l->resource));
	m->soft = l->soft;
	m->hard = l->hard;
	return m;
}

static Grpc__Scheduler *scheduler(struct writer *w, const struct oci_scheduler *s)
{
	size_t n = 0;
	Grpc__Scheduler *m = NEW(w, Grpc__Scheduler, grpc__scheduler__init);
	if (!m)
		return NULL;
	m->policy = text(w, oci_word_name(oci_sched_policy_words, s->policy));
	m->nice = s->nice;
	m->priority = s->priority;
	VEC(w, m->flags, m->n_flags, (size_t)__builtin_popcountll(s->flags));
	for (const struct oci_word *f = oci_sched_flag_words; f->name && n < m->n_flags; f++)
		if (s->flags & (uint64_t)f->value)
			m->flags[n++] = copy(w, f->name);
	m->n_flags = n;
	m->runtime = s->runtime_ns;
	m->deadline = s->deadline_ns;
	m->period = s->period_ns;
	return m;
}

static Grpc__LinuxIOPriority *io_priority(struct writer *w, const struct oci_io_priority *p)
{
	Grpc__LinuxIOPriority *m = NEW(w, Grpc__LinuxIOPriority, grpc__linux_iopriority__init);
	if (!m)
		return NULL;
	m->class_ = text(w, oci_word_name(oci_io_class_words, p->class));
	m->priority = p->level;
	return m;
}

static Grpc__CPUAffinity *affinity(struct writer *w, const struct oci_cpu_affinity *a)
{
	Grpc__CPUAffinity *m = NEW(w, Grpc__CPUAffinity, grpc__cpuaffinity__init);
	if (!m)
		return NULL;
	m->initial = text(w, a->initial);
	m->final = text(w, a->final);
	return m;
}

static Grpc__Process *process(struct writer *w, const struct oci_process *p)
{
	Grpc__Process *m = NEW(w, Grpc__Process, grpc__process__init);
	if (!m)
		return NULL;
	m->terminal = p->terminal;
	if (p->console_height || p->console_width) {
		m->consolesize = NEW(w, Grpc__Box, grpc__box__init);
		if (m->consolesize) {
			m->consolesize->height = p->console_height;
			m->consolesize->width = p->console_width;
		}
	}
	m->user = user(w, &p->user);
	strv(w, &p->args, &m->args, &m->n_args);
	strv(w, &p->env, &m->env, &m->n_env);
	m->cwd = text(w, p->cwd);
	if (p->caps.present)
		m->capabilities = caps(w, &p->caps);
	VEC(w, m->rlimits, m->n_rlimits, p->n_rlimits);
	for (size_t i = 0; i < m->n_rlimits; i++)
		m->rlimits[i] = rlimit(w, &p->rlimits[i]);
	m->nonewprivileges = p->no_new_privileges;
	m->apparmorprofile = text(w, p->apparmor_profile);
	m->selinuxlabel = text(w, p->selinux_label);
	m->oomscoreadj = p->has_oom_score_adj ? p->oom_score_adj : 0;
	if (p->scheduler.present)
		m->scheduler = scheduler(w, &p->scheduler);
	if (p->io_priority.present)
		m->iopriority = io_priority(w, &p->io_priority);
	if (p->exec_cpu_affinity.initial || p->exec_cpu_affinity.final)
		m->execcpuaffinity = affinity(w, &p->exec_cpu_affinity);
	return m;
}

/* ---- Resources ---------------------------------------------------------------------------- */

static int64_t limit(int64_t v)
{
	return v == OCI_UNSET ? 0 : v;
}

static uint64_t amount(int64_t v)
{
	return v == OCI_UNSET || v < 0 ? 0 : (uint64_t)v;
}

static Grpc__LinuxDeviceCgroup *device_rule(struct writer *w, const struct oci_device_rule *d)
{
	Grpc__LinuxDeviceCgroup *m =
		NEW(w, Grpc__LinuxDeviceCgroup, grpc__linux_device_cgroup__init);
	if (!m)
		return NULL;
	m->allow = d->allow;
	m->type = text(w, (char[]){d->type, '\0'});
	m->major = d->major;
	m->minor = d->minor;
	m->access = text(w, d->access);
	return m;
}

static Grpc__LinuxMemory *memory(struct writer *w, const struct oci_resources *r)
{
	Grpc__LinuxMemory *m = NEW(w, Grpc__LinuxMemory, grpc__linux_memory__init);
	if (!m)
		return NULL;
	m->limit = limit(r->memory.limit);
	m->reservation = limit(r->memory.reservation);
	m->swap = limit(r->memory.swap);
	m->kernel = limit(r->memory.kernel);
	m->kerneltcp = limit(r->memory.kernel_tcp);
	m->swappiness = amount(r->memory.swappiness);
	m->disableoomkiller = r->memory.disable_oom_killer;
	m->checkbeforeupdate = r->memory.check_before_update;
	m->noswappiness = r->memory.swappiness == 0;
	return m;
}

static Grpc__LinuxCPU *cpu(struct writer *w, const struct oci_resources *r)
{
	Grpc__LinuxCPU *m = NEW(w, Grpc__LinuxCPU, grpc__linux_cpu__init);
	if (!m)
		return NULL;
	m->shares = amount(r->cpu.shares);
	m->quota = limit(r->cpu.quota);
	m->period = amount(r->cpu.period);
	m->realtimeruntime = limit(r->cpu.realtime_runtime);
	m->realtimeperiod = amount(r->cpu.realtime_period);
	m->cpus = text(w, r->cpu.cpus);
	m->mems = text(w, r->cpu.mems);
	if (r->cpu.burst != OCI_UNSET) {
		m->burst_given_case = GRPC__LINUX_CPU__BURST_GIVEN_BURST;
		m->burst = amount(r->cpu.burst);
	}
	if (r->cpu.idle != OCI_UNSET) {
		m->idle_given_case = GRPC__LINUX_CPU__IDLE_GIVEN_IDLE;
		m->idle = r->cpu.idle;
	}
	return m;
}

static void throttles(struct writer *w, const struct oci_throttle_device *d, size_t n,
		      Grpc__LinuxThrottleDevice ***ret, size_t *ret_n)
{
	VEC(w, *ret, *ret_n, n);
	for (size_t i = 0; i < *ret_n; i++) {
		Grpc__LinuxThrottleDevice *m = (*ret)[i] =
			NEW(w, Grpc__LinuxThrottleDevice, grpc__linux_throttle_device__init);
		if (!m)
			continue;
		m->major = d[i].major;
		m->minor = d[i].minor;
		m->rate = d[i].rate;
	}
}

static Grpc__LinuxBlockIO *block_io(struct writer *w, const struct oci_resources *r)
{
	Grpc__LinuxBlockIO *m = NEW(w, Grpc__LinuxBlockIO, grpc__linux_block_io__init);
	if (!m)
		return NULL;
	m->weight = (uint32_t)amount(r->block_io.weight);
	m->leafweight = (uint32_t)amount(r->block_io.leaf_weight);
	VEC(w, m->weightdevice, m->n_weightdevice, r->block_io.n_weight_device);
	for (size_t i = 0; i < m->n_weightdevice; i++) {
		const struct oci_blkio_device *d = &r->block_io.weight_device[i];
		Grpc__LinuxWeightDevice *el = m->weightdevice[i] =
			NEW(w, Grpc__LinuxWeightDevice, grpc__linux_weight_device__init);
		if (!el)
			continue;
		el->major = d->major;
		el->minor = d->minor;
		el->weight = (uint32_t)amount(d->weight);
		el->leafweight = (uint32_t)amount(d->leaf_weight);
	}
	throttles(w, r->block_io.throttle_read_bps, r->block_io.n_throttle_read_bps,
		  &m->throttlereadbpsdevice, &m->n_throttlereadbpsdevice);
	throttles(w, r->block_io.throttle_write_bps, r->block_io.n_throttle_write_bps,
		  &m->throttlewritebpsdevice, &m->n_throttlewritebpsdevice);
	throttles(w, r->block_io.throttle_read_iops, r->block_io.n_throttle_read_iops,
		  &m->throttlereadiopsdevice, &m->n_throttlereadiopsdevice);
	throttles(w, r->block_io.throttle_write_iops, r->block_io.n_throttle_write_iops,
		  &m->throttlewriteiopsdevice, &m->n_throttlewriteiopsdevice);
	return m;
}

/* Policies compare what they get with what they expect: an empty message is not sent. */
static bool memory_given(const struct oci_resources *r)
{
	return limit(r->memory.limit) || limit(r->memory.reservation) || limit(r->memory.swap) ||
	       limit(r->memory.kernel) || limit(r->memory.kernel_tcp) ||
	       r->memory.swappiness != OCI_UNSET || r->memory.disable_oom_killer ||
	       r->memory.check_before_update;
}

static bool cpu_given(const struct oci_resources *r)
{
	return amount(r->cpu.shares) || limit(r->cpu.quota) || amount(r->cpu.period) ||
	       limit(r->cpu.realtime_runtime) || amount(r->cpu.realtime_period) || r->cpu.cpus ||
	       r->cpu.mems || r->cpu.burst != OCI_UNSET || r->cpu.idle != OCI_UNSET;
}

static bool block_io_given(const struct oci_resources *r)
{
	return amount(r->block_io.weight) || amount(r->block_io.leaf_weight) ||
	       r->block_io.n_weight_device || r->block_io.n_throttle_read_bps ||
	       r->block_io.n_throttle_write_bps || r->block_io.n_throttle_read_iops ||
	       r->block_io.n_throttle_write_iops;
}

static Grpc__LinuxResources__RdmaEntry *rdma(struct writer *w, const struct oci_rdma *d)
{
	Grpc__LinuxResources__RdmaEntry *m =
		NEW(w, Grpc__LinuxResources__RdmaEntry, grpc__linux_resources__rdma_entry__init);
	if (!m)
		return NULL;
	m->key = text(w, d->device);
	m->value = NEW(w, Grpc__LinuxRdma, grpc__linux_rdma__init);
	if (!m->value)
		return m;
	if (d->has_handles) {
		m->value->hca_handles_given_case = GRPC__LINUX_RDMA__HCA_HANDLES_GIVEN_HCA_HANDLES;
		m->value->hcahandles = d->handles;
	}
	if (d->has_objects) {
		m->value->hca_objects_given_case = GRPC__LINUX_RDMA__HCA_OBJECTS_GIVEN_HCA_OBJECTS;
		m->value->hcaobjects = d->objects;
	}
	return m;
}

static Grpc__LinuxNetwork *network(struct writer *w, const struct oci_resources *r)
{
	Grpc__LinuxNetwork *m = NEW(w, Grpc__LinuxNetwork, grpc__linux_network__init);
	if (!m)
		return NULL;
	m->classid = r->network.class_id;
	VEC(w, m->priorities, m->n_priorities, r->network.n_priorities);
	for (size_t i = 0; i < m->n_priorities; i++) {
		Grpc__LinuxInterfacePriority *el = m->priorities[i] =
			NEW(w, Grpc__LinuxInterfacePriority, grpc__linux_interface_priority__init);
		if (!el)
			continue;
		el->name = text(w, r->network.priorities[i].name);
		el->priority = r->network.priorities[i].priority;
	}
	return m;
}

static Grpc__LinuxResources *resources(struct writer *w, const struct oci_resources *r)
{
	Grpc__LinuxResources *m = NEW(w, Grpc__LinuxResources, grpc__linux_resources__init);
	if (!m)
		return NULL;
	VEC(w, m->devices, m->n_devices, r->n_devices);
	for (size_t i = 0; i < m->n_devices; i++)
		m->devices[i] = device_rule(w, &r->devices[i]);
	if (memory_given(r))
		m->memory = memory(w, r);
	if (cpu_given(r))
		m->cpu = cpu(w, r);
	if (r->pids_limit != OCI_UNSET) {
		m->pids = NEW(w, Grpc__LinuxPids, grpc__linux_pids__init);
		if (m->pids)
			m->pids->limit = r->pids_limit;
	}
	if (block_io_given(r))
		m->blockio = block_io(w, r);
	VEC(w, m->hugepagelimits, m->n_hugepagelimits, r->n_hugepages);
	for (size_t i = 0; i < m->n_hugepagelimits; i++) {
		Grpc__LinuxHugepageLimit *el = m->hugepagelimits[i] =
			NEW(w, Grpc__LinuxHugepageLimit, grpc__linux_hugepage_limit__init);
		if (!el)
			continue;
		el->pagesize = text(w, r->hugepages[i].page_size);
		el->limit = r->hugepages[i].limit;
	}
	VEC(w, m->unified, m->n_unified, r->n_unified);
	for (size_t i = 0; i < m->n_unified; i++) {
		Grpc__LinuxResources__UnifiedEntry *kv = m->unified[i] =
			NEW(w, Grpc__LinuxResources__UnifiedEntry,
			    grpc__linux_resources__unified_entry__init);
		if (!kv)
			continue;
		kv->key = text(w, r->unified[i].key);
		kv->value = text(w, r->unified[i].value);
	}
	VEC(w, m->rdma, m->n_rdma, r->n_rdma);
	for (size_t i = 0; i < m->n_rdma; i++)
		m->rdma[i] = rdma(w, &r->rdma[i]);
	if (r->network.class_id || r->network.n_priorities)
		m->network = network(w, r);
	return m;
}

/* ---- Seccomp ------------------------------------------------------------------------------ */

/* An agent that reads 0 lets the call "succeed" without running it: the implied EPERM is sent. */
static void errno_ret(const struct oci_seccomp_rule *rule, Grpc__LinuxSyscall *m)
{
	bool uses = strcmp(rule->action, "SCMP_ACT_ERRNO") == 0 ||
		    strcmp(rule->action, "SCMP_ACT_TRACE") == 0;
	if (!uses && !rule->has_errno_ret)
		return;
	m->errno_ret_case = GRPC__LINUX_SYSCALL__ERRNO_RET_ERRNORET;
	m->errnoret = rule->has_errno_ret ? rule->errno_ret : EPERM;
}

static Grpc__LinuxSyscall *seccomp_rule(struct writer *w, const struct oci_seccomp_rule *rule)
{
	Grpc__LinuxSyscall *m = NEW(w, Grpc__LinuxSyscall, grpc__linux_syscall__init);
	if (!m)
		return NULL;
	strv(w, &rule->names, &m->names, &m->n_names);
	m->action = text(w, rule->action);
	errno_ret(rule, m);
	VEC(w, m->args, m->n_args, rule->n_args);
	for (size_t i = 0; i < m->n_args; i++) {
		Grpc__LinuxSeccompArg *a = m->args[i] =
			NEW(w, Grpc__LinuxSeccompArg, grpc__linux_seccomp_arg__init);
		if (!a)
			continue;
		a->index = rule->args[i].index;
		a->value = rule->args[i].value;
		a->valuetwo = rule->args[i].value_two;
		a->op = text(w, rule->args[i].op);
	}
	return m;
}

static Grpc__LinuxSeccomp *seccomp(struct writer *w, const struct oci_seccomp *c)
{
	Grpc__LinuxSeccomp *m = NEW(w, Grpc__LinuxSeccomp, grpc__linux_seccomp__init);
	if (!m)
		return NULL;
	m->defaultaction = text(w, c->default_action);
	if (c->has_default_errno_ret) {
		m->default_errno_given_case =
			GRPC__LINUX_SECCOMP__DEFAULT_ERRNO_GIVEN_DEFAULT_ERRNO_RET;
		m->defaulterrnoret = c->default_errno_ret;
	}
	strv(w, &c->architectures, &m->architectures, &m->n_architectures);
	strv(w, &c->flags, &m->flags, &m->n_flags);
	m->listenerpath = text(w, c->listener_path);
	m->listenermetadata = text(w, c->listener_metadata);
	VEC(w, m->syscalls, m->n_syscalls, c->n_rules);
	for (size_t i = 0; i < m->n_syscalls; i++)
		m->syscalls[i] = seccomp_rule(w, &c->rules[i]);
	return m;
}

/* ---- Linux -------------------------------------------------------------------------------- */

static void id_mappings(struct writer *w, const struct oci_id_mapping *map, size_t n,
			Grpc__LinuxIDMapping ***ret, size_t *ret_n)
{
	VEC(w, *ret, *ret_n, n);
	for (size_t i = 0; i < *ret_n; i++) {
		Grpc__LinuxIDMapping *m = (*ret)[i] =
			NEW(w, Grpc__LinuxIDMapping, grpc__linux_idmapping__init);
		if (!m)
			continue;
		m->containerid = map[i].container_id;
		m->hostid = map[i].host_id;
		m->size = map[i].size;
	}
}

static Grpc__LinuxNamespace *namespace(struct writer *w, const struct oci_namespace *ns)
{
	Grpc__LinuxNamespace *m = NEW(w, Grpc__LinuxNamespace, grpc__linux_namespace__init);
	if (!m)
		return NULL;
	m->type = text(w, oci_word_name(oci_namespace_wire_words, ns->type));
	m->path = text(w, ns->path);
	return m;
}

static Grpc__LinuxDevice *device(struct writer *w, const struct oci_device *d)
{
	Grpc__LinuxDevice *m = NEW(w, Grpc__LinuxDevice, grpc__linux_device__init);
	if (!m)
		return NULL;
	m->path = text(w, d->path);
	m->type = text(w, (char[]){d->type, '\0'});
	m->major = d->major;
	m->minor = d->minor;
	m->filemode = d->has_mode ? d->mode : 0666; /* 0 would be taken as it is */
	m->uid = d->has_uid ? d->uid : 0;
	m->gid = d->has_gid ? d->gid : 0;
	return m;
}

static Grpc__LinuxTimeOffset *time_offset(struct writer *w, const struct oci_time_offset *t)
{
	Grpc__LinuxTimeOffset *m = NEW(w, Grpc__LinuxTimeOffset, grpc__linux_time_offset__init);
	if (!m)
		return NULL;
	m->secs = t->secs;
	m->nanosecs = t->nanosecs;
	return m;
}

static Grpc__LinuxTimeOffsets *time_offsets(struct writer *w, const struct oci_spec *s)
{
	if (!s->monotonic.present && !s->boottime.present)
		return NULL;
	Grpc__LinuxTimeOffsets *m = NEW(w, Grpc__LinuxTimeOffsets, grpc__linux_time_offsets__init);
	if (!m)
		return NULL;
	if (s->monotonic.present)
		m->monotonic = time_offset(w, &s->monotonic);
	if (s->boottime.present)
		m->boottime = time_offset(w, &s->boottime);
	return m;
}

static Grpc__LinuxIntelRdt *intel_rdt(struct writer *w, const struct oci_intel_rdt *r)
{
	Grpc__LinuxIntelRdt *m = NEW(w, Grpc__LinuxIntelRdt, grpc__linux_intel_rdt__init);
	if (!m)
		return NULL;
	m->l3cacheschema = text(w, r->l3_cache_schema);
	m->closid = text(w, r->clos_id);
	m->membwschema = text(w, r->mem_bw_schema);
	return m;
}

static Grpc__Linux *linux_part(struct writer *w, const struct oci_spec *s)
{
	Grpc__Linux *m = NEW(w, Grpc__Linux, grpc__linux__init);
	if (!m)
		return NULL;
	id_mappings(w, s->uid_mappings, s->n_uid_mappings, &m->uidmappings, &m->n_uidmappings);
	id_mappings(w, s->gid_mappings, s->n_gid_mappings, &m->gidmappings, &m->n_gidmappings);
	VEC(w, m->sysctl, m->n_sysctl, s->n_sysctl);
	for (size_t i = 0; i < m->n_sysctl; i++) {
		Grpc__Linux__SysctlEntry *kv = m->sysctl[i] =
			NEW(w, Grpc__Linux__SysctlEntry, grpc__linux__sysctl_entry__init);
		if (!kv)
			continue;
		kv->key = text(w, s->sysctl[i].key);
		kv->value = text(w, s->sysctl[i].value);
	}
	m->resources = resources(w, &s->resources);
	m->cgroupspath = text(w, s->cgroups_path);
	VEC(w, m->namespaces, m->n_namespaces, s->n_namespaces);
	for (size_t i = 0; i < m->n_namespaces; i++)
		m->namespaces[i] = namespace(w, &s->namespaces[i]);
	VEC(w, m->devices, m->n_devices, s->n_devices);
	for (size_t i = 0; i < m->n_devices; i++)
		m->devices[i] = device(w, &s->devices[i]);
	if (s->has_seccomp)
		m->seccomp = seccomp(w, &s->seccomp);
	m->rootfspropagation = text(w, s->rootfs_propagation);
	strv(w, &s->masked_paths, &m->maskedpaths, &m->n_maskedpaths);
	strv(w, &s->readonly_paths, &m->readonlypaths, &m->n_readonlypaths);
	m->mountlabel = text(w, s->mount_label);
	if (s->has_personality)
		m->personality =
			text(w, oci_word_name(oci_personality_words, (int64_t)s->personality));
	m->timeoffsets = time_offsets(w, s);
	if (s->intel_rdt.present)
		m->intelrdt = intel_rdt(w, &s->intel_rdt);
	return m;
}

/* ---- The whole ---------------------------------------------------------------------------- */

static Grpc__Mount *mount(struct writer *w, const struct oci_mount *src)
{
	Grpc__Mount *m = NEW(w, Grpc__Mount, grpc__mount__init);
	if (!m)
		return NULL;
	m->destination = text(w, src->destination);
	m->source = text(w, src->source);
	m->type = text(w, src->type);
	strv(w, &src->options, &m->options, &m->n_options);
	id_mappings(w, src->uid_mappings, src->n_uid_mappings, &m->uidmappings, &m->n_uidmappings);
	id_mappings(w, src->gid_mappings, src->n_gid_mappings, &m->gidmappings, &m->n_gidmappings);
	return m;
}

static void hook_list(struct writer *w, const struct oci_hook_list *l, Grpc__Hook ***ret,
		      size_t *ret_n)
{
	VEC(w, *ret, *ret_n, l->n);
	for (size_t i = 0; i < *ret_n; i++) {
		Grpc__Hook *m = (*ret)[i] = NEW(w, Grpc__Hook, grpc__hook__init);
		if (!m)
			continue;
		m->path = text(w, l->v[i].path);
		strv(w, &l->v[i].args, &m->args, &m->n_args);
		strv(w, &l->v[i].env, &m->env, &m->n_env);
		m->timeout = l->v[i].timeout;
	}
}

static Grpc__Hooks *hooks(struct writer *w, const struct oci_hooks *h)
{
	if (!h->prestart.n && !h->create_runtime.n && !h->create_container.n &&
	    !h->start_container.n && !h->poststart.n && !h->poststop.n)
		return NULL;
	Grpc__Hooks *m = NEW(w, Grpc__Hooks, grpc__hooks__init);
	if (!m)
		return NULL;
	hook_list(w, &h->prestart, &m->prestart, &m->n_prestart);
	hook_list(w, &h->create_runtime, &m->createruntime, &m->n_createruntime);
	hook_list(w, &h->create_container, &m->createcontainer, &m->n_createcontainer);
	hook_list(w, &h->start_container, &m->startcontainer, &m->n_startcontainer);
	hook_list(w, &h->poststart, &m->poststart, &m->n_poststart);
	hook_list(w, &h->poststop, &m->poststop, &m->n_poststop);
	return m;
}

static Grpc__Spec *spec(struct writer *w, const struct oci_spec *s)
{
	Grpc__Spec *m = NEW(w, Grpc__Spec, grpc__spec__init);
	if (!m)
		return NULL;
	m->version = text(w, s->version);
	if (s->has_process)
		m->process = process(w, &s->process);
	m->root = NEW(w, Grpc__Root, grpc__root__init);
	if (m->root) {
		m->root->path = text(w, s->root_path);
		m->root->readonly = s->root_readonly;
	}
	m->hostname = text(w, s->hostname);
	m->domainname = text(w, s->domainname);
	VEC(w, m->mounts, m->n_mounts, s->n_mounts);
	for (size_t i = 0; i < m->n_mounts; i++)
		m->mounts[i] = mount(w, &s->mounts[i]);
	m->hooks = hooks(w, &s->hooks);
	VEC(w, m->annotations, m->n_annotations, s->n_annotations);
	for (size_t i = 0; i < m->n_annotations; i++) {
		Grpc__Spec__AnnotationsEntry *kv = m->annotations[i] =
			NEW(w, Grpc__Spec__AnnotationsEntry, grpc__spec__annotations_entry__init);
		if (!kv)
			continue;
		kv->key = text(w, s->annotations[i].key);
		kv->value = text(w, s->annotations[i].value);
	}
	m->linux = linux_part(w, s);
	return m;
}

int oci_spec_to_proto(const struct oci_spec *s, Grpc__Spec **ret, struct err *e)
{
	struct writer w = {.failed = false};
	Grpc__Spec *m = spec(&w, s);
	if (w.failed) {
		grpc__spec__free_unpacked(m, NULL);
		return err_set(e, -ENOMEM, "out of memory");
	}
	*ret = m;
	return 0;
}

int oci_process_to_proto(const struct oci_process *p, Grpc__Process **ret, struct err *e)
{
	struct writer w = {.failed = false};
	Grpc__Process *m = process(&w, p);
	if (w.failed) {
		grpc__process__free_unpacked(m, NULL);
		return err_set(e, -ENOMEM, "out of memory");
	}
	*ret = m;
	return 0;
}

int oci_resources_to_proto(const struct oci_resources *r, Grpc__LinuxResources **ret, struct err *e)
{
	struct writer w = {.failed = false};
	Grpc__LinuxResources *m = resources(&w, r);
	if (w.failed) {
		grpc__linux_resources__free_unpacked(m, NULL);
		return err_set(e, -ENOMEM, "out of memory");
	}
	*ret = m;
	return 0;
}
