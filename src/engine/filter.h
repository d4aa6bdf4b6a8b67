/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spec's seccomp profile as a BPF program. Compiling takes milliseconds, so it happens once per
 * container, on the worker that makes it; every exec reuses the bytes. Any thread.
 */
#pragma once

#include "base/err.h"
#include "engine/job.h"

/**
 * Compiles. System calls that the library does not know are left out, as profiles name many that
 * are newer or of other machines; everything else unknown is refused. Where the default is a
 * refusal, calls beyond the highest that the profile names are ENOSYS. @ret->code is malloc'ed.
 */
int engine_seccomp_compile(const struct oci_seccomp *s, struct engine_bpf *ret, struct err *e);

/** Whether loading it makes a descriptor for a listener (SCMP_ACT_NOTIFY). */
bool engine_seccomp_notifies(const struct engine_bpf *bpf);

/**
 * Installs it in the calling thread. Needs no_new_privs or CAP_SYS_ADMIN. Returns -errno, or the
 * listener's descriptor (close-on-exec) if there is one, else 0.
 */
int engine_seccomp_load(const struct engine_bpf *bpf);
