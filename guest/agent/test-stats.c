/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/stats.h"

#include "base/fd.h"
#include "base/testing.h"

#include <string.h>

static char dir[] = "/tmp/test-stats.XXXXXX";

static void put(const char *name, const char *text)
{
	char path[128];
	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_int_equal(file_replace(path, text, strlen(text), 0644), 0);
}

static const struct cgroup group = {.version = 2, .root = dir, .relative = (char *)""};

static void put_v1(const struct cgroup *g, const char *name, const char *text)
{
	char path[160];
	assert_int_equal(cgroup_path(g, name, path, sizeof path), 0);
	char *file = strrchr(path, '/');
	*file = '\0';
	assert_int_equal(mkdir_parents(path, 0755), 0);
	*file = '/';
	assert_int_equal(file_replace(path, text, strlen(text), 0644), 0);
}

static uint64_t stat_of(const Grpc__MemoryStats *m, const char *key)
{
	for (size_t i = 0; i < m->n_stats; i++)
		if (strcmp(m->stats[i]->key, key) == 0)
			return m->stats[i]->value;
	return UINT64_MAX;
}

static void a_whole_control_group(void **state)
{
	Grpc__StatsContainerResponse *m = NULL;
	struct err e = ERR_INIT;

	put("cpu.stat", "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\nnr_periods 7\n"
			"nr_throttled 3\nthrottled_usec 11\n");
	put("memory.current", "1000\n");
	put("memory.peak", "1500\n");
	put("memory.max", "max\n");
	put("memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n");
	put("memory.swap.current", "12\n");
	put("memory.swap.max", "34\n");
	put("memory.stat", "anon 100\nfile 200\nkernel 30\ninactive_file 77\nactive_file 5\n"
			   "file_mapped 8\npgfault 4\nsock 2\n");
	put("pids.current", "3\n");
	put("pids.max", "max\n");
	put("io.stat", "253:1 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=5 dios=6\n"
		       "8:0 rbytes=7\ngarbage\n");
	put("hugetlb.2MB.current", "4194304\n");
	put("hugetlb.2MB.events", "max 2\n");
	assert_int_equal(stats_collect(&group, &m, &e), 0);

	const Grpc__CgroupStats *c = m->cgroup_stats;
	assert_int_equal(c->cpu_stats->cpu_usage->total_usage, 5000000);
	assert_int_equal(c->cpu_stats->cpu_usage->usage_in_usermode, 3000000);
	assert_int_equal(c->cpu_stats->cpu_usage->usage_in_kernelmode, 2000000);
	assert_int_equal(c->cpu_stats->throttling_data->periods, 7);
	assert_int_equal(c->cpu_stats->throttling_data->throttled_time, 11000);
	const Grpc__MemoryStats *mem = c->memory_stats;
	assert_int_equal(mem->usage->usage, 1000);
	assert_int_equal(mem->usage->max_usage, 1500);
	assert_int_equal(mem->usage->failcnt, 9);
	assert_true(mem->usage->limit == STATS_UNLIMITED);
	/* with memory, as version 1 counts */
	assert_int_equal(mem->swap_usage->usage, 1012);
	assert_true(mem->swap_usage->limit == STATS_UNLIMITED);
	assert_int_equal(stat_of(mem, "total_swap"), 12);
	assert_int_equal(mem->kernel_usage->usage, 30);
	assert_int_equal(mem->cache, 200);
	assert_int_equal(stat_of(mem, "rss"), 100);
	assert_int_equal(stat_of(mem, "total_rss"), 100);
	assert_int_equal(stat_of(mem, "cache"), 200);
	assert_int_equal(stat_of(mem, "total_inactive_file"), 77);
	assert_int_equal(stat_of(mem, "mapped_file"), 8);
	assert_int_equal(stat_of(mem, "sock"), 2);
	assert_true(stat_of(mem, "shmem") == UINT64_MAX);
	assert_int_equal(c->pids_stats->current, 3);
	assert_int_equal(c->pids_stats->limit, 0);
	assert_int_equal(c->blkio_stats->n_io_service_bytes_recursive, 4);
	assert_int_equal(c->blkio_stats->io_service_bytes_recursive[1]->major, 253);
	assert_int_equal(c->blkio_stats->io_service_bytes_recursive[1]->minor, 1);
	assert_string_equal(c->blkio_stats->io_service_bytes_recursive[1]->op, "Write");
	assert_int_equal(c->blkio_stats->io_service_bytes_recursive[1]->value, 20);
	assert_int_equal(c->blkio_stats->n_io_serviced_recursive, 3);
	assert_int_equal(c->n_hugetlb_stats, 1);
	assert_string_equal(c->hugetlb_stats[0]->key, "2MB");
	assert_int_equal(c->hugetlb_stats[0]->value->usage, 4194304);
	assert_int_equal(c->hugetlb_stats[0]->value->failcnt, 2);
	stats_free(m);
}

static void limits_of_memory_and_swap(void **state)
{
	Grpc__StatsContainerResponse *m = NULL;
	struct err e = ERR_INIT;

	put("memory.max", "5000\n");
	put("memory.swap.events", "high 0\nmax 4\nfail 0\n");
	assert_int_equal(stats_collect(&group, &m, &e), 0);
	const Grpc__MemoryStats *mem = m->cgroup_stats->memory_stats;
	assert_int_equal(mem->usage->limit, 5000);
	assert_int_equal(mem->swap_usage->limit, 5034);
	assert_int_equal(mem->swap_usage->failcnt, 4);
	assert_int_equal(stat_of(mem, "hierarchical_memory_limit"), 5000);
	assert_int_equal(stat_of(mem, "hierarchical_memsw_limit"), 5034);
	/* the kubelet's working set */
	assert_int_equal(mem->usage->usage - stat_of(mem, "total_inactive_file"), 923);
	stats_free(m);
}

static void version_1(void **state)
{
	char root[128];
	const struct cgroup g = {.version = 1, .root = root, .relative = (char *)"/pod/one"};
	Grpc__StatsContainerResponse *m = NULL;
	struct err e = ERR_INIT;

	(void)snprintf(root, sizeof root, "%s/v1", dir);
	put_v1(&g, "cpuacct.usage", "5000\n");
	put_v1(&g, "cpuacct.usage_user", "3000\n");
	put_v1(&g, "cpuacct.usage_sys", "2000\n");
	put_v1(&g, "cpuacct.usage_percpu", "4000 1000 \n");
	put_v1(&g, "cpu.stat", "nr_periods 7\nnr_throttled 3\nthrottled_time 11000\n");
	put_v1(&g, "memory.usage_in_bytes", "1000\n");
	put_v1(&g, "memory.max_usage_in_bytes", "1500\n");
	put_v1(&g, "memory.limit_in_bytes", "9223372036854771712\n");
	put_v1(&g, "memory.failcnt", "9\n");
	put_v1(&g, "memory.memsw.usage_in_bytes", "1012\n");
	put_v1(&g, "memory.memsw.limit_in_bytes", "2000\n");
	put_v1(&g, "memory.kmem.usage_in_bytes", "30\n");
	put_v1(&g, "memory.use_hierarchy", "1\n");
	put_v1(&g, "memory.stat", "cache 200\nrss 100\ntotal_cache 210\ntotal_inactive_file 77\n");
	put_v1(&g, "pids.current", "3\n");
	put_v1(&g, "pids.max", "max\n");
	put_v1(&g, "blkio.throttle.io_service_bytes_recursive",
	       "253:1 Read 10\n253:1 Write 20\n253:1 Total 30\nTotal 30\n");
	put_v1(&g, "blkio.throttle.io_serviced_recursive", "253:1 Read 1\n");
	put_v1(&g, "hugetlb.2MB.usage_in_bytes", "4194304\n");
	put_v1(&g, "hugetlb.2MB.max_usage_in_bytes", "8388608\n");
	put_v1(&g, "hugetlb.2MB.failcnt", "2\n");
	assert_int_equal(stats_collect(&g, &m, &e), 0);

	const Grpc__CgroupStats *c = m->cgroup_stats;
	assert_int_equal(c->cpu_stats->cpu_usage->total_usage, 5000);
	assert_int_equal(c->cpu_stats->cpu_usage->usage_in_kernelmode, 2000);
	assert_int_equal(c->cpu_stats->cpu_usage->n_percpu_usage, 2);
	assert_int_equal(c->cpu_stats->cpu_usage->percpu_usage[1], 1000);
	assert_int_equal(c->cpu_stats->throttling_data->throttled_time, 11000);
	const Grpc__MemoryStats *mem = c->memory_stats;
	assert_true(mem->use_hierarchy);
	assert_int_equal(mem->usage->usage, 1000);
	assert_true(mem->usage->limit == STATS_UNLIMITED);
	assert_int_equal(mem->usage->failcnt, 9);
	assert_int_equal(mem->swap_usage->usage, 1012);
	assert_int_equal(mem->kernel_usage->usage, 30);
	assert_int_equal(mem->cache, 200);
	assert_int_equal(stat_of(mem, "total_inactive_file"), 77);
	assert_int_equal(c->pids_stats->current, 3);
	assert_int_equal(c->pids_stats->limit, 0);
	assert_int_equal(c->blkio_stats->n_io_service_bytes_recursive, 3);
	assert_string_equal(c->blkio_stats->io_service_bytes_recursive[1]->op, "Write");
	assert_int_equal(c->blkio_stats->io_service_bytes_recursive[1]->value, 20);
	assert_int_equal(c->blkio_stats->n_io_serviced_recursive, 1);
	assert_int_equal(c->hugetlb_stats[0]->value->max_usage, 8388608);
	assert_int_equal(c->hugetlb_stats[0]->value->failcnt, 2);
	stats_free(m);

	/* a scheduler that counts itself */
	put_v1(&g, "blkio.bfq.io_serviced_recursive", "8:0 Read 5\nTotal 5\n");
	put_v1(&g, "blkio.bfq.sectors_recursive", "8:0 77\n");
	assert_int_equal(stats_collect(&g, &m, &e), 0);
	assert_int_equal(m->cgroup_stats->blkio_stats->n_io_service_bytes_recursive, 0);
	assert_int_equal(m->cgroup_stats->blkio_stats->io_serviced_recursive[0]->value, 5);
	assert_int_equal(m->cgroup_stats->blkio_stats->sectors_recursive[0]->value, 77);
	assert_string_equal(m->cgroup_stats->blkio_stats->sectors_recursive[0]->op, "");
	stats_free(m);
}

static void without_a_control_group(void **state)
{
	Grpc__StatsContainerResponse *m = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(stats_collect(NULL, &m, &e), 0);
	assert_int_equal(m->cgroup_stats->memory_stats->usage->usage, 0);
	stats_free(m);
	for (int version = 1; version <= 2; version++) {
		const struct cgroup gone = {
			.version = version, .root = dir, .relative = (char *)"/no/such/group"};
		assert_int_equal(stats_collect(&gone, &m, &e), -ENOENT);
		assert_non_null(strstr(e.text, "/no/such/group"));
	}
}

static void interfaces(void **state)
{
	Grpc__StatsContainerResponse *m = calloc(1, sizeof *m);

	grpc__stats_container_response__init(m);
	assert_int_equal(
		stats_parse_net_dev(
			m,
			"Inter-|   Receive                     |  Transmit\n"
			" face |bytes    packets errs drop fifo frame compressed multicast|bytes\n"
			"    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"
			"  eth0: 100 2 3 4 0 0 0 0 500 6 7 8 0 0 0 0\n"
			"eth1: nonsense\n"),
		0);
	assert_int_equal(m->n_network_stats, 1);
	assert_string_equal(m->network_stats[0]->name, "eth0");
	assert_int_equal(m->network_stats[0]->rx_bytes, 100);
	assert_int_equal(m->network_stats[0]->rx_dropped, 4);
	assert_int_equal(m->network_stats[0]->tx_bytes, 500);
	assert_int_equal(m->network_stats[0]->tx_dropped, 8);
	stats_free(m);
}

static int setup(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	return remove_tree(dir);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_control_group),
		cmocka_unit_test(limits_of_memory_and_swap),
		cmocka_unit_test(version_1),
		cmocka_unit_test(without_a_control_group),
		cmocka_unit_test(interfaces),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
