/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/test-disk.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/testing.h"
#include "io/child.h"
#include "sys/gpt.h"

#include <fcntl.h>
#include <sha256.h>
#include <string.h>

#define SECTOR 512
#define MIB (1 << 20)

void test_command(const char *const *argv)
{
	struct child_spec spec = CHILD_SPEC_INIT;
	struct child c = CHILD_INIT;
	struct err e = ERR_INIT;
	int status = -1;

	spec.argv = argv;
	if (child_spawn(&spec, &c, &e) < 0)
		fail_msg("%s", e.text);
	if (child_wait(&c, time_deadline(120000), &status) < 0 || status != 0)
		fail_msg("%s ended with %d", argv[0], status);
	child_destroy(&c);
}

/* ---- Images ------------------------------------------------------------------------------- */

/*
 * The tree of one level that 128 blocks or fewer have: its root is the hash of one block. A single
 * block has none, and is itself what is hashed.
 */
static void add_tree(struct image *im)
{
	uint8_t block[DISK_BLOCK] = {0}, root[32];
	SHA256_CTX c;

	size_t blocks = im->data.len / DISK_BLOCK;
	assert_true(blocks > 0 && blocks <= 128);
	for (size_t i = 0; i < blocks; i++) {
		SHA256_Init(&c);
		SHA256_Update(&c, (const uint8_t *)im->data.data + i * DISK_BLOCK, DISK_BLOCK);
		SHA256_Final(block + i * 32, &c);
	}
	SHA256_Init(&c);
	SHA256_Update(&c, blocks == 1 ? (const uint8_t *)im->data.data : block, DISK_BLOCK);
	SHA256_Final(root, &c);
	for (int i = 0; i < 32; i++)
		(void)snprintf(im->root + 2 * i, 3, "%02x", root[i]);
	im->hash_offset = im->data.len;
	if (blocks > 1)
		buf_append(&im->data, block, DISK_BLOCK);
}

/* By veritysetup, with its superblock and a salt. */
static void add_tree_with_superblock(struct image *im, const char *dir)
{
	char path[160], root_path[160], offset[48], blocks[48], hash_file[200];
	_cleanup_buf_ struct buf root = BUF_INIT;

	im->hash_offset = im->data.len;
	(void)snprintf(path, sizeof path, "%s/image.verity", dir);
	(void)snprintf(root_path, sizeof root_path, "%s/root-hash", dir);
	(void)snprintf(hash_file, sizeof hash_file, "--root-hash-file=%s", root_path);
	(void)snprintf(offset, sizeof offset, "--hash-offset=%zu", im->hash_offset);
	(void)snprintf(blocks, sizeof blocks, "--data-blocks=%zu", im->hash_offset / DISK_BLOCK);
	assert_int_equal(file_replace(path, im->data.data, im->data.len, 0644), 0);
	const char *argv[] = {
		"/usr/sbin/veritysetup", "format", path, path, offset, blocks, hash_file, NULL};
	test_command(argv);
	buf_clear(&im->data);
	assert_int_equal(file_read(AT_FDCWD, path, 64 * MIB, &im->data), 0);
	assert_int_equal(file_read(AT_FDCWD, root_path, 100, &root), 0);
	assert_true(root.len >= 64);
	memcpy(im->root, root.data, 64);
	im->superblock = true;
	(void)unlink(path);
	(void)unlink(root_path);
}

void image_make(struct image *im, const char *tree, bool superblock, const char *dir)
{
	char path[160];

	memset(im, 0, sizeof *im);
	(void)snprintf(path, sizeof path, "%s/image", dir);
	const char *argv[] = {"/usr/bin/mkfs.erofs", "--quiet", "-T0", path, tree, NULL};
	test_command(argv);
	assert_int_equal(file_read(AT_FDCWD, path, 64 * MIB, &im->data), 0);
	assert_int_equal(im->data.len % DISK_BLOCK, 0);
	(void)unlink(path);
	if (superblock)
		add_tree_with_superblock(im, dir);
	else
		add_tree(im);
}

void image_free(struct image *im)
{
	buf_free(&im->data);
}

/* ---- Disks -------------------------------------------------------------------------------- */

static void put_le(uint8_t *p, uint64_t n, int bytes)
{
	for (int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(n >> (8 * i));
}

/* As a runtime makes it: only the primary table, and partitions at multiples of 1 MiB. */
static void write_table(int fd, const struct image *v, const uint64_t *at, unsigned n,
			unsigned without, uint64_t sectors)
{
	static uint8_t mbr[SECTOR], h[SECTOR], table[128 * 128];

	memset(mbr, 0, sizeof mbr);
	memset(h, 0, sizeof h);
	memset(table, 0, sizeof table);
	mbr[447 + 3] = 0xee;
	put_le(mbr + 446 + 8, 1, 4);
	put_le(mbr + 446 + 12, sectors - 1, 4);
	mbr[510] = 0x55;
	mbr[511] = 0xaa;
	static const uint8_t linux_fs[16] = {0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47,
					     0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4};
	for (unsigned i = 0; i < n; i++) {
		uint8_t *p = table + (size_t)i * 128;
		if (i + 1 == without)
			continue;
		memcpy(p, linux_fs, 16);
		memset(p + 16, (int)i + 1, 16);
		put_le(p + 32, at[i] / SECTOR, 8);
		put_le(p + 40, (at[i] + v[i].data.len) / SECTOR - 1, 8);
	}
	memcpy(h, "EFI PART\0\0\1\0\x5c\0\0\0", 16);
	put_le(h + 24, 1, 8);
	put_le(h + 32, sectors, 8);
	put_le(h + 40, 34, 8);
	put_le(h + 48, sectors - 1, 8);
	put_le(h + 72, 2, 8);
	put_le(h + 80, 128, 4);
	put_le(h + 84, 128, 4);
	put_le(h + 88, gpt_crc32(table, sizeof table), 4);
	put_le(h + 16, gpt_crc32(h, 92), 4);
	assert_int_equal(pwrite(fd, mbr, sizeof mbr, 0), sizeof mbr);
	assert_int_equal(pwrite(fd, h, sizeof h, SECTOR), sizeof h);
	assert_int_equal(pwrite(fd, table, sizeof table, 2L * SECTOR), sizeof table);
}

void disk_write(const char *path, const struct image *v, unsigned n, unsigned without)
{
	uint64_t at[DISK_IMAGES_MAX], end = MIB;

	assert_true(n <= DISK_IMAGES_MAX);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	for (unsigned i = 0; i < n; i++) {
		const struct buf *b = &v[i].data;
		at[i] = end;
		assert_int_equal(pwrite(fd, b->data, b->len, (off_t)end), b->len);
		end += (b->len + MIB - 1) / MIB * MIB;
	}
	assert_int_equal(ftruncate(fd, (off_t)end), 0);
	write_table(fd, v, at, n, without, end / SECTOR);
	(void)close(fd);
}
