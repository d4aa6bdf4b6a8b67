/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs that are asked something: fed with all of their input, heard to their end, and waited
 * for. Blocks until then; for workers.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct tool_spec {
	const char *const *argv; /* NULL-terminated; argv[0] is a path */
	const char *const *envp; /* NULL: the caller's */
	const void *input;
	size_t input_len;
	size_t output_max; /* bytes; more are a failure */
	uint64_t timeout_ms;
};

/**
 * Runs it. What it printed is appended to @ret. A failure names the program: -ETIMEDOUT, -EMSGSIZE,
 * -EIO (STATUS_INTERNAL) with the beginning of its complaint when it ended with another code than
 * 0. It does not outlive the call.
 */
int tool_run(const struct tool_spec *spec, struct buf *ret, struct err *e);
