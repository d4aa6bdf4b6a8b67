/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers that manage a cgroup of version 2 of their own, as those with systemd do. For
 * tests/testhost/cgroups: it needs the controllers in version 2.
 */
#include "engine/testbed.h"

#include "base/fd.h"
#include "sys/cgroup.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>

#define ROOT "/sys/fs/cgroup"

/* What such a container does first: a group with controllers for others must have no processes. */
#define DELEGATE                                                         \
	"cd /sys/fs/cgroup; mkdir init && echo 1 >init/cgroup.procs && " \
	"echo +memory +pids >cgroup.subtree_control || exit 9; "

static const char patch[] =
	"{'linux':{'cgroupsPath':'/engine-test/a/managed','namespaces':[{'type':'pid'},"
	"{'type':'uts'},{'type':'ipc'},{'type':'cgroup'},{'type':'mount'}],"
	"'resources':{'memory':{'limit':67108864},'pids':{'limit':50},"
	"'devices':[{'allow':false,'access':'rwm'}]}},"
	"'mounts+':[{'destination':'/sys/fs/cgroup','type':'cgroup','source':'cgroup',"
	"'options':['rw','nosuid','noexec','nodev']}]}";

static int setup(void **state)
{
	assert_int_equal(cgroup_version(ROOT), 2);
	return testbed_setup_controllers(state);
}

static bool controls(const struct cgroup *g, const char *relative, const char *controller)
{
	char path[PATH_MAX];
	_cleanup_buf_ struct buf b = BUF_INIT;
	assert_int_equal(path_format(path, sizeof path, "%s%s%s/cgroup.subtree_control", g->root,
				     g->relative, relative),
			 0);
	assert_int_equal(file_read(AT_FDCWD, path, 4096, &b), 0);
	return b.len && strstr(b.data, controller);
}

static void an_exec_joins_where_init_is(void **state)
{
	struct running c;
	testbed_start(*state, "c", DELEGATE "echo up; sleep 1000 & wait", patch, &c);
	assert_true(controls(engine_cgroup(c.c), "", "memory"));
	const struct result *r = testbed_exec(&c, "cat /proc/self/cgroup", NULL);
	if (r->r < 0)
		fail_msg("%s", r->e.text);
	assert_string_equal(r->out, "0::/init\n");
	/* and goes on when that moved again */
	assert_int_equal(
		testbed_exec(&c,
			     "mkdir /sys/fs/cgroup/deep && mkdir /sys/fs/cgroup/deep/er && "
			     "echo 1 >/sys/fs/cgroup/deep/er/cgroup.procs",
			     NULL)
			->status,
		0);
	assert_string_equal(testbed_exec(&c, "cat /proc/self/cgroup", NULL)->out, "0::/deep/er\n");
	testbed_stop(&c);
	assert_int_equal(access(ROOT "/engine-test/a/managed", F_OK), -1);
}

/* What holds for the whole holds for its parts. */
static void limits_are_those_of_the_whole(void **state)
{
	struct running c;
	struct err e = ERR_INIT;
	pid_t *pids = NULL;
	size_t n = 0;
	testbed_start(*state, "c", DELEGATE "echo up; sleep 1000 & sleep 1000 & wait", patch, &c);
	/* a limit that it sets itself is not above its own */
	const struct result *r = testbed_exec(
		&c,
		"mkdir /sys/fs/cgroup/big && echo max >/sys/fs/cgroup/big/memory.max && "
		"echo $$ >/sys/fs/cgroup/big/cgroup.procs && "
		"exec dd if=/dev/zero of=/dev/null bs=100M count=1",
		NULL);
	assert_int_equal(r->status, 128 + SIGKILL);
	uint64_t kills = 0;
	assert_int_equal(cgroup_read_key(engine_cgroup(c.c), "memory.events", "oom_kill", &kills),
			 0);
	assert_int_equal(kills, 1);
	r = testbed_exec(&c,
			 "mknod /tmp/d b 254 0; echo $$ >/sys/fs/cgroup/big/cgroup.procs; "
			 "head -c 1 /tmp/d 2>&1 | grep -c 'not permitted'",
			 NULL);
	assert_string_equal(r->out, "1\n");
	assert_int_equal(engine_pids(c.c, &pids, &n, &e), 0);
	assert_true(n >= 3);
	free(pids);
	assert_int_equal(engine_freeze(c.c, true, &e), 0);
	assert_int_equal(engine_kill_all(c.c, SIGKILL, &e), 0);
	assert_int_equal(engine_pids(c.c, &pids, &n, &e), 0);
	assert_int_equal(n, 0);
	free(pids);
	testbed_stop(&c);
	assert_int_equal(access(ROOT "/engine-test/a/managed", F_OK), -1);
}

static void a_group_ends_as_a_whole(void **state)
{
	struct testbed *t = *state;
	const struct result *r = testbed_run(
		t, "sleep 1000 & (exec dd if=/dev/zero of=/dev/null bs=100M count=1); echo alive",
		"{'linux':{'cgroupsPath':'/engine-test/a/group','resources':{"
		"'memory':{'limit':33554432},"
		"'unified':{'memory.oom.group':'1','memory.swap.max':'0'}}}}");
	assert_int_equal(r->r, 0);
	assert_int_equal(r->status, 128 + SIGKILL);
	assert_string_equal(r->out, "");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, testbed_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(an_exec_joins_where_init_is),
		CASE(limits_are_those_of_the_whole),
		CASE(a_group_ends_as_a_whole),
	};
	return RUN_TESTS();
}
