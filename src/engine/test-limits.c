/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What control groups do to real containers, with the controllers of this machine, be they of
 * version 1 or 2: asserted is what the container feels. What only one version can is in
 * test-exec.c.
 */
#include "engine/testbed.h"

#include "base/fd.h"
#include "sys/cgroup.h"

#include <fcntl.h>
#include <signal.h>

static const char wait_here[] = "sleep 1000 & echo up; wait";

/* Of this process alone: several such programs may run at once, each as the first of its world. */
static unsigned number_of_ours(void)
{
	static unsigned n;
	if (!n)
		assert_int_equal(getentropy(&n, sizeof n), 0);
	return n;
}

static char *patch(const char *rest)
{
	static char text[1024];
	assert_int_equal(path_format(text, sizeof text,
				     "{'linux':{'cgroupsPath':'/engine-test-%x/x/c'%s}}",
				     number_of_ours(), rest),
			 0);
	return text;
}

static void remove_parents(void)
{
	char relative[64];
	(void)snprintf(relative, sizeof relative, "/engine-test-%x", number_of_ours());
	const struct cgroup g = {.version = cgroup_version("/sys/fs/cgroup"),
				 .root = (char *)"/sys/fs/cgroup",
				 .relative = relative};
	assert_true(g.version > 0);
	if (cgroup_exists(&g) == 0)
		assert_int_equal(cgroup_remove(&g, NULL), 0);
}

static int teardown(void **state)
{
	int r = testbed_teardown(state);
	remove_parents();
	return r;
}

static int64_t number(const struct running *c, const char *v1, const char *v2)
{
	const struct cgroup *g = engine_cgroup(c->c);
	int64_t n = -2;
	assert_int_equal(cgroup_read_number(g, g->version == 1 ? v1 : v2, &n), 0);
	return n;
}

static void update(struct running *c, const char *json)
{
	struct oci_spec *s = testbed_spec(NULL, json);
	struct err e = ERR_INIT;
	if (engine_update(c->c, &s->resources, &e) < 0)
		fail_msg("%s: %s", json, e.text);
	oci_spec_free(s);
}

#define MIB (1024 * 1024)

static void memory_ends_where_its_limit_is(void **state)
{
	struct running c;
	testbed_start(*state, "c", wait_here,
		      patch(",'resources':{'memory':{'limit':33554432,'swap':33554432}}"), &c);
	assert_int_equal(number(&c, "memory.limit_in_bytes", "memory.max"), 32 * MIB);
	static const char hungry[] = "dd if=/dev/zero of=/dev/null bs=100M count=1 2>/dev/null";
	/* by the kernel's hand */
	assert_int_equal(testbed_exec(&c, hungry, NULL)->status, 128 + SIGKILL);
	assert_int_equal(testbed_exec(&c, "true", NULL)->status, 0);

	/* more, and more than the old limit of both, then less, then none at all */
	update(&c, "{'linux':{'resources':{'memory':{'limit':268435456,'swap':300000000}}}}");
	assert_int_equal(testbed_exec(&c, hungry, NULL)->status, 0);
	update(&c, "{'linux':{'resources':{'memory':{'limit':67108864,'swap':67108864}}}}");
	assert_int_equal(number(&c, "memory.limit_in_bytes", "memory.max"), 64 * MIB);
	assert_int_equal(testbed_exec(&c, hungry, NULL)->status, 128 + SIGKILL);
	update(&c, "{'linux':{'resources':{'memory':{'limit':-1}}}}");
	int64_t n = number(&c, "memory.limit_in_bytes", "memory.max");
	assert_true(n == -1 || n > INT64_MAX / 2);
	assert_int_equal(testbed_exec(&c, hungry, NULL)->status, 0);
	testbed_stop(&c);
}

static void processes_end_where_their_limit_is(void **state)
{
	struct running c;
	testbed_start(*state, "c", wait_here, patch(",'resources':{'pids':{'limit':4}}"), &c);
	static const char many[] = "for i in 1 2 3 4 5 6; do sleep 100 & done 2>&1 | grep -c fork; "
				   "kill %1 2>/dev/null";
	assert_int_equal(number(&c, "pids.max", "pids.max"), 4);
	const struct result *r = testbed_exec(&c, many, NULL);
	assert_true(strstr(r->out, "fork") || r->status != 0 || atoi(r->out) > 0);
	assert_int_equal(engine_kill_all(c.c, SIGTERM, NULL), 0);
	testbed_stop(&c);

	testbed_start(*state, "c", wait_here, patch(",'resources':{'pids':{'limit':4}}"), &c);
	update(&c, "{'linux':{'resources':{'pids':{'limit':-1}}}}");
	assert_int_equal(number(&c, "pids.max", "pids.max"), -1);
	assert_int_equal(
		testbed_exec(&c, "for i in 1 2 3 4 5 6; do sleep 0 & done; wait", NULL)->status, 0);
	testbed_stop(&c);
}

static void processor_time_is_shared_as_told(void **state)
{
	struct running c;
	testbed_start(*state, "c", wait_here,
		      patch(",'resources':{'cpu':{'shares':512,'quota':20000,'period':100000,"
			    "'cpus':'0','mems':'0'}}"),
		      &c);
	assert_int_equal(number(&c, "cpu.shares", "cpu.weight"),
			 engine_cgroup(c.c)->version == 1 ? 512 : 20);
	assert_int_equal(number(&c, "cpu.cfs_quota_us", "cpu.max"), 20000);
	assert_int_equal(number(&c, "cpuset.cpus", "cpuset.cpus"), 0);
	const struct result *r = testbed_exec(
		&c, "grep Cpus_allowed_list /proc/self/status | sed 's/.*\\t//'", NULL);
	assert_string_equal(r->out, "0\n");
	/* it is throttled, once it has used as much */
	uint64_t n = 0;
	for (int i = 0; i < 100 && n == 0; i++) {
		(void)testbed_exec(&c, "i=0; while test $i -lt 3000; do i=$((i+1)); done", NULL);
		assert_int_equal(
			cgroup_read_key(engine_cgroup(c.c), "cpu.stat", "nr_throttled", &n), 0);
	}
	assert_true(n > 0);
	update(&c, "{'linux':{'resources':{'cpu':{'quota':-1,'shares':1024}}}}");
	assert_int_equal(number(&c, "cpu.cfs_quota_us", "cpu.max"), -1);
	testbed_stop(&c);
}

/* In groups of its own making too. */
static void all_is_killed_and_frozen(void **state)
{
	struct running c;
	struct err e = ERR_INIT;
	pid_t *pids = NULL;
	size_t n = 0;
	testbed_start(*state, "c", "sleep 1000 & sleep 1000 & (sleep 1000; true) & echo up; wait",
		      patch(""), &c);
	assert_int_equal(engine_pids(c.c, &pids, &n, &e), 0);
	assert_true(n >= 4);
	free(pids);
	assert_int_equal(engine_freeze(c.c, true, &e), 0);
	assert_int_equal(testbed_exec(&c, "true", NULL)->r, -EBUSY);
	assert_int_equal(engine_freeze(c.c, false, &e), 0);
	assert_int_equal(testbed_exec(&c, "true", NULL)->status, 0);
	assert_int_equal(engine_freeze(c.c, true, &e), 0);
	assert_int_equal(engine_kill_all(c.c, SIGKILL, &e), 0);
	assert_int_equal(engine_pids(c.c, &pids, &n, &e), 0);
	assert_int_equal(n, 0);
	free(pids);
	testbed_stop(&c);
}

static void groups_of_its_own_go_with_it(void **state)
{
	struct running c;
	struct err e = ERR_INIT;
	char dir[256], inner[300];
	testbed_start(*state, "c", wait_here, patch(""), &c);
	const struct cgroup *g = engine_cgroup(c.c);
	assert_int_equal(cgroup_dir(g, "freezer", dir, sizeof dir), 0);
	(void)snprintf(inner, sizeof inner, "%s/one/two", dir);
	assert_int_equal(mkdir_parents(inner, 0755), 0);
	/* a process in there, as a container with groups of its own has */
	pid_t *pids = NULL;
	size_t n = 0;
	char pid[16], procs[320];
	assert_int_equal(engine_pids(c.c, &pids, &n, &e), 0);
	assert_true(n > 1);
	(void)snprintf(pid, sizeof pid, "%d", (int)pids[n - 1]);
	(void)snprintf(procs, sizeof procs, "%s/cgroup.procs", inner);
	assert_int_equal(file_write(AT_FDCWD, procs, pid), 0);
	free(pids);
	assert_int_equal(engine_kill_all(c.c, SIGKILL, &e), 0);
	testbed_stop(&c);
	assert_int_equal(access(dir, F_OK), -1);
}

static void devices_are_those_of_the_rules(void **state)
{
	struct running c;
	testbed_start(*state, "c", wait_here,
		      patch(",'resources':{'devices':[{'allow':false,'access':'rwm'},"
			    "{'allow':true,'type':'c','major':10,'minor':229,'access':'rwm'}]}"),
		      &c);
	assert_int_equal(engine_devices(c.c), ENGINE_DEVICES_FILTERED);
	static const char script[] =
		"rm -f /tmp/*; mknod /tmp/tun c 10 200 && mknod /tmp/fuse c 10 229 && "
		"mknod /tmp/disk b 254 0 && for i in tun fuse disk; do head -c 0 /tmp/$i 2>&1 | "
		"grep -q 'not permitted' && echo no $i; done; head -c 1 /dev/zero | wc -c";
	const struct result *r = testbed_exec(&c, script, NULL);
	assert_string_equal(r->out, "no tun\nno disk\n1\n");
	update(&c, "{'linux':{'resources':{'devices':["
		   "{'allow':true,'type':'c','major':10,'minor':200,'access':'r'}]}}}");
	r = testbed_exec(&c, script, NULL);
	assert_string_equal(r->out, "no fuse\nno disk\n1\n");
	update(&c,
	       "{'linux':{'resources':{'devices':[{'allow':true,'type':'a','access':'rwm'}]}}}");
	assert_int_equal(engine_devices(c.c), ENGINE_DEVICES_ALL_ALLOWED);
	/* this machine itself may refuse disks */
	assert_string_equal(testbed_exec(&c,
					 "for i in tun fuse; do head -c 0 /tmp/$i 2>&1 | "
					 "grep 'not permitted'; done; true",
					 NULL)
				    ->out,
			    "");
	testbed_stop(&c);
}

static void a_container_sees_its_own_groups(void **state)
{
	static const char mount[] = "{'linux':{'cgroupsPath':'/engine-test-%x/x/c'%s},"
				    "'mounts+':[{'destination':'/sys/fs/cgroup','type':'cgroup',"
				    "'source':'cgroup','options':['ro','nosuid']}]}";
	static const char *const namespaces[] = {
		"",
		",'namespaces':[{'type':'pid'},{'type':'uts'},{'type':'mount'},{'type':'cgroup'}]"};
	/* one process in every group that shows, and none can be changed */
	static const char script[] =
		"for p in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do "
		"test -e $p || continue; grep -qx $$ $p || echo not in $p; "
		"echo $$ 2>/dev/null >$p && echo can write; done; "
		"touch /sys/fs/cgroup/x 2>/dev/null && echo can make; echo done";
	for (size_t i = 0; i < 2; i++) {
		char text[512];
		assert_int_equal(
			path_format(text, sizeof text, mount, number_of_ours(), namespaces[i]), 0);
		const struct result *r = testbed_run(*state, script, text);
		assert_int_equal(r->r, 0);
		if (strcmp(r->out, "done\n") != 0)
			fail_msg("%s", r->out);
	}
}

static void what_cannot_be_limited_is_refused(void **state)
{
	testbed_refuses(*state, "true",
			patch(",'resources':{'memory':{'limit':1000000,'swap':999999}}"), -EINVAL,
			"memory.swap 999999 is less than memory.limit 1000000");
	testbed_refuses(*state, "true", patch(",'resources':{'cpu':{'cpus':'0-99999'}}"), -ERANGE,
			"cpuset.cpus = 0-99999");
	struct running c;
	testbed_start(*state, "c", wait_here, patch(""), &c);
	struct oci_spec *s = testbed_spec(
		NULL, "{'linux':{'resources':{'memory':{'limit':4096,'checkBeforeUpdate':true}}}}");
	struct err e = ERR_INIT;
	assert_true(engine_update(c.c, &s->resources, &e) < 0);
	assert_non_null(strstr(e.text, "memory.limit 4096 is less than what is in use"));
	assert_int_equal(testbed_exec(&c, "true", NULL)->status, 0);
	oci_spec_free(s);
	testbed_stop(&c);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, testbed_setup_controllers, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(memory_ends_where_its_limit_is),	CASE(processes_end_where_their_limit_is),
		CASE(processor_time_is_shared_as_told), CASE(all_is_killed_and_frozen),
		CASE(groups_of_its_own_go_with_it),	CASE(devices_are_those_of_the_rules),
		CASE(a_container_sees_its_own_groups),	CASE(what_cannot_be_limited_is_refused),
	};
	return RUN_TESTS();
}
