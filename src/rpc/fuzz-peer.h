/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzers only: the far end of a connection on the same loop, which writes the input, half-closes,
 * drops what it reads, and stops the loop once the connection has ended. */
#pragma once

#include "base/fd.h"
#include "io/loop.h"

#include <stdint.h>
#include <sys/socket.h>

struct fuzz_peer {
	struct loop *loop;
	struct loop_io *io;
	int fd;
	const uint8_t *data;
	size_t left;
};

static void fuzz_peer_write(struct fuzz_peer *p)
{
	ssize_t n = p->left ? send(p->fd, p->data, p->left, MSG_NOSIGNAL) : 0;
	if (n > 0) {
		p->data += n;
		p->left -= (size_t)n;
	} else if (n < 0 && errno != EAGAIN) {
		p->left = 0;
	}
	if (p->left == 0) {
		(void)shutdown(p->fd, SHUT_WR);
		loop_io_set(p->io, LOOP_READ);
	}
}

static void fuzz_peer_on_io(void *arg, unsigned events)
{
	struct fuzz_peer *p = arg;
	char drop[4096];

	if (events & LOOP_WRITE)
		fuzz_peer_write(p);
	if (!(events & LOOP_READ))
		return;
	ssize_t n = recv(p->fd, drop, sizeof drop, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		loop_io_free(p->io);
		p->io = NULL;
		loop_stop(p->loop);
	}
}

/* Runs the loop until the other side has closed. Consumes @fd. */
static void fuzz_peer_run(struct loop *loop, int fd, const uint8_t *data, size_t size)
{
	struct fuzz_peer p = {.loop = loop, .fd = fd, .data = data, .left = size};

	if (loop_io_new(loop, fd, LOOP_READ | LOOP_WRITE, fuzz_peer_on_io, &p, &p.io) < 0)
		abort();
	loop_run(loop);
	(void)close_fd(fd);
}
