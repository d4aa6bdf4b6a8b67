/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The debug console: a shell in the guest itself, for whoever may connect to the machine's vsock
 * from the host. Only where the kernel's command line asks for it (agent.debug_console). Loop
 * thread.
 *
 * A connection is a terminal of its own; a client that goes away takes its shell with it.
 */
#pragma once

#include "base/err.h"
#include "io/loop.h"

#define CONSOLE_SESSIONS_MAX 8

struct console;

/** Serves what connects to @fd, a listening socket, consumed on success. -ENOENT: no shell. */
int console_listen(struct loop *loop, int fd, struct console **ret, struct err *e);
/** One shell on /dev/console, started again when it ends. */
int console_on_machine(struct loop *loop, struct console **ret, struct err *e);
/** Kills the shells. NULL is fine. */
void console_free(struct console *c);
