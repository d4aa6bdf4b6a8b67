/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door for threads other than the loop's: a call is posted to the loop, and its caller waits
 * until the loop or the clock says how it ended. Whoever comes last frees the call.
 */
#include "devices/vsock-internal.h"

#include "base/clock.h"

#include <pthread.h>
#include <sys/socket.h>

struct call {
	struct vsock *v; /* holds a reference */
	uint32_t port;
	uint64_t deadline_ms;
	int device_fd; /* the loop's, once it runs */

	pthread_mutex_t lock; /* guards what follows; taken alone */
	pthread_cond_t ended;
	unsigned refs;
	bool done;
	int result;
};

static void call_unref(struct call *call)
{
	pthread_mutex_lock(&call->lock);
	unsigned left = --call->refs;
	pthread_mutex_unlock(&call->lock);
	if (left > 0)
		return;
	(void)close_fd(call->device_fd);
	pthread_cond_destroy(&call->ended);
	pthread_mutex_destroy(&call->lock);
	vsock_unref(call->v);
	free(call);
}

static void on_ended(void *arg, int r, uint32_t host_port, int fd)
{
	struct call *call = arg;

	(void)host_port;
	(void)fd;
	pthread_mutex_lock(&call->lock);
	call->done = true;
	call->result = r;
	pthread_cond_signal(&call->ended);
	pthread_mutex_unlock(&call->lock);
	call_unref(call);
}

static void start(void *arg)
{
	struct call *call = arg;
	int fd = TAKE_FD(call->device_fd);

	if (call->v->freed) {
		(void)close_fd(fd);
		on_ended(call, -ECANCELED, 0, -EBADF);
		return;
	}
	int r = vsock_open(call->v, call->port, fd, call->deadline_ms, on_ended, call, NULL);
	if (r < 0)
		on_ended(call, r, 0, -EBADF);
}

static struct call *call_new(struct vsock *v, uint32_t port, uint64_t deadline_ms, int device_fd)
{
	pthread_condattr_t attr;
	struct call *call = calloc(1, sizeof *call);
	if (!call)
		return NULL;
	call->v = v;
	__atomic_add_fetch(&v->refs, 1, __ATOMIC_RELAXED);
	call->port = port;
	call->deadline_ms = deadline_ms;
	call->device_fd = device_fd;
	call->refs = 2;
	pthread_mutex_init(&call->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&call->ended, &attr);
	pthread_condattr_destroy(&attr);
	return call;
}

static int wait_for(struct call *call)
{
	struct timespec until = {.tv_sec = (time_t)(call->deadline_ms / 1000),
				 .tv_nsec = (long)(call->deadline_ms % 1000) * 1000000};
	int r = 0;

	pthread_mutex_lock(&call->lock);
	while (!call->done && r == 0) {
		if (call->deadline_ms)
			r = pthread_cond_timedwait(&call->ended, &call->lock, &until);
		else
			r = pthread_cond_wait(&call->ended, &call->lock);
	}
	r = call->done ? call->result : -ETIMEDOUT;
	pthread_mutex_unlock(&call->lock);
	return r;
}

static int explain(uint32_t port, int r, struct err *e)
{
	switch (r) {
	case -ECONNREFUSED:
		return err_set(e, r, "connect to vsock port %u: nobody listens in the guest", port);
	case -ETIMEDOUT:
		return err_set(e, r, "connect to vsock port %u: the guest did not answer in time",
			       port);
	case -ECONNRESET:
		return err_set(e, r, "connect to vsock port %u: the machine has ended", port);
	case -ENOSPC:
		return err_set(e, r, "connect to vsock port %u: %d connections exist already", port,
			       VSOCK_CONNS_MAX);
	default:
		return err_errno(e, r, "connect to vsock port %u", port);
	}
}

int vsock_connect(struct vsock *v, uint32_t guest_port, uint64_t deadline_ms, struct err *e)
{
	int sv[2];

	if (loop_is_current(v->loop))
		return err_set(e, -EDEADLK,
			       "connect to vsock port %u: the loop's thread must not "
			       "wait for itself",
			       guest_port);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return err_errno(e, -errno, "make a socket pair for vsock port %u", guest_port);
	_cleanup_close_ int mine = sv[0];
	struct call *call = call_new(v, guest_port, deadline_ms, sv[1]);
	if (!call) {
		(void)close(sv[1]);
		return explain(guest_port, -ENOMEM, e);
	}
	int r = loop_post(v->loop, start, call);
	if (r < 0)
		call_unref(call); /* the loop's share */
	else
		r = wait_for(call);
	call_unref(call);
	return r < 0 ? explain(guest_port, r, e) : TAKE_FD(mine);
}
