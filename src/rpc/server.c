/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server. It owns listeners, connections and the calls at hand.
 *
 * Threads: all of it lives on the loop thread, but for answering. rpc_call_reply() and its sisters
 * pack the reply where they are called, put the call on `answered` under the lock, and wake the
 * loop, which sends. A call holds a reference on the server, so that whoever holds the call may
 * answer it at any time, also after rpc_server_free().
 *
 * A call ends twice, in either order: for the peer, when a reply was queued, its deadline passed or
 * its connection ended (then call->conn is NULL, and whatever the handler says is dropped); and for
 * the handler, when it answers. Nothing in here interrupts a handler.
 *
 * Answers follow the Go implementation of ttrpc (server.go, services.go), which containerd's
 * clients expect. It differs on deadlines: here the server keeps them for its handlers.
 */
#include "rpc/server.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* Connections accepted in one turn of the loop. */
#define ACCEPTS_PER_TURN 16
/* How long accepting rests after the process ran out of descriptors or memory. */
#define ACCEPT_REST_MS 100

struct listener {
	struct list link; /* server->listeners */
	struct rpc_server *server;
	int fd; /* owned */
	struct loop_io *io;
	struct loop_timer *rest;
};

/* ---- References ---------------------------------------------------------------------------- */

static void server_destroy(struct rpc_server *s)
{
	pthread_mutex_destroy(&s->lock);
	free(s->services);
	free(s);
}

void rpc_server_unref(struct rpc_server *s, size_t held)
{
	pthread_mutex_lock(&s->lock);
	s->held -= held;
	bool last = --s->refs == 0;
	pthread_mutex_unlock(&s->lock);
	if (last)
		server_destroy(s);
}

int rpc_server_admit(struct rpc_server *s, size_t size)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (s->refs > CALLS_MAX || size > HELD_MAX - s->held) {
		r = -EBUSY;
	} else {
		s->refs++;
		s->held += size;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* ---- Services ------------------------------------------------------------------------------ */

const struct rpc_service *rpc_server_find(const struct rpc_server *s, struct rpc_slice name)
{
	for (size_t i = 0; i < s->n_services; i++)
		if (strlen(s->services[i]->name) == name.len &&
		    memcmp(s->services[i]->name, name.data, name.len) == 0)
			return s->services[i];
	return NULL;
}

const ProtobufCMethodDescriptor *rpc_service_method(const struct rpc_service *service,
						    struct rpc_slice name)
{
	for (unsigned i = 0; i < service->desc->n_methods; i++) {
		const ProtobufCMethodDescriptor *m = &service->desc->methods[i];
		if (strlen(m->name) == name.len && memcmp(m->name, name.data, name.len) == 0)
			return m;
	}
	return NULL;
}

void rpc_server_on_idle(struct rpc_server *s, void (*fn)(void *arg), void *arg)
{
	s->on_idle = fn;
	s->on_idle_arg = arg;
}

int rpc_server_add(struct rpc_server *s, const struct rpc_service *service)
{
	struct rpc_slice name = {(const uint8_t *)service->name, strlen(service->name)};

	if (rpc_server_find(s, name))
		return -EEXIST;
	for (const struct rpc_method *m = service->methods; m->name; m++) {
		name = (struct rpc_slice){(const uint8_t *)m->name, strlen(m->name)};
		if (!rpc_service_method(service, name))
			return -EINVAL;
	}
	const struct rpc_service **services =
		reallocarray(s->services, s->n_services + 1, sizeof *services);
	if (!services)
		return -ENOMEM;
	services[s->n_services++] = service;
	s->services = services;
	return 0;
}

/* ---- Listening ----------------------------------------------------------------------------- */

static void on_rested(void *arg)
{
	struct listener *l = arg;
	loop_io_set(l->io, LOOP_READ);
}

/* Whether accept() failed for this one connection only. */
static bool accept_failure_passes(int errnum)
{
	/* accept(2) hands on errors of the new socket's network. */
	switch (errnum) {
	case EINTR:
	case ECONNABORTED:
	case ENETDOWN:
	case EPROTO:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return true;
	default:
		return false;
	}
}

static void on_accept(void *arg, unsigned events)
{
	struct listener *l = arg;

	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0) {
			if (errno == EAGAIN)
				return;
			if (accept_failure_passes(errno))
				continue;
			/* Out of descriptors, most likely. The connection stays pending, so
			 * without a rest this would spin. */
			log_error("ttrpc: accept: %s", strerror(errno));
			loop_io_set(l->io, 0);
			loop_timer_start(l->rest, ACCEPT_REST_MS);
			return;
		}
		int r = rpc_server_serve(l->server, fd);
		if (r < 0) {
			log_warn("ttrpc: connection refused: %s", strerror(-r));
			(void)close_fd(fd);
		}
	}
}

static void listener_free(struct listener *l)
{
	loop_io_free(l->io);
	loop_timer_free(l->rest);
	(void)close_fd(l->fd);
	list_del(&l->link);
	free(l);
}

int rpc_server_listen(struct rpc_server *s, int fd)
{
	struct listener *l = calloc(1, sizeof *l);
	if (!l)
		return -ENOMEM;
	list_init(&l->link);
	l->server = s;
	l->fd = -EBADF; /* not ours before all is well */
	int r = fd_set_nonblock(fd, true);
	if (r == 0)
		r = loop_timer_new(s->loop, on_rested, l, &l->rest);
	if (r == 0)
		r = loop_io_new(s->loop, fd, LOOP_READ, on_accept, l, &l->io);
	if (r < 0) {
		listener_free(l);
		return r;
	}
	l->fd = fd;
	list_add_tail(&s->listeners, &l->link);
	return 0;
}

int rpc_server_serve(struct rpc_server *s, int fd)
{
	return server_conn_open(s, fd);
}

void rpc_server_stop_listening(struct rpc_server *s)
{
	while (!list_empty(&s->listeners))
		listener_free(list_first(&s->listeners, struct listener, link));
}

/* ---- The server ---------------------------------------------------------------------------- */

static void on_wake(void *arg)
{
	rpc_server_send_answered(arg);
}

int rpc_server_new(struct loop *loop, struct rpc_server **ret)
{
	struct rpc_server *s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->loop = loop;
	s->refs = 1;
	s->wake = RPC_WAKE_INIT;
	list_init(&s->listeners);
	list_init(&s->conns);
	list_init(&s->answered);
	pthread_mutex_init(&s->lock, NULL);
	int r = rpc_wake_open(&s->wake);
	if (r == 0)
		r = rpc_wake_watch(&s->wake, loop, on_wake, s);
	if (r < 0) {
		rpc_wake_close(&s->wake);
		server_destroy(s);
		return r;
	}
	*ret = s;
	return 0;
}

/* The descriptors that still have to become writable. */
static size_t unflushed(struct rpc_server *s, struct pollfd *fds)
{
	struct list *n;
	size_t count = 0;

	list_for_each (n, &s->conns) {
		struct server_conn *sc = list_entry(n, struct server_conn, link);
		rpc_conn_flush_now(&sc->conn);
		if (sc->conn.out.bytes > 0)
			fds[count++] = (struct pollfd){.fd = sc->conn.fd, .events = POLLOUT};
	}
	return count;
}

void rpc_server_flush(struct rpc_server *s, uint64_t timeout_ms)
{
	struct pollfd fds[CONNS_MAX];
	uint64_t deadline = time_now_ms() + timeout_ms;
	size_t n;

	rpc_server_send_answered(s);
	while ((n = unflushed(s, fds)) > 0) {
		int left = time_left_ms(deadline);
		if (left == 0)
			return;
		int r = poll(fds, n, left);
		if (r < 0 && errno != EINTR)
			return;
	}
}

void rpc_server_free(struct rpc_server *s)
{
	if (!s)
		return;
	s->on_idle = NULL;
	rpc_server_stop_listening(s);
	while (!list_empty(&s->conns))
		server_conn_close(list_first(&s->conns, struct server_conn, link));

	pthread_mutex_lock(&s->lock);
	s->closed = true;
	rpc_wake_close(&s->wake);
	pthread_mutex_unlock(&s->lock);
	rpc_server_send_answered(s); /* frees the calls that were answered meanwhile */
	rpc_server_unref(s, 0);
}
