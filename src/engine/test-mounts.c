/* SPDX-License-Identifier: Apache-2.0 */
/* Mounts of every kind: attributes of trees, owners that are mapped, copies, propagation. */
#include "engine/testbed.h"

#include "base/fd.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* One mount of <dir>/outside at /vol, with more members of it, and of the spec. */
static const char *vol_and(struct testbed *t, const char *options, const char *more,
			   const char *rest)
{
	static char patch[2048];
	assert_int_equal(path_format(patch, sizeof patch,
				     "{'mounts+':[{'destination':'/vol','source':'%s/outside',"
				     "'type':'bind','options':[%s]%s}]%s}",
				     t->dir, options, more, rest),
			 0);
	return patch;
}

static const char *vol(struct testbed *t, const char *options, const char *more)
{
	return vol_and(t, options, more, "");
}

static void below(struct testbed *t, char path[128], const char *name)
{
	assert_int_equal(path_format(path, 128, "%s/%s", t->dir, name), 0);
}

/* A filesystem of its own below the one that is bound. */
static void mount_sub(struct testbed *t)
{
	char path[128];
	below(t, path, "outside/sub");
	assert_int_equal(mount("tmpfs", path, "tmpfs", 0, "size=64k"), 0);
	testbed_file(t, "outside/sub/file", "sub\n", 0644);
}

static void umount_sub(struct testbed *t)
{
	char path[128];
	below(t, path, "outside/sub");
	assert_int_equal(umount(path), 0);
}

#define TRY_BOTH                                                                              \
	"touch /vol/x 2>&1 | cut -d: -f3; touch /vol/sub/x 2>&1 | cut -d: -f3; rm -f /vol/x " \
	"/vol/sub/x; cat /vol/sub/file"

static void test_recursive_attributes(void **state)
{
	struct testbed *t = *state;
	mount_sub(t);
	testbed_expect(t, TRY_BOTH, vol(t, "'rbind','ro'", ""), 0, " Read-only file system\nsub\n");
	testbed_expect(t, TRY_BOTH, vol(t, "'rbind','rro'", ""), 0,
		       " Read-only file system\n Read-only file system\nsub\n");
	testbed_expect(t, "grep -E ' /vol' /proc/self/mounts | cut -d' ' -f4 | cut -d, -f2-5",
		       vol(t, "'rbind','rnosuid','rnodev','rnoexec','rnoatime'", ""), 0,
		       "nosuid,nodev,noexec,noatime\nnosuid,nodev,noexec,noatime\n");
	/* for the tree, but not for its top */
	testbed_expect(t, TRY_BOTH, vol(t, "'rbind','ro','rrw'", ""), 0, "sub\n");
	/* without "r" the tree stays outside */
	testbed_expect(t, "ls /vol/sub", vol(t, "'bind'", ""), 0, "");
	umount_sub(t);
}

static void test_every_attribute(void **state)
{
	static const struct {
		const char *option, *shown;
	} cases[] = {
		{"ro", "ro"},
		{"nosuid", "nosuid"},
		{"nodev", "nodev"},
		{"noexec", "noexec"},
		{"nodiratime", "nodiratime"},
		{"noatime", "noatime"},
		{"relatime", "relatime"},
		{"nosymfollow", "nosymfollow"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char options[64], script[128];
		(void)snprintf(options, sizeof options, "'bind','%s'", cases[i].option);
		(void)snprintf(script, sizeof script,
			       "grep ' /vol ' /proc/self/mounts | cut -d' ' -f4 | grep -qw %s",
			       cases[i].shown);
		testbed_expect(*state, script, vol(*state, options, ""), 0, "");
		(void)snprintf(options, sizeof options, "'rbind','r%s'", cases[i].option);
		testbed_expect(*state, script, vol(*state, options, ""), 0, "");
	}
	testbed_expect(*state, "grep ' /vol ' /proc/self/mounts | cut -d' ' -f4 | grep atime",
		       vol(*state, "'bind','strictatime'", ""), 1, "");
}

/* ---- owners */

static void give(struct testbed *t, const char *name, uid_t uid)
{
	char path[128];
	below(t, path, name);
	assert_int_equal(chown(path, uid, uid), 0);
}

#define MAP                                                                               \
	",'uidMappings':[{'containerID':0,'hostID':5000,'size':100},{'containerID':1000," \
	"'hostID':7000,'size':1}],'gidMappings':[{'containerID':0,'hostID':5000,'size':2000}]"

static void test_mapped_owners(void **state)
{
	struct testbed *t = *state;
	testbed_file(t, "outside/root", "", 0644);
	testbed_file(t, "outside/user", "", 0644);
	testbed_file(t, "outside/none", "", 0644);
	give(t, "outside/user", 1000);
	give(t, "outside/none", 1500);
	static const char show[] = "stat -c '%n %u:%g' /vol/root /vol/user /vol/none";
	static const char want[] =
		"/vol/root 5000:5000\n/vol/user 7000:6000\n/vol/none 65534:6500\n";
	testbed_expect(t, show, vol(t, "'bind','idmap'", MAP), 0, want);
	/* the option may be left out */
	testbed_expect(t, show, vol(t, "'bind'", MAP), 0, want);
	/* what is made there is stored with the source's ids */
	struct stat st;
	char path[128];
	below(t, path, "outside/made");
	testbed_expect(t, "touch /vol/made && stat -c %u /vol/made",
		       vol_and(t, "'bind'", MAP, ",'process':{'user':{'uid':5000,'gid':5007}}"), 0,
		       "5000\n");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_gid, 7);
	/* who has no id there can make nothing */
	testbed_expect(t, "touch /vol/other", vol(t, "'bind'", MAP), 1,
		       "touch: /vol/other: Value too large for defined data type\n");
}

static void test_mapped_trees(void **state)
{
	struct testbed *t = *state;
	mount_sub(t);
	give(t, "outside/sub/file", 3);
	testbed_expect(t, "stat -c %u /vol /vol/sub/file", vol(t, "'rbind','idmap'", MAP), 0,
		       "5000\n3\n");
	testbed_expect(t, "stat -c %u /vol /vol/sub/file", vol(t, "'rbind','ridmap'", MAP), 0,
		       "5000\n5003\n");
	umount_sub(t);
	/* not every filesystem can */
	testbed_refuses(t, "true",
			"{'mounts+':[{'destination':'/vol','source':'/proc','type':'bind',"
			"'options':['bind','idmap'],"
			"'uidMappings':[{'containerID':0,'hostID':5,'size':1}],"
			"'gidMappings':[{'containerID':0,'hostID':5,'size':1}]}]}",
			-EINVAL, "the filesystem of /proc cannot map ids");
}

/* ---- copies */

static const char tmp_patch[] = "{'mounts+':[{'destination':'/data','type':'tmpfs','source':'t',"
				"'options':['tmpcopyup','nosuid','size=1m'%s]}]}";

static void test_copy_up(void **state)
{
	struct testbed *t = *state;
	char path[128], patch[256];
	below(t, path, "rootfs/data");
	assert_int_equal(mkdir(path, 0751), 0);
	assert_int_equal(chown(path, 3, 4), 0);
	below(t, path, "rootfs/data/deep");
	assert_int_equal(mkdir(path, 0711), 0);
	testbed_file(t, "rootfs/data/file", "text\n", 04755);
	testbed_file(t, "rootfs/data/deep/file", "deep\n", 0604);
	give(t, "rootfs/data/deep/file", 9);
	testbed_link(t, "rootfs/data/link", "/etc/passwd");
	below(t, path, "rootfs/data/fifo");
	assert_int_equal(mkfifo(path, 0600), 0);
	below(t, path, "rootfs/data/file");
	const struct timespec times[] = {{.tv_sec = 1000}, {.tv_sec = 2000}};
	assert_int_equal(chmod(path, 04755), 0);
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);

	(void)snprintf(patch, sizeof patch, tmp_patch, "");
	testbed_expect(t,
		       "cd /data; stat -c '%n %a %u:%g' . deep deep/file; stat -c '%a %Y' file; "
		       "cat file deep/file; readlink link; test -p fifo && echo fifo; "
		       "grep -c ' /data tmpfs' /proc/self/mounts",
		       patch, 0,
		       ". 751 3:4\ndeep 711 0:0\ndeep/file 604 9:9\n4755 2000\ntext\ndeep\n"
		       "/etc/passwd\nfifo\n1\n");
	testbed_expect(t, "echo changed > /data/deep/new; cat /data/deep/new", patch, 0,
		       "changed\n");
	assert_false(testbed_exists(t, "rootfs/data/deep/new"));
	(void)snprintf(patch, sizeof patch, tmp_patch, ",'ro'");
	testbed_expect(t, "cat /data/file; touch /data/deep/file", patch, 1,
		       "text\ntouch: /data/deep/file: Read-only file system\n");
}

static void test_copy_up_of_little_and_of_much(void **state)
{
	struct testbed *t = *state;
	char patch[256], big[3 << 20];
	(void)snprintf(patch, sizeof patch, tmp_patch, "");
	testbed_expect(t, "ls -A /data", patch, 0, ""); /* the image has no such directory */
	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = '\0';
	testbed_file(t, "rootfs/data/big", big, 0644);
	testbed_refuses(t, "true", patch, -ENOSPC, "mount /data: tmpcopyup: copy big");
}

/* It gets its devices, its terminals and other mounts first. */
static void test_dev_read_only(void **state)
{
	testbed_expect(
		*state,
		"echo x > /dev/null; ls -1 /dev/pts; touch /dev/x; grep -c ' /dev tmpfs ro,' "
		"/proc/mounts",
		"{'mounts+':[{'destination':'/dev','type':'tmpfs','options':['ro','nosuid']},"
		"{'destination':'/dev/pts','type':'devpts','options':['newinstance',"
		"'ptmxmode=0666']}],'process':{'terminal':true}}",
		0, "0\r\nptmx\r\ntouch: /dev/x: Read-only file system\r\n1\r\n");
}

/* From the bundle, says config.md of the specification; also where the engine opens it. */
static void test_relative_sources(void **state)
{
	struct testbed *t = *state;
	static const char patch[] =
		"{'linux':{'namespaces':[{'type':'mount'},{'type':'pid'},{'type':'uts'}%s},"
		"'mounts+':[{'destination':'/tmp','type':'bind','source':'outside',"
		"'options':['rbind','ro']}]}";
	char text[512];
	testbed_file(t, "outside/of-the-bundle", "", 0644);
	(void)snprintf(text, sizeof text, patch, "]");
	testbed_expect(t, "ls /tmp/of*", text, 0, "/tmp/of-the-bundle\n");
	(void)snprintf(text, sizeof text, patch,
		       ",{'type':'user'}],'uidMappings':[{'containerID':0,'hostID':0,'size':9}],"
		       "'gidMappings':[{'containerID':0,'hostID':0,'size':9}]");
	testbed_expect(t, "ls /tmp/of*", text, 0, "/tmp/of-the-bundle\n");
	testbed_refuses(t, "true",
			"{'mounts+':[{'destination':'/tmp','type':'bind','source':'none',"
			"'options':['bind']}]}",
			-ENOENT, "mount /tmp: source none");
}

/* What the options say of the top counts more than what was there. */
static void test_copy_up_with_a_mode(void **state)
{
	struct testbed *t = *state;
	char path[128], patch[256];
	below(t, path, "rootfs/data");
	assert_int_equal(mkdir(path, 0751), 0);
	assert_int_equal(chown(path, 3, 4), 0);
	testbed_file(t, "rootfs/data/file", "text\n", 0640);
	static const char *const given[][2] = {
		{"", "751 3:4\ntext\n"},
		{",'mode=0711'", "711 3:4\ntext\n"},
		{",'mode=1777','uid=7','ro'", "1777 7:4\ntext\n"},
		{",'gid=8'", "751 3:8\ntext\n"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(given); i++) {
		(void)snprintf(patch, sizeof patch, tmp_patch, given[i][0]);
		testbed_expect(t, "stat -c '%a %u:%g' /data; cat /data/file", patch, 0,
			       given[i][1]);
	}
}

/* Links of an image are copied, not followed; another mount stays what it is. */
static void test_copy_up_stays_inside(void **state)
{
	struct testbed *t = *state;
	char path[128], patch[512];
	testbed_file(t, "outside/secret", "secret\n", 0644);
	below(t, path, "rootfs/data");
	assert_int_equal(mkdir(path, 0755), 0);
	below(t, path, "outside/secret");
	testbed_link(t, "rootfs/data/link", path);
	assert_int_equal(path_format(patch, sizeof patch,
				     "{'mounts+':[{'destination':'/data/m','type':'bind',"
				     "'source':'%s/outside','options':['bind']},"
				     "{'destination':'/data','type':'tmpfs','options':["
				     "'tmpcopyup']}]}",
				     t->dir),
			 0);
	testbed_expect(t, "cat /data/link 2>&1 | cut -d: -f3; ls -A /data /data/m", patch, 0,
		       " No such file or directory\n/data:\nlink\nm\n\n/data/m:\n");
}

/* ---- destinations */

static void test_overlapping_destinations(void **state)
{
	struct testbed *t = *state;
	char patch[1024];
	testbed_file(t, "outside/file", "text\n", 0644);
	/* twice the same: the later one is seen; a parent hides what was there before */
	assert_int_equal(path_format(patch, sizeof patch,
				     "{'mounts+':[{'destination':'/a','type':'tmpfs'},"
				     "{'destination':'/a','type':'bind','source':'%s/outside',"
				     "'options':['bind']},"
				     "{'destination':'/b/c','type':'tmpfs'},"
				     "{'destination':'/b','type':'tmpfs'},"
				     "{'destination':'/b/./d/../e','type':'tmpfs'}]}",
				     t->dir),
			 0);
	testbed_expect(t, "cat /a/file; ls /b", patch, 0, "text\ne\n");
	/* a relative one is below the root; a link is followed within it, even to what is not there
	 */
	testbed_link(t, "rootfs/dangling", "/made/later");
	testbed_expect(t, "cut -d' ' -f2 /proc/self/mounts | tail -n 2",
		       "{'mounts+':[{'destination':'rel/ative','type':'tmpfs'},"
		       "{'destination':'/dangling','type':'tmpfs'}]}",
		       0, "/rel/ative\n/made/later\n");
	testbed_refuses(t, "true", "{'mounts+':[{'destination':'/bin/sh','type':'tmpfs'}]}",
			-ENOTDIR, "mount /bin/sh: a directory cannot be mounted on a file");
	testbed_refuses(t, "true",
			"{'mounts+':[{'destination':'/bin','type':'bind','source':'/dev/null',"
			"'options':['bind']}]}",
			-EISDIR, "mount /bin: a file cannot be mounted on a directory");
}

static void test_options_beyond_a_page(void **state)
{
	char patch[8192] = "{'mounts+':[{'destination':'/o','type':'overlay','source':'o','options'"
			   ":['lowerdir=/";
	size_t n = strlen(patch);
	memset(patch + n, 'x', 5000);
	strcpy(patch + n + 5000, "']}]}");
	testbed_refuses(*state, "true", patch, -E2BIG, "mount /o: the options have 5010 bytes");
}

/* ---- propagation */

static const char both[] = ",'linux':{'rootfsPropagation':'rshared'},'process':{'capabilities':{"
			   "'bounding':['CAP_SYS_ADMIN'],'effective':['CAP_SYS_ADMIN'],"
			   "'permitted':['CAP_SYS_ADMIN']}}";

/* What a container mounts in a volume appears outside, where both want it; and the other way. */
static void test_propagation_between(void **state)
{
	struct testbed *t = *state;
	char path[128], inner[128];
	struct running c;
	below(t, path, "outside");
	below(t, inner, "outside/sub");
	assert_int_equal(mount(path, path, NULL, MS_BIND, NULL), 0);
	assert_int_equal(mount(NULL, path, NULL, MS_SHARED, NULL), 0);

	testbed_start(t, "c", "mount -t tmpfs t /vol/sub && touch /vol/sub/in; echo; sleep 100",
		      vol_and(t, "'rbind','rshared'", "", both), &c);
	assert_true(testbed_exists(t, "outside/sub/in"));
	testbed_stop(&c);
	assert_int_equal(umount(inner), 0);

	testbed_start(t, "c", "echo; sleep 100", vol(t, "'rbind','rslave'", ""), &c);
	assert_int_equal(mount("tmpfs", inner, "tmpfs", 0, NULL), 0);
	testbed_file(t, "outside/sub/out", "out\n", 0644);
	assert_string_equal(testbed_exec(&c, "cat /vol/sub/out", NULL)->out, "out\n");
	testbed_stop(&c);
	assert_int_equal(umount(inner), 0);

	testbed_start(t, "c", "echo; sleep 100", vol(t, "'rbind','rprivate'", ""), &c);
	assert_int_equal(mount("tmpfs", inner, "tmpfs", 0, NULL), 0);
	assert_string_equal(testbed_exec(&c, "ls /vol/sub", NULL)->out, "");
	testbed_stop(&c);
	assert_int_equal(umount(inner), 0);
	assert_int_equal(umount(path), 0);
}

static void test_unbindable(void **state)
{
	struct testbed *t = *state;
	testbed_expect(t, "grep ' /vol ' /proc/self/mountinfo | grep -o unbindable",
		       vol(t, "'bind','unbindable'", ""), 0, "unbindable\n");
	testbed_expect(t, "grep ' /vol ' /proc/self/mountinfo | grep -o unbindable",
		       vol(t, "'rbind','runbindable'", ""), 0, "unbindable\n");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, testbed_setup, testbed_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_recursive_attributes),
		CASE(test_every_attribute),
		CASE(test_mapped_owners),
		CASE(test_mapped_trees),
		CASE(test_copy_up),
		CASE(test_copy_up_with_a_mode),
		CASE(test_relative_sources),
		CASE(test_dev_read_only),
		CASE(test_copy_up_of_little_and_of_much),
		CASE(test_copy_up_stays_inside),
		CASE(test_overlapping_destinations),
		CASE(test_options_beyond_a_page),
		CASE(test_propagation_between),
		CASE(test_unbindable),
	};
	return RUN_TESTS();
}
