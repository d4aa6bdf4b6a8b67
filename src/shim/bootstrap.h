/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What containerd writes to the standard input of `start`, and how it wants the answer.
 *
 * Up to 2.2 it is nothing, or runtime options that Create may bring again; the answer is the
 * address alone, which every release takes. From 2.3 on it is a BootstrapParams message, and the
 * answer a BootstrapResult. Options may parse as BootstrapParams, so a message counts as one only
 * if it names this very instance and namespace: containerd's own rule.
 */
#pragma once

#include "base/buf.h"
#include "shim/cli.h"
#include "shim/socket.h"

struct bootstrap {
	bool structured; /* answer with a BootstrapResult */
	bool debug;
	char socket_dir[SHIM_SOCKET_PATH_MAX]; /* where the socket shall be */
	/* The runtime's own options, packed (runtimeoptions.v1.Options); len 0: none. In an
	 * extension of BootstrapParams, or with older releases all of the input, as an Any. */
	struct buf options;
	char events[SHIM_SOCKET_PATH_MAX]; /* where containerd takes events; "": not told */
};

#define BOOTSTRAP_INIT ((struct bootstrap){.options = BUF_INIT})

/** Reads standard input to its end, unless it is a terminal. */
int bootstrap_read(const struct cli *c, struct bootstrap *ret, struct err *e);
/** As bootstrap_read(), of bytes. What is no BootstrapParams for us gives the defaults. */
int bootstrap_parse(const struct cli *c, const void *data, size_t len, struct bootstrap *ret,
		    struct err *e);
void bootstrap_deinit(struct bootstrap *b);
/** Writes the answer to standard output. */
int bootstrap_reply(const struct bootstrap *b, const char *address, struct err *e);
