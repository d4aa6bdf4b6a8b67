/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages that no decent client sends: any message of the protocol, with values that are likely to
 * be near somebody's mistake. What is made depends on the random state alone.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

struct hostile {
	uint64_t state; /* of the generator; any number but 0 */
	/* Words of this run that mean something: paths, ids. */
	const char *const *words;
	size_t n_words;
};

/** A number below @n; 0 for 0. */
uint64_t hostile_below(struct hostile *h, uint64_t n);
/** Makes a message of that kind, with memory of its own: protobuf_c_message_free_unpacked(). */
ProtobufCMessage *hostile_message(struct hostile *h, const ProtobufCMessageDescriptor *d);
/** Spoils a few fields of a message that hostile_message() made, or a reader unpacked. */
void hostile_spoil(struct hostile *h, ProtobufCMessage *m);
