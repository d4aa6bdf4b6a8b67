/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/modules.h"

#include "base/fd.h"
#include "base/testing.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static char dir[] = "/tmp/test-modules.XXXXXX";

static void write_list(const char *text)
{
	char path[128];
	(void)snprintf(path, sizeof path, "%s/list", dir);
	assert_int_equal(file_replace(path, text, strlen(text), 0644), 0);
}

static int setup(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	return remove_tree(dir);
}

static void no_list_means_no_modules(void **state)
{
	struct modules *m = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(modules_new("/no/such/dir", &m, &e), 0);
	assert_false(modules_has(m, "virtio"));
	assert_int_equal(modules_load_present(m, NULL, &e), 0);
	assert_int_equal(modules_load(m, "virtio", NULL, &e), -ENOENT);
	assert_string_equal(e.text, "this guest image has no kernel module virtio");
	modules_free(m);
}

static void names_and_dependencies(void **state)
{
	struct modules *m = NULL;
	struct err e = ERR_INIT;

	write_list(
		"a pci:v0000FFFFd* b c\nb-d -\nloop1 - loop2\nloop2 - loop1\nb - \nc - missing\n");
	assert_int_equal(modules_new(dir, &m, &e), 0);
	assert_true(modules_has(m, "b_d"));
	assert_true(modules_has(m, "b-d"));
	assert_false(modules_has(m, "b-"));
	/* a needed module whose file is missing is named, not the one that needs it */
	assert_int_equal(modules_load(m, "a", NULL, &e), -ENOENT);
	assert_non_null(strstr(e.text, "/b.ko"));
	assert_int_equal(modules_load(m, "c", NULL, &e), -ENOENT);
	assert_non_null(strstr(e.text, "no kernel module missing"));
	assert_int_equal(modules_load(m, "loop1", NULL, &e), -ELOOP);
	/* vendor FFFF does not exist, so nothing is wanted */
	assert_int_equal(modules_load_present(m, NULL, &e), 0);
	modules_free(m);
}

static void malformed_lists_are_refused(void **state)
{
	static const char *const bad[] = {"only-a-name\n", "../evil - x\n", "a/b -\n",
					  "x - 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n"};
	struct modules *m = NULL;
	struct err e = ERR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		write_list(bad[i]);
		assert_int_equal(modules_new(dir, &m, &e), -EINVAL);
		assert_non_null(strstr(e.text, "line 1"));
	}
	_cleanup_buf_ struct buf many = BUF_INIT;
	for (int i = 0; i < 200; i++)
		buf_printf(&many, "m%d -\n", i);
	write_list(many.data);
	assert_int_equal(modules_new(dir, &m, &e), -EINVAL);
	assert_null(m);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_list_means_no_modules),
		cmocka_unit_test(names_and_dependencies),
		cmocka_unit_test(malformed_lists_are_refused),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
