/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>

#define SINKS_MAX 4

static struct {
	_Atomic(enum log_level) level; /* set on a worker, read everywhere */
	char sandbox[128];
	unsigned n_sinks;
	struct {
		log_sink_fn fn;
		void *ctx;
	} sinks[SINKS_MAX];
} logger = {.level = LOG_INFO};

static const char *const level_names[] = {"error", "warning", "info", "debug", "trace"};
static const int journal_priority[] = {3, 4, 6, 7, 7}; /* syslog(3) severities */

void log_add_sink(log_sink_fn fn, void *ctx)
{
	if (logger.n_sinks == SINKS_MAX)
		return;
	logger.sinks[logger.n_sinks].fn = fn;
	logger.sinks[logger.n_sinks].ctx = ctx;
	logger.n_sinks++;
}

void log_reset(void)
{
	logger.n_sinks = 0;
}

void log_set_level(enum log_level level)
{
	logger.level = level;
}

enum log_level log_get_level(void)
{
	return logger.level;
}

int log_level_parse(const char *name, enum log_level *ret)
{
	static const struct {
		const char *name;
		enum log_level level;
	} names[] = {
		{"trace", LOG_TRACE}, {"debug", LOG_DEBUG},    {"info", LOG_INFO},
		{"warn", LOG_WARN},   {"warning", LOG_WARN},   {"error", LOG_ERROR},
		{"fatal", LOG_ERROR}, {"critical", LOG_ERROR}, {"panic", LOG_ERROR},
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcasecmp(name, names[i].name) == 0) {
			*ret = names[i].level;
			return 0;
		}
	}
	return -EINVAL;
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

void log_set_sandbox(const char *sandbox_id)
{
	(void)snprintf(logger.sandbox, sizeof logger.sandbox, "%s", sandbox_id);
}

const char *log_sandbox(void)
{
	return logger.sandbox;
}

/* A record is one line: a newline or another control byte in it would forge a second record. */
static void flatten(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ')
			*s = ' ';
}

void log_write(enum log_level level, const char *fmt, ...)
{
	if (level > logger.level || logger.n_sinks == 0)
		return;

	int saved = errno;
	char msg[LOG_LINE_MAX];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof msg, fmt, ap);
	va_end(ap);
	flatten(msg);
	for (unsigned i = 0; i < logger.n_sinks; i++)
		logger.sinks[i].fn(logger.sinks[i].ctx, level, msg);
	errno = saved;
}

void log_sink_fd(void *ctx, enum log_level level, const char *msg)
{
	char line[LOG_LINE_MAX * 2 + 256], stamp[40];
	struct timespec now;
	struct tm tm;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	(void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);

	int n = snprintf(line, 256, "time=\"%s.%09ldZ\" level=%s msg=\"", stamp, now.tv_nsec,
			 level_names[level]);
	for (; *msg && n < (int)sizeof line - 200; msg++) {
		if (*msg == '"' || *msg == '\\')
			line[n++] = '\\';
		line[n++] = *msg;
	}
	n += snprintf(line + n, sizeof line - (size_t)n, "\" name=kata-runtime");
	if (logger.sandbox[0])
		n += snprintf(line + n, sizeof line - (size_t)n, " sandbox=%s", logger.sandbox);
	line[n++] = '\n';

	ssize_t written = write((int)(intptr_t)ctx, line, (size_t)n);
	(void)written; /* a reader that is gone or slow loses the line */
}

int log_journal_open(void)
{
	static const struct sockaddr_un addr = {.sun_family = AF_UNIX,
						.sun_path = "/run/systemd/journal/socket"};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof addr) < 0)
		return -errno;
	return TAKE_FD(fd);
}

void log_sink_journal(void *ctx, enum log_level level, const char *msg)
{
	/* journal native protocol: KEY=value lines; no value here can hold a newline */
	char record[LOG_LINE_MAX + 512];
	int n = snprintf(record, sizeof record,
			 "PRIORITY=%d\nSYSLOG_IDENTIFIER=kata\nSUBSYSTEM=runtimes\n"
			 "NAME=kata-runtime\nSOURCE=%s\nMESSAGE=%s\n",
			 journal_priority[level], logger.sandbox, msg);
	(void)send((int)(intptr_t)ctx, record, (size_t)n, MSG_NOSIGNAL);
}
