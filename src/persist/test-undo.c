/* SPDX-License-Identifier: Apache-2.0 */
#include "persist/undo.h"

#include "base/fd.h"
#include "base/testing.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
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
	assert_int_equal(journal_open(at("j2"), &j, &e), 0);
	assert_int_equal(undo_new(j, &u), 0);
	assert_int_equal(undo_push(u, UNDO_TREE, at("crashed"), &e), 0);
	assert_int_equal(mkdir_parents(at("crashed/with/content"), 0700), 0);
	assert_int_equal(undo_push(u, UNDO_FILE, at("never-made"), &e), 0);
	pid_t pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
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
		cmocka_unit_test(own_start_time_is_known),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
