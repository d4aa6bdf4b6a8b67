/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include "base/testing.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static char root[] = "/tmp/test-fd.XXXXXX";

static const char *at(const char *name)
{
	static char path[256];
	(void)snprintf(path, sizeof path, "%s/%s", root, name);
	return path;
}

static int setup(void **state)
{
	return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
	return remove_tree(root);
}

static void replace_then_read(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct stat st;
	assert_int_equal(file_replace(at("f"), "one", 3, 0600), 0);
	assert_int_equal(file_replace(at("f"), "two", 3, 0640), 0);
	assert_int_equal(file_read(AT_FDCWD, at("f"), 100, &b), 0);
	assert_string_equal(b.data, "two");
	assert_int_equal(stat(at("f"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
}

static void a_file_over_the_limit_is_refused(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	assert_int_equal(file_replace(at("big"), "0123456789", 10, 0600), 0);
	assert_int_equal(file_read(AT_FDCWD, at("big"), 9, &b), -EFBIG);
	assert_int_equal(file_read(AT_FDCWD, at("none"), 9, &b), -ENOENT);
}

static void makes_parents_and_refuses_a_file_in_the_way(void **state)
{
	assert_int_equal(mkdir_parents(at("a/b/c"), 0700), 0);
	assert_int_equal(mkdir_parents(at("a/b/c"), 0755), 0);
	assert_int_equal(file_replace(at("a/file"), "", 0, 0600), 0);
	assert_int_equal(mkdir_parents(at("a/file"), 0700), -ENOTDIR);
}

static void only_empty_parents_go(void **state)
{
	assert_int_equal(mkdir_parents(at("p/q/r"), 0700), 0);
	assert_int_equal(file_replace(at("p/keep"), "", 0, 0600), 0);
	char path[256];
	(void)snprintf(path, sizeof path, "%s", at("p/q/r"));
	rmdir_parents(path, root);
	assert_int_equal(access(at("p/q"), F_OK), -1);
	assert_int_equal(access(at("p/keep"), F_OK), 0);
}

static void removing_a_tree_does_not_follow_links(void **state)
{
	assert_int_equal(mkdir_parents(at("keep"), 0700), 0);
	assert_int_equal(file_replace(at("keep/file"), "x", 1, 0600), 0);
	assert_int_equal(mkdir_parents(at("tree/deep/er"), 0700), 0);
	char target[256];
	(void)snprintf(target, sizeof target, "%s/keep", root);
	assert_int_equal(symlink(target, at("tree/deep/link")), 0);
	assert_int_equal(remove_tree(at("tree")), 0);
	assert_int_equal(access(at("tree"), F_OK), -1);
	assert_int_equal(access(at("keep/file"), F_OK), 0);
	assert_int_equal(remove_tree(at("tree")), 0); /* missing is fine */
}

static void path_format_never_cuts(void **state)
{
	char p[8];
	assert_int_equal(path_format(p, sizeof p, "%s", "1234567"), 0);
	assert_int_equal(path_format(p, sizeof p, "%s", "12345678"), -ENAMETOOLONG);
}

static void nonblock_can_be_set_and_cleared(void **state)
{
	int p[2];
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(fd_set_nonblock(p[0], true), 0);
	assert_true(fcntl(p[0], F_GETFL) & O_NONBLOCK);
	assert_int_equal(fd_set_nonblock(p[0], false), 0);
	assert_false(fcntl(p[0], F_GETFL) & O_NONBLOCK);
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replace_then_read),
		cmocka_unit_test(a_file_over_the_limit_is_refused),
		cmocka_unit_test(makes_parents_and_refuses_a_file_in_the_way),
		cmocka_unit_test(only_empty_parents_go),
		cmocka_unit_test(removing_a_tree_does_not_follow_links),
		cmocka_unit_test(path_format_never_cuts),
		cmocka_unit_test(nonblock_can_be_set_and_cleared),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
