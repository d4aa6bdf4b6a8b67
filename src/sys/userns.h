/* SPDX-License-Identifier: Apache-2.0 */
/* User namespaces that nobody lives in: for the mappings of mounts. */
#pragma once

#include "base/err.h"

/**
 * Makes a user namespace with these maps, in the words of user_namespaces(7), and returns a
 * descriptor of it. A child of the caller holds it for a moment; it raises no SIGCHLD and is
 * reaped here. Any thread. Needs CAP_SETUID and CAP_SETGID where more than one's own id is mapped.
 */
int userns_new(const char *uid_map, const char *gid_map, struct err *e);
