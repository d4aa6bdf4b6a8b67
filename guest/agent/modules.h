/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel modules, loaded from the guest image without any tool.
 *
 * The image's builder writes /lib/modules/list, one module a line: its name, when it is wanted (a
 * glob over the modaliases of devices, or "-": only by name), and the modules that it needs. A
 * guest without that file (an image with a kernel of its own) simply has nothing to load here.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>

struct modules;

/** Reads DIR/list; a missing one makes an empty set. A malformed line is -EINVAL with a sentence.
 */
int modules_new(const char *dir, struct modules **ret, struct err *e);
void modules_free(struct modules *m);

/**
 * Loads a module and what it needs. @params may be NULL. A module that is already there is fine.
 * -ENOENT if the image has none of that name. Any thread.
 */
int modules_load(struct modules *m, const char *name, const char *params, struct err *e);

/** Whether the image has a module of that name ("-" and "_" are one). */
bool modules_has(const struct modules *m, const char *name);

/**
 * Loads, in the list's order, every module that a device asks for, up to and including the one
 * named @until (NULL: all). Returns the first failure, after having tried the others too.
 */
int modules_load_present(struct modules *m, const char *until, struct err *e);

/** Loads the module of a file system type if the kernel does not know the type yet. */
void modules_for_filesystem(struct modules *m, const char *fstype);
