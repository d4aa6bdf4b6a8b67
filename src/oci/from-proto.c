/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From messages to specs. The first failure is kept and stops what follows, as in oci/read.h. What
 * the values mean is left to validation; here are the words, the wire's ways of saying "absent",
 * and what would not fit into the spec's fields.
 */
#include "fmt/json.h"
#include "oci/arena.h"
#include "oci/read.h"
#include "oci/spec-proto.h"
#include "oci/validate.h"
#include "oci/words.h"

#include <limits.h>
#include <string.h>

struct reader {
	struct err *e;
	int r;
	struct oci_arena *arena;
};

#define SHOW(s) json_show(s, (char[JSON_SHOW_MAX]){0})

static void _printf_(2, 3) refuse(struct reader *rd, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX];
	va_list ap;

	if (rd->r < 0)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	rd->r = err_set(rd->e, -EINVAL, "%s", text);
}

static void nomem(struct reader *rd)
{
	if (rd->r == 0)
		rd->r = err_set(rd->e, -ENOMEM, "out of memory");
}

/* Room for an array of at most @max elements; NULL for none and after a failure. */
static void *vec(struct reader *rd, size_t n, size_t size, size_t max, const char *at)
{
	if (rd->r < 0 || n == 0)
		return NULL;
	if (n > max) {
		refuse(rd, "%s has %zu elements: at most %zu are possible", at, n, max);
		return NULL;
	}
	void *p = oci_arena_array(rd->arena, n, size);
	if (!p)
		nomem(rd);
	return p;
}

/* As protobuf has it, a string is UTF-8; the decoder does not look. Nothing is accepted that could
 * not be written as JSON. */
static char *text(struct reader *rd, const char *s, const char *at)
{
	if (rd->r < 0)
		return NULL;
	if (s && !json_can_hold(s)) {
		refuse(rd, "%s is %s: must be UTF-8 text", at, SHOW(s));
		return NULL;
	}
	char *p = oci_arena_strdup(rd->arena, s ? s : "");
	if (!p)
		nomem(rd);
	return p;
}

/* The empty string is the wire's "absent". */
static char *some(struct reader *rd, const char *s, const char *at)
{
	return s && *s ? text(rd, s, at) : NULL;
}

static void strv(struct reader *rd, char *const *v, size_t n, const char *at, struct oci_strv *ret)
{
	if (rd->r < 0)
		return;
	if (n > OCI_JSON_VALUES_MAX) {
		refuse(rd, "%s has %zu elements: at most %u are possible", at, n,
		       OCI_JSON_VALUES_MAX);
		return;
	}
	if (oci_arena_strv(rd->arena, n, ret) < 0) {
		nomem(rd);
		return;
	}
	for (size_t i = 0; i < n && rd->r == 0; i++) {
		/* not shown: it may be a variable */
		if (v[i] && !json_can_hold(v[i]))
			refuse(rd, "%s[%zu] is no UTF-8 text", at, i);
		ret->v[i] = text(rd, v[i], at);
	}
}

static int64_t word(struct reader *rd, const struct oci_word *words, const char *s,
		    const char *list, size_t i, const char *member)
{
	char names[OCI_WORDS_TEXT_MAX];
	int64_t v = 0;

	if (!oci_word_find(words, s ? s : "", &v))
		refuse(rd, "%s[%zu].%s is %s: must be one of %s", list, i, member, SHOW(s ? s : ""),
		       oci_words_text(words, names));
	return v;
}

/* ---- Process ------------------------------------------------------------------------------ */

static void read_user(struct reader *rd, const Grpc__User *m, struct oci_user *u)
{
	if (!m)
		return;
	u->uid = m->uid;
	u->gid = m->gid;
	u->additional_gids = vec(rd, m->n_additionalgids, sizeof *u->additional_gids, NGROUPS_MAX,
				 "process.user.additionalGids");
	if (u->additional_gids) {
		u->n_additional_gids = m->n_additionalgids;
		memcpy(u->additional_gids, m->additionalgids,
		       m->n_additionalgids * sizeof *u->additional_gids);
	}
	u->username = some(rd, m->username, "process.user.username");
	u->has_umask = m->umask_given_case == GRPC__USER__UMASK_GIVEN_UMASK;
	u->umask = u->has_umask ? m->umask : 0;
}

static uint64_t cap_set(struct reader *rd, char *const *names, size_t n, struct oci_strv *unknown)
{
	uint64_t set = 0;

	for (size_t i = 0; i < n && rd->r == 0; i++) {
		int cap = oci_capability_parse(names[i]);
		if (cap >= 0)
			set |= UINT64_C(1) << cap;
		else
			unknown->v[unknown->n++] = text(rd, names[i], "process.capabilities");
	}
	return set;
}

static void read_caps(struct reader *rd, const Grpc__LinuxCapabilities *m,
		      struct oci_capabilities *c)
{
	if (!m || rd->r < 0)
		return;
	size_t n =
		m->n_bounding + m->n_effective + m->n_inheritable + m->n_permitted + m->n_ambient;
	if (n > OCI_JSON_VALUES_MAX) {
		refuse(rd, "process.capabilities has %zu names: at most %u are possible", n,
		       OCI_JSON_VALUES_MAX);
		return;
	}
	if (oci_arena_strv(rd->arena, n, &c->unknown) < 0) {
		nomem(rd);
		return;
	}
	c->unknown.n = 0; /* there is room for every name; the unknown ones are few */
	c->present = true;
	c->bounding = cap_set(rd, m->bounding, m->n_bounding, &c->unknown);
	c->effective = cap_set(rd, m->effective, m->n_effective, &c->unknown);
	c->inheritable = cap_set(rd, m->inheritable, m->n_inheritable, &c->unknown);
	c->permitted = cap_set(rd, m->permitted, m->n_permitted, &c->unknown);
	c->ambient = cap_set(rd, m->ambient, m->n_ambient, &c->unknown);
}

static int64_t single_word(struct reader *rd, const struct oci_word *words, const char *s,
			   const char *at)
{
	char names[OCI_WORDS_TEXT_MAX];
	int64_t v = 0;

	if (!oci_word_find(words, s ? s : "", &v))
		refuse(rd, "%s is %s: must be one of %s", at, SHOW(s ? s : ""),
		       oci_words_text(words, names));
	return v;
}

static int32_t ranged(struct reader *rd, int32_t v, int32_t min, int32_t max, const char *at)
{
	if (v < min || v > max)
		refuse(rd, "%s is %d: must be from %d to %d", at, v, min, max);
	return v;
}

static void read_scheduler(struct reader *rd, const Grpc__Scheduler *m, struct oci_scheduler *s)
{
	if (!m)
		return;
	*s = (struct oci_scheduler){
		.present = true,
		.policy = (int)single_word(rd, oci_sched_policy_words, m->policy,
					   "process.scheduler.policy"),
		.nice = ranged(rd, m->nice, -20, 19, "process.scheduler.nice"),
		.priority = ranged(rd, m->priority, 0, 99, "process.scheduler.priority"),
		.runtime_ns = m->runtime,
		.deadline_ns = m->deadline,
		.period_ns = m->period,
	};
	for (size_t i = 0; i < m->n_flags && rd->r == 0; i++)
		s->flags |= (uint64_t)single_word(rd, oci_sched_flag_words, m->flags[i],
						  "process.scheduler.flags");
}

static void read_io_priority(struct reader *rd, const Grpc__LinuxIOPriority *m,
			     struct oci_io_priority *io)
{
	if (!m)
		return;
	io->present = true;
	io->class = (int)single_word(rd, oci_io_class_words, m->class_, "process.ioPriority.class");
	io->level = ranged(rd, m->priority, 0, 7, "process.ioPriority.priority");
}

static void read_affinity(struct reader *rd, const Grpc__CPUAffinity *m, struct oci_cpu_affinity *a)
{
	if (!m)
		return;
	a->initial = some(rd, m->initial, "process.execCPUAffinity.initial");
	a->final = some(rd, m->final, "process.execCPUAffinity.final");
}

static void read_process(struct reader *rd, const Grpc__Process *m, struct oci_process *p)
{
	p->terminal = m->terminal;
	if (m->consolesize) {
		p->console_height = m->consolesize->height;
		p->console_width = m->consolesize->width;
	}
	read_user(rd, m->user, &p->user);
	strv(rd, m->args, m->n_args, "process.args", &p->args);
	strv(rd, m->env, m->n_env, "process.env", &p->env);
	p->cwd = text(rd, m->cwd, "process.cwd");
	read_caps(rd, m->capabilities, &p->caps);
	p->rlimits =
		vec(rd, m->n_rlimits, sizeof *p->rlimits, OCI_JSON_VALUES_MAX, "process.rlimits");
	p->n_rlimits = p->rlimits ? m->n_rlimits : 0;
	for (size_t i = 0; i < p->n_rlimits && rd->r == 0; i++)
		p->rlimits[i] = (struct oci_rlimit){
			.resource = (int)word(rd, oci_rlimit_words, m->rlimits[i]->type,
					      "process.rlimits", i, "type"),
			.soft = m->rlimits[i]->soft,
			.hard = m->rlimits[i]->hard,
		};
	p->no_new_privileges = m->nonewprivileges;
	p->apparmor_profile = some(rd, m->apparmorprofile, "process.apparmorProfile");
	p->selinux_label = some(rd, m->selinuxlabel, "process.selinuxLabel");
	if (m->oomscoreadj < -1000 || m->oomscoreadj > 1000)
		refuse(rd, "process.oomScoreAdj is %lld: must be from -1000 to 1000",
		       (long long)m->oomscoreadj);
	p->has_oom_score_adj = m->oomscoreadj != 0;
	p->oom_score_adj = (int)m->oomscoreadj;
	read_scheduler(rd, m->scheduler, &p->scheduler);
	read_io_priority(rd, m->iopriority, &p->io_priority);
	read_affinity(rd, m->execcpuaffinity, &p->exec_cpu_affinity);
}

/* ---- Resources ---------------------------------------------------------------------------- */

static int64_t limit(struct reader *rd, int64_t v, const char *at)
{
	if (v < -1)
		refuse(rd, "%s is %lld: must be at least -1", at, (long long)v);
	return v == 0 ? OCI_UNSET : v;
}

static int64_t amount(struct reader *rd, uint64_t v, const char *at)
{
	if (v > INT64_MAX) {
		refuse(rd, "%s is %llu: must be at most %lld", at, (unsigned long long)v,
		       (long long)INT64_MAX);
		return OCI_UNSET;
	}
	return v == 0 ? OCI_UNSET : (int64_t)v;
}

/*
 * A shim that has nothing to say sends 0 (ours -1), or leaves the type out. Major 0 is no device's,
 * so it means any. Minor 0 of a given major may be meant: it is not widened to all of them.
 */
static void read_rule(struct reader *rd, const Grpc__LinuxDeviceCgroup *m, size_t i,
		      struct oci_device_rule *d)
{
	d->allow = m->allow;
	d->type = m->type && *m->type ? (char)word(rd, oci_rule_type_words, m->type,
						   "linux.resources.devices", i, "type")
				      : 'a';
	d->major = m->major > 0 ? m->major : -1;
	d->minor = m->minor > 0 || (m->minor == 0 && m->major != 0) ? m->minor : -1;
	d->access = some(rd, m->access, "linux.resources.devices.access");
	if (!d->access) /* as in config.json */
		d->access = text(rd, d->type == 'a' || !d->allow ? "rwm" : "", "");
}

static void read_memory(struct reader *rd, const Grpc__LinuxMemory *m, struct oci_resources *r)
{
	if (!m)
		return;
	r->memory.limit = limit(rd, m->limit, "linux.resources.memory.limit");
	r->memory.reservation = limit(rd, m->reservation, "linux.resources.memory.reservation");
	r->memory.swap = limit(rd, m->swap, "linux.resources.memory.swap");
	r->memory.kernel = limit(rd, m->kernel, "linux.resources.memory.kernel");
	r->memory.kernel_tcp = limit(rd, m->kerneltcp, "linux.resources.memory.kernelTCP");
	r->memory.swappiness = amount(rd, m->swappiness, "linux.resources.memory.swappiness");
	r->memory.disable_oom_killer = m->disableoomkiller;
	r->memory.check_before_update = m->checkbeforeupdate;
	if (m->noswappiness)
		r->memory.swappiness = 0;
}

static void read_cpu(struct reader *rd, const Grpc__LinuxCPU *m, struct oci_resources *r)
{
	if (!m)
		return;
	r->cpu.shares = amount(rd, m->shares, "linux.resources.cpu.shares");
	r->cpu.quota = limit(rd, m->quota, "linux.resources.cpu.quota");
	r->cpu.period = amount(rd, m->period, "linux.resources.cpu.period");
	r->cpu.realtime_runtime =
		limit(rd, m->realtimeruntime, "linux.resources.cpu.realtimeRuntime");
	r->cpu.realtime_period =
		amount(rd, m->realtimeperiod, "linux.resources.cpu.realtimePeriod");
	r->cpu.cpus = some(rd, m->cpus, "linux.resources.cpu.cpus");
	r->cpu.mems = some(rd, m->mems, "linux.resources.cpu.mems");
	if (m->burst_given_case == GRPC__LINUX_CPU__BURST_GIVEN_BURST) {
		int64_t v = amount(rd, m->burst, "linux.resources.cpu.burst");
		r->cpu.burst = v == OCI_UNSET ? 0 : v;
	}
	if (m->idle_given_case == GRPC__LINUX_CPU__IDLE_GIVEN_IDLE) {
		if (m->idle != 0 && m->idle != 1)
			refuse(rd, "linux.resources.cpu.idle is %lld: must be 0 or 1",
			       (long long)m->idle);
		r->cpu.idle = m->idle;
	}
}

static void check_numbers(struct reader *rd, int64_t major, int64_t minor, const char *at, size_t i)
{
	if (major < 0 || major > OCI_DEVICE_MAJOR_MAX || minor < 0 || minor > OCI_DEVICE_MINOR_MAX)
		refuse(rd, "%s[%zu] has the device number %lld:%lld: must be from 0:0 to %d:%d", at,
		       i, (long long)major, (long long)minor, OCI_DEVICE_MAJOR_MAX,
		       OCI_DEVICE_MINOR_MAX);
}

static void read_throttles(struct reader *rd, Grpc__LinuxThrottleDevice *const *m, size_t n,
			   const char *at, struct oci_throttle_device **ret, size_t *ret_n)
{
	struct oci_throttle_device *d = vec(rd, n, sizeof *d, OCI_DEVICES_MAX, at);

	for (size_t i = 0; d && i < n; i++) {
		check_numbers(rd, m[i]->major, m[i]->minor, at, i);
		d[i] = (struct oci_throttle_device){
			.major = m[i]->major, .minor = m[i]->minor, .rate = m[i]->rate};
	}
	*ret = d;
	*ret_n = d ? n : 0;
}

static int64_t weight(struct reader *rd, uint32_t v, const char *at)
{
	if (v > OCI_BLKIO_WEIGHT_MAX)
		refuse(rd, "%s is %u: must be at most %d", at, v, OCI_BLKIO_WEIGHT_MAX);
	return v == 0 ? OCI_UNSET : (int64_t)v;
}

static void read_block_io(struct reader *rd, const Grpc__LinuxBlockIO *m, struct oci_resources *r)
{
	static const char list[] = "linux.resources.blockIO.weightDevice";

	if (!m)
		return;
	r->block_io.weight = weight(rd, m->weight, "linux.resources.blockIO.weight");
	r->block_io.leaf_weight = weight(rd, m->leafweight, "linux.resources.blockIO.leafWeight");
	struct oci_blkio_device *d = vec(rd, m->n_weightdevice, sizeof *d, OCI_DEVICES_MAX, list);
	for (size_t i = 0; d && i < m->n_weightdevice; i++) {
		const Grpc__LinuxWeightDevice *el = m->weightdevice[i];
		check_numbers(rd, el->major, el->minor, list, i);
		d[i] = (struct oci_blkio_device){.major = el->major,
						 .minor = el->minor,
						 .weight = weight(rd, el->weight, list),
						 .leaf_weight = weight(rd, el->leafweight, list)};
	}
	r->block_io.weight_device = d;
	r->block_io.n_weight_device = d ? m->n_weightdevice : 0;
	read_throttles(rd, m->throttlereadbpsdevice, m->n_throttlereadbpsdevice,
		       "linux.resources.blockIO.throttleReadBpsDevice",
		       &r->block_io.throttle_read_bps, &r->block_io.n_throttle_read_bps);
	read_throttles(rd, m->throttlewritebpsdevice, m->n_throttlewritebpsdevice,
		       "linux.resources.blockIO.throttleWriteBpsDevice",
		       &r->block_io.throttle_write_bps, &r->block_io.n_throttle_write_bps);
	read_throttles(rd, m->throttlereadiopsdevice, m->n_throttlereadiopsdevice,
		       "linux.resources.blockIO.throttleReadIOPSDevice",
		       &r->block_io.throttle_read_iops, &r->block_io.n_throttle_read_iops);
	read_throttles(rd, m->throttlewriteiopsdevice, m->n_throttlewriteiopsdevice,
		       "linux.resources.blockIO.throttleWriteIOPSDevice",
		       &r->block_io.throttle_write_iops, &r->block_io.n_throttle_write_iops);
}

/* A value may be missing from an entry of a map. */
static void read_rdma(struct reader *rd, const Grpc__LinuxResources__RdmaEntry *m,
		      struct oci_rdma *d)
{
	const Grpc__LinuxRdma *v = m->value;

	d->device = text(rd, m->key, "linux.resources.rdma");
	d->has_handles =
		v && v->hca_handles_given_case == GRPC__LINUX_RDMA__HCA_HANDLES_GIVEN_HCA_HANDLES;
	d->handles = d->has_handles ? v->hcahandles : 0;
	d->has_objects =
		v && v->hca_objects_given_case == GRPC__LINUX_RDMA__HCA_OBJECTS_GIVEN_HCA_OBJECTS;
	d->objects = d->has_objects ? v->hcaobjects : 0;
}

static void read_network(struct reader *rd, const Grpc__LinuxNetwork *m, struct oci_resources *r)
{
	if (!m)
		return;
	r->network.class_id = m->classid;
	r->network.priorities = vec(rd, m->n_priorities, sizeof *r->network.priorities,
				    OCI_DEVICES_MAX, "linux.resources.network.priorities");
	r->network.n_priorities = r->network.priorities ? m->n_priorities : 0;
	for (size_t i = 0; i < r->network.n_priorities; i++)
		r->network.priorities[i] = (struct oci_if_priority){
			.name = text(rd, m->priorities[i]->name,
				     "linux.resources.network.priorities.name"),
			.priority = m->priorities[i]->priority};
}

static void read_resources(struct reader *rd, const Grpc__LinuxResources *m,
			   struct oci_resources *r)
{
	r->devices = vec(rd, m->n_devices, sizeof *r->devices, OCI_DEVICES_MAX,
			 "linux.resources.devices");
	r->n_devices = r->devices ? m->n_devices : 0;
	for (size_t i = 0; i < r->n_devices; i++)
		read_rule(rd, m->devices[i], i, &r->devices[i]);
	read_memory(rd, m->memory, r);
	read_cpu(rd, m->cpu, r);
	if (m->pids)
		r->pids_limit = limit(rd, m->pids->limit, "linux.resources.pids.limit");
	read_block_io(rd, m->blockio, r);
	r->hugepages = vec(rd, m->n_hugepagelimits, sizeof *r->hugepages, OCI_DEVICES_MAX,
			   "linux.resources.hugepageLimits");
	r->n_hugepages = r->hugepages ? m->n_hugepagelimits : 0;
	for (size_t i = 0; i < r->n_hugepages; i++) {
		r->hugepages[i].page_size = text(rd, m->hugepagelimits[i]->pagesize,
						 "linux.resources.hugepageLimits.pageSize");
		r->hugepages[i].limit = m->hugepagelimits[i]->limit;
	}
	r->unified = vec(rd, m->n_unified, sizeof *r->unified, OCI_JSON_VALUES_MAX,
			 "linux.resources.unified");
	r->n_unified = r->unified ? m->n_unified : 0;
	for (size_t i = 0; i < r->n_unified; i++) {
		r->unified[i].key = text(rd, m->unified[i]->key, "linux.resources.unified");
		r->unified[i].value = text(rd, m->unified[i]->value, "linux.resources.unified");
	}
	r->rdma = vec(rd, m->n_rdma, sizeof *r->rdma, OCI_DEVICES_MAX, "linux.resources.rdma");
	r->n_rdma = r->rdma ? m->n_rdma : 0;
	for (size_t i = 0; i < r->n_rdma; i++)
		read_rdma(rd, m->rdma[i], &r->rdma[i]);
	read_network(rd, m->network, r);
}

/* ---- Seccomp ------------------------------------------------------------------------------ */

static void read_seccomp_rule(struct reader *rd, const Grpc__LinuxSyscall *m,
			      struct oci_seccomp_rule *rule)
{
	strv(rd, m->names, m->n_names, "linux.seccomp.syscalls.names", &rule->names);
	rule->action = text(rd, m->action, "linux.seccomp.syscalls.action");
	/* 0 is what a shim without a value sends; taken at its word it would make the call a no-op
	 * that succeeds. */
	if (m->errno_ret_case == GRPC__LINUX_SYSCALL__ERRNO_RET_ERRNORET && m->errnoret != 0) {
		rule->has_errno_ret = true;
		rule->errno_ret = m->errnoret;
	} else if (rd->r == 0 && strcmp(rule->action, "SCMP_ACT_ERRNO") == 0) {
		rule->has_errno_ret = true;
		rule->errno_ret = EPERM;
	}
	rule->args = vec(rd, m->n_args, sizeof *rule->args, OCI_JSON_VALUES_MAX,
			 "linux.seccomp.syscalls.args");
	rule->n_args = rule->args ? m->n_args : 0;
	for (size_t i = 0; i < rule->n_args; i++)
		rule->args[i] = (struct oci_seccomp_arg){
			.index = m->args[i]->index > UINT32_MAX ? UINT32_MAX
								: (uint32_t)m->args[i]->index,
			.value = m->args[i]->value,
			.value_two = m->args[i]->valuetwo,
			.op = text(rd, m->args[i]->op, "linux.seccomp.syscalls.args.op"),
		};
}

static void read_seccomp(struct reader *rd, const Grpc__LinuxSeccomp *m, struct oci_seccomp *c)
{
	c->default_action = text(rd, m->defaultaction, "linux.seccomp.defaultAction");
	if (m->default_errno_given_case ==
	    GRPC__LINUX_SECCOMP__DEFAULT_ERRNO_GIVEN_DEFAULT_ERRNO_RET) {
		c->has_default_errno_ret = true;
		c->default_errno_ret = m->defaulterrnoret;
	}
	strv(rd, m->architectures, m->n_architectures, "linux.seccomp.architectures",
	     &c->architectures);
	strv(rd, m->flags, m->n_flags, "linux.seccomp.flags", &c->flags);
	c->listener_path = some(rd, m->listenerpath, "linux.seccomp.listenerPath");
	c->listener_metadata = some(rd, m->listenermetadata, "linux.seccomp.listenerMetadata");
	c->rules = vec(rd, m->n_syscalls, sizeof *c->rules, OCI_JSON_VALUES_MAX,
		       "linux.seccomp.syscalls");
	c->n_rules = c->rules ? m->n_syscalls : 0;
	for (size_t i = 0; i < c->n_rules && rd->r == 0; i++)
		read_seccomp_rule(rd, m->syscalls[i], &c->rules[i]);
}

/* ---- Linux -------------------------------------------------------------------------------- */

static void read_id_mappings(struct reader *rd, Grpc__LinuxIDMapping *const *m, size_t n,
			     const char *at, struct oci_id_mapping **ret, size_t *ret_n)
{
	struct oci_id_mapping *map = vec(rd, n, sizeof *map, OCI_ID_MAPPINGS_MAX, at);

	for (size_t i = 0; map && i < n; i++)
		map[i] = (struct oci_id_mapping){.container_id = m[i]->containerid,
						 .host_id = m[i]->hostid,
						 .size = m[i]->size};
	*ret = map;
	*ret_n = map ? n : 0;
}

static void read_namespaces(struct reader *rd, const Grpc__Linux *m, struct oci_spec *s)
{
	s->namespaces = vec(rd, m->n_namespaces, sizeof *s->namespaces, OCI_JSON_VALUES_MAX,
			    "linux.namespaces");
	s->n_namespaces = s->namespaces ? m->n_namespaces : 0;
	for (size_t i = 0; i < s->n_namespaces; i++) {
		s->namespaces[i].type =
			(enum oci_ns_type)word(rd, oci_namespace_wire_words, m->namespaces[i]->type,
					       "linux.namespaces", i, "type");
		s->namespaces[i].path = some(rd, m->namespaces[i]->path, "linux.namespaces.path");
	}
}

static void read_devices(struct reader *rd, const Grpc__Linux *m, struct oci_spec *s)
{
	s->devices = vec(rd, m->n_devices, sizeof *s->devices, OCI_DEVICES_MAX, "linux.devices");
	s->n_devices = s->devices ? m->n_devices : 0;
	for (size_t i = 0; i < s->n_devices; i++) {
		const Grpc__LinuxDevice *el = m->devices[i];
		s->devices[i] = (struct oci_device){
			.path = text(rd, el->path, "linux.devices.path"),
			.type = (char)word(rd, oci_device_type_words, el->type, "linux.devices", i,
					   "type"),
			.major = el->major,
			.minor = el->minor,
			.has_mode = el->filemode != 0,
			.has_uid = el->uid != 0,
			.has_gid = el->gid != 0,
			.mode = el->filemode & 07777,
			.uid = el->uid,
			.gid = el->gid,
		};
	}
}

static void read_sysctl(struct reader *rd, const Grpc__Linux *m, struct oci_spec *s)
{
	s->sysctl = vec(rd, m->n_sysctl, sizeof *s->sysctl, OCI_JSON_VALUES_MAX, "linux.sysctl");
	s->n_sysctl = s->sysctl ? m->n_sysctl : 0;
	for (size_t i = 0; i < s->n_sysctl; i++) {
		s->sysctl[i].key = text(rd, m->sysctl[i]->key, "linux.sysctl");
		s->sysctl[i].value = text(rd, m->sysctl[i]->value, "linux.sysctl");
	}
}

static void read_personality(struct reader *rd, const char *domain, struct oci_spec *s)
{
	char names[OCI_WORDS_TEXT_MAX];
	int64_t v = 0;

	if (!domain || !*domain)
		return;
	if (!oci_word_find(oci_personality_words, domain, &v))
		refuse(rd, "linux.personality.domain is %s: must be one of %s", SHOW(domain),
		       oci_words_text(oci_personality_words, names));
	s->has_personality = true;
	s->personality = (unsigned long)v;
}

static void read_time_offset(struct reader *rd, const Grpc__LinuxTimeOffset *m, const char *at,
			     struct oci_time_offset *t)
{
	if (!m)
		return;
	if (m->nanosecs > 999999999)
		refuse(rd, "%s.nanosecs is %u: must be below 1000000000", at, m->nanosecs);
	*t = (struct oci_time_offset){.present = true, .secs = m->secs, .nanosecs = m->nanosecs};
}

static void read_linux(struct reader *rd, const Grpc__Linux *m, struct oci_spec *s)
{
	read_id_mappings(rd, m->uidmappings, m->n_uidmappings, "linux.uidMappings",
			 &s->uid_mappings, &s->n_uid_mappings);
	read_id_mappings(rd, m->gidmappings, m->n_gidmappings, "linux.gidMappings",
			 &s->gid_mappings, &s->n_gid_mappings);
	read_sysctl(rd, m, s);
	if (m->resources)
		read_resources(rd, m->resources, &s->resources);
	s->cgroups_path = some(rd, m->cgroupspath, "linux.cgroupsPath");
	read_namespaces(rd, m, s);
	read_devices(rd, m, s);
	if (m->seccomp) {
		s->has_seccomp = true;
		read_seccomp(rd, m->seccomp, &s->seccomp);
	}
	s->rootfs_propagation = some(rd, m->rootfspropagation, "linux.rootfsPropagation");
	strv(rd, m->maskedpaths, m->n_maskedpaths, "linux.maskedPaths", &s->masked_paths);
	strv(rd, m->readonlypaths, m->n_readonlypaths, "linux.readonlyPaths", &s->readonly_paths);
	s->mount_label = some(rd, m->mountlabel, "linux.mountLabel");
	read_personality(rd, m->personality, s);
	if (m->intelrdt) {
		s->intel_rdt.present = true;
		s->intel_rdt.l3_cache_schema =
			some(rd, m->intelrdt->l3cacheschema, "linux.intelRdt.l3CacheSchema");
		s->intel_rdt.clos_id = some(rd, m->intelrdt->closid, "linux.intelRdt.closID");
		s->intel_rdt.mem_bw_schema =
			some(rd, m->intelrdt->membwschema, "linux.intelRdt.memBwSchema");
	}
	if (m->timeoffsets) {
		read_time_offset(rd, m->timeoffsets->monotonic, "linux.timeOffsets.monotonic",
				 &s->monotonic);
		read_time_offset(rd, m->timeoffsets->boottime, "linux.timeOffsets.boottime",
				 &s->boottime);
	}
}

/* ---- The whole ---------------------------------------------------------------------------- */

static void read_mounts(struct reader *rd, const Grpc__Spec *m, struct oci_spec *s)
{
	s->mounts = vec(rd, m->n_mounts, sizeof *s->mounts, OCI_MOUNTS_MAX, "mounts");
	s->n_mounts = s->mounts ? m->n_mounts : 0;
	for (size_t i = 0; i < s->n_mounts && rd->r == 0; i++) {
		const Grpc__Mount *el = m->mounts[i];
		char *dest = text(rd, el->destination, "mounts.destination");
		s->mounts[i].destination = dest ? oci_mount_destination(rd->arena, dest) : NULL;
		if (!s->mounts[i].destination)
			nomem(rd);
		s->mounts[i].source = some(rd, el->source, "mounts.source");
		s->mounts[i].type = some(rd, el->type, "mounts.type");
		strv(rd, el->options, el->n_options, "mounts.options", &s->mounts[i].options);
		read_id_mappings(rd, el->uidmappings, el->n_uidmappings, "mounts.uidMappings",
				 &s->mounts[i].uid_mappings, &s->mounts[i].n_uid_mappings);
		read_id_mappings(rd, el->gidmappings, el->n_gidmappings, "mounts.gidMappings",
				 &s->mounts[i].gid_mappings, &s->mounts[i].n_gid_mappings);
	}
}

static void read_hook_list(struct reader *rd, Grpc__Hook *const *m, size_t n, const char *at,
			   struct oci_hook_list *ret)
{
	ret->v = vec(rd, n, sizeof *ret->v, OCI_HOOKS_MAX, at);
	ret->n = ret->v ? n : 0;
	for (size_t i = 0; i < ret->n && rd->r == 0; i++) {
		ret->v[i].path = text(rd, m[i]->path, at);
		strv(rd, m[i]->args, m[i]->n_args, at, &ret->v[i].args);
		strv(rd, m[i]->env, m[i]->n_env, at, &ret->v[i].env);
		if (m[i]->timeout > INT32_MAX)
			refuse(rd, "%s[%zu].timeout is %lld: must be at most %d", at, i,
			       (long long)m[i]->timeout, INT32_MAX);
		ret->v[i].timeout = m[i]->timeout > 0 ? (int)m[i]->timeout : 0;
	}
}

static void read_hooks(struct reader *rd, const Grpc__Hooks *m, struct oci_hooks *h)
{
	if (!m)
		return;
	read_hook_list(rd, m->prestart, m->n_prestart, "hooks.prestart", &h->prestart);
	read_hook_list(rd, m->createruntime, m->n_createruntime, "hooks.createRuntime",
		       &h->create_runtime);
	read_hook_list(rd, m->createcontainer, m->n_createcontainer, "hooks.createContainer",
		       &h->create_container);
	read_hook_list(rd, m->startcontainer, m->n_startcontainer, "hooks.startContainer",
		       &h->start_container);
	read_hook_list(rd, m->poststart, m->n_poststart, "hooks.poststart", &h->poststart);
	read_hook_list(rd, m->poststop, m->n_poststop, "hooks.poststop", &h->poststop);
}

static void read_spec(struct reader *rd, const Grpc__Spec *m, struct oci_spec *s)
{
	s->version = text(rd, m->version, "ociVersion");
	if (!m->root) {
		refuse(rd, "root is missing");
		return;
	}
	s->root_path = text(rd, m->root->path, "root.path");
	s->root_readonly = m->root->readonly;
	s->hostname = some(rd, m->hostname, "hostname");
	s->domainname = some(rd, m->domainname, "domainname");
	if (m->process) {
		s->has_process = true;
		read_process(rd, m->process, &s->process);
	}
	read_mounts(rd, m, s);
	read_hooks(rd, m->hooks, &s->hooks);
	s->annotations = vec(rd, m->n_annotations, sizeof *s->annotations, OCI_JSON_VALUES_MAX,
			     "annotations");
	s->n_annotations = s->annotations ? m->n_annotations : 0;
	for (size_t i = 0; i < s->n_annotations; i++) {
		s->annotations[i].key = text(rd, m->annotations[i]->key, "annotations");
		s->annotations[i].value = text(rd, m->annotations[i]->value, "annotations");
	}
	if (m->linux)
		read_linux(rd, m->linux, s);
}

int oci_spec_from_proto(const Grpc__Spec *m, struct oci_spec **ret, struct err *e)
{
	struct oci_spec *s = oci_spec_new();
	if (!s)
		return err_set(e, -ENOMEM, "out of memory");

	struct reader rd = {.e = e, .arena = s->arena};
	read_spec(&rd, m, s);
	if (rd.r == 0)
		rd.r = oci_spec_validate(s, e);
	if (rd.r < 0) {
		oci_spec_free(s);
		return rd.r;
	}
	*ret = s;
	return 0;
}

int oci_process_from_proto(const Grpc__Process *m, struct oci_process **ret,
			   struct oci_arena **ret_arena, struct err *e)
{
	_cleanup_arena_ struct oci_arena *a = oci_arena_new();
	struct oci_process *p = a ? oci_arena_alloc(a, sizeof *p) : NULL;
	if (!p || oci_process_init(a, p) < 0)
		return err_set(e, -ENOMEM, "out of memory");

	struct reader rd = {.e = e, .arena = a};
	read_process(&rd, m, p);
	if (rd.r == 0)
		rd.r = oci_process_validate(p, e);
	if (rd.r < 0)
		return rd.r;
	*ret = p;
	*ret_arena = TAKE_PTR(a);
	return 0;
}

int oci_resources_from_proto(const Grpc__LinuxResources *m, struct oci_resources **ret,
			     struct oci_arena **ret_arena, struct err *e)
{
	_cleanup_arena_ struct oci_arena *a = oci_arena_new();
	struct oci_resources *r = a ? oci_arena_alloc(a, sizeof *r) : NULL;
	if (!r)
		return err_set(e, -ENOMEM, "out of memory");
	oci_resources_init(r);

	struct reader rd = {.e = e, .arena = a};
	read_resources(&rd, m, r);
	if (rd.r == 0)
		rd.r = oci_resources_validate(r, e);
	if (rd.r < 0)
		return rd.r;
	*ret = r;
	*ret_arena = TAKE_PTR(a);
	return 0;
}
