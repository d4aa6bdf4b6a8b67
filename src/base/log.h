/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging: a record goes to every sink that was added.
 *
 * One line per failure, at the boundary that decides; a library function returns its error instead
 * of logging it. Never log environment variables, a whole OCI spec, or anything that a user could
 * have put a secret into. Thread-safe once the sinks are set up; sinks are added before threads.
 */
#pragma once

#include "base/cleanup.h"

enum log_level {
	LOG_ERROR = 0,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG,
	LOG_TRACE,
};

/* A longer message is cut. */
#define LOG_LINE_MAX 4096

/** Receives one record. @msg is one line without its newline. Called from any thread. */
typedef void (*log_sink_fn)(void *ctx, enum log_level level, const char *msg);

/** Adds a sink, at most 4; a further one is dropped. @ctx is borrowed for the process' life. */
void log_add_sink(log_sink_fn fn, void *ctx);
/** Forgets all sinks. For tests and for children. */
void log_reset(void);

void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/** "trace" "debug" "info" "warn" "warning" "error" "critical": 0, else -EINVAL. */
int log_level_parse(const char *name, enum log_level *ret);
const char *log_level_name(enum log_level level);

/** The sandbox that every record of this process is about. Copied; at most 127 bytes. */
void log_set_sandbox(const char *sandbox_id);
const char *log_sandbox(void);

void log_write(enum log_level level, const char *fmt, ...) _printf_(2, 3);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_trace(...) log_write(LOG_TRACE, __VA_ARGS__)

/**
 * Sink: a descriptor, one `time=... level=... msg="..." sandbox=...` line a record, in one write.
 * @ctx is the descriptor cast by (void *)(intptr_t). A descriptor that would block loses the line:
 * a log must never stop a pod.
 */
void log_sink_fd(void *ctx, enum log_level level, const char *msg);

/**
 * Sink: the systemd journal by its native datagram protocol, SYSLOG_IDENTIFIER=kata.
 * @ctx is a socket from log_journal_open() cast by (void *)(intptr_t).
 */
void log_sink_journal(void *ctx, enum log_level level, const char *msg);
/** Returns a datagram socket connected to the journal, or a negative errno where there is none. */
int log_journal_open(void);
