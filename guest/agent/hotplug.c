/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/hotplug.h"

#include "guest/agent/agent.h"
#include "guest/agent/cdi-watch.h"
#include "guest/agent/cdi.h"

struct hotplug {
	struct agent *agent;
	struct uevents *events; /* or NULL: nobody had to wait yet */
	struct cdi_watch *cdi;	/* the same */
	struct list waits;
	bool given_up; /* nobody shall wait */
};

struct wait {
	struct list link;
	struct hotplug *h;
	struct job *job;
	struct hotplug_want want;
	void (*then)(struct job *j);
	struct loop_timer *timer;
	bool listening, looking;
	bool again;   /* something has happened since the look began */
	bool expired; /* one last look, then no more */
	int r;	      /* of the look, and its sentence: the worker's while it looks */
	struct err e;
};

int hotplug_new(struct agent *a, struct hotplug **ret)
{
	struct hotplug *h = calloc(1, sizeof *h);
	if (!h)
		return -ENOMEM;
	h->agent = a;
	list_init(&h->waits);
	*ret = h;
	return 0;
}

static void wait_free(struct wait *w)
{
	list_del(&w->link);
	loop_timer_free(w->timer);
	free(w);
}

void hotplug_free(struct hotplug *h)
{
	if (!h)
		return;
	while (!list_empty(&h->waits)) {
		struct wait *w = list_first(&h->waits, struct wait, link);
		job_abandon(w->job);
		wait_free(w);
	}
	uevents_free(h->events);
	cdi_watch_free(h->cdi);
	free(h);
}

static void end(struct wait *w, int r, const struct err *e)
{
	struct job *j = w->job;
	void (*then)(struct job *) = w->then;

	j->r = r;
	if (r < 0)
		j->e = *e;
	wait_free(w);
	then(j);
}

static void looked(void *arg);

static void look_work(void *arg)
{
	struct wait *w = arg;

	w->e = ERR_INIT;
	w->r = w->want.look(w->job, &w->e);
	while (loop_post(w->job->agent->loop, looked, w) < 0)
		(void)usleep(10 * 1000);
}

static void look(struct wait *w)
{
	struct job *j = w->job;
	struct strand *s = j->container ? j->container->strand : j->agent->strand;

	w->looking = true;
	w->again = false;
	int r = strand_run(s, look_work, w);
	if (r < 0) {
		r = err_set(&w->e, r, "no memory to look for devices");
		end(w, r, &w->e);
	}
}

void hotplug_notify(struct hotplug *h, unsigned kinds)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &h->waits) {
		struct wait *w = list_entry(l, struct wait, link);
		if (!(w->want.kinds & kinds))
			continue;
		if (w->looking)
			w->again = true;
		else
			look(w);
	}
}

void hotplug_give_up(struct hotplug *h)
{
	h->given_up = true;
	hotplug_notify(h, ~0u);
}

static void on_uevents(void *arg, unsigned kinds)
{
	hotplug_notify(arg, kinds);
}

static void on_cdi(void *arg)
{
	hotplug_notify(arg, HOTPLUG_CDI);
}

static void on_timeout(void *arg)
{
	struct wait *w = arg;

	w->expired = true;
	if (!w->looking)
		look(w);
}

static int listen_to_events(struct wait *w)
{
	struct hotplug *h = w->h;
	int r = 0;

	if (!h->events && w->want.kinds & UEVENT_ALL)
		r = uevents_new(h->agent->loop, on_uevents, h, &h->events, &w->e);
	if (r == 0 && !h->cdi && w->want.kinds & HOTPLUG_CDI)
		r = cdi_watch_new(h->agent->loop, cdi_dirs, on_cdi, h, &h->cdi, &w->e);
	if (r == 0 && loop_timer_new(h->agent->loop, on_timeout, w, &w->timer) < 0)
		r = err_set(&w->e, -ENOMEM, "no memory to wait for a device");
	if (r < 0)
		return r;
	loop_timer_start(w->timer, w->want.timeout_ms);
	w->listening = true;
	return 0;
}

static void looked(void *arg)
{
	struct wait *w = arg;

	w->looking = false;
	if (w->r != -EAGAIN) {
		end(w, w->r, &w->e);
	} else if (w->h->given_up) {
		struct err e = ERR_INIT;
		int r = err_status(&e, STATUS_FAILED_PRECONDITION,
				   "%s, and the sandbox is being destroyed", err_text(&w->e, w->r));
		end(w, r, &e);
	} else if (!w->listening) {
		int r = listen_to_events(w);
		if (r < 0)
			end(w, r, &w->e);
		else
			look(w);
	} else if (w->expired) {
		struct err e = ERR_INIT;
		int r = err_set(&e, -ENODEV, "%s, also after %llu ms", err_text(&w->e, w->r),
				(unsigned long long)w->want.timeout_ms);
		end(w, r, &e);
	} else if (w->again) {
		look(w);
	}
}

void hotplug_wait(struct job *j, const struct hotplug_want *want, void (*then)(struct job *j))
{
	struct wait *w = calloc(1, sizeof *w);
	if (!w) {
		j->r = err_set(&j->e, -ENOMEM, "no memory to wait for a device");
		then(j);
		return;
	}
	w->h = j->agent->hotplug;
	list_add_tail(&w->h->waits, &w->link);
	w->job = j;
	w->want = *want;
	w->then = then;
	look(w);
}
