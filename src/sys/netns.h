/* SPDX-License-Identifier: Apache-2.0 */
/* Network namespaces by descriptor. */
#pragma once

#include "base/err.h"

#include <stdbool.h>

/**
 * Opens the network namespace that is bound at @path (or a /proc/PID/ns/net). Returns a descriptor,
 * which keeps the namespace alive; -ENOENT there is none, -EINVAL it is something else.
 */
int netns_open(const char *path, struct err *e);

/**
 * Makes a network namespace that nothing but the returned descriptor holds; its lo is up. On the
 * calling thread, which is back in its own afterwards (or the call has failed): for a worker.
 */
int netns_new(struct err *e);

/** Whether the calling thread itself is in the namespace; true also where that cannot be told. */
bool netns_is_current(int fd);

/** Whether it is no pod's own: the calling thread's, or that of process 1, if it can be seen. */
bool netns_is_hosts(int fd);

/**
 * Calls fn(arg, e) in the namespace, on the calling thread, and returns what it does. Sockets that
 * it makes stay in the namespace. If the way back fails, so does the call, whatever fn() returned.
 * For a worker: nothing else of the process is in there meanwhile.
 */
int netns_call(int fd, int (*fn)(void *arg, struct err *e), void *arg, struct err *e);
