/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layers of one container's root file system, as the runtime names them: several Storages with
 * X-kata.* options that together are one overlay. Pure: what the options say, held against each
 * other. An option of that family that is not known is refused, since it may be one that protects.
 */
#pragma once

#include "base/err.h"
#include "oci/spec.h"
#include "proto/agent.pb-c.h"
#include "sys/verity.h"

#include <stdbool.h>

/* The table of partitions that holds a runtime's layers has 128 entries. */
#define LAYERS_MAX 128
#define LAYER_MKDIRS_MAX 64

/** One Storage of a group. Borrows from it. */
struct layer {
	const Grpc__Storage *s;
	bool upper;
	unsigned partition; /* of a disk with a partition table; 0: the disk as a whole */

	bool verity;
	unsigned given;	    /* which options there were; private to layer.c */
	struct verity said; /* by the options */
	uint64_t hash_offset;
	bool no_superblock;

	struct oci_strv options; /* of the file system */
};

/** A directory that shall exist before the overlay is mounted. */
struct layer_mkdir {
	unsigned mount; /* 0: in the upper layer, N: in the Nth lower one */
	char *path;
	mode_t mode;
	uid_t uid;
	gid_t gid;
};

struct layer_group {
	struct layer *lowers; /* the topmost first */
	size_t n_lowers;
	struct layer upper; /* if has_upper: a disk; else the agent's own directory */
	bool has_upper;
	struct layer_mkdir *mkdirs;
	size_t n_mkdirs;
	const Grpc__Storage *target; /* whose mount point is the overlay's */
};

/** Whether this Storage is one of a group. */
bool layer_is_one(const Grpc__Storage *s);

/**
 * By which driver a Storage's disk is found (device.h): its own, but that of layers does not say by
 * which bus, and the source's form does.
 */
const char *layer_device_driver(const Grpc__Storage *s);

/** Understands all layers among @v as one group. Free it also after a failure. */
int layer_group_parse(Grpc__Storage *const *v, size_t n, struct layer_group *ret, struct err *e);
void layer_group_free(struct layer_group *g);

/**
 * What protects a layer: what the options say, completed by the superblock, which must not
 * contradict. @superblock: VERITY_SUPERBLOCK_BYTES at the layer's hash_offset; not read if the
 * options say that there is none. Checked against the device.
 */
int layer_verity(const struct layer *l, const void *superblock, uint64_t device_bytes,
		 struct verity *ret, struct err *e);
