/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line, in the manner of Go's flag package, because containerd's shims have it:
 * `-x v`, `--x v`, `-x=v`; flags end at the first other word, which is the action.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>

enum cli_action {
	CLI_RUN, /* no word: serve */
	CLI_START,
	CLI_DELETE,
	CLI_HELP,
	CLI_VERSION,
	CLI_INFO,
};

struct cli {
	enum cli_action action;
	const char *address;	    /* of containerd; may be empty */
	const char *bundle;	    /* only delete */
	const char *id;		    /* of the container */
	const char *namespace;	    /* containerd's, not the kernel's */
	const char *publish_binary; /* containerd itself */
	bool debug;
};

/** The strings stay argv's. Everything that the action needs has been checked on success. */
int cli_parse(int argc, char *const argv[], struct cli *ret, struct err *e);
extern const char cli_usage[];
