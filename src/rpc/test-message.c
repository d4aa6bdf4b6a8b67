/* SPDX-License-Identifier: Apache-2.0 */
/* The hand-written reader and writer against the generated ones. */
#include "rpc/message.h"

#include "base/testing.h"
#include "proto/agent.pb-c.h"
#include "proto/task_service.pb-c.h"
#include "proto/ttrpc.pb-c.h"

#include <string.h>

static bool slice_is(struct rpc_slice s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

static void a_request_is_what_the_generated_code_packs(void **state)
{
	static const char *const metadata[] = {"containerd-namespace-ttrpc", "k8s.io", "a", "",
					       NULL};
	Containerd__Task__V2__StateRequest m = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
	const struct rpc_request_out out = {.service = "containerd.task.v2.Task",
					    .method = "State",
					    .message = &m.base,
					    .timeout_nano = 5000000000,
					    .metadata = metadata};
	struct rpc_frame *f;
	size_t size;

	m.id = "c1";
	assert_int_equal(rpc_request_frame(&out, &f, &size), 0);
	rpc_frame_set_stream(f, 7);
	assert_int_equal(size, f->len - RPC_HEADER_SIZE);
	Ttrpc__Request *req = ttrpc__request__unpack(NULL, size, f->bytes + RPC_HEADER_SIZE);
	assert_non_null(req);
	assert_string_equal(req->service, "containerd.task.v2.Task");
	assert_string_equal(req->method, "State");
	assert_int_equal(req->timeout_nano, 5000000000);
	assert_int_equal(req->n_metadata, 2);
	assert_string_equal(req->metadata[0]->value, "k8s.io");

	assert_int_equal(ttrpc__request__get_packed_size(req), size - 2); /* the empty value */
	ttrpc__request__free_unpacked(req, NULL);

	struct rpc_header h;
	struct rpc_request_in in;
	rpc_header_parse(f->bytes, &h);
	assert_int_equal(h.stream, 7);
	assert_int_equal(h.type, RPC_FRAME_REQUEST);
	assert_int_equal(h.length, size);
	assert_int_equal(rpc_request_parse(f->bytes + RPC_HEADER_SIZE, size, &in), 0);
	assert_true(slice_is(in.service, "containerd.task.v2.Task"));
	assert_true(slice_is(in.method, "State"));
	assert_int_equal(in.timeout_nano, 5000000000);
	assert_int_equal(in.metadata.len, sizeof "containerd-namespace-ttrpc\0k8s.io\0a\0");
	assert_memory_equal(in.metadata.data, "containerd-namespace-ttrpc\0k8s.io\0a\0\0",
			    in.metadata.len);
	rpc_request_in_free(&in);
	rpc_frame_free(f);
}

static void a_generated_request_is_parsed(void **state)
{
	Ttrpc__Request req = TTRPC__REQUEST__INIT;
	uint8_t wire[64];
	struct rpc_request_in in;

	req.service = "s";
	req.method = "m";
	req.payload = (ProtobufCBinaryData){3, (uint8_t *)"\x01\x00\x02"};
	req.timeout_nano = -1;
	size_t len = ttrpc__request__pack(&req, wire);
	assert_int_equal(rpc_request_parse(wire, len, &in), 0);
	assert_true(slice_is(in.service, "s"));
	assert_true(slice_is(in.method, "m"));
	assert_int_equal(in.payload.len, 3);
	assert_memory_equal(in.payload.data, "\x01\x00\x02", 3);
	assert_int_equal(in.timeout_nano, -1);
	assert_int_equal(in.metadata.len, 0);
	/* Every truncation is refused or is a shorter request; none reads beyond the end. */
	for (size_t i = 0; i < len; i++) {
		uint8_t *copy = malloc(i ? i : 1);
		assert_non_null(copy);
		memcpy(copy, wire, i);
		int r = rpc_request_parse(copy, i, &in);
		assert_true(r == 0 || r == -EBADMSG);
		if (r == 0)
			rpc_request_in_free(&in);
		free(copy);
	}
}

static void malformed_requests_are_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {
		{"\x0a", 1}, /* no length */
		{"\x0a\x05"
		 "abc",
		 5},							  /* too short */
		{"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},	  /* length 2^64 - 1 */
		{"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11},	  /* beyond 64 bits */
		{"\x20\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 12}, /* 11 bytes */
		{"\x00\x01", 2},					  /* field number 0 */
		{"\x0b", 1},						  /* a group */
		{"\x0c", 1},
		{"\x0f", 1}, /* no such wire type */
		{"\x31\x01\x02", 3},
		{"\x35\x01\x02", 3},
		{"\x80\x80\x80\x80\x80\x01\x00", 7}, /* field number 2^32 */
		{"\x2a\x02\x0a\x05", 4},	     /* metadata: key too short */
		{"\x2a\x04\x0a\x02"
		 "a\0",
		 6}, /* metadata: NUL in a key */
	};
	struct rpc_request_in in;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint8_t *copy = malloc(bad[i].len);
		assert_non_null(copy);
		memcpy(copy, bad[i].bytes, bad[i].len);
		assert_int_equal(rpc_request_parse(copy, bad[i].len, &in), -EBADMSG);
		free(copy);
	}
}

static void unknown_fields_are_skipped(void **state)
{
	static const char wire[] = "\x78\x05" /* 15: varint */
				   "\x79"
				   "12345678" /* 15: 64 bits */
				   "\x7d"
				   "1234" /* 15: 32 bits */
				   "\x7a\x02"
				   "zz"	      /* 15: bytes */
				   "\x08\x05" /* service, but a varint */
				   "\x0a\x01"
				   "a\x0a\x01"
				   "s"; /* twice: the last one counts */
	struct rpc_request_in in;

	assert_int_equal(rpc_request_parse((const uint8_t *)wire, sizeof wire - 1, &in), 0);
	assert_true(slice_is(in.service, "s"));
	rpc_request_in_free(&in);
}

static void metadata_has_a_limit(void **state)
{
	struct buf wire = BUF_INIT;
	struct rpc_request_in in;

	for (unsigned i = 0; i < RPC_METADATA_MAX / 4; i++)
		buf_append(&wire, "\x2a\x06\x0a\x01k\x12\x01v", 8);
	assert_false(buf_failed(&wire));
	assert_int_equal(rpc_request_parse((uint8_t *)wire.data, wire.len, &in), 0);
	assert_int_equal(in.metadata.len, RPC_METADATA_MAX);
	rpc_request_in_free(&in);
	buf_append(&wire, "\x2a\x00", 2);
	assert_int_equal(rpc_request_parse((uint8_t *)wire.data, wire.len, &in), -E2BIG);
	buf_clear(&wire);

	/* one long value */
	uint32_t n = RPC_METADATA_MAX - 2;
	for (; n <= RPC_METADATA_MAX; n++) {
		char *value = malloc(n + 1);
		assert_non_null(value);
		memset(value, 'v', n);
		value[n] = '\0';
		const char *const metadata[] = {"", value, NULL};
		Containerd__Task__V2__StateRequest m = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
		struct rpc_request_out out = {"s", "m", &m.base, 0, metadata};
		struct rpc_frame *f;
		size_t size;
		assert_int_equal(rpc_request_frame(&out, &f, &size), 0);
		assert_int_equal(rpc_request_parse(f->bytes + RPC_HEADER_SIZE, size, &in),
				 n > RPC_METADATA_MAX - 2 ? -E2BIG : 0);
		if (n <= RPC_METADATA_MAX - 2)
			rpc_request_in_free(&in);
		rpc_frame_free(f);
		free(value);
	}
	buf_free(&wire);
}

static void responses_round_trip(void **state)
{
	Containerd__Task__V2__ConnectResponse m = CONTAINERD__TASK__V2__CONNECT_RESPONSE__INIT;
	struct rpc_response_in in;
	struct rpc_frame *f;
	size_t size;

	m.shim_pid = 300;
	m.version = "x";
	assert_int_equal(rpc_response_frame(5, &m.base, &f, &size), 0);
	Ttrpc__Response *r = ttrpc__response__unpack(NULL, size, f->bytes + RPC_HEADER_SIZE);
	assert_non_null(r);
	assert_null(r->status);
	assert_int_equal(rpc_response_parse(f->bytes + RPC_HEADER_SIZE, size, &in), 0);
	assert_int_equal(in.code, 0);
	assert_int_equal(in.payload.len, r->payload.len);
	assert_memory_equal(in.payload.data, r->payload.data, r->payload.len);
	Containerd__Task__V2__ConnectResponse *got =
		(Containerd__Task__V2__ConnectResponse *)rpc_unpack(
			&containerd__task__v2__connect_response__descriptor, in.payload, NULL);
	assert_non_null(got);
	assert_int_equal(got->shim_pid, 300);
	containerd__task__v2__connect_response__free_unpacked(got, NULL);
	ttrpc__response__free_unpacked(r, NULL);
	rpc_frame_free(f);

	/* an empty message is an empty frame */
	assert_int_equal(rpc_response_frame(5, NULL, &f, &size), 0);
	assert_int_equal(size, 0);
	assert_int_equal(f->len, RPC_HEADER_SIZE);
	rpc_frame_free(f);
}

static void failures_round_trip(void **state)
{
	static const int codes[] = {1, 5, 16, 127, 128, 1 << 30, -1};

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		struct rpc_response_in in;
		struct rpc_frame *f = rpc_status_frame(9, codes[i], "no\tsuch\n\xc3\xa4 \xff\n");
		assert_non_null(f);
		size_t len = f->len - RPC_HEADER_SIZE;
		Ttrpc__Response *r = ttrpc__response__unpack(NULL, len, f->bytes + RPC_HEADER_SIZE);
		assert_non_null(r);
		assert_int_equal(r->status->code, codes[i]);
		assert_string_equal(r->status->message, "no such \xc3\xa4 ?");
		ttrpc__response__free_unpacked(r, NULL);
		assert_int_equal(rpc_response_parse(f->bytes + RPC_HEADER_SIZE, len, &in), 0);
		assert_int_equal(in.code, codes[i]);
		assert_true(slice_is(in.message, "no such \xc3\xa4 ?"));
		rpc_frame_free(f);
	}
}

static void a_failure_is_never_without_words(void **state)
{
	struct rpc_response_in in;
	struct rpc_frame *f = rpc_status_frame(9, STATUS_NOT_FOUND, "");

	assert_non_null(f);
	assert_int_equal(
		rpc_response_parse(f->bytes + RPC_HEADER_SIZE, f->len - RPC_HEADER_SIZE, &in), 0);
	assert_true(slice_is(in.message, "NOT_FOUND"));
	rpc_frame_free(f);
}

static void the_largest_response_is_exact(void **state)
{
	Grpc__ReadStreamResponse m = GRPC__READ_STREAM_RESPONSE__INIT;
	/* two heads of one tag byte and a length of four bytes each, the inner one's included */
	const size_t fits = RPC_DATA_MAX - 2 * 5 + 1;
	struct rpc_frame *f;
	size_t size;

	m.data.data = calloc(1, RPC_DATA_MAX);
	assert_non_null(m.data.data);
	m.data.len = RPC_DATA_MAX;
	assert_int_equal(rpc_response_frame(1, &m.base, &f, &size), -EMSGSIZE);
	assert_true(size > RPC_DATA_MAX);
	for (m.data.len = fits - 2; m.data.len <= fits + 2; m.data.len++) {
		int r = rpc_response_frame(1, &m.base, &f, &size);
		assert_int_equal(r, size > RPC_DATA_MAX ? -EMSGSIZE : 0);
		if (r == 0)
			rpc_frame_free(f);
	}
	assert_true(size > RPC_DATA_MAX);
	free(m.data.data);
}

static void a_message_that_grows_too_much_is_refused(void **state)
{
	/* Two bytes on the wire, a hundred in memory: an empty element. */
	const size_t n = RPC_DATA_MAX / 2;
	uint8_t *wire = malloc(2 * n);
	size_t size;

	assert_non_null(wire);
	for (size_t i = 0; i < n; i++) {
		wire[2 * i] = 0x12; /* StatsContainerResponse.network_stats */
		wire[2 * i + 1] = 0;
	}
	const ProtobufCMessageDescriptor *desc = &grpc__stats_container_response__descriptor;
	assert_null(rpc_unpack(desc, (struct rpc_slice){wire, 2 * n}, &size));
	ProtobufCMessage *m = rpc_unpack(desc, (struct rpc_slice){wire, 2000}, &size);
	assert_non_null(m);
	assert_true(size > 1000 * sizeof(Grpc__NetworkStats));
	protobuf_c_message_free_unpacked(m, NULL);
	free(wire);
}

static void text_is_cleaned(void **state)
{
	static const struct {
		const char *in, *out;
	} texts[] = {
		{"plain", "plain"},
		{"tab\tline\n", "tab\tline\n"},
		{"bell\a\x1b[0m\x7f\r", "bell??[0m??"},
		{"\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x8b", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x8b"},
		{"\xc0\xaf", "??"}, /* overlong */
		{"\xe0\x80\xaf", "???"},
		{"\xed\xa0\x80", "???"},      /* a surrogate */
		{"\xf4\x90\x80\x80", "????"}, /* beyond U+10FFFF */
		{"\xe2\x82", "??"},	      /* cut off */
		{"a\xe2\x28\xa1", "a?(?"},
		{"", ""},
	};
	char out[64];

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		rpc_text_copy(out, sizeof out, texts[i].in, strlen(texts[i].in));
		assert_string_equal(out, texts[i].out);
	}
	rpc_text_copy(out, 4, "ab\xe2\x82\xac", 5); /* never half a character */
	assert_string_equal(out, "ab");
	rpc_text_copy(out, 6, "ab\xe2\x82\xac", 5);
	assert_string_equal(out, "ab\xe2\x82\xac");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_what_the_generated_code_packs),
		cmocka_unit_test(a_generated_request_is_parsed),
		cmocka_unit_test(malformed_requests_are_refused),
		cmocka_unit_test(unknown_fields_are_skipped),
		cmocka_unit_test(metadata_has_a_limit),
		cmocka_unit_test(responses_round_trip),
		cmocka_unit_test(failures_round_trip),
		cmocka_unit_test(a_failure_is_never_without_words),
		cmocka_unit_test(the_largest_response_is_exact),
		cmocka_unit_test(a_message_that_grows_too_much_is_refused),
		cmocka_unit_test(text_is_cleaned),
	};
	return RUN_TESTS();
}
