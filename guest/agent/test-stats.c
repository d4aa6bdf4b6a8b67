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
	assert_int_equal(stats_collect(dir, &m, &e), 0);

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
	assert_int_equal(mem->swap_usage->usage, 12);
	assert_int_equal(mem->swap_usage->limit, 34);
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

static void without_a_control_group(void **state)
{
	Grpc__StatsContainerResponse *m = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(stats_collect(NULL, &m, &e), 0);
	assert_int_equal(m->cgroup_stats->memory_stats->usage->usage, 0);
	stats_free(m);
	assert_int_equal(stats_collect("/no/such/group", &m, &e), -ENOENT);
	assert_non_null(strstr(e.text, "/no/such/group"));
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
		cmocka_unit_test(without_a_control_group),
		cmocka_unit_test(interfaces),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
