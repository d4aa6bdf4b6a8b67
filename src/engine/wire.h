/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What engine, launcher and child say to each other. All are the same program.
 *
 * Per process there is one memfd and one socket pair. The memfd is a page for the report, then the
 * encoded job. The report is shared memory, so that a child whose seccomp filter forbids to write
 * can still say why it failed. The socket's end in the child is close-on-exec: its end of file
 * means that the child has exec'ed, or ended; the report tells which.
 *
 *	engine -> launcher	struct launch_request + descriptors
 *	launcher -> engine	HELPER + pidfd	(only when namespaces are joined)
 *				PID + pidfd
 *	engine -> child		TREE + mount	for each that the child cannot take itself
 *	engine -> child		GO		id maps are written
 *	child -> engine		FILESYSTEM + it	for each that the child may not make
 *	engine -> child		TREE + mount
 *	child -> engine		PTY + master	(only with a terminal)
 *	child -> engine		MOUNTED		(only with createRuntime hooks)
 *	engine -> child		GO
 *	child -> engine		READY		all but exec has happened
 *	engine -> child		GO		exec now
 */
#pragma once

#include "base/err.h"
#include "engine/namespaces.h"

#include <stdint.h>

enum engine_msg_type {
	ENGINE_MSG_HELPER = 1,
	ENGINE_MSG_PID,
	ENGINE_MSG_GO,
	ENGINE_MSG_PTY,
	ENGINE_MSG_MOUNTED,
	ENGINE_MSG_READY,
	ENGINE_MSG_TREE,       /* its pid is the number of the mount, or -1 for the root */
	ENGINE_MSG_FILESYSTEM, /* the TREE's pid is a negative errno, if it has no descriptor */
};

struct engine_msg {
	uint32_t type;
	int32_t pid;
};

/* How far a child has come. */
enum engine_stage {
	ENGINE_STAGE_LAUNCH,
	ENGINE_STAGE_NAMESPACES,
	ENGINE_STAGE_ROOTFS,
	ENGINE_STAGE_MOUNTS,
	ENGINE_STAGE_DEVICES,
	ENGINE_STAGE_TERMINAL,
	ENGINE_STAGE_HOOKS,
	ENGINE_STAGE_PIVOT,
	ENGINE_STAGE_KERNEL, /* names, sysctls */
	ENGINE_STAGE_CREDENTIALS,
	ENGINE_STAGE_PROGRAM,
	ENGINE_STAGE_WAIT,
	ENGINE_STAGE_EXEC, /* the last thing before execve(2) */
};

struct engine_report {
	uint32_t stage;
	int32_t errnum; /* positive; 0: no failure */
	int32_t status;
	/*
	 * Of a filter with a listener: what the child has of it, plus one; and that the engine has
	 * handed it on. Words rather than messages, as the filter may forbid every call, and the
	 * listener, which could allow them, is not there yet.
	 */
	_Atomic uint32_t listener, listener_handed;
	uint32_t unconfined; /* an AppArmor profile was left out */
	char text[ERR_TEXT_MAX];
};

#define ENGINE_REPORT_SIZE 4096 /* where the job begins in the memfd */

/* With it come, in this order: socket, memfd, stdin, stdout, stderr, the cgroup's directory if
 * has_cgroup, and n_join descriptors of namespaces (or of a process, for several at once). */
struct launch_request {
	uint64_t clone_flags; /* CLONE_NEW* of the new process */
	uint64_t join_flags[ENGINE_NAMESPACES];
	uint32_t n_join;
	uint32_t has_cgroup;
	struct launch_offset {
		uint32_t present, nanosecs;
		int64_t secs;
	} monotonic, boottime; /* of a new time namespace */
	uint64_t job_len;
};

#define LAUNCH_FDS_MIN 5
#define LAUNCH_FDS_MAX (LAUNCH_FDS_MIN + 1 + ENGINE_NAMESPACES)
