/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user namespace that a pod's containers share, when its pods do not use the guest's own users.
 *
 * The first container with a user namespace makes it, and with it an ipc and a uts namespace that
 * belong to it, since the sandbox' own do not. Containers with the same maps join all three; one
 * with other maps gets namespaces of its own. Once made it does not change, so that any thread may
 * read it; made and freed on the loop thread.
 */
#pragma once

#include "oci/spec.h"

#include <stdbool.h>
#include <sys/types.h>

struct pod_users;

/** Holds the namespaces of the process @pid, of a container with @spec. NULL: they are gone. */
struct pod_users *pod_users_new(const struct oci_spec *spec, pid_t pid);
void pod_users_free(struct pod_users *u);

/** Does a container with these maps belong there? @u may be NULL. */
bool pod_users_match(const struct pod_users *u, const struct oci_spec *spec);
/** The path of the namespace of @type (user, ipc, uts), for this process; into an array of 64. */
const char *pod_users_path(const struct pod_users *u, enum oci_ns_type type, char *dst);
