/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/qemu/qmp.h"

#include "base/list.h"

#include <string.h>
#include <sys/socket.h>

/* Beyond this the peer has stopped reading. */
#define OUTPUT_MAX (1024 * 1024)

struct pending {
	struct list link;
	json_int_t id;
	const char *command; /* static */
	qmp_reply_fn fn;
	void *arg;
};

struct qmp {
	int fd;
	struct loop_io *io;
	const struct qmp_handlers *handlers;
	void *arg;
	struct qmp_reader reader;
	struct buf out;
	struct list pending; /* in the order sent */
	unsigned n_pending;
	json_int_t last_id;
	bool closed;
};

static void reply(struct pending *p, const json_t *result, const struct err *fail)
{
	if (p->fn)
		p->fn(p->arg, result, fail);
	free(p);
}

static void fail_pending(struct qmp *q, int r, const char *why)
{
	while (!list_empty(&q->pending)) {
		struct err e = ERR_INIT;
		struct pending *p = list_first(&q->pending, struct pending, link);
		list_del(&p->link);
		(void)err_set(&e, r, "QMP %s: %s", p->command, why);
		reply(p, NULL, &e);
	}
	q->n_pending = 0;
}

/* The connection is over; the object stays until qmp_free(). */
static void hang_up(struct qmp *q, int r, const char *why)
{
	if (q->closed)
		return;
	q->closed = true;
	loop_io_free(TAKE_PTR(q->io));
	q->fd = close_fd(q->fd);
	fail_pending(q, r < 0 ? r : -ECONNRESET, why);
	q->handlers->closed(q->arg, r, why);
}

static int flush(struct qmp *q)
{
	while (q->out.len) {
		ssize_t n = send(q->fd, q->out.data, q->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n < 0)
			break;
		buf_consume(&q->out, (size_t)n);
	}
	loop_io_set(q->io, q->out.len ? LOOP_READ | LOOP_WRITE : LOOP_READ);
	return 0;
}

static struct pending *find_pending(struct qmp *q, json_int_t id)
{
	struct list *n;
	list_for_each (n, &q->pending) {
		struct pending *p = list_entry(n, struct pending, link);
		if (p->id == id)
			return p;
	}
	return NULL;
}

static int on_reply(struct qmp *q, const struct qmp_message *m, struct err *e)
{
	struct pending *p = find_pending(q, m->id);
	struct err fail = ERR_INIT;

	if (!p && m->kind == QMP_ERROR && m->id < 0)
		return err_set(e, -EPROTO, "QMP: %s", m->text);
	if (!p)
		return err_set(e, -EBADMSG, "QMP: a reply to no command (id %lld)",
			       (long long)m->id);
	list_del(&p->link);
	q->n_pending--;
	if (m->kind == QMP_ERROR)
		(void)err_set(&fail, -EPROTO, "QMP %s: %s", p->command, m->text);
	reply(p, m->body, m->kind == QMP_ERROR ? &fail : NULL);
	return 0;
}

static void on_capabilities(void *arg, const json_t *result, const struct err *fail)
{
	struct qmp *q = arg;
	if (!fail)
		q->handlers->ready(q->arg);
	else if (!q->closed)
		hang_up(q, -EPROTO, fail->text);
}

static int on_message(void *arg, const struct qmp_message *m, struct err *e)
{
	struct qmp *q = arg;

	if (q->closed) /* by the handler of an earlier message of this batch */
		return -ECANCELED;
	switch (m->kind) {
	case QMP_GREETING:
		return qmp_execute(q, "qmp_capabilities", NULL, on_capabilities, q, e);
	case QMP_EVENT:
		q->handlers->event(q->arg, m->name, m->body);
		return 0;
	case QMP_RETURN:
	case QMP_ERROR:
		return on_reply(q, m, e);
	}
	return 0;
}

/* Reads once. Returns whether there may be more. */
static bool receive(struct qmp *q)
{
	struct err e = ERR_INIT;
	char data[4096];
	ssize_t n = recv(q->fd, data, sizeof data, MSG_DONTWAIT);

	if (n > 0) {
		int r = qmp_reader_feed(&q->reader, data, (size_t)n, on_message, q, &e);
		if (r < 0)
			hang_up(q, r, err_text(&e, r));
		return r == 0;
	}
	if (n == 0 || errno == ECONNRESET)
		hang_up(q, 0, "the connection was closed");
	else if (errno == EINTR)
		return true;
	else if (errno != EAGAIN)
		hang_up(q, -errno, "QMP: the connection broke while receiving");
	return false;
}

void qmp_drain(struct qmp *q)
{
	/* Bounded, should a descendant of the peer go on writing. */
	for (int i = 0; i < 64 && !q->closed && receive(q); i++)
		;
}

static void on_io(void *arg, unsigned events)
{
	struct qmp *q = arg;

	if (events & LOOP_WRITE) {
		int r = flush(q);
		if (r < 0) {
			hang_up(q, r, "QMP: the connection broke while sending");
			return;
		}
	}
	/* After an error the loop does not call again: what is left is read now. */
	if (events & LOOP_HANGUP) {
		qmp_drain(q);
		hang_up(q, 0, "the connection was closed");
	} else if (events & LOOP_READ) {
		(void)receive(q);
	}
}

int qmp_new(struct loop *l, int fd, const struct qmp_handlers *handlers, void *arg,
	    struct qmp **ret, struct err *e)
{
	struct qmp *q = calloc(1, sizeof *q);
	int r = q ? 0 : -ENOMEM;

	if (q) {
		q->fd = fd;
		q->handlers = handlers;
		q->arg = arg;
		list_init(&q->pending);
		r = loop_io_new(l, fd, LOOP_READ, on_io, q, &q->io);
	}
	if (r < 0) {
		(void)close(fd);
		free(q);
		return err_errno(e, r, "watch the QMP connection");
	}
	*ret = q;
	return 0;
}

static int put_command(struct qmp *q, const char *command, json_t *arguments)
{
	json_t *root = json_pack("{s:s, s:I}", "execute", command, "id", ++q->last_id);
	if (root && arguments && json_object_set(root, "arguments", arguments) < 0)
		root = (json_decref(root), NULL);
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	if (!text)
		return -ENOMEM;
	buf_puts(&q->out, text);
	buf_puts(&q->out, "\r\n");
	free(text);
	return buf_failed(&q->out) ? -ENOMEM : 0;
}

int qmp_execute(struct qmp *q, const char *command, json_t *arguments, qmp_reply_fn fn, void *arg,
		struct err *e)
{
	int r = 0;
	struct pending *p = NULL;

	if (q->closed)
		r = -ENOTCONN;
	else if (q->n_pending == QMP_PENDING_MAX || q->out.len > OUTPUT_MAX)
		r = -EBUSY;
	else if (!(p = malloc(sizeof *p)))
		r = -ENOMEM;
	else
		r = put_command(q, command, arguments);
	json_decref(arguments);
	if (r < 0) {
		free(p);
		return err_errno(e, r, "QMP %s", command);
	}
	*p = (struct pending){.id = q->last_id, .command = command, .fn = fn, .arg = arg};
	list_add_tail(&q->pending, &p->link);
	q->n_pending++;
	/* An error of the socket shows again on the loop, where hanging up is safe. */
	if (flush(q) < 0)
		loop_io_set(q->io, LOOP_READ | LOOP_WRITE);
	return 0;
}

void qmp_free(struct qmp *q)
{
	if (!q)
		return;
	q->closed = true;
	loop_io_free(TAKE_PTR(q->io));
	q->fd = close_fd(q->fd);
	fail_pending(q, -ECANCELED, "the connection was closed");
	qmp_reader_free(&q->reader);
	buf_free(&q->out);
	free(q);
}
