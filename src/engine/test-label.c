/* SPDX-License-Identifier: Apache-2.0 */
/* Labels and shares of caches, before a kernel that seems to have SELinux and resctrl. */
#include "engine/testbed.h"

#include "base/fd.h"
#include "engine/kernel.h"
#include "oci/arena.h"
#include "sys/mountfd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define LABEL "system_u:object_r:container_file_t:s0:c715,c811"

/* What the container's process has asked of the kernel, a line each. Shared with it. */
static char *said;

static void say(const char *what, const char *label)
{
	size_t n = strlen(said);
	(void)snprintf(said + n, 4096 - n, "%s %s\n", what, label);
}

int __wrap_engine_mount_label_check(int proc_fd, const char *label, struct err *e);
int __wrap_engine_kernel_labels(int proc_fd, const struct engine_job *job, bool *ret_unconfined,
				struct err *e);
int __real_mountfd_new(const char *fstype, const char *source, const struct mountfd_option *options,
		       size_t n_options, uint64_t attr, struct err *e);
int __wrap_mountfd_new(const char *fstype, const char *source, const struct mountfd_option *options,
		       size_t n_options, uint64_t attr, struct err *e);
int __real_mount(const char *source, const char *target, const char *type, unsigned long flags,
		 const void *data);
int __wrap_mount(const char *source, const char *target, const char *type, unsigned long flags,
		 const void *data);
int __wrap_setxattr(const char *path, const char *name, const void *value, size_t size, int flags);

int __wrap_engine_mount_label_check(int proc_fd, const char *label, struct err *e)
{
	(void)proc_fd;
	(void)label;
	(void)e;
	return 0;
}

int __wrap_engine_kernel_labels(int proc_fd, const struct engine_job *job, bool *ret_unconfined,
				struct err *e)
{
	const struct oci_process *p = &job->spec.process;
	(void)proc_fd;
	(void)e;
	if (p->apparmor_profile)
		say("AppArmor", p->apparmor_profile);
	if (p->selinux_label)
		say("SELinux", p->selinux_label);
	*ret_unconfined = false;
	return 0;
}

int __wrap_mountfd_new(const char *fstype, const char *source, const struct mountfd_option *options,
		       size_t n_options, uint64_t attr, struct err *e)
{
	struct mountfd_option kept[80];
	const char *label = "-";
	size_t n = 0;
	for (size_t i = 0; i < n_options && n < ARRAY_SIZE(kept); i++)
		if (strcmp(options[i].key, "context") == 0)
			label = options[i].value;
		else
			kept[n++] = options[i];
	say(fstype, label);
	return __real_mountfd_new(fstype, source, kept, n, attr, e);
}

int __wrap_mount(const char *source, const char *target, const char *type, unsigned long flags,
		 const void *data)
{
	const char *label = data ? strstr(data, ",context=") : NULL;
	if (!label)
		return __real_mount(source, target, type, flags, data);
	_cleanup_free_ char *rest = strndup(data, (size_t)(label - (const char *)data));
	say("mount", label);
	return __real_mount(source, target, type, flags, rest);
}

int __wrap_setxattr(const char *path, const char *name, const void *value, size_t size, int flags)
{
	(void)path;
	(void)flags;
	assert_int_equal(size, strlen(value) + 1);
	say(name, value);
	return 0;
}

static void test_what_is_labelled(void **state)
{
	said[0] = '\0';
	testbed_expect(*state, "grep -c ' /q ' /proc/self/mountinfo",
		       "{'linux':{'mountLabel':'" LABEL "','maskedPaths':['/tmp','/etc']},"
		       "'mounts+':[{'destination':'/sys','type':'sysfs'},"
		       "{'destination':'/q','type':'mqueue','options':['ro']},"
		       "{'destination':'/b','type':'bind','source':'/tmp','options':['bind']},"
		       "{'destination':'/t','type':'tmpfs','options':['context=mine']},"
		       "{'destination':'/c','type':'cgroup'}]}",
		       0, "1\n");
	assert_string_equal(said, "proc -\n"
				  "tmpfs " LABEL "\n"
				  "devpts " LABEL "\n"
				  "sysfs -\n"
				  "mqueue -\n"
				  "security.selinux " LABEL "\n"
				  "tmpfs mine\n"
				  "tmpfs " LABEL "\n"
				  "tmpfs " LABEL "\n");
}

/* By mount(2), where the commas of the label would begin new options without quotes. */
static void test_long_options(void **state)
{
	char patch[2048] = "{'linux':{'mountLabel':'" LABEL "'},'mounts+':[{'destination':'/o',"
			   "'type':'overlay','source':'o','options':['lowerdir=/bin";
	for (int i = 0; i < 160; i++)
		strcat(patch, "/.");
	strcat(patch, ":/etc']}]}");
	said[0] = '\0';
	testbed_expect(*state, "test -e /o/passwd", patch, 0, "");
	assert_non_null(strstr(said, "mount ,context=\"" LABEL "\"\n"));
}

static void test_without_a_label(void **state)
{
	said[0] = '\0';
	testbed_expect(*state, "true",
		       "{'linux':{'mountLabel':'','maskedPaths':['/tmp']},"
		       "'mounts+':[{'destination':'/q','type':'mqueue'}]}",
		       0, "");
	assert_string_equal(said, "proc -\ntmpfs -\ndevpts -\nmqueue -\ntmpfs -\n");
}

/* Their own, else the container's. */
static void test_labels_of_execs(void **state)
{
	struct running c;
	testbed_start(*state, "c", "echo; sleep 100",
		      "{'process':{'apparmorProfile':'profile','selinuxLabel':'label'}}", &c);
	said[0] = '\0';
	assert_int_equal(testbed_exec(&c, "true", NULL)->r, 0);
	assert_string_equal(said, "AppArmor profile\nSELinux label\n");
	said[0] = '\0';
	assert_int_equal(
		testbed_exec(&c, "true", "{'apparmorProfile':'other','selinuxLabel':'another'}")->r,
		0);
	assert_string_equal(said, "AppArmor other\nSELinux another\n");
	testbed_stop(&c);
}

static char resctrl[64];

const char *__wrap_engine_rdt_root(void);

const char *__wrap_engine_rdt_root(void)
{
	return resctrl[0] ? resctrl : NULL;
}

static void expect_task(pid_t pid)
{
	char path[128], want[16];
	_cleanup_buf_ struct buf b = BUF_INIT;
	assert_int_equal(path_format(path, sizeof path, "%s/gold/tasks", resctrl), 0);
	assert_int_equal(file_read(AT_FDCWD, path, 100, &b), 0);
	(void)snprintf(want, sizeof want, "%d", (int)pid);
	if (pid)
		assert_string_equal(b.data, want);
	/* a file where the kernel has one that begins anew with each write */
	assert_int_equal(file_replace(path, "", 0, 0644), 0);
}

/* Init and each exec are in the group; one that is not ours stays, one that is ours goes. */
static void test_shares_of_caches(void **state)
{
	struct testbed *t = *state;
	struct running c;
	testbed_refuses(t, "true", "{'linux':{'intelRdt':{}}}", -EOPNOTSUPP,
			"no resctrl is mounted");
	assert_int_equal(path_format(resctrl, sizeof resctrl, "%s/outside", t->dir), 0);
	testbed_refuses(t, "true", "{'linux':{'intelRdt':{'closID':'gold'}}}", -ENOENT,
			"closID gold names no group");
	/* this one is made, but has no tasks, as a file system has that is not resctrl */
	testbed_refuses(t, "true", "{'linux':{'intelRdt':{}}}", -ENOENT, "add process");
	assert_false(testbed_exists(t, "outside/c"));

	char path[128];
	assert_int_equal(path_format(path, sizeof path, "%s/gold", resctrl), 0);
	assert_int_equal(mkdir(path, 0755), 0);
	testbed_file(t, "outside/gold/tasks", "", 0644);
	testbed_start(t, "c", "echo; sleep 100", "{'linux':{'intelRdt':{'closID':'gold'}}}", &c);
	expect_task(c.init.pid);
	struct engine_process p = ENGINE_PROCESS_INIT;
	struct engine_stdio io = {.in = -1, .out = -1, .errout = -1};
	struct oci_arena *arena;
	struct oci_process *process = testbed_process("true", NULL, &arena);
	assert_int_equal(engine_exec(c.c, process, &io, &p, NULL), 0);
	expect_task(p.pid);
	assert_int_equal(testbed_wait(p.pidfd), 0);
	(void)close(p.pidfd);
	oci_arena_free(arena);
	testbed_stop(&c);
	assert_true(testbed_exists(t, "outside/gold/tasks"));
	resctrl[0] = '\0';
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, testbed_setup, testbed_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_what_is_labelled), CASE(test_long_options),
		CASE(test_without_a_label),  CASE(test_labels_of_execs),
		CASE(test_shares_of_caches),
	};
	said = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (said == MAP_FAILED)
		return 1;
	return RUN_TESTS();
}
