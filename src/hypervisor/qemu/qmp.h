/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QMP, QEMU's control protocol: JSON objects, one a line (QEMU's docs/interop/qmp-spec).
 *
 * Two layers. The reader cuts a byte stream into messages and classifies them; it has no descriptor
 * and is what the fuzzer feeds. The client speaks over a connected socket on the loop: it answers
 * the greeting, sends commands without waiting for earlier replies, and hands on events. QEMU runs
 * a hostile guest, so it may be a hostile peer: lines, commands in flight and output are bounded,
 * and anything that is not QMP ends the connection with a sentence.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "io/loop.h"

#include <jansson.h>

/* The longest reply that we provoke is some KiB; query-* of huge machines stays below 1 MiB. */
#define QMP_LINE_MAX (1024 * 1024)
/* Commands without a reply. We have one or two at a time. */
#define QMP_PENDING_MAX 32

enum qmp_kind {
	QMP_GREETING, /* body: the member "QMP" */
	QMP_RETURN,   /* id, body: the member "return" */
	QMP_ERROR,    /* id (-1: to no command), text: class and description */
	QMP_EVENT,    /* name, body: the member "data" or NULL */
};

/* All borrowed from the JSON object. */
struct qmp_message {
	enum qmp_kind kind;
	json_int_t id;
	const char *name;
	json_t *body;
	char text[256];
};

struct qmp_reader {
	struct buf line;
	size_t scanned; /* of ->line, without a newline */
};

/** Handles one message; a negative errno ends the feeding and is returned. */
typedef int (*qmp_message_fn)(void *arg, const struct qmp_message *m, struct err *e);

/** Takes the next bytes of the stream. -EBADMSG: not QMP; -EMSGSIZE: a line beyond the limit. */
int qmp_reader_feed(struct qmp_reader *r, const void *data, size_t len, qmp_message_fn fn,
		    void *arg, struct err *e);
void qmp_reader_free(struct qmp_reader *r);

struct qmp;

struct qmp_handlers {
	/** Capabilities are negotiated: commands are welcome. */
	void (*ready)(void *arg);
	void (*event)(void *arg, const char *name, const json_t *data);
	/**
	 * The connection is of no more use, once. @r 0: the peer closed it; else a negative errno
	 * and a sentence. Pending commands have failed before.
	 */
	void (*closed)(void *arg, int r, const char *why);
};

/** The outcome of a command: @fail NULL and the result, or the failure. Borrowed. */
typedef void (*qmp_reply_fn)(void *arg, const json_t *result, const struct err *fail);

/* The client. Loop thread only. Handlers and replies must not free it. */

/** @fd is consumed, also on failure. */
int qmp_new(struct loop *l, int fd, const struct qmp_handlers *handlers, void *arg,
	    struct qmp **ret, struct err *e);
/** Sends a command. @arguments (may be NULL) is consumed, also on failure; @fn may be NULL. */
int qmp_execute(struct qmp *q, const char *command, json_t *arguments, qmp_reply_fn fn, void *arg,
		struct err *e);
/** Reads what a peer that has ended left behind: its last events. */
void qmp_drain(struct qmp *q);
/** Closes it; pending commands fail with -ECANCELED. NULL is fine. */
void qmp_free(struct qmp *q);
