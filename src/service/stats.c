/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent sends memory.stat as a map, in the words of the guest's cgroup version. The fields of
 * both metrics messages are named after those words, so they are filled by name: a field takes the
 * entry that is spelled like it, underscores aside ("pg_pg_in" is "pgpgin").
 */
#include "service/stats.h"

#include "proto/cgroups_v1.pb-c.h"
#include "proto/cgroups_v2.pb-c.h"

#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

bool stats_host_is_v2(void)
{
	struct statfs fs;
	return statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

static bool same_word(const char *a, const char *b)
{
	for (;;) {
		a += *a == '_';
		b += *b == '_';
		if (*a != *b)
			return false;
		if (!*a)
			return true;
		a++;
		b++;
	}
}

static uint64_t lookup(const Grpc__MemoryStats *m, const char *word)
{
	for (size_t i = 0; i < m->n_stats; i++)
		if (same_word(m->stats[i]->key, word))
			return m->stats[i]->value;
	return 0;
}

static void fill_by_name(ProtobufCMessage *to, const Grpc__MemoryStats *from)
{
	const ProtobufCMessageDescriptor *d = to->descriptor;

	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		if (f->type == PROTOBUF_C_TYPE_UINT64 && f->label != PROTOBUF_C_LABEL_REPEATED)
			*(uint64_t *)((char *)to + f->offset) = lookup(from, f->name);
	}
}

static uint64_t first_of(uint64_t a, uint64_t b)
{
	return a ? a : b;
}

static const char *pack(const ProtobufCMessage *m, struct buf *ret)
{
	size_t n = protobuf_c_message_get_packed_size(m);
	uint8_t *p = buf_reserve(ret, n);
	if (!p)
		return NULL;
	ret->len += protobuf_c_message_pack(m, p);
	return m->descriptor->name;
}

/* ---- Version 1 ------------------------------------------------------------------------------- */

#define V1(name) Io__Containerd__Cgroups__V1__##name

static V1(MemoryEntry) v1_entry(const Grpc__MemoryData *d)
{
	V1(MemoryEntry) e = IO__CONTAINERD__CGROUPS__V1__MEMORY_ENTRY__INIT;
	if (d) {
		e.limit = d->limit;
		e.usage = d->usage;
		e.max = d->max_usage;
		e.failcnt = d->failcnt;
	}
	return e;
}

struct v1_parts {
	V1(PidsStat) pids;
	V1(CPUUsage) usage;
	V1(Throttle) throttle;
	V1(CPUStat) cpu;
	V1(MemoryStat) memory;
	V1(MemoryEntry) mem, swap, kernel;
};

static void v1_cpu(V1(Metrics) * m, struct v1_parts *p, const Grpc__CpuStats *c)
{
	p->usage = (V1(CPUUsage))IO__CONTAINERD__CGROUPS__V1__CPUUSAGE__INIT;
	p->throttle = (V1(Throttle))IO__CONTAINERD__CGROUPS__V1__THROTTLE__INIT;
	p->cpu = (V1(CPUStat))IO__CONTAINERD__CGROUPS__V1__CPUSTAT__INIT;
	p->cpu.usage = &p->usage;
	p->cpu.throttling = &p->throttle;
	m->cpu = &p->cpu;
	if (c->cpu_usage) {
		p->usage.total = c->cpu_usage->total_usage;
		p->usage.kernel = c->cpu_usage->usage_in_kernelmode;
		p->usage.user = c->cpu_usage->usage_in_usermode;
		p->usage.n_per_cpu = c->cpu_usage->n_percpu_usage;
		p->usage.per_cpu = c->cpu_usage->percpu_usage;
	}
	if (c->throttling_data) {
		p->throttle.periods = c->throttling_data->periods;
		p->throttle.throttled_periods = c->throttling_data->throttled_periods;
		p->throttle.throttled_time = c->throttling_data->throttled_time;
	}
}

static void v1_memory(V1(Metrics) * m, struct v1_parts *p, const Grpc__MemoryStats *s)
{
	p->memory = (V1(MemoryStat))IO__CONTAINERD__CGROUPS__V1__MEMORY_STAT__INIT;
	fill_by_name(&p->memory.base, s);
	p->memory.cache = first_of(p->memory.cache, s->cache);
	p->mem = v1_entry(s->usage);
	p->swap = v1_entry(s->swap_usage);
	p->kernel = v1_entry(s->kernel_usage);
	p->memory.usage = &p->mem;
	p->memory.swap = &p->swap;
	p->memory.kernel = &p->kernel;
	m->memory = &p->memory;
}

static const char *pack_v1(const Grpc__CgroupStats *s, struct buf *ret)
{
	V1(Metrics) m = IO__CONTAINERD__CGROUPS__V1__METRICS__INIT;
	struct v1_parts p;

	if (s->pids_stats) {
		p.pids = (V1(PidsStat))IO__CONTAINERD__CGROUPS__V1__PIDS_STAT__INIT;
		p.pids.current = s->pids_stats->current;
		p.pids.limit = s->pids_stats->limit;
		m.pids = &p.pids;
	}
	if (s->cpu_stats)
		v1_cpu(&m, &p, s->cpu_stats);
	if (s->memory_stats)
		v1_memory(&m, &p, s->memory_stats);
	return pack(&m.base, ret);
}

/* ---- Version 2 ------------------------------------------------------------------------------- */

#define V2(name) Io__Containerd__Cgroups__V2__##name

struct v2_parts {
	V2(PidsStat) pids;
	V2(CPUStat) cpu;
	V2(MemoryStat) memory;
};

static void v2_cpu(V2(Metrics) * m, struct v2_parts *p, const Grpc__CpuStats *c)
{
	p->cpu = (V2(CPUStat))IO__CONTAINERD__CGROUPS__V2__CPUSTAT__INIT;
	m->cpu = &p->cpu;
	if (c->cpu_usage) {
		p->cpu.usage_usec = c->cpu_usage->total_usage / 1000;
		p->cpu.user_usec = c->cpu_usage->usage_in_usermode / 1000;
		p->cpu.system_usec = c->cpu_usage->usage_in_kernelmode / 1000;
	}
	if (c->throttling_data) {
		p->cpu.nr_periods = c->throttling_data->periods;
		p->cpu.nr_throttled = c->throttling_data->throttled_periods;
		p->cpu.throttled_usec = c->throttling_data->throttled_time / 1000;
	}
}

static void v2_memory(V2(Metrics) * m, struct v2_parts *p, const Grpc__MemoryStats *s)
{
	p->memory = (V2(MemoryStat))IO__CONTAINERD__CGROUPS__V2__MEMORY_STAT__INIT;
	fill_by_name(&p->memory.base, s);
	p->memory.anon = first_of(p->memory.anon, lookup(s, "rss"));
	p->memory.file = first_of(p->memory.file, s->cache);
	if (s->usage) {
		p->memory.usage = s->usage->usage;
		p->memory.usage_limit = s->usage->limit;
		p->memory.max_usage = s->usage->max_usage;
	}
	if (s->swap_usage) {
		p->memory.swap_usage = s->swap_usage->usage;
		p->memory.swap_limit = s->swap_usage->limit;
	}
	m->memory = &p->memory;
}

static const char *pack_v2(const Grpc__CgroupStats *s, struct buf *ret)
{
	V2(Metrics) m = IO__CONTAINERD__CGROUPS__V2__METRICS__INIT;
	struct v2_parts p;

	if (s->pids_stats) {
		p.pids = (V2(PidsStat))IO__CONTAINERD__CGROUPS__V2__PIDS_STAT__INIT;
		p.pids.current = s->pids_stats->current;
		p.pids.limit = s->pids_stats->limit;
		m.pids = &p.pids;
	}
	if (s->cpu_stats)
		v2_cpu(&m, &p, s->cpu_stats);
	if (s->memory_stats)
		v2_memory(&m, &p, s->memory_stats);
	return pack(&m.base, ret);
}

const char *stats_pack(const Grpc__StatsContainerResponse *stats, bool v2, struct buf *ret)
{
	const Grpc__CgroupStats empty = GRPC__CGROUP_STATS__INIT;
	const Grpc__CgroupStats *s = stats->cgroup_stats ? stats->cgroup_stats : &empty;
	return v2 ? pack_v2(s, ret) : pack_v1(s, ret);
}
