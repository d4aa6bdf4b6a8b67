/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What request and response frames carry: proto/ttrpc.proto, read and written by hand.
 *
 * By hand because their payload is itself a message, of up to 4 MiB: this way it is packed once,
 * straight into the frame, and unpacked once, straight from the input buffer. Everything that is
 * parsed here comes from a peer and is trusted in nothing. Pure functions; any thread.
 */
#pragma once

#include "base/buf.h"
#include "rpc/frame.h"

/* The memory that one message may take once decoded. A message on the wire can grow some sixty
 * times when decoded (an empty element of a list takes two bytes there), so a cap of its own. */
#define RPC_DECODED_MAX (32u << 20)
/* The metadata of one request, keys and values. Namespace and trace ids need a few hundred. */
#define RPC_METADATA_MAX (16u << 10)

/** Bytes of a frame, borrowed. */
struct rpc_slice {
	const uint8_t *data;
	size_t len;
};

struct rpc_request_in {
	struct rpc_slice service, method, payload;
	int64_t timeout_nano;
	struct buf metadata; /* key NUL value NUL ...; owned, see rpc_request_in_free() */
};

/** -EBADMSG: not a request; -E2BIG: metadata above RPC_METADATA_MAX; -ENOMEM. */
int rpc_request_parse(const uint8_t *data, size_t len, struct rpc_request_in *ret);
void rpc_request_in_free(struct rpc_request_in *r);

struct rpc_response_in {
	int32_t code;
	struct rpc_slice message, payload;
};

/** -EBADMSG: not a response. */
int rpc_response_parse(const uint8_t *data, size_t len, struct rpc_response_in *ret);

/** Unpacks within RPC_DECODED_MAX. NULL if malformed, too large or out of memory. *@ret_size (may
 * be NULL) is the memory taken. Free with protobuf_c_message_free_unpacked(m, NULL). */
ProtobufCMessage *rpc_unpack(const ProtobufCMessageDescriptor *desc, struct rpc_slice payload,
			     size_t *ret_size);

struct rpc_request_out {
	const char *service, *method;
	const ProtobufCMessage *message; /* NULL: no payload */
	int64_t timeout_nano;
	const char *const *metadata; /* as in struct rpc_request */
};

/** Makes a request frame of stream 0 (see rpc_frame_set_stream()): 0, -EMSGSIZE or -ENOMEM.
 * *@ret_size is the size of its data also when that is too much. */
int rpc_request_frame(const struct rpc_request_out *req, struct rpc_frame **ret, size_t *ret_size);
void rpc_frame_set_stream(struct rpc_frame *f, uint32_t stream);

/** Makes a response frame of success; @message may be NULL for an empty one. As above. */
int rpc_response_frame(uint32_t stream, const ProtobufCMessage *message, struct rpc_frame **ret,
		       size_t *ret_size);
/**
 * Makes a response frame of failure: the sentence as one line, or the code's name if there is none.
 * NULL: no memory.
 */
struct rpc_frame *rpc_status_frame(uint32_t stream, int code, const char *text);

/**
 * Copies text that shall be a protobuf string, cut to @size - 1 bytes: what is no UTF-8 becomes
 * '?', and so do control characters but for tab and newline. A peer refuses a whole response for
 * one bad byte, and what a peer sends ends in our log.
 */
void rpc_text_copy(char *dst, size_t size, const char *src, size_t len);
