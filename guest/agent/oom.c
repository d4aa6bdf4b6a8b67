/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells the runtime of each container whose memory ran out. GetOOMEvent waits, for ever if need be:
 * the runtime asks again after every answer, and takes an immediate failure for a reason to ask
 * again at once.
 *
 * The kernel counts kills in memory.events of the container's control group, whether it was the
 * group's limit or the whole machine that was short, and modifying that file is an inotify event
 * (cgroup_file_notify()). Each kill is an event of its own; with memory.oom.group, where the kernel
 * kills all of a group at once, each such group is. An event goes to every call that waits and is
 * still wanted; one that nobody awaits is kept for the next who asks. So a call that was left
 * behind by a lost connection swallows none.
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
#include <sys/eventfd.h>
#include <sys/inotify.h>

/* For a runtime that is slow to ask again. One that listens has a call waiting, or nearly. */
#define HOLD_MS 2000
/* Events of one container that nobody has fetched yet. A container in a loop of such ends makes
 * more, of which nobody would learn anything. */
#define PENDING_MAX 64

/* When the count of version 1 is read after the kernel has told of a lack: a kill may take long, as
 * the victim must give its memory back. */
static const uint64_t later_ms[] = {20, 200, 2000};

struct container_oom {
	int watch;		 /* inotify's number, or -1 */
	uint64_t events;	 /* that the kernel has counted and we have seen */
	unsigned pending;	 /* that nobody has been told of */
	struct loop_timer *hold; /* while ends wait until these are told, or NULL */

	/* version 1 */
	int eventfd;
	struct loop_io *io;
	struct loop_timer *later;
	unsigned step; /* of later_ms */
};

/* ---- Counting ----------------------------------------------------------------------------- */

static bool kills_groups(const struct container *c)
{
	int64_t on;
	return cgroup_read_number(c->cgroup, "memory.oom.group", &on) == 0 && on == 1;
}

static uint64_t count_events(const struct container *c)
{
	uint64_t n = 0;

	if (c->cgroup->version == 1) {
		(void)cgroup_read_key(c->cgroup, "memory.oom_control", "oom_kill", &n);
		return n;
	}
	/* before Linux 5.17 groups were not counted, and each process of one is an event */
	if (!kills_groups(c) ||
	    cgroup_read_key(c->cgroup, "memory.events", "oom_group_kill", &n) < 0)
		(void)cgroup_read_key(c->cgroup, "memory.events", "oom_kill", &n);
	return n;
}

/* ---- Telling ------------------------------------------------------------------------------ */

static void answer(struct rpc_call *call, const char *id)
{
	Grpc__OOMEvent event = GRPC__OOMEVENT__INIT;

	event.container_id = (char *)id;
	rpc_call_reply(call, &event.base);
}

static struct rpc_call *take_waiter(struct agent *a)
{
	struct waiter *w = list_first(&a->oom_waiters, struct waiter, link);
	struct rpc_call *call = w->call;

	list_del(&w->link);
	a->n_oom_waiters--;
	free(w);
	return call;
}

static void drop_unwanted(struct agent *a)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &a->oom_waiters) {
		struct waiter *w = list_entry(l, struct waiter, link);
		if (rpc_call_wanted(w->call))
			continue;
		list_del(&w->link);
		a->n_oom_waiters--;
		rpc_call_failf(w->call, STATUS_UNAVAILABLE, "nobody waits"); /* frees it */
		free(w);
	}
}

/* To everybody who waits; false if nobody does. */
static bool tell(struct agent *a, const char *id)
{
	drop_unwanted(a);
	bool told = !list_empty(&a->oom_waiters);
	while (!list_empty(&a->oom_waiters))
		answer(take_waiter(a), id);
	return told;
}

static void release_ends(struct container *c)
{
	if (!c->oom || !c->oom->hold)
		return;
	loop_timer_free(TAKE_PTR(c->oom->hold));
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
	uint64_t events = count_events(c);

	if (events <= c->oom->events)
		return;
	uint64_t new = events - c->oom->events;
	c->oom->events = events;
	log_warn("container %s is out of memory (%llu)", c->id, (unsigned long long)new);
	if (tell(c->agent, c->id))
		new --;
	if (new > PENDING_MAX - c->oom->pending)
		new = PENDING_MAX - c->oom->pending;
	c->oom->pending += (unsigned)new;
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
			if (c->oom && (c->oom->watch == ev->wd || ev->mask & IN_Q_OVERFLOW))
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
	while (!list_empty(&a->oom_waiters))
		rpc_call_failf(take_waiter(a), STATUS_UNAVAILABLE, "the agent ends");
}

/* ---- Watching ----------------------------------------------------------------------------- */

static int watch_events(struct container *c)
{
	char path[PATH_MAX];

	int r = cgroup_path(c->cgroup, "memory.events", path, sizeof path);
	if (r < 0)
		return r;
	c->oom->watch = inotify_add_watch(c->agent->inotify_fd, path, IN_MODIFY);
	return c->oom->watch < 0 ? -errno : 0;
}

static void look_later(struct container_oom *o)
{
	if (o->step < ARRAY_SIZE(later_ms))
		loop_timer_start(o->later, later_ms[o->step++]);
}

static void on_later(void *arg)
{
	struct container *c = arg;

	check(c);
	look_later(c->oom);
}

static void on_eventfd(void *arg, unsigned events)
{
	struct container *c = arg;
	uint64_t n;

	(void)!read(c->oom->eventfd, &n, sizeof n);
	check(c);
	c->oom->step = 0;
	look_later(c->oom);
}

static int watch_control(struct container *c)
{
	struct container_oom *o = c->oom;
	char path[PATH_MAX], text[32];

	int r = cgroup_path(c->cgroup, "memory.oom_control", path, sizeof path);
	if (r < 0)
		return r;
	_cleanup_close_ int control = open(path, O_RDONLY | O_CLOEXEC);
	if (control < 0)
		return -errno;
	o->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (o->eventfd < 0)
		return -errno;
	r = loop_timer_new(c->agent->loop, on_later, c, &o->later);
	if (r == 0)
		r = loop_io_new(c->agent->loop, o->eventfd, LOOP_READ, on_eventfd, c, &o->io);
	if (r < 0)
		return r;
	(void)snprintf(text, sizeof text, "%d %d", o->eventfd, control);
	char *name = strrchr(path, '/');
	(void)snprintf(name, sizeof path - (size_t)(name - path), "/cgroup.event_control");
	return file_write(AT_FDCWD, path, text);
}

static void oom_free(struct container_oom *o)
{
	loop_io_free(o->io);
	loop_timer_free(o->later);
	loop_timer_free(o->hold);
	(void)close_fd(o->eventfd);
	free(o);
}

void oom_watch(struct container *c)
{
	if (!c->cgroup)
		return;
	c->oom = calloc(1, sizeof *c->oom);
	if (c->oom)
		c->oom->watch = c->oom->eventfd = -1;
	int r = !c->oom ? -ENOMEM : c->cgroup->version == 1 ? watch_control(c) : watch_events(c);
	if (r == 0)
		return;
	if (c->oom)
		oom_free(TAKE_PTR(c->oom));
	log_warn("container %s: an end of its memory will not be reported: %s", c->id,
		 strerror(-r));
}

void oom_unwatch(struct container *c)
{
	if (!c->oom)
		return;
	check(c);
	if (c->oom->watch >= 0)
		(void)inotify_rm_watch(c->agent->inotify_fd, c->oom->watch);
	c->oom->watch = -1;
	release_ends(c);
	oom_free(TAKE_PTR(c->oom));
}

bool oom_holds_end(struct container *c)
{
	if (c->state == CONTAINER_REMOVING || !c->oom)
		return false;
	check(c);
	if (!c->oom->pending || !c->agent->oom_listened)
		return false;
	if (!c->oom->hold) {
		if (loop_timer_new(c->agent->loop, on_hold_timeout, c, &c->oom->hold) < 0)
			return false;
		loop_timer_start(c->oom->hold, HOLD_MS);
	}
	return true;
}

static bool answer_with_pending(struct agent *a, struct rpc_call *call)
{
	struct list *l;

	list_for_each (l, &a->containers) {
		struct container *c = list_entry(l, struct container, link);
		if (!c->oom || !c->oom->pending)
			continue;
		answer(call, c->id);
		if (--c->oom->pending == 0)
			release_ends(c);
		return true;
	}
	return false;
}

void oom_get_event(void *ctx, struct rpc_call *call)
{
	struct agent *a = ctx;

	a->oom_listened = true;
	if (answer_with_pending(a, call))
		return;
	struct waiter *w = malloc(sizeof *w);
	if (!w) {
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory for the request");
		return;
	}
	drop_unwanted(a);
	w->call = call;
	list_add_tail(&a->oom_waiters, &w->link);
	if (++a->n_oom_waiters > WAITERS_MAX)
		rpc_call_failf(take_waiter(a), STATUS_RESOURCE_EXHAUSTED,
			       "more than %d calls wait for an event", WAITERS_MAX);
}
