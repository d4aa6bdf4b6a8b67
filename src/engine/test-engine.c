/* SPDX-License-Identifier: Apache-2.0 */
/* What a process in a container is and sees. */
#include "engine/testbed.h"

#include <signal.h>

static void test_exit_codes(void **state)
{
	testbed_expect(*state, "true", NULL, 0, "");
	testbed_expect(*state, "echo out; echo err >&2; exit 7", NULL, 7, "out\nerr\n");
	/* The first process of a pid namespace cannot kill itself, so without one: */
	testbed_expect(*state, "kill -TERM $$",
		       "{'linux':{'namespaces':[{'type':'mount'},{'type':'uts'}]}}", 128 + SIGTERM,
		       "");
}

static void test_environment(void **state)
{
	testbed_expect(*state, "echo $HOME $A; pwd; hostname; umask",
		       "{'process':{'env':['PATH=/bin','A=b c'],'cwd':'/tmp'}}", 0,
		       "/root b c\n/tmp\nct\n0022\n");
	testbed_expect(*state, "echo $HOME", "{'process':{'user':{'uid':1000,'gid':1000}}}", 0,
		       "/home/user\n");
	testbed_expect(*state, "echo $HOME", "{'process':{'user':{'uid':77,'gid':1000}}}", 0,
		       "/\n");
	testbed_expect(*state, "echo $HOME; umask",
		       "{'process':{'env':['HOME=/x','PATH=/bin'],'user':{'umask':63}}}", 0,
		       "/x\n0077\n");
	/* a working directory that the image does not have */
	testbed_expect(*state, "pwd", "{'process':{'cwd':'/new/dir'}}", 0, "/new/dir\n");
}

static void test_program_lookup(void **state)
{
	struct testbed *t = *state;
	testbed_file(t, "rootfs/tmp/here", "#!/bin/sh\necho here\n", 0755);
	testbed_expect(t, NULL, "{'process':{'args':['./here'],'cwd':'/tmp'}}", 0, "here\n");
	testbed_expect(t, NULL, "{'process':{'args':['/bin/echo','x']}}", 0, "x\n");
	testbed_expect(t, NULL, "{'process':{'args':['echo','x'],'env':[]}}", 0, "x\n");
}

static void test_user(void **state)
{
	testbed_expect(*state, "id -u; id -g; id -G",
		       "{'process':{'user':{'uid':1000,'gid':100,'additionalGids':[5,6]}}}", 0,
		       "1000\n100\n100 5 6\n");
	testbed_expect(*state, "id -u; id -g; id -G", NULL, 0, "0\n0\n0\n");
}

static const char show_caps[] = "grep -E 'Cap|NoNew' /proc/self/status | sed 's/\\t/ /'";

static void test_capabilities(void **state)
{
	/* CHOWN 0, KILL 5, SETUID 7, MKNOD 27 */
	testbed_expect(*state, show_caps, NULL, 0,
		       "CapInh: 0000000000000000\nCapPrm: 00000000080000a1\n"
		       "CapEff: 00000000080000a1\nCapBnd: 00000000080000a1\n"
		       "CapAmb: 0000000000000000\nNoNewPrivs: 0\n");
	/* another user keeps nothing over exec, but for ambient ones */
	testbed_expect(*state, show_caps,
		       "{'process':{'noNewPrivileges':true,'user':{'uid':1000,'gid':1000}}}", 0,
		       "CapInh: 0000000000000000\nCapPrm: 0000000000000000\n"
		       "CapEff: 0000000000000000\nCapBnd: 00000000080000a1\n"
		       "CapAmb: 0000000000000000\nNoNewPrivs: 1\n");
	testbed_expect(*state, show_caps,
		       "{'process':{'user':{'uid':1000,'gid':1000},'capabilities':{"
		       "'inheritable':['CAP_KILL'],'ambient':['CAP_KILL','CAP_SYS_ADMIN']}}}",
		       0,
		       "CapInh: 0000000000000020\nCapPrm: 0000000000000020\n"
		       "CapEff: 0000000000000020\nCapBnd: 00000000080000a1\n"
		       "CapAmb: 0000000000000020\nNoNewPrivs: 0\n");
}

static void test_no_capabilities(void **state)
{
	testbed_expect(*state, show_caps,
		       "{'process':{'capabilities':{'bounding':[],'effective':[],'permitted':[]}}}",
		       0,
		       "CapInh: 0000000000000000\nCapPrm: 0000000000000000\n"
		       "CapEff: 0000000000000000\nCapBnd: 0000000000000000\n"
		       "CapAmb: 0000000000000000\nNoNewPrivs: 0\n");
}

static void test_limits(void **state)
{
	testbed_expect(*state, "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj",
		       "{'process':{'oomScoreAdj':500,'rlimits':["
		       "{'type':'RLIMIT_NOFILE','soft':100,'hard':200},"
		       "{'type':'RLIMIT_CORE','soft':0,'hard':0}]}}",
		       0, "100\n200\n0\n500\n");
}

static void test_descriptors(void **state)
{
	/* 3 is the directory that ls reads */
	testbed_expect(*state, "ls /proc/self/fd; readlink /proc/self/fd/0", NULL, 0,
		       "0\n1\n2\n3\n/dev/null\n");
}

static void test_own_namespaces(void **state)
{
	testbed_expect(*state, "echo $$; cat /proc/1/comm; true", NULL, 0, "1\nsh\n");
	testbed_expect(*state, "test \"$(cut -d' ' -f6 /proc/self/stat)\" = 1 && echo session",
		       NULL, 0, "session\n");
}

static void test_hostname_and_sysctl(void **state)
{
	testbed_expect(*state, "cat /proc/sys/kernel/msgmax /proc/sys/kernel/domainname",
		       "{'domainname':'dom','linux':{'sysctl':{'kernel.msgmax':'4242'}}}", 0,
		       "4242\ndom\n");
	testbed_refuses(*state, "true", "{'linux':{'sysctl':{'kernel.core_pattern':'x'}}}", -EINVAL,
			"sysctl kernel.core_pattern");
	testbed_refuses(*state, "true", "{'linux':{'sysctl':{'net.core.somaxconn':'1'}}}", -EINVAL,
			"namespace");
}

static void test_terminal(void **state)
{
	testbed_expect(*state,
		       "tty; stty size; ls -l /dev/console | cut -c1; stat -c %u /dev/pts/0",
		       "{'process':{'terminal':true,'consoleSize':{'height':25,'width':99},"
		       "'user':{'uid':1000,'gid':1000}}}",
		       0, "/dev/pts/0\r\n25 99\r\nc\r\n1000\r\n");
	testbed_expect(*state, "test -t 0 && test -t 1 && test -t 2 && echo > /dev/tty && echo yes",
		       "{'process':{'terminal':true}}", 0, "\r\nyes\r\n");
}

static void test_seccomp(void **state)
{
	static const char deny[] = "{'linux':{'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','"
				   "syscalls':[{'names':['uname'],"
				   "'action':'SCMP_ACT_ERRNO','errnoRet':1}]}}}";
	static const char as_user[] = "{'process':{'user':{'uid':1000,'gid':1000}},"
				      "'linux':{'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','"
				      "syscalls':[{'names':['uname'],"
				      "'action':'SCMP_ACT_ERRNO','errnoRet':1}]}}}";
	static const char script[] =
		"grep Seccomp: /proc/self/status | sed 's/\\t/ /'; uname || true;"
		"grep CapEff /proc/self/status | sed 's/\\t/ /'";
	testbed_expect(*state, script, deny, 0, "Seccomp: 2\n\nCapEff: 00000000080000a1\n");
	/* neither no_new_privs nor CAP_SYS_ADMIN in the spec; and none is left over */
	testbed_expect(*state, script, as_user, 0, "Seccomp: 2\n\nCapEff: 0000000000000000\n");
}

/* A filter that allows nothing after it has been installed: the failure still has a reason. */
static void test_seccomp_that_forbids_to_report(void **state)
{
	testbed_refuses(*state, "true",
			"{'process':{'noNewPrivileges':true},'linux':{'seccomp':{"
			"'defaultAction':'SCMP_ACT_ERRNO','defaultErrnoRet':95,"
			"'syscalls':[{'names':['exit_group'],'action':'SCMP_ACT_ALLOW'}]}}}",
			-EOPNOTSUPP, "exec: \"sh\"");
}

static void test_user_namespace(void **state)
{
	testbed_expect(*state,
		       "id -u; cat /proc/self/uid_map; echo x > /dev/null && echo y; ls /dev/zero",
		       "{'linux':{'namespaces':[{'type':'pid'},{'type':'ipc'},{'type':'uts'},"
		       "{'type':'mount'},{'type':'user'}],"
		       "'uidMappings':[{'containerID':0,'hostID':100000,'size':65536}],"
		       "'gidMappings':[{'containerID':0,'hostID':100000,'size':65536}]}}",
		       0, "0\n         0     100000      65536\ny\n/dev/zero\n");
}

/* A session keyring of its own; /proc/keys also shows what others of the same user have. */
static void test_keyring(void **state)
{
	static const char show[] = "grep -o ' _ses[.]c:' /proc/keys";
	testbed_expect(*state, show, NULL, 0, " _ses.c:\n");
	testbed_expect(*state, show, "{'process':{'user':{'uid':1000,'gid':1000}}}", 0,
		       " _ses.c:\n");
}

static void test_personality(void **state)
{
	testbed_expect(*state, "cat /proc/self/personality",
		       "{'linux':{'personality':{'domain':'LINUX32'}}}", 0, "00000008\n");
}

static void test_repeated_variables(void **state)
{
	testbed_expect(*state, "env | grep -c ^A=; echo $A $AB",
		       "{'process':{'env':['A=1','PATH=/none','AB=x','A=2','PATH=/bin']}}", 0,
		       "1\n2 x\n");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, testbed_setup, testbed_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_exit_codes),
		CASE(test_environment),
		CASE(test_repeated_variables),
		CASE(test_program_lookup),
		CASE(test_user),
		CASE(test_capabilities),
		CASE(test_no_capabilities),
		CASE(test_limits),
		CASE(test_descriptors),
		CASE(test_own_namespaces),
		CASE(test_hostname_and_sysctl),
		CASE(test_terminal),
		CASE(test_seccomp),
		CASE(test_seccomp_that_forbids_to_report),
		CASE(test_user_namespace),
		CASE(test_personality),
		CASE(test_keyring),
	};
	return RUN_TESTS();
}
