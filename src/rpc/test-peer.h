/* SPDX-License-Identifier: Apache-2.0 */
/* Tests only: a loop on a thread of its own, and the far end of a connection as raw bytes. */
#pragma once

#include "base/testing.h"
#include "io/loop.h"
#include "proto/task_service.pb-c.h"
#include "proto/ttrpc.pb-c.h"
#include "rpc/frame.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

/* Longer than any machine takes; a test that waits for so long has failed. */
#define PEER_TIMEOUT_MS 20000

struct test_loop {
	struct loop *loop;
	pthread_t thread;
	bool running;
};

static void *test_loop_main(void *arg)
{
	loop_run(arg);
	return NULL;
}

static void test_loop_started(void *arg)
{
	assert_int_equal(write(*(int *)arg, "x", 1), 1);
}

static _unused_ void test_loop_start(struct test_loop *t)
{
	int fds[2];
	char c;

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(loop_post(t->loop, test_loop_started, &fds[1]), 0);
	assert_int_equal(pthread_create(&t->thread, NULL, test_loop_main, t->loop), 0);
	assert_int_equal(read(fds[0], &c, 1), 1);
	close(fds[0]);
	close(fds[1]);
	t->running = true;
}

static _unused_ void test_loop_stop(struct test_loop *t)
{
	if (!t->running)
		return;
	loop_stop(t->loop);
	pthread_join(t->thread, NULL);
	t->running = false;
}

struct posted_and_done {
	void (*fn)(void *arg);
	void *arg;
	int fd;
};

static void test_run_posted(void *arg)
{
	struct posted_and_done *p = arg;
	p->fn(p->arg);
	assert_int_equal(write(p->fd, "x", 1), 1);
}

/* Runs fn(arg) on the loop thread and waits for it. */
static _unused_ void test_on_loop(struct test_loop *t, void (*fn)(void *arg), void *arg)
{
	int fds[2];
	char c;

	assert_int_equal(pipe(fds), 0);
	struct posted_and_done p = {fn, arg, fds[1]};
	assert_int_equal(loop_post(t->loop, test_run_posted, &p), 0);
	assert_int_equal(read(fds[0], &c, 1), 1);
	close(fds[0]);
	close(fds[1]);
}

static _unused_ void peer_write(int fd, const void *data, size_t len)
{
	const char *p = data;
	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
		assert_true(n > 0);
		p += n;
		len -= (size_t)n;
	}
}

static _unused_ void peer_send(int fd, uint32_t stream, uint8_t type, uint8_t flags,
			       const void *data, uint32_t len)
{
	uint8_t h[RPC_HEADER_SIZE];
	const struct rpc_header header = {len, stream, type, flags};

	rpc_header_write(h, &header);
	peer_write(fd, h, sizeof h);
	if (len)
		peer_write(fd, data, len);
}

/* Reads exactly so much, or fails the test; false at end of file. */
static _unused_ bool peer_read(int fd, void *data, size_t len)
{
	char *p = data;
	while (len > 0) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		assert_int_equal(poll(&pfd, 1, PEER_TIMEOUT_MS), 1);
		ssize_t n = recv(fd, p, len, 0);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return false;
		assert_true(n > 0);
		p += n;
		len -= (size_t)n;
	}
	return true;
}

/* Whether nothing arrives for a while. */
static _unused_ bool peer_silent(int fd, int ms)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	return poll(&pfd, 1, ms) == 0;
}

/* The next frame; its data is to be freed. */
static _unused_ uint8_t *peer_receive(int fd, struct rpc_header *ret)
{
	uint8_t h[RPC_HEADER_SIZE];

	assert_true(peer_read(fd, h, sizeof h));
	rpc_header_parse(h, ret);
	assert_true(ret->length <= RPC_DATA_MAX);
	uint8_t *data = malloc(ret->length + 1);
	assert_non_null(data);
	if (ret->length)
		assert_true(peer_read(fd, data, ret->length));
	return data;
}

/* The next frame, which must be a response; to be freed. */
static _unused_ Ttrpc__Response *peer_response(int fd, uint32_t *ret_stream)
{
	struct rpc_header h;
	uint8_t *data = peer_receive(fd, &h);

	assert_int_equal(h.type, RPC_FRAME_RESPONSE);
	assert_int_equal(h.flags, 0);
	*ret_stream = h.stream;
	Ttrpc__Response *r = ttrpc__response__unpack(NULL, h.length, data);
	assert_non_null(r);
	free(data);
	return r;
}

/* The next frame must be a response on this stream with this status. */
static _unused_ void peer_expect_status(int fd, uint32_t stream, int code)
{
	uint32_t got;
	Ttrpc__Response *r = peer_response(fd, &got);

	assert_int_equal(got, stream);
	assert_non_null(r->status);
	assert_int_equal(r->status->code, code);
	assert_true(strlen(r->status->message) > 0);
	ttrpc__response__free_unpacked(r, NULL);
}

static _unused_ bool peer_closed(int fd)
{
	char c;
	return !peer_read(fd, &c, 1);
}
