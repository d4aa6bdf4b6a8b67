/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libuv closes a handle in a later turn of its loop. Each watch here is therefore two lives: the
 * caller's, which ends at *_free(), and the handle's, whose close callback frees the memory.
 */
#include "io/loop.h"

#include "base/list.h"

#include <pthread.h>
#include <uv.h>

struct posted {
	struct list link;
	void (*fn)(void *arg);
	void *arg;
};

struct loop {
	uv_loop_t uv;
	uv_async_t wake;
	_Atomic pthread_t thread;

	pthread_mutex_t lock; /* guards what follows; taken alone */
	struct list posted;
	bool stop;
};

struct loop_io {
	uv_poll_t uv;
	loop_io_fn fn;
	void *arg;
	unsigned events;
};

struct loop_timer {
	uv_timer_t uv;
	void (*fn)(void *arg);
	void *arg;
};

struct loop_signal {
	uv_signal_t uv;
	void (*fn)(void *arg, int signum);
	void *arg;
};

static void run_posted(uv_async_t *handle)
{
	struct loop *l = handle->data;
	struct list batch = LIST_INIT(batch);

	pthread_mutex_lock(&l->lock);
	bool stop = l->stop;
	while (!list_empty(&l->posted)) {
		struct list *n = l->posted.next;
		list_del(n);
		list_add_tail(&batch, n);
	}
	pthread_mutex_unlock(&l->lock);

	while (!list_empty(&batch)) {
		struct posted *p = list_first(&batch, struct posted, link);
		list_del(&p->link);
		p->fn(p->arg);
		free(p);
	}
	if (stop)
		uv_stop(&l->uv);
}

int loop_new(struct loop **ret)
{
	struct loop *l = calloc(1, sizeof *l);
	if (!l)
		return -ENOMEM;
	int r = uv_loop_init(&l->uv);
	if (r < 0) {
		free(l);
		return r; /* libuv's error numbers are negative errnos on Unix */
	}
	r = uv_async_init(&l->uv, &l->wake, run_posted);
	if (r < 0) {
		(void)uv_loop_close(&l->uv);
		free(l);
		return r;
	}
	l->wake.data = l;
	list_init(&l->posted);
	pthread_mutex_init(&l->lock, NULL);
	l->thread = pthread_self();
	*ret = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	uv_close((uv_handle_t *)&l->wake, NULL);
	(void)uv_run(&l->uv, UV_RUN_DEFAULT); /* lets the close callbacks free their watches */
	(void)uv_loop_close(&l->uv);
	while (!list_empty(&l->posted)) {
		struct posted *p = list_first(&l->posted, struct posted, link);
		list_del(&p->link);
		free(p);
	}
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void loop_run(struct loop *l)
{
	/* Not written where it is true already: others may be reading it. */
	if (!loop_is_current(l))
		l->thread = pthread_self();
	(void)uv_run(&l->uv, UV_RUN_DEFAULT);
	pthread_mutex_lock(&l->lock);
	l->stop = false;
	pthread_mutex_unlock(&l->lock);
}

void loop_stop(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_mutex_unlock(&l->lock);
	(void)uv_async_send(&l->wake);
}

bool loop_is_current(const struct loop *l)
{
	return pthread_equal(l->thread, pthread_self());
}

int loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct posted *p = malloc(sizeof *p);
	if (!p)
		return -ENOMEM;
	p->fn = fn;
	p->arg = arg;
	pthread_mutex_lock(&l->lock);
	list_add_tail(&l->posted, &p->link);
	pthread_mutex_unlock(&l->lock);
	(void)uv_async_send(&l->wake);
	return 0;
}

static void free_handle(uv_handle_t *handle)
{
	free(handle->data);
}

/* The handle is the first member of its watch, and its data points to the watch. */
static void close_watch(uv_handle_t *handle)
{
	uv_close(handle, free_handle);
}

static void on_poll(uv_poll_t *handle, int status, int uv_events)
{
	struct loop_io *io = handle->data;
	unsigned events = 0;

	if (uv_events & UV_READABLE)
		events |= LOOP_READ;
	if (uv_events & UV_WRITABLE)
		events |= LOOP_WRITE;
	if (uv_events & UV_DISCONNECT)
		events |= LOOP_HANGUP;
	if (uv_events & UV_PRIORITIZED)
		events |= LOOP_CLOSED;
	/* On EPOLLERR libuv stops the watch; the owner finds the error by reading or writing. */
	if (status < 0)
		events |= LOOP_HANGUP | (io->events & (LOOP_READ | LOOP_WRITE | LOOP_CLOSED));
	io->fn(io->arg, events);
}

int loop_io_new(struct loop *l, int fd, unsigned events, loop_io_fn fn, void *arg,
		struct loop_io **ret)
{
	struct loop_io *io = calloc(1, sizeof *io);
	if (!io)
		return -ENOMEM;
	int r = uv_poll_init(&l->uv, &io->uv, fd);
	if (r < 0) {
		free(io);
		return r;
	}
	io->uv.data = io;
	io->fn = fn;
	io->arg = arg;
	loop_io_set(io, events);
	*ret = io;
	return 0;
}

void loop_io_set(struct loop_io *io, unsigned events)
{
	int uv_events = 0;

	io->events = events;
	if (events & LOOP_READ)
		uv_events |= UV_READABLE;
	if (events & LOOP_WRITE)
		uv_events |= UV_WRITABLE;
	if (events & LOOP_HANGUP)
		uv_events |= UV_DISCONNECT;
	/* EPOLLHUP is always reported; a lone one as whatever is watched. No socket here has urgent
	 * data, so that is all that can come of this. */
	if (events & LOOP_CLOSED)
		uv_events |= UV_PRIORITIZED;
	if (uv_events)
		(void)uv_poll_start(&io->uv, uv_events, on_poll);
	else
		(void)uv_poll_stop(&io->uv);
}

void loop_io_free(struct loop_io *io)
{
	if (!io)
		return;
	(void)uv_poll_stop(&io->uv);
	close_watch((uv_handle_t *)&io->uv);
}

static void on_timer(uv_timer_t *handle)
{
	struct loop_timer *t = handle->data;
	t->fn(t->arg);
}

int loop_timer_new(struct loop *l, void (*fn)(void *arg), void *arg, struct loop_timer **ret)
{
	struct loop_timer *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	(void)uv_timer_init(&l->uv, &t->uv);
	t->uv.data = t;
	t->fn = fn;
	t->arg = arg;
	*ret = t;
	return 0;
}

void loop_timer_start(struct loop_timer *t, uint64_t ms)
{
	uv_update_time(t->uv.loop);
	(void)uv_timer_start(&t->uv, on_timer, ms, 0);
}

void loop_timer_stop(struct loop_timer *t)
{
	(void)uv_timer_stop(&t->uv);
}

void loop_timer_free(struct loop_timer *t)
{
	if (t)
		close_watch((uv_handle_t *)&t->uv);
}

static void on_signal(uv_signal_t *handle, int signum)
{
	struct loop_signal *s = handle->data;
	s->fn(s->arg, signum);
}

int loop_signal_new(struct loop *l, int signum, void (*fn)(void *arg, int signum), void *arg,
		    struct loop_signal **ret)
{
	struct loop_signal *s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	int r = uv_signal_init(&l->uv, &s->uv);
	if (r < 0) {
		free(s);
		return r;
	}
	s->uv.data = s;
	s->fn = fn;
	s->arg = arg;
	r = uv_signal_start(&s->uv, on_signal, signum);
	if (r < 0) {
		close_watch((uv_handle_t *)&s->uv);
		return r;
	}
	*ret = s;
	return 0;
}

void loop_signal_free(struct loop_signal *s)
{
	if (s)
		close_watch((uv_handle_t *)&s->uv);
}
