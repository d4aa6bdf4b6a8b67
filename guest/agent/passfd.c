/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/passfd.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "guest/agent/host.h"

#include <inttypes.h>

#define ACCEPT_PAUSE_MS 100

struct waiting {
	struct list link; /* in the order of their arrival */
	uint32_t port;
	int fd;
	uint64_t deadline_ms;
};

struct passfd {
	struct loop *loop;
	int fd;
	struct loop_io *io;
	struct loop_timer *timer; /* of the oldest connection's end, or of a pause */
	bool paused;
	struct list waiting;
	unsigned n_waiting;
};

static void drop(struct passfd *p, struct waiting *w)
{
	list_del(&w->link);
	p->n_waiting--;
	(void)close_fd(w->fd);
	free(w);
}

static void set_timer(struct passfd *p)
{
	if (p->paused)
		loop_timer_start(p->timer, ACCEPT_PAUSE_MS);
	else if (list_empty(&p->waiting))
		loop_timer_stop(p->timer);
	else
		loop_timer_start(
			p->timer,
			(uint64_t)time_left_ms(
				list_first(&p->waiting, struct waiting, link)->deadline_ms));
}

static void on_timer(void *arg)
{
	struct passfd *p = arg;

	if (p->paused) {
		p->paused = false;
		loop_io_set(p->io, LOOP_READ);
	}
	while (!list_empty(&p->waiting)) {
		struct waiting *w = list_first(&p->waiting, struct waiting, link);
		if (time_left_ms(w->deadline_ms) > 0)
			break;
		log_warn("a stream from port %" PRIu32 " is used by no process: closed", w->port);
		drop(p, w);
	}
	set_timer(p);
}

static void add(struct passfd *p, int fd, uint32_t port)
{
	struct waiting *w = calloc(1, sizeof *w);
	if (!w) {
		(void)close_fd(fd);
		return;
	}
	/* the host gives a port anew only when its connection is over */
	w->port = port;
	w->fd = fd;
	w->deadline_ms = time_deadline(PASSFD_WAIT_MS);
	list_add_tail(&p->waiting, &w->link);
	p->n_waiting++;
	if (p->n_waiting > PASSFD_WAITING_MAX) {
		log_warn("more than %d streams wait for a process: the oldest is closed",
			 PASSFD_WAITING_MAX);
		drop(p, list_first(&p->waiting, struct waiting, link));
	}
	set_timer(p);
}

/* Returns whether there may be more. */
static bool accept_one(struct passfd *p)
{
	uint32_t port;

	int fd = host_accept(p->fd, "stream for stdio", &port);
	if (fd == -ENFILE) {
		p->paused = true;
		loop_io_set(p->io, 0);
		set_timer(p);
	}
	if (fd >= 0)
		add(p, fd, port);
	return fd >= 0 || fd == -ECONNREFUSED;
}

static void on_listener(void *arg, unsigned events)
{
	/* bounded: a process of the guest may connect as fast as we refuse */
	for (unsigned i = 0; i < 2 * PASSFD_WAITING_MAX && accept_one(arg); i++)
		;
}

int passfd_new(struct loop *loop, int fd, struct passfd **ret)
{
	struct passfd *p = calloc(1, sizeof *p);
	if (!p)
		return -ENOMEM;
	p->loop = loop;
	p->fd = -EBADF;
	list_init(&p->waiting);
	int r = fd_set_nonblock(fd, true);
	if (r == 0)
		r = loop_timer_new(loop, on_timer, p, &p->timer);
	if (r == 0)
		r = loop_io_new(loop, fd, LOOP_READ, on_listener, p, &p->io);
	if (r < 0) {
		passfd_free(p);
		return r;
	}
	p->fd = fd;
	*ret = p;
	return 0;
}

void passfd_free(struct passfd *p)
{
	if (!p)
		return;
	while (!list_empty(&p->waiting))
		drop(p, list_first(&p->waiting, struct waiting, link));
	loop_timer_free(p->timer);
	loop_io_free(p->io);
	p->fd = close_fd(p->fd);
	free(p);
}

static struct waiting *find(struct passfd *p, uint32_t port)
{
	struct list *l;

	/* the newest: an older one of the same port is dead */
	for (l = p->waiting.prev; l != &p->waiting; l = l->prev)
		if (list_entry(l, struct waiting, link)->port == port)
			return list_entry(l, struct waiting, link);
	return NULL;
}

int passfd_take(struct passfd *p, uint32_t port, struct err *e)
{
	on_listener(p, LOOP_READ);
	struct waiting *w = find(p, port);
	if (!w)
		return err_set(e, -ENOENT, "no stream from the host's port %" PRIu32 " is open",
			       port);
	int fd = TAKE_FD(w->fd);
	drop(p, w);
	set_timer(p);
	return fd;
}
