/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/stats.h"

#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

/* memory.stat has some 60 lines, io.stat one a disk; this bounds what a file can make us hold. */
#define STATS_FILE_MAX (256 * 1024)
#define STATS_ENTRIES_MAX 512

/* ---- Building the message ----------------------------------------------------------------- */

/* Appends one element to a repeated field of pointers, made by calloc. */
static void *append(void *array, size_t *n, size_t size)
{
	void ***v = array;

	if (*n >= STATS_ENTRIES_MAX)
		return NULL;
	void **grown = reallocarray(*v, *n + 1, sizeof *grown);
	if (!grown)
		return NULL;
	*v = grown;
	void *one = calloc(1, size);
	if (one)
		grown[(*n)++] = one;
	return one;
}

static int add_stat(Grpc__MemoryStats *m, const char *prefix, const char *key, uint64_t value)
{
	char name[96];

	if (m->n_stats >= STATS_ENTRIES_MAX)
		return 0;
	(void)snprintf(name, sizeof name, "%s%s", prefix, key);
	Grpc__MemoryStats__StatsEntry *s = append(&m->stats, &m->n_stats, sizeof *s);
	if (!s)
		return -ENOMEM;
	grpc__memory_stats__stats_entry__init(s);
	s->key = strdup(name);
	s->value = value;
	if (!s->key) {
		s->key = (char *)protobuf_c_empty_string;
		return -ENOMEM;
	}
	return 0;
}

/* @op is borrowed: up to the next space. */
static int add_io(Grpc__BlkioStatsEntry ***v, size_t *n, uint64_t major, uint64_t minor,
		  const char *op, uint64_t value)
{
	if (*n >= STATS_ENTRIES_MAX)
		return 0;
	Grpc__BlkioStatsEntry *b = append(v, n, sizeof *b);
	if (!b)
		return -ENOMEM;
	grpc__blkio_stats_entry__init(b);
	b->major = major;
	b->minor = minor;
	b->value = value;
	b->op = strndup(op, strcspn(op, " "));
	if (!b->op) {
		b->op = (char *)protobuf_c_empty_string;
		return -ENOMEM;
	}
	return 0;
}

/* ---- Parsers ------------------------------------------------------------------------------ */

/* Finds "key value" at the start of a line. */
static bool find_value(const char *text, const char *key, uint64_t *ret)
{
	size_t len = strlen(key);

	for (const char *l = text; l && *l; l = strchr(l, '\n') ? strchr(l, '\n') + 1 : NULL) {
		if (strncmp(l, key, len) == 0 && l[len] == ' ') {
			*ret = strtoull(l + len + 1, NULL, 10);
			return true;
		}
	}
	return false;
}

static uint64_t value_of(const char *text, const char *key)
{
	uint64_t n = 0;
	(void)find_value(text, key, &n);
	return n;
}

void stats_parse_cpu(Grpc__CpuStats *c, const char *s)
{
	/* v2 counts microseconds, v1 nanoseconds */
	c->cpu_usage->total_usage = value_of(s, "usage_usec") * 1000;
	c->cpu_usage->usage_in_usermode = value_of(s, "user_usec") * 1000;
	c->cpu_usage->usage_in_kernelmode = value_of(s, "system_usec") * 1000;
	c->throttling_data->periods = value_of(s, "nr_periods");
	c->throttling_data->throttled_periods = value_of(s, "nr_throttled");
	c->throttling_data->throttled_time = value_of(s, "throttled_usec") * 1000;
}

/* Before Linux 5.18 there is no sum. */
static uint64_t kernel_memory(const char *s)
{
	static const char *const parts[] = {"kernel_stack", "slab", "pagetables", "percpu"};
	uint64_t n = 0;

	if (find_value(s, "kernel", &n))
		return n;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		n += value_of(s, parts[i]);
	return n;
}

int stats_parse_memory(Grpc__MemoryStats *m, const char *s)
{
	/* v1's "total_" keys are those of the whole subtree, which is all that v2 counts. The
	 * working set of the kubelet is the usage without total_inactive_file. */
	static const struct {
		const char *v2, *v1;
	} renamed[] = {
		{"anon", "rss"},
		{"file", "cache"},
		{"anon_thp", "rss_huge"},
		{"file_mapped", "mapped_file"},
		{"file_dirty", "dirty"},
		{"file_writeback", "writeback"},
		{"shmem", "shmem"},
		{"pgfault", "pgfault"},
		{"pgmajfault", "pgmajfault"},
		{"inactive_anon", "inactive_anon"},
		{"active_anon", "active_anon"},
		{"inactive_file", "inactive_file"},
		{"active_file", "active_file"},
		{"unevictable", "unevictable"},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(renamed); i++) {
		uint64_t n;
		if (!find_value(s, renamed[i].v2, &n))
			continue;
		r = add_stat(m, "", renamed[i].v1, n);
		if (r == 0)
			r = add_stat(m, "total_", renamed[i].v1, n);
	}
	m->cache = value_of(s, "file");
	m->kernel_usage->usage = kernel_memory(s);
	/* and what only v2 knows, under its own name */
	static const char *const own[] = {"anon",
					  "file",
					  "kernel_stack",
					  "slab",
					  "sock",
					  "file_mapped",
					  "file_dirty",
					  "percpu",
					  "slab_reclaimable",
					  "slab_unreclaimable",
					  "pagetables"};
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(own); i++) {
		uint64_t n;
		if (find_value(s, own[i], &n))
			r = add_stat(m, "", own[i], n);
	}
	return r;
}

/* "253:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6" */
static int parse_io_line(Grpc__BlkioStats *b, const char *line)
{
	uint64_t major, minor, n;
	char *end;

	major = strtoull(line, &end, 10);
	if (end == line || *end != ':')
		return 0;
	minor = strtoull(end + 1, &end, 10);
	static const struct {
		const char *key, *op;
		bool bytes;
	} keys[] = {{"rbytes=", "Read", true},	  {"wbytes=", "Write", true},
		    {"dbytes=", "Discard", true}, {"rios=", "Read", false},
		    {"wios=", "Write", false},	  {"dios=", "Discard", false}};
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *at = strstr(end, keys[i].key);
		const char *eol = strchr(line, '\n');
		if (!at || (eol && at > eol))
			continue;
		n = strtoull(at + strlen(keys[i].key), NULL, 10);
		int r = keys[i].bytes
				? add_io(&b->io_service_bytes_recursive,
					 &b->n_io_service_bytes_recursive, major, minor, keys[i].op,
					 n)
				: add_io(&b->io_serviced_recursive, &b->n_io_serviced_recursive,
					 major, minor, keys[i].op, n);
		if (r < 0)
			return r;
	}
	return 0;
}

int stats_parse_io(Grpc__BlkioStats *b, const char *s)
{
	int r = 0;

	for (const char *l = s; r == 0 && l && *l; l = strchr(l, '\n') ? strchr(l, '\n') + 1 : NULL)
		r = parse_io_line(b, l);
	return r;
}

/* ---- Version 1: its files are what the message was made for --------------------------------- */

static const char *next_line(const char *l)
{
	const char *end = strchr(l, '\n');
	return end ? end + 1 : l + strlen(l);
}

int stats_parse_memory_v1(Grpc__MemoryStats *m, const char *s)
{
	int r = 0;

	for (const char *l = s; r == 0 && *l; l = next_line(l)) {
		char key[64];
		uint64_t n;
		if (sscanf(l, "%63[a-z_] %" SCNu64, key, &n) == 2)
			r = add_stat(m, "", key, n);
	}
	m->cache = value_of(s, "cache");
	return r;
}

/* "253:0 Read 4096", or "253:0 7" where there is but one kind; "Total 5" at the end. */
int stats_parse_io_v1(Grpc__BlkioStatsEntry ***v, size_t *n, const char *s)
{
	int r = 0;

	for (const char *l = s; r == 0 && *l; l = next_line(l)) {
		uint64_t major, minor, value;
		char op[16] = "";
		if (sscanf(l, "%" SCNu64 ":%" SCNu64 " %15[A-Za-z] %" SCNu64, &major, &minor, op,
			   &value) == 4 ||
		    sscanf(l, "%" SCNu64 ":%" SCNu64 " %" SCNu64, &major, &minor, &value) == 3)
			r = add_io(v, n, major, minor, op, value);
	}
	return r;
}

int stats_parse_percpu(Grpc__CpuUsage *c, const char *s)
{
	for (;;) {
		char *end;
		uint64_t v = strtoull(s, &end, 10);
		if (end == s || c->n_percpu_usage >= STATS_ENTRIES_MAX)
			return 0;
		uint64_t *grown = reallocarray(c->percpu_usage, c->n_percpu_usage + 1,
					       sizeof *c->percpu_usage);
		if (!grown)
			return -ENOMEM;
		c->percpu_usage = grown;
		c->percpu_usage[c->n_percpu_usage++] = v;
		s = end;
	}
}

/* "  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0" (net/core/net-procfs.c) */
static int parse_net_line(Grpc__StatsContainerResponse *m, const char *line)
{
	char name[32];
	uint64_t rx[4], tx[4];

	if (sscanf(line,
		   " %31[^: \n]: %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %*u %*u %*u %*u"
		   " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
		   name, &rx[0], &rx[1], &rx[2], &rx[3], &tx[0], &tx[1], &tx[2], &tx[3]) != 9 ||
	    strcmp(name, "lo") == 0 || m->n_network_stats >= STATS_ENTRIES_MAX)
		return 0;
	Grpc__NetworkStats *n = append(&m->network_stats, &m->n_network_stats, sizeof *n);
	if (!n)
		return -ENOMEM;
	grpc__network_stats__init(n);
	n->rx_bytes = rx[0];
	n->rx_packets = rx[1];
	n->rx_errors = rx[2];
	n->rx_dropped = rx[3];
	n->tx_bytes = tx[0];
	n->tx_packets = tx[1];
	n->tx_errors = tx[2];
	n->tx_dropped = tx[3];
	char *copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	n->name = copy;
	return 0;
}

int stats_parse_net_dev(Grpc__StatsContainerResponse *m, const char *s)
{
	int r = 0;

	for (const char *l = s; r == 0 && l && *l; l = strchr(l, '\n') ? strchr(l, '\n') + 1 : NULL)
		r = parse_net_line(m, l);
	return r;
}

/* ---- Files -------------------------------------------------------------------------------- */

/* The text of a control file; "" if it does not exist or cannot be read. */
static const char *slurp(const struct cgroup *g, const char *name, struct buf *b)
{
	buf_clear(b);
	if (cgroup_read(g, name, b) < 0 || !b->data)
		return "";
	return b->data;
}

static uint64_t number_file(const struct cgroup *g, const char *name, uint64_t if_max)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	const char *s = slurp(g, name, &b);

	return strncmp(s, "max", 3) == 0 ? if_max : strtoull(s, NULL, 10);
}

/* The words for usage, peak, limit and the count of its hits; a NULL is not there. */
struct words {
	const char *usage, *max_usage, *limit, *failcnt;
};

static void read_memory_data(const struct cgroup *g, Grpc__MemoryData *d, const char *prefix,
			     const struct words *w)
{
	char name[64];

	(void)snprintf(name, sizeof name, "%s.%s", prefix, w->usage);
	d->usage = number_file(g, name, 0);
	(void)snprintf(name, sizeof name, "%s.%s", prefix, w->max_usage);
	d->max_usage = number_file(g, name, 0);
	(void)snprintf(name, sizeof name, "%s.%s", prefix, w->limit);
	d->limit = number_file(g, name, STATS_UNLIMITED);
	if (!w->failcnt)
		return;
	(void)snprintf(name, sizeof name, "%s.%s", prefix, w->failcnt);
	d->failcnt = number_file(g, name, 0);
}

/* Finds SIZE in "hugetlb.SIZE.<usage>"; @ret has 32 bytes. */
static bool page_size_of(const char *file, const char *usage, char *ret)
{
	int end = 0;
	return sscanf(file, "hugetlb.%31[0-9KMGB].%n", ret, &end) == 1 && end &&
	       strcmp(file + end, usage) == 0;
}

static int read_hugetlb_size(const struct cgroup *g, Grpc__CgroupStats *c, const char *size,
			     const struct words *w)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	char name[96];

	Grpc__CgroupStats__HugetlbStatsEntry *h =
		append(&c->hugetlb_stats, &c->n_hugetlb_stats, sizeof *h);
	if (!h)
		return -ENOMEM;
	grpc__cgroup_stats__hugetlb_stats_entry__init(h);
	char *key = strdup(size);
	h->value = calloc(1, sizeof *h->value);
	if (!key || !h->value) {
		free(key);
		return -ENOMEM;
	}
	h->key = key;
	grpc__hugetlb_stats__init(h->value);
	(void)snprintf(name, sizeof name, "hugetlb.%s.%s", size, w->usage);
	h->value->usage = number_file(g, name, 0);
	if (w->failcnt) {
		(void)snprintf(name, sizeof name, "hugetlb.%s.%s", size, w->max_usage);
		h->value->max_usage = number_file(g, name, 0);
		(void)snprintf(name, sizeof name, "hugetlb.%s.%s", size, w->failcnt);
		h->value->failcnt = number_file(g, name, 0);
	} else {
		(void)snprintf(name, sizeof name, "hugetlb.%s.events", size);
		h->value->failcnt = value_of(slurp(g, name, &b), "max");
	}
	return 0;
}

static int read_hugetlb(const struct cgroup *g, Grpc__CgroupStats *c, const struct words *w)
{
	char path[PATH_MAX], size[32];
	int r = 0;

	DIR *d = cgroup_dir(g, "hugetlb", path, sizeof path) < 0 ? NULL : opendir(path);
	if (!d)
		return 0;
	for (struct dirent *de; r == 0 && (de = readdir(d));)
		if (page_size_of(de->d_name, w->usage, size))
			r = read_hugetlb_size(g, c, size, w);
	(void)closedir(d);
	return r;
}

static void read_pids(const struct cgroup *g, Grpc__PidsStats *p)
{
	p->current = number_file(g, "pids.current", 0);
	p->limit = number_file(g, "pids.max", 0);
}

/* In version 2 swap is apart; the message, like version 1, has it with memory. The parts are told
 * too, under the names of version 1's memory.stat. */
static int read_swap(const struct cgroup *g, Grpc__MemoryStats *m)
{
	static const struct words w = {"current", "peak", "max", NULL};
	_cleanup_buf_ struct buf b = BUF_INIT;
	Grpc__MemoryData *d = m->swap_usage;

	read_memory_data(g, d, "memory.swap", &w);
	d->failcnt = value_of(slurp(g, "memory.swap.events", &b), "max");
	uint64_t swap = d->usage;
	d->usage += m->usage->usage;
	d->max_usage = 0; /* the peak of the sum is not known */
	if (d->limit >= STATS_UNLIMITED - m->usage->limit)
		d->limit = STATS_UNLIMITED;
	else
		d->limit += m->usage->limit;
	int r = add_stat(m, "", "swap", swap);
	if (r == 0)
		r = add_stat(m, "total_", "swap", swap);
	return r == 0 ? add_stat(m, "", "hierarchical_memsw_limit", d->limit) : r;
}

static int read_v2(const struct cgroup *g, Grpc__CgroupStats *c)
{
	static const struct words w = {"current", "peak", "max", NULL};
	_cleanup_buf_ struct buf b = BUF_INIT;
	Grpc__MemoryStats *m = c->memory_stats;

	stats_parse_cpu(c->cpu_stats, slurp(g, "cpu.stat", &b));
	m->use_hierarchy = true;
	read_memory_data(g, m->usage, "memory", &w);
	m->usage->failcnt = value_of(slurp(g, "memory.events", &b), "max");
	int r = read_swap(g, m);
	if (r == 0)
		r = stats_parse_memory(m, slurp(g, "memory.stat", &b));
	if (r == 0)
		r = add_stat(m, "", "hierarchical_memory_limit", m->usage->limit);
	if (r == 0)
		r = stats_parse_io(c->blkio_stats, slurp(g, "io.stat", &b));
	if (r == 0)
		r = read_hugetlb(g, c, &w);
	return r;
}

static int read_cpu_v1(const struct cgroup *g, Grpc__CpuStats *c)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	c->cpu_usage->total_usage = number_file(g, "cpuacct.usage", 0);
	c->cpu_usage->usage_in_usermode = number_file(g, "cpuacct.usage_user", 0);
	c->cpu_usage->usage_in_kernelmode = number_file(g, "cpuacct.usage_sys", 0);
	const char *s = slurp(g, "cpu.stat", &b);
	c->throttling_data->periods = value_of(s, "nr_periods");
	c->throttling_data->throttled_periods = value_of(s, "nr_throttled");
	c->throttling_data->throttled_time = value_of(s, "throttled_time");
	return stats_parse_percpu(c->cpu_usage, slurp(g, "cpuacct.usage_percpu", &b));
}

static int read_memory_v1(const struct cgroup *g, Grpc__MemoryStats *m)
{
	static const struct words w = {"usage_in_bytes", "max_usage_in_bytes", "limit_in_bytes",
				       "failcnt"};
	_cleanup_buf_ struct buf b = BUF_INIT;

	m->use_hierarchy = number_file(g, "memory.use_hierarchy", 1) != 0;
	read_memory_data(g, m->usage, "memory", &w);
	read_memory_data(g, m->swap_usage, "memory.memsw", &w);
	read_memory_data(g, m->kernel_usage, "memory.kmem", &w);
	return stats_parse_memory_v1(m, slurp(g, "memory.stat", &b));
}

/* The scheduler's own counts, where it is one that counts; else those of the throttling. */
static const char *find_io(const struct cgroup *g)
{
	static const char *const kinds[] = {"blkio.bfq", "blkio"};
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		_cleanup_buf_ struct buf b = BUF_INIT;
		char name[64];
		(void)snprintf(name, sizeof name, "%s.io_serviced_recursive", kinds[i]);
		if (strchr(slurp(g, name, &b), ':'))
			return kinds[i];
	}
	return "blkio.throttle";
}

static int read_io_v1(const struct cgroup *g, Grpc__BlkioStats *b)
{
	const char *kind = find_io(g);
	const struct {
		const char *name;
		Grpc__BlkioStatsEntry ***v;
		size_t *n;
	} files[] = {
		{"io_service_bytes_recursive", &b->io_service_bytes_recursive,
		 &b->n_io_service_bytes_recursive},
		{"io_serviced_recursive", &b->io_serviced_recursive, &b->n_io_serviced_recursive},
		{"io_queued_recursive", &b->io_queued_recursive, &b->n_io_queued_recursive},
		{"io_service_time_recursive", &b->io_service_time_recursive,
		 &b->n_io_service_time_recursive},
		{"io_wait_time_recursive", &b->io_wait_time_recursive,
		 &b->n_io_wait_time_recursive},
		{"io_merged_recursive", &b->io_merged_recursive, &b->n_io_merged_recursive},
		{"time_recursive", &b->io_time_recursive, &b->n_io_time_recursive},
		{"sectors_recursive", &b->sectors_recursive, &b->n_sectors_recursive},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++) {
		_cleanup_buf_ struct buf text = BUF_INIT;
		char name[64];
		(void)snprintf(name, sizeof name, "%s.%s", kind, files[i].name);
		r = stats_parse_io_v1(files[i].v, files[i].n, slurp(g, name, &text));
	}
	return r;
}

static int read_v1(const struct cgroup *g, Grpc__CgroupStats *c)
{
	static const struct words w = {"usage_in_bytes", "max_usage_in_bytes", NULL, "failcnt"};

	int r = read_cpu_v1(g, c->cpu_stats);
	if (r == 0)
		r = read_memory_v1(g, c->memory_stats);
	if (r == 0)
		r = read_io_v1(g, c->blkio_stats);
	return r == 0 ? read_hugetlb(g, c, &w) : r;
}

static int read_cgroup(const struct cgroup *g, Grpc__CgroupStats *c, struct err *e)
{
	int r = cgroup_exists(g);
	if (r < 0) /* one that is gone must not look like an idle one */
		return err_errno(e, r, "control group %s", g->relative);
	read_pids(g, c->pids_stats);
	r = g->version == 1 ? read_v1(g, c) : read_v2(g, c);
	return r < 0 ? err_set(e, r, "no memory for statistics") : 0;
}

/* Makes an embedded message; all of these are freed by protobuf-c. */
#define NEW(field, type)                              \
	({                                            \
		(field) = calloc(1, sizeof *(field)); \
		if (field)                            \
			type##__init(field);          \
		(field) != NULL;                      \
	})

static Grpc__StatsContainerResponse *new_response(void)
{
	Grpc__StatsContainerResponse *m;
	Grpc__CgroupStats *c;

	if (!NEW(m, grpc__stats_container_response))
		return NULL;
	bool ok = NEW(c, grpc__cgroup_stats);
	m->cgroup_stats = c;
	ok = ok && NEW(c->cpu_stats, grpc__cpu_stats) &&
	     NEW(c->cpu_stats->cpu_usage, grpc__cpu_usage) &&
	     NEW(c->cpu_stats->throttling_data, grpc__throttling_data) &&
	     NEW(c->memory_stats, grpc__memory_stats) &&
	     NEW(c->memory_stats->usage, grpc__memory_data) &&
	     NEW(c->memory_stats->swap_usage, grpc__memory_data) &&
	     NEW(c->memory_stats->kernel_usage, grpc__memory_data) &&
	     NEW(c->pids_stats, grpc__pids_stats) && NEW(c->blkio_stats, grpc__blkio_stats);
	if (ok)
		return m;
	stats_free(m);
	return NULL;
}

static int read_network(Grpc__StatsContainerResponse *m, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	if (file_read(AT_FDCWD, "/proc/net/dev", STATS_FILE_MAX, &b) < 0 || !b.data)
		return 0;
	int r = stats_parse_net_dev(m, b.data);
	return r < 0 ? err_set(e, r, "no memory for statistics") : 0;
}

int stats_collect(const struct cgroup *g, Grpc__StatsContainerResponse **ret, struct err *e)
{
	Grpc__StatsContainerResponse *m = new_response();
	if (!m)
		return err_set(e, -ENOMEM, "no memory for statistics");
	int r = g ? read_cgroup(g, m->cgroup_stats, e) : 0;
	if (r == 0)
		r = read_network(m, e);
	if (r < 0) {
		stats_free(m);
		return r;
	}
	*ret = m;
	return 0;
}

void stats_free(Grpc__StatsContainerResponse *m)
{
	if (m)
		grpc__stats_container_response__free_unpacked(m, NULL);
}
