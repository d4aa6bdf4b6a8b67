/* SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"

#include "base/fd.h"
#include "sys/inroot.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

struct tree {
	char path[64];
	int fd;
};

static int setup(void **state)
{
	struct tree *t = calloc(1, sizeof *t);
	(void)snprintf(t->path, sizeof t->path, "/tmp/inroot.XXXXXX");
	assert_non_null(mkdtemp(t->path));
	t->fd = open(t->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(t->fd >= 0);
	assert_int_equal(mkdirat(t->fd, "dir", 0755), 0);
	assert_int_equal(mkdirat(t->fd, "dir/sub", 0755), 0);
	assert_int_equal(symlinkat("/etc", t->fd, "abs"), 0);
	assert_int_equal(symlinkat("../../../../etc", t->fd, "up"), 0);
	assert_int_equal(symlinkat("/run", t->fd, "dangling"), 0);
	assert_int_equal(symlinkat("loop", t->fd, "loop"), 0);
	assert_int_equal(symlinkat("dir", t->fd, "rel"), 0);
	assert_int_equal(symlinkat("../dir/sub/../sub", t->fd, "dir/zig"), 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct tree *t = *state;
	assert_int_equal(close(t->fd), 0);
	assert_int_equal(remove_tree(t->path), 0);
	free(t);
	return 0;
}

static void test_resolve(void **state)
{
	struct tree *t = *state;
	static const struct {
		const char *path, *want;
	} cases[] = {
		{"/", ""},
		{"", ""},
		{"//dir///sub/.", "dir/sub"},
		{"../../..", ""},
		{"dir/../../../dir/sub", "dir/sub"},
		{"/abs/passwd", "etc/passwd"},
		{"/up/passwd", "etc/passwd"},
		{"/dangling/secrets", "run/secrets"},
		{"/rel/sub/new/leaf", "dir/sub/new/leaf"},
		{"/dir/zig/x", "dir/sub/x"},
		{"/missing/../dir", "dir"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char got[PATH_MAX];
		assert_int_equal(inroot_resolve(t->fd, cases[i].path, got), 0);
		assert_string_equal(got, cases[i].want);
	}
	char got[PATH_MAX];
	assert_int_equal(inroot_resolve(t->fd, "loop/x", got), -ELOOP);
	char *longer = calloc(1, PATH_MAX + 2);
	memset(longer, 'a', PATH_MAX + 1);
	assert_int_equal(inroot_resolve(t->fd, longer, got), -ENAMETOOLONG);
	free(longer);
}

static void test_open_stays_inside(void **state)
{
	struct tree *t = *state;
	/* /etc/passwd exists outside of the tree, and not in it. */
	assert_int_equal(inroot_open(t->fd, "abs/passwd", O_RDONLY), -ENOENT);
	assert_int_equal(inroot_open(t->fd, "up/passwd", O_RDONLY), -ENOENT);
	assert_int_equal(inroot_open(t->fd, "../../../etc/passwd", O_RDONLY), -ENOENT);
	int fd = inroot_open(t->fd, "/", O_PATH);
	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
}

static void test_make(void **state)
{
	struct tree *t = *state;
	int fd = inroot_mkdir(t->fd, "/dangling/a/b", 0755);
	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
	struct stat st;
	assert_int_equal(fstatat(t->fd, "run/a/b", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISDIR(st.st_mode));

	fd = inroot_mkfile(t->fd, "/abs/hosts", 0644);
	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
	assert_int_equal(fstatat(t->fd, "etc/hosts", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISREG(st.st_mode));

	assert_int_equal(inroot_mkdir(t->fd, "/abs/hosts/x", 0755), -ENOTDIR);
	assert_int_equal(inroot_mkfile(t->fd, "/", 0644), -EINVAL);
}

static void test_parent(void **state)
{
	struct tree *t = *state;
	char name[NAME_MAX + 1];
	int fd = inroot_parent(t->fd, "/up/dev/null", name);
	assert_true(fd >= 0);
	assert_string_equal(name, "null");
	assert_int_equal(close(fd), 0);
	struct stat st;
	assert_int_equal(fstatat(t->fd, "etc/dev", &st, AT_SYMLINK_NOFOLLOW), 0);

	fd = inroot_parent(t->fd, "/abs", name); /* the link itself, not what it leads to */
	assert_true(fd >= 0);
	assert_string_equal(name, "abs");
	assert_int_equal(close(fd), 0);
	assert_int_equal(inroot_parent(t->fd, "/", name), -EINVAL);
	assert_int_equal(inroot_parent(t->fd, "/dir/..", name), -EINVAL);
}

static void test_plain_directories(void **state)
{
	struct tree *t = *state;
	int fd = inroot_mkdir_plain(t->fd, "/dir/./sub/../new/deep", 0755);
	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
	assert_int_equal(faccessat(t->fd, "dir/new/deep", F_OK, 0), 0);
	fd = inroot_mkdir_plain(t->fd, "../../dir", 0755);
	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
	assert_int_equal(inroot_mkdir_plain(t->fd, "/rel", 0755), -ELOOP);
	assert_int_equal(inroot_mkdir_plain(t->fd, "/rel/sub", 0755), -ELOOP);
	assert_int_equal(inroot_mkdir_plain(t->fd, "/abs/x", 0755), -ELOOP);
	assert_int_equal(inroot_mkdir_plain(t->fd, "/dangling", 0755), -ELOOP);
	int file = openat(t->fd, "dir/file", O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(close(file), 0);
	assert_int_equal(inroot_mkdir_plain(t->fd, "/dir/file/x", 0755), -ENOTDIR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_resolve, setup, teardown),
		cmocka_unit_test_setup_teardown(test_open_stays_inside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_make, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plain_directories, setup, teardown),
	};
	return RUN_TESTS();
}
