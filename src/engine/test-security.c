/* SPDX-License-Identifier: Apache-2.0 */
/* What a process may do: seccomp with and without a listener, labels, credentials, priorities. */
#include "engine/testbed.h"

#include "base/clock.h"
#include "base/fd.h"
#include "engine/filter.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

static const char wait_here[] = "echo up; sleep 1000 & wait";

/* ---- Compiled once ------------------------------------------------------------------------ */

int __real_engine_seccomp_compile(const struct oci_seccomp *s, struct engine_bpf *ret,
				  struct err *e);
int __wrap_engine_seccomp_compile(const struct oci_seccomp *s, struct engine_bpf *ret,
				  struct err *e);

static int compiled;

int __wrap_engine_seccomp_compile(const struct oci_seccomp *s, struct engine_bpf *ret,
				  struct err *e)
{
	compiled++;
	return __real_engine_seccomp_compile(s, ret, e);
}

static void test_a_profile_is_compiled_once(void **state)
{
	struct running c;

	compiled = 0;
	testbed_start(*state, "c", wait_here,
		      "{'linux':{'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','syscalls':["
		      "{'names':['sethostname'],'action':'SCMP_ACT_ERRNO','errnoRet':77}]}}}",
		      &c);
	for (int i = 0; i < 5; i++) {
		const struct result *r = testbed_exec(
			&c, "grep -E '^Seccomp:' /proc/self/status; hostname x 2>&1 | wc -l", NULL);
		assert_int_equal(r->r, 0);
		assert_string_equal(r->out, "Seccomp:\t2\n1\n");
	}
	assert_int_equal(compiled, 1);
	testbed_stop(&c);
}

/* ---- A listener --------------------------------------------------------------------------- */

/* Decides as a seccomp agent does: each call is answered with an errno, or goes on. */
struct listener {
	pthread_t thread;
	char path[128];
	int sock;
	int answer;	 /* of mkdir(2) */
	int connections; /* how many to serve */
	char state[4096];
	int calls;
	bool closed; /* each connection ended after one message */
};

static int receive(int conn, char *text, size_t size)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = text, .iov_len = size - 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof control};
	ssize_t n = recvmsg(conn, &m, MSG_CMSG_CLOEXEC);
	int fd = -1;

	if (n <= 0 || !CMSG_FIRSTHDR(&m))
		return -1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
	text[n] = '\0';
	return fd;
}

static void decide(struct listener *l, int fd)
{
	/* until the last process with the filter has gone */
	for (;;) {
		struct seccomp_notif q = {.id = 0};
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (poll(&p, 1, 20000) != 1 || !(p.revents & POLLIN))
			return;
		if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &q) < 0)
			continue;
		struct seccomp_notif_resp answer = {.id = q.id,
						    .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
		if (q.data.nr == SYS_mkdir && l->answer) {
			answer.flags = 0;
			answer.error = -l->answer;
		}
		l->calls++;
		(void)ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
}

static void *serve(void *arg)
{
	struct listener *l = arg;
	char byte;

	l->closed = true;
	for (int i = 0; i < l->connections; i++) {
		int conn = accept4(l->sock, NULL, NULL, SOCK_CLOEXEC);
		int fd = receive(conn, l->state, sizeof l->state);
		l->closed &= recv(conn, &byte, 1, 0) == 0;
		(void)close_fd(conn);
		if (fd >= 0)
			decide(l, fd);
		(void)close_fd(fd);
	}
	return NULL;
}

static void listener_start(struct testbed *t, struct listener *l)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	(void)snprintf(l->path, sizeof l->path, "%s/listener", t->dir);
	memcpy(addr.sun_path, l->path, strlen(l->path) + 1);
	l->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(l->sock, (struct sockaddr *)&addr, sizeof addr), 0);
	assert_int_equal(listen(l->sock, 8), 0);
	assert_int_equal(pthread_create(&l->thread, NULL, serve, l), 0);
}

static void listener_stop(struct listener *l)
{
	pthread_join(l->thread, NULL);
	(void)close(l->sock);
	(void)unlink(l->path);
}

static const char *profile(const struct testbed *t, const char *rest)
{
	static char text[1024];

	(void)snprintf(text, sizeof text,
		       "{'annotations':{'a':'b'},'linux':{'seccomp':{"
		       "'listenerPath':'%s/listener','listenerMetadata':'meta',%s}}}",
		       t->dir, rest);
	return text;
}

static const char notify_mkdir[] = "'defaultAction':'SCMP_ACT_ALLOW',"
				   "'syscalls':[{'names':['mkdir'],'action':'SCMP_ACT_NOTIFY'}]";

static void check_state(struct testbed *t, const char *text, const char *status)
{
	json_t *j = json_loads(text, 0, NULL), *state = json_object_get(j, "state");

	assert_non_null(j);
	assert_string_equal(json_string_value(json_object_get(j, "ociVersion")), "1.0.2");
	assert_string_equal(json_string_value(json_object_get(j, "metadata")), "meta");
	assert_int_equal(json_array_size(json_object_get(j, "fds")), 1);
	assert_string_equal(json_string_value(json_array_get(json_object_get(j, "fds"), 0)),
			    "seccompFd");
	assert_true(json_integer_value(json_object_get(j, "pid")) > 0);
	assert_string_equal(json_string_value(json_object_get(state, "id")), "c");
	assert_string_equal(json_string_value(json_object_get(state, "status")), status);
	assert_string_equal(json_string_value(json_object_get(state, "bundle")), t->dir);
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(state, "annotations"), "a")),
		"b");
	json_decref(j);
}

static void test_a_listener_decides(void **state)
{
	struct listener l = {.answer = EOWNERDEAD, .connections = 1};

	listener_start(*state, &l);
	testbed_expect(*state, "mkdir /tmp/a 2>&1; echo end", profile(*state, notify_mkdir), 0,
		       "mkdir: can't create directory '/tmp/a': Owner died\nend\n");
	listener_stop(&l);
	assert_int_equal(l.calls, 1);
	assert_true(l.closed);
	check_state(*state, l.state, "created");

	/* with every flag that there is */
	l = (struct listener){.answer = 0, .connections = 1};
	char text[512];
	(void)snprintf(text, sizeof text,
		       "%s,'flags':['SECCOMP_FILTER_FLAG_TSYNC',"
		       "'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV']",
		       notify_mkdir);
	listener_start(*state, &l);
	testbed_expect(*state, "mkdir /tmp/a; echo $?", profile(*state, text), 0, "0\n");
	listener_stop(&l);
}

/* Also about the calls that the engine itself still makes, and those that it would need to talk. */
static void test_a_listener_decides_about_everything(void **state)
{
	struct listener l = {.connections = 1};

	listener_start(*state, &l);
	testbed_expect(*state, "echo all", profile(*state, "'defaultAction':'SCMP_ACT_NOTIFY'"), 0,
		       "all\n");
	listener_stop(&l);
	assert_true(l.calls > 10);

	/* every call but these fails */
	l = (struct listener){.connections = 1};
	listener_start(*state, &l);
	const struct result *r = testbed_run(
		*state, "true",
		profile(*state, "'defaultAction':'SCMP_ACT_ERRNO','syscalls':["
				"{'names':['execve','capset'],'action':'SCMP_ACT_NOTIFY'},"
				"{'names':['exit_group'],'action':'SCMP_ACT_ALLOW'}]"));
	assert_int_equal(r->r, 0); /* it ran, for what that was worth */
	listener_stop(&l);
	assert_true(l.calls >= 2);
}

static void test_execs_have_listeners_of_their_own(void **state)
{
	struct listener l = {.answer = EOWNERDEAD, .connections = 1};
	struct running c;

	/* the container's own listener stays busy while it lives, so it ends first */
	listener_start(*state, &l);
	testbed_start(*state, "c", "echo up; mkdir /tmp/a; exec sleep 1000",
		      profile(*state, notify_mkdir), &c);
	struct listener second = {.answer = EOWNERDEAD, .connections = 1};
	(void)unlink(l.path);
	listener_start(*state, &second);
	const struct result *r = testbed_exec(&c, "mkdir /tmp/b 2>&1", NULL);
	assert_int_equal(r->r, 0);
	assert_string_equal(r->out, "mkdir: can't create directory '/tmp/b': Owner died\n");
	listener_stop(&second);
	check_state(*state, second.state, "running");
	testbed_stop(&c);
	listener_stop(&l);
}

static void test_without_a_listener_nothing_runs(void **state)
{
	struct testbed *t = *state;

	testbed_refuses(t, "echo x", profile(t, notify_mkdir), -ENOENT,
			"connect to the seccomp listener");
	testbed_refuses(t, "echo x",
			"{'linux':{'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','syscalls':["
			"{'names':['mkdir'],'action':'SCMP_ACT_NOTIFY'}]}}}",
			-EINVAL, "needs a listenerPath");
	/* nobody is told of a profile without such an action */
	testbed_expect(t, "echo x", profile(t, "'defaultAction':'SCMP_ACT_ALLOW'"), 0, "x\n");

	/* a listener that is not wanted at its path does not keep an exec */
	struct running c;
	struct listener l = {.connections = 1};
	listener_start(t, &l);
	testbed_start(t, "c", "echo up; exec sleep 1000", profile(t, notify_mkdir), &c);
	(void)unlink(l.path);
	const struct result *r = testbed_exec(&c, "echo x", NULL);
	assert_int_equal(r->r, -ENOENT);
	assert_non_null(strstr(r->e.text, "connect to the seccomp listener"));
	testbed_stop(&c);
	listener_stop(&l);
}

/* ---- Labels ------------------------------------------------------------------------------- */

/* On a kernel with the modules a profile of this name is not loaded, and a label is not known. */
static void test_labels_are_never_ignored(void **state)
{
	struct running c;
	const struct result *r;
	bool apparmor = access("/proc/self/attr/apparmor/exec", F_OK) == 0;

	testbed_refuses(*state, "true", "{'process':{'apparmorProfile':'no-such-profile'}}",
			apparmor ? -ENOENT : -EOPNOTSUPP,
			apparmor ? "AppArmor profile no-such-profile is not loaded"
				 : "AppArmor profile no-such-profile: the kernel has no AppArmor");
	testbed_expect(*state, "echo x", "{'process':{'apparmorProfile':'unconfined'}}", 0, "x\n");
	r = testbed_run(*state, "true", "{'process':{'selinuxLabel':'no:such:label'}}");
	assert_true(r->r < 0);
	assert_non_null(strstr(r->e.text, "SELinux label no:such:label"));
	testbed_start(*state, "c", wait_here, NULL, &c);
	r = testbed_exec(&c, "true", "{'apparmorProfile':'no-such-profile'}");
	assert_true(r->r < 0);
	assert_non_null(strstr(r->e.text, "AppArmor profile no-such-profile"));
	testbed_stop(&c);
}

/* ---- Where execs run ---------------------------------------------------------------------- */

static int first_cpu(void)
{
	cpu_set_t set;

	assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set))
			return i;
	return 0;
}

static void expect_cpus(struct running *c, const char *patch, const char *cpus)
{
	char expected[64];
	const struct result *r =
		testbed_exec(c, "grep Cpus_allowed_list /proc/self/status | cut -f 2", patch);

	assert_int_equal(r->r, 0);
	(void)snprintf(expected, sizeof expected, "%s\n", cpus);
	assert_string_equal(r->out, expected);
}

static void test_affinity_of_execs(void **state)
{
	struct running c;
	char text[128], cpu[16], all[64];
	const struct result *r;

	(void)snprintf(cpu, sizeof cpu, "%d", first_cpu());
	(void)snprintf(text, sizeof text, "{'process':{'execCPUAffinity':{'final':'%s'}}}", cpu);
	testbed_start(*state, "c",
		      "grep Cpus_allowed_list /proc/self/status >/tmp/own; echo up; sleep 1000 & "
		      "wait",
		      text, &c);
	/* not of the container's init, but of what is exec'ed unless that brings its own */
	r = testbed_exec(&c, "cut -f 2 /tmp/own", NULL);
	(void)snprintf(all, sizeof all, "%.*s", (int)strcspn(r->out, "\n"), r->out);
	expect_cpus(&c, NULL, cpu);
	(void)snprintf(text, sizeof text, "{'execCPUAffinity':{'initial':'%s'}}", cpu);
	expect_cpus(&c, text, all);
	(void)snprintf(text, sizeof text,
		       "{'execCPUAffinity':{'initial':'8000','final':'%s-8191'}}", cpu);
	r = testbed_exec(&c, "true", text);
	assert_int_equal(r->r, 0);
	r = testbed_exec(&c, "true", "{'execCPUAffinity':{'final':'8000'}}");
	assert_int_equal(r->r, -EINVAL);
	assert_non_null(strstr(r->e.text, "execCPUAffinity.final 8000"));
	testbed_stop(&c);
}

/* ---- Where hooks run ---------------------------------------------------------------------- */

#define NAMESPACES "for n in mnt uts ipc; do readlink /proc/self/ns/$n; done"

static void read_outside(struct testbed *t, const char *name, char *ret, size_t size)
{
	char path[128];
	_cleanup_buf_ struct buf b = BUF_INIT;

	(void)snprintf(path, sizeof path, "%s/outside/%s", t->dir, name);
	assert_int_equal(file_read(AT_FDCWD, path, size - 1, &b), 0);
	(void)snprintf(ret, size, "%s", b.data ? b.data : "");
}

static void own_namespaces(char *ret, size_t size)
{
	static const char *const names[] = {"mnt", "uts", "ipc"};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char path[64], target[64] = "";
		(void)snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
		assert_true(readlink(path, target, sizeof target - 1) > 0);
		n += (size_t)snprintf(ret + n, size - n, "%s\n", target);
	}
}

static void test_namespaces_of_hooks(void **state)
{
	struct testbed *t = *state;
	char patch[2048], ours[256], text[256];

	(void)snprintf(
		patch, sizeof patch,
		"{'hooks':{"
		"'prestart':[{'path':'/bin/busybox','args':['sh','-c','" NAMESPACES
		" >%1$s/outside/prestart']}],"
		"'createRuntime':[{'path':'/bin/busybox','args':['sh','-c','" NAMESPACES
		" >%1$s/outside/createRuntime']}],"
		"'createContainer':[{'path':'/bin/busybox','args':['sh','-c','" NAMESPACES
		" >%1$s/outside/createContainer']}],"
		/* of the container's root: the host has no such file */
		"'startContainer':[{'path':'/bin/hook','args':['hook','/tmp/startContainer']}],"
		"'poststart':[{'path':'/bin/busybox','args':['sh','-c','" NAMESPACES
		" >%1$s/outside/poststart']}],"
		"'poststop':[{'path':'/bin/busybox','args':['sh','-c','" NAMESPACES
		" >%1$s/outside/poststop']}]}}",
		t->dir);
	testbed_file(t, "rootfs/bin/hook", "#!/bin/sh\n" NAMESPACES " >$1\n", 0755);
	const struct result *r = testbed_run(
		t, NAMESPACES " >/tmp/own; cat /tmp/startContainer /tmp/own; sleep 0.3", patch);
	assert_int_equal(r->r, 0);
	/* twice the same */
	size_t half = strlen(r->out) / 2;
	assert_true(half > 30 && memcmp(r->out, r->out + half, half) == 0);
	own_namespaces(ours, sizeof ours);

	static const char *const outer[] = {"prestart", "createRuntime", "poststart", "poststop"};
	for (size_t i = 0; i < ARRAY_SIZE(outer); i++) {
		read_outside(t, outer[i], text, sizeof text);
		assert_string_equal(text, ours);
	}
	read_outside(t, "createContainer", text, sizeof text);
	assert_int_equal(strncmp(r->out, text, half), 0);
	assert_string_not_equal(text, ours);
}

/* ---- Limits and priorities ---------------------------------------------------------------- */

static void test_every_limit(void **state)
{
	static const struct {
		const char *name;
		int resource;
		uint64_t soft, hard;
	} limits[] = {
		{"RLIMIT_CPU", RLIMIT_CPU, 1000, 2000},
		{"RLIMIT_FSIZE", RLIMIT_FSIZE, 1 << 30, 1 << 30},
		{"RLIMIT_DATA", RLIMIT_DATA, UINT64_C(1) << 38, UINT64_C(1) << 40},
		{"RLIMIT_STACK", RLIMIT_STACK, 4 << 20, 64 << 20},
		{"RLIMIT_CORE", RLIMIT_CORE, 0, 4096},
		{"RLIMIT_RSS", RLIMIT_RSS, 1 << 30, 1 << 30},
		{"RLIMIT_NPROC", RLIMIT_NPROC, 100, 200},
		{"RLIMIT_NOFILE", RLIMIT_NOFILE, 64, 128},
		{"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK, 4096, 8192},
		{"RLIMIT_AS", RLIMIT_AS, UINT64_C(1) << 40, UINT64_C(1) << 41},
		{"RLIMIT_LOCKS", RLIMIT_LOCKS, 5, 6},
		{"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING, 7, 8},
		{"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE, 4096, 4097},
		{"RLIMIT_NICE", RLIMIT_NICE, 0, 0},
		{"RLIMIT_RTPRIO", RLIMIT_RTPRIO, 0, 0},
		{"RLIMIT_RTTIME", RLIMIT_RTTIME, 1000000, 2000000},
	};
	_cleanup_buf_ struct buf patch = BUF_INIT;
	struct running c;

	buf_puts(&patch, "{'process':{'rlimits':[");
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		buf_printf(&patch, "%s{'type':'%s','soft':%llu,'hard':%llu}", i ? "," : "",
			   limits[i].name, (unsigned long long)limits[i].soft,
			   (unsigned long long)limits[i].hard);
	buf_puts(&patch, "]}}");
	testbed_start(*state, "c", wait_here, patch.data, &c);
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		struct rlimit64 got;
		assert_int_equal(prlimit64(c.init.pid, (enum __rlimit_resource)limits[i].resource,
					   NULL, &got),
				 0);
		if (got.rlim_cur != limits[i].soft || got.rlim_max != limits[i].hard)
			fail_msg("%s is %llu, %llu", limits[i].name,
				 (unsigned long long)got.rlim_cur,
				 (unsigned long long)got.rlim_max);
	}
	testbed_stop(&c);
}

static void test_priorities(void **state)
{
	struct running c;
	const struct result *r;

	testbed_start(*state, "c", wait_here,
		      "{'process':{'scheduler':{'policy':'SCHED_BATCH','nice':5},"
		      "'ioPriority':{'class':'IOPRIO_CLASS_BE','priority':6}}}",
		      &c);
	assert_int_equal(sched_getscheduler(c.init.pid), SCHED_BATCH);
	assert_int_equal(getpriority(PRIO_PROCESS, (id_t)c.init.pid), 5);
	assert_int_equal(syscall(SYS_ioprio_get, 1, c.init.pid), 2 << 13 | 6);
	/* of /proc/PID/stat: nice, the 19th, and the policy, the 41st */
	r = testbed_exec(&c, "cut -d ' ' -f 19,41 /proc/self/stat",
			 "{'scheduler':{'policy':'SCHED_IDLE'},"
			 "'ioPriority':{'class':'IOPRIO_CLASS_IDLE'}}");
	assert_int_equal(r->r, 0);
	assert_string_equal(r->out, "0 5\n");
	/* one that the kernel has reserved, and nobody made */
	r = testbed_exec(&c, "true", "{'scheduler':{'policy':'SCHED_ISO'}}");
	assert_int_equal(r->r, -EINVAL);
	assert_non_null(strstr(r->e.text, "scheduler: policy 4"));
	testbed_stop(&c);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, testbed_setup, testbed_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_a_profile_is_compiled_once),
		CASE(test_a_listener_decides),
		CASE(test_a_listener_decides_about_everything),
		CASE(test_execs_have_listeners_of_their_own),
		CASE(test_without_a_listener_nothing_runs),
		CASE(test_labels_are_never_ignored),
		CASE(test_affinity_of_execs),
		CASE(test_namespaces_of_hooks),
		CASE(test_every_limit),
		CASE(test_priorities),
	};
	/* what a spec does not say is inherited, and whoever runs the tests may be nice */
	(void)setpriority(PRIO_PROCESS, 0, 0);
	return RUN_TESTS();
}
