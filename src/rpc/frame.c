/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/frame.h"

#include <assert.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Above this an empty tail of the input buffer is worth giving back while a frame is incomplete. */
#define READER_SLACK_MAX (64u << 10)
/* Frames that one system call sends. */
#define FLUSH_FRAMES 32

static uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

void rpc_header_parse(const uint8_t *p, struct rpc_header *ret)
{
	*ret = (struct rpc_header){
		.length = get_be32(p),
		.stream = get_be32(p + 4),
		.type = p[8],
		.flags = p[9],
	};
}

void rpc_header_write(uint8_t *p, const struct rpc_header *h)
{
	put_be32(p, h->length);
	put_be32(p + 4, h->stream);
	p[8] = h->type;
	p[9] = h->flags;
}

/* ---- Input -------------------------------------------------------------------------------- */

static size_t reader_held(const struct rpc_reader *r)
{
	return r->end - r->start;
}

/* The buffer size that the frame at hand asks for. Its length was checked by rpc_reader_next(). */
static size_t reader_target(const struct rpc_reader *r)
{
	if (r->skipping || reader_held(r) < RPC_HEADER_SIZE)
		return RPC_READ_MIN;
	size_t need = RPC_HEADER_SIZE + (size_t)get_be32(r->data + r->start);
	return need < RPC_READ_MIN ? RPC_READ_MIN : need;
}

static void reader_compact(struct rpc_reader *r)
{
	if (r->start == 0)
		return;
	memmove(r->data, r->data + r->start, reader_held(r));
	r->end -= r->start;
	r->start = 0;
}

void *rpc_reader_space(struct rpc_reader *r, size_t *ret_len)
{
	/* Moves less than one frame, and only after others before it have been taken. */
	if (r->data)
		reader_compact(r);
	size_t target = reader_target(r);
	if (r->cap < target) {
		uint8_t *data = realloc(r->data, target);
		if (!data)
			return NULL;
		r->data = data;
		r->cap = target;
	}
	assert(r->end < r->cap); /* or the caller left a whole frame lying there */
	*ret_len = r->cap - r->end;
	return r->data + r->end;
}

void rpc_reader_added(struct rpc_reader *r, size_t n)
{
	r->end += n;
}

ssize_t rpc_reader_fill(struct rpc_reader *r, int fd)
{
	size_t len;
	void *p = rpc_reader_space(r, &len);
	if (!p)
		return -ENOMEM;
	ssize_t n;
	do
		n = read(fd, p, len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	rpc_reader_added(r, (size_t)n);
	return n;
}

static int reader_skip(struct rpc_reader *r, struct rpc_frame_in *ret)
{
	size_t n = reader_held(r);
	if (n > r->skip)
		n = r->skip;
	r->start += n;
	r->skip -= (uint32_t)n;
	if (r->skip)
		return 0;
	r->skipping = false;
	*ret = (struct rpc_frame_in){.header = r->skipped, .oversize = true};
	return 1;
}

int rpc_reader_next(struct rpc_reader *r, struct rpc_frame_in *ret)
{
	struct rpc_header h;

	if (r->skipping)
		return reader_skip(r, ret);
	if (reader_held(r) < RPC_HEADER_SIZE)
		return 0;
	rpc_header_parse(r->data + r->start, &h);
	if (h.length > RPC_DATA_MAX) {
		r->start += RPC_HEADER_SIZE;
		r->skipped = h;
		r->skip = h.length;
		r->skipping = true;
		return reader_skip(r, ret);
	}
	if (reader_held(r) - RPC_HEADER_SIZE < h.length)
		return 0;
	*ret = (struct rpc_frame_in){
		.header = h,
		.data = r->data + r->start + RPC_HEADER_SIZE,
	};
	r->start += RPC_HEADER_SIZE + h.length;
	return 1;
}

bool rpc_reader_ready(const struct rpc_reader *r)
{
	size_t held = reader_held(r);
	if (r->skipping)
		return held >= r->skip;
	if (held < RPC_HEADER_SIZE)
		return false;
	uint32_t length = get_be32(r->data + r->start);
	return held - RPC_HEADER_SIZE >= length;
}

bool rpc_reader_midway(const struct rpc_reader *r)
{
	return r->skipping || reader_held(r) > 0;
}

void rpc_reader_trim(struct rpc_reader *r)
{
	if (!r->data)
		return;
	if (reader_held(r) == 0) {
		free(r->data);
		r->data = NULL;
		r->start = r->end = r->cap = 0;
		return;
	}
	/* A whole frame may lie here unread: never cut below what is held. */
	size_t keep = reader_held(r) > RPC_READ_MIN ? reader_held(r) : RPC_READ_MIN;
	if (!rpc_reader_ready(r) && reader_target(r) > keep)
		keep = reader_target(r);
	if (r->cap <= keep + READER_SLACK_MAX)
		return;
	reader_compact(r);
	uint8_t *data = realloc(r->data, keep);
	if (data) {
		r->data = data;
		r->cap = keep;
	}
}

void rpc_reader_free(struct rpc_reader *r)
{
	free(r->data);
	*r = (struct rpc_reader){.data = NULL};
}

/* ---- Output ------------------------------------------------------------------------------- */

struct rpc_frame *rpc_frame_new(size_t data_len, uint8_t type, uint32_t stream, uint8_t flags)
{
	struct rpc_header h = {
		.length = (uint32_t)data_len, .stream = stream, .type = type, .flags = flags};

	assert(data_len <= RPC_DATA_MAX);
	struct rpc_frame *f = malloc(sizeof *f + RPC_HEADER_SIZE + data_len);
	if (!f)
		return NULL;
	list_init(&f->link);
	f->len = RPC_HEADER_SIZE + data_len;
	f->sent = 0;
	rpc_header_write(f->bytes, &h);
	return f;
}

void rpc_frame_free(struct rpc_frame *f)
{
	free(f);
}

void rpc_queue_init(struct rpc_queue *q)
{
	list_init(&q->frames);
	q->bytes = 0;
}

void rpc_queue_push(struct rpc_queue *q, struct rpc_frame *f)
{
	list_add_tail(&q->frames, &f->link);
	q->bytes += f->len - f->sent;
}

/* Takes @n bytes that have left off the queue. */
static void queue_advance(struct rpc_queue *q, size_t n)
{
	q->bytes -= n;
	while (n > 0) {
		struct rpc_frame *f = list_first(&q->frames, struct rpc_frame, link);
		size_t left = f->len - f->sent;
		if (n < left) {
			f->sent += n;
			return;
		}
		n -= left;
		list_del(&f->link);
		rpc_frame_free(f);
	}
}

int rpc_queue_flush(struct rpc_queue *q, int fd)
{
	while (!list_empty(&q->frames)) {
		struct iovec iov[FLUSH_FRAMES];
		struct msghdr msg = {.msg_iov = iov};
		struct list *n;

		list_for_each (n, &q->frames) {
			struct rpc_frame *f = list_entry(n, struct rpc_frame, link);
			iov[msg.msg_iovlen++] =
				(struct iovec){f->bytes + f->sent, f->len - f->sent};
			if (msg.msg_iovlen == FLUSH_FRAMES)
				break;
		}
		ssize_t sent = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		queue_advance(q, (size_t)sent);
	}
	return 0;
}

void rpc_queue_clear(struct rpc_queue *q)
{
	while (!list_empty(&q->frames)) {
		struct rpc_frame *f = list_first(&q->frames, struct rpc_frame, link);
		list_del(&f->link);
		rpc_frame_free(f);
	}
	q->bytes = 0;
}
