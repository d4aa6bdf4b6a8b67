/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/stats.h"

#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
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
	b->op = strdup(op);
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
	m->kernel_usage->usage = value_of(s, "kernel");
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
static const char *slurp(int dir_fd, const char *name, struct buf *b)
{
	buf_clear(b);
	if (file_read(dir_fd, name, STATS_FILE_MAX, b) < 0 || !b->data)
		return "";
	return b->data;
}

static uint64_t number_file(int dir_fd, const char *name, uint64_t if_max)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	const char *s = slurp(dir_fd, name, &b);

	return strncmp(s, "max", 3) == 0 ? if_max : strtoull(s, NULL, 10);
}

static void read_memory_data(int dir, Grpc__MemoryData *d, const char *prefix)
{
	char name[64];

	(void)snprintf(name, sizeof name, "%s.current", prefix);
	d->usage = number_file(dir, name, 0);
	(void)snprintf(name, sizeof name, "%s.peak", prefix);
	d->max_usage = number_file(dir, name, 0);
	(void)snprintf(name, sizeof name, "%s.max", prefix);
	d->limit = number_file(dir, name, STATS_UNLIMITED);
}

static int read_hugetlb(int dir, Grpc__CgroupStats *c)
{
	int r = 0;
	int copy = fcntl(dir, F_DUPFD_CLOEXEC, 3);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);

	if (!d) {
		(void)close_fd(copy);
		return 0;
	}
	rewinddir(d);
	for (struct dirent *de; r == 0 && (de = readdir(d));) {
		char size[32], events[64];
		int end = 0;
		if (sscanf(de->d_name, "hugetlb.%31[0-9KMGB].current%n", size, &end) != 1 || !end ||
		    de->d_name[end])
			continue;
		Grpc__CgroupStats__HugetlbStatsEntry *h =
			append(&c->hugetlb_stats, &c->n_hugetlb_stats, sizeof *h);
		if (!h) {
			r = -ENOMEM;
			break;
		}
		grpc__cgroup_stats__hugetlb_stats_entry__init(h);
		char *key = strdup(size);
		h->value = calloc(1, sizeof *h->value);
		if (!key || !h->value) {
			free(key);
			r = -ENOMEM;
			break;
		}
		h->key = key;
		grpc__hugetlb_stats__init(h->value);
		h->value->usage = number_file(dir, de->d_name, 0);
		_cleanup_buf_ struct buf b = BUF_INIT;
		(void)snprintf(events, sizeof events, "hugetlb.%s.events", size);
		h->value->failcnt = value_of(slurp(dir, events, &b), "max");
	}
	(void)closedir(d);
	return r;
}

static int read_cgroup(int dir, Grpc__CgroupStats *c)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	Grpc__MemoryStats *m = c->memory_stats;

	stats_parse_cpu(c->cpu_stats, slurp(dir, "cpu.stat", &b));
	m->use_hierarchy = true;
	read_memory_data(dir, m->usage, "memory");
	read_memory_data(dir, m->swap_usage, "memory.swap");
	m->usage->failcnt = value_of(slurp(dir, "memory.events", &b), "max");
	c->pids_stats->current = number_file(dir, "pids.current", 0);
	c->pids_stats->limit = number_file(dir, "pids.max", 0);
	int r = stats_parse_memory(m, slurp(dir, "memory.stat", &b));
	if (r == 0)
		r = add_stat(m, "", "hierarchical_memory_limit", m->usage->limit);
	if (r == 0)
		r = stats_parse_io(c->blkio_stats, slurp(dir, "io.stat", &b));
	if (r == 0)
		r = read_hugetlb(dir, c);
	return r;
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

int stats_collect(const char *cgroup_dir, Grpc__StatsContainerResponse **ret, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	Grpc__StatsContainerResponse *m = new_response();
	if (!m)
		return err_set(e, -ENOMEM, "no memory for statistics");
	int r = 0;
	if (cgroup_dir) {
		_cleanup_close_ int dir = open(cgroup_dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
		if (dir < 0) {
			r = err_errno(e, -errno, "open control group %s", cgroup_dir);
		} else {
			r = read_cgroup(dir, m->cgroup_stats);
			if (r < 0)
				(void)err_set(e, r, "no memory for statistics");
		}
	}
	if (r == 0 && stats_parse_net_dev(m, slurp(AT_FDCWD, "/proc/net/dev", &b)) < 0)
		r = err_set(e, -ENOMEM, "no memory for statistics");
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
