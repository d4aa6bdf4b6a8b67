/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells the runtime of each container whose memory ran out. GetOOMEvent waits, for ever if need be:
 * the runtime asks again after every answer, and takes an immediate failure for a reason to ask
 * again at once.
 *
 * The kernel counts kills in memory.events of the container's control group, whether it was the
 * group's limit or the whole machine that was short, and modifying that file is an inotify event
 * (cgroup_file_notify()). Every waiting call gets the event: one that was left behind by a lost
 * connection must not swallow it.
 *
 * A container that ends because of it ends "out of memory" only for who knows of that first. The
 * kernel counts before it kills (__oom_kill_process()), but notifies at most every 10 ms: so the
 * count is read again when a process ends, and its end is told after the event (the feature
 * "oom-first"), or when nobody has fetched that for a while.
 */
#include "guest/agent/agent.h"

#include "base/fd.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/inotify.h>

/* For a runtime that is slow to ask again. One that listens has a call waiting, or nearly. */
#define HOLD_MS 2000

static uint64_t count_kills(const struct container *c)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[PATH_MAX];

	if (path_format(path, sizeof path, "%s/memory.events", c->cgroup) < 0 ||
	    file_read(AT_FDCWD, path, 4096, &text) < 0 || !text.data)
		return 0;
	const char *at = strstr(text.data, "oom_kill ");
	return at ? strtoull(at + strlen("oom_kill "), NULL, 10) : 0;
}

static void answer(struct rpc_call *call, const char *id)
{
	Grpc__OOMEvent event = GRPC__OOMEVENT__INIT;

	event.container_id = (char *)id;
	rpc_call_reply(call, &event.base);
}

static void release_ends(struct container *c)
{
	if (!c->oom_hold)
		return;
	loop_timer_free(TAKE_PTR(c->oom_hold));
	process_tell_ends(c);
}

static void on_hold_timeout(void *arg)
{
	struct container *c = arg;

	log_warn("container %s: nobody asks for the event of its lack of memory", c->id);
	c->agent->oom_listened = false;
	release_ends(c);
}

static void check(struct container *c)
{
	struct agent *a = c->agent;

	if (!c->cgroup)
		return;

	uint64_t kills = count_kills(c);
	if (kills <= c->oom_kills)
		return;
	log_warn("container %s is out of memory: %llu killed", c->id,
		 (unsigned long long)(kills - c->oom_kills));
	c->oom_kills = kills;
	if (list_empty(&a->oom_waiters)) {
		c->oom_pending = true;
		return;
	}
	while (!list_empty(&a->oom_waiters)) {
		struct waiter *w = list_first(&a->oom_waiters, struct waiter, link);
		list_del(&w->link);
		a->n_oom_waiters--;
		answer(w->call, c->id);
		free(w);
	}
}

static void on_inotify(void *arg, unsigned events)
{
	struct agent *a = arg;
	char data[4096] __attribute__((aligned(__alignof__(struct inotify_event))));

	ssize_t n = read(a->inotify_fd, data, sizeof data);
	for (char *p = data; p < data + n;) {
		const struct inotify_event *ev = (const void *)p;
		struct list *l;
		list_for_each (l, &a->containers) {
			struct container *c = list_entry(l, struct container, link);
			/* a full queue names nobody: ask everybody */
			if (c->cgroup && (c->oom_watch == ev->wd || ev->mask & IN_Q_OVERFLOW))
				check(c);
		}
		p += sizeof *ev + ev->len;
	}
}

int oom_start(struct agent *a)
{
	list_init(&a->oom_waiters);
	a->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (a->inotify_fd < 0)
		return -errno;
	return loop_io_new(a->loop, a->inotify_fd, LOOP_READ, on_inotify, a, &a->inotify_io);
}

void oom_stop(struct agent *a)
{
	loop_io_free(a->inotify_io);
	a->inotify_io = NULL;
	a->inotify_fd = close_fd(a->inotify_fd);
	while (!list_empty(&a->oom_waiters)) {
		struct waiter *w = list_first(&a->oom_waiters, struct waiter, link);
		list_del(&w->link);
		rpc_call_failf(w->call, STATUS_UNAVAILABLE, "the agent ends");
		free(w);
	}
}

void oom_watch(struct container *c)
{
	char path[PATH_MAX];

	if (!c->cgroup || path_format(path, sizeof path, "%s/memory.events", c->cgroup) < 0)
		return;
	c->oom_watch = inotify_add_watch(c->agent->inotify_fd, path, IN_MODIFY);
	if (c->oom_watch < 0)
		log_warn("container %s: an end of its memory will not be reported: %s", c->id,
			 strerror(errno));
}

void oom_unwatch(struct container *c)
{
	check(c);
	if (c->oom_watch >= 0)
		(void)inotify_rm_watch(c->agent->inotify_fd, c->oom_watch);
	c->oom_watch = -1;
	release_ends(c);
}

bool oom_holds_end(struct container *c)
{
	if (c->state == CONTAINER_REMOVING)
		return false;
	check(c);
	if (!c->oom_pending || !c->agent->oom_listened)
		return false;
	if (!c->oom_hold) {
		if (loop_timer_new(c->agent->loop, on_hold_timeout, c, &c->oom_hold) < 0)
			return false;
		loop_timer_start(c->oom_hold, HOLD_MS);
	}
	return true;
}

void oom_get_event(void *ctx, struct rpc_call *call)
{
	struct agent *a = ctx;
	struct list *l;

	a->oom_listened = true;
	list_for_each (l, &a->containers) {
		struct container *c = list_entry(l, struct container, link);
		if (c->oom_pending) {
			c->oom_pending = false;
			answer(call, c->id);
			release_ends(c);
			return;
		}
	}
	struct waiter *w = malloc(sizeof *w);
	if (!w) {
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory for the request");
		return;
	}
	w->call = call;
	list_add_tail(&a->oom_waiters, &w->link);
	if (++a->n_oom_waiters <= WAITERS_MAX)
		return;
	/* the oldest is of a connection long gone */
	w = list_first(&a->oom_waiters, struct waiter, link);
	list_del(&w->link);
	a->n_oom_waiters--;
	rpc_call_failf(w->call, STATUS_RESOURCE_EXHAUSTED, "more than %d calls wait for an event",
		       WAITERS_MAX);
	free(w);
}
