/* SPDX-License-Identifier: Apache-2.0 */
/* Failures at every stage: what they say, and that nothing is left (which the teardown looks at).
 */
#include "engine/testbed.h"

#include "base/fd.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void test_missing_program(void **state)
{
	struct testbed *t = *state;
	testbed_file(t, "rootfs/tmp/plain", "x", 0644);
	testbed_file(t, "rootfs/tmp/root-only", "#!/bin/sh\n", 0700);
	testbed_refuses(t, NULL, "{'process':{'args':['foo']}}", -ENOENT,
			"exec: \"foo\": executable file not found in $PATH");
	testbed_refuses(t, NULL, "{'process':{'args':['/bin/foo']}}", -ENOENT,
			"exec: \"/bin/foo\": stat /bin/foo: no such file or directory");
	testbed_refuses(t, NULL, "{'process':{'args':['/tmp/plain']}}", -EACCES,
			"exec: \"/tmp/plain\": permission denied");
	testbed_refuses(t, NULL, "{'process':{'args':['/tmp']}}", -EACCES,
			"exec: \"/tmp\": is a directory");
	testbed_refuses(t, NULL,
			"{'process':{'args':['/tmp/root-only'],'user':{'uid':1000,'gid':1}}}",
			-EACCES, "permission denied");
	/* a link that leads to nothing, and round in circles */
	testbed_link(t, "rootfs/bin/dangling", "/no/where");
	testbed_link(t, "rootfs/bin/circle", "circle");
	testbed_refuses(t, NULL, "{'process':{'args':['dangling']}}", -ENOENT,
			"not found in $PATH");
	testbed_refuses(t, NULL, "{'process':{'args':['/bin/circle']}}", -ELOOP, "/bin/circle");
}

/* Found, but not to be executed: only execve(2) knows, so start fails. */
static void test_exec_fails(void **state)
{
	struct testbed *t = *state;
	testbed_file(t, "rootfs/tmp/garbage", "\1\2\3\4", 0755);
	testbed_file(t, "rootfs/tmp/script", "#!/no/interpreter\n", 0755);
	testbed_refuses(t, NULL, "{'process':{'args':['/tmp/garbage']}}", -ENOEXEC,
			"exec: \"/tmp/garbage\": Exec format error");
	testbed_refuses(t, NULL, "{'process':{'args':['/tmp/script']}}", -ENOENT,
			"exec: \"/tmp/script\": No such file or directory");
}

static void test_user(void **state)
{
	testbed_refuses(*state, "true",
			"{'process':{'user':{'uid':1000,'gid':1000}},'linux':{'namespaces':["
			"{'type':'mount'},{'type':'uts'},{'type':'pid'},{'type':'user'}],"
			"'uidMappings':[{'containerID':0,'hostID':1000,'size':9}],"
			"'gidMappings':[{'containerID':0,'hostID':1000,'size':9}]}}",
			-EINVAL, "become group 1000");
}

static void test_namespaces(void **state)
{
	testbed_refuses(*state, "true",
			"{'linux':{'namespaces':[{'type':'mount'},{'type':'uts'},{'type':'user'}],"
			"'uidMappings':[{'containerID':1,'hostID':1,'size':1}],"
			"'gidMappings':[{'containerID':1,'hostID':1,'size':1}]}}",
			-EINVAL, "is 0 mapped?");
	testbed_refuses(
		*state, "true",
		"{'linux':{'namespaces':[{'type':'mount'},{'type':'uts'},{'type':'user'}]}}",
		-EINVAL, "uidMappings");
	testbed_refuses(*state, "true",
			"{'linux':{'namespaces':[{'type':'uts','path':'/no/such/ns'}]}}", -ENOENT,
			"/no/such/ns");
	testbed_refuses(*state, "true",
			"{'linux':{'namespaces':[{'type':'uts'},{'type':'mount','path':'/proc/self/"
			"ns/mnt'}]}}",
			-EOPNOTSUPP, "a container gets its own");
}

static void test_tree(void **state)
{
	testbed_refuses(
		*state, "true",
		"{'linux':{'devices':[{'path':'/etc/passwd','type':'c','major':1,'minor':3}]}}",
		-EEXIST, "device /etc/passwd");
	testbed_refuses(*state, "true",
			"{'process':{'terminal':true},'mounts':[{'destination':"
			"'/proc','type':'proc','source':'proc'}]}",
			-ENOENT, "terminal");
	testbed_refuses(*state, "true",
			"{'mounts+':[{'destination':'/etc/passwd/x','type':'tmpfs','source':'t'}]}",
			-ENOTDIR, "/etc/passwd/x");
	testbed_refuses(*state, "true",
			"{'mounts+':[{'destination':'/x','type':'bind','source':'/etc','options':["
			"'bind','idmap']}]}",
			-EINVAL, "idmap needs uidMappings and gidMappings");
	testbed_refuses(*state, "true",
			"{'mounts+':[{'destination':'/x','type':'bind','source':'/etc','options':["
			"'bind'],'uidMappings':[{'containerID':0,'hostID':5,'size':1}]}]}",
			-EINVAL, "mount /x: uidMappings and gidMappings go together");
	testbed_refuses(*state, "true",
			"{'mounts+':[{'destination':'/x','type':'tmpfs','options':['idmap']}]}",
			-EINVAL, "mount /x: only a bind can have id mappings");
	testbed_refuses(*state, "true",
			"{'mounts+':[{'destination':'/x','type':'mqueue','options':["
			"'tmpcopyup']}]}",
			-EINVAL, "mount /x: tmpcopyup is for tmpfs");
	testbed_refuses(*state, "true",
			"{'process':{'capabilities':{'bounding':['CAP_KILL','CAP_CHOWN'],"
			"'effective':['CAP_KILL','CAP_CHOWN'],'permitted':['CAP_KILL']}}}",
			-EPERM, "effective are some that are not permitted");
}

static void test_rootfs(void **state)
{
	struct testbed *t = *state;
	char saved[sizeof t->rootfs];
	strcpy(saved, t->rootfs);
	(void)snprintf(t->rootfs, sizeof t->rootfs, "%s/missing", t->dir);
	testbed_refuses(t, "true", NULL, -ENOENT, "missing");
	strcpy(t->rootfs, "relative");
	testbed_refuses(t, "true", NULL, -EINVAL, "absolute");
	strcpy(t->rootfs, "//");
	testbed_refuses(t, "true", NULL, -EINVAL, "own root");
	assert_int_equal(path_format(t->rootfs, sizeof t->rootfs, "%s/etc/passwd", saved), 0);
	testbed_refuses(t, "true", NULL, -ENOTDIR, "passwd");
	strcpy(t->rootfs, saved);
}

static void test_kernel(void **state)
{
	testbed_refuses(*state, "true", "{'linux':{'sysctl':{'kernel.msgmax':'lots'}}}", -EINVAL,
			"sysctl kernel.msgmax = lots");
	testbed_refuses(*state, "true", "{'linux':{'sysctl':{'fs.mqueue.none':'1'}}}", -ENOENT,
			"sysctl fs.mqueue.none");
}

/* Nobody may be told that it failed; so what may not be done is left out. */
static void test_limits_beyond_our_rights(void **state)
{
	const struct result *r =
		testbed_run(*state, "ulimit -Hn",
			    "{'process':{'oomScoreAdj':-999,'rlimits':[{'type':'RLIMIT_NOFILE',"
			    "'soft':1048570,'hard':1048570}]}}");
	assert_int_equal(r->r, 0);
	assert_true(atoi(r->out) > 0 && atoi(r->out) <= 1048570);
}

#define HOOK_OF(kind)                                    \
	"'" kind "':[{'path':'%s','args':['hook','" kind \
	"','0'],'env':['LOG=%s','PATH=/bin:/usr/bin']}]"

static void test_hooks(void **state)
{
	struct testbed *t = *state;
	char patch[2048], hook[96], log[96];
	(void)snprintf(hook, sizeof hook, "%s/outside/hook", t->dir);
	(void)snprintf(log, sizeof log, "%s/outside/log", t->dir);
	testbed_file(t, "outside/hook",
		     "#!/bin/sh\nread -r state\necho \"$1 $state\" >> \"$LOG\"\nexit \"$2\"\n",
		     0755);
	testbed_file(t, "rootfs/bin/hook",
		     "#!/bin/sh\nread state\nhostname > /tmp/started\nexit $1\n", 0755);
#define HOOK(kind, code)                                                                      \
	"'" kind "':[{'path':'%1$s','args':['hook','" kind "','" code "'],'env':['LOG=%2$s'," \
	"'PATH=/bin:/usr/bin']}]"
	(void)snprintf(patch, sizeof patch,
		       "{'annotations':{'k':'v'},'hooks':{" HOOK("prestart", "0") "," HOOK(
			       "createRuntime",
			       "0") "," HOOK("createContainer",
					     "0") "," HOOK("poststart",
							   "0") "," HOOK("poststop",
									 "0") ","
									      "'startContainer':[{'"
									      "path':'/bin/"
									      "hook','args':['hook'"
									      ",'0'],'env':["
									      "'PATH=/bin']}]}}",
		       hook, log);
	testbed_expect(t, "cat /tmp/started; sleep 0.2", patch, 0, "ct\n");
	_cleanup_buf_ struct buf b = BUF_INIT;
	assert_int_equal(file_read(AT_FDCWD, log, 65536, &b), 0);
	static const char *const in_order[] = {
		"prestart {",	     "\"creating\"", "createRuntime {",
		"createContainer {", "\"creating\"", "poststart {",
		"\"running\"",	     "poststop {",   "\"stopped\""};
	const char *p = b.data;
	for (size_t i = 0; i < ARRAY_SIZE(in_order); i++) {
		p = strstr(p, in_order[i]);
		assert_non_null(p);
	}
	assert_non_null(strstr(b.data, "\"annotations\":{\"k\":\"v\"}"));
	assert_non_null(strstr(b.data, "\"id\":\"c\""));

	static const char *const kinds[] = {"prestart", "createRuntime", "createContainer"};
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		(void)snprintf(
			patch, sizeof patch,
			"{'hooks':{'%s':[{'path':'%s','args':['hook','x','3'],'env':['LOG=%s',"
			"'PATH=/bin:/usr/bin']}]," HOOK_OF("poststop") "}}",
			kinds[i], hook, log, hook, log);
		testbed_file(t, "outside/log", "", 0644);
		testbed_refuses(t, "sleep 10", patch, -EIO, kinds[i]);
		buf_clear(&b);
		assert_int_equal(file_read(AT_FDCWD, log, 65536, &b), 0);
		p = strstr(b.data, "poststop {");
		assert_non_null(p);
		assert_non_null(strstr(p, "\"stopped\""));
	}
	/* nothing but hooks that fail makes a container that never was end like one that was */
	testbed_file(t, "outside/log", "", 0644);
	(void)snprintf(patch, sizeof patch,
		       "{'mounts+':[{'destination':'/x','type':'nosuchfs','source':'x'}],"
		       "'hooks':{" HOOK_OF("prestart") "," HOOK_OF("poststop") "}}",
		       hook, log, hook, log);
	testbed_refuses(t, "true", patch, -ENODEV, "/x");
	buf_clear(&b);
	assert_int_equal(file_read(AT_FDCWD, log, 65536, &b), 0);
	assert_int_equal(b.len, 0);
	testbed_refuses(
		t, "true",
		"{'hooks':{'startContainer':[{'path':'/bin/hook','args':['hook','4'],'env':["
		"'PATH=/bin']}]}}",
		-EIO, "startContainer");
	testbed_refuses(
		t, "true",
		"{'hooks':{'createContainer':[{'path':'/bin/busybox','args':['sleep','100'],"
		"'timeout':1}]}}",
		-ETIMEDOUT, "createContainer");
}

/* The bundle is what the spec's root is below, which can be the bundle itself. */
static void test_hooks_are_told_the_bundle(void **state)
{
	static const char *const roots[] = {"rootfs", "./rootfs/", ".", "/r", "%s/rootfs"};
	struct testbed *t = *state;
	const char *slash = strrchr(t->dir, '/');
	char patch[1024], want[256], deep[128];

	(void)snprintf(deep, sizeof deep, "%s/rootfs", slash + 1);
	testbed_file(t, "outside/hook", "#!/bin/sh\ncat > \"$LOG\"\n", 0755);
	for (size_t i = 0; i < ARRAY_SIZE(roots); i++) {
		const char *root = roots[i][0] == '%' ? deep : roots[i];
		_cleanup_buf_ struct buf b = BUF_INIT;
		(void)snprintf(patch, sizeof patch,
			       "{'root':{'path':'%s'},'hooks':{'prestart':[{'path':"
			       "'%s/outside/hook','args':['hook'],'env':['LOG=%s/outside/log',"
			       "'PATH=/bin:/usr/bin']}]}}",
			       root, t->dir, t->dir);
		testbed_expect(t, "true", patch, 0, "");
		int len = root == deep ? (int)(slash - t->dir) : (int)strlen(t->dir);
		(void)snprintf(want, sizeof want, "\"bundle\":\"%.*s%s\"", len, t->dir,
			       strcmp(root, ".") == 0 ? "/rootfs" : "");
		char log[128];
		(void)snprintf(log, sizeof log, "%s/outside/log", t->dir);
		assert_int_equal(file_read(AT_FDCWD, log, 65536, &b), 0);
		assert_non_null(strstr(b.data, want));
	}
}

/* The specification has these logged; the container goes on, and so do the other hooks. */
static void test_late_hooks_that_fail(void **state)
{
	struct testbed *t = *state;
	char patch[1024], hook[96], log[96];
	_cleanup_buf_ struct buf b = BUF_INIT;

	(void)snprintf(hook, sizeof hook, "%s/outside/hook", t->dir);
	(void)snprintf(log, sizeof log, "%s/outside/log", t->dir);
	testbed_file(t, "outside/hook", "#!/bin/sh\nread -r state\necho \"$1\" >> \"$LOG\"\n",
		     0755);
	(void)snprintf(patch, sizeof patch,
		       "{'hooks':{'poststart':[{'path':'/bin/false'},"
		       "{'path':'%s','args':['hook','after-start'],'env':['LOG=%s']}]}}",
		       hook, log);
	const struct result *r = testbed_run(t, "sleep 0.3; echo done; exit 3", patch);
	assert_int_equal(r->r, 0);
	assert_string_equal(r->out, "done\n");
	assert_int_equal(r->status, 3);
	assert_string_equal(r->e.text, "poststart hook /bin/false failed with exit code 1");
	assert_int_equal(file_read(AT_FDCWD, log, 65536, &b), 0);
	assert_string_equal(b.data, "after-start\n");

	struct running c;
	struct err e = ERR_INIT;
	testbed_start(t, "c", "echo up; exec sleep 1000",
		      "{'hooks':{'poststop':[{'path':'/bin/false'}]}}", &c);
	(void)syscall(SYS_pidfd_send_signal, c.init.pidfd, SIGKILL, NULL, 0);
	(void)testbed_wait(c.init.pidfd);
	(void)close(c.init.pidfd);
	assert_int_equal(engine_delete(c.c, &e), ENGINE_E_HOOK);
	assert_string_equal(e.text, "poststop hook /bin/false failed with exit code 1");
	oci_spec_free(c.spec);
}

static void test_killed_before_start(void **state)
{
	struct testbed *t = *state;
	struct oci_spec *spec = testbed_spec("true", NULL);
	struct engine_stdio io = {.in = -1, .out = -1, .errout = -1};
	struct engine_process p = ENGINE_PROCESS_INIT;
	struct engine_container *c;
	struct err e = ERR_INIT;
	assert_int_equal(engine_create(t->engine, "c", spec, t->rootfs, &io, &c, &p, &e), 0);
	assert_int_equal(syscall(SYS_pidfd_send_signal, p.pidfd, SIGKILL, NULL, 0), 0);
	assert_int_equal(engine_start(c, &e), -ESRCH);
	assert_int_equal(testbed_wait(p.pidfd), 128 + SIGKILL);
	assert_int_equal(engine_start(c, &e), -ESRCH);
	assert_int_equal(close(p.pidfd), 0);
	assert_int_equal(engine_delete(c, &e), 0);
	oci_spec_free(spec);
}

static void test_started_twice(void **state)
{
	struct running c;
	struct err e = ERR_INIT;
	testbed_start(*state, "c", "echo; sleep 100", NULL, &c);
	assert_int_equal(engine_start(c.c, &e), -EBUSY);
	assert_int_equal(e.status, STATUS_FAILED_PRECONDITION);
	testbed_stop(&c);
}

static void test_ids(void **state)
{
	struct testbed *t = *state;
	struct oci_spec *spec = testbed_spec("true", NULL);
	struct engine_stdio io = {.in = -1, .out = -1, .errout = -1};
	struct engine_process p = ENGINE_PROCESS_INIT;
	struct engine_container *c;
	char longest[300];
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	const char *const bad[] = {"", ".", "..", "../x", "a/b", longest};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(
			engine_create(t->engine, bad[i], spec, t->rootfs, &io, &c, &p, NULL),
			-EINVAL);
	oci_spec_free(spec);
}

static void test_cgroup_limits(void **state)
{
	/* The hierarchy of this machine may have any controllers, but none of this name. */
	testbed_refuses(*state, "true",
			"{'linux':{'cgroupsPath':'/engine-test/a/l','resources':{'unified':{"
			"'nosuch.max':'1'}}}}",
			-ENOENT, "nosuch.max: its controller is not available");
	testbed_refuses(*state, "foo-is-missing",
			"{'linux':{'cgroupsPath':'/engine-test/a/l'},'process':{'args':['foo']}}",
			-ENOENT, "not found in $PATH");
}

static void test_launcher_is_gone(void **state)
{
	struct testbed *t = *state;
	pid_t pid = engine_launcher_pid(t->engine);
	assert_int_equal(kill(pid, SIGKILL), 0);
	siginfo_t info;
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	const struct result *r = testbed_run(t, "true", NULL);
	assert_int_equal(r->r, -EPIPE);
	assert_int_equal(r->e.status, STATUS_UNAVAILABLE);
	assert_non_null(strstr(r->e.text, "launcher"));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, testbed_setup, testbed_teardown)
#define CGROUP_CASE(f) cmocka_unit_test_setup_teardown(f, testbed_setup_cgroup, testbed_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_missing_program),
		CASE(test_exec_fails),
		CASE(test_user),
		CASE(test_namespaces),
		CASE(test_tree),
		CASE(test_rootfs),
		CASE(test_kernel),
		CASE(test_limits_beyond_our_rights),
		CASE(test_hooks),
		CASE(test_hooks_are_told_the_bundle),
		CASE(test_late_hooks_that_fail),
		CASE(test_killed_before_start),
		CASE(test_started_twice),
		CASE(test_ids),
		CGROUP_CASE(test_cgroup_limits),
		CASE(test_launcher_is_gone),
	};
	return RUN_TESTS();
}
