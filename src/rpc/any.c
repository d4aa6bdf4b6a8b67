/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/any.h"

#include "rpc/message.h"

#include <string.h>

/* Fills in a value of @len bytes that the caller has yet to write. */
static int any_alloc(Google__Protobuf__Any *any, const char *type_url, size_t len)
{
	google__protobuf__any__init(any);
	_cleanup_free_ char *url = strdup(type_url);
	uint8_t *data = malloc(len ? len : 1);
	if (!url || !data) {
		free(data);
		return -ENOMEM;
	}
	any->type_url = TAKE_PTR(url);
	any->value = (ProtobufCBinaryData){.len = len, .data = data};
	return 0;
}

int rpc_any_pack(Google__Protobuf__Any *any, const ProtobufCMessage *m, const char *type_url)
{
	int r = any_alloc(any, type_url ? type_url : m->descriptor->name,
			  protobuf_c_message_get_packed_size(m));
	if (r == 0)
		(void)protobuf_c_message_pack(m, any->value.data);
	return r;
}

int rpc_any_set(Google__Protobuf__Any *any, const char *type_url, const void *value, size_t len)
{
	int r = any_alloc(any, type_url, len);
	if (r == 0 && len)
		memcpy(any->value.data, value, len);
	return r;
}

void rpc_any_clear(Google__Protobuf__Any *any)
{
	if (any->type_url != protobuf_c_empty_string)
		free(any->type_url);
	free(any->value.data);
	google__protobuf__any__init(any);
}

bool rpc_any_is(const Google__Protobuf__Any *any, const char *name)
{
	if (!any || !any->type_url)
		return false;
	const char *slash = strrchr(any->type_url, '/');
	return strcmp(slash ? slash + 1 : any->type_url, name) == 0;
}

ProtobufCMessage *rpc_any_unpack(const Google__Protobuf__Any *any,
				 const ProtobufCMessageDescriptor *desc)
{
	if (!rpc_any_is(any, desc->name))
		return NULL;
	return rpc_unpack(desc, (struct rpc_slice){any->value.data, any->value.len}, NULL);
}
