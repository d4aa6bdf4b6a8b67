/* SPDX-License-Identifier: Apache-2.0 */
/* Ways out of other runtimes, each tried on this engine. The names are those of the reports. */
#include "engine/testbed.h"

#include "base/fd.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* A mount of <dir>/outside at @destination. */
static const char *bind_patch(struct testbed *t, const char *destination)
{
	static char patch[512];
	assert_int_equal(path_format(patch, sizeof patch,
				     "{'mounts+':[{'destination':'%s','source':'%s/outside',"
				     "'type':'bind','options':['bind']}]}",
				     destination, t->dir),
			 0);
	return patch;
}

static void link_to_outside(struct testbed *t, const char *path)
{
	char target[128];
	(void)snprintf(target, sizeof target, "%s/outside", t->dir);
	testbed_link(t, path, target);
}

static void remove_dir(struct testbed *t, const char *path)
{
	char full[128];
	(void)snprintf(full, sizeof full, "%s/%s", t->dir, path);
	assert_int_equal(rmdir(full), 0);
}

/* ---- CVE-2019-5736: the runtime's own program, by /proc/self/exe ----------------------------- */

struct identity {
	struct stat st;
	char head[4096];
};

static struct identity own_program(void)
{
	struct identity id;
	memset(&id, 0, sizeof id);
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &id.st), 0);
	assert_int_equal(read(fd, id.head, sizeof id.head), sizeof id.head);
	assert_int_equal(close(fd), 0);
	return id;
}

static void assert_unchanged(const struct identity *before)
{
	struct identity now = own_program();
	assert_int_equal(now.st.st_ino, before->st.st_ino);
	assert_int_equal(now.st.st_size, before->st.st_size);
	assert_int_equal(now.st.st_mtim.tv_sec, before->st.st_mtim.tv_sec);
	assert_int_equal(now.st.st_mtim.tv_nsec, before->st.st_mtim.tv_nsec);
	assert_memory_equal(now.head, before->head, sizeof now.head);
}

static void cve_2019_5736_is_not_executed(void **state)
{
	struct testbed *t = *state;
	struct identity before = own_program();
	testbed_refuses(t, NULL, "{'process':{'args':['/proc/self/exe']}}", -EACCES,
			"is the engine itself");
	testbed_link(t, "rootfs/bin/innocent", "/proc/self/exe");
	testbed_refuses(t, NULL, "{'process':{'args':['innocent']}}", -EACCES,
			"is the engine itself");
	struct running c;
	testbed_start(t, "pod", "echo; sleep 100", NULL, &c);
	const struct result *res = testbed_exec(&c, NULL, "{'args':['innocent']}");
	assert_int_equal(res->r, -EACCES);
	testbed_stop(&c);
	assert_unchanged(&before);
}

/* With every right over other processes, against the moment between entering and exec. */
static void cve_2019_5736_is_not_written(void **state)
{
	struct testbed *t = *state;
	struct identity before = own_program();
	struct running c;
	testbed_file(t, "rootfs/bin/script", "#!/proc/self/exe\n", 0755);
	testbed_start(t, "pod",
		      "echo; while true; do for p in /proc/[0-9]*; do "
		      "test $p = /proc/1 || echo x > $p/exe; done; done 2>/dev/null",
		      "{'process':{'capabilities':{"
		      "'bounding':['CAP_SYS_PTRACE','CAP_DAC_OVERRIDE'],"
		      "'effective':['CAP_SYS_PTRACE','CAP_DAC_OVERRIDE'],"
		      "'permitted':['CAP_SYS_PTRACE','CAP_DAC_OVERRIDE']}}}",
		      &c);
	for (int i = 0; i < 20; i++) {
		(void)testbed_exec(&c, "true", NULL);
		(void)testbed_exec(&c, NULL, "{'args':['script']}");
	}
	testbed_stop(&c);
	assert_unchanged(&before);
}

/* ---- CVE-2024-21626: descriptors that were left open ----------------------------------------- */

static void cve_2024_21626(void **state)
{
	struct testbed *t = *state;
	struct running c;
	/* the engine's user is careless: not close-on-exec */
	int leak = open("/", O_RDONLY | O_DIRECTORY);
	assert_true(leak >= 0);
	t->fds++;
	testbed_expect(t, "ls /proc/self/fd", NULL, 0, "0\n1\n2\n3\n"); /* 3 is what ls reads */
	testbed_start(t, "pod", "echo; sleep 100", NULL, &c);
	assert_string_equal(testbed_exec(&c, "ls /proc/self/fd", NULL)->out, "0\n1\n2\n3\n");
	for (int fd = 0; fd < 32; fd++) {
		char patch[64], link[32];
		(void)snprintf(patch, sizeof patch, "{'process':{'cwd':'/proc/self/fd/%d'}}", fd);
		const struct result *res = testbed_run(t, "ls -d ../../etc/hostname; pwd", patch);
		assert_true(res->r < 0 || !strstr(res->out, "etc/hostname\n"));
		(void)snprintf(patch, sizeof patch, "{'cwd':'/proc/self/fd/%d'}", fd);
		res = testbed_exec(&c, "ls -d ../../etc/hostname; pwd", patch);
		assert_true(res->r < 0 || !strstr(res->out, "etc/hostname\n"));
		/* by a link of the image */
		(void)snprintf(link, sizeof link, "rootfs/cwd%d", fd);
		(void)snprintf(patch, sizeof patch, "/proc/self/fd/%d", fd);
		testbed_link(t, link, patch);
		(void)snprintf(patch, sizeof patch, "{'cwd':'/cwd%d'}", fd);
		res = testbed_exec(&c, "ls -d ../../etc/hostname; pwd", patch);
		assert_true(res->r < 0 || !strstr(res->out, "etc/hostname\n"));
	}
	testbed_stop(&c);
	assert_int_equal(close(leak), 0);
	t->fds--;
}

/* ---- CVE-2025-31133: a null device that is none ---------------------------------------------- */

static void cve_2025_31133(void **state)
{
	struct testbed *t = *state;
	static const char show[] = "stat -c '%t:%T' /proc/version /etc/key; wc -c < /proc/version; "
				   "grep -c ' /proc/sysrq-trigger ' /proc/self/mounts";
	static const char own_dev[] =
		"{'mounts':[{'destination':'/proc','type':'proc','source':'proc'}],"
		"'linux':{'maskedPaths':['/proc/version','/etc/key']}}";
	testbed_file(t, "rootfs/etc/key", "secret", 0644);
	testbed_link(t, "rootfs/dev/null", "/proc/sysrq-trigger");
	/* /dev is the image's: the link is no device, and that is said */
	testbed_refuses(t, show, own_dev, -EEXIST, "device /dev/null");
	/* and where the engine does not touch /dev at all, masks are of the true device */
	testbed_link(t, "outside/null", "/proc/sysrq-trigger");
	char patch[1024];
	assert_int_equal(path_format(patch, sizeof patch,
				     "{'mounts':[{'destination':'/proc','type':'proc'},"
				     "{'destination':'/dev','type':'bind','source':'%s/outside',"
				     "'options':['bind']}],"
				     "'linux':{'maskedPaths':['/proc/version','/etc/key']}}",
				     t->dir),
			 0);
	testbed_expect(t, show, patch, 1, "1:3\n1:3\n0\n0\n");
}

/* ---- CVE-2025-52565: a console that leads elsewhere ------------------------------------------ */

static void cve_2025_52565(void **state)
{
	struct testbed *t = *state;
	static const char own_dev[] =
		"{'process':{'terminal':true},'mounts':["
		"{'destination':'/proc','type':'proc','source':'proc'},"
		"{'destination':'/dev/pts','type':'devpts','options':['newinstance',"
		"'ptmxmode=0666','mode=0620']}]}";
	testbed_link(t, "rootfs/dev/console", "/proc/sys/kernel/core_pattern");
	testbed_expect(t, "stat -c %t /dev/console; grep -c core_pattern /proc/self/mounts; tty",
		       own_dev, 0, "88\r\n0\r\n/dev/pts/0\r\n");
	testbed_expect(t, "stat -c %t /dev/console; grep -c core_pattern /proc/self/mounts; tty",
		       own_dev, 0, "88\r\n0\r\n/dev/pts/0\r\n");
	/* a directory there is nothing to be mounted on */
	struct stat st;
	char path[128];
	(void)snprintf(path, sizeof path, "%s/dev/console", t->rootfs);
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0755), 0);
	const struct result *res = testbed_run(t, "true", own_dev);
	assert_true(res->r < 0);
	assert_non_null(strstr(res->e.text, "/dev/console"));
}

static void cve_2025_52565_dev_in_proc(void **state)
{
	struct testbed *t = *state;
	remove_dir(t, "rootfs/dev");
	testbed_link(t, "rootfs/dev", "/proc/self");
	const struct result *res =
		testbed_run(t, "true",
			    "{'process':{'terminal':true},'mounts':["
			    "{'destination':'/proc','type':'proc','source':'proc'}]}");
	assert_true(res->r < 0);
	/* neither by the order of mounts, which puts /dev there */
	testbed_refuses(t, "true", NULL, -EPERM, "inside /proc");
}

/* ---- CVE-2025-52881: what the engine writes to a procfs -------------------------------------- */

static void cve_2025_52881(void **state)
{
	struct testbed *t = *state;
	char path[128];
	static const char *const dirs[] = {"rootfs/proc/sys", "rootfs/proc/sys/kernel",
					   "rootfs/proc/self", "rootfs/proc/self/attr"};
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		(void)snprintf(path, sizeof path, "%s/%s", t->dir, dirs[i]);
		assert_int_equal(mkdir(path, 0755), 0);
	}
	/* what a container's own "procfs" would catch, or send elsewhere */
	testbed_link(t, "rootfs/proc/sys/kernel/msgmax", "/tmp/victim");
	testbed_file(t, "rootfs/tmp/victim", "untouched", 0666);
	testbed_file(t, "rootfs/proc/self/attr/exec", "untouched", 0666);
	testbed_expect(t, "cat /tmp/victim /proc/self/attr/exec; cat /true/sys/kernel/msgmax",
		       "{'process':{'apparmorProfile':'unconfined'},"
		       "'linux':{'sysctl':{'kernel.msgmax':'4242'}},"
		       "'mounts':[{'destination':'/true','type':'proc','source':'proc'},"
		       "{'destination':'/dev','type':'tmpfs'}]}",
		       0, "untoucheduntouched4242\n");
	/* nor does another spelling reach a file that is nobody's own */
	testbed_refuses(t, "true", "{'linux':{'sysctl':{'kernel/core_pattern':'|/x'}}}", -EINVAL,
			"belongs to no namespace");
}

/* ---- CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: no true /proc ----------- */

static void cve_2019_16884(void **state)
{
	struct testbed *t = *state;
	testbed_refuses(t, "true", bind_patch(t, "/proc"), -EPERM, "only a procfs");
	testbed_refuses(t, "true", bind_patch(t, "/tmp/../proc/."), -EPERM, "only a procfs");
	testbed_refuses(t, "true", "{'mounts+':[{'destination':'/proc','type':'tmpfs'}]}", -EPERM,
			"only a procfs");
	testbed_refuses(t, "true", bind_patch(t, "/proc/self"), -EPERM, "inside /proc");
	/* also before there is one */
	testbed_refuses(t, "true", "{'mounts':[{'destination':'/proc','type':'tmpfs'}]}", -EPERM,
			"only a procfs");
	testbed_link(t, "rootfs/alias", "proc");
	testbed_refuses(t, "true", bind_patch(t, "/alias"), -EPERM, "only a procfs");
	/* what is one may be there: the outer one, to who is told to see it */
	testbed_expect(t, "test -e /proc/version && echo yes",
		       "{'mounts+':[{'destination':'/proc','source':'/proc','type':'bind',"
		       "'options':['rbind']}]}",
		       0, "yes\n");
}

static void cve_2019_19921(void **state)
{
	struct testbed *t = *state;
	char path[128];
	/* a volume that somebody else can change holds what /proc leads to */
	(void)snprintf(path, sizeof path, "%s/outside/proc", t->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	remove_dir(t, "rootfs/proc");
	testbed_link(t, "rootfs/proc", "vol/proc");
	char patch[1024];
	assert_int_equal(path_format(patch, sizeof patch,
				     "{'mounts':[{'destination':'/vol','type':'bind','source':"
				     "'%s/outside','options':['bind']},"
				     "{'destination':'/proc','type':'proc'}]}",
				     t->dir),
			 0);
	testbed_refuses(t, "true", patch, -EPERM, "proc is not mounted through a link");
	remove_dir(t, "rootfs/sys");
	testbed_link(t, "rootfs/sys", "vol/proc");
	testbed_refuses(t, "true", "{'mounts':[{'destination':'/sys','type':'sysfs'}]}", -EPERM,
			"sysfs is not mounted through a link");
	link_to_outside(t, "rootfs/up");
	testbed_refuses(t, "true", "{'mounts':[{'destination':'/up/proc','type':'proc'}]}", -EPERM,
			"proc is not mounted through a link");
}

static void cve_2023_27561(void **state)
{
	struct testbed *t = *state;
	/* masks hold on the mount that is seen, whatever else there is of the name */
	testbed_expect(t, "wc -c < /proc/version; ls /proc/acpi 2>/dev/null | wc -l",
		       "{'mounts+':[{'destination':'/proc','type':'proc','source':'proc'}],"
		       "'linux':{'maskedPaths':['/proc/version','/proc/acpi']}}",
		       0, "0\n0\n");
}

/* ---- CVE-2021-30465: a destination that is swapped for a link -------------------------------- */

struct swapper {
	char a[128], b[128];
	atomic_bool stop;
};

static void *swap(void *arg)
{
	struct swapper *s = arg;
	while (!s->stop)
		(void)renameat2(AT_FDCWD, s->a, AT_FDCWD, s->b, RENAME_EXCHANGE);
	return NULL;
}

static void cve_2021_30465(void **state)
{
	struct testbed *t = *state;
	struct swapper s = {.stop = false};
	pthread_t thread;
	int made = 0;
	(void)snprintf(s.a, sizeof s.a, "%s/race", t->rootfs);
	(void)snprintf(s.b, sizeof s.b, "%s/swap", t->rootfs);
	assert_int_equal(mkdir(s.a, 0755), 0);
	link_to_outside(t, "rootfs/swap");
	assert_int_equal(pthread_create(&thread, NULL, swap, &s), 0);
	for (int i = 0; i < 60; i++) {
		const struct result *res =
			testbed_run(t, "cut -d' ' -f5 /proc/self/mountinfo",
				    "{'mounts+':[{'destination':'/race/made/deep','type':'tmpfs'}],"
				    "'linux':{'maskedPaths':['/race/sub'],'devices':["
				    "{'path':'/race/null','type':'c','major':1,'minor':3}]}}");
		/* It may fail; but not outside. */
		made += res->r == 0;
		assert_false(testbed_exists(t, "outside/made"));
		assert_false(testbed_exists(t, "outside/null"));
		assert_true(testbed_exists(t, "outside/sub"));
	}
	s.stop = true;
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(made > 0);
}

/* ---- CVE-2022-29162: capabilities that are inherited ----------------------------------------- */

static void cve_2022_29162(void **state)
{
	struct testbed *t = *state;
	static const char show[] = "grep CapInh /proc/self/status | cut -f2";
	struct running c;
	testbed_expect(t, show, NULL, 0, "0000000000000000\n");
	testbed_expect(t, show, "{'process':{'user':{'uid':1000,'gid':1000}}}", 0,
		       "0000000000000000\n");
	testbed_start(t, "pod", "echo; sleep 100", NULL, &c);
	assert_string_equal(testbed_exec(&c, show, NULL)->out, "0000000000000000\n");
	assert_string_equal(testbed_exec(&c, show,
					 "{'capabilities':{'bounding':['CAP_KILL'],"
					 "'effective':['CAP_KILL'],'permitted':['CAP_KILL']}}")
				    ->out,
			    "0000000000000000\n");
	testbed_stop(&c);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, testbed_setup, testbed_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(cve_2019_5736_is_not_executed),
		CASE(cve_2019_5736_is_not_written),
		CASE(cve_2024_21626),
		CASE(cve_2025_31133),
		CASE(cve_2025_52565),
		CASE(cve_2025_52565_dev_in_proc),
		CASE(cve_2025_52881),
		CASE(cve_2019_16884),
		CASE(cve_2019_19921),
		CASE(cve_2023_27561),
		CASE(cve_2021_30465),
		CASE(cve_2022_29162),
	};
	return RUN_TESTS();
}
