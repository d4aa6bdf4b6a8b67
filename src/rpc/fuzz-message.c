/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as a request, as a response and as text. */
#include "rpc/message.h"

#include "proto/agent.pb-c.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_slice(struct rpc_slice s, const uint8_t *data, size_t size)
{
	if (s.len && (s.data < data || s.data + s.len > data + size))
		abort();
}

static void try_request(const uint8_t *data, size_t size)
{
	struct rpc_request_in req;

	if (rpc_request_parse(data, size, &req) < 0)
		return;
	check_slice(req.service, data, size);
	check_slice(req.method, data, size);
	check_slice(req.payload, data, size);
	if (req.metadata.len > RPC_METADATA_MAX ||
	    (req.metadata.len && req.metadata.data[req.metadata.len - 1]))
		abort();
	rpc_request_in_free(&req);
}

static void try_response(const uint8_t *data, size_t size)
{
	struct rpc_response_in resp;
	char text[64];

	if (rpc_response_parse(data, size, &resp) < 0)
		return;
	check_slice(resp.message, data, size);
	check_slice(resp.payload, data, size);
	rpc_text_copy(text, sizeof text, (const char *)resp.message.data, resp.message.len);
	/* What is clean stays as it is. */
	char again[64];
	rpc_text_copy(again, sizeof again, text, strlen(text));
	if (strcmp(text, again) != 0)
		abort();
	size_t used;
	ProtobufCMessage *m =
		rpc_unpack(&grpc__create_container_request__descriptor, resp.payload, &used);
	if (used > RPC_DECODED_MAX)
		abort();
	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* An own copy, so that a byte too far is seen. */
	uint8_t *copy = malloc(size ? size : 1);
	if (!copy)
		return 0;
	if (size)
		memcpy(copy, data, size);
	try_request(copy, size);
	try_response(copy, size);
	free(copy);
	return 0;
}
