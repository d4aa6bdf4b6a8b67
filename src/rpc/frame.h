/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttrpc frames on the wire: cutting a byte stream into frames, and frames that wait to be sent.
 *
 * Nothing here knows about calls. Not thread-safe; whoever owns the object serialises.
 */
#pragma once

#include "base/list.h"
#include "rpc/rpc.h"

#include <stddef.h>
#include <stdint.h>

#define RPC_HEADER_SIZE 10u

enum rpc_frame_type {
	RPC_FRAME_REQUEST = 1,
	RPC_FRAME_RESPONSE = 2,
	RPC_FRAME_DATA = 3,
};

enum rpc_frame_flag {
	RPC_FLAG_REMOTE_CLOSED = 1,
	RPC_FLAG_REMOTE_OPEN = 2,
	RPC_FLAG_NO_DATA = 4,
};

struct rpc_header {
	uint32_t length; /* of the data, without this header */
	uint32_t stream;
	uint8_t type;
	uint8_t flags;
};

void rpc_header_parse(const uint8_t *p, struct rpc_header *ret);
void rpc_header_write(uint8_t *p, const struct rpc_header *h);

/** One frame that came in. @data lives until the reader is touched again. */
struct rpc_frame_in {
	struct rpc_header header;
	const uint8_t *data;
	bool oversize; /* the data exceeded RPC_DATA_MAX and was thrown away */
};

/* Room for a read while the length of the next frame is unknown. */
#define RPC_READ_MIN 4096u

/**
 * Cuts the input into frames. Holds at most one incomplete frame, in place: the data of a frame is
 * read straight to where it is parsed. Zero-initialised it is empty; empty it owns no memory.
 */
struct rpc_reader {
	uint8_t *data; /* owned */
	size_t start, end, cap;
	struct rpc_header skipped; /* of the frame that is being thrown away */
	uint32_t skip;		   /* bytes of it that are still to come */
	bool skipping;
};

/** Where the next bytes go and how many fit, at least one. NULL: out of memory. */
void *rpc_reader_space(struct rpc_reader *r, size_t *ret_len);
/** @n bytes were put there. */
void rpc_reader_added(struct rpc_reader *r, size_t n);
/** One read(2): the number of bytes, 0 at end of file, or a negative errno (-EAGAIN: none now). */
ssize_t rpc_reader_fill(struct rpc_reader *r, int fd);
/** 1 and the next frame, or 0 if more bytes are needed. */
int rpc_reader_next(struct rpc_reader *r, struct rpc_frame_in *ret);
/** Whether rpc_reader_next() would return a frame. */
bool rpc_reader_ready(const struct rpc_reader *r);
/** Whether the input ended, or stands, inside of a frame. */
bool rpc_reader_midway(const struct rpc_reader *r);
/** Gives memory back; between bursts. */
void rpc_reader_trim(struct rpc_reader *r);
void rpc_reader_free(struct rpc_reader *r);

/** A frame to send: header and data in one piece, in one allocation. */
struct rpc_frame {
	struct list link;
	size_t len; /* of bytes */
	size_t sent;
	uint8_t bytes[];
};

/** Makes a frame whose data is yet to be written, at bytes + RPC_HEADER_SIZE. NULL: no memory. */
struct rpc_frame *rpc_frame_new(size_t data_len, uint8_t type, uint32_t stream, uint8_t flags);
void rpc_frame_free(struct rpc_frame *f);

struct rpc_queue {
	struct list frames;
	size_t bytes; /* not sent yet */
};

void rpc_queue_init(struct rpc_queue *q);
/** Consumes @f. */
void rpc_queue_push(struct rpc_queue *q, struct rpc_frame *f);
/** Sends what the socket takes: 0 when all has left, -EAGAIN when it is full, or an error. */
int rpc_queue_flush(struct rpc_queue *q, int fd);
void rpc_queue_clear(struct rpc_queue *q);
