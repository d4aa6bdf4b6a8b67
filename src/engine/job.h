/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a new process is told: the part of the spec that it applies to itself, in one block of
 * bytes. The engine encodes, the child (a fork of the launcher) decodes; both are the same program,
 * so the format has no version. The decoder trusts no length all the same.
 *
 * Encoding and decoding are one function per structure, so that they cannot disagree.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "oci/spec.h"

/* A spec that a 4 MiB request can carry, with a full seccomp program (32 KiB), fits easily. */
#define ENGINE_JOB_MAX (8u << 20)

enum engine_job_kind {
	ENGINE_JOB_CREATE = 1,
	ENGINE_JOB_EXEC = 2,
};

struct engine_bpf {
	uint8_t *code;	/* struct sock_filter[] */
	size_t n;	/* of bytes; 0: no filter */
	uint32_t flags; /* SECCOMP_FILTER_FLAG_* */
};

struct engine_job {
	uint32_t kind; /* enum engine_job_kind */
	char *id;
	char *rootfs; /* create; absolute */
	char *bundle; /* create; for hooks */
	/* create; the container's own, or NULL: see struct cgroup of sys/cgroup.h */
	char *cgroup_root, *cgroup_relative;
	bool cgroup_v1;
	bool uts_ns, cgroup_ns, user_ns; /* one of its own, new or joined */
	bool new_uts, new_cgroup_ns;
	bool apparmor_optional; /* a profile that is not there is left out */
	bool sync_hooks;	/* wait for the engine after the mounts */
	/*
	 * Of the spec: process (also an exec's), mounts, devices, sysctl, paths, names, hooks to
	 * run in the container with the annotations that they are told. The rest is zero after
	 * decoding.
	 */
	struct oci_spec spec;
	struct engine_bpf bpf;

	struct engine_job_chunk *chunks; /* what decoding allocated */
};

/** Appends the job's bytes. -ENOMEM, -E2BIG beyond ENGINE_JOB_MAX. */
int engine_job_encode(const struct engine_job *job, struct buf *out);
/** Everything in @ret is copied. -EBADMSG for anything that the encoder would not write. */
int engine_job_decode(const void *data, size_t len, struct engine_job *ret);
/** Frees what decoding allocated. */
void engine_job_deinit(struct engine_job *job);
