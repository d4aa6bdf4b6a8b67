/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/tail.h"

#include <string.h>

int tail_init(struct tail *t, size_t size, tail_line_fn on_line, void *arg)
{
	*t = (struct tail){.size = size, .on_line = on_line, .arg = arg};
	t->ring = malloc(size);
	return t->ring ? 0 : -ENOMEM;
}

void tail_free(struct tail *t)
{
	free(TAKE_PTR(t->ring));
	t->len = 0;
}

/* Whether a byte is text. ECMA-48: ESC x, or ESC [ parameters final. */
static bool is_text(struct tail *t, unsigned char c)
{
	switch (t->escape) {
	case TAIL_ESC:
		t->escape = c == '[' ? TAIL_CSI : TAIL_TEXT;
		return false;
	case TAIL_CSI:
		if (c >= 0x40 && c <= 0x7e)
			t->escape = TAIL_TEXT;
		else if (c == '\n') /* no sequence spans lines: do not lose one to a broken one */
			t->escape = TAIL_TEXT;
		return c == '\n';
	case TAIL_TEXT:
		break;
	}
	if (c == 0x1b)
		t->escape = TAIL_ESC;
	return (c >= 0x20 && c != 0x7f) || c == '\n' || c == '\t';
}

void tail_flush(struct tail *t)
{
	if (!t->line_len)
		return;
	t->line[t->line_len] = '\0';
	t->line_len = 0;
	if (t->on_line)
		t->on_line(t->arg, t->line);
}

void tail_feed(struct tail *t, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++) {
		if (!is_text(t, p[i]))
			continue;
		char c = p[i] < 0x80 ? (char)p[i] : '?';
		t->ring[t->at] = c;
		t->at = (t->at + 1) % t->size;
		t->len += t->len < t->size;
		if (c == '\n' || t->line_len == sizeof t->line - 1)
			tail_flush(t);
		if (c != '\n')
			t->line[t->line_len++] = c;
	}
}

void tail_text(const struct tail *t, char *dst, size_t size)
{
	if (!size)
		return;
	size_t n = t->len < size - 1 ? t->len : size - 1;
	size_t from = (t->at + t->size - n) % t->size;
	size_t first = n < t->size - from ? n : t->size - from;
	if (n) {
		memcpy(dst, t->ring + from, first);
		memcpy(dst + first, t->ring, n - first);
	}
	dst[n] = '\0';

	bool cut = n < t->len || t->len == t->size;
	char *line = cut ? memchr(dst, '\n', n) : NULL;
	if (line && line[1])
		memmove(dst, line + 1, strlen(line + 1) + 1);
}
