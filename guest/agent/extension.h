/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest extension images: disks that add files to the guest, named on the kernel's command line as
 * kata.extension.NAME.verity_params[=root_hash=...,salt=...,data_blocks=...]. The disk of the
 * serial extension-NAME has an EROFS on its first partition, and the hash tree that protects it on
 * its second; it is mounted at EXTENSIONS_DIR/NAME.
 *
 * A disk with a hash tree is mounted only by a root hash, and a root hash is for a disk with a tree
 * only: a host that takes one of both away gets no guest. Bare words are for images that are built
 * without. A protected extension that is damaged gives no wrong data: what is wrong cannot be read.
 *
 * Specification: Kata Containers, docs/design/composable-vm-images.md. PID 1 only, before the loop
 * runs.
 */
#pragma once

#include "base/err.h"
#include "guest/agent/modules.h"
#include "sys/verity.h"

#include <stdbool.h>
#include <stdint.h>

#define EXTENSIONS_DIR "/run/kata-extensions"
#define EXTENSIONS_MAX 16
/* A serial of virtio-blk has 20 bytes, which leaves 10; other disks have longer ones. */
#define EXTENSION_NAME_MAX 63

struct extension {
	char name[EXTENSION_NAME_MAX + 1]; /* letters, digits, "_", "-" */
	bool verified;			   /* else the words are bare */
	struct verity verity;
};

struct extensions {
	struct extension v[EXTENSIONS_MAX];
	size_t n;
};

/**
 * Reads a kernel's command line. Pure. A word of the family that is not understood is refused: it
 * may be one that protects.
 */
int extensions_parse(const char *cmdline, struct extensions *ret, struct err *e);

/**
 * Mounts all of them in the order given, each waited for until the deadline has passed. Any failure
 * means that the guest must not serve. Loads modules.
 */
int extensions_mount(const struct extensions *x, struct modules *m, uint64_t timeout_ms,
		     struct err *e);

/** The disk of that serial: its name ("vdb"). @sysfs: "/sys". -ENODEV: there is none. */
int extension_find_disk(const char *sysfs, const char *serial, char ret[32]);
