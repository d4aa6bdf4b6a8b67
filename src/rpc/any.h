/* SPDX-License-Identifier: Apache-2.0 */
/* google.protobuf.Any: a message together with the name of its type. */
#pragma once

#include "proto/wkt.pb-c.h"

#include <stdbool.h>

/**
 * Packs @m into @any, which owns its parts from then on: rpc_any_clear(). @type_url NULL stands for
 * the message's full name, as containerd writes it (without "type.googleapis.com/"). 0 or -ENOMEM.
 */
int rpc_any_pack(Google__Protobuf__Any *any, const ProtobufCMessage *m, const char *type_url);
/** Makes an Any of given bytes, copied; for JSON payloads. */
int rpc_any_set(Google__Protobuf__Any *any, const char *type_url, const void *value, size_t len);
void rpc_any_clear(Google__Protobuf__Any *any);

/** Whether @any (may be NULL) has the type @name: what follows the last slash of its URL. */
bool rpc_any_is(const Google__Protobuf__Any *any, const char *name);
/** Unpacks if it has the type of @desc. NULL: another type, malformed, or too large (as a frame's
 * payload). Free with protobuf_c_message_free_unpacked(m, NULL). */
ProtobufCMessage *rpc_any_unpack(const Google__Protobuf__Any *any,
				 const ProtobufCMessageDescriptor *desc);
