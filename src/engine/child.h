/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The new process, from clone to exec. It is a fork of the launcher, with one thread, in new or
 * joined namespaces; whatever it finds in its root is the container's and may be hostile. It keeps
 * no descriptor but the standard three, its socket, /proc, and the root.
 */
#pragma once

#include "engine/creds.h"
#include "engine/job.h"
#include "engine/trees.h"
#include "engine/wire.h"

struct engine_child {
	int conn;
	int stdio[3];
	struct engine_report *report;
	const void *job_data;
	size_t job_len;
	int proc_fd; /* the engine's own /proc, which no container can have changed */

	/* filled while running */
	int root_fd; /* O_PATH: the container's root */
	struct engine_job job;
	struct engine_trees trees;
	struct engine_caps caps; /* at the end */
};

/** Sets everything up and execs; on failure fills the report and exits. */
void engine_child_run(struct engine_child *c) __attribute__((noreturn));

/** Fills the report. No system call: a seccomp filter may be in force. */
void engine_report_set(struct engine_report *report, const struct err *e, int r);
