/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes into the frame reader in pieces of two different sizes: both must see the same frames. */
#include "rpc/frame.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was seen, as one number (FNV-1a). */
static uint64_t mix(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;
	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3;
	return h;
}

static uint64_t take_frames(struct rpc_reader *r, uint64_t h)
{
	struct rpc_frame_in f;

	while (rpc_reader_ready(r)) {
		if (rpc_reader_next(r, &f) != 1)
			abort();
		uint8_t header[RPC_HEADER_SIZE];
		rpc_header_write(header, &f.header);
		h = mix(h, header, sizeof header);
		h = mix(h, &f.oversize, 1);
		if (f.oversize != (f.header.length > RPC_DATA_MAX))
			abort();
		if (!f.oversize)
			h = mix(h, f.data, f.header.length);
	}
	if (rpc_reader_next(r, &f) != 0)
		abort();
	return h;
}

static uint64_t read_in_pieces(const uint8_t *data, size_t size, size_t piece)
{
	struct rpc_reader r = {.data = NULL};
	uint64_t h = 0xcbf29ce484222325;

	while (size > 0) {
		size_t room;
		void *p = rpc_reader_space(&r, &room);
		if (!p || !room)
			abort();
		size_t n = size < piece ? size : piece;
		if (n > room)
			n = room;
		memcpy(p, data, n);
		rpc_reader_added(&r, n);
		data += n;
		size -= n;
		h = take_frames(&r, h);
		if (n % 2)
			rpc_reader_trim(&r);
	}
	bool midway = rpc_reader_midway(&r);
	rpc_reader_free(&r);
	return mix(h, &midway, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	size_t piece = data[0] + 1u;
	data++;
	size--;
	if (read_in_pieces(data, size, piece) != read_in_pieces(data, size, SIZE_MAX))
		abort();
	return 0;
}
