/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/qemu/qmp.h"

#include <string.h>

static int not_qmp(struct err *e, const char *what)
{
	return err_set(e, -EBADMSG, "QMP: %s", what);
}

static int classify_error(json_t *error, struct qmp_message *m, struct err *e)
{
	const char *class = json_string_value(json_object_get(error, "class"));
	const char *desc = json_string_value(json_object_get(error, "desc"));

	if (!class || !desc)
		return not_qmp(e, "an error without class and desc");
	m->kind = QMP_ERROR;
	if (strcmp(class, "GenericError") == 0)
		(void)snprintf(m->text, sizeof m->text, "%s", desc);
	else
		(void)snprintf(m->text, sizeof m->text, "%s: %s", class, desc);
	return 0;
}

static int classify(json_t *root, struct qmp_message *m, struct err *e)
{
	json_t *id = json_object_get(root, "id"), *v;

	*m = (struct qmp_message){.id = -1};
	if (!json_is_object(root))
		return not_qmp(e, "a line that is no JSON object");
	if ((v = json_object_get(root, "event"))) {
		m->kind = QMP_EVENT;
		m->name = json_string_value(v);
		m->body = json_object_get(root, "data");
		return m->name ? 0 : not_qmp(e, "an event whose name is no string");
	}
	if ((v = json_object_get(root, "QMP"))) {
		m->kind = QMP_GREETING;
		m->body = v;
		return json_is_object(v) ? 0 : not_qmp(e, "a greeting that is no object");
	}
	if (id && !json_is_integer(id))
		return not_qmp(e, "a reply whose id is not ours");
	if (id)
		m->id = json_integer_value(id);
	if ((v = json_object_get(root, "error")))
		return classify_error(v, m, e);
	if ((v = json_object_get(root, "return"))) {
		m->kind = QMP_RETURN;
		m->body = v;
		return id ? 0 : not_qmp(e, "a return without an id");
	}
	return not_qmp(e, "an object that is neither greeting, event nor reply");
}

static int take_line(const char *line, size_t len, qmp_message_fn fn, void *arg, struct err *e)
{
	json_error_t at;
	struct qmp_message m;

	while (len && strchr(" \t\r", line[len - 1]))
		len--;
	if (!len)
		return 0;
	json_t *root = json_loadb(line, len, JSON_REJECT_DUPLICATES, &at);
	if (!root)
		return err_set(e, -EBADMSG, "QMP: a line that is no JSON (column %d: %s)",
			       at.column, at.text);
	int r = classify(root, &m, e);
	if (r == 0)
		r = fn(arg, &m, e);
	json_decref(root);
	return r;
}

int qmp_reader_feed(struct qmp_reader *r, const void *data, size_t len, qmp_message_fn fn,
		    void *arg, struct err *e)
{
	buf_append(&r->line, data, len);
	if (buf_failed(&r->line))
		return err_errno(e, -ENOMEM, "QMP: keep a line");

	size_t done = 0;
	for (;;) {
		char *from = r->line.data + r->scanned;
		char *nl = memchr(from, '\n', r->line.len - r->scanned);
		size_t end = nl ? (size_t)(nl - r->line.data) : r->line.len;
		if (end - done > QMP_LINE_MAX)
			return err_set(e, -EMSGSIZE, "QMP: a line of more than %d bytes",
				       QMP_LINE_MAX);
		if (!nl)
			break;
		int k = take_line(r->line.data + done, end - done, fn, arg, e);
		if (k < 0)
			return k;
		done = r->scanned = end + 1;
	}
	buf_consume(&r->line, done);
	r->scanned = r->line.len;
	return 0;
}

void qmp_reader_free(struct qmp_reader *r)
{
	buf_free(&r->line);
	r->scanned = 0;
}
