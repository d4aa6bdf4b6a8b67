/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pod as state.json. A few kilobytes into memory (/run) take some tens of microseconds, so it
 * is written at once, before the answer; a pod with very many processes has it written a moment
 * later, once for many changes.
 */
#include "base/log.h"
#include "persist/state.h"
#include "runtimes/internal.h"

#include <string.h>

#define AT_ONCE_BYTES (64u << 10)
#define LATER_MS 100

static struct state_process describe(const struct process *p)
{
	return (struct state_process){
		.id = process_is_init(p) ? p->container->res.id : p->exec_id,
		.status = task_status_name(p->status),
		.exit_status = p->exit_status,
		.exited_at = p->exited_at,
	};
}

static void add_container(struct state_doc *d, const struct container *c)
{
	struct list *pos;
	struct state_process p = describe(c->init);

	state_add_container(d, &p, c->res.bundle);
	list_for_each (pos, &c->execs) {
		p = describe(list_entry(pos, struct process, link));
		state_add_exec(d, &p);
	}
}

static void save(struct runtime *rt)
{
	char path[340];
	struct state_doc d;
	struct state_sandbox s;
	struct list *pos;

	/* Else the directory is not there yet, or a worker is taking it away. */
	if (rt->status != SANDBOX_UP && rt->status != SANDBOX_DEAD)
		return;
	sandbox_describe(rt->sandbox, &s);
	s.status = rt->status == SANDBOX_UP ? "up" : "dead";
	s.reason = rt->dead_reason;
	state_begin(&d, &s, config_hypervisor_json(sandbox_config(rt->sandbox)));
	list_for_each (pos, &rt->containers)
		add_container(&d, list_entry(pos, struct container, link));

	(void)snprintf(path, sizeof path, "%s/state.json", s.dir);
	ssize_t n = state_write(&d, path);
	if (n < 0 && !rt->save_failed)
		log_warn("write %s: %s", path, strerror((int)-n)); /* nothing depends on it */
	rt->save_failed = n < 0;
	if (n >= 0)
		rt->saved_bytes = (size_t)n;
}

static void save_later(void *arg)
{
	struct runtime *rt = arg;
	loop_timer_free(TAKE_PTR(rt->save_timer));
	save(rt);
}

void runtime_save(struct runtime *rt)
{
	if (rt->save_timer)
		return;
	if (rt->saved_bytes > AT_ONCE_BYTES &&
	    loop_timer_new(rt->params.loop, save_later, rt, &rt->save_timer) == 0)
		loop_timer_start(rt->save_timer, LATER_MS);
	else
		save(rt);
}
