/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes that are given to a group. Needs root. */
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/fs-group.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define GID 4321

static char top[64];

static int setup(void **state)
{
	(void)snprintf(top, sizeof top, "/tmp/test-fs-group.XXXXXX");
	assert_non_null(mkdtemp(top));
	assert_int_equal(mount("volume", top, "tmpfs", 0, NULL), 0);
	assert_int_equal(chdir(top), 0);
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(umount2(top, MNT_DETACH), 0);
	assert_int_equal(rmdir(top), 0);
	return 0;
}

static void make_file(const char *path, mode_t mode)
{
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, mode), 0);
	(void)close(fd);
}

static void expect(const char *path, gid_t gid, mode_t mode)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	if (st.st_gid != gid || (st.st_mode & 07777) != mode)
		fail_msg("%s: group %u mode %o, not %u %o", path, st.st_gid, st.st_mode & 07777,
			 gid, mode);
}

static int apply_with(const struct fs_group *g, struct err *e)
{
	_cleanup_close_ int fd = open(top, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fs_group_apply(fd, g, top, e);
}

static int apply(void)
{
	return apply_with(&(struct fs_group){.gid = GID}, NULL);
}

static void groups_and_modes(void **state)
{
	assert_int_equal(mkdir("d", 0700), 0);
	make_file("d/f", 0600);
	make_file("x", 04755);
	assert_int_equal(mkfifo("fifo", 0600), 0);
	assert_int_equal(mknod("null", S_IFCHR | 0600, 0x103), 0);
	assert_int_equal(link("d/f", "other-name"), 0);
	assert_int_equal(apply(), 0);
	expect("d", GID, 02770);
	expect("d/f", GID, 0660);
	expect("other-name", GID, 0660);
	expect("x", GID, 0775); /* a new group does not inherit what a set-id program may do */
	expect("fifo", GID, 0660);
	expect("null", 0, 0600);
	struct stat st;
	assert_int_equal(stat(".", &st), 0);
	assert_int_equal(st.st_gid, GID);
	assert_int_equal(st.st_mode & 02770, 02770);
}

static void a_group_that_only_reads(void **state)
{
	assert_int_equal(mkdir("d", 0700), 0);
	make_file("d/f", 0600);
	assert_int_equal(apply_with(&(struct fs_group){.gid = GID, .read_only = true}, NULL), 0);
	expect("d", GID, 02750);
	expect("d/f", GID, 0640);
}

static void nothing_is_done_where_the_top_fits(void **state)
{
	const struct fs_group g = {.gid = GID, .on_root_mismatch = true};

	make_file("old", 0600);
	assert_int_equal(apply_with(&g, NULL), 0);
	expect("old", GID, 0660);
	make_file("new", 0600);
	assert_int_equal(chown("new", 0, 0), 0);
	assert_int_equal(apply_with(&g, NULL), 0);
	expect("new", 0, 0600);
	/* one bit is missing, so all is looked at */
	assert_int_equal(chmod(".", 0770), 0);
	assert_int_equal(apply_with(&g, NULL), 0);
	expect("new", GID, 0660);
}

static void links_and_mounts_are_left_alone(void **state)
{
	char outside[] = "/tmp/test-fs-group-outside.XXXXXX", path[128];

	assert_non_null(mkdtemp(outside));
	(void)snprintf(path, sizeof path, "%s/secret", outside);
	make_file(path, 0600);
	assert_int_equal(symlink(outside, "way-out"), 0);
	assert_int_equal(symlink("/", "root"), 0);
	assert_int_equal(symlink(".", "loop"), 0);
	assert_int_equal(symlink(path, "file"), 0);
	assert_int_equal(mkdir("mounted", 0700), 0);
	assert_int_equal(mount(outside, "mounted", NULL, MS_BIND, NULL), 0);
	make_file("here", 0600);
	make_file("over", 0600);
	assert_int_equal(mount(path, "over", NULL, MS_BIND, NULL), 0);
	assert_int_equal(apply(), 0);
	expect(outside, 0, 0700);
	expect(path, 0, 0600);
	expect("here", GID, 0660);
	expect("way-out", 0, 0777);
	assert_int_equal(umount("mounted"), 0);
	assert_int_equal(umount("over"), 0);
	expect("mounted", 0, 0700);
	assert_int_equal(remove_tree(outside), 0);
}

static void make_chain(unsigned depth)
{
	int fd = open(top, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (unsigned i = 0; i < depth; i++) {
		assert_int_equal(mkdirat(fd, "d", 0700), 0);
		int next = openat(fd, "d", O_PATH | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		(void)close(fd);
		fd = next;
	}
	(void)close(fd);
}

static void depth_is_bounded(void **state)
{
	struct err e = ERR_INIT;

	make_chain(FS_GROUP_DEPTH_MAX - 1); /* and the top itself */
	assert_int_equal(apply(), 0);
	assert_int_equal(rename("d", "e"), 0);
	make_chain(5000);
	assert_int_equal(apply_with(&(struct fs_group){.gid = GID}, &e), -ELOOP);
	assert_non_null(strstr(e.text, "256 deep"));
	/* cmocka's teardown detaches the tmpfs, so nobody has to walk this */
}

/* Names that sort anyhow, links between them, and directories that hold nothing but loops. */
static void a_hundred_thousand_files(void **state)
{
	char name[64];

	for (unsigned d = 0; d < 100; d++) {
		(void)snprintf(name, sizeof name, "d%u", d);
		assert_int_equal(mkdir(name, 0700), 0);
		int fd = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		for (unsigned i = 0; i < 1000; i++) {
			(void)snprintf(name, sizeof name, "f%u", i);
			if (i % 100 == 0)
				assert_int_equal(symlinkat(i ? "../../" : "..", fd, name), 0);
			else if (i % 100 == 1)
				assert_int_equal(mkdirat(fd, name, 0700), 0);
			else
				assert_int_equal(mknodat(fd, name, S_IFREG | 0600, 0), 0);
		}
		(void)close(fd);
	}
	assert_int_equal(apply(), 0);
	for (unsigned d = 0; d < 100; d++)
		for (unsigned i = 0; i < 1000; i++) {
			(void)snprintf(name, sizeof name, "d%u/f%u", d, i);
			if (i % 100 == 0)
				expect(name, 0, 0777);
			else
				expect(name, GID, i % 100 == 1 ? 02770 : 0660);
		}
}

static void a_file_alone(void **state)
{
	make_file("f", 0600);
	_cleanup_close_ int fd = open("f", O_PATH | O_CLOEXEC);
	assert_int_equal(fs_group_apply(fd, &(struct fs_group){.gid = GID}, "f", NULL), 0);
	expect("f", GID, 0660);
}

static void what_cannot_be_written_is_said(void **state)
{
	make_file("f", 0600);
	assert_int_equal(mount(NULL, top, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	assert_int_equal(apply(), -EROFS);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(groups_and_modes, setup, teardown),
		cmocka_unit_test_setup_teardown(a_group_that_only_reads, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_done_where_the_top_fits, setup,
						teardown),
		cmocka_unit_test_setup_teardown(links_and_mounts_are_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(depth_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(a_hundred_thousand_files, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_written_is_said, setup, teardown),
	};

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		fprintf(stderr, "this test needs root\n");
		return 1;
	}
	return RUN_TESTS();
}
