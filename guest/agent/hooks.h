/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hooks that the guest's image brings: executable files in DIR/prestart, DIR/poststart and
 * DIR/poststop. They run for every container, after the hooks that its spec has; each is called by
 * its name with its kind, and has OCI_HOOK_TIMEOUT_S to end.
 *
 * Immutable once made; any thread.
 */
#pragma once

#include "oci/spec.h"

struct guest_hooks;

/**
 * Looks what there is. Of the three directories none must exist, but @dir. What is neither a
 * regular file (links are not followed) nor executable is left out.
 */
int guest_hooks_scan(const char *dir, struct guest_hooks **ret, struct err *e);
void guest_hooks_free(struct guest_hooks *h);
/** Adds them to a spec, which then has copies. @h may be NULL. -ENOMEM. */
int guest_hooks_add(const struct guest_hooks *h, struct oci_spec *s);
