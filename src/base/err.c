/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <string.h>

static const struct {
	enum status status;
	int errnum;
	const char *name;
} codes[] = {
	/* The first errno of a status is the one that the status maps back to. */
	{STATUS_OK, 0, "OK"},
	{STATUS_CANCELLED, ECANCELED, "CANCELLED"},
	{STATUS_UNKNOWN, EIO, "UNKNOWN"},
	{STATUS_INVALID_ARGUMENT, EINVAL, "INVALID_ARGUMENT"},
	{STATUS_INVALID_ARGUMENT, EBADMSG, NULL},
	{STATUS_INVALID_ARGUMENT, E2BIG, NULL},
	{STATUS_INVALID_ARGUMENT, ENAMETOOLONG, NULL},
	{STATUS_INVALID_ARGUMENT, ENOTDIR, NULL},
	{STATUS_INVALID_ARGUMENT, ELOOP, NULL},
	{STATUS_DEADLINE_EXCEEDED, ETIMEDOUT, "DEADLINE_EXCEEDED"},
	{STATUS_DEADLINE_EXCEEDED, ETIME, NULL},
	{STATUS_NOT_FOUND, ENOENT, "NOT_FOUND"},
	{STATUS_NOT_FOUND, ESRCH, NULL},
	{STATUS_NOT_FOUND, ENODEV, NULL},
	{STATUS_NOT_FOUND, ENXIO, NULL},
	{STATUS_ALREADY_EXISTS, EEXIST, "ALREADY_EXISTS"},
	{STATUS_PERMISSION_DENIED, EPERM, "PERMISSION_DENIED"},
	{STATUS_PERMISSION_DENIED, EACCES, NULL},
	{STATUS_RESOURCE_EXHAUSTED, ENOSPC, "RESOURCE_EXHAUSTED"},
	{STATUS_RESOURCE_EXHAUSTED, ENOMEM, NULL},
	{STATUS_RESOURCE_EXHAUSTED, EMFILE, NULL},
	{STATUS_RESOURCE_EXHAUSTED, EMSGSIZE, NULL},
	{STATUS_FAILED_PRECONDITION, EBUSY, "FAILED_PRECONDITION"},
	{STATUS_FAILED_PRECONDITION, ENOTEMPTY, NULL},
	{STATUS_ABORTED, EAGAIN, "ABORTED"},
	{STATUS_OUT_OF_RANGE, ERANGE, "OUT_OF_RANGE"},
	{STATUS_UNIMPLEMENTED, EOPNOTSUPP, "UNIMPLEMENTED"},
	{STATUS_UNIMPLEMENTED, ENOSYS, NULL},
	{STATUS_INTERNAL, EPROTO, "INTERNAL"},
	{STATUS_UNAVAILABLE, ECONNRESET, "UNAVAILABLE"},
	{STATUS_UNAVAILABLE, ECONNREFUSED, NULL},
	{STATUS_UNAVAILABLE, ENOTCONN, NULL},
	{STATUS_UNAVAILABLE, EPIPE, NULL},
	{STATUS_UNAVAILABLE, ESHUTDOWN, NULL},
	{STATUS_DATA_LOSS, EUCLEAN, "DATA_LOSS"},
	{STATUS_UNAUTHENTICATED, EKEYREJECTED, "UNAUTHENTICATED"},
};

enum status status_from_errno(int errnum)
{
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i].errnum == errnum)
			return codes[i].status;
	return STATUS_UNKNOWN;
}

int errno_from_status(int status)
{
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if ((int)codes[i].status == status)
			return codes[i].errnum;
	return EIO;
}

const char *status_name(int status)
{
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if ((int)codes[i].status == status)
			return codes[i].name;
	return "UNKNOWN";
}

static _printf_(4, 0) void fill(struct err *e, int errnum, int status, const char *fmt, va_list ap)
{
	if (!e)
		return;
	/* A caller may pass the error's own text as an argument, so build the new one aside. */
	char text[ERR_TEXT_MAX];
	(void)vsnprintf(text, sizeof text, fmt, ap);
	memcpy(e->text, text, sizeof text);
	e->errnum = errnum;
	e->status = status;
}

int err_set(struct err *e, int r, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fill(e, -r, status_from_errno(-r), fmt, ap);
	va_end(ap);
	return r;
}

int err_errno(struct err *e, int r, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fill(e, -r, status_from_errno(-r), fmt, ap);
	va_end(ap);
	if (e) {
		size_t n = strlen(e->text);
		char sys[128];
		(void)snprintf(e->text + n, sizeof e->text - n, ": %s",
			       strerror_r(-r, sys, sizeof sys));
	}
	return r;
}

int err_status(struct err *e, int status, const char *fmt, ...)
{
	int errnum = errno_from_status(status);
	va_list ap;
	va_start(ap, fmt);
	fill(e, errnum, status, fmt, ap);
	va_end(ap);
	return -errnum;
}

int err_wrap(struct err *e, int r, const char *fmt, ...)
{
	if (!e)
		return r;

	char prefix[ERR_TEXT_MAX], joined[ERR_TEXT_MAX * 2 + 2];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(prefix, sizeof prefix, fmt, ap);
	va_end(ap);

	if (e->errnum == 0) { /* a base/ or io/ function left only its number */
		e->errnum = -r;
		e->status = status_from_errno(-r);
		char sys[128];
		(void)snprintf(e->text, sizeof e->text, "%s", strerror_r(-r, sys, sizeof sys));
	}
	(void)snprintf(joined, sizeof joined, "%s: %s", prefix, e->text);
	(void)snprintf(e->text, sizeof e->text, "%.*s", ERR_TEXT_MAX - 1, joined);
	return r;
}

const char *err_text(const struct err *e, int r)
{
	if (e && e->text[0])
		return e->text;
	return strerror(r < 0 ? -r : r);
}
