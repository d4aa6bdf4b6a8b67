/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers of EROFS as storages, with real disks (loop), a real device-mapper and real mounts. Needs
 * root, mkfs.erofs, mkfs.ext4, veritysetup, and a kernel that has all of it: see
 * tests/testhost/layers, which runs this.
 *
 *	test-guest-layers [--bench]
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/device.h"
#include "guest/agent/storage.h"
#include "guest/agent/test-disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define BLOCK DISK_BLOCK
#define MIB (1 << 20)
#define MAX_LAYERS DISK_IMAGES_MAX
#define TOP "/run/test-layers"
#define STATE TOP "/state"
#define ROOT TOP "/root"

/* ---- Images ------------------------------------------------------------------------------- */

static void put_file(const char *path, const void *data, size_t len)
{
	int r = file_replace(path, data, len, 0644);
	if (r < 0)
		fail_msg("write %s: %s", path, strerror(-r));
}

/* Layer N has the files "layer-N" and "common", which say N, and "big", many blocks of N. */
static void make_image(unsigned n, bool superblock, struct image *im)
{
	char path[128], text[16];
	static char big[16 * BLOCK];

	assert_int_equal(mkdir(TOP "/tree", 0755), 0);
	int len = snprintf(text, sizeof text, "%u\n", n);
	(void)snprintf(path, sizeof path, TOP "/tree/layer-%u", n);
	put_file(path, text, (size_t)len);
	put_file(TOP "/tree/common", text, (size_t)len);
	memset(big, 'a' + (int)(n % 26), sizeof big);
	put_file(TOP "/tree/big", big, sizeof big);
	image_make(im, TOP "/tree", superblock, TOP);
	assert_int_equal(remove_tree(TOP "/tree"), 0);
}

/* ---- Disks -------------------------------------------------------------------------------- */

struct disk {
	char file[64], device[32];
	unsigned n;
	struct image *images;
	unsigned without; /* a partition that the table does not have; 0: none */
	int keep;	  /* holds the loop device */
};

static void attach(struct disk *d, uint32_t flags)
{
	struct loop_config c = {.info.lo_flags = LO_FLAGS_AUTOCLEAR | flags};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	assert_true(control >= 0);
	int file = open(d->file, (flags & LO_FLAGS_READ_ONLY ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	assert_true(file >= 0);
	c.fd = (uint32_t)file;
	for (int tries = 0;; tries++) {
		int n = ioctl(control, LOOP_CTL_GET_FREE);
		assert_true(n >= 0);
		(void)snprintf(d->device, sizeof d->device, "/dev/loop%d", n);
		d->keep = open(d->device,
			       (flags & LO_FLAGS_READ_ONLY ? O_RDONLY : O_RDWR) | O_CLOEXEC);
		if (d->keep >= 0 && ioctl(d->keep, LOOP_CONFIGURE, &c) == 0)
			break;
		if (tries == 20)
			fail_msg("attach %s: %s", d->device, strerror(errno));
		close(d->keep);
	}
	close(file);
	close(control);
}

static void make_images(struct disk *d, unsigned n, bool superblock)
{
	memset(d, 0, sizeof *d);
	d->n = n;
	d->images = calloc(n, sizeof *d->images);
	assert_non_null(d->images);
	for (unsigned i = 0; i < n; i++)
		make_image(i + 1, superblock, &d->images[i]);
}

/* Writes the disk and plugs it in. */
static void plug_in(struct disk *d, uint32_t flags)
{
	static unsigned number;

	(void)snprintf(d->file, sizeof d->file, TOP "/disk-%u", number++);
	disk_write(d->file, d->images, d->n, d->without);
	attach(d, LO_FLAGS_READ_ONLY | flags);
}

static void make_disk(struct disk *d, unsigned n)
{
	make_images(d, n, false);
	plug_in(d, LO_FLAGS_PARTSCAN);
}

static void pull_out(struct disk *d)
{
	close(d->keep);
	unlink(d->file);
	for (unsigned i = 0; i < d->n; i++)
		image_free(&d->images[i]);
	free(d->images);
}

/* ---- Requests ----------------------------------------------------------------------------- */

static struct modules *modules;
static struct devices *devices;
static struct storage_table *table;

struct request {
	Grpc__Storage s[MAX_LAYERS + 1];
	Grpc__Storage *v[MAX_LAYERS + 1];
	char text[MAX_LAYERS + 1][12][192];
	char *options[MAX_LAYERS + 1][12];
	size_t n;
};

static void _printf_(3, 4) option(struct request *q, size_t i, const char *fmt, ...)
{
	va_list ap;
	Grpc__Storage *s = &q->s[i];

	assert_true(s->n_options < 12);
	va_start(ap, fmt);
	(void)vsnprintf(q->text[i][s->n_options], sizeof q->text[i][0], fmt, ap);
	va_end(ap);
	q->options[i][s->n_options] = q->text[i][s->n_options];
	s->n_options++;
}

static size_t add_storage(struct request *q, const char *source, const char *fstype, const char *at)
{
	size_t i = q->n++;
	Grpc__Storage *s = &q->s[i];

	grpc__storage__init(s);
	s->driver = (char *)"blk";
	s->source = (char *)source;
	s->fstype = (char *)fstype;
	s->mount_point = (char *)at;
	s->options = q->options[i];
	q->v[i] = s;
	option(q, i, "X-kata.multi-layer=true");
	return i;
}

static void add_lower(struct request *q, const struct disk *d, unsigned layer, const char *at)
{
	const struct image *im = &d->images[layer];
	size_t i = add_storage(q, d->device, "erofs", at);

	option(q, i, "ro");
	option(q, i, "X-kata.overlay-lower");
	option(q, i, "X-kata.gpt-partitioned=true");
	option(q, i, "X-kata.partition-number=%u", layer + 1);
	option(q, i, "X-kata.dmverity-enabled=true");
	option(q, i, "X-kata.dmverity.roothash=%s", im->root);
	option(q, i, "X-kata.dmverity.hashoffset=%zu", im->hash_offset);
	option(q, i, "X-kata.dmverity.no-superblock=%s", im->superblock ? "false" : "true");
}

/* All layers of a disk, in the order that a runtime would not choose. */
static struct request *request_of(const struct disk *d, const char *at)
{
	struct request *q = calloc(1, sizeof *q);

	assert_non_null(q);
	for (unsigned i = d->n; i-- > 0;)
		add_lower(q, d, i, at);
	return q;
}

static int add(const struct request *q, const char *container, struct storage_set *set,
	       struct err *e)
{
	*e = ERR_INIT;
	return storages_add(table, container, q->v, q->n, set, e);
}

static void must_add(const struct request *q, const char *container, struct storage_set *set)
{
	struct err e = ERR_INIT;
	if (add(q, container, set, &e) < 0)
		fail_msg("%s", e.text);
}

/* ---- What is there ------------------------------------------------------------------------ */

static unsigned mapped(void)
{
	unsigned n = 0;
	DIR *d = opendir("/sys/block");

	assert_non_null(d);
	for (struct dirent *de; (de = readdir(d));)
		n += strncmp(de->d_name, "dm-", 3) == 0;
	closedir(d);
	return n;
}

static unsigned mounts(void)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	unsigned n = 0;

	assert_int_equal(file_read(AT_FDCWD, "/proc/self/mounts", MIB, &b), 0);
	for (const char *p = b.data; (p = strstr(p, TOP "/")); p++)
		n++;
	return n;
}

static unsigned nodes(void)
{
	unsigned n = 0;
	DIR *d = opendir("/dev/mapper");

	for (struct dirent *de; d && (de = readdir(d));)
		n += strncmp(de->d_name, "kata-", 5) == 0;
	if (d)
		closedir(d);
	return n;
}

static void nothing_is_left(void)
{
	assert_int_equal(mounts(), 0);
	assert_int_equal(mapped(), 0);
	assert_int_equal(nodes(), 0);
	assert_int_equal(access(STATE "/layers", F_OK), -1);
	assert_int_equal(access(STATE "/c1", F_OK), -1);
	assert_int_equal(access(ROOT, F_OK), -1);
}

static void file_says(const char *path, const char *text)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int r = file_read(AT_FDCWD, path, MIB, &b);

	if (r < 0)
		fail_msg("%s: %s", path, strerror(-r));
	assert_string_equal(b.data, text);
}

/* Reads a file to its end: 0, or what went wrong; every byte must be @c. */
static int read_file(const char *path, char c)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int r = file_read(AT_FDCWD, path, MIB, &b);

	for (size_t i = 0; r == 0 && i < b.len; i++)
		assert_int_equal(b.data[i], c);
	return r;
}

static void drop_caches(void)
{
	sync();
	assert_int_equal(file_write(AT_FDCWD, "/proc/sys/vm/drop_caches", "3"), 0);
}

/* ---- Tests -------------------------------------------------------------------------------- */

static void become_one(unsigned n)
{
	struct disk d;
	struct storage_set set;
	char path[64], text[16];

	make_disk(&d, n);
	struct request *q = request_of(&d, ROOT);
	must_add(q, "c1", &set);
	assert_int_equal(set.n, 1);
	assert_int_equal(mapped(), n);
	file_says(ROOT "/common", "1\n"); /* the lowest number is on top */
	for (unsigned i = 1; i <= n; i++) {
		(void)snprintf(path, sizeof path, ROOT "/layer-%u", i);
		(void)snprintf(text, sizeof text, "%u\n", i);
		file_says(path, text);
	}
	/* the layer on top is written to, and is this container's */
	put_file(ROOT "/common", "new", 3);
	file_says(ROOT "/common", "new");
	storages_release(table, &set);
	nothing_is_left();
	/* and once more: nothing of the first time is seen */
	must_add(q, "c1", &set);
	file_says(ROOT "/common", "1\n");
	storages_release(table, &set);
	nothing_is_left();
	free(q);
	pull_out(&d);
}

static void one_layer(void **state)
{
	become_one(1);
}

static void three_layers(void **state)
{
	become_one(3);
}

static void sixty_four_layers(void **state)
{
	become_one(64);
}

/* As many as a table of partitions has; their names must fit one page of options. */
static void a_full_table_of_layers(void **state)
{
	become_one(128);
}

static void superblocks_are_believed_and_compared(void **state)
{
	struct disk d;
	struct storage_set set;
	struct err e = ERR_INIT;

	make_images(&d, 2, true);
	plug_in(&d, LO_FLAGS_PARTSCAN);
	struct request *q = request_of(&d, ROOT);
	must_add(q, "c1", &set); /* the salt comes from there */
	file_says(ROOT "/layer-2", "2\n");
	storages_release(table, &set);
	option(q, 1, "X-kata.dmverity.salt=00");
	assert_int_equal(add(q, "c1", &set, &e), -EINVAL);
	assert_non_null(strstr(e.text, "dmverity.salt is not what the superblock says"));
	nothing_is_left();
	free(q);
	pull_out(&d);
}

/* Without a partition table, and without a kernel that looks for one. */
static void disks_as_they_are(void **state)
{
	struct disk d, whole;
	struct storage_set set;

	make_images(&d, 2, false);
	plug_in(&d, 0); /* the kernel does not look for partitions */
	make_images(&whole, 1, false);
	(void)snprintf(whole.file, sizeof whole.file, TOP "/whole");
	put_file(whole.file, whole.images[0].data.data, whole.images[0].data.len);
	attach(&whole, LO_FLAGS_READ_ONLY);

	struct request *q = request_of(&d, ROOT);
	must_add(q, "c1", &set);
	file_says(ROOT "/layer-2", "2\n");
	storages_release(table, &set);
	nothing_is_left();
	free(q);

	q = calloc(1, sizeof *q);
	assert_non_null(q);
	size_t i = add_storage(q, whole.device, "erofs", ROOT);
	option(q, i, "X-kata.overlay-lower");
	must_add(q, "c1", &set); /* one layer, not protected */
	assert_int_equal(mapped(), 0);
	file_says(ROOT "/layer-1", "1\n");
	storages_release(table, &set);
	option(q, i, "X-kata.dmverity-enabled=true");
	option(q, i, "X-kata.dmverity.no-superblock=true");
	option(q, i, "X-kata.dmverity.hashoffset=%zu", whole.images[0].hash_offset);
	option(q, i, "X-kata.dmverity.roothash=%s", whole.images[0].root);
	must_add(q, "c1", &set); /* and protected */
	assert_int_equal(mapped(), 1);
	file_says(ROOT "/layer-1", "1\n");
	storages_release(table, &set);
	nothing_is_left();
	free(q);
	pull_out(&whole);
	pull_out(&d);
}

static void an_upper_disk_keeps_what_is_written(void **state)
{
	struct disk d, upper = {.n = 0};
	struct storage_set set;

	make_disk(&d, 2);
	(void)snprintf(upper.file, sizeof upper.file, TOP "/upper-disk");
	int fd = open(upper.file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, 8 * MIB), 0);
	close(fd);
	const char *argv[] = {"/sbin/mkfs.ext4", "-q", "-F", upper.file, NULL};
	test_command(argv);
	attach(&upper, 0);

	struct request *q = calloc(1, sizeof *q);
	assert_non_null(q);
	size_t i = add_storage(q, upper.device, "ext4", ROOT);
	option(q, i, "X-kata.overlay-upper");
	add_lower(q, &d, 1, ROOT);
	add_lower(q, &d, 0, ROOT);
	option(q, 1, "X-kata.mkdir.path={{ mount 0 }}/upper/made/here:0711:7:8");
	option(q, 2, "X-kata.mkdir.path={{ mount 0 }}/work");
	for (int round = 0; round < 2; round++) {
		struct stat st;
		must_add(q, "c1", &set);
		assert_int_equal(stat(ROOT "/made/here", &st), 0);
		assert_int_equal(st.st_mode & 07777, 0711);
		assert_int_equal(st.st_uid, 7);
		assert_int_equal(st.st_gid, 8);
		if (round == 0)
			put_file(ROOT "/written", "kept", 4);
		file_says(ROOT "/written", "kept");
		file_says(ROOT "/layer-2", "2\n");
		storages_release(table, &set);
		nothing_is_left();
	}
	/* a path cannot leave its layer */
	option(q, 2, "X-kata.mkdir.path={{ mount 0 }}/../../../escaped");
	must_add(q, "c1", &set);
	assert_int_equal(access(TOP "/escaped", F_OK), -1);
	assert_int_equal(access(STATE "/escaped", F_OK), -1);
	storages_release(table, &set);
	/* a lower layer cannot be written to */
	struct err e;
	option(q, 2, "X-kata.mkdir.path={{ mount 1 }}/new");
	assert_int_equal(add(q, "c1", &set, &e), -EROFS);
	nothing_is_left();
	free(q);
	upper.images = NULL;
	pull_out(&upper);
	pull_out(&d);
}

static void falsify(char *digit)
{
	*digit = *digit == '0' ? '1' : '0';
}

static void a_wrong_root_hash_is_refused(void **state)
{
	struct disk d;
	struct storage_set set;
	struct err e = ERR_INIT;

	make_disk(&d, 3);
	falsify(&d.images[1].root[5]);
	struct request *q = request_of(&d, ROOT);
	assert_true(add(q, "c1", &set, &e) < 0);
	assert_non_null(strstr(e.text, "layer "));
	assert_non_null(strstr(e.text, "erofs"));
	nothing_is_left();
	free(q);
	pull_out(&d);
}

static void damage_is_never_served(void **state)
{
	/* the file system's superblock; one of the blocks of "big"; its hash */
	static const char *const where[] = {"superblock", "data", "tree"};
	struct disk d;
	struct storage_set set;
	struct err e = ERR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(where); i++) {
		make_images(&d, 3, false);
		struct buf *b = &d.images[1].data;
		size_t at = i == 0 ? 1024 + 4 : 8 * BLOCK + 77;
		if (i == 2)
			at = d.images[1].hash_offset + 8 * 32 + 3;
		b->data[at] = (char)(b->data[at] ^ 1);
		plug_in(&d, LO_FLAGS_PARTSCAN);
		/* layer 2 alone, since layer 1 hides its files */
		struct request *q = calloc(1, sizeof *q);
		assert_non_null(q);
		add_lower(q, &d, 1, ROOT);
		int r = add(q, "c1", &set, &e);
		if (i == 0)
			assert_true(r < 0);
		if (r == 0) {
			drop_caches();
			int failed = read_file(ROOT "/big", 'a' + 2);
			assert_int_equal(failed, -EIO);
			storages_release(table, &set);
		}
		nothing_is_left();
		free(q);
		pull_out(&d);
	}
}

static void a_layer_that_fails_midway_leaves_nothing(void **state)
{
	struct disk d;
	struct storage_set set;
	struct err e = ERR_INIT;

	make_images(&d, 12, false);
	d.without = 7;
	plug_in(&d, LO_FLAGS_PARTSCAN);
	struct request *q = request_of(&d, ROOT);
	assert_int_equal(add(q, "c1", &set, &e), -ENODEV);
	assert_non_null(strstr(e.text, "partition 7"));
	nothing_is_left();
	free(q);
	pull_out(&d);
	/* found, but wrong, when others are mounted already */
	make_disk(&d, 12);
	char right = d.images[11].root[0];
	falsify(&d.images[11].root[0]);
	q = request_of(&d, ROOT);
	assert_true(add(q, "c1", &set, &e) < 0);
	nothing_is_left();
	/* or all mounted, and the overlay fails */
	d.images[11].root[0] = right;
	free(q);
	q = request_of(&d, ROOT);
	option(q, 0, "X-kata.mkdir.path={{ mount 2 }}/x");
	assert_int_equal(add(q, "c1", &set, &e), -EROFS);
	nothing_is_left();
	free(q);
	pull_out(&d);
}

static void containers_share_layers(void **state)
{
	struct disk d;
	struct storage_set a, b;

	make_disk(&d, 3);
	struct request *qa = request_of(&d, ROOT), *qb = request_of(&d, TOP "/other");
	must_add(qa, "c1", &a);
	must_add(qb, "c2", &b);
	assert_int_equal(mapped(), 3);
	put_file(ROOT "/common", "mine", 4);
	file_says(TOP "/other/common", "1\n");
	storages_release(table, &a);
	drop_caches();
	assert_int_equal(mapped(), 3);
	assert_int_equal(read_file(TOP "/other/big", 'a' + 1), 0);
	storages_release(table, &b);
	nothing_is_left();
	free(qa);
	free(qb);
	pull_out(&d);
}

static void a_reader_keeps_its_layers_until_it_ends(void **state)
{
	struct disk d;
	struct storage_set set;

	make_disk(&d, 2);
	struct request *q = request_of(&d, ROOT);
	must_add(q, "c1", &set);
	int fd = open(ROOT "/layer-2", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	storages_release(table, &set);
	assert_int_equal(mounts(), 0);
	assert_int_equal(mapped(), 2);
	char c;
	assert_int_equal(read(fd, &c, 1), 1);
	/* the same layers are wanted anew meanwhile */
	must_add(q, "c1", &set);
	file_says(ROOT "/layer-2", "2\n");
	storages_release(table, &set);
	close(fd);
	for (int i = 0; i < 500 && mapped() > 0; i++)
		(void)usleep(10000);
	nothing_is_left();
	free(q);
	pull_out(&d);
}

static void odd_requests_are_refused(void **state)
{
	static const struct {
		const char *option, *says;
	} cases[] = {
		{"X-kata.dmverity.panic=true", "X-kata.dmverity.panic=true is not known"},
		{"X-kata.dmverity.hashsize=4096", "hash tree"},
		{"X-kata.dmverity.blocksize=8192", "not a multiple"},
		{"X-kata.dmverity.algorithm=md5", "not a value"},
		{"X-kata.dmverity.salt=zz", "not a value"},
		{"X-kata.dmverity.hashtype=2", "not a value"},
		{"X-kata.partition-number=1", "given twice"},
		{"no-such-option", "no-such-option"},
	};
	struct disk d;
	struct storage_set set;
	struct err e = ERR_INIT;

	make_disk(&d, 1);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct request *q = request_of(&d, ROOT);
		option(q, 0, "%s", cases[i].option);
		if (i == 1) /* behind the tree */
			(void)snprintf(q->text[0][7], sizeof q->text[0][7],
				       "X-kata.dmverity.hashoffset=%zu",
				       d.images[0].hash_offset + BLOCK);
		int r = add(q, "c1", &set, &e);
		if (r >= 0 || !(strstr(e.text, cases[i].says) || i == 1))
			fail_msg("%s: %s", cases[i].option, e.text);
		nothing_is_left();
		free(q);
	}
	pull_out(&d);
}

static void overlays_of_directories(void **state)
{
	Grpc__Storage s = GRPC__STORAGE__INIT, *v[] = {&s};
	char lower[] = "lowerdir=" TOP "/l1:" TOP "/l2",
	     rw[] = "io.katacontainers.fs-opt.overlay-rw";
	char create[] = "io.katacontainers.volume.overlayfs.create_directory=" TOP "/l2/made";
	char unknown[] = "io.katacontainers.other=1";
	char *options[] = {lower, rw}, *driver_options[] = {create, unknown};
	struct storage_set set;
	struct err e = ERR_INIT;

	assert_int_equal(mkdir_parents(TOP "/l1", 0755), 0);
	assert_int_equal(mkdir_parents(TOP "/l2", 0755), 0);
	put_file(TOP "/l1/file", "1", 1);
	s.driver = (char *)"overlayfs";
	s.fstype = s.source = (char *)"overlay";
	s.mount_point = (char *)ROOT;
	s.options = options;
	s.n_options = 1;
	s.driver_options = driver_options;
	s.n_driver_options = 1;
	assert_int_equal(storages_add(table, "c1", v, 1, &set, &e), 0);
	assert_int_equal(access(ROOT "/made", F_OK), 0);
	file_says(ROOT "/file", "1");
	assert_int_equal(open(ROOT "/new", O_CREAT | O_WRONLY, 0600), -1);
	storages_release(table, &set);
	s.n_options = 2;
	assert_int_equal(storages_add(table, "c1", v, 1, &set, &e), 0);
	put_file(ROOT "/file", "2", 1);
	file_says(TOP "/l1/file", "1");
	storages_release(table, &set);
	nothing_is_left();
	assert_int_equal(storages_add(table, NULL, v, 1, &set, &e), -EINVAL);
	s.n_driver_options = 2;
	assert_int_equal(storages_add(table, "c1", v, 1, &set, &e), -EINVAL);
	nothing_is_left();
	assert_int_equal(remove_tree(TOP "/l1"), 0);
	assert_int_equal(remove_tree(TOP "/l2"), 0);
}

/* ---- Times -------------------------------------------------------------------------------- */

static void bench(void **state)
{
	static const unsigned sizes[] = {1, 8, 64};
	struct disk d;
	struct storage_set set;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		make_disk(&d, sizes[i]);
		struct request *q = request_of(&d, ROOT);
		for (int round = 0; round < 3; round++) {
			uint64_t begin = time_now_ms();
			must_add(q, "c1", &set);
			uint64_t made = time_now_ms();
			storages_release(table, &set);
			printf("%2u layers: made in %4llu ms, removed in %4llu ms\n", sizes[i],
			       (unsigned long long)(made - begin),
			       (unsigned long long)(time_now_ms() - made));
		}
		free(q);
		pull_out(&d);
	}
}

static int setup(void **state)
{
	struct devices_options o = {.sysfs = NULL};
	struct storage_env env = {.state_dir = STATE};
	struct err e = ERR_INIT;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -1;
	(void)mkdir(TOP, 0755);
	/* an overlay's upper layer cannot be on an overlay */
	if (mount("tmpfs", TOP, "tmpfs", 0, NULL) < 0 ||
	    modules_new("/nonexistent", &modules, &e) < 0)
		return -1;
	o.modules = modules;
	if (devices_new(&o, &devices, &e) < 0)
		return -1;
	env.modules = modules;
	env.devices = devices;
	return storage_table_new(&env, &table);
}

static int teardown(void **state)
{
	storage_table_free(table);
	devices_free(devices);
	modules_free(modules);
	return umount(TOP);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_layer),
		cmocka_unit_test(three_layers),
		cmocka_unit_test(sixty_four_layers),
		cmocka_unit_test(a_full_table_of_layers),
		cmocka_unit_test(superblocks_are_believed_and_compared),
		cmocka_unit_test(disks_as_they_are),
		cmocka_unit_test(an_upper_disk_keeps_what_is_written),
		cmocka_unit_test(a_wrong_root_hash_is_refused),
		cmocka_unit_test(damage_is_never_served),
		cmocka_unit_test(a_layer_that_fails_midway_leaves_nothing),
		cmocka_unit_test(containers_share_layers),
		cmocka_unit_test(a_reader_keeps_its_layers_until_it_ends),
		cmocka_unit_test(odd_requests_are_refused),
		cmocka_unit_test(overlays_of_directories),
	};
	static const struct CMUnitTest bench_tests[] = {cmocka_unit_test(bench)};

	if (argc == 2 && strcmp(argv[1], "--bench") == 0)
		return cmocka_run_group_tests(bench_tests, setup, teardown);
	return cmocka_run_group_tests(tests, setup, teardown);
}
