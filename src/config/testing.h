/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of config/ share: a directory with the files that a configuration names, a machine
 * of known size, and the warnings of the last load. Tests only.
 */
#pragma once

#include "base/testing.h"
#include "config/internal.h"

/** In the temporary directory: kernel, initrd, image, firmware, qemu, virtiofsd. */
int config_test_setup(void **state);
int config_test_teardown(void **state);
/** The directory, its links resolved. */
extern char config_test_dir[256];
/** 4 processors and 8192 MiB. */
extern struct config_host config_test_host;
/** The warnings of the last load, one a line. */
extern struct buf config_test_warnings;

/** Writes @text, in which each "@@" stands for the directory, to a file below the directory. */
void config_test_write(const char *name, const char *text);

/** A configuration for qemu that loads; [hypervisor.qemu] comes last, so keys can be appended. */
extern const char config_test_qemu[];
/** The shortest one there is, for `fake`, likewise. */
extern const char config_test_fake[];

/** Loads @base followed by @more ("@@" is the directory) with annotations (may be NULL). */
int config_test_load(const char *base, const char *more, const char *const *annotations,
		     struct kata_config **ret, struct err *e);
/** The same; the load must succeed, or fail with a sentence that has @sentence in it. */
struct kata_config *config_test_loads(const char *base, const char *more,
				      const char *const *annotations);
void config_test_fails(const char *base, const char *more, const char *const *annotations,
		       const char *sentence);
/** The last load's warnings have @text ("@@" is the directory) in them. */
void config_test_warned(const char *text);
void config_test_no_warning(void);

DEFINE_CLEANUP(struct kata_config, config_free)
#define _cleanup_config_ _cleanup_(config_free_p)
