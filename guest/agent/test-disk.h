/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: disks of image layers, as a runtime puts them together. A failure fails the test. */
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define DISK_BLOCK 4096
#define DISK_IMAGES_MAX 128

/** An EROFS with its hash tree behind it. */
struct image {
	struct buf data;
	size_t hash_offset; /* where the superblock or the tree begins */
	char root[65];
	bool superblock;
};

/**
 * Makes one of the tree at @tree, by mkfs.erofs. The hash tree is veritysetup's, with a superblock
 * and a salt, or without both, which a small image can have alone. @dir is for files meanwhile.
 */
void image_make(struct image *im, const char *tree, bool superblock, const char *dir);
void image_free(struct image *im);

/**
 * Writes a disk with a partition for each image, the first being number 1; but for number @without
 * (0: none), which its table does not have.
 */
void disk_write(const char *path, const struct image *v, unsigned n, unsigned without);

/** Runs a program, which must succeed. */
void test_command(const char *const *argv);
