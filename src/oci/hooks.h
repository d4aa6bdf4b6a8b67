/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hooks: programs that the specification has run at moments of a container's life.
 * Source: the runtime specification, config.md "POSIX-platform Hooks" and runtime.md "State".
 *
 * A hook gets its own arguments and exactly its own environment, the container's state on stdin,
 * and /dev/null as stdout. It runs in a session of its own; when its time is over the session is
 * killed. Functions block, so they are for workers; the hooks die with the calling thread.
 */
#pragma once

#include "oci/spec.h"

/* For a hook that names no timeout: the specification sets none, but a hook that never ends must
 * not keep a pod from ending. */
#define OCI_HOOK_TIMEOUT_S 10

/**
 * Runs a list in its order up to the first failure, which fails what is being done (prestart,
 * createRuntime, createContainer, startContainer). @what names the list in sentences. A hook that
 * cannot be run: its errno; that ends with a failure: -EIO, the sentence has its exit code (128 and
 * the signal for a killed one) and the last line of its stderr; that takes too long: -ETIMEDOUT.
 */
int oci_hooks_run(const struct oci_hook_list *l, const char *state_json, const char *what,
		  struct err *e);
/** The same in another network namespace, or in the caller's (@netns_fd -1). */
int oci_hooks_run_in(const struct oci_hook_list *l, int netns_fd, const char *state_json,
		     const char *what, struct err *e);
/**
 * Runs all of a list even where some fail (poststart, poststop), and returns the first failure, for
 * a warning.
 */
int oci_hooks_run_all(const struct oci_hook_list *l, const char *state_json, const char *what,
		      struct err *e);

/**
 * The state that hooks are told, as JSON text; malloc'ed, NULL when memory runs out.
 * @status: "creating", "created", "running" or "stopped". @pid: 0 for none.
 */
char *oci_state_json(const struct oci_spec *s, const char *id, const char *status, pid_t pid,
		     const char *bundle);

/**
 * The state of a process that a seccomp listener is told, with the spec's listenerMetadata; as
 * above. @pid is the process', @init_pid the container's.
 * Source: config-linux.md "The Container Process State".
 */
char *oci_process_state_json(const struct oci_spec *s, const char *id, const char *status,
			     pid_t pid, pid_t init_pid, const char *bundle);
