/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's log: one JSON object a line, as the runtime reads it, on a stream that the runtime
 * connects to, or on standard output.
 *
 * Until the runtime has connected, and while it is slow, the newest records that fit wait in
 * memory; what had to be dropped is counted and said. One reader at a time: a new connection takes
 * the place of the old one, so that a runtime that lost its connection can come back.
 */
#pragma once

#include "base/log.h"
#include "io/loop.h"

/* What waits for a reader. The original's pipe holds as much. */
#define LOGGING_BACKLOG_MAX (64 * 1024)

struct logging;

/** Starts on standard output. The log's only sink from here on. */
int logging_new(struct logging **ret);
/** From now on records wait for a connection instead of going to standard output. */
void logging_to_backlog(struct logging *g);
/** Accepts readers on a listening socket; consumes @fd on success. */
int logging_listen(struct logging *g, struct loop *loop, int fd);
/** Writes what waits to standard output, and further records too: there will be no reader. */
void logging_to_console(struct logging *g);
void logging_free(struct logging *g);

/** Formats one record with its newline into @dst; returns its length. For tests too. */
size_t logging_format(char *dst, size_t size, enum log_level level, const char *msg);
