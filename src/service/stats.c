/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent sends memory.stat as a map, in the words of the guest's cgroup version. The fields of
 * both metrics messages are named after those words, so they are filled by name: a field takes the
 * entry that is spelled like it, underscores aside ("pg_pg_in" is "pgpgin").
 */
#include "service/stats.h"

#include "oci/arena.h"

#include "proto/cgroups_v1.pb-c.h"
#include "proto/cgroups_v2.pb-c.h"

#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/vfs.h>

bool stats_host_is_v2(void)
{
	struct statfs fs;
	return statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

/* No memory is as large; the kernel's own word for "no limit" depends on its version and page size.
 */
#define UNLIMITED (UINT64_C(1) << 62)

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

static const Grpc__MemoryStats__StatsEntry *find(const Grpc__MemoryStats *m, const char *word)
{
	for (size_t i = 0; i < m->n_stats; i++)
		if (same_word(m->stats[i]->key, word))
			return m->stats[i];
	return NULL;
}

static uint64_t lookup(const Grpc__MemoryStats *m, const char *word)
{
	const Grpc__MemoryStats__StatsEntry *entry = find(m, word);
	return entry ? entry->value : 0;
}

/* With what is in groups below: all that version 2 counts, and in version 1 what has "total_". */
static uint64_t lookup_total(const Grpc__MemoryStats *m, const char *word)
{
	char total[64];
	(void)snprintf(total, sizeof total, "total_%s", word);
	const Grpc__MemoryStats__StatsEntry *entry = find(m, total);
	return entry ? entry->value : lookup(m, word);
}

static void fill_by_name(ProtobufCMessage *to, const Grpc__MemoryStats *from,
			 uint64_t (*by)(const Grpc__MemoryStats *m, const char *word))
{
	const ProtobufCMessageDescriptor *d = to->descriptor;

	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		if (f->type == PROTOBUF_C_TYPE_UINT64 && f->label != PROTOBUF_C_LABEL_REPEATED)
			*(uint64_t *)((char *)to + f->offset) = by(from, f->name);
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

/* Room for @n messages of a repeated field, and for the list of them. False: no memory left. */
#define MAKE_LIST(arena, n, items, list)                           \
	((items) = oci_arena_array((arena), (n), sizeof *(items)), \
	 (list) = oci_arena_array((arena), (n), sizeof *(list)), (items) && (list))

/* Both versions tell a link's statistics in the same words. */
#define COPY_NETWORK(to, from)                         \
	do {                                           \
		(to)->name = (from)->name;             \
		(to)->rx_bytes = (from)->rx_bytes;     \
		(to)->rx_packets = (from)->rx_packets; \
		(to)->rx_errors = (from)->rx_errors;   \
		(to)->rx_dropped = (from)->rx_dropped; \
		(to)->tx_bytes = (from)->tx_bytes;     \
		(to)->tx_packets = (from)->tx_packets; \
		(to)->tx_errors = (from)->tx_errors;   \
		(to)->tx_dropped = (from)->tx_dropped; \
	} while (0)

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
	V1(BlkIOStat) blkio;
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
	fill_by_name(&p->memory.base, s, lookup);
	p->memory.cache = first_of(p->memory.cache, s->cache);
	p->mem = v1_entry(s->usage);
	p->swap = v1_entry(s->swap_usage);
	p->kernel = v1_entry(s->kernel_usage);
	p->memory.usage = &p->mem;
	p->memory.swap = &p->swap;
	p->memory.kernel = &p->kernel;
	m->memory = &p->memory;
}

static int v1_entries(Grpc__BlkioStatsEntry *const *from, size_t n, V1(BlkIOEntry) * **ret,
		      size_t *ret_n, struct oci_arena *a)
{
	V1(BlkIOEntry) * v, **list;

	if (!MAKE_LIST(a, n, v, list))
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		v[i] = (V1(BlkIOEntry))IO__CONTAINERD__CGROUPS__V1__BLK_IOENTRY__INIT;
		v[i].op = from[i]->op;
		v[i].major = from[i]->major;
		v[i].minor = from[i]->minor;
		v[i].value = from[i]->value;
		list[i] = &v[i];
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

static int v1_blkio(V1(BlkIOStat) * b, const Grpc__BlkioStats *s, struct oci_arena *a)
{
	*b = (V1(BlkIOStat))IO__CONTAINERD__CGROUPS__V1__BLK_IOSTAT__INIT;
#define ENTRIES(field) v1_entries(s->field, s->n_##field, &b->field, &b->n_##field, a)
	bool ok = ENTRIES(io_service_bytes_recursive) == 0 && ENTRIES(io_serviced_recursive) == 0 &&
		  ENTRIES(io_queued_recursive) == 0 && ENTRIES(io_service_time_recursive) == 0 &&
		  ENTRIES(io_wait_time_recursive) == 0 && ENTRIES(io_merged_recursive) == 0 &&
		  ENTRIES(io_time_recursive) == 0 && ENTRIES(sectors_recursive) == 0;
#undef ENTRIES
	return ok ? 0 : -ENOMEM;
}

static int v1_hugetlb(V1(Metrics) * m, const Grpc__CgroupStats *s, struct oci_arena *a)
{
	V1(HugetlbStat) * v, **list;

	if (!MAKE_LIST(a, s->n_hugetlb_stats, v, list))
		return -ENOMEM;
	for (size_t i = 0; i < s->n_hugetlb_stats; i++) {
		const Grpc__CgroupStats__HugetlbStatsEntry *h = s->hugetlb_stats[i];
		v[i] = (V1(HugetlbStat))IO__CONTAINERD__CGROUPS__V1__HUGETLB_STAT__INIT;
		v[i].pagesize = h->key;
		if (h->value) {
			v[i].usage = h->value->usage;
			v[i].max = h->value->max_usage;
			v[i].failcnt = h->value->failcnt;
		}
		list[i] = &v[i];
	}
	m->hugetlb = list;
	m->n_hugetlb = s->n_hugetlb_stats;
	return 0;
}

static int v1_network(V1(Metrics) * m, const Grpc__StatsContainerResponse *r, struct oci_arena *a)
{
	V1(NetworkStat) * v, **list;

	if (!MAKE_LIST(a, r->n_network_stats, v, list))
		return -ENOMEM;
	for (size_t i = 0; i < r->n_network_stats; i++) {
		v[i] = (V1(NetworkStat))IO__CONTAINERD__CGROUPS__V1__NETWORK_STAT__INIT;
		COPY_NETWORK(&v[i], r->network_stats[i]);
		list[i] = &v[i];
	}
	m->network = list;
	m->n_network = r->n_network_stats;
	return 0;
}

static const char *pack_v1(const Grpc__CgroupStats *s, const Grpc__StatsContainerResponse *r,
			   struct oci_arena *a, struct buf *ret)
{
	V1(Metrics) m = IO__CONTAINERD__CGROUPS__V1__METRICS__INIT;
	struct v1_parts p;

	if (v1_hugetlb(&m, s, a) < 0 || v1_network(&m, r, a) < 0)
		return NULL;
	if (s->blkio_stats) {
		if (v1_blkio(&p.blkio, s->blkio_stats, a) < 0)
			return NULL;
		m.blkio = &p.blkio;
	}

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
	V2(IOStat) io;
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

/*
 * Version 1 has one number for memory and swap, and so has our agent for either. It tells swap
 * alone too, in the words of version 1; an agent that does not means swap alone by the number.
 */
static void v2_swap(V2(MemoryStat) * m, const Grpc__MemoryStats *s)
{
	const Grpc__MemoryData *both = s->swap_usage;
	if (!both)
		return;
	m->swap_usage = both->usage;
	m->swap_limit = both->limit;
	m->swap_max_usage = both->max_usage;
	if (!find(s, "swap"))
		return;
	uint64_t memory = s->usage ? s->usage->limit : 0;
	m->swap_usage = lookup_total(s, "swap");
	m->swap_max_usage = 0; /* not known */
	if (both->limit < UNLIMITED)
		m->swap_limit = both->limit > memory ? both->limit - memory : 0;
}

static void v2_memory(V2(Metrics) * m, struct v2_parts *p, const Grpc__MemoryStats *s)
{
	p->memory = (V2(MemoryStat))IO__CONTAINERD__CGROUPS__V2__MEMORY_STAT__INIT;
	fill_by_name(&p->memory.base, s, lookup_total);
	p->memory.anon = first_of(p->memory.anon, lookup_total(s, "rss"));
	p->memory.file = first_of(p->memory.file, s->cache);
	p->memory.anon_thp = first_of(p->memory.anon_thp, lookup_total(s, "rss_huge"));
	p->memory.file_mapped = first_of(p->memory.file_mapped, lookup_total(s, "mapped_file"));
	p->memory.file_dirty = first_of(p->memory.file_dirty, lookup_total(s, "dirty"));
	p->memory.file_writeback = first_of(p->memory.file_writeback, lookup_total(s, "writeback"));
	if (s->usage) {
		p->memory.usage = s->usage->usage;
		p->memory.usage_limit = s->usage->limit;
		p->memory.max_usage = s->usage->max_usage;
	}
	v2_swap(&p->memory, s);
	m->memory = &p->memory;
}

/* Finding a disk's entry among the others costs their square: a guest must not make use of that. */
#define IO_ENTRIES_MAX 1024

static size_t bounded(size_t n)
{
	return n < IO_ENTRIES_MAX ? n : IO_ENTRIES_MAX;
}

/* The entry of a disk: each has several lines in version 1's words. */
static V2(IOEntry) * v2_disk(V2(IOStat) * io, V2(IOEntry) * v, const Grpc__BlkioStatsEntry *b)
{
	for (size_t i = 0; i < io->n_usage; i++)
		if (v[i].major == b->major && v[i].minor == b->minor)
			return &v[i];
	V2(IOEntry) *e = &v[io->n_usage];
	*e = (V2(IOEntry))IO__CONTAINERD__CGROUPS__V2__IOENTRY__INIT;
	e->major = b->major;
	e->minor = b->minor;
	io->usage[io->n_usage++] = e;
	return e;
}

static int v2_io(V2(IOStat) * io, const Grpc__BlkioStats *s, struct oci_arena *a)
{
	size_t n_bytes = bounded(s->n_io_service_bytes_recursive);
	size_t n_ops = bounded(s->n_io_serviced_recursive);
	V2(IOEntry) * v;

	*io = (V2(IOStat))IO__CONTAINERD__CGROUPS__V2__IOSTAT__INIT;
	if (!MAKE_LIST(a, n_bytes + n_ops, v, io->usage))
		return -ENOMEM;
	for (size_t i = 0; i < n_bytes; i++) {
		const Grpc__BlkioStatsEntry *b = s->io_service_bytes_recursive[i];
		V2(IOEntry) *e = v2_disk(io, v, b);
		if (strcasecmp(b->op, "read") == 0)
			e->rbytes = b->value;
		else if (strcasecmp(b->op, "write") == 0)
			e->wbytes = b->value;
	}
	for (size_t i = 0; i < n_ops; i++) {
		const Grpc__BlkioStatsEntry *b = s->io_serviced_recursive[i];
		V2(IOEntry) *e = v2_disk(io, v, b);
		if (strcasecmp(b->op, "read") == 0)
			e->rios = b->value;
		else if (strcasecmp(b->op, "write") == 0)
			e->wios = b->value;
	}
	return 0;
}

static int v2_hugetlb(V2(Metrics) * m, const Grpc__CgroupStats *s, struct oci_arena *a)
{
	V2(HugeTlbStat) * v, **list;

	if (!MAKE_LIST(a, s->n_hugetlb_stats, v, list))
		return -ENOMEM;
	for (size_t i = 0; i < s->n_hugetlb_stats; i++) {
		const Grpc__CgroupStats__HugetlbStatsEntry *h = s->hugetlb_stats[i];
		v[i] = (V2(HugeTlbStat))IO__CONTAINERD__CGROUPS__V2__HUGE_TLB_STAT__INIT;
		v[i].pagesize = h->key;
		if (h->value) {
			v[i].current = h->value->usage;
			v[i].max = h->value->max_usage;
			v[i].failcnt = h->value->failcnt;
		}
		list[i] = &v[i];
	}
	m->hugetlb = list;
	m->n_hugetlb = s->n_hugetlb_stats;
	return 0;
}

static int v2_network(V2(Metrics) * m, const Grpc__StatsContainerResponse *r, struct oci_arena *a)
{
	V2(NetworkStat) * v, **list;

	if (!MAKE_LIST(a, r->n_network_stats, v, list))
		return -ENOMEM;
	for (size_t i = 0; i < r->n_network_stats; i++) {
		v[i] = (V2(NetworkStat))IO__CONTAINERD__CGROUPS__V2__NETWORK_STAT__INIT;
		COPY_NETWORK(&v[i], r->network_stats[i]);
		list[i] = &v[i];
	}
	m->network = list;
	m->n_network = r->n_network_stats;
	return 0;
}

static const char *pack_v2(const Grpc__CgroupStats *s, const Grpc__StatsContainerResponse *r,
			   struct oci_arena *a, struct buf *ret)
{
	V2(Metrics) m = IO__CONTAINERD__CGROUPS__V2__METRICS__INIT;
	struct v2_parts p;

	if (v2_hugetlb(&m, s, a) < 0 || v2_network(&m, r, a) < 0)
		return NULL;
	if (s->blkio_stats) {
		if (v2_io(&p.io, s->blkio_stats, a) < 0)
			return NULL;
		m.io = &p.io;
	}

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
	_cleanup_arena_ struct oci_arena *a = oci_arena_new();
	if (!a)
		return NULL;
	return v2 ? pack_v2(s, stats, a, ret) : pack_v1(s, stats, a, ret);
}
