/* SPDX-License-Identifier: Apache-2.0 */
/* What a process finds in its container: its home, and its program. For a child that is inside
 * already; the files are the container's and may say anything. */
#pragma once

#include "base/err.h"
#include "oci/spec.h"

#include <limits.h>

/** The home of @uid by the text of an /etc/passwd; false if there is none. */
bool engine_passwd_home(const char *text, uint32_t uid, char *ret, size_t size);

/** The home by the container's own /etc/passwd; "/" without one. */
void engine_home(uint32_t uid, char ret[PATH_MAX]);

/** The value of a variable of an environment, or NULL. */
const char *engine_env(const struct oci_strv *env, const char *name);

/**
 * The program that @name means, with the PATH of @env, for the calling process' credentials and
 * working directory. The sentences are those that callers of container runtimes look for.
 */
int engine_find_program(const char *name, const struct oci_strv *env, char ret[PATH_MAX],
			struct err *e);
