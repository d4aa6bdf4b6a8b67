/* SPDX-License-Identifier: Apache-2.0 */
/* Who the process is: user, groups, capabilities. For a child with one thread; raw system calls. */
#pragma once

#include "base/err.h"
#include "oci/spec.h"

/* Sets of capabilities, as capset(2) takes them. */
struct engine_caps {
	uint64_t effective, permitted, inheritable;
};

/**
 * Becomes the user with the capabilities of the process. What the engine itself does not have
 * cannot be given and is left out. With @keep_admin CAP_SYS_ADMIN stays permitted (not effective),
 * so that a seccomp filter can be installed later without no_new_privs. @ret_final is what
 * engine_creds_finish() will leave. @proc_fd is the engine's own /proc. -EPERM: among others, for
 * additional groups in a user namespace that denies setgroups(2).
 */
int engine_creds_apply(int proc_fd, const struct oci_process *p, bool keep_admin,
		       struct engine_caps *ret_final, struct err *e);

/** Makes CAP_SYS_ADMIN effective, after engine_creds_apply() with @keep_admin. */
int engine_creds_raise_admin(const struct engine_caps *final);
/** Drops what @keep_admin kept: one capset(2), nothing else. */
int engine_creds_finish(const struct engine_caps *final);
