/* SPDX-License-Identifier: Apache-2.0 */
/* User, time, cgroup and uts namespaces: new ones, and those of others. */
#include "engine/testbed.h"

#include "base/fd.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define NS "{'type':'mount'},{'type':'pid'},{'type':'ipc'},{'type':'uts'}"
#define MAPS                                                            \
	"'uidMappings':[{'containerID':0,'hostID':100000,'size':1000}," \
	"{'containerID':1000,'hostID':200000,'size':10},"               \
	"{'containerID':65534,'hostID':300000,'size':1}],"              \
	"'gidMappings':[{'containerID':0,'hostID':100000,'size':1000}," \
	"{'containerID':1000,'hostID':200000,'size':10}]"
#define NEW "{'linux':{'namespaces':[" NS ",{'type':'user'}]," MAPS "}"

static void own(struct testbed *t, const char *name, uid_t uid)
{
	char path[128];
	assert_int_equal(path_format(path, sizeof path, "%s/%s", t->dir, name), 0);
	assert_int_equal(lchown(path, uid, uid), 0);
}

static void test_several_ranges(void **state)
{
	struct testbed *t = *state;
	struct stat st;
	char path[128];
	own(t, "rootfs/tmp", 100000);
	testbed_expect(t,
		       "sed 's/  */ /g' /proc/self/uid_map; cat /proc/self/setgroups; id -u; "
		       "touch /tmp/root",
		       NEW "}", 0, " 0 100000 1000\n 1000 200000 10\n 65534 300000 1\nallow\n0\n");
	assert_int_equal(path_format(path, sizeof path, "%s/tmp/root", t->rootfs), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 100000);
	own(t, "rootfs/tmp", 200005);
	testbed_expect(t, "id -u; id -G; touch /tmp/user",
		       NEW ",'process':{'user':{'uid':1005,'gid':1001,"
			   "'additionalGids':[5,1002]}}}",
		       0, "1005\n1001 5 1002\n");
	assert_int_equal(path_format(path, sizeof path, "%s/tmp/user", t->rootfs), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 200005);
	assert_int_equal(st.st_gid, 200001);
}

/* Everything that the ordinary container has works, with the rights of nobody outside. */
static void test_dev_proc_sys(void **state)
{
	struct testbed *t = *state;
	own(t, "rootfs", 100000);
	testbed_expect(t,
		       "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %t:%T' "
		       "$d; done; echo x > /dev/null; head -c 2 /dev/zero | wc -c; readlink ptmx",
		       NEW "}", 0,
		       "null 1:3\nzero 1:5\nfull 1:7\nrandom 1:8\nurandom 1:9\ntty 5:0\n2\n"
		       "pts/ptmx\n");
	/* by number, where the name is the container's; and a FIFO, which needs no rights */
	testbed_expect(t, "stat -c '%F %t:%T' /dev/mine; test -p /dev/p && stat -c %a:%u /dev/p",
		       "{'linux':{'namespaces':[" NS ",{'type':'user'}]," MAPS
		       ",'devices':[{'path':'/dev/mine','type':'c','major':1,'minor':8},"
		       "{'path':'/dev/p','type':'p','fileMode':384,'uid':7}]}}",
		       0, "character special file 1:8\n600:7\n");
	testbed_refuses(t, "true",
			"{'linux':{'namespaces':[" NS ",{'type':'user'}]," MAPS
			",'devices':[{'path':'/dev/mine','type':'c','major':4000,'minor':8}]}}",
			-ENODEV, "device /dev/mine");
	/* the network is not its own, so neither is /sys: shown, and read-only */
	testbed_expect(
		t,
		"test -d /sys/class && echo sys; grep -c ' /sys sysfs ro' /proc/self/mounts; "
		"cat /proc/1/comm; echo 4242 > /proc/sys/kernel/msgmax && "
		"cat /proc/sys/kernel/msgmax",
		NEW ",'mounts+':[{'destination':'/sys','type':'sysfs','source':'sysfs'}]}", 0,
		"sys\n1\nsh\n4242\n");
	testbed_expect(t, "ls -A /etc; echo 1 > /proc/sys/kernel/msgmax; wc -c < /proc/version",
		       "{'linux':{'namespaces':[" NS ",{'type':'user'}]," MAPS
		       ",'maskedPaths':['/etc','/proc/version'],'readonlyPaths':['/proc/sys']}}",
		       0, "sh: can't create /proc/sys/kernel/msgmax: Read-only file system\n0\n");
}

static void test_terminal(void **state)
{
	testbed_expect(*state, "tty; stat -c %u /dev/pts/0; stat -c %t /dev/console; stty size",
		       NEW ",'process':{'terminal':true,'consoleSize':{'height':7,'width':9},"
			   "'user':{'uid':1001,'gid':1}}}",
		       0, "/dev/pts/0\r\n1001\r\n88\r\n7 9\r\n");
}

/* Nobody outside can look into the way to the root, nor to a volume's source. */
static void test_closed_ways(void **state)
{
	struct testbed *t = *state;
	char patch[1024];
	testbed_file(t, "outside/file", "text\n", 0644);
	assert_int_equal(chmod(t->dir, 0700), 0);
	assert_int_equal(path_format(patch, sizeof patch,
				     NEW ",'mounts+':[{'destination':'/vol','type':'bind',"
					 "'source':'%s/outside','options':['rbind','ro']},"
					 "{'destination':'/etc/file','type':'bind',"
					 "'source':'%s/outside/file','options':['bind']}]}",
				     t->dir, t->dir),
			 0);
	own(t, "rootfs", 100000);
	own(t, "rootfs/etc", 100000);
	testbed_expect(t, "cat /vol/file /etc/file; touch /vol/x; ls /..", patch, 0,
		       "text\ntext\ntouch: /vol/x: Read-only file system\n"
		       "bin\ndev\netc\nproc\nsys\ntmp\nvol\n");
	assert_int_equal(chmod(t->dir, 0755), 0);
}

static void test_volumes_with_its_owners(void **state)
{
	struct testbed *t = *state;
	char patch[1024];
	testbed_file(t, "outside/file", "text\n", 0600);
	assert_int_equal(path_format(patch, sizeof patch,
				     NEW ",'mounts+':[{'destination':'/vol','type':'bind',"
					 "'source':'%s/outside','options':['rbind','idmap']}]}",
				     t->dir),
			 0);
	own(t, "rootfs", 100000);
	/* what is root's outside is the container's root's, and stays root's on the disk */
	testbed_expect(t, "stat -c %u /vol/file; cat /vol/file; touch /vol/made", patch, 0,
		       "0\ntext\n");
	struct stat st;
	char path[128];
	assert_int_equal(path_format(path, sizeof path, "%s/outside/made", t->dir), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 0);
}

/* Not even where the volume is shared, and the spec wants it so. */
static void test_no_mount_gets_out(void **state)
{
	struct testbed *t = *state;
	struct running c;
	char path[128], inner[128], patch[2048];
	assert_int_equal(path_format(path, sizeof path, "%s/outside", t->dir), 0);
	assert_int_equal(path_format(inner, sizeof inner, "%s/sub2", path), 0);
	assert_int_equal(mkdir(inner, 0755), 0);
	assert_int_equal(mount(path, path, NULL, MS_BIND, NULL), 0);
	assert_int_equal(mount(NULL, path, NULL, MS_SHARED, NULL), 0);
	assert_int_equal(path_format(patch, sizeof patch,
				     "{'linux':{'rootfsPropagation':'rshared','namespaces':[" NS
				     ",{'type':'user'}]," MAPS "},'mounts+':[{'destination':'/tmp',"
				     "'type':'bind','source':'%s','options':['rbind','rshared']}],"
				     "'process':{'capabilities':{'bounding':['CAP_SYS_ADMIN'],"
				     "'effective':['CAP_SYS_ADMIN'],"
				     "'permitted':['CAP_SYS_ADMIN']}}}",
				     path),
			 0);
	testbed_start(t, "pod", "mount -t tmpfs t /tmp/sub && touch /tmp/sub/in; echo; sleep 100",
		      patch, &c);
	assert_string_equal(testbed_exec(&c, "ls /tmp/sub", NULL)->out, "in\n");
	assert_false(testbed_exists(t, "outside/sub/in"));
	/* but what is mounted outside comes in */
	assert_int_equal(mount("tmpfs", inner, "tmpfs", 0, NULL), 0);
	testbed_file(t, "outside/sub2/out", "", 0644);
	assert_string_equal(testbed_exec(&c, "ls /tmp/sub2", NULL)->out, "out\n");
	testbed_stop(&c);
	assert_int_equal(umount(inner), 0);
	assert_int_equal(umount(path), 0);
}

static const char where[] = "id -u; sed 's/  */ /g' /proc/self/uid_map | head -n 1; "
			    "readlink /proc/self/ns/user";

static void test_execs_and_joins(void **state)
{
	struct testbed *t = *state;
	struct running c;
	char patch[2048], first[sizeof((struct result *)0)->out];
	own(t, "rootfs/tmp", 100000);
	testbed_start(t, "pause", "echo; sleep 100", NEW ",'hostname':'pod'}", &c);
	const struct result *res = testbed_exec(&c, where, NULL);
	assert_int_equal(res->r, 0);
	assert_int_equal(strncmp(res->out, "0\n 0 100000 1000\nuser:[", 23), 0);
	memcpy(first, res->out, sizeof first);
	res = testbed_exec(&c, "tty; id -u; cat /proc/1/comm",
			   "{'terminal':true,'user':{'uid':1003,'gid':3}}");
	assert_string_equal(res->out, "/dev/pts/0\r\n1003\r\nsleep\r\n");

	/* a pod's next container: the same user namespace, which owns the others */
	int pid = (int)c.init.pid;
	const char *const maps[] = {"," MAPS, ""};
	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		assert_int_equal(path_format(patch, sizeof patch,
					     "{'linux':{'namespaces':[{'type':'mount'},"
					     "{'type':'uts','path':'/proc/%d/ns/uts'},"
					     "{'type':'ipc','path':'/proc/%d/ns/ipc'},"
					     "{'type':'pid','path':'/proc/%d/ns/pid'},"
					     "{'type':'user','path':'/proc/%d/ns/user'}]%s},"
					     "'mounts+':[{'destination':'/q','type':'mqueue'}]}",
					     pid, pid, pid, pid, maps[i]),
				 0);
		own(t, "rootfs", 100000);
		testbed_expect(t, where, patch, 0, first);
		testbed_expect(t, "hostname; cat /proc/1/comm; touch /tmp/x && echo made", patch, 0,
			       "pod\nsleep\nmade\n");
	}
	/* one beside, with other namespaces of its own */
	struct running d;
	assert_int_equal(path_format(patch, sizeof patch,
				     "{'linux':{'namespaces':[" NS
				     ",{'type':'user','path':'/proc/%d/ns/user'}]}}",
				     pid),
			 0);
	testbed_start(t, "d", "echo; sleep 100", patch, &d);
	assert_string_equal(testbed_exec(&d, where, NULL)->out, first);
	assert_string_equal(testbed_exec(&d, "hostname", NULL)->out, "ct\n");
	testbed_stop(&d);

	assert_int_equal(
		path_format(patch, sizeof patch,
			    "{'linux':{'namespaces':[" NS
			    ",{'type':'user','path':'/proc/%d/ns/user'}],"
			    "'uidMappings':[{'containerID':0,'hostID':100000,'size':1000}],"
			    "'gidMappings':[{'containerID':0,'hostID':100000,'size':1000}]"
			    "}}",
			    pid),
		0);
	testbed_refuses(t, "true", patch, -EINVAL, "another uid_map than the spec's mappings");
	testbed_stop(&c);
}

/* A process that does nothing in a user namespace that forbids setgroups(2). */
static pid_t hold_denying_namespace(void)
{
	char path[64], byte;
	int made[2];
	assert_int_equal(pipe(made), 0);
	pid_t pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWUSER) < 0 || write(made[1], "", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	assert_int_equal(read(made[0], &byte, 1), 1);
	(void)close(made[0]);
	(void)close(made[1]);
	static const char *const files[][2] = {{"setgroups", "deny"},
					       {"uid_map", "0 100000 1000\n"},
					       {"gid_map", "0 100000 1000\n"}};
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		(void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, files[i][0]);
		assert_int_equal(file_write(AT_FDCWD, path, files[i][1]), 0);
	}
	return pid;
}

static void test_denied_groups(void **state)
{
	struct testbed *t = *state;
	struct running c;
	char patch[512], with[600];
	pid_t holder = hold_denying_namespace();
	own(t, "rootfs", 100000);
	assert_int_equal(path_format(patch, sizeof patch,
				     "{'linux':{'namespaces':[" NS
				     ",{'type':'user','path':'/proc/%d/ns/user'}]}",
				     (int)holder),
			 0);
	assert_int_equal(path_format(with, sizeof with, "%s}", patch), 0);
	testbed_start(t, "c", "echo; sleep 100", with, &c);
	assert_string_equal(testbed_exec(&c, "cat /proc/self/setgroups; id -u; id -G",
					 "{'user':{'uid':3,'gid':4}}")
				    ->out,
			    "deny\n3\n4\n");
	const struct result *r =
		testbed_exec(&c, "true", "{'user':{'uid':3,'gid':4,'additionalGids':[5]}}");
	assert_int_equal(r->r, -EPERM);
	assert_non_null(strstr(r->e.text, "1 additional groups: the user namespace denies"));
	testbed_stop(&c);
	assert_int_equal(
		path_format(with, sizeof with,
			    "%s,'process':{'user':{'uid':0,'gid':0,'additionalGids':[5,6]}}}",
			    patch),
		0);
	testbed_refuses(t, "true", with, -EPERM,
			"2 additional groups: the user namespace denies to set any");
	assert_int_equal(kill(holder, SIGKILL), 0);
	assert_int_equal(waitpid(holder, NULL, 0), holder);
}

#define QUEUES "'mounts+':[{'destination':'/q','type':'mqueue','options':['ro','nosuid']}]"

/* What is shown of namespaces is theirs, although they belong to another user namespace. */
static void test_namespaces_of_others(void **state)
{
	struct testbed *t = *state;
	struct running c;
	char patch[2048];
	static const char see[] = "id -u; cat /proc/1/comm; grep -o ' /q mqueue ro,nosuid' "
				  "/proc/mounts; ls /q; touch /q/x; ls -d /proc/self/ns";
	own(t, "rootfs", 100000);
	testbed_start(t, "pod", "touch /q/of-the-pod; echo; sleep 100",
		      "{'mounts+':[{'destination':'/q','type':'mqueue'}],'linux':{'namespaces':[" NS
		      "]}}",
		      &c);
	assert_int_equal(
		path_format(patch, sizeof patch,
			    "{'linux':{'namespaces':[{'type':'mount'},{'type':'uts'},"
			    "{'type':'ipc','path':'/proc/%d/ns/ipc'},"
			    "{'type':'pid','path':'/proc/%d/ns/pid'},{'type':'user'}]," MAPS
			    "}," QUEUES "}",
			    (int)c.init.pid, (int)c.init.pid),
		0);
	testbed_expect(t, see, patch, 0,
		       "0\nsleep\n /q mqueue ro,nosuid\nof-the-pod\n"
		       "touch: /q/x: Read-only file system\n/proc/self/ns\n");
	testbed_stop(&c);
	/* those of the engine, where the container has none */
	testbed_expect(
		t, "test -d /proc/$$/ns && ls -d /q; echo 1 > /proc/sys/kernel/msgmax",
		"{'linux':{'namespaces':[{'type':'mount'},{'type':'uts'},{'type':'user'}]," MAPS
		"}," QUEUES "}",
		1, "/q\nsh: can't create /proc/sys/kernel/msgmax: Permission denied\n");
}

static void test_own_is_refused(void **state)
{
	testbed_refuses(*state, "true",
			"{'linux':{'namespaces':[" NS
			",{'type':'user','path':'/proc/self/ns/user'}]}}",
			-EINVAL, "is the engine's own");
	testbed_refuses(*state, "true",
			"{'linux':{'namespaces':[" NS
			",{'type':'user','path':'/proc/self/ns/uts'}]}}",
			-EINVAL, "is not a user namespace");
}

/* ---- time */

#define TIME "{'type':'mount'},{'type':'pid'},{'type':'uts'},{'type':'time'}"

static double uptime_of(const char *text)
{
	return strtod(text, NULL);
}

static double outer_uptime(void)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	assert_int_equal(file_read(AT_FDCWD, "/proc/uptime", 100, &b), 0);
	return uptime_of(b.data);
}

static void test_time(void **state)
{
	struct testbed *t = *state;
	struct running c;
	double now = outer_uptime();
	testbed_start(t, "pod", "echo; sleep 100",
		      "{'linux':{'namespaces':[" TIME "],'timeOffsets':{"
		      "'monotonic':{'secs':86400,'nanosecs':500},'boottime':{'secs':1000000}}}}",
		      &c);
	const struct result *res = testbed_exec(
		&c, "cat /proc/uptime; sed 's/  */ /g' /proc/self/timens_offsets", NULL);
	assert_int_equal(res->r, 0);
	double seen = uptime_of(res->out);
	assert_true(seen >= now + 1000000 && seen < now + 1000000 + 1000);
	assert_non_null(strstr(res->out, "monotonic 86400 500\nboottime 1000000 0\n"));

	/* a neighbour of the same clocks */
	char patch[512];
	assert_int_equal(path_format(patch, sizeof patch,
				     "{'linux':{'namespaces':[{'type':'mount'},{'type':'pid'},"
				     "{'type':'uts'},{'type':'time','path':'/proc/%d/ns/time'}]}}",
				     (int)c.init.pid),
			 0);
	res = testbed_run(t, "cat /proc/uptime", patch);
	assert_int_equal(res->r, 0);
	assert_true(uptime_of(res->out) >= now + 1000000);
	patch[strlen(patch) - 2] = '\0';
	strcat(patch, ",'timeOffsets':{'boottime':{'secs':1}}}}");
	testbed_refuses(t, "true", patch, -EINVAL, "timeOffsets need a new time namespace");
	testbed_stop(&c);
	/* and it is nobody else's */
	res = testbed_run(t, "cat /proc/uptime", NULL);
	assert_true(uptime_of(res->out) < now + 1000000);
}

static void test_time_with_users(void **state)
{
	struct testbed *t = *state;
	double now = outer_uptime();
	const struct result *res = testbed_run(t, "cat /proc/uptime; id -u",
					       "{'linux':{'namespaces':[" TIME
					       ",{'type':'user'}]," MAPS ",'timeOffsets':{"
					       "'boottime':{'secs':1000000}}}}");
	assert_int_equal(res->r, 0);
	assert_true(uptime_of(res->out) >= now + 1000000);
	res = testbed_run(t, "cat /proc/uptime", "{'linux':{'namespaces':[" TIME "]}}");
	assert_int_equal(res->r, 0);
	assert_true(uptime_of(res->out) < now + 1000);
	testbed_refuses(t, "true",
			"{'linux':{'namespaces':[" TIME "],'timeOffsets':{"
			"'boottime':{'secs':-100000000}}}}",
			-ERANGE, "timeOffsets");
}

/* ---- names */

static void test_domain_name(void **state)
{
	struct testbed *t = *state;
	struct running c;
	char patch[512];
	testbed_start(t, "pod", "echo; sleep 100", NULL, &c);
	/* one that is joined, and has none yet, gets it; then it is the pod's */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(path_format(patch, sizeof patch,
					     "{'domainname':'%s','linux':{'namespaces':["
					     "{'type':'mount'},{'type':'uts','path':"
					     "'/proc/%d/ns/uts'}]}}",
					     i ? "second" : "first", (int)c.init.pid),
				 0);
		testbed_expect(t, "cat /proc/sys/kernel/domainname; hostname", patch, 0,
			       "first\nct\n");
	}
	testbed_stop(&c);
}

static void test_cgroup_namespace(void **state)
{
	struct testbed *t = *state;
	struct running c;
	char patch[512];
	static const char show[] =
		"grep ^0: /proc/self/cgroup; test -e /cg/cgroup.procs && echo v2";
	testbed_start(t, "pod", "echo; sleep 100",
		      "{'linux':{'cgroupsPath':'/engine-test/a/c','namespaces':[{'type':'mount'},"
		      "{'type':'uts'},{'type':'pid'},{'type':'cgroup'}]},'mounts+':["
		      "{'destination':'/cg','type':'cgroup','options':['ro']}]}",
		      &c);
	assert_string_equal(testbed_exec(&c, show, NULL)->out, "0::/\nv2\n");
	/* joined by another, whose own cgroup is beside */
	assert_int_equal(path_format(patch, sizeof patch,
				     "{'linux':{'cgroupsPath':'/engine-test/a/d','namespaces':["
				     "{'type':'mount'},{'type':'uts'},{'type':'pid'},"
				     "{'type':'cgroup','path':'/proc/%d/ns/cgroup'}]},'mounts+':["
				     "{'destination':'/cg','type':'cgroup2','options':['ro']}]}",
				     (int)c.init.pid),
			 0);
	testbed_expect(t, show, patch, 0, "0::/../d\nv2\n");
	testbed_stop(&c);
}

/* Its pipes belong to its user, who can open /dev/stdout again. */
static void test_stdio_is_the_users(void **state)
{
	struct testbed *t = *state;
	testbed_expect(t, "stat -L -c %u /proc/self/fd/1; echo again > /proc/self/fd/1",
		       NEW ",'process':{'user':{'uid':7,'gid':7}}}", 0, "7\nagain\n");
}

/* A root that others are to see mounts of is not where the engine's own mounts come to light. */
static void test_a_shared_root(void **state)
{
	struct testbed *t = *state;
	assert_int_equal(mount(t->dir, t->dir, NULL, MS_BIND, NULL), 0);
	assert_int_equal(mount(NULL, t->dir, NULL, MS_SHARED, NULL), 0);
	testbed_expect(t, "grep -c ' / / .*shared:' /proc/self/mountinfo; true",
		       "{'linux':{'rootfsPropagation':'rshared','namespaces':[" NS
		       ",{'type':'user'}]," MAPS "}}",
		       0, "0\n");
	assert_false(testbed_exists(t, "rootfs/proc/self"));
	assert_int_equal(umount2(t->dir, MNT_DETACH), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, testbed_setup, testbed_teardown)
#define CGROUP_CASE(f) cmocka_unit_test_setup_teardown(f, testbed_setup_cgroup, testbed_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_several_ranges),
		CASE(test_dev_proc_sys),
		CASE(test_terminal),
		CASE(test_closed_ways),
		CASE(test_volumes_with_its_owners),
		CASE(test_no_mount_gets_out),
		CASE(test_execs_and_joins),
		CASE(test_denied_groups),
		CASE(test_namespaces_of_others),
		CASE(test_own_is_refused),
		CASE(test_time),
		CASE(test_time_with_users),
		CASE(test_domain_name),
		CGROUP_CASE(test_cgroup_namespace),
		CASE(test_stdio_is_the_users),
		CASE(test_a_shared_root),
	};
	return RUN_TESTS();
}
