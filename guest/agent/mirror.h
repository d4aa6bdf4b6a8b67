/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small directory, and a copy of it that follows: for ConfigMaps and Secrets, which kubelet
 * changes on the host while the guest's kernel learns of nothing.
 *
 * The original is only read; links in it are copied as such and never followed. The copy may be
 * written to by containers, so nothing in it is followed either. Each file and link changes in one
 * step, and a directory that kubelet swaps by its link "..data" is swapped here in the same way: a
 * reader sees all of the old or all of the new. What is gone from the original goes last.
 *
 * For workers; one thread at a time.
 */
#pragma once

#include "base/err.h"

#include <stdint.h>

struct mirror;

struct mirror_limits {
	size_t files;
	uint64_t bytes;
};

/** @target is an empty directory, held open from here on. Copies nothing yet. */
int mirror_new(const char *source, const char *target, struct mirror **ret, struct err *e);
/** NULL is fine. The copy stays. */
void mirror_free(struct mirror *m);
/**
 * Looks at the original and brings the copy up to date. Any difference counts, not only a later
 * time: what is swapped in may be older. Returns 1 if something was changed, else 0. -E2BIG: there
 * is more than @limits allow, and nothing was changed. After any failure the copy may be partly
 * new, and the next call tries again.
 */
int mirror_update(struct mirror *m, const struct mirror_limits *limits, struct err *e);
