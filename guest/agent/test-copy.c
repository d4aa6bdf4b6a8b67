/* SPDX-License-Identifier: Apache-2.0 */
/* Files that the runtime copies into the guest, and what it asks of volumes. Needs root. */
#include "base/buf.h"
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/test-client.h"
#include "io/child.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/loop.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

static struct fixture f;
static const char *agent_program;
static char share[96], outside[96];

/* ---- Words -------------------------------------------------------------------------------- */

static const char *in_share(char path[256], const char *name)
{
	(void)snprintf(path, 256, "%s/%s", share, name);
	return path;
}

struct piece {
	const char *name;
	uint32_t mode, dir_mode;
	const char *text;
	int64_t size; /* -1: of the text */
	int64_t offset;
};

static int copy_e(const struct piece *p, struct err *e)
{
	Grpc__CopyFileRequest q = GRPC__COPY_FILE_REQUEST__INIT;
	char path[256];

	q.path = (char *)(p->name[0] == '/' ? p->name : in_share(path, p->name));
	q.file_mode = p->mode;
	q.dir_mode = p->dir_mode;
	q.uid = 12;
	q.gid = 34;
	q.data.data = (uint8_t *)p->text;
	q.data.len = p->text ? strlen(p->text) : 0;
	q.file_size = p->size < 0 ? (int64_t)q.data.len : p->size;
	q.offset = p->offset;
	return call(&f, "CopyFile", &q.base, NULL, e);
}

static int copy(const char *name, uint32_t mode, const char *text)
{
	return copy_e(&(struct piece){.name = name, .mode = mode, .text = text, .size = -1}, NULL);
}

static int copy_at(const char *name, const char *text, int64_t offset, int64_t size)
{
	return copy_e(&(struct piece){.name = name,
				      .mode = S_IFREG | 0640,
				      .text = text,
				      .size = size,
				      .offset = offset},
		      NULL);
}

static void expect_text(const char *path, const char *expected)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &text), 0);
	assert_string_equal(text.data, expected);
}

static void expect_file(const char *name, mode_t mode, const char *expected)
{
	char path[256];
	struct stat st;

	assert_int_equal(lstat(in_share(path, name), &st), 0);
	assert_int_equal(st.st_mode, mode);
	assert_int_equal(st.st_uid, 12);
	assert_int_equal(st.st_gid, 34);
	if (expected)
		expect_text(path, expected);
}

static unsigned entries(const char *name)
{
	char path[256];
	unsigned n = 0;

	DIR *dir = opendir(in_share(path, name));
	assert_non_null(dir);
	while (readdir(dir))
		n++;
	(void)closedir(dir);
	return n - 2;
}

/* ---- Files -------------------------------------------------------------------------------- */

static void files_directories_and_links(void **state)
{
	char path[256], target[64] = "";
	struct stat st;

	assert_int_equal(copy("vol/a/b/file.txt", S_IFREG | 0604, "hello"), STATUS_OK);
	expect_file("vol/a/b/file.txt", S_IFREG | 0604, "hello");
	/* parents that nobody described are of use all the same */
	expect_file("vol/a", S_IFDIR | 0755, NULL);
	assert_int_equal(copy_e(&(struct piece){.name = "vol/c/f",
						.mode = S_IFREG | 04755,
						.dir_mode = S_IFDIR | 0750,
						.text = "x",
						.size = -1},
				NULL),
			 STATUS_OK);
	expect_file("vol/c", S_IFDIR | 0750, NULL);
	expect_file("vol/c/f", S_IFREG | 04755, "x");

	assert_int_equal(copy("vol/dir/", S_IFDIR | 01711, NULL), STATUS_OK);
	expect_file("vol/dir", S_IFDIR | 01711, NULL);
	assert_int_equal(copy("vol/dir/f", S_IFREG | 0600, "kept"), STATUS_OK);
	assert_int_equal(copy("vol/dir", S_IFDIR | 0700, NULL), STATUS_OK);
	expect_file("vol/dir", S_IFDIR | 0700, NULL);
	expect_file("vol/dir/f", S_IFREG | 0600, "kept");

	assert_int_equal(copy("vol/link", S_IFLNK | 0777, "dir/f"), STATUS_OK);
	assert_int_equal(lstat(in_share(path, "vol/link"), &st), 0);
	assert_int_equal(st.st_uid, 12);
	assert_true(readlink(path, target, sizeof target - 1) > 0);
	assert_string_equal(target, "dir/f");
	/* a link that is flipped, as a ConfigMap's is */
	assert_int_equal(copy("vol/link", S_IFLNK | 0777, "a/b/file.txt"), STATUS_OK);
	expect_text(path, "hello");

	/* any kind takes the place of any other */
	assert_int_equal(copy("vol/link", S_IFREG | 0600, "file"), STATUS_OK);
	expect_file("vol/link", S_IFREG | 0600, "file");
	expect_file("vol/a/b/file.txt", S_IFREG | 0604, "hello");
	assert_int_equal(copy("vol/link", S_IFDIR | 0700, NULL), STATUS_OK);
	assert_int_equal(copy("vol/dir", S_IFLNK | 0777, "a"), STATUS_OK);
	assert_int_equal(lstat(in_share(path, "vol/dir"), &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(copy("vol/a", S_IFREG, ""), STATUS_OK);
	expect_file("vol/a", S_IFREG, "");
	assert_int_equal(copy("one-file", 0644, "plain"), STATUS_OK);
	expect_file("one-file", S_IFREG | 0644, "plain");
	assert_int_equal(copy("passthrough/c1-hosts", 0644, "hosts"), STATUS_OK);
	expect_file("passthrough/c1-hosts", S_IFREG | 0644, "hosts");
	assert_int_equal(entries("vol"), 4);
}

static void pieces_come_in_order(void **state)
{
	char path[256];

	assert_int_equal(copy_at("p/f", "0123", 0, 10), STATUS_OK);
	assert_int_equal(access(in_share(path, "p/f"), F_OK), -1);
	/* another one meanwhile */
	assert_int_equal(copy_at("p/g", "ab", 0, 4), STATUS_OK);
	assert_int_equal(copy_at("p/f", "456", 4, 10), STATUS_OK);
	assert_int_equal(copy_at("p/g", "cd", 2, 4), STATUS_OK);
	assert_int_equal(copy_at("p/f", "789", 7, 10), STATUS_OK);
	expect_file("p/f", S_IFREG | 0640, "0123456789");
	expect_file("p/g", S_IFREG | 0640, "abcd");

	/* out of order, of another size, twice, too long, without a beginning */
	assert_int_equal(copy_at("p/h", "0123", 0, 10), STATUS_OK);
	assert_int_equal(copy_at("p/h", "89", 8, 10), STATUS_INVALID_ARGUMENT);
	assert_int_equal(copy_at("p/h", "4", 4, 11), STATUS_INVALID_ARGUMENT);
	assert_int_equal(copy_at("p/h", "456789x", 4, 10), STATUS_INVALID_ARGUMENT);
	assert_int_equal(copy_at("p/h", "", 4, 10), STATUS_INVALID_ARGUMENT);
	assert_int_equal(copy_at("p/h", "4", -4, 10), STATUS_INVALID_ARGUMENT);
	assert_int_equal(copy_at("p/h", "4", INT64_MAX, INT64_MAX), STATUS_INVALID_ARGUMENT);
	assert_int_equal(copy_at("p/none", "4", 4, 10), STATUS_INVALID_ARGUMENT);
	assert_int_equal(copy_at("p/h", "456789", 4, 10), STATUS_OK);
	expect_file("p/h", S_IFREG | 0640, "0123456789");

	/* one that begins again forgets what it had, and leaves nothing beside */
	assert_int_equal(copy_at("p/f", "old", 0, 10), STATUS_OK);
	expect_file("p/f", S_IFREG | 0640, "0123456789");
	assert_int_equal(copy_at("p/f", "new", 0, 3), STATUS_OK);
	expect_file("p/f", S_IFREG | 0640, "new");
	assert_int_equal(copy_at("p/f", "half", 0, 10), STATUS_OK);
	assert_int_equal(copy("p/f", S_IFLNK, "g"), STATUS_OK);
	assert_int_equal(entries("p"), 3);
}

static void there_is_an_end_to_what_is_on_its_way(void **state)
{
	char name[32];

	for (unsigned i = 0; i < 64; i++) {
		(void)snprintf(name, sizeof name, "many/%u", i);
		assert_int_equal(copy_at(name, "x", 0, 2), STATUS_OK);
	}
	assert_int_equal(copy_at("many/64", "x", 0, 2), STATUS_RESOURCE_EXHAUSTED);
	assert_int_equal(copy("many/64", 0600, "xx"), STATUS_RESOURCE_EXHAUSTED);
	for (unsigned i = 0; i < 63; i++) {
		(void)snprintf(name, sizeof name, "many/%u", i);
		assert_int_equal(copy_at(name, "y", 1, 2), STATUS_OK);
	}
	expect_file("many/7", S_IFREG | 0640, "xy");
	assert_int_equal(copy("many/64", 0600, "xx"), STATUS_OK);
	/* the one that is never finished goes with the agent */
}

static void wrong_requests(void **state)
{
	static const char *const paths[] = {
		"/etc/passwd",
		"/run/kata-containers/shared/containers/x",
		"vol/../../../up",
		"vol/./x",
		"",
		"/",
	};
	struct err e = ERR_INIT;
	char path[160];

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		assert_int_equal(copy(paths[i], 0600, "x"), STATUS_INVALID_ARGUMENT);
	(void)snprintf(path, sizeof path, "%s-beside/x", share);
	assert_int_equal(copy(path, 0600, "x"), STATUS_INVALID_ARGUMENT);
	assert_int_equal(copy("wrong/x/", S_IFREG | 0600, "x"), STATUS_INVALID_ARGUMENT);
	const struct piece fifo = {.name = "wrong/x", .mode = S_IFIFO | 0600};
	assert_int_equal(copy_e(&fifo, &e), STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(e.text, "10600"));
	assert_int_equal(copy("wrong/x", S_IFCHR | 0600, ""), STATUS_INVALID_ARGUMENT);
	assert_int_equal(copy("wrong/x", S_IFLNK, ""), STATUS_INVALID_ARGUMENT);
}

/* ---- Attacks ------------------------------------------------------------------------------ */

static void link_in_share(const char *target, const char *name)
{
	char path[256];

	(void)unlink(in_share(path, name));
	assert_int_equal(symlink(target, path), 0);
}

static void expect_untouched(void)
{
	char path[160];
	struct stat st;

	(void)snprintf(path, sizeof path, "%s/secret", outside);
	expect_text(path, "secret");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(outside, &st), 0);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	DIR *dir = opendir(outside);
	unsigned n = 0;
	while (readdir(dir))
		n++;
	(void)closedir(dir);
	assert_int_equal(n, 3);
}

static void links_lead_nowhere(void **state)
{
	char secret[160], path[256];

	(void)snprintf(secret, sizeof secret, "%s/secret", outside);
	assert_int_equal(copy("evil/dir", S_IFDIR | 0755, NULL), STATUS_OK);
	assert_int_equal(copy("other/dir", S_IFDIR | 0755, NULL), STATUS_OK);

	/* as the target, of each kind */
	link_in_share(secret, "evil/f");
	assert_int_equal(copy("evil/f", S_IFREG | 0644, "mine"), STATUS_OK);
	expect_file("evil/f", S_IFREG | 0644, "mine");
	link_in_share(outside, "evil/d");
	assert_int_equal(copy("evil/d", S_IFDIR | 0755, NULL), STATUS_OK);
	expect_file("evil/d", S_IFDIR | 0755, NULL);
	link_in_share(secret, "evil/l");
	assert_int_equal(copy("evil/l", S_IFLNK, "f"), STATUS_OK);
	expect_untouched();

	/* as a parent: it ends at the volume */
	link_in_share(outside, "evil/p");
	assert_int_equal(copy("evil/p/secret", S_IFREG | 0644, "mine"), STATUS_OK);
	link_in_share("../../../../../../../../../../../../etc", "evil/up");
	assert_int_equal(copy("evil/up/test-copy-was-here", S_IFREG | 0644, "mine"), STATUS_OK);
	assert_int_equal(access("/etc/test-copy-was-here", F_OK), -1);
	expect_file("evil/etc/test-copy-was-here", S_IFREG | 0644, "mine");
	link_in_share("../other/dir", "evil/neighbour");
	assert_int_equal(copy("evil/neighbour/f", S_IFREG | 0644, "mine"), STATUS_OK);
	assert_int_equal(entries("other/dir"), 0);
	expect_untouched();

	/* as a volume */
	link_in_share(outside, "volume");
	assert_int_not_equal(copy("volume/secret", S_IFREG | 0644, "mine"), STATUS_OK);
	link_in_share(outside, "passthrough/volume");
	assert_int_not_equal(copy("passthrough/volume/secret", S_IFREG | 0644, "m"), STATUS_OK);
	expect_untouched();

	/* between two pieces: the directory moved away, and a link in its place */
	assert_int_equal(copy_at("evil/dir/late", "12", 0, 4), STATUS_OK);
	char moved[256];
	assert_int_equal(rename(in_share(path, "evil/dir"), in_share(moved, "evil/moved")), 0);
	link_in_share(outside, "evil/dir");
	assert_int_equal(copy_at("evil/dir/late", "34", 2, 4), STATUS_OK);
	expect_file("evil/moved/late", S_IFREG | 0640, "1234");
	expect_untouched();
}

static atomic_bool racing;

/* Exchanges a directory and a link as fast as it can. */
static void *race(void *arg)
{
	char dir[256], link[256];

	(void)in_share(dir, "race/dir");
	(void)in_share(link, "race/link");
	while (atomic_load(&racing))
		(void)renameat2(AT_FDCWD, dir, AT_FDCWD, link, RENAME_EXCHANGE);
	return NULL;
}

static void races_lead_nowhere(void **state)
{
	pthread_t thread;

	assert_int_equal(copy("race/dir", S_IFDIR | 0755, NULL), STATUS_OK);
	link_in_share(outside, "race/link");
	atomic_store(&racing, true);
	assert_int_equal(pthread_create(&thread, NULL, race, NULL), 0);
	for (int i = 0; i < 1000; i++) {
		/* any outcome will do, as long as nothing out there changes */
		(void)copy("race/dir/secret", S_IFREG | 0666, "mine");
		(void)copy("race/dir", S_IFDIR | 0777, NULL);
		(void)copy("race/dir/a/b", S_IFDIR | 0777, NULL);
	}
	atomic_store(&racing, false);
	pthread_join(thread, NULL);
	expect_untouched();
}

/* ---- Volumes ------------------------------------------------------------------------------ */

static int stats(const char *path, Grpc__VolumeStatsResponse **ret)
{
	Grpc__VolumeStatsRequest q = GRPC__VOLUME_STATS_REQUEST__INIT;

	q.volume_guest_path = (char *)path;
	return call(&f, "GetVolumeStats", &q.base, ret, NULL);
}

static void usage_of_volumes(void **state)
{
	Grpc__VolumeStatsResponse *response = NULL;
	struct statfs fs;

	assert_int_equal(statfs(f.dir, &fs), 0);
	assert_int_equal(stats(f.dir, &response), STATUS_OK);
	assert_int_equal(response->n_usage, 2);
	const Grpc__VolumeUsage *bytes = response->usage[0], *inodes = response->usage[1];
	assert_int_equal(bytes->unit, GRPC__VOLUME_USAGE__UNIT__BYTES);
	assert_int_equal(bytes->total, fs.f_blocks * (uint64_t)fs.f_frsize);
	assert_true(bytes->available <= bytes->total - bytes->used);
	assert_true(bytes->used > 0 && bytes->used <= bytes->total);
	assert_int_equal(inodes->unit, GRPC__VOLUME_USAGE__UNIT__INODES);
	assert_int_equal(inodes->total, fs.f_files);
	assert_int_equal(inodes->used + inodes->available, inodes->total);
	assert_false(response->volume_condition->abnormal);
	grpc__volume_stats_response__free_unpacked(response, NULL);
	assert_int_equal(stats("/nonexistent", NULL), STATUS_NOT_FOUND);
	assert_int_equal(stats("relative", NULL), STATUS_INVALID_ARGUMENT);
	assert_int_equal(stats("/a/../b", NULL), STATUS_INVALID_ARGUMENT);
}

static int resize(const char *path, uint64_t size, struct err *e)
{
	Grpc__ResizeVolumeRequest q = GRPC__RESIZE_VOLUME_REQUEST__INIT;

	q.volume_guest_path = (char *)path;
	q.size = size;
	return call(&f, "ResizeVolume", &q.base, NULL, e);
}

static void attach_loop(int file, char device[32])
{
	_cleanup_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	assert_true(control >= 0);
	for (int tries = 0; tries < 100; tries++) {
		int n = ioctl(control, LOOP_CTL_GET_FREE);
		assert_true(n >= 0);
		(void)snprintf(device, 32, "/dev/loop%d", n);
		_cleanup_close_ int fd = open(device, O_RDWR | O_CLOEXEC);
		if (fd >= 0 && ioctl(fd, LOOP_SET_FD, file) == 0)
			return;
	}
	fail_msg("there is no free loop device");
}

static void loop_control(const char *device, unsigned long what)
{
	_cleanup_close_ int fd = open(device, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, what, 0), 0);
}

static uint64_t total_of(const char *path)
{
	Grpc__VolumeStatsResponse *response = NULL;

	assert_int_equal(stats(path, &response), STATUS_OK);
	uint64_t n = response->usage[0]->total;
	grpc__volume_stats_response__free_unpacked(response, NULL);
	return n;
}

/* fs/ext4/ioctl.c wants this of who resizes; root in some containers lacks it. */
static bool may_resize(void)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	assert_int_equal(file_read(AT_FDCWD, "/proc/self/status", 16384, &text), 0);
	const char *at = strstr(text.data, "CapEff:");
	return strtoull(at + 7, NULL, 16) & 1ULL << CAP_SYS_RESOURCE;
}

/* The storage comes by the driver for disks, so this is also what the runtime does of them. */
static void a_volume_grows_with_its_disk(void **state)
{
	const char *const argv[] = {"mkfs.ext4", "-q", "-F", NULL, NULL};
	struct child_spec spec = CHILD_SPEC_INIT;
	Grpc__Storage s = GRPC__STORAGE__INIT, *v[] = {&s};
	char file[128], device[32], mount_point[128];
	struct err e = ERR_INIT;

	(void)snprintf(file, sizeof file, "%s/disk", f.dir);
	(void)snprintf(mount_point, sizeof mount_point, "%s/grows", f.dir);
	_cleanup_close_ int fd = open(file, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 16 << 20), 0);
	const char *words[ARRAY_SIZE(argv)];
	memcpy(words, argv, sizeof argv);
	words[3] = file;
	spec.argv = words;
	assert_int_equal(child_run(&spec, 60000, &e), 0);
	attach_loop(fd, device);

	s.driver = (char *)"blk";
	s.source = device;
	s.fstype = (char *)"ext4";
	s.mount_point = mount_point;
	const struct container_options o = {.script = "sleep 1000", .storages = v, .n_storages = 1};
	if (create(&f, "grows", &o, &e) != STATUS_OK)
		fail_msg("%s", e.text);
	uint64_t before = total_of(mount_point);
	assert_int_equal(resize(mount_point, 32 << 20, &e), STATUS_FAILED_PRECONDITION);
	assert_int_equal(ftruncate(fd, 32 << 20), 0);
	loop_control(device, LOOP_SET_CAPACITY);
	if (may_resize()) {
		assert_int_equal(resize(mount_point, 24 << 20, &e), STATUS_OK);
		uint64_t between = total_of(mount_point);
		assert_true(between > before);
		assert_int_equal(resize(mount_point, 0, &e), STATUS_OK);
		assert_true(total_of(mount_point) > between);
		assert_int_equal(resize(mount_point, 32 << 20, &e), STATUS_OK);
		assert_int_equal(resize(mount_point, 8 << 20, &e), STATUS_INVALID_ARGUMENT);
	} else {
		assert_int_equal(resize(mount_point, 0, &e), STATUS_PERMISSION_DENIED);
		assert_int_equal(total_of(mount_point), before);
	}

	/* the disk is nobody's as soon as the removal is answered */
	assert_int_equal(start(&f, "grows"), STATUS_OK);
	assert_int_equal(remove_container(&f, "grows", 20), STATUS_OK);
	_cleanup_close_ int exclusive = open(device, O_RDWR | O_EXCL | O_CLOEXEC);
	assert_true(exclusive >= 0);
	assert_int_equal(ioctl(exclusive, LOOP_CLR_FD, 0), 0);

	assert_int_equal(resize("/proc", 0, &e), STATUS_UNIMPLEMENTED);
	assert_int_equal(resize("/nonexistent", 0, &e), STATUS_NOT_FOUND);
}

/* ---- Diagnostics -------------------------------------------------------------------------- */

static int diagnose(const char *id, const char *type, char **ret)
{
	Grpc__GetDiagnosticDataRequest q = GRPC__GET_DIAGNOSTIC_DATA_REQUEST__INIT;
	Grpc__GetDiagnosticDataResponse *response = NULL;

	q.container_id = (char *)id;
	q.log_type = (char *)type;
	int status = call(&f, "GetDiagnosticData", &q.base, &response, NULL);
	if (status == STATUS_OK) {
		*ret = strdup(response->data);
		grpc__get_diagnostic_data_response__free_unpacked(response, NULL);
	}
	return status;
}

static void expect_message(const char *expected)
{
	_cleanup_free_ char *text = NULL;

	assert_int_equal(diagnose("last-words", "termination_log", &text), STATUS_OK);
	assert_string_equal(text, expected);
}

static void write_log(const char *path, const char *text, size_t len)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, len), 0);
	(void)close(fd);
}

static void last_words(void **state)
{
	char log[128], text[5000], *none = NULL;
	const char *const binds[] = {log, "/dev/termination-log", NULL};
	struct container_options o = {
		.script = "sleep 1000",
		.binds = binds,
		.annotation = {"io.kubernetes.container.terminationMessagePath",
			       "/dev/termination-log"}};

	(void)snprintf(log, sizeof log, "%s/termination-log", f.dir);
	write_log(log, "", 0);
	assert_int_equal(create(&f, "last-words", &o, NULL), STATUS_OK);
	expect_message("");
	write_log(log, "out of luck\n", 12);
	expect_message("out of luck\n");
	write_log(log, "a\0b\xff\xc3\xa4", 6);
	expect_message("a\xef\xbf\xbd"
		       "b\xef\xbf\xbd\xc3\xa4");
	/* the end counts, and characters are not cut */
	memset(text, 'x', sizeof text);
	memcpy(text + sizeof text - 4097, "\xc3\xa4", 2);
	memcpy(text + sizeof text - 3, "end", 3);
	write_log(log, text, sizeof text);
	_cleanup_free_ char *tail = NULL;
	assert_int_equal(diagnose("last-words", "termination_log", &tail), STATUS_OK);
	assert_int_equal(strlen(tail), 4095);
	assert_string_equal(tail + 4092, "end");
	/* the container may have made anything of it */
	assert_int_equal(unlink(log), 0);
	expect_message("");
	assert_int_equal(symlink("/etc/passwd", log), 0);
	assert_int_not_equal(diagnose("last-words", "termination_log", &none), STATUS_OK);
	assert_int_equal(unlink(log), 0);
	assert_int_equal(mkfifo(log, 0600), 0);
	assert_int_equal(diagnose("last-words", "termination_log", &none), STATUS_INVALID_ARGUMENT);
	assert_int_equal(diagnose("last-words", "core", &none), STATUS_INVALID_ARGUMENT);
	assert_int_equal(diagnose("nobody", "termination_log", &none), STATUS_NOT_FOUND);
	assert_int_equal(remove_container(&f, "last-words", 20), STATUS_OK);

	o.annotation[0] = NULL;
	assert_int_equal(create(&f, "silent", &o, NULL), STATUS_OK);
	assert_int_equal(diagnose("silent", "termination_log", &none), STATUS_FAILED_PRECONDITION);
	assert_int_equal(remove_container(&f, "silent", 20), STATUS_OK);
}

static void stale_mounts_are_looked_at(void **state)
{
	Grpc__RemoveStaleVirtiofsShareMountsRequest q =
		GRPC__REMOVE_STALE_VIRTIOFS_SHARE_MOUNTS_REQUEST__INIT;

	assert_int_equal(call(&f, "RemoveStaleVirtiofsShareMounts", &q.base, NULL, NULL),
			 STATUS_OK);
}

/* ---- All of it ---------------------------------------------------------------------------- */

static int setup(void **state)
{
	char path[160];

	fixture_start(&f, agent_program);
	(void)snprintf(share, sizeof share, "%s/state/shared/containers", f.dir);
	(void)snprintf(outside, sizeof outside, "%s/outside", f.dir);
	assert_int_equal(mkdir(outside, 0700), 0);
	(void)snprintf(path, sizeof path, "%s/secret", outside);
	write_log(path, "secret", 6);
	return 0;
}

static int teardown(void **state)
{
	return fixture_stop(&f);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_directories_and_links),
		cmocka_unit_test(pieces_come_in_order),
		cmocka_unit_test(there_is_an_end_to_what_is_on_its_way),
		cmocka_unit_test(wrong_requests),
		cmocka_unit_test(links_lead_nowhere),
		cmocka_unit_test(races_lead_nowhere),
		cmocka_unit_test(usage_of_volumes),
		cmocka_unit_test(a_volume_grows_with_its_disk),
		cmocka_unit_test(last_words),
		cmocka_unit_test(stale_mounts_are_looked_at),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s AGENT\n", argv[0]);
		return 2;
	}
	agent_program = argv[1];
	return cmocka_run_group_tests(tests, setup, teardown);
}
