/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest is hostile: a line is capped, control bytes are flattened by the logger, and a flood
 * costs the guest, not us: at most one buffer is read each turn of the loop. The buffer exists
 * only while a line is incomplete.
 */
#include "agent/log-forward.h"

#include "base/buf.h"

#include <string.h>

#define LINE_MAX_BYTES 3500 /* fits a log record; the rest of a longer line is dropped */

struct log_forward {
	struct loop *loop;
	struct loop_io *io;
	int fd;
	struct buf line;
	bool skipping; /* the rest of a line that was too long */
};

enum log_level log_forward_level(const char *line, size_t len)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = {
		{"TRCE", LOG_TRACE}, {"DEBG", LOG_DEBUG}, {"INFO", LOG_INFO},
		{"WARN", LOG_WARN},  {"ERRO", LOG_ERROR}, {"CRIT", LOG_ERROR},
	};
	static const char key[] = "\"level\":\"";

	const char *p = memmem(line, len, key, sizeof key - 1);
	if (!p || (size_t)(line + len - p) < sizeof key - 1 + 4)
		return LOG_INFO;
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
		if (memcmp(p + sizeof key - 1, levels[i].name, 4) == 0)
			return levels[i].level;
	return LOG_INFO;
}

static void emit(struct log_forward *f)
{
	if (f->line.len > 0 && !f->skipping)
		log_write(log_forward_level(f->line.data, f->line.len), "agent: %s", f->line.data);
	f->skipping = false;
	buf_clear(&f->line);
}

static void take_bytes(struct log_forward *f, const char *p, size_t n)
{
	while (n > 0) {
		const char *newline = memchr(p, '\n', n);
		size_t part = newline ? (size_t)(newline - p) : n;
		if (!f->skipping) {
			size_t room = LINE_MAX_BYTES - f->line.len;
			buf_append(&f->line, p, part < room ? part : room);
			if (part > room) {
				emit(f);
				f->skipping = true;
			}
		}
		if (!newline)
			return;
		emit(f);
		p = newline + 1;
		n -= part + 1;
	}
}

static void on_readable(void *arg, unsigned events)
{
	struct log_forward *f = arg;
	char chunk[4096];

	ssize_t n = read(f->fd, chunk, sizeof chunk);
	if (n > 0) {
		take_bytes(f, chunk, (size_t)n);
		if (f->line.len == 0)
			buf_free(&f->line);
	} else if (n == 0 || errno != EAGAIN) {
		emit(f);
		loop_io_free(TAKE_PTR(f->io));
		f->fd = close_fd(f->fd);
	}
}

static void watch(void *arg)
{
	struct log_forward *f = arg;
	if (loop_io_new(f->loop, f->fd, LOOP_READ, on_readable, f, &f->io) < 0)
		f->fd = close_fd(f->fd);
}

int log_forward_new(struct loop *loop, int fd, struct log_forward **ret)
{
	struct log_forward *f = calloc(1, sizeof *f);
	if (!f)
		return -ENOMEM;
	f->loop = loop;
	f->fd = fd;
	int r = loop_post(loop, watch, f);
	if (r < 0) {
		free(f);
		return r;
	}
	*ret = f;
	return 0;
}

static void destroy(void *arg)
{
	struct log_forward *f = arg;
	loop_io_free(f->io);
	(void)close_fd(f->fd);
	buf_free(&f->line);
	free(f);
}

void log_forward_free(struct log_forward *f)
{
	/* Posted, because watch() may still be: posts run in order. */
	if (f && loop_post(f->loop, destroy, f) < 0)
		destroy(f);
}
