/* SPDX-License-Identifier: Apache-2.0 */
/* Tells when files of the Container Device Interface come or change. For the loop thread. */
#pragma once

#include "base/err.h"
#include "io/loop.h"

struct cdi_watch;

/** Calls @fn after each change in @dirs (NULL-terminated), which need not exist yet. */
int cdi_watch_new(struct loop *l, const char *const *dirs, void (*fn)(void *arg), void *arg,
		  struct cdi_watch **ret, struct err *e);
/** NULL is fine. */
void cdi_watch_free(struct cdi_watch *w);
