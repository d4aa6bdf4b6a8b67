/* SPDX-License-Identifier: Apache-2.0 */
/* Storages, as the runtime asks the agent for them. Needs root. */
#include "base/buf.h"
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/test-client.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct fixture f;
static const char *agent_program;

/* ---- Words -------------------------------------------------------------------------------- */

static void remove_ok(const char *id)
{
	assert_int_equal(remove_container(&f, id, 20), STATUS_OK);
}

/* What the agent's mount namespace says of the last mount on this path: "TYPE OPTIONS". */
static bool has_mount(const char *path, char *words, size_t size)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char file[64], needle[256];
	const char *at = NULL;

	(void)snprintf(file, sizeof file, "/proc/%d/mounts", (int)f.agent);
	(void)snprintf(needle, sizeof needle, " %s ", path);
	assert_int_equal(file_read(AT_FDCWD, file, 1 << 20, &text), 0);
	for (const char *next = text.data; (next = strstr(next, needle)); next++)
		at = next + strlen(needle);
	if (at && words)
		(void)snprintf(words, size, "%.*s", (int)strcspn(at, "\n"), at);
	return at != NULL;
}

static void expect_option(const char *path, const char *word)
{
	char words[512];

	assert_true(has_mount(path, words, sizeof words));
	if (!strstr(words, word))
		fail_msg("%s is mounted as \"%s\": no %s", path, words, word);
}

static unsigned count_mounts(void)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char file[64];
	unsigned n = 0;

	(void)snprintf(file, sizeof file, "/proc/%d/mounts", (int)f.agent);
	assert_int_equal(file_read(AT_FDCWD, file, 1 << 20, &text), 0);
	for (const char *p = text.data; (p = strchr(p, '\n')); p++)
		n++;
	return n;
}

static const char *in_dir(char path[128], const char *name)
{
	(void)snprintf(path, 128, "%s/%s", f.dir, name);
	return path;
}

/* A storage with up to six options. */
struct words {
	Grpc__Storage s;
	char path[128];
	char *options[6];
};

static Grpc__Storage *storage(struct words *w, const char *driver, const char *fstype,
			      const char *source, const char *name, const char *const options[])
{
	grpc__storage__init(&w->s);
	w->s.driver = (char *)driver;
	w->s.fstype = (char *)fstype;
	w->s.source = (char *)source;
	w->s.mount_point = (char *)in_dir(w->path, name);
	w->s.options = w->options;
	for (w->s.n_options = 0; options && options[w->s.n_options]; w->s.n_options++)
		w->options[w->s.n_options] = (char *)options[w->s.n_options];
	return &w->s;
}

static int create_with(const char *id, Grpc__Storage **v, size_t n, struct err *e)
{
	const struct container_options o = {.script = "sleep 1000", .storages = v, .n_storages = n};
	return create(&f, id, &o, e);
}

static void create_ok(const char *id, Grpc__Storage **v, size_t n)
{
	struct err e = ERR_INIT;

	if (create_with(id, v, n, &e) != STATUS_OK)
		fail_msg("create %s: %s", id, e.text);
}

/* ---- Kinds -------------------------------------------------------------------------------- */

static void every_option_of_memory_counts(void **state)
{
	static const char *const options[] = {"size=65536",   "mode=1770",	  "noexec",
					      "nr_inodes=17", "huge=within_size", NULL};
	static const char *const wrong[] = {"size=65536", "colour=blue", NULL};
	struct words w;
	struct err e = ERR_INIT;
	struct stat st;

	Grpc__Storage *v[] = {storage(&w, "ephemeral", "tmpfs", "tmpfs", "opts", options)};
	create_ok("opts", v, 1);
	expect_option(w.path, "tmpfs rw,noexec,");
	expect_option(w.path, "size=64k");
	expect_option(w.path, "nr_inodes=17");
	expect_option(w.path, "huge=within_size");
	assert_int_equal(stat(w.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 01770);
	remove_ok("opts");

	storage(&w, "ephemeral", "tmpfs", "tmpfs", "wrong", wrong);
	assert_int_equal(create_with("wrong", v, 1, &e), STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(e.text, "colour"));
	assert_false(has_mount(w.path, NULL, 0));
	storage(&w, "ephemeral", "vfat", "tmpfs", "wrong", NULL);
	assert_int_equal(create_with("wrong", v, 1, &e), STATUS_UNIMPLEMENTED);
}

#define NR_HUGEPAGES "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

static long huge_pages(void)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	assert_int_equal(file_read(AT_FDCWD, NR_HUGEPAGES, 64, &text), 0);
	return strtol(text.data, NULL, 10);
}

static void huge_pages_are_reserved_and_given_back(void **state)
{
	static const char *const two[] = {"pagesize=2097152,size=4194304", NULL};
	static const char *const one[] = {"pagesize=2M", "size=1M", NULL};
	static const char *const enormous[] = {"pagesize=2M", "size=1048576G", NULL};
	static const char *const odd[] = {"pagesize=3M", "size=3M", NULL};
	static const char *const none[] = {"pagesize=2M", NULL};
	struct words a, b, c;
	struct err e = ERR_INIT;

	long before = huge_pages();
	Grpc__Storage *v[] = {
		storage(&a, "ephemeral", "hugetlbfs", "nodev", "huge2", two),
		storage(&b, "ephemeral", "hugetlbfs", "nodev", "huge1", one),
		storage(&c, "punched-cards", "", "", "cards", NULL),
	};
	assert_int_equal(create_with("huge", v, 3, &e), STATUS_UNIMPLEMENTED);
	assert_int_equal(huge_pages(), before);
	create_ok("huge", v, 2);
	assert_true(huge_pages() >= 3);
	expect_option(a.path, "hugetlbfs");
	expect_option(a.path, "pagesize=2M");
	expect_option(a.path, "size=4194304");
	remove_ok("huge");
	/* the pod's, until its end */
	assert_true(has_mount(a.path, NULL, 0));

	storage(&c, "ephemeral", "hugetlbfs", "nodev", "enormous", enormous);
	assert_int_equal(create_with("huge", &v[2], 1, &e), STATUS_RESOURCE_EXHAUSTED);
	storage(&c, "ephemeral", "hugetlbfs", "nodev", "odd", odd);
	assert_int_equal(create_with("huge", &v[2], 1, &e), STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(e.text, "3072 KiB"));
	storage(&c, "ephemeral", "hugetlbfs", "nodev", "none", none);
	assert_int_equal(create_with("huge", &v[2], 1, &e), STATUS_INVALID_ARGUMENT);
}

static void directories_of_the_pod_outlive_containers(void **state)
{
	static const char *const options[] = {"mode=0777", "fsgid=77", NULL};
	static const char *const wrong[] = {"size=1M", NULL};
	struct words dir, mem;
	char path[160];
	struct stat st;

	Grpc__Storage *v[] = {storage(&dir, "local", "local", "local", "l/dir", options),
			      storage(&mem, "ephemeral", "tmpfs", "tmpfs", "l/mem", NULL)};
	create_ok("first", v, 2);
	assert_int_equal(stat(dir.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 02777);
	assert_int_equal(st.st_gid, 77);
	(void)snprintf(path, sizeof path, "%s/kept", dir.path);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	(void)close(fd);
	remove_ok("first");
	create_ok("second", v, 2);
	assert_int_equal(stat(path, &st), 0);
	assert_true(has_mount(mem.path, NULL, 0));
	remove_ok("second");

	storage(&dir, "local", "local", "local", "l/wrong", wrong);
	assert_int_equal(create_with("third", v, 1, NULL), STATUS_INVALID_ARGUMENT);
}

/* ---- Sharing and failing ------------------------------------------------------------------ */

static void one_mount_point_is_one_thing(void **state)
{
	static const char *const ro[] = {"rbind", "ro", NULL};
	struct words a, b;
	struct err e = ERR_INIT;
	char other[128];

	(void)in_dir(other, "other");
	assert_int_equal(mkdir(other, 0755), 0);
	Grpc__Storage *v[] = {storage(&a, "bind", "bind", f.rootfs, "m/one", ro),
			      storage(&b, "bind", "bind", f.rootfs, "m/one", ro)};
	unsigned before = count_mounts();
	create_ok("twice", v, 2);
	assert_int_equal(count_mounts(), before + 1);
	remove_ok("twice");
	assert_int_equal(count_mounts(), before);

	storage(&b, "bind", "bind", other, "m/one", ro);
	assert_int_equal(create_with("twice", v, 2, &e), STATUS_ALREADY_EXISTS);
	assert_non_null(strstr(e.text, other));
	assert_int_equal(count_mounts(), before);
	create_ok("holder", v, 1);
	assert_int_equal(create_with("twice", &v[1], 1, &e), STATUS_ALREADY_EXISTS);
	assert_true(has_mount(a.path, NULL, 0));
	remove_ok("holder");
	assert_int_equal(count_mounts(), before);
}

static void a_container_that_fails_leaves_no_mount(void **state)
{
	struct words w[4];
	struct err e = ERR_INIT;
	struct stat st;
	unsigned before = count_mounts();

	Grpc__Storage *v[] = {storage(&w[0], "ephemeral", "tmpfs", "tmpfs", "x/mem", NULL),
			      storage(&w[1], "bind", "bind", f.rootfs, "x/bind", NULL),
			      storage(&w[2], "local", "local", "local", "x/local", NULL),
			      storage(&w[3], "bind", "bind", "/nonexistent", "x/bad", NULL)};
	v[0]->shared = v[1]->shared = true;
	assert_int_equal(create_with("fails", v, 4, &e), STATUS_NOT_FOUND);
	assert_int_equal(count_mounts(), before);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(lstat(w[i].path, &st), -1);

	/* also where it is not the storages that fail */
	char *args[] = {(char *)"/bin/missing", NULL};
	const struct container_options o = {.args = args, .storages = v, .n_storages = 3};
	assert_int_equal(create(&f, "fails", &o, &e), STATUS_NOT_FOUND);
	assert_int_equal(count_mounts(), before);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(lstat(w[i].path, &st), -1);

	/* what somebody else holds stays */
	create_ok("holder", v, 3);
	assert_int_equal(create(&f, "fails", &o, &e), STATUS_NOT_FOUND);
	assert_int_equal(count_mounts(), before + 2);
	remove_ok("holder");
	assert_int_equal(count_mounts(), before + 2);
}

/* The runtime takes a disk away as soon as it has the answer. */
static void nothing_is_mounted_when_a_removal_is_answered(void **state)
{
	struct words w;
	char rootfs[sizeof f.rootfs];
	unsigned before = count_mounts();

	Grpc__Storage *v[] = {storage(&w, "bind", "bind", f.rootfs, "block-root", NULL)};
	memcpy(rootfs, f.rootfs, sizeof rootfs);
	(void)snprintf(f.rootfs, sizeof f.rootfs, "%s/block-root", f.dir);
	v[0]->source = rootfs;
	for (int i = 0; i < 10; i++) {
		create_ok("rooted", v, 1);
		assert_int_equal(start(&f, "rooted"), STATUS_OK);
		assert_int_equal(exec_sh(&f, "rooted", "e", "cd /bin; sleep 1000"), STATUS_OK);
		remove_ok("rooted");
		assert_int_equal(count_mounts(), before);
	}
	memcpy(f.rootfs, rootfs, sizeof rootfs);
}

/* Somebody in the guest is still in it: the mount goes all the same, the device when they go. */
static void a_busy_mount_is_detached(void **state)
{
	struct words w;
	unsigned before = count_mounts();
	char path[64];

	Grpc__Storage *v[] = {storage(&w, "bind", "bind", f.rootfs, "busy", NULL)};
	create_ok("busy", v, 1);
	/* a descriptor into the agent's namespace, which this one is not in any more */
	(void)snprintf(path, sizeof path, "/proc/%d/root%.40s", (int)f.agent, w.path);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	remove_ok("busy");
	assert_int_equal(count_mounts(), before);
}

static void a_volume_is_given_to_its_group(void **state)
{
	static const char *const ro[] = {"bind", "ro", NULL};
	Grpc__FSGroup group = GRPC__FSGROUP__INIT;
	struct words w;
	char volume[128], path[160];
	struct stat st;

	(void)in_dir(volume, "volume");
	assert_int_equal(mkdir(volume, 0700), 0);
	(void)snprintf(path, sizeof path, "%s/f", volume);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	(void)close(fd);
	Grpc__Storage *v[] = {storage(&w, "bind", "bind", volume, "grouped", ro)};
	v[0]->fs_group = &group;
	group.group_id = 555;
	create_ok("grouped", v, 1);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_gid, 555);
	assert_int_equal(st.st_mode & 07777, 0640);
	expect_option(w.path, " ro");
	remove_ok("grouped");
	group.group_id = UINT32_MAX;
	assert_int_equal(create_with("grouped", v, 1, NULL), STATUS_INVALID_ARGUMENT);
	assert_false(has_mount(w.path, NULL, 0));
}

/* ---- Watchable directories ---------------------------------------------------------------- */

static void write_in(const char *dir, const char *name, const char *text)
{
	char path[256];

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0640);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	(void)close(fd);
}

static void link_in(const char *dir, const char *target, const char *name)
{
	char path[256], tmp[256];

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	(void)snprintf(tmp, sizeof tmp, "%s/..tmp", dir);
	assert_int_equal(symlink(target, tmp), 0);
	assert_int_equal(rename(tmp, path), 0);
}

/* A version of a ConfigMap, as kubelet lays it out. */
static void publish(const char *dir, const char *version, const char *text)
{
	char path[200];

	(void)snprintf(path, sizeof path, "%s/%s", dir, version);
	assert_int_equal(mkdir(path, 0755), 0);
	write_in(path, "key", text);
	link_in(dir, version, "..data");
}

static bool reads(const char *path, const char *expected)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	return file_read(AT_FDCWD, path, 4096, &text) == 0 && text.data &&
	       strcmp(text.data, expected) == 0;
}

static bool comes(const char *path, const char *expected)
{
	for (int i = 0; i < 600; i++) {
		if (reads(path, expected))
			return true;
		(void)usleep(50 * 1000);
	}
	return false;
}

static void a_config_map_is_followed(void **state)
{
	const char *const where = "state/shared/containers/passthrough/watchable/config";
	struct words w, plain, stray;
	char source[128], key[160];
	struct err e = ERR_INIT;
	struct stat st;

	(void)in_dir(source, "config-map");
	assert_int_equal(mkdir(source, 0750), 0);
	publish(source, "..1", "one");
	link_in(source, "..data/key", "key");
	Grpc__Storage *v[] = {storage(&w, "watchable-bind", "bind", source, where, NULL)};
	create_ok("follows", v, 1);
	(void)snprintf(key, sizeof key, "%s/key", w.path);
	assert_true(reads(key, "one"));
	assert_int_equal(stat(w.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_false(has_mount(w.path, NULL, 0));
	publish(source, "..2", "two");
	assert_true(comes(key, "two"));
	remove_ok("follows");
	assert_int_equal(lstat(w.path, &st), -1);

	/* again, after there was nothing to watch for a while; and what is too large is bound */
	create_ok("follows", v, 1);
	assert_true(reads(key, "two"));
	publish(source, "..3", "three");
	assert_true(comes(key, "three"));
	remove_ok("follows");
	for (int i = 0; i < 17; i++) {
		char name[16];
		(void)snprintf(name, sizeof name, "file-%d", i);
		write_in(source, name, "x");
	}
	create_ok("follows", v, 1);
	assert_true(has_mount(w.path, NULL, 0));
	assert_true(reads(key, "three"));
	remove_ok("follows");
	assert_false(has_mount(w.path, NULL, 0));
	assert_int_equal(lstat(w.path, &st), -1);
	/* the original is where it was */
	assert_int_equal(unlink(in_dir(key, "config-map/file-3")), 0);

	v[0] = storage(&plain, "watchable-bind", "bind", in_dir(key, "config-map/file-4"), where,
		       NULL);
	create_ok("one-file", v, 1);
	assert_true(reads(plain.path, "x"));
	remove_ok("one-file");

	static const char *const wrong[] = {"elsewhere/config",
					    "state/shared/containers/watchable/a/b",
					    "state/shared/containers/other/config"};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		v[0] = storage(&stray, "watchable-bind", "bind", source, wrong[i], NULL);
		assert_int_equal(create_with("stray", v, 1, &e), STATUS_INVALID_ARGUMENT);
		assert_int_equal(lstat(stray.path, &st), -1);
	}
}

/* ---- The end ------------------------------------------------------------------------------ */

/* Last: the sandbox takes its memory and its directories with it. */
static void the_end_of_the_sandbox_takes_all(void **state)
{
	Grpc__CreateSandboxRequest q = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	Grpc__DestroySandboxRequest end = GRPC__DESTROY_SANDBOX_REQUEST__INIT;
	struct words mem, dir;
	struct stat st;
	int status;

	Grpc__Storage *v[] = {storage(&mem, "ephemeral", "tmpfs", "shm", "end/shm", NULL),
			      storage(&dir, "local", "local", "local", "end/dir", NULL)};
	q.sandbox_id = (char *)"pod";
	q.storages = v;
	q.n_storages = 1;
	assert_int_equal(call(&f, "CreateSandbox", &q.base, NULL, NULL), STATUS_OK);
	create_ok("last", v, 2);
	(void)in_dir(dir.path, "end/dir/sub");
	assert_int_equal(mkdir(dir.path, 0700), 0);
	assert_int_equal(call(&f, "DestroySandbox", &end.base, NULL, NULL), STATUS_OK);
	assert_int_equal(waitpid(f.agent, &status, 0), f.agent);
	f.agent = 0;
	assert_int_equal(lstat(in_dir(dir.path, "end/dir"), &st), -1);
	assert_int_equal(lstat(mem.path, &st), -1);
	assert_int_equal(lstat(in_dir(dir.path, "l/dir"), &st), -1);
	assert_int_equal(lstat(in_dir(dir.path, "huge2"), &st), -1);
}

static long pages_before;

static int setup(void **state)
{
	pages_before = huge_pages();
	fixture_start(&f, agent_program);
	return 0;
}

static int teardown(void **state)
{
	(void)fixture_stop(&f);
	return huge_pages() == pages_before ? 0 : -1;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_option_of_memory_counts),
		cmocka_unit_test(huge_pages_are_reserved_and_given_back),
		cmocka_unit_test(directories_of_the_pod_outlive_containers),
		cmocka_unit_test(one_mount_point_is_one_thing),
		cmocka_unit_test(a_container_that_fails_leaves_no_mount),
		cmocka_unit_test(nothing_is_mounted_when_a_removal_is_answered),
		cmocka_unit_test(a_busy_mount_is_detached),
		cmocka_unit_test(a_volume_is_given_to_its_group),
		cmocka_unit_test(a_config_map_is_followed),
		cmocka_unit_test(the_end_of_the_sandbox_takes_all),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s AGENT\n", argv[0]);
		return 2;
	}
	agent_program = argv[1];
	return cmocka_run_group_tests(tests, setup, teardown);
}
