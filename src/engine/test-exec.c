/* SPDX-License-Identifier: Apache-2.0 */
/* Further processes, signals, pausing, namespaces that are shared, and many at once. */
#include "engine/testbed.h"

#include "base/clock.h"
#include "base/fd.h"
#include "oci/arena.h"
#include "sys/cgroup.h"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static const char wait_here[] = "echo up; sleep 1000 & wait";

static void test_exec(void **state)
{
	struct running c;
	testbed_start(*state, "c", wait_here, NULL, &c);
	const struct result *r =
		testbed_exec(&c, "hostname; cat /proc/1/comm; id -u; exit 5", NULL);
	assert_int_equal(r->r, 0);
	assert_string_equal(r->out, "ct\nsh\n0\n");
	assert_int_equal(r->status, 5);
	r = testbed_exec(&c, "echo $HOME; id -u; pwd; grep CapEff /proc/self/status",
			 "{'user':{'uid':1000,'gid':5},'cwd':'/tmp','env':['PATH=/bin']}");
	assert_string_equal(r->out, "/home/user\n1000\n/tmp\nCapEff:\t0000000000000000\n");
	/* capabilities of the container if there are none of its own */
	r = testbed_exec(&c, "grep CapEff /proc/self/status", NULL);
	assert_string_equal(r->out, "CapEff:\t00000000080000a1\n");
	r = testbed_exec(&c, "grep CapEff /proc/self/status",
			 "{'capabilities':{'bounding':['CAP_KILL'],'effective':['CAP_KILL'],"
			 "'permitted':['CAP_KILL']}}");
	assert_string_equal(r->out, "CapEff:\t0000000000000020\n");
	r = testbed_exec(&c, "ls /proc/self/fd; echo $$ > /tmp/pid; kill -KILL $$", NULL);
	assert_string_equal(r->out, "0\n1\n2\n3\n");
	assert_int_equal(r->status, 128 + SIGKILL);
	testbed_stop(&c);
}

/* Its own if it has any, else those of the container. */
static void test_limits_and_umask_of_execs(void **state)
{
	static const char tell[] = "umask; ulimit -n; ulimit -Hn; ulimit -c";
	struct running c;
	testbed_start(*state, "c", wait_here,
		      "{'process':{'user':{'uid':0,'gid':0,'umask':63},'rlimits':["
		      "{'type':'RLIMIT_NOFILE','soft':100,'hard':200},"
		      "{'type':'RLIMIT_CORE','soft':0,'hard':0}]}}",
		      &c);
	assert_string_equal(testbed_exec(&c, tell, NULL)->out, "0077\n100\n200\n0\n");
	assert_string_equal(testbed_exec(&c, tell,
					 "{'user':{'uid':0,'gid':0,'umask':0},'rlimits':["
					 "{'type':'RLIMIT_NOFILE','soft':50,'hard':60},"
					 "{'type':'RLIMIT_CORE','soft':1024,'hard':1024}]}")
				    ->out,
			    "0000\n50\n60\n2\n");
	testbed_stop(&c);
	testbed_start(*state, "c", wait_here, NULL, &c);
	assert_string_equal(testbed_exec(&c, "umask; echo > /tmp/f; stat -c %a /tmp/f", NULL)->out,
			    "0022\n644\n");
	testbed_stop(&c);
}

static void test_exec_on_a_terminal(void **state)
{
	struct running c;
	testbed_start(*state, "c", wait_here, NULL, &c);
	const struct result *r =
		testbed_exec(&c, "tty; stty size; test -t 0 && echo > /dev/tty",
			     "{'terminal':true,'consoleSize':{'height':3,'width':4}}");
	assert_int_equal(r->r, 0);
	assert_string_equal(r->out, "/dev/pts/0\r\n3 4\r\n\r\n");
	testbed_stop(&c);
}

static void refused(const struct result *r, int want, const char *text)
{
	if (r->r != want || strcmp(r->e.text, text) != 0)
		print_error("%d %s\n", r->r, r->e.text);
	assert_int_equal(r->r, want);
	assert_string_equal(r->e.text, text);
}

static void test_exec_failures(void **state)
{
	struct testbed *t = *state;
	struct running c;
	testbed_file(t, "rootfs/tmp/plain", "x", 0644);
	testbed_file(t, "rootfs/tmp/garbage", "\1\2\3", 0755);
	testbed_start(t, "c", wait_here, NULL, &c);
	refused(testbed_exec(&c, NULL, "{'args':['foo']}"), -ENOENT,
		"exec: \"foo\": executable file not found in $PATH");
	refused(testbed_exec(&c, NULL, "{'args':['/bin/foo']}"), -ENOENT,
		"exec: \"/bin/foo\": stat /bin/foo: no such file or directory");
	refused(testbed_exec(&c, NULL, "{'args':['/tmp/plain']}"), -EACCES,
		"exec: \"/tmp/plain\": permission denied");
	refused(testbed_exec(&c, NULL, "{'args':['/tmp/garbage']}"), -ENOEXEC,
		"exec: \"/tmp/garbage\": Exec format error");
	refused(testbed_exec(&c, "true", "{'cwd':'/nowhere'}"), -ENOENT,
		"chdir to cwd (\"/nowhere\"): No such file or directory");
	testbed_stop(&c);
}

static void test_exec_needs_life(void **state)
{
	struct running c;
	testbed_start(*state, "c", wait_here, NULL, &c);
	assert_int_equal(engine_kill_all(c.c, SIGKILL, NULL), 0);
	const struct result *r = testbed_exec(&c, "true", NULL);
	assert_int_equal(r->r, -EBUSY);
	assert_int_equal(r->e.status, STATUS_FAILED_PRECONDITION);
	assert_string_equal(r->e.text, "container c is not running");
	struct err e = ERR_INIT;
	assert_int_equal(engine_start(c.c, &e), -ESRCH);
	testbed_stop(&c);
}

static void test_created_container(void **state)
{
	struct testbed *t = *state;
	struct oci_spec *spec = testbed_spec("touch /tmp/started", NULL);
	struct engine_stdio io = {.in = -1, .out = -1, .errout = -1};
	struct engine_process p = ENGINE_PROCESS_INIT;
	struct running c = {.spec = spec};
	struct err e = ERR_INIT;
	assert_int_equal(engine_create(t->engine, "c", spec, t->rootfs, &io, &c.c, &p, &e), 0);
	assert_int_equal(getppid() != p.pid && p.pid > 0, 1);
	/* set up, but not running; to be entered already */
	const struct result *r = testbed_exec(&c, "hostname; ls /tmp", NULL);
	assert_int_equal(r->r, 0);
	assert_string_equal(r->out, "ct\n");
	/* the same name again */
	struct engine_container *other;
	struct engine_process q = ENGINE_PROCESS_INIT;
	assert_int_equal(engine_create(t->engine, "c", spec, t->rootfs, &io, &other, &q, &e),
			 -EEXIST);
	assert_int_equal(e.status, STATUS_ALREADY_EXISTS);

	assert_int_equal(engine_start(c.c, &e), 0);
	assert_int_equal(testbed_wait(p.pidfd), 0);
	assert_true(testbed_exists(t, "rootfs/tmp/started"));
	assert_int_equal(close(p.pidfd), 0);
	assert_int_equal(engine_delete(c.c, &e), 0);
	oci_spec_free(spec);
}

/* Never started: killed and deleted. */
static void test_create_and_delete(void **state)
{
	struct testbed *t = *state;
	struct oci_spec *spec = testbed_spec("touch /tmp/started", NULL);
	struct engine_stdio io = {.in = -1, .out = -1, .errout = -1};
	struct engine_process p = ENGINE_PROCESS_INIT;
	struct running c = {.spec = spec};
	assert_int_equal(engine_create(t->engine, "c", spec, t->rootfs, &io, &c.c, &p, NULL), 0);
	c.init = p;
	testbed_stop(&c);
	assert_false(testbed_exists(t, "rootfs/tmp/started"));
}

static void kill_everything(struct testbed *t)
{
	struct running c;
	struct err e = ERR_INIT;
	pid_t *pids;
	size_t n;
	testbed_start(t, "c", "trap '' TERM; for i in 1 2 3 4 5; do sleep 1000 & done; echo; wait",
		      NULL, &c);
	assert_int_equal(engine_pids(c.c, &pids, &n, &e), 0);
	assert_int_equal(n, 6);
	free(pids);
	assert_int_equal(engine_kill_all(c.c, SIGTERM, &e), 0);
	assert_int_equal(engine_kill_all(c.c, SIGKILL, &e), 0);
	assert_int_equal(engine_pids(c.c, &pids, &n, &e), 0);
	assert_int_equal(n, 0);
	free(pids);
	assert_int_equal(testbed_wait(c.init.pidfd), 128 + SIGKILL);
	assert_int_equal(close(c.init.pidfd), 0);
	assert_int_equal(engine_delete(c.c, &e), 0);
	oci_spec_free(c.spec);
}

static void test_kill_all(void **state)
{
	kill_everything(*state);
}

/* In a pid namespace that is not its own, the end of init ends nobody else. */
static void test_kill_all_without_pid_namespace(void **state)
{
	struct running c;
	testbed_start(*state, "c", "sleep 1000 & sleep 1000 & echo; wait",
		      "{'linux':{'namespaces':[{'type':'mount'},{'type':'uts'}]}}", &c);
	assert_int_equal(syscall(SYS_pidfd_send_signal, c.init.pidfd, SIGKILL, NULL, 0), 0);
	assert_int_equal(testbed_wait(c.init.pidfd), 128 + SIGKILL);
	assert_int_equal(close(c.init.pidfd), 0);
	pid_t *pids;
	size_t n;
	assert_int_equal(engine_pids(c.c, &pids, &n, NULL), 0);
	assert_int_equal(n, 2);
	free(pids);
	assert_int_equal(engine_delete(c.c, NULL), 0);
	oci_spec_free(c.spec);
}

static void test_cgroup(void **state)
{
	struct testbed *t = *state;
	struct running c;
	struct err e = ERR_INIT;
	char events[256];
	static const char patch[] = "{'linux':{'cgroupsPath':'/engine-test/a:b'}}";
	kill_everything(t);
	testbed_start(t, "c", wait_here, patch, &c);
	assert_string_equal(engine_cgroup(c.c)->relative, "/engine-test/a/b");
	assert_int_equal(cgroup_path(engine_cgroup(c.c), "cgroup.events", events, sizeof events),
			 0);
	const struct result *r = testbed_exec(&c, "cat /proc/self/cgroup", NULL);
	assert_int_equal(r->r, 0);
	assert_non_null(strstr(r->out, "0::/engine-test/a/b\n"));

	assert_int_equal(engine_freeze(c.c, true, &e), 0);
	r = testbed_exec(&c, "true", NULL);
	assert_int_equal(r->r, -EBUSY);
	assert_string_equal(r->e.text, "container c is paused");
	assert_int_equal(engine_freeze(c.c, false, &e), 0);
	assert_int_equal(testbed_exec(&c, "true", NULL)->r, 0);
	assert_int_equal(access(events, F_OK), 0);
	/* killed while frozen */
	assert_int_equal(engine_freeze(c.c, true, &e), 0);
	assert_int_equal(engine_kill_all(c.c, SIGKILL, &e), 0);
	testbed_stop(&c);
	assert_int_equal(access(events, F_OK), -1);
}

static void test_cgroup_namespace(void **state)
{
	testbed_expect(
		*state,
		"cat /proc/self/cgroup | grep ^0; ls /sys/fs/cgroup | grep -c procs; cat "
		"/sys/fs/cgroup/cgroup.procs | head -1",
		"{'linux':{'cgroupsPath':'/engine-test/ns','namespaces':[{'type':'pid'},"
		"{'type':'uts'},{'type':'cgroup'},{'type':'mount'}]},"
		"'mounts+':[{'destination':'/sys/fs/cgroup','type':'cgroup','source':'cgroup',"
		"'options':['ro','nosuid']}]}",
		0, "0::/\n1\n1\n");
	testbed_expect(
		*state,
		"ls /sys/fs/cgroup | grep -c procs; cat /sys/fs/cgroup/cgroup.procs | head -1",
		"{'linux':{'cgroupsPath':'/engine-test/ns'},"
		"'mounts+':[{'destination':'/sys/fs/cgroup','type':'cgroup','source':'cgroup',"
		"'options':['ro','nosuid']}]}",
		0, "1\n1\n");
}

static void test_device_filter(void **state)
{
	struct running c;
	struct err e = ERR_INIT;
	testbed_start(*state, "c", wait_here,
		      "{'linux':{'cgroupsPath':'/engine-test/dev','resources':{'devices':["
		      "{'allow':false,'access':'rwm'},"
		      "{'allow':true,'type':'c','major':10,'minor':229,'access':'rw'}]}}}",
		      &c);
	assert_int_equal(engine_devices(c.c), ENGINE_DEVICES_FILTERED);
	/* A driver that is not there says so after the filter has let through. */
	assert_int_equal(
		testbed_exec(&c, "mknod /tmp/tun c 10 200; mknod /tmp/fuse c 10 229", NULL)->status,
		0);
	static const char script[] = "for i in tun fuse; do head -c 0 /tmp/$i 2>&1 | "
				     "grep -q 'not permitted' && echo no $i; done; true";
	const struct result *r = testbed_exec(&c, script, NULL);
	assert_string_equal(r->out, "no tun\n");

	/* new rules take the place of the old ones */
	struct oci_device_rule rule = {
		.allow = true, .type = 'c', .major = 10, .minor = 200, .access = (char *)"r"};
	struct oci_resources res;
	oci_resources_init(&res);
	res.devices = &rule;
	res.n_devices = 1;
	assert_int_equal(engine_update(c.c, &res, &e), 0);
	r = testbed_exec(&c, script, NULL);
	assert_string_equal(r->out, "no fuse\n");
	testbed_stop(&c);
}

static void test_cgroup_refusals(void **state)
{
	struct testbed *t = *state;
	struct running c;
	testbed_start(t, "c", wait_here, "{'linux':{'cgroupsPath':'/engine-test/used'}}", &c);
	testbed_refuses(t, "true", "{'linux':{'cgroupsPath':'/engine-test/used'}}", -EEXIST,
			"c exists");
	testbed_stop(&c);
}

static void test_shared_namespaces(void **state)
{
	struct testbed *t = *state;
	struct running c;
	char patch[512];
	testbed_start(t, "pause", wait_here, "{'hostname':'pod'}", &c);
	int pid = (int)c.init.pid;
	assert_int_equal(path_format(patch, sizeof patch,
				     "{'linux':{'namespaces':[{'type':'mount'},"
				     "{'type':'uts','path':'/proc/%d/ns/uts'},"
				     "{'type':'ipc','path':'/proc/%d/ns/ipc'},"
				     "{'type':'pid','path':'/proc/%d/ns/pid'}]}}",
				     pid, pid, pid),
			 0);
	/* the name of the pod, not "ct"; and its first process is the pod's */
	testbed_expect(t, "hostname; cat /proc/1/comm; test $$ = 1 || echo not first", patch, 0,
		       "pod\nsh\nnot first\n");
	/* this one's end and its deletion left the pod alone */
	assert_int_equal(testbed_exec(&c, "true", NULL)->r, 0);
	struct running d;
	testbed_start(t, "d", wait_here, patch, &d);
	assert_string_equal(testbed_exec(&d, "hostname; cat /proc/1/comm", NULL)->out, "pod\nsh\n");
	assert_string_equal(testbed_exec(&d, "tty; stty size",
					 "{'terminal':true,'consoleSize':{'height':5,'width':6}}")
				    ->out,
			    "/dev/pts/0\r\n5 6\r\n");
	assert_int_equal(engine_kill_all(d.c, SIGKILL, NULL), 0);
	testbed_stop(&d);
	assert_int_equal(testbed_exec(&c, "true", NULL)->r, 0);
	testbed_stop(&c);
	testbed_refuses(t, "true",
			"{'linux':{'namespaces':[{'type':'uts','path':'/proc/self/ns/ipc'}]}}",
			-EINVAL, "is not a uts namespace");
}

#define THREADS 4
#define ROUNDS 5

struct worker {
	struct testbed *t;
	int number;
	int failed;
};

static void *make_containers(void *arg)
{
	struct worker *w = arg;
	struct engine_stdio io = {.in = -1, .out = -1, .errout = -1};
	for (int i = 0; i < ROUNDS && !w->failed; i++) {
		char id[32];
		struct engine_container *c;
		struct engine_process p = ENGINE_PROCESS_INIT, q = ENGINE_PROCESS_INIT;
		struct err e = ERR_INIT;
		struct oci_arena *arena;
		struct oci_spec *spec = testbed_spec("sleep 1000", NULL);
		struct oci_process *proc = testbed_process("exit 9", NULL, &arena);
		(void)snprintf(id, sizeof id, "c%d-%d", w->number, i);
		int r = engine_create(w->t->engine, id, spec, w->t->rootfs, &io, &c, &p, &e);
		if (r == 0)
			r = engine_start(c, &e);
		if (r == 0)
			r = engine_exec(c, proc, &io, &q, &e);
		if (r < 0) {
			(void)fprintf(stderr, "%s\n", e.text);
			w->failed = 1;
			break;
		}
		siginfo_t info;
		w->failed |=
			waitid(P_PIDFD, (id_t)q.pidfd, &info, WEXITED) < 0 || info.si_status != 9;
		w->failed |= engine_kill_all(c, SIGKILL, &e) < 0;
		w->failed |= waitid(P_PIDFD, (id_t)p.pidfd, &info, WEXITED) < 0 ||
			     info.si_status != SIGKILL;
		w->failed |= engine_delete(c, &e) != 0;
		(void)close(p.pidfd);
		(void)close(q.pidfd);
		oci_spec_free(spec);
		oci_arena_free(arena);
	}
	return NULL;
}

static void test_many_at_once(void **state)
{
	pthread_t threads[THREADS];
	struct worker workers[THREADS];
	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.t = *state, .number = i};
		assert_int_equal(pthread_create(&threads[i], NULL, make_containers, &workers[i]),
				 0);
	}
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_false(workers[i].failed);
	}
}

static uint64_t now_us(void)
{
	struct timespec ts;
	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Printed, not judged: the machine may be busy. */
static void test_how_long(void **state)
{
	struct running c;
	uint64_t best = UINT64_MAX, best_run = UINT64_MAX;
	testbed_start(*state, "c", wait_here, NULL, &c);
	for (int i = 0; i < 20; i++) {
		uint64_t start = now_us();
		assert_int_equal(testbed_exec(&c, NULL, "{'args':['true']}")->r, 0);
		uint64_t took = now_us() - start;
		best = took < best ? took : best;
	}
	testbed_stop(&c);
	for (int i = 0; i < 10; i++) {
		uint64_t start = now_us();
		assert_int_equal(testbed_run(*state, NULL, "{'process':{'args':['true']}}")->r, 0);
		uint64_t took = now_us() - start;
		best_run = took < best_run ? took : best_run;
	}
	print_message("best exec %llu us, best run %llu us\n", (unsigned long long)best,
		      (unsigned long long)best_run);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, testbed_setup, testbed_teardown)
#define CGROUP_CASE(f) cmocka_unit_test_setup_teardown(f, testbed_setup_cgroup, testbed_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_exec),
		CASE(test_limits_and_umask_of_execs),
		CASE(test_exec_on_a_terminal),
		CASE(test_exec_failures),
		CASE(test_exec_needs_life),
		CASE(test_created_container),
		CASE(test_create_and_delete),
		CASE(test_kill_all),
		CASE(test_kill_all_without_pid_namespace),
		CGROUP_CASE(test_cgroup),
		CGROUP_CASE(test_cgroup_namespace),
		CGROUP_CASE(test_device_filter),
		CGROUP_CASE(test_cgroup_refusals),
		CASE(test_shared_namespaces),
		CASE(test_many_at_once),
		CASE(test_how_long),
	};
	return RUN_TESTS();
}
