/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/online.h"

#include "base/fd.h"
#include "base/testing.h"

#include <fcntl.h>
#include <string.h>

static char dir[] = "/tmp/test-online.XXXXXX";

static void make(const char *kind, const char *name, const char *online)
{
	char path[256];

	(void)snprintf(path, sizeof path, "%s/devices/system/%s/%s", dir, kind, name);
	assert_int_equal(mkdir_parents(path, 0755), 0);
	if (!online)
		return;
	(void)snprintf(path, sizeof path, "%s/devices/system/%s/%s/online", dir, kind, name);
	assert_int_equal(file_replace(path, online, strlen(online), 0644), 0);
}

static void assert_content(const char *kind, const char *name, const char *text)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	char path[256];

	(void)snprintf(path, sizeof path, "%s/devices/system/%s/%s", dir, kind, name);
	assert_int_equal(file_read(AT_FDCWD, path, 64, &b), 0);
	assert_int_equal(strncmp(b.data, text, strlen(text)), 0);
}

static int setup(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	make("cpu", "cpu0", NULL);
	make("cpu", "cpu1", "1\n");
	make("cpu", "cpu10", "0\n");
	make("cpu", "cpufreq", "0\n");
	make("memory", "memory0", "1\n");
	make("memory", "memory32", "0\n");
	return 0;
}

static int teardown(void **state)
{
	return remove_tree(dir);
}

static void processors_come_online(void **state)
{
	assert_int_equal(online_processors(dir), 3);
	assert_content("cpu", "cpu10/online", "1");
	assert_content("cpu", "cpufreq/online", "0");
	assert_int_equal(online_processors(dir), 3);
	assert_int_equal(online_processors("/no/such/dir"), 0);
}

static void memory_comes_online(void **state)
{
	struct err e = ERR_INIT;
	char path[256];

	assert_int_equal(online_memory(dir, &e), 0);
	assert_content("memory", "memory32/online", "1");
	/* a kernel without hotplug has no such directory */
	assert_int_equal(online_memory("/no/such/dir", &e), 0);
	/* the first failure is named */
	(void)snprintf(path, sizeof path, "%s/devices/system/memory/memory64/online", dir);
	assert_int_equal(mkdir_parents(path, 0755), 0);
	assert_true(online_memory(dir, &e) < 0);
	assert_non_null(strstr(e.text, "bring memory64 online"));
}

static void memory_is_told_of_by_address(void **state)
{
	static const uint64_t addresses[] = {0x100000000, 0x108000000}, many[8193];
	struct err e = ERR_INIT;
	char path[256];

	assert_int_equal(online_probe(dir, addresses, 2, &e), -EOPNOTSUPP);
	assert_int_equal(e.status, STATUS_UNIMPLEMENTED);
	(void)snprintf(path, sizeof path, "%s/devices/system/memory/probe", dir);
	assert_int_equal(file_replace(path, "", 0, 0644), 0);
	assert_int_equal(online_probe(dir, addresses, 2, &e), 0);
	assert_content("memory", "probe", "0x108000000");
	assert_int_equal(online_probe(dir, many, 8193, &e), -E2BIG);
}

static void what_cannot_be_swapped_to_is_named(void **state)
{
	struct err e = ERR_INIT;

	assert_true(online_swap("/no/such/file", &e) < 0);
	assert_non_null(strstr(e.text, "/no/such/file"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(processors_come_online),
		cmocka_unit_test(memory_comes_online),
		cmocka_unit_test(memory_is_told_of_by_address),
		cmocka_unit_test(what_cannot_be_swapped_to_is_named),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
