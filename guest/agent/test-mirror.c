/* SPDX-License-Identifier: Apache-2.0 */
/* Small directories that are copied and followed. Needs root, for owners. */
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/mirror.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static char top[64];
static struct mirror *mirror;
static const struct mirror_limits limits = {.files = 8, .bytes = 65536};

static int setup(void **state)
{
	(void)snprintf(top, sizeof top, "/tmp/test-mirror.XXXXXX");
	assert_non_null(mkdtemp(top));
	assert_int_equal(chdir(top), 0);
	assert_int_equal(mkdir("from", 0755), 0);
	assert_int_equal(mkdir("to", 0755), 0);
	assert_int_equal(mirror_new("from", "to", &mirror, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	mirror_free(mirror);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(remove_tree(top), 0);
	return 0;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	(void)close(fd);
}

static void expect_text(const char *path, const char *expected)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &text), 0);
	assert_string_equal(text.data, expected);
}

static void expect_no(const char *path)
{
	struct stat st;
	assert_int_equal(lstat(path, &st), -1);
}

static void update(int expected)
{
	struct err e = ERR_INIT;

	int r = mirror_update(mirror, &limits, &e);
	if (r != expected)
		fail_msg("%d, not %d: %s", r, expected, e.text);
}

static void files_with_owners_and_modes(void **state)
{
	struct stat st;

	update(1);
	update(0);
	assert_int_equal(mkdir("from/d", 0700), 0);
	assert_int_equal(chown("from/d", 5, 6), 0);
	assert_int_equal(chmod("from/d", 02710), 0);
	write_file("from/d/f", "text");
	assert_int_equal(chown("from/d/f", 7, 8), 0);
	assert_int_equal(chmod("from/d/f", 0440), 0);
	assert_int_equal(symlink("d/f", "from/l"), 0);
	assert_int_equal(mkfifo("from/fifo", 0600), 0);
	assert_int_equal(chmod("from", 01777), 0);
	update(1);
	update(0);
	expect_text("to/d/f", "text");
	expect_text("to/l", "text");
	expect_no("to/fifo");
	assert_int_equal(stat("to/d", &st), 0);
	assert_int_equal(st.st_mode & 07777, 02710);
	assert_int_equal(st.st_uid, 5);
	assert_int_equal(stat("to/d/f", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0440);
	assert_int_equal(st.st_gid, 8);
	assert_int_equal(stat("to", &st), 0);
	assert_int_equal(st.st_mode & 07777, 01777);
	/* owner and mode alone count as a change, too */
	assert_int_equal(chown("from/d/f", 9, 9), 0);
	update(1);
	assert_int_equal(stat("to/d/f", &st), 0);
	assert_int_equal(st.st_uid, 9);
	assert_int_equal(chmod("from/d", 0755), 0);
	update(1);
	update(0);
}

static void what_is_gone_goes(void **state)
{
	assert_int_equal(mkdir("from/d", 0755), 0);
	write_file("from/d/f", "1");
	write_file("from/g", "2");
	update(1);
	assert_int_equal(unlink("from/d/f"), 0);
	update(1);
	expect_no("to/d/f");
	assert_int_equal(rmdir("from/d"), 0);
	update(1);
	expect_no("to/d");
	/* one kind in the place of another */
	assert_int_equal(unlink("from/g"), 0);
	assert_int_equal(mkdir("from/g", 0755), 0);
	write_file("from/g/x", "3");
	update(1);
	expect_text("to/g/x", "3");
	assert_int_equal(remove_tree("from/g"), 0);
	write_file("from/g", "4");
	update(1);
	expect_text("to/g", "4");
}

static void swap_data(const char *version)
{
	assert_int_equal(symlink(version, "from/..tmp"), 0);
	assert_int_equal(rename("from/..tmp", "from/..data"), 0);
}

/* An older directory, with an older file of the same size, takes the place of a newer. */
static void an_older_version_is_swapped_in(void **state)
{
	const struct timespec old[] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	char target[16] = "";

	assert_int_equal(mkdir("from/..old", 0755), 0);
	write_file("from/..old/key", "old");
	assert_int_equal(utimensat(AT_FDCWD, "from/..old/key", old, 0), 0);
	assert_int_equal(mkdir("from/..new", 0755), 0);
	write_file("from/..new/key", "new");
	swap_data("..new");
	assert_int_equal(symlink("..data/key", "from/key"), 0);
	update(1);
	expect_text("to/key", "new");
	swap_data("..old");
	update(1);
	expect_text("to/key", "old");
	assert_true(readlink("to/..data", target, sizeof target - 1) > 0);
	assert_string_equal(target, "..old");

	/* a plain file, replaced by an older one of the same size */
	write_file("from/plain", "aaa");
	update(1);
	write_file("older", "bbb");
	assert_int_equal(utimensat(AT_FDCWD, "older", old, 0), 0);
	assert_int_equal(rename("older", "from/plain"), 0);
	update(1);
	expect_text("to/plain", "bbb");
	/* and written in place with its time put back */
	write_file("from/plain", "ccc");
	assert_int_equal(utimensat(AT_FDCWD, "from/plain", old, 0), 0);
	update(1);
	expect_text("to/plain", "ccc");
	update(0);
}

static void too_much_is_refused(void **state)
{
	struct err e = ERR_INIT;
	char name[32];

	for (int i = 0; i < 8; i++) {
		(void)snprintf(name, sizeof name, "from/%d", i);
		write_file(name, "x");
	}
	update(1);
	write_file("from/8", "x");
	assert_int_equal(mirror_update(mirror, &limits, &e), -E2BIG);
	expect_no("to/8");
	expect_text("to/7", "x");
	assert_int_equal(unlink("from/8"), 0);
	update(0);
	assert_int_equal(truncate("from/0", 70000), 0);
	assert_int_equal(mirror_update(mirror, &limits, &e), -E2BIG);
	expect_text("to/0", "x");
	assert_int_equal(unlink("from/0"), 0);
	for (int i = 0; i < 40; i++) {
		(void)snprintf(name, sizeof name, "from/l%d", i);
		assert_int_equal(symlink("x", name), 0);
	}
	assert_int_equal(mirror_update(mirror, &limits, &e), -E2BIG);
	for (int i = 0; i < 40; i++) {
		(void)snprintf(name, sizeof name, "from/l%d", i);
		assert_int_equal(unlink(name), 0);
	}
	assert_int_equal(mkdir("from/a", 0755), 0);
	char deep[64] = "from/a";
	for (int i = 0; i < 9; i++) {
		(void)snprintf(deep + strlen(deep), sizeof deep - strlen(deep), "/a");
		assert_int_equal(mkdir(deep, 0755), 0);
	}
	assert_int_equal(mirror_update(mirror, &limits, &e), -E2BIG);
}

/* Containers may be able to write to the copy. */
static void links_in_the_copy_lead_nowhere(void **state)
{
	assert_int_equal(mkdir("outside", 0700), 0);
	write_file("outside/f", "secret");
	assert_int_equal(mkdir("from/d", 0755), 0);
	write_file("from/d/f", "1");
	write_file("from/g", "1");
	update(1);
	assert_int_equal(remove_tree("to/d"), 0);
	assert_int_equal(symlink("../outside", "to/d"), 0);
	assert_int_equal(unlink("to/g"), 0);
	assert_int_equal(symlink("../outside/f", "to/g"), 0);
	assert_int_equal(symlink("../outside/made", "to/.kata-mirror"), 0);
	write_file("from/d/f", "22");
	write_file("from/g", "22");
	/* at the latest the second time; the first may stumble over what is not as it left it */
	(void)mirror_update(mirror, &limits, NULL);
	update(mirror_update(mirror, &limits, NULL) >= 0 ? 0 : 1);
	expect_text("outside/f", "secret");
	expect_no("outside/made");
	expect_text("to/g", "22");
	expect_text("to/d/f", "22");
	struct stat st;
	assert_int_equal(stat("outside", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
}

static void an_original_that_is_away_for_a_while(void **state)
{
	write_file("from/f", "1");
	update(1);
	assert_int_equal(rename("from", "away"), 0);
	assert_int_equal(mirror_update(mirror, &limits, NULL), -ENOENT);
	expect_text("to/f", "1");
	assert_int_equal(rename("away", "from"), 0);
	update(0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(files_with_owners_and_modes, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_gone_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(an_older_version_is_swapped_in, setup, teardown),
		cmocka_unit_test_setup_teardown(too_much_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(links_in_the_copy_lead_nowhere, setup, teardown),
		cmocka_unit_test_setup_teardown(an_original_that_is_away_for_a_while, setup,
						teardown),
	};

	if (geteuid() != 0) {
		fprintf(stderr, "this test needs root\n");
		return 1;
	}
	return RUN_TESTS();
}
