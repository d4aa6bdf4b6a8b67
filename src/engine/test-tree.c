/* SPDX-License-Identifier: Apache-2.0 */
/* The container's tree: mounts, devices, masks, and attempts to get out of it. */
#include "engine/testbed.h"

#include "base/fd.h"

#include <fcntl.h>
#include <sys/stat.h>

/* A mount of <dir>/outside, appended to the others. */
static const char *bind_patch(struct testbed *t, const char *destination, const char *source,
			      const char *options)
{
	static char patch[1024];
	assert_int_equal(
		path_format(patch, sizeof patch,
			    "{'mounts+':[{'destination':'%s','source':'%s/%s','type':'bind',"
			    "'options':[%s]}]}",
			    destination, t->dir, source, options),
		0);
	return patch;
}

static void test_devices(void **state)
{
	struct testbed *t = *state;
	testbed_expect(
		t,
		"cd /dev; for d in null zero full random urandom tty; do "
		"stat -c '%n %F %t:%T %a' $d; done",
		NULL, 0,
		"null character special file 1:3 666\nzero character special file 1:5 666\n"
		"full character special file 1:7 666\nrandom character special file 1:8 666\n"
		"urandom character special file 1:9 666\ntty character special file 5:0 666\n");
	testbed_expect(t, "cd /dev; readlink fd; readlink stdout; readlink ptmx", NULL, 0,
		       "/proc/self/fd\n/proc/self/fd/1\npts/ptmx\n");
	testbed_expect(t, "echo x > /dev/null; head -c 3 /dev/zero | wc -c; echo > /dev/full", NULL,
		       1, "3\nsh: write error: No space left on device\n");
	testbed_expect(
		t, "stat -c '%F %t:%T %a %u:%g' /dev/blk /dev/net/tun; test -p /dev/p && echo p",
		"{'linux':{'devices':[{'path':'/dev/blk','type':'b','major':254,'minor':3,"
		"'fileMode':416,'uid':3,'gid':4},{'path':'/dev/net/tun','type':'c','major':10,"
		"'minor':200},{'path':'/dev/p','type':'p','fileMode':384}]}}",
		0, "block special file fe:3 640 3:4\ncharacter special file a:c8 666 0:0\np\n");
}

static void test_devices_of_the_spec_count(void **state)
{
	struct testbed *t = *state;
	/* a default device with other rights; one that is there twice */
	testbed_expect(t, "stat -c '%t:%T %a %u:%g' /dev/null /dev/x; stat -c %a /dev/zero",
		       "{'linux':{'devices':[{'path':'/dev/null','type':'c','major':1,'minor':3,"
		       "'fileMode':384,'uid':5,'gid':6},"
		       "{'path':'/dev/x','type':'u','major':1,'minor':5,'fileMode':420},"
		       "{'path':'/dev/x','type':'c','major':1,'minor':5,'fileMode':438,'gid':7}]}}",
		       0, "1:3 600 5:6\n1:5 666 0:7\n666\n");
	testbed_refuses(t, "true",
			"{'linux':{'devices':[{'path':'/dev/x','type':'c','major':1,'minor':5},"
			"{'path':'/dev/x','type':'c','major':1,'minor':3}]}}",
			-EEXIST, "device /dev/x");
	/* these are the engine's, whatever a spec copies from its host */
	testbed_expect(t, "readlink /dev/ptmx; test -e /dev/console || echo none",
		       "{'linux':{'devices':[{'path':'/dev/ptmx','type':'c','major':5,'minor':2},"
		       "{'path':'/dev/console','type':'c','major':5,'minor':1}]}}",
		       0, "pts/ptmx\nnone\n");
}

static void test_masks(void **state)
{
	struct testbed *t = *state;
	assert_int_equal(mkdir(strcat(strcpy((char[128]){0}, t->rootfs), "/secret"), 0755), 0);
	testbed_file(t, "rootfs/secret/key", "k", 0644);
	testbed_file(t, "rootfs/etc/key", "k", 0644);
	testbed_expect(
		t,
		"cat /etc/key; wc -c < /etc/key; ls -A /secret; touch /secret/x; "
		"stat -c %t:%T /etc/key",
		"{'linux':{'maskedPaths':['/etc/key','/secret','/not/there','/etc/key/below']}}", 0,
		"0\ntouch: /secret/x: Read-only file system\n1:3\n");
}

static void test_several_masked_directories(void **state)
{
	struct testbed *t = *state;
	testbed_file(t, "rootfs/tmp/file", "x", 0644);
	testbed_expect(t,
		       "ls -A /tmp /etc /sys; for d in tmp etc sys; do touch /$d/x; done; "
		       "grep -cE ' /(tmp|etc|sys) tmpfs ro' /proc/self/mounts",
		       "{'linux':{'maskedPaths':['/tmp','/etc','/sys'],"
		       "'rootfsPropagation':'shared'}}",
		       0,
		       "/etc:\n\n/sys:\n\n/tmp:\n"
		       "touch: /tmp/x: Read-only file system\n"
		       "touch: /etc/x: Read-only file system\n"
		       "touch: /sys/x: Read-only file system\n3\n");
}

static void test_readonly_paths(void **state)
{
	struct testbed *t = *state;
	testbed_expect(t, "echo 1 > /proc/sys/kernel/msgmax; touch /tmp/x; touch /etc/x; echo $?",
		       "{'linux':{'readonlyPaths':['/proc/sys','/tmp','/not/there']}}", 0,
		       "sh: can't create /proc/sys/kernel/msgmax: Read-only file system\n"
		       "touch: /tmp/x: Read-only file system\n0\n");
}

/* A link means what it leads to, within the root; one that leads nowhere means nothing. */
static void test_masks_through_links(void **state)
{
	struct testbed *t = *state;
	testbed_file(t, "outside/key", "outside\n", 0644);
	testbed_file(t, "rootfs/etc/key", "k", 0644);
	testbed_link(t, "rootfs/to-file", "/etc/key");
	testbed_link(t, "rootfs/to-dir", "../../tmp");
	testbed_link(t, "rootfs/dangling", "/not/there");
	testbed_link(t, "rootfs/leaving", "../outside/key");
	testbed_expect(
		t,
		"cat /to-file /etc/key; touch /tmp/x; readlink /to-file; readlink /dangling; "
		"test -e /not || echo none",
		"{'linux':{'maskedPaths':['/to-file','/to-dir','/dangling','/leaving',"
		"'/etc/key/../passwd','/bin/sh/x']}}",
		0, "touch: /tmp/x: Read-only file system\n/etc/key\n/not/there\nnone\n");
	testbed_expect(t,
		       "echo x >> /etc/key; touch /tmp/x; cat /to-file; test -e /not || echo none",
		       "{'linux':{'readonlyPaths':['/to-file','/to-dir','/dangling','/leaving',"
		       "'/bin/sh/x']}}",
		       0,
		       "sh: can't create /etc/key: Read-only file system\n"
		       "touch: /tmp/x: Read-only file system\nknone\n");
	_cleanup_buf_ struct buf b = BUF_INIT;
	char path[128];
	assert_int_equal(path_format(path, sizeof path, "%s/outside/key", t->dir), 0);
	assert_int_equal(file_read(AT_FDCWD, path, 100, &b), 0);
	assert_string_equal(b.data, "outside\n");
	testbed_link(t, "rootfs/loop", "loop");
	testbed_refuses(t, "true", "{'linux':{'maskedPaths':['/loop']}}", -ELOOP, "mask /loop");
}

static void test_readonly_root(void **state)
{
	testbed_expect(*state, "touch /x; touch /dev/x && echo dev",
		       "{'root':{'path':'rootfs','readonly':true}}", 0,
		       "touch: /x: Read-only file system\ndev\n");
}

static void test_binds(void **state)
{
	struct testbed *t = *state;
	testbed_file(t, "outside/file", "text\n", 0644);
	testbed_expect(t, "cat /vol/file; touch /vol/new && echo new",
		       bind_patch(t, "/vol", "outside", "'bind'"), 0, "text\nnew\n");
	testbed_expect(t,
		       "cat /vol/file; touch /vol/x; grep -o ' /vol .*noexec' "
		       "/proc/self/mounts | cut -d' ' -f4",
		       bind_patch(t, "/vol", "outside", "'rbind','ro','nosuid','nodev','noexec'"),
		       0, "text\ntouch: /vol/x: Read-only file system\nro,nosuid,nodev,noexec\n");
	/* a single file, over one that exists and one that does not */
	testbed_expect(t, "cat /etc/passwd",
		       bind_patch(t, "/etc/passwd", "outside/file", "'bind','ro'"), 0, "text\n");
	testbed_expect(t, "cat /a/b/c", bind_patch(t, "/a/b/c", "outside/file", "'bind'"), 0,
		       "text\n");
	testbed_refuses(t, "true", bind_patch(t, "/vol", "missing", "'bind'"), -ENOENT, "missing");
}

static void test_propagation(void **state)
{
	struct testbed *t = *state;
	testbed_expect(t, "grep ' /vol ' /proc/self/mountinfo | grep -o shared",
		       bind_patch(t, "/vol", "outside", "'bind','shared'"), 0, "shared\n");
	testbed_expect(t, "grep -E ' /vol | / ' /proc/self/mountinfo | grep -c shared",
		       bind_patch(t, "/vol", "outside", "'bind','rprivate'"), 1, "0\n");
}

/* What the words mean for the root, and for a volume that says nothing itself. */
static void test_root_propagation(void **state)
{
	static const struct {
		const char *name, *want;
	} cases[] = {
		{"private", "/ \n/vol \n"},
		{"rprivate", "/ \n/vol \n"},
		{"slave", "/ \n/vol \n"},
		{"rslave", "/ \n/vol \n"},
		{"shared", "/ shared\n/vol \n"},
		{"rshared", "/ shared\n/vol shared\n"},
		{"unbindable", "/ unbindable\n/vol \n"},
		{"runbindable", "/ unbindable\n/vol unbindable\n"},
		{"", "/ \n/vol \n"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char patch[1200];
		const char *bind = bind_patch(*state, "/vol", "outside", "'bind'");
		(void)snprintf(patch, sizeof patch, "{'linux':{'rootfsPropagation':'%s'},%s",
			       cases[i].name, bind + 1);
		testbed_expect(*state,
			       "for d in / /vol; do grep -E \"^([^ ]+ ){4}$d \" "
			       "/proc/self/mountinfo | sed 's/ - .*//; s/master:[0-9]*//' | "
			       "cut -d' ' -f5,7- | sed 's/:[0-9]*//g'; done",
			       patch, 0, cases[i].want);
	}
}

static void test_filesystems(void **state)
{
	testbed_expect(
		*state,
		"grep -E ' /(t|q) ' /proc/self/mounts | cut -d' ' -f2-4 | sed s/,inode64//; stat "
		"-c %a /t",
		"{'mounts+':[{'destination':'/t','type':'tmpfs','source':'tmpfs','options':["
		"'nosuid','noexec','size=64k','mode=1777']},"
		"{'destination':'/q','type':'mqueue','source':'mqueue'}]}",
		0, "/t tmpfs rw,nosuid,noexec,relatime,size=64k\n/q mqueue rw,relatime\n1777\n");
	testbed_refuses(*state, "true", "{'mounts+':[{'destination':'/t','type':'nosuchfs'}]}",
			-ENODEV, "nosuchfs");
	testbed_refuses(*state, "true",
			"{'mounts+':[{'destination':'/t','type':'tmpfs','options':['bogus=1']}]}",
			-EINVAL, "bogus");
	testbed_refuses(*state, "true",
			"{'mounts+':[{'destination':'/','type':'tmpfs','source':'tmpfs'}]}",
			-EINVAL, "root itself");
}

/* Options that fsconfig(2) would not take. */
static void test_long_options(void **state)
{
	struct testbed *t = *state;
	char patch[1024];
	char lower[900] = "";
	for (int i = 0; i < 8; i++) {
		char name[64], full[128];
		(void)snprintf(name, sizeof name, "outside/layer-with-quite-a-long-name-%d", i);
		(void)snprintf(full, sizeof full, "%s/%s", t->dir, name);
		assert_int_equal(mkdir(full, 0755), 0);
		(void)snprintf(lower + strlen(lower), sizeof lower - strlen(lower), "%s%s",
			       i ? ":" : "", full);
	}
	assert_true(strlen(lower) > 255);
	testbed_file(t, "outside/layer-with-quite-a-long-name-7/file", "deep\n", 0644);
	assert_int_equal(
		path_format(patch, sizeof patch,
			    "{'mounts+':[{'destination':'/o','type':'overlay','source':'o',"
			    "'options':['ro','lowerdir=%s']}]}",
			    lower),
		0);
	testbed_expect(t, "cat /o/file", patch, 0, "deep\n");
}

/* ---- ways out */

static void test_links_do_not_lead_out(void **state)
{
	struct testbed *t = *state;
	char link[128];
	testbed_file(t, "outside/file", "text\n", 0644);
	(void)snprintf(link, sizeof link, "%s/outside", t->dir);
	testbed_link(t, "rootfs/evil", link);
	testbed_link(t, "rootfs/up", "../../../../../../../../etc");
	/* made inside of the root, at the same name */
	testbed_expect(t, "cat /evil/made/file", bind_patch(t, "/evil/made", "outside", "'bind'"),
		       0, "text\n");
	assert_false(testbed_exists(t, "outside/made"));
	testbed_expect(t, "cat /etc/made", bind_patch(t, "/up/made", "outside/file", "'bind'"), 0,
		       "text\n");
	testbed_expect(t, "cat /dots/file", bind_patch(t, "/../../../dots", "outside", "'bind'"), 0,
		       "text\n");
	/* devices and masks too */
	testbed_expect(
		t, "stat -c %t:%T /evil/dev",
		"{'linux':{'devices':[{'path':'/evil/dev','type':'c','major':1,'minor':3}]}}", 0,
		"1:3\n");
	assert_false(testbed_exists(t, "outside/dev"));
	testbed_expect(t, "true",
		       "{'linux':{'maskedPaths':['/evil/file'],'readonlyPaths':['/up']}}", 0, "");
	assert_true(testbed_exists(t, "outside/file"));
}

static void test_dev_that_leads_out(void **state)
{
	struct testbed *t = *state;
	char dev[128], link[128];
	(void)snprintf(dev, sizeof dev, "%s/dev", t->rootfs);
	(void)snprintf(link, sizeof link, "%s/outside", t->dir);
	assert_int_equal(rmdir(dev), 0);
	testbed_link(t, "rootfs/dev", link);
	testbed_expect(t, "test -c /dev/null && echo yes", NULL, 0, "yes\n");
	assert_false(testbed_exists(t, "outside/null"));
	assert_false(testbed_exists(t, "outside/pts"));
}

static void test_nothing_inside_proc(void **state)
{
	struct testbed *t = *state;
	testbed_refuses(t, "true", bind_patch(t, "/proc/sys", "outside", "'bind'"), -EPERM,
			"inside /proc");
	testbed_link(t, "rootfs/alias", "/proc/self");
	testbed_refuses(t, "true", bind_patch(t, "/alias/attr", "outside", "'bind'"), -EPERM,
			"inside /proc");
	testbed_file(t, "outside/cpuinfo", "fake\n", 0644);
	testbed_expect(t, "cat /proc/cpuinfo",
		       bind_patch(t, "/proc/cpuinfo", "outside/cpuinfo", "'bind'"), 0, "fake\n");
}

/* CVE-2024-21626: a working directory by a descriptor that was left open. */
static void test_cwd_is_inside(void **state)
{
	struct testbed *t = *state;
	for (int fd = 0; fd < 12; fd++) {
		char patch[64];
		(void)snprintf(patch, sizeof patch, "{'process':{'cwd':'/proc/self/fd/%d'}}", fd);
		const struct result *res = testbed_run(t, "pwd; ls -d ../../etc/hostname", patch);
		if (res->r == 0) /* nothing of the outside can be seen */
			assert_null(strstr(res->out, "etc/hostname\n"));
	}
	testbed_file(t, "rootfs/plain", "", 0644);
	testbed_refuses(t, "true", "{'process':{'cwd':'/plain'}}", -ENOTDIR, "chdir to cwd");
}

static void test_old_root_is_gone(void **state)
{
	testbed_expect(*state, "wc -l < /proc/self/mountinfo; ls /..", NULL, 0,
		       "4\nbin\ndev\netc\nproc\nsys\ntmp\n");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, testbed_setup, testbed_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_devices),
		CASE(test_devices_of_the_spec_count),
		CASE(test_masks),
		CASE(test_several_masked_directories),
		CASE(test_readonly_paths),
		CASE(test_masks_through_links),
		CASE(test_readonly_root),
		CASE(test_binds),
		CASE(test_propagation),
		CASE(test_root_propagation),
		CASE(test_filesystems),
		CASE(test_long_options),
		CASE(test_links_do_not_lead_out),
		CASE(test_dev_that_leads_out),
		CASE(test_nothing_inside_proc),
		CASE(test_cwd_is_inside),
		CASE(test_old_root_is_gone),
	};
	return RUN_TESTS();
}
