/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What went wrong, as a sentence.
 *
 * Functions return 0, a negative errno that is passed up unread, or a positive, documented outcome
 * that the caller must handle. Where a person will read the failure, the last parameter is a
 * `struct err *` on the caller's stack (or NULL): it carries a sentence that names the thing, the
 * value and the rule, the errno, and the RPC status code that a peer will see. It never allocates.
 *
 * The callee fills it only when it fails, never reads it, and returns in the same expression:
 *
 *	return err_errno(e, -errno, "open guest kernel %s", path);
 */
#pragma once

#include "base/cleanup.h"

#include <stdarg.h>

/** The status codes of google.rpc.Code, as ttrpc carries them. */
enum status {
	STATUS_OK = 0,
	STATUS_CANCELLED = 1,
	STATUS_UNKNOWN = 2,
	STATUS_INVALID_ARGUMENT = 3,
	STATUS_DEADLINE_EXCEEDED = 4,
	STATUS_NOT_FOUND = 5,
	STATUS_ALREADY_EXISTS = 6,
	STATUS_PERMISSION_DENIED = 7,
	STATUS_RESOURCE_EXHAUSTED = 8,
	STATUS_FAILED_PRECONDITION = 9,
	STATUS_ABORTED = 10,
	STATUS_OUT_OF_RANGE = 11,
	STATUS_UNIMPLEMENTED = 12,
	STATUS_INTERNAL = 13,
	STATUS_UNAVAILABLE = 14,
	STATUS_DATA_LOSS = 15,
	STATUS_UNAUTHENTICATED = 16,
};

/* Long enough for two absolute paths and a sentence; a longer text is cut, never refused. */
#define ERR_TEXT_MAX 1024

struct err {
	int errnum; /* positive errno; 0 while nothing failed */
	int status; /* enum status; a peer may send a number outside of it */
	char text[ERR_TEXT_MAX];
};

#define ERR_INIT ((struct err){.errnum = 0, .status = STATUS_OK, .text = ""})

/**
 * Records a failure. @r is a negative errno and is returned; the status code follows from it.
 * Any earlier content is replaced. @e may be NULL.
 */
int err_set(struct err *e, int r, const char *fmt, ...) _printf_(3, 4);

/** As err_set(), and appends ": " and the system's text for the errno. For failed system calls. */
int err_errno(struct err *e, int r, const char *fmt, ...) _printf_(3, 4);

/** Records a failure by its RPC status code; returns the matching negative errno. */
int err_status(struct err *e, int status, const char *fmt, ...) _printf_(3, 4);

/** Puts "fmt: " before the text that is there already, and returns @r unchanged. */
int err_wrap(struct err *e, int r, const char *fmt, ...) _printf_(3, 4);

/** The text for people: the sentence, or the errno's text if a callee left no sentence. */
const char *err_text(const struct err *e, int r);

enum status status_from_errno(int errnum);
int errno_from_status(int status);
const char *status_name(int status);
