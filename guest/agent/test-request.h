/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests written as text, for tables of tests. A request is words with spaces between them:
 *
 *	FIELD.FIELD=VALUE   sets a field; one that repeats gets one more element
 *	FIELD+.FIELD=VALUE  begins a new element of a list of messages (without +: its last one)
 *	FIELD*N.FIELD=VALUE  N times the same element
 *	FIELD!              makes it absent again
 *
 * Fields have their names of the .proto file. In a value %XX is a byte, ^N are N letters "a", and $
 * is the suffix that request_suffix() was told. A text that does not fit the message fails the
 *test.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

/** Borrowed. */
void request_suffix(const char *suffix);

/** A message of that type by the texts, one after the other. It lives until requests_free(). */
ProtobufCMessage *request_new(const ProtobufCMessageDescriptor *type, const char *base,
			      const char *text);
void requests_free(void);
