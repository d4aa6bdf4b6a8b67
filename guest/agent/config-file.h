/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's options as a TOML file of the image (agent.config_file, --config), with the field's
 * keys. It stands in place of the kernel command line's agent parameters; the environment wins.
 */
#pragma once

#include "base/err.h"
#include "guest/agent/options.h"

#define CONFIG_FILE_MAX (64u << 10)

/**
 * Reads the file by the program @parser (kata-agent-parse). On failure @o is as it was. A key that
 * is unknown or has a wrong value is told to @warn, and its default stays.
 */
int config_file_read(struct agent_options *o, const char *path, const char *parser,
		     agent_options_warn warn, void *ctx, struct err *e);
