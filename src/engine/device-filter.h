/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which devices a container may open and make: a BPF program on its cgroup (version 2 has no
 * device controller of files). Refuses what no rule allows; the last matching rule counts; the
 * devices that every container has are always allowed, and to make a node never harms by itself.
 */
#pragma once

#include "base/err.h"
#include "oci/spec.h"

#include <linux/bpf.h>

/* 4096 rules are more than there are devices; and 9 instructions a rule stay far below the
 * verifier's million. */
#define ENGINE_DEVICE_RULES_MAX 4096

/**
 * Generates the program. *@ret is malloc'ed; NULL if everything is allowed, so that none is
 * needed. -E2BIG.
 */
int engine_device_program(const struct oci_device_rule *rules, size_t n, struct bpf_insn **ret,
			  size_t *ret_n, struct err *e);

/**
 * Puts the program on the cgroup, in the place of @replace_fd (-1: none). Returns its descriptor,
 * -EBADF if none is needed, or -EOPNOTSUPP if this kernel or our rights do not allow programs on
 * cgroups.
 */
int engine_device_attach(const char *cgroup_dir, const struct oci_device_rule *rules, size_t n,
			 int replace_fd, struct err *e);
