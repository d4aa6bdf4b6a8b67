/* SPDX-License-Identifier: Apache-2.0 */
/* The namespaces of a spec as clone(2) and setns(2) want them. */
#pragma once

#include "base/err.h"
#include "oci/spec.h"

#define ENGINE_NAMESPACES 8 /* one of each enum oci_ns_type */

const char *engine_namespace_name(enum oci_ns_type type); /* as below /proc/<pid>/ns */
uint64_t engine_namespace_flag(enum oci_ns_type type);	  /* CLONE_NEW* */

/** Is the namespace at @path the one that the engine is in? */
bool engine_namespace_is_own(enum oci_ns_type type, const char *path);

struct engine_namespaces {
	uint64_t create; /* CLONE_NEW* to make */
	uint64_t join;	 /* CLONE_NEW* of those that exist already */
	struct {
		uint64_t flag;
		int fd; /* owned */
	} joined[ENGINE_NAMESPACES];
	size_t n_joined;
};

/**
 * Sorts them out and opens those with a path. A container always gets a mount namespace. Types
 * given twice and paths that are no namespace of that type are refused.
 */
int engine_namespaces_open(const struct oci_spec *s, struct engine_namespaces *ret, struct err *e);
void engine_namespaces_close(struct engine_namespaces *n);
