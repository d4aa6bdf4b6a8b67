/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's share of the processors' caches and memory bandwidth: linux.intelRdt, by resctrl
 * (Documentation/arch/x86/resctrl.rst). Processes in a group have their children there, too.
 */
#pragma once

#include "base/err.h"
#include "oci/spec.h"

#include <sys/types.h>

struct engine_rdt {
	char *group;   /* a directory of resctrl, or NULL: none */
	char *monitor; /* one of its mon_groups, or NULL; ours */
	bool made;     /* the group is ours */
};

#define ENGINE_RDT_INIT ((struct engine_rdt){.group = NULL})

/** Where resctrl is mounted; NULL: it is not. */
const char *engine_rdt_root(void);

/**
 * Makes the container's group below @root and gives it its share, or finds the one that closID
 * names: that must have the share already. *@ret is to be removed also on failure. -EOPNOTSUPP:
 * @root is NULL; -EINVAL: a name that is none, or another share; -ENOENT: closID names nothing.
 */
int engine_rdt_make(const char *root, const char *id, const struct oci_intel_rdt *spec,
		    struct engine_rdt *ret, struct err *e);
/** Nothing without a group. */
int engine_rdt_add(const struct engine_rdt *g, pid_t pid, struct err *e);
/** Removes what was made, and frees; on failure it stays, to be tried again. */
int engine_rdt_remove(struct engine_rdt *g, struct err *e);
