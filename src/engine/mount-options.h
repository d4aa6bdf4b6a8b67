/* SPDX-License-Identifier: Apache-2.0 */
/* The options of an OCI mount: which are flags, which are the filesystem's. Pure. */
#pragma once

#include "base/err.h"
#include "oci/spec.h"
#include "sys/mountfd.h"

/* A mount of the spec has a handful; more is an error of whoever wrote it. */
#define MOUNT_OPTIONS_MAX 64

struct engine_mount_options {
	bool bind, recursive; /* "bind", "rbind" */
	bool remount;
	uint64_t attr_set, attr_clear; /* MOUNT_ATTR_* of the mount itself */
	uint64_t rec_set, rec_clear;   /* the same for the whole tree: "rro" and friends */
	unsigned long propagation;     /* MS_SHARED...; 0: not given */
	bool propagation_recursive;
	bool idmap, idmap_recursive;		       /* "idmap", "ridmap" */
	bool copy_up;				       /* "tmpcopyup" */
	struct mountfd_option data[MOUNT_OPTIONS_MAX]; /* borrowed from the strings below */
	size_t n_data;
	char *strings;	    /* owned */
	bool data_too_long; /* for fsconfig(2), which takes 255 bytes a value */
};

#define ENGINE_MOUNT_OPTIONS_INIT ((struct engine_mount_options){.strings = NULL})

int engine_mount_options_parse(const struct oci_strv *options, struct engine_mount_options *ret,
			       struct err *e);
void engine_mount_options_free(struct engine_mount_options *o);
