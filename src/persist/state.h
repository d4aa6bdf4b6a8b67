/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /run/kata/<sid>/state.json: what a pod is made of, for people and tools, in the shape that the
 * field's runtime writes, and with members of ours beside it. It is replaced as a whole, so that a
 * reader finds valid JSON at any moment. It is information: what undoes a dead shim is the journal
 * (undo.h); only the processes that it names are ended too, by pid and start time.
 *
 *	{"sandbox_type": "virt_container",
 *	 "resource": {"endpoint": [], "cgroup_state": {...}},
 *	 "hypervisor": {"hypervisor_type", "pid", "id", "vm_path", "run_dir", "config": {...},
 *			"virtiofs_daemon_pid", ...},
 *	 "shim": {"pid", "start_time", "hypervisor_start_time", "virtiofs_daemon_start_time",
 *		  "status", "reason"},
 *	 "containers": [{"id", "bundle", "state", "exit_status", "exited_at",
 *			 "execs": [{"id", "state", ...}]}]}
 *
 * Any thread; a document belongs to one.
 */
#pragma once

#include "base/err.h"
#include "fmt/json.h"

#include <sys/types.h>
#include <time.h>

/* A process that is known again: @start_time as in undo.h. pid 0: there is none. */
struct state_pid {
	pid_t pid;
	uint64_t start_time;
};

struct state_pids {
	struct state_pid shim, vmm, virtiofsd;
};

/** What there is beside containers. Strings are borrowed. */
struct state_sandbox {
	const char *id, *dir, *run_dir;
	const char *hypervisor; /* its name */
	const char *status;	/* "up", "dead" */
	const char *reason;	/* why it is dead, or "" */
	bool sandbox_cgroup_only;
	struct state_pids pids;
};

struct state_process {
	const char *id, *status;
	uint32_t exit_status;
	struct timespec exited_at; /* 0: has not */
};

struct state_doc {
	json_t *root, *containers;
	json_t *execs; /* of the last container */
};

/** Begins a document. @config becomes the document's, also on failure; NULL: empty. */
void state_begin(struct state_doc *d, const struct state_sandbox *s, json_t *config);
void state_add_container(struct state_doc *d, const struct state_process *p, const char *bundle);
/** An exec of the container added last. */
void state_add_exec(struct state_doc *d, const struct state_process *p);
/** Writes it (0600, atomically) and frees it. Returns the number of bytes, or a negative errno. */
ssize_t state_write(struct state_doc *d, const char *path);

/** The processes that a state names. -EINVAL where it is no such document. */
int state_parse(const char *text, size_t len, struct state_pids *ret);
int state_read(const char *path, struct state_pids *ret);
