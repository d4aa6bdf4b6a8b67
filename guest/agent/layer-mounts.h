/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounted layers, which containers share: one that several name is mapped and mounted once,
 * counted, and taken down with its last user. So is the memory that its pages fill. Any thread; who
 * wants a layer that another thread is mounting waits for it.
 */
#pragma once

#include "base/err.h"
#include "base/list.h"

#include <stdbool.h>
#include <sys/types.h>

struct layer_mounts;

struct layer_mount {
	struct list link;
	char *key; /* what is mounted and how: two of one key are one */
	unsigned refs;
	bool ready; /* neither being mounted nor unmounted */

	char path[160]; /* where it is mounted */
	bool mounted;
	char mapped[128]; /* name of the device-mapper's device, "" for none */
	dev_t mapped_dev;
};

/** How layers are made and unmade; another in tests. */
struct layer_mount_ops {
	/* Sets @m up; what it did by half is undone by unmount(), which is called after a failure
	 * too. @what is the caller's. */
	int (*mount)(struct layer_mount *m, const void *what, struct err *e);
	void (*unmount)(struct layer_mount *m);
};

/** @dir: where mount points are made; it is made with the first. */
int layer_mounts_new(const char *dir, const struct layer_mount_ops *ops, struct layer_mounts **ret);
/** There must be no users left. */
void layer_mounts_free(struct layer_mounts *t);

/** Gets the layer of that key: the one that is there, or a new one, made of @what. */
int layer_mounts_get(struct layer_mounts *t, const char *key, const void *what,
		     struct layer_mount **ret, struct err *e);
void layer_mounts_put(struct layer_mounts *t, struct layer_mount *m);
