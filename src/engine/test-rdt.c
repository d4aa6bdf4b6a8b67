/* SPDX-License-Identifier: Apache-2.0 */
/* Shares of caches, with a directory that stands for resctrl. */
#include "base/testing.h"

#include "base/fd.h"
#include "engine/rdt.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

static char dir[64];
static bool filled; /* new groups come with their files, and go with them */

int __real_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_rmdir(const char *path);

int __wrap_mkdir(const char *path, mode_t mode)
{
	static const char *const files[] = {"schemata", "tasks"};
	char file[PATH_MAX];
	int r = __real_mkdir(path, mode);
	for (size_t i = 0; r == 0 && filled && i < ARRAY_SIZE(files); i++) {
		assert_int_equal(path_format(file, sizeof file, "%s/%s", path, files[i]), 0);
		assert_int_equal(file_replace(file, "", 0, 0644), 0);
	}
	if (r == 0 && filled && !strstr(path, "/mon_groups")) {
		assert_int_equal(path_format(file, sizeof file, "%s/mon_groups", path), 0);
		assert_int_equal(__real_mkdir(file, 0755), 0);
	}
	return r;
}

int __wrap_rmdir(const char *path)
{
	return filled ? remove_tree(path) : unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

static const char *in_dir(const char *name)
{
	static char path[PATH_MAX];
	assert_int_equal(path_format(path, sizeof path, "%s/%s", dir, name), 0);
	return path;
}

static void make_file(const char *name, const char *text)
{
	assert_int_equal(file_replace(in_dir(name), text, strlen(text), 0644), 0);
}

static void expect_file(const char *name, const char *text)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	assert_int_equal(file_read(AT_FDCWD, in_dir(name), 4096, &b), 0);
	assert_string_equal(b.data ? b.data : "", text);
}

/* A group that somebody has made before, as the kernel shows it. */
static void make_gold(void)
{
	assert_int_equal(mkdir(in_dir("gold"), 0755), 0);
	assert_int_equal(mkdir(in_dir("gold/mon_groups"), 0755), 0);
	make_file("gold/schemata", "    MB:0=100;1= 50\n    L3:0=007f0;1=0001f\n");
	make_file("gold/tasks", "");
}

static int setup(void **state)
{
	filled = false;
	strcpy(dir, "/tmp/test-rdt.XXXXXX");
	return mkdtemp(dir) == NULL;
}

static int teardown(void **state)
{
	return remove_tree(dir);
}

static int make(const struct oci_intel_rdt *spec, struct engine_rdt *ret, struct err *e)
{
	*e = ERR_INIT;
	return engine_rdt_make(dir, "ct", spec, ret, e);
}

static void refuses(const struct oci_intel_rdt *spec, int want, const char *text)
{
	struct engine_rdt g;
	struct err e;
	int r = make(spec, &g, &e);
	if (r != want || !strstr(e.text, text))
		print_error("%d %s\n", r, e.text);
	assert_int_equal(r, want);
	assert_non_null(strstr(e.text, text));
	assert_int_equal(engine_rdt_remove(&g, NULL), 0);
}

static void test_not_mounted(void **state)
{
	const struct oci_intel_rdt spec = {.present = true};
	struct engine_rdt g;
	struct err e = ERR_INIT;
	assert_int_equal(engine_rdt_make(NULL, "ct", &spec, &g, &e), -EOPNOTSUPP);
	assert_string_equal(e.text, "intelRdt: no resctrl is mounted at /sys/fs/resctrl");
	assert_int_equal(engine_rdt_add(&g, 1, NULL), 0);
	assert_int_equal(engine_rdt_remove(&g, NULL), 0);
}

/* One of the container's own goes with it. */
static void test_own_group(void **state)
{
	const struct oci_intel_rdt spec = {.present = true};
	struct engine_rdt g;
	struct err e;
	assert_int_equal(make(&spec, &g, &e), 0);
	assert_int_equal(access(in_dir("ct"), F_OK), 0);
	assert_int_equal(engine_rdt_remove(&g, NULL), 0);
	assert_int_equal(access(in_dir("ct"), F_OK), -1);
	/* one that is there already is somebody else's */
	assert_int_equal(mkdir(in_dir("ct"), 0755), 0);
	refuses(&spec, -EEXIST, "make /tmp");
	assert_int_equal(access(in_dir("ct"), F_OK), 0);
}

static void test_new_shares(void **state)
{
	static const struct {
		const char *clos, *l3, *mb, *want;
	} cases[] = {
		{"new", "L3:0=7f0;1=1f", "MB:0=20;1=70", "L3:0=7f0;1=1f\nMB:0=20;1=70\n"},
		{NULL, "L3:0=f\n", NULL, "L3:0=f\n"},
		{NULL, NULL, "MB:0=20", "MB:0=20\n"},
		{NULL, "L3:0=f\n MB:0=1\nL2:0=3", "MB:0=20", "L3:0=f\nL2:0=3\nMB:0=20\n"},
		{NULL, "MB:0=1\n\nL3:0=f", "", "MB:0=1\nL3:0=f\n"},
		{NULL, NULL, NULL, ""},
	};
	filled = true;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct oci_intel_rdt spec = {.present = true,
						   .clos_id = (char *)cases[i].clos,
						   .l3_cache_schema = (char *)cases[i].l3,
						   .mem_bw_schema = (char *)cases[i].mb,
						   .enable_cmt = true};
		struct engine_rdt g;
		struct err e;
		bool named = cases[i].clos;
		assert_int_equal(make(&spec, &g, &e), 0);
		expect_file(named ? "new/schemata" : "ct/schemata", cases[i].want);
		assert_int_equal(engine_rdt_add(&g, 7, &e), 0);
		expect_file(named ? "new/tasks" : "ct/tasks", "7");
		expect_file(named ? "new/mon_groups/ct/tasks" : "ct/mon_groups/ct/tasks", "7");
		assert_int_equal(engine_rdt_remove(&g, NULL), 0);
		assert_int_equal(access(in_dir(named ? "new" : "ct"), F_OK), -1);
	}
}

/* Where there are no files the share cannot be written. */
static void test_refused_share(void **state)
{
	const struct oci_intel_rdt spec = {
		.present = true, .clos_id = (char *)"new", .l3_cache_schema = (char *)"L3:0=f"};
	refuses(&spec, -ENOENT, "new/schemata");
	assert_int_equal(mkdir(in_dir("info"), 0755), 0);
	make_file("info/last_cmd_status", "mask f has non-consecutive 1-bits\n");
	refuses(&spec, -ENOENT, "mask f has non-consecutive 1-bits");
	assert_int_equal(access(in_dir("new"), F_OK), -1);
}

static void test_group_of_another(void **state)
{
	struct oci_intel_rdt spec = {.present = true, .clos_id = (char *)"gold"};
	struct engine_rdt g;
	struct err e;
	refuses(&spec, -ENOENT, "closID gold names no group");
	make_gold();
	assert_int_equal(make(&spec, &g, &e), 0);
	assert_int_equal(engine_rdt_add(&g, 123, &e), 0);
	expect_file("gold/tasks", "123");
	assert_int_equal(engine_rdt_remove(&g, NULL), 0);
	expect_file("gold/schemata", "    MB:0=100;1= 50\n    L3:0=007f0;1=0001f\n");
}

static void test_comparison(void **state)
{
	static const struct {
		const char *l3, *mb;
		int r;
	} cases[] = {
		{"L3:0=7f0;1=1f", NULL, 0},
		{"L3:1=1f\n", NULL, 0},
		{NULL, "MB:0=100;1=50", 0},
		{"L3:0=7f0\nMB:0=1", "MB:1=50", 0}, /* the other counts */
		{"L3:0=7f0\nMB:0=1", NULL, -EINVAL},
		{"L3:0=7f", NULL, -EINVAL},
		{"L3:2=7f0", NULL, -EINVAL},
		{"L2:0=7f0", NULL, -EINVAL},
		{"L3", NULL, -EINVAL},
		{"L3:0", NULL, -EINVAL},
		{"L3:0=7f0;", NULL, -EINVAL},
		{NULL, "MB:0=10", -EINVAL},
	};
	make_gold();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct oci_intel_rdt spec = {.present = true,
						   .clos_id = (char *)"gold",
						   .l3_cache_schema = (char *)cases[i].l3,
						   .mem_bw_schema = (char *)cases[i].mb};
		struct engine_rdt g;
		struct err e;
		int r = make(&spec, &g, &e);
		if (r != cases[i].r)
			print_error("%zu: %s\n", i, e.text);
		assert_int_equal(r, cases[i].r);
		if (r < 0)
			assert_non_null(strstr(e.text, "gold exists, and has not the share"));
		assert_int_equal(engine_rdt_remove(&g, NULL), 0);
	}
	assert_int_equal(access(in_dir("gold"), F_OK), 0);
}

static void test_monitoring(void **state)
{
	const struct oci_intel_rdt spec = {
		.present = true, .clos_id = (char *)"gold", .enable_mbm = true};
	const struct oci_intel_rdt own = {.present = true, .enable_cmt = true};
	struct engine_rdt g;
	struct err e;
	make_gold();
	assert_int_equal(make(&spec, &g, &e), 0);
	make_file("gold/mon_groups/ct/tasks", "");
	assert_int_equal(engine_rdt_add(&g, 5, &e), 0);
	expect_file("gold/tasks", "5");
	expect_file("gold/mon_groups/ct/tasks", "5");
	assert_int_equal(unlink(in_dir("gold/mon_groups/ct/tasks")), 0);
	assert_int_equal(engine_rdt_remove(&g, NULL), 0);
	assert_int_equal(access(in_dir("gold/mon_groups/ct"), F_OK), -1);
	/* a machine that cannot has no such folder */
	refuses(&own, -ENOENT, "ct/mon_groups/ct");
	assert_int_equal(access(in_dir("ct"), F_OK), -1);
}

static void test_names(void **state)
{
	static const char *const bad[] = {".", "..", "a/b", "/", "info", "mon_groups", "mon_data"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const struct oci_intel_rdt spec = {.present = true, .clos_id = (char *)bad[i]};
		refuses(&spec, -EINVAL, "is no name of a group");
	}
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_not_mounted),	  CASE(test_own_group),
		CASE(test_refused_share), CASE(test_group_of_another),
		CASE(test_comparison),	  CASE(test_monitoring),
		CASE(test_names),	  CASE(test_new_shares),
	};
	return RUN_TESTS();
}
