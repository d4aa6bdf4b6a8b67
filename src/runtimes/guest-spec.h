/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spec as the guest gets it: what only the host knows is replaced by what the guest has.
 *
 *  - root and bind mounts of host files: their paths in the shared directory;
 *  - namespaces: paths are the host's, and network and time do not exist in a guest of one pod; pid
 *    is the agent's to make;
 *  - hooks: only startContainer runs in the guest;
 *  - devices rules, host labels: the guest applies its own.
 */
#pragma once

#include "oci/spec.h"

#include <stdbool.h>

struct guest_spec_params {
	const char *container_type; /* "pod_sandbox", "pod_container", "single_container" */
	const char *bundle;
	const char *guest_root; /* the rootfs' path in the guest */
	bool disable_seccomp;
	/**
	 * Makes a host file or directory visible in the guest for a bind mount; writes the guest's
	 * path to @ret. Called once for each such mount.
	 */
	int (*share)(void *arg, const char *source, bool recursive, bool read_only, char *ret,
		     size_t size, struct err *e);
	void *share_arg;
};

/** Changes @spec in place. *@ret_pidns: the pod's processes shall share a pid namespace. */
int guest_spec_edit(struct oci_spec *spec, const struct guest_spec_params *p, bool *ret_pidns,
		    struct err *e);
