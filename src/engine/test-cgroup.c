/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions; and what is written, into a directory with the files of a cgroup. */
#include "base/testing.h"

#include "base/fd.h"
#include "engine/cgroup.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

static void test_relative(void **state)
{
	static const struct {
		const char *path, *want;
	} cases[] = {
		{NULL, "/c1"},	      {"", "/c1"},
		{"/", "/c1"},	      {"/a/b", "/a/b"},
		{"a//b/", "/a/b"},    {"kubepods.slice:cri:x", "/kubepods.slice/cri/x"},
		{"/x/..y", "/x/..y"},
	};
	char got[64];
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(engine_cgroup_relative(cases[i].path, "c1", got, sizeof got, NULL),
				 0);
		assert_string_equal(got, cases[i].want);
	}
	static const char *const bad[] = {"/..", "/a/../b", "a/./b", "x:..:y", "::"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(engine_cgroup_relative(bad[i], "c1", got, sizeof got, NULL),
				 -EINVAL);
}

static void test_conversions(void **state)
{
	assert_int_equal(engine_cpu_weight(0), 0);
	assert_int_equal(engine_cpu_weight(1), 1);
	assert_int_equal(engine_cpu_weight(2), 1);
	assert_int_equal(engine_cpu_weight(1024), 39);
	assert_int_equal(engine_cpu_weight(262144), 10000);
	assert_int_equal(engine_cpu_weight(UINT64_MAX), 10000);
	assert_int_equal(engine_io_weight(10), 1);
	assert_int_equal(engine_io_weight(1000), 10000);
	assert_int_equal(engine_io_weight(5000), 10000);

	int64_t max;
	assert_int_equal(engine_swap_max(-1, OCI_UNSET, &max, NULL), 0);
	assert_int_equal(max, -1);
	assert_int_equal(engine_swap_max(300, 100, &max, NULL), 0);
	assert_int_equal(max, 200);
	assert_int_equal(engine_swap_max(100, 100, &max, NULL), 0);
	assert_int_equal(max, 0);
	assert_int_equal(engine_swap_max(99, 100, &max, NULL), -EINVAL);
	assert_int_equal(engine_swap_max(99, OCI_UNSET, &max, NULL), -EINVAL);
	assert_int_equal(engine_swap_max(99, -1, &max, NULL), -EINVAL);
}

static void make_files(const char *dir)
{
	static const char *const files[] = {
		"memory.max",	 "memory.low",	    "memory.swap.max", "cpu.max",  "cpu.weight",
		"cpu.max.burst", "cpuset.cpus",	    "cpuset.mems",     "pids.max", "io.max",
		"io.weight",	 "hugetlb.2MB.max", "memory.high"};
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char path[PATH_MAX];
		assert_int_equal(path_format(path, sizeof path, "%s/%s", dir, files[i]), 0);
		assert_int_equal(file_replace(path, "", 0, 0644), 0);
	}
}

/* A plain file keeps more than the last value, so what is compared is its beginning. */
static void has(const char *dir, const char *file, const char *want)
{
	char path[PATH_MAX];
	_cleanup_buf_ struct buf b = BUF_INIT;
	assert_int_equal(path_format(path, sizeof path, "%s/%s", dir, file), 0);
	assert_int_equal(file_read(AT_FDCWD, path, 4096, &b), 0);
	assert_string_equal(b.data ? b.data : "", want);
}

static void test_apply(void **state)
{
	char dir[] = "/tmp/cgroup.XXXXXX";
	assert_non_null(mkdtemp(dir));
	make_files(dir);
	struct oci_resources r;
	struct oci_kv unified = {.key = (char *)"memory.high", .value = (char *)"77"};
	struct oci_hugepage_limit huge[] = {{.page_size = (char *)"2MB", .limit = 4096},
					    {.page_size = (char *)"1GB", .limit = 0}};
	struct oci_throttle_device throttle = {.major = 8, .minor = 0, .rate = 1000};
	oci_resources_init(&r);
	assert_int_equal(engine_cgroup_apply(dir, &r, NULL), 0);
	has(dir, "memory.max", "");
	has(dir, "pids.max", "");

	r.memory.limit = 1000;
	r.memory.swap = 1500;
	r.memory.reservation = 500;
	r.cpu.shares = 1024;
	r.cpu.quota = 50000;
	r.cpu.period = 100000;
	r.cpu.cpus = (char *)"0-1";
	r.cpu.mems = (char *)"0";
	r.pids_limit = -1;
	r.block_io.weight = 1000;
	r.block_io.throttle_read_bps = &throttle;
	r.block_io.n_throttle_read_bps = 1;
	r.hugepages = huge;
	r.n_hugepages = 2;
	r.unified = &unified;
	r.n_unified = 1;
	struct err e = ERR_INIT;
	assert_int_equal(engine_cgroup_apply(dir, &r, &e), 0);
	has(dir, "memory.max", "1000");
	has(dir, "memory.swap.max", "500");
	has(dir, "memory.low", "500");
	has(dir, "memory.high", "77");
	has(dir, "cpu.weight", "39");
	has(dir, "cpu.max", "50000 100000");
	has(dir, "cpuset.cpus", "0-1");
	has(dir, "cpuset.mems", "0");
	has(dir, "pids.max", "max");
	has(dir, "io.weight", "default 10000");
	has(dir, "io.max", "8:0 rbps=1000");
	has(dir, "hugetlb.2MB.max", "4096");

	/* what is absent stays: the period, then the quota */
	oci_resources_init(&r);
	make_files(dir);
	r.cpu.quota = 7000;
	assert_int_equal(engine_cgroup_apply(dir, &r, &e), 0);
	has(dir, "cpu.max", "7000");
	r.cpu.quota = OCI_UNSET;
	r.cpu.period = 9000;
	assert_int_equal(engine_cgroup_apply(dir, &r, &e), 0);
	has(dir, "cpu.max", "7000 9000");
	make_files(dir);
	r.cpu.quota = -1;
	assert_int_equal(engine_cgroup_apply(dir, &r, &e), 0);
	has(dir, "cpu.max", "max 9000");
	assert_int_equal(remove_tree(dir), 0);
}

static void test_refusals(void **state)
{
	char dir[] = "/tmp/cgroup.XXXXXX";
	assert_non_null(mkdtemp(dir));
	struct oci_resources r;
	struct err e = ERR_INIT;
	oci_resources_init(&r);
	r.pids_limit = 10;
	assert_int_equal(engine_cgroup_apply(dir, &r, &e), -ENOENT);
	assert_non_null(strstr(e.text, "pids.max: its controller is not available"));

	static const char *const keys[] = {"../../x", "cgroup.procs", "cgroup.subtree_control"};
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		struct oci_kv kv = {.key = (char *)keys[i], .value = (char *)"1"};
		oci_resources_init(&r);
		r.unified = &kv;
		r.n_unified = 1;
		assert_int_equal(engine_cgroup_apply(dir, &r, &e), -EINVAL);
	}
	oci_resources_init(&r);
	r.cpu.realtime_runtime = 1;
	assert_int_equal(engine_cgroup_apply(dir, &r, &e), -EOPNOTSUPP);
	assert_int_equal(remove_tree(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_relative),
		cmocka_unit_test(test_conversions),
		cmocka_unit_test(test_apply),
		cmocka_unit_test(test_refusals),
	};
	return RUN_TESTS();
}
