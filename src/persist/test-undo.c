/* SPDX-License-Identifier: Apache-2.0 */
#include "persist/undo.h"

#include "base/fd.h"
#include "base/testing.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char root[] = "/tmp/test-undo.XXXXXX";
static char seen[512];

static const char *at(const char *name)
{
	static char path[4][256];
	static unsigned i;
	char *p = path[i++ % 4];
	(void)snprintf(p, 256, "%s/%s", root, name);
	return p;
}

static int setup(void **state)
{
	return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
	return remove_tree(root);
}

static bool exists(const char *name)
{
	return access(at(name), F_OK) == 0;
}

static void effects_are_undone_in_reverse_down_to_a_mark(void **state)
{
	struct err e = ERR_INIT;
	struct journal *j;
	struct undo *u;
	assert_int_equal(journal_open(at("j1"), &j, &e), 0);
	assert_int_equal(undo_new(j, &u), 0);

	assert_int_equal(undo_push(u, UNDO_TREE, at("dir"), &e), 0);
	assert_int_equal(mkdir_parents(at("dir/sub"), 0700), 0);
	size_t mark = undo_depth(u);
	assert_int_equal(undo_push(u, UNDO_FILE, at("dir/file"), &e), 0);
	assert_int_equal(file_replace(at("dir/file"), "x", 1, 0600), 0);

	assert_int_equal(undo_to(u, mark), 0);
	assert_false(exists("dir/file"));
	assert_true(exists("dir/sub"));
	assert_int_equal(undo_to(u, 0), 0);
	assert_false(exists("dir"));
	undo_free(u);
	journal_close(j);
	assert_int_equal(undo_replay(at("j1")), 0); /* nothing left to do */
}

static void a_crash_is_replayed(void **state)
{
	struct err e = ERR_INIT;
	struct journal *j;
	struct undo *u;
	pid_t pid = fork(); /* before the journal: a child that has it would hold its lock */
	if (pid == 0) {
		pause();
		_exit(0);
	}
	assert_int_equal(journal_open(at("j2"), &j, &e), 0);
	assert_int_equal(undo_new(j, &u), 0);
	assert_int_equal(undo_push(u, UNDO_TREE, at("crashed"), &e), 0);
	assert_int_equal(mkdir_parents(at("crashed/with/content"), 0700), 0);
	assert_int_equal(undo_push(u, UNDO_FILE, at("never-made"), &e), 0);
	assert_int_equal(undo_push_process(u, pid, &e), 0);
	undo_free(u); /* as if the process had been killed */
	journal_close(j);

	/* the test is the parent, so the victim stays a zombie until reaped: its pidfd is ready */
	assert_int_equal(undo_replay(at("j2")), 0);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_false(exists("crashed"));
	assert_int_equal(undo_replay(at("j2")), 0); /* twice is fine */
}

static void another_process_with_the_same_pid_is_spared(void **state)
{
	struct err e = ERR_INIT;
	struct journal *j;
	struct undo *u;
	char argument[64];
	pid_t pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	(void)snprintf(argument, sizeof argument, "%d 12345", pid);
	assert_int_equal(journal_open(at("j3"), &j, &e), 0);
	assert_int_equal(undo_new(j, &u), 0);
	assert_int_equal(undo_push(u, UNDO_PROCESS, argument, &e), 0);
	assert_int_equal(undo_to(u, 0), 0);
	assert_int_equal(kill(pid, 0), 0);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0); /* alive */
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	undo_free(u);
	journal_close(j);
}

static void a_newline_cannot_forge_a_record(void **state)
{
	struct err e = ERR_INIT;
	struct journal *j;
	struct undo *u;
	assert_int_equal(journal_open(at("j4"), &j, &e), 0);
	assert_int_equal(undo_new(j, &u), 0);
	assert_int_equal(undo_push(u, UNDO_TREE, "/x\n+9 tree /", &e), -EINVAL);
	assert_int_equal(undo_depth(u), 0);
	undo_free(u);
	journal_close(j);
}

static int collect(void *arg, enum undo_kind kind, const char *argument)
{
	size_t n = strlen(seen);
	(void)snprintf(seen + n, sizeof seen - n, "%d:%s;", kind, argument);
	return 0;
}

static void damaged_text_is_read_as_far_as_it_goes(void **state)
{
	const char text[] = "+0 tree /a\n+1 mount /b c\ngarbage\n+x file /no\n+2 what /no\n"
			    "+3 file \n-0\n-77\n+4 file /d\n+5 tree /cut";
	seen[0] = '\0';
	assert_int_equal(journal_parse(text, sizeof text - 1, collect, NULL), 0);
	assert_string_equal(seen, "2:/d;1:/b c;");
	assert_int_equal(journal_parse("", 0, collect, NULL), 0);
}

static void a_journal_in_use_is_left_alone(void **state)
{
	struct err e = ERR_INIT;
	struct journal *j, *other;
	struct undo *u;
	int fd;
	assert_int_equal(journal_lock(at("j5"), &fd), -ENOENT);
	assert_int_equal(journal_open(at("j5"), &j, &e), 0);
	assert_int_equal(undo_new(j, &u), 0);
	assert_int_equal(undo_push(u, UNDO_TREE, at("living/one"), &e), 0);
	assert_int_equal(mkdir_parents(at("living/one"), 0700), 0);
	assert_int_equal(undo_replay(at("j5")), -EBUSY);
	assert_int_equal(journal_open(at("j5"), &other, &e), -EEXIST);
	assert_int_equal(e.status, STATUS_ALREADY_EXISTS);
	assert_true(exists("living/one"));
	undo_free(u);
	journal_close(j);
	assert_int_equal(undo_replay(at("j5")), 0);
	assert_false(exists("living/one"));
}

static void a_cut_line_is_taken_off(void **state)
{
	struct err e = ERR_INIT;
	struct journal *j;
	struct undo *u;
	char text[300];
	assert_int_equal(mkdir_parents(at("cut/whole/x"), 0700), 0);
	(void)snprintf(text, sizeof text, "+0 tree %s\n+1 tree %s", at("cut/none"), at("cut"));
	assert_int_equal(file_replace(at("j6"), text, strlen(text), 0600), 0);
	assert_int_equal(journal_open(at("j6"), &j, &e), 0);
	assert_int_equal(undo_new(j, &u), 0);
	assert_int_equal(undo_push(u, UNDO_TREE, at("cut/whole"), &e), 0);
	undo_free(u);
	journal_close(j);
	assert_int_equal(undo_replay(at("j6")), 0);
	assert_false(exists("cut/whole"));
	assert_true(exists("cut"));
}

static void no_directory_high_up_is_removed(void **state)
{
	static const char text[] = "+0 tree /\n+1 tree /tmp\n+2 tree //tmp/\n+3 tree tmp/a/b/c\n"
				   "+4 tree /tmp/a/b/../..\n";
	assert_int_equal(file_replace(at("j7"), text, strlen(text), 0600), 0);
	assert_int_equal(undo_replay(at("j7")), 0);
	assert_true(exists("j7"));
}

/* What a pod does for months: containers come and go, the sandbox stays. */
static void a_long_life_keeps_the_journal_short(void **state)
{
	struct err e = ERR_INIT;
	struct journal *j;
	struct undo *sandbox, *u;
	struct stat st;
	assert_int_equal(journal_open(at("j8"), &j, &e), 0);
	assert_int_equal(undo_new(j, &sandbox), 0);
	assert_int_equal(undo_new(j, &u), 0);
	assert_int_equal(undo_push(sandbox, UNDO_TREE, at("long/life"), &e), 0);
	assert_int_equal(mkdir_parents(at("long/life"), 0700), 0);
	for (int i = 0; i < 5000; i++) {
		assert_int_equal(undo_push(u, UNDO_FILE, at("never-there"), &e), 0);
		assert_int_equal(undo_to(u, 0), 0);
	}
	assert_int_equal(stat(at("j8"), &st), 0);
	assert_true(st.st_size < 100 * 1024);
	assert_int_equal(undo_replay(at("j8")), -EBUSY); /* the lock has moved along */
	assert_int_equal(undo_push(u, UNDO_TREE, at("long/last"), &e), 0);
	assert_int_equal(mkdir_parents(at("long/last"), 0700), 0);
	undo_free(u);
	undo_free(sandbox);
	journal_close(j);
	assert_int_equal(undo_replay(at("j8")), 0);
	assert_false(exists("long/life"));
	assert_false(exists("long/last"));
	assert_false(exists("j8.new"));
}

/* RLIMIT_FSIZE stands for a full disk: a write of which only a part fits. */
static void a_full_disk_fails_whole(void **state)
{
	struct err e = ERR_INIT;
	struct journal *j;
	struct undo *u;
	struct rlimit old, limit;
	assert_int_equal(journal_open(at("j9"), &j, &e), 0);
	assert_int_equal(undo_new(j, &u), 0);
	assert_int_equal(undo_push(u, UNDO_FILE, at("first"), &e), 0);
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = (struct rlimit){.rlim_cur = 80, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	int r = undo_push(u, UNDO_TREE, at("a-directory-whose-name-does-not-fit-any-more"), &e);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_true(r < 0);
	assert_non_null(strstr(e.text, "journal"));
	assert_int_equal(undo_depth(u), 1);
	assert_int_equal(undo_push(u, UNDO_FILE, at("second"), &e), 0);
	undo_free(u);
	journal_close(j);
	_cleanup_buf_ struct buf b = BUF_INIT;
	assert_int_equal(file_read(AT_FDCWD, at("j9"), 4096, &b), 0);
	seen[0] = '\0';
	assert_int_equal(journal_parse(b.data, b.len, collect, NULL), 0);
	char expected[300];
	(void)snprintf(expected, sizeof expected, "2:%s;2:%s;", at("second"), at("first"));
	assert_string_equal(seen, expected);
}

static void own_start_time_is_known(void **state)
{
	assert_true(process_start_time(getpid()) > 0);
	assert_int_equal(process_start_time(0x7ffffff0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(effects_are_undone_in_reverse_down_to_a_mark),
		cmocka_unit_test(a_crash_is_replayed),
		cmocka_unit_test(another_process_with_the_same_pid_is_spared),
		cmocka_unit_test(a_newline_cannot_forge_a_record),
		cmocka_unit_test(damaged_text_is_read_as_far_as_it_goes),
		cmocka_unit_test(a_journal_in_use_is_left_alone),
		cmocka_unit_test(a_cut_line_is_taken_off),
		cmocka_unit_test(no_directory_high_up_is_removed),
		cmocka_unit_test(a_long_life_keeps_the_journal_short),
		cmocka_unit_test(a_full_disk_fails_whole),
		cmocka_unit_test(own_start_time_is_known),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
