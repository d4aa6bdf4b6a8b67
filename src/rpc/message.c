/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/message.h"

#include <assert.h>
#include <string.h>

/* Field numbers of proto/ttrpc.proto and proto/rpc_status.proto */
enum {
	REQUEST_SERVICE = 1,
	REQUEST_METHOD = 2,
	REQUEST_PAYLOAD = 3,
	REQUEST_TIMEOUT_NANO = 4,
	REQUEST_METADATA = 5,
	RESPONSE_STATUS = 1,
	RESPONSE_PAYLOAD = 2,
	STATUS_CODE = 1,
	STATUS_MESSAGE = 2,
	KEY_VALUE_KEY = 1,
	KEY_VALUE_VALUE = 2,
};

/* ---- Reading protobuf's wire format (protobuf.dev/programming-guides/encoding) ------------- */

enum wire_type {
	WIRE_VARINT = 0,
	WIRE_FIXED64 = 1,
	WIRE_BYTES = 2,
	WIRE_FIXED32 = 5,
};

struct wire {
	const uint8_t *p, *end;
};

struct wire_field {
	uint32_t number;
	unsigned type;
	uint64_t value;		/* of a varint */
	struct rpc_slice bytes; /* of bytes */
};

static int wire_varint(struct wire *w, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (w->p == w->end)
			return -EBADMSG;
		uint8_t b = *w->p++;
		if (shift == 63 && b > 1)
			return -EBADMSG; /* more than 64 bits */
		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80)) {
			*ret = v;
			return 0;
		}
	}
	return -EBADMSG;
}

static int wire_take(struct wire *w, uint64_t len, struct rpc_slice *ret)
{
	if (len > (size_t)(w->end - w->p))
		return -EBADMSG;
	*ret = (struct rpc_slice){w->p, (size_t)len};
	w->p += len;
	return 0;
}

/* 1 and a field, 0 at the end, or -EBADMSG. Groups, which proto3 does not have, are refused. */
static int wire_next(struct wire *w, struct wire_field *f)
{
	uint64_t tag, len;
	int r;

	if (w->p == w->end)
		return 0;
	r = wire_varint(w, &tag);
	if (r < 0)
		return r;
	if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
		return -EBADMSG;
	*f = (struct wire_field){.number = (uint32_t)(tag >> 3), .type = tag & 7};
	switch (f->type) {
	case WIRE_VARINT:
		r = wire_varint(w, &f->value);
		break;
	case WIRE_FIXED64:
		r = wire_take(w, 8, &f->bytes);
		break;
	case WIRE_FIXED32:
		r = wire_take(w, 4, &f->bytes);
		break;
	case WIRE_BYTES:
		r = wire_varint(w, &len);
		if (r == 0)
			r = wire_take(w, len, &f->bytes);
		break;
	default:
		r = -EBADMSG;
	}
	return r < 0 ? r : 1;
}

static struct wire wire_of(struct rpc_slice s)
{
	return (struct wire){s.data, s.data + s.len};
}

/* Whether the field is number @n of type @type; with another type it counts as unknown. */
static bool wire_is(const struct wire_field *f, uint32_t n, enum wire_type type)
{
	return f->number == n && f->type == (unsigned)type;
}

/* ---- Requests and responses that came in --------------------------------------------------- */

static int append_text(struct buf *b, struct rpc_slice s)
{
	if (s.len && memchr(s.data, '\0', s.len))
		return -EBADMSG;
	if (s.len >= RPC_METADATA_MAX - b->len)
		return -E2BIG;
	buf_append(b, s.data, s.len);
	buf_append(b, "", 1);
	return 0;
}

static int parse_key_value(struct rpc_slice s, struct buf *metadata)
{
	struct wire w = wire_of(s);
	struct wire_field f;
	struct rpc_slice key = {NULL, 0}, value = {NULL, 0};
	int r;

	while ((r = wire_next(&w, &f)) > 0) {
		if (wire_is(&f, KEY_VALUE_KEY, WIRE_BYTES))
			key = f.bytes;
		else if (wire_is(&f, KEY_VALUE_VALUE, WIRE_BYTES))
			value = f.bytes;
	}
	if (r < 0)
		return r;
	r = append_text(metadata, key);
	return r < 0 ? r : append_text(metadata, value);
}

static int parse_request_fields(struct rpc_slice s, struct rpc_request_in *req)
{
	struct wire w = wire_of(s);
	struct wire_field f;
	int r;

	while ((r = wire_next(&w, &f)) > 0) {
		if (wire_is(&f, REQUEST_SERVICE, WIRE_BYTES))
			req->service = f.bytes;
		else if (wire_is(&f, REQUEST_METHOD, WIRE_BYTES))
			req->method = f.bytes;
		else if (wire_is(&f, REQUEST_PAYLOAD, WIRE_BYTES))
			req->payload = f.bytes;
		else if (wire_is(&f, REQUEST_TIMEOUT_NANO, WIRE_VARINT))
			req->timeout_nano = (int64_t)f.value;
		else if (wire_is(&f, REQUEST_METADATA, WIRE_BYTES))
			r = parse_key_value(f.bytes, &req->metadata);
		if (r < 0)
			return r;
	}
	if (r == 0 && buf_failed(&req->metadata))
		return -ENOMEM;
	return r;
}

int rpc_request_parse(const uint8_t *data, size_t len, struct rpc_request_in *ret)
{
	*ret = (struct rpc_request_in){.metadata = BUF_INIT};
	int r = parse_request_fields((struct rpc_slice){data, len}, ret);
	if (r < 0)
		buf_free(&ret->metadata);
	return r;
}

void rpc_request_in_free(struct rpc_request_in *r)
{
	buf_free(&r->metadata);
}

static int parse_status(struct rpc_slice s, struct rpc_response_in *resp)
{
	struct wire w = wire_of(s);
	struct wire_field f;
	int r;

	while ((r = wire_next(&w, &f)) > 0) {
		if (wire_is(&f, STATUS_CODE, WIRE_VARINT))
			resp->code = (int32_t)(uint32_t)f.value;
		else if (wire_is(&f, STATUS_MESSAGE, WIRE_BYTES))
			resp->message = f.bytes;
	}
	return r;
}

int rpc_response_parse(const uint8_t *data, size_t len, struct rpc_response_in *ret)
{
	struct wire w = wire_of((struct rpc_slice){data, len});
	struct wire_field f;
	int r;

	*ret = (struct rpc_response_in){.code = STATUS_OK};
	while ((r = wire_next(&w, &f)) > 0) {
		if (wire_is(&f, RESPONSE_STATUS, WIRE_BYTES))
			r = parse_status(f.bytes, ret);
		else if (wire_is(&f, RESPONSE_PAYLOAD, WIRE_BYTES))
			ret->payload = f.bytes;
		if (r < 0)
			return r;
	}
	return r;
}

/* ---- Unpacking within a limit -------------------------------------------------------------- */

/* What malloc() adds to each piece; the limit is on memory, not on its contents. */
#define ALLOC_OVERHEAD 16

static void *limited_alloc(void *data, size_t size)
{
	size_t *left = data;
	if (size > RPC_DECODED_MAX || size + ALLOC_OVERHEAD > *left)
		return NULL;
	void *p = malloc(size);
	if (p)
		*left -= size + ALLOC_OVERHEAD;
	return p;
}

static void limited_free(void *data, void *p)
{
	free(p);
}

ProtobufCMessage *rpc_unpack(const ProtobufCMessageDescriptor *desc, struct rpc_slice payload,
			     size_t *ret_size)
{
	size_t left = RPC_DECODED_MAX;
	ProtobufCAllocator limited = {limited_alloc, limited_free, &left};

	ProtobufCMessage *m = protobuf_c_message_unpack(desc, &limited, payload.len, payload.data);
	if (ret_size)
		*ret_size = RPC_DECODED_MAX - left;
	return m;
}

/* ---- Requests and responses to send -------------------------------------------------------- */

static size_t varint_size(uint64_t v)
{
	size_t n = 1;
	while (v >>= 7)
		n++;
	return n;
}

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		*p++ = (uint8_t)(v | 0x80);
	*p++ = (uint8_t)v;
	return p;
}

/* All field numbers here are below 16, so a tag is one byte. */
static uint8_t *put_tag(uint8_t *p, unsigned number, enum wire_type type)
{
	*p++ = (uint8_t)(number << 3 | type);
	return p;
}

static size_t bytes_size(size_t len)
{
	return 1 + varint_size(len) + len;
}

/* Without the bytes themselves. */
static uint8_t *put_bytes_head(uint8_t *p, unsigned number, size_t len)
{
	return put_varint(put_tag(p, number, WIRE_BYTES), len);
}

static uint8_t *put_text(uint8_t *p, unsigned number, const char *s, size_t len)
{
	p = put_bytes_head(p, number, len);
	memcpy(p, s, len);
	return p + len;
}

static uint8_t *put_message(uint8_t *p, unsigned number, const ProtobufCMessage *m, size_t len)
{
	p = put_bytes_head(p, number, len);
	size_t packed = protobuf_c_message_pack(m, p);
	assert(packed == len);
	return p + packed;
}

static size_t key_value_size(const char *key, const char *value)
{
	return bytes_size(strlen(key)) + bytes_size(strlen(value));
}

static uint8_t *put_key_value(uint8_t *p, const char *key, const char *value)
{
	p = put_bytes_head(p, REQUEST_METADATA, key_value_size(key, value));
	p = put_text(p, KEY_VALUE_KEY, key, strlen(key));
	return put_text(p, KEY_VALUE_VALUE, value, strlen(value));
}

static size_t request_size(const struct rpc_request_out *req, size_t payload)
{
	size_t size = bytes_size(strlen(req->service)) + bytes_size(strlen(req->method)) +
		      (req->message ? bytes_size(payload) : 0);
	if (req->timeout_nano)
		size += 1 + varint_size((uint64_t)req->timeout_nano);
	for (const char *const *kv = req->metadata; kv && kv[0]; kv += 2)
		size += bytes_size(key_value_size(kv[0], kv[1]));
	return size;
}

int rpc_request_frame(const struct rpc_request_out *req, struct rpc_frame **ret, size_t *ret_size)
{
	size_t payload = req->message ? protobuf_c_message_get_packed_size(req->message) : 0;
	*ret_size = request_size(req, payload);
	if (payload > RPC_DATA_MAX || *ret_size > RPC_DATA_MAX)
		return -EMSGSIZE;
	struct rpc_frame *f = rpc_frame_new(*ret_size, RPC_FRAME_REQUEST, 0, 0);
	if (!f)
		return -ENOMEM;

	uint8_t *p = f->bytes + RPC_HEADER_SIZE;
	p = put_text(p, REQUEST_SERVICE, req->service, strlen(req->service));
	p = put_text(p, REQUEST_METHOD, req->method, strlen(req->method));
	if (req->message)
		p = put_message(p, REQUEST_PAYLOAD, req->message, payload);
	if (req->timeout_nano)
		p = put_varint(put_tag(p, REQUEST_TIMEOUT_NANO, WIRE_VARINT),
			       (uint64_t)req->timeout_nano);
	for (const char *const *kv = req->metadata; kv && kv[0]; kv += 2)
		p = put_key_value(p, kv[0], kv[1]);
	assert(p == f->bytes + f->len);
	*ret = f;
	return 0;
}

void rpc_frame_set_stream(struct rpc_frame *f, uint32_t stream)
{
	struct rpc_header h;
	rpc_header_parse(f->bytes, &h);
	h.stream = stream;
	rpc_header_write(f->bytes, &h);
}

int rpc_response_frame(uint32_t stream, const ProtobufCMessage *message, struct rpc_frame **ret,
		       size_t *ret_size)
{
	size_t payload = message ? protobuf_c_message_get_packed_size(message) : 0;
	*ret_size = payload ? bytes_size(payload) : 0;
	if (payload > RPC_DATA_MAX || *ret_size > RPC_DATA_MAX)
		return -EMSGSIZE;
	struct rpc_frame *f = rpc_frame_new(*ret_size, RPC_FRAME_RESPONSE, stream, 0);
	if (!f)
		return -ENOMEM;
	if (payload)
		(void)put_message(f->bytes + RPC_HEADER_SIZE, RESPONSE_PAYLOAD, message, payload);
	*ret = f;
	return 0;
}

struct rpc_frame *rpc_status_frame(uint32_t stream, int code, const char *text)
{
	char message[ERR_TEXT_MAX];

	if (!text[0])
		text = status_name(code);
	rpc_text_copy(message, sizeof message, text, strlen(text));
	for (char *p = message; (p = strpbrk(p, "\t\n"));)
		*p = ' ';
	size_t len = strlen(message);
	while (len > 0 && message[len - 1] == ' ')
		len--;
	/* A negative number takes ten bytes, as protobuf has it for int32. */
	uint64_t number = (uint64_t)(int64_t)code;
	size_t status = 1 + varint_size(number) + bytes_size(len);
	struct rpc_frame *f = rpc_frame_new(bytes_size(status), RPC_FRAME_RESPONSE, stream, 0);
	if (!f)
		return NULL;
	uint8_t *p = put_bytes_head(f->bytes + RPC_HEADER_SIZE, RESPONSE_STATUS, status);
	p = put_varint(put_tag(p, STATUS_CODE, WIRE_VARINT), number);
	p = put_text(p, STATUS_MESSAGE, message, len);
	assert(p == f->bytes + f->len);
	return f;
}

/* ---- Text ---------------------------------------------------------------------------------- */

/* The length of the UTF-8 sequence at @s, or 0 if there is none (RFC 3629, section 4). */
static size_t utf8_sequence(const uint8_t *s, size_t len)
{
	static const struct {
		uint8_t first, last; /* of the first byte */
		uint8_t low, high;   /* of the second */
		uint8_t len;
	} forms[] = {
		{0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
		{0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
		{0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
		{0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
	};

	if (s[0] < 0x80)
		return 1;
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		if (s[0] < forms[i].first || s[0] > forms[i].last)
			continue;
		if (len < forms[i].len || s[1] < forms[i].low || s[1] > forms[i].high)
			return 0;
		for (size_t k = 2; k < forms[i].len; k++)
			if ((s[k] & 0xc0) != 0x80)
				return 0;
		return forms[i].len;
	}
	return 0;
}

static bool is_control(uint8_t c)
{
	return (c < 0x20 && c != '\t' && c != '\n') || c == 0x7f;
}

void rpc_text_copy(char *dst, size_t size, const char *src, size_t len)
{
	const uint8_t *s = (const uint8_t *)src;
	size_t at = 0;

	for (size_t i = 0; i < len;) {
		size_t n = utf8_sequence(s + i, len - i);
		if (at + (n ? n : 1) >= size)
			break;
		if (n == 0 || is_control(s[i])) {
			dst[at++] = '?';
			i++;
			continue;
		}
		memcpy(dst + at, s + i, n);
		at += n;
		i += n;
	}
	dst[at] = '\0';
}
