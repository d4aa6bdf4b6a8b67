/* SPDX-License-Identifier: Apache-2.0 */
/* RemoveContainer, and the end of all: kill, wait for the processes' ends, delete, answer. */
#include "base/clock.h"
#include "base/fd.h"
#include "guest/agent/container.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/*
 * First everything in it is killed (on the strand), then all its processes must have been reaped
 * (on the loop), then the engine and the storages let go (on the strand), then it leaves the table.
 * Whoever asked waits for that, or until its timeout; the removal goes on either way.
 */
struct remover {
	struct list link;
	struct container *container;
	struct rpc_call *call;
	struct loop_timer *timer;
};

static void remover_answer(struct remover *w, int r, const struct err *e)
{
	list_del(&w->link);
	if (r < 0)
		rpc_call_fail(w->call, e);
	else
		reply_empty(w->call);
	loop_timer_free(w->timer);
	free(w);
}

static void remover_timeout(void *arg)
{
	struct remover *w = arg;
	struct err e = ERR_INIT;

	int r = err_status(&e, STATUS_DEADLINE_EXCEEDED,
			   "container %s is still being removed; that goes on", w->container->id);
	log_warn("%s", e.text);
	remover_answer(w, r, &e);
}

static bool remover_add(struct container *c, struct rpc_call *call, uint32_t timeout_s)
{
	struct remover *w = calloc(1, sizeof *w);

	if (!w || loop_timer_new(c->agent->loop, remover_timeout, w, &w->timer) < 0) {
		free(w);
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory for the request");
		return false;
	}
	w->container = c;
	w->call = call;
	list_add_tail(&c->removers, &w->link);
	if (timeout_s)
		loop_timer_start(w->timer, (uint64_t)timeout_s * 1000);
	return true;
}

static void delete_work(struct job *j)
{
	struct container *c = j->container;

	int r = c->engine ? engine_delete(TAKE_PTR(c->engine), &j->e) : 0;
	if (r == ENGINE_E_HOOK) /* deleted all the same: the specification has it only logged */
		log_warn("container %s: %s", c->id, err_text(&j->e, 0));
	j->r = r < 0 ? r : 0;
	storages_release(j->agent->storages, &c->storages);
}

static void delete_done(struct job *j)
{
	struct container *c = j->container;
	struct agent *a = j->agent;

	if (j->r < 0)
		log_error("remove container %s: %s", c->id, err_text(&j->e, j->r));
	else
		log_info("container %s is removed", c->id);
	while (!list_empty(&c->processes))
		process_destroy(list_first(&c->processes, struct process, link));
	while (!list_empty(&c->removers))
		remover_answer(list_first(&c->removers, struct remover, link), j->r, &j->e);
	if (c->owns_pidns)
		a->pidns_fd = close_fd(a->pidns_fd);
	forget_files(a, c->spec);
	container_drop(c);
	sandbox_container_gone(a);
}

void container_process_exited(struct container *c)
{
	struct list *l;

	if (!c->killed || c->deleting)
		return;
	list_for_each (l, &c->processes) {
		if (!list_entry(l, struct process, link)->exited)
			return;
	}
	struct job *j = job_new(c->agent, NULL, c);
	if (!j)
		return; /* logged; the next exit or Remove tries again */
	c->deleting = true;
	job_start(j, delete_work, delete_done);
}

static void remove_killed(struct job *j)
{
	struct container *c = j->container;
	struct list *l;

	if (j->r < 0)
		log_error("kill container %s: %s", c->id, err_text(&j->e, j->r));
	/* whatever the engine could not do: these are known by their descriptors */
	list_for_each (l, &c->processes) {
		struct process *p = list_entry(l, struct process, link);
		if (!p->exited)
			(void)syscall(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0);
	}
	c->killed = true;
	container_process_exited(c);
}

void container_remove_begin(struct container *c)
{
	if (c->state != CONTAINER_REMOVING) {
		c->state = CONTAINER_REMOVING;
		oom_unwatch(c);
	} else if (c->killed || c->killing) {
		container_process_exited(c);
		return;
	}
	struct job *j = job_new(c->agent, NULL, c);
	if (!j)
		return;
	c->killing = true;
	j->number = SIGKILL;
	job_start(j, container_kill_work, remove_killed);
}

void container_remove(void *ctx, struct rpc_call *call)
{
	const Grpc__RemoveContainerRequest *q = (const void *)rpc_call_request(call);
	struct err e = ERR_INIT;

	struct container *c = container_find(ctx, q->container_id, &e);
	if (!c)
		rpc_call_fail(call, &e);
	else if (remover_add(c, call, q->timeout))
		container_remove_begin(c);
}

void container_remove_all(struct agent *a)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &a->containers) {
		struct container *c = list_entry(l, struct container, link);
		if (c->state != CONTAINER_CREATING)
			container_remove_begin(c);
	}
}

/* Removes one container without the loop: nothing else runs any more. */
static void remove_now(struct container *c)
{
	struct list *l;
	struct err e = ERR_INIT;

	if (c->engine && engine_kill_all(c->engine, SIGKILL, &e) < 0)
		log_error("kill container %s: %s", c->id, e.text);
	list_for_each (l, &c->processes) {
		struct process *p = list_entry(l, struct process, link);
		(void)syscall(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0);
		if (!p->exited)
			(void)waitid(P_PIDFD, (id_t)p->pidfd, &(siginfo_t){0}, WEXITED | __WALL);
	}
	if (c->engine && engine_delete(TAKE_PTR(c->engine), &e) < 0)
		log_error("remove container %s: %s", c->id, e.text);
	storages_release(c->agent->storages, &c->storages);
}

void container_remove_all_now(struct agent *a)
{
	struct list *l;

	list_for_each (l, &a->containers) {
		remove_now(list_entry(l, struct container, link));
	}
}
