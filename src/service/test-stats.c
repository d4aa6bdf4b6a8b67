/* SPDX-License-Identifier: Apache-2.0 */
#include "service/stats.h"

#include "proto/cgroups_v1.pb-c.h"
#include "proto/cgroups_v2.pb-c.h"

#include "base/testing.h"

#include <string.h>

static Grpc__MemoryStats__StatsEntry entries[4];
static Grpc__MemoryStats__StatsEntry *entry_list[] = {&entries[0], &entries[1], &entries[2],
						      &entries[3]};

static void add(size_t i, char *key, uint64_t value)
{
	entries[i] = (Grpc__MemoryStats__StatsEntry)GRPC__MEMORY_STATS__STATS_ENTRY__INIT;
	entries[i].key = key;
	entries[i].value = value;
}

static const char *pack(bool v2, struct buf *out)
{
	static uint64_t per_cpu[] = {3, 4};
	Grpc__StatsContainerResponse response = GRPC__STATS_CONTAINER_RESPONSE__INIT;
	Grpc__CgroupStats stats = GRPC__CGROUP_STATS__INIT;
	Grpc__CpuStats cpu = GRPC__CPU_STATS__INIT;
	Grpc__CpuUsage usage = GRPC__CPU_USAGE__INIT;
	Grpc__ThrottlingData throttling = GRPC__THROTTLING_DATA__INIT;
	Grpc__MemoryStats memory = GRPC__MEMORY_STATS__INIT;
	Grpc__MemoryData used = GRPC__MEMORY_DATA__INIT;
	Grpc__PidsStats pids = GRPC__PIDS_STATS__INIT;

	add(0, "pgpgin", 11);
	add(1, "total_inactive_file", 12);
	add(2, "rss", 13);
	add(3, "inactive_file", 14);
	usage.total_usage = 7000;
	usage.percpu_usage = per_cpu;
	usage.n_percpu_usage = 2;
	throttling.throttled_time = 9000;
	cpu.cpu_usage = &usage;
	cpu.throttling_data = &throttling;
	used.usage = 100;
	used.limit = 200;
	memory.usage = &used;
	memory.cache = 15;
	memory.stats = entry_list;
	memory.n_stats = 4;
	pids.current = 5;
	stats.cpu_stats = &cpu;
	stats.memory_stats = &memory;
	stats.pids_stats = &pids;
	Grpc__BlkioStats blkio = GRPC__BLKIO_STATS__INIT;
	Grpc__BlkioStatsEntry io[4], *bytes[] = {&io[0], &io[1], &io[2]}, *ops[] = {&io[3]};
	static char *const names[] = {"Read", "Write", "Read", "Write"};
	for (size_t i = 0; i < 4; i++) {
		io[i] = (Grpc__BlkioStatsEntry)GRPC__BLKIO_STATS_ENTRY__INIT;
		io[i].major = 253;
		io[i].minor = i == 2;
		io[i].op = names[i];
		io[i].value = 1000 + i;
	}
	blkio.io_service_bytes_recursive = bytes;
	blkio.n_io_service_bytes_recursive = 3;
	blkio.io_serviced_recursive = ops;
	blkio.n_io_serviced_recursive = 1;
	stats.blkio_stats = &blkio;
	Grpc__HugetlbStats huge = GRPC__HUGETLB_STATS__INIT;
	Grpc__CgroupStats__HugetlbStatsEntry page = GRPC__CGROUP_STATS__HUGETLB_STATS_ENTRY__INIT,
					     *pages[] = {&page};
	huge.usage = 21;
	huge.failcnt = 22;
	page.key = "2MB";
	page.value = &huge;
	stats.hugetlb_stats = pages;
	stats.n_hugetlb_stats = 1;
	Grpc__NetworkStats eth0 = GRPC__NETWORK_STATS__INIT, *links[] = {&eth0};
	eth0.name = "eth0";
	eth0.rx_bytes = 31;
	eth0.tx_dropped = 32;
	response.network_stats = links;
	response.n_network_stats = 1;
	response.cgroup_stats = &stats;
	return stats_pack(&response, v2, out);
}

static void version_1_is_filled_by_name(void **state)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	assert_string_equal(pack(false, &out), "io.containerd.cgroups.v1.Metrics");
	Io__Containerd__Cgroups__V1__Metrics *m =
		io__containerd__cgroups__v1__metrics__unpack(NULL, out.len, (uint8_t *)out.data);
	assert_non_null(m);
	assert_int_equal(m->memory->pg_pg_in, 11);
	assert_int_equal(m->memory->total_inactive_file, 12);
	assert_int_equal(m->memory->rss, 13);
	assert_int_equal(m->memory->cache, 15);
	assert_int_equal(m->memory->usage->usage, 100);
	assert_int_equal(m->memory->usage->limit, 200);
	assert_int_equal(m->cpu->usage->total, 7000);
	assert_int_equal(m->cpu->usage->per_cpu[1], 4);
	assert_int_equal(m->cpu->throttling->throttled_time, 9000);
	assert_int_equal(m->pids->current, 5);
	assert_int_equal(m->blkio->n_io_service_bytes_recursive, 3);
	assert_string_equal(m->blkio->io_service_bytes_recursive[1]->op, "Write");
	assert_int_equal(m->blkio->io_service_bytes_recursive[1]->value, 1001);
	assert_int_equal(m->blkio->io_serviced_recursive[0]->value, 1003);
	assert_string_equal(m->hugetlb[0]->pagesize, "2MB");
	assert_int_equal(m->hugetlb[0]->usage, 21);
	assert_int_equal(m->hugetlb[0]->failcnt, 22);
	assert_string_equal(m->network[0]->name, "eth0");
	assert_int_equal(m->network[0]->rx_bytes, 31);
	assert_int_equal(m->network[0]->tx_dropped, 32);
	io__containerd__cgroups__v1__metrics__free_unpacked(m, NULL);
}

static void version_2_counts_microseconds(void **state)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	assert_string_equal(pack(true, &out), "io.containerd.cgroups.v2.Metrics");
	Io__Containerd__Cgroups__V2__Metrics *m =
		io__containerd__cgroups__v2__metrics__unpack(NULL, out.len, (uint8_t *)out.data);
	assert_non_null(m);
	assert_int_equal(m->cpu->usage_usec, 7);
	assert_int_equal(m->cpu->throttled_usec, 9);
	assert_int_equal(m->memory->usage, 100);
	assert_int_equal(m->memory->anon, 13); /* version 1's rss */
	assert_int_equal(m->memory->file, 15);
	/* of the whole subtree, as all of version 2 */
	assert_int_equal(m->memory->inactive_file, 12);
	assert_int_equal(m->io->n_usage, 2); /* disks */
	assert_int_equal(m->io->usage[0]->minor, 0);
	assert_int_equal(m->io->usage[0]->rbytes, 1000);
	assert_int_equal(m->io->usage[0]->wbytes, 1001);
	assert_int_equal(m->io->usage[0]->wios, 1003);
	assert_int_equal(m->io->usage[1]->rbytes, 1002);
	assert_string_equal(m->hugetlb[0]->pagesize, "2MB");
	assert_int_equal(m->hugetlb[0]->current, 21);
	assert_string_equal(m->network[0]->name, "eth0");
	assert_int_equal(m->network[0]->tx_dropped, 32);
	io__containerd__cgroups__v2__metrics__free_unpacked(m, NULL);
}

static void expect_swap(size_t n_stats, uint64_t limit, uint64_t want, uint64_t want_limit)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	Grpc__StatsContainerResponse response = GRPC__STATS_CONTAINER_RESPONSE__INIT;
	Grpc__CgroupStats stats = GRPC__CGROUP_STATS__INIT;
	Grpc__MemoryStats memory = GRPC__MEMORY_STATS__INIT;
	Grpc__MemoryData used = GRPC__MEMORY_DATA__INIT, both = GRPC__MEMORY_DATA__INIT;

	add(0, "swap", 20);
	add(1, "total_swap", 25);
	used.usage = 100;
	used.limit = 1000;
	both.usage = 125;
	both.limit = limit;
	memory.usage = &used;
	memory.swap_usage = &both;
	memory.stats = entry_list;
	memory.n_stats = n_stats;
	stats.memory_stats = &memory;
	response.cgroup_stats = &stats;
	assert_non_null(stats_pack(&response, true, &out));
	Io__Containerd__Cgroups__V2__Metrics *m =
		io__containerd__cgroups__v2__metrics__unpack(NULL, out.len, (uint8_t *)out.data);
	assert_non_null(m);
	assert_int_equal(m->memory->swap_usage, want);
	assert_true(m->memory->swap_limit == want_limit);
	io__containerd__cgroups__v2__metrics__free_unpacked(m, NULL);
}

static void version_2_has_swap_apart(void **state)
{
	const uint64_t none = 9223372036854771712u;

	expect_swap(2, 1500, 25, 500);
	expect_swap(2, 900, 25, 0);
	expect_swap(2, none, 25, none);
	expect_swap(0, 1500, 125, 1500); /* of an agent that means it alone */
}

static void an_empty_answer_is_an_empty_message(void **state)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	const Grpc__StatsContainerResponse response = GRPC__STATS_CONTAINER_RESPONSE__INIT;
	assert_non_null(stats_pack(&response, false, &out));
	assert_int_equal(out.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(version_1_is_filled_by_name),
		cmocka_unit_test(version_2_counts_microseconds),
		cmocka_unit_test(version_2_has_swap_apart),
		cmocka_unit_test(an_empty_answer_is_an_empty_message),
	};
	return RUN_TESTS();
}
