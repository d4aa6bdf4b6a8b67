/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launcher: a process with one thread, forked before the engine's process gets more than one.
 * Only it may fork without exec, so only it makes containers' processes. It holds nothing but its
 * socket, and does nothing but receive a request, clone, and pass back the pidfd.
 */
#pragma once

#include <sys/types.h>

/** Never returns: serves @sock until its end of file, then exits. For the forked process. */
void engine_launcher_run(int sock) __attribute__((noreturn));
