/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is freed together: chunks that small things are cut from, one after the other. A
 * parsed spec is some hundred strings and arrays that live and die as one.
 *
 * All memory is zeroed. One thread at a time.
 */
#pragma once

#include "oci/spec.h"

#include <stddef.h>

/* The most that one arena hands out. A spec that the limits on its text let through needs less; it
 * is the last line when a limit was forgotten. */
#define OCI_ARENA_MAX (64u << 20)

/** Returns NULL when memory runs out. */
struct oci_arena *oci_arena_new(void);
/** Frees everything that came from it. NULL is fine. */
void oci_arena_free(struct oci_arena *a);

/** Zeroed memory for @n things of @size bytes, never NULL for n == 0; NULL: no memory left. */
void *oci_arena_array(struct oci_arena *a, size_t n, size_t size);
void *oci_arena_alloc(struct oci_arena *a, size_t size);
/** Copies. A NULL string stays NULL, which cannot be told from a failure: test before. */
char *oci_arena_strdup(struct oci_arena *a, const char *s);
/** Makes room for @n strings and the NULL after them; the strings are the caller's to set. */
int oci_arena_strv(struct oci_arena *a, size_t n, struct oci_strv *ret);

/** A mount's destination: a relative one, which older specs allowed, is taken from the root. */
char *oci_mount_destination(struct oci_arena *a, const char *path);

static inline void oci_arena_freep(struct oci_arena **a)
{
	oci_arena_free(*a);
}
#define _cleanup_arena_ _cleanup_(oci_arena_freep)
