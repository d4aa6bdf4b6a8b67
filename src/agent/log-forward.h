/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the guest agent's log (one JSON object a line) and logs each line at its own level. */
#pragma once

#include "base/log.h"
#include "io/loop.h"

struct log_forward;

/** Consumes @fd on success. Any thread: the watch is made on the loop. */
int log_forward_new(struct loop *loop, int fd, struct log_forward **ret);
/** Loop thread. NULL is fine. */
void log_forward_free(struct log_forward *f);

/** The level that a line names in its "level" member; LOG_INFO where it names none. */
enum log_level log_forward_level(const char *line, size_t len);
