/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's side of making one process: sends it to the launcher, follows its steps. */
#pragma once

#include "engine/engine.h"
#include "engine/job.h"
#include "engine/wire.h"

struct engine_launch {
	int conn;
	struct engine_report *report; /* shared with the child */
	size_t shared_len;
	pid_t pid;
	int pidfd; /* -EBADF until known */
	int pty;
	int proc_fd; /* its directory below /proc, once its pid is known */
};

#define ENGINE_LAUNCH_INIT \
	((struct engine_launch){.conn = -EBADF, .pidfd = -EBADF, .pty = -EBADF, .proc_fd = -EBADF})

/**
 * Hands the job to the launcher at @sock. Descriptors of @io, @cgroup_fd (-1: none) and @ns are
 * borrowed; -1 in @io is /dev/null.
 */
int engine_launch_begin(int sock, const struct engine_job *job, const struct engine_stdio *io,
			int cgroup_fd, const struct engine_namespaces *ns,
			struct engine_launch *ret, struct err *e);

/** Waits until the child says @type. Its failure, or its end, is the error. */
int engine_launch_wait(struct engine_launch *l, enum engine_msg_type type, uint64_t deadline_ms,
		       struct err *e);
int engine_launch_go(struct engine_launch *l, struct err *e);
/**
 * A copy of the descriptor of its filter's listener (engine_seccomp_notifies()), once the filter is
 * installed; the child goes on with engine_launch_listener_handed(). @pidfd: of the process, whose
 * own may have been given away. Needs CAP_SYS_PTRACE.
 */
int engine_launch_listener(struct engine_launch *l, int pidfd, uint64_t deadline_ms, struct err *e);
void engine_launch_listener_handed(struct engine_launch *l);
/** Waits until it has exec'ed; the reason why not is the error. */
int engine_launch_finish(struct engine_launch *l, uint64_t deadline_ms, struct err *e);

/** Ends the following; the process stays. Keeps pidfd and pty for the caller. */
void engine_launch_close(struct engine_launch *l);
/** Kills and reaps the process, and closes everything. */
void engine_launch_abort(struct engine_launch *l);

/** Waits for the end of our child and reaps it, if nobody else does so first. */
void engine_reap(int pidfd);
