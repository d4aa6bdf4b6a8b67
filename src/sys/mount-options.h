/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mount option words, as OCI specs, containerd and fstab(5) spell them.
 * Source: mount(8) and the runtime-spec's "Linux mount options"; flags of sys/mount.h.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

struct mount_options {
	unsigned long flags;	   /* MS_*, without propagation */
	unsigned long clear;	   /* flags that a word asked to clear ("rw", "suid"...) */
	unsigned long propagation; /* MS_SHARED..., with MS_REC for the r- forms; 0: none asked */
	struct buf data;	   /* the words that are the file system's own, comma-joined */
};

#define MOUNT_OPTIONS_INIT ((struct mount_options){.data = BUF_INIT})

/** Splits option words. "loop" is refused. On failure @ret still wants freeing. */
int mount_options_parse(char *const *words, size_t n, struct mount_options *ret, struct err *e);
void mount_options_free(struct mount_options *o);
