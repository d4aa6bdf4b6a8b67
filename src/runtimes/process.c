/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process' life, from "it runs in the guest" to "everybody knows that it has ended".
 *
 * Its end is what the agent's WaitProcess says. Our agent takes that call at any time; an agent
 * without early_wait drops unread output when it answers, so there it is sent only when both
 * streams have ended.
 */
#include "base/log.h"
#include "runtimes/internal.h"
#include "runtimes/watch.h"

#include <string.h>

/* How long a SIGKILL that nobody here sent waits for the news that memory ran out. The agent's
 * answer to GetOOMEvent is on its way by then. */
#define OOM_TIMEOUT_MS 1000

const char *task_status_name(enum task_status s)
{
	switch (s) {
	case TASK_CREATING:
		return "being created";
	case TASK_CREATED:
		return "created";
	case TASK_STARTING:
		return "being started";
	case TASK_RUNNING:
		return "running";
	case TASK_PAUSED:
		return "paused";
	case TASK_STOPPED:
		return "stopped";
	}
	return "unknown";
}

int process_new(struct container *c, const char *exec_id, const struct task_stdio *stdio,
		struct process **ret)
{
	struct process *p = calloc(1, sizeof *p);
	if (!p)
		return -ENOMEM;
	p->refs = 1;
	p->container = container_ref(c);
	list_init(&p->link);
	list_init(&p->waiters);
	list_init(&p->deleters);
	list_init(&p->killers);
	p->status = TASK_CREATED;
	p->terminal = stdio->terminal;
	p->exec_id = strdup(exec_id);
	p->in = strdup(stdio->in);
	p->out = strdup(stdio->out);
	p->errout = strdup(stdio->errout);
	if (!p->exec_id || !p->in || !p->out || !p->errout) {
		process_unref(p);
		return -ENOMEM;
	}
	*ret = p;
	return 0;
}

void process_unref(struct process *p)
{
	if (!p || --p->refs > 0)
		return;
	process_io_free(p->io);
	loop_timer_free(p->held);
	oci_arena_free(p->arena);
	free(p->exec_id);
	free(p->in);
	free(p->out);
	free(p->errout);
	container_unref(p->container);
	free(p);
}

void process_state(const struct process *p, struct task_state *ret)
{
	const struct container *c = p->container;
	pid_t pid = c->rt->sandbox ? sandbox_pid(c->rt->sandbox) : 0;
	bool never_ran = p->status == TASK_CREATED || p->status == TASK_CREATING;

	*ret = (struct task_state){
		.id = c->res.id,
		.exec_id = p->exec_id,
		.bundle = c->res.bundle,
		.pid = never_ran && !process_is_init(p) ? 0 : pid,
		.status = p->status,
		.stdio = {p->terminal, p->in, p->out, p->errout},
		.exit_status = p->exit_status,
		.exited_at = p->exited_at,
	};
}

void process_answer(struct process *p, task_done_fn done, void *arg)
{
	struct task_state state;
	process_state(p, &state);
	done(arg, 0, &state, NULL);
}

/* ---- The end ------------------------------------------------------------------------------- */

void process_exited(struct process *p, uint32_t exit_status)
{
	if (p->status == TASK_STOPPED)
		return;
	bool ran = p->status == TASK_RUNNING || p->status == TASK_PAUSED || p->tell_end;
	p->status = TASK_STOPPED;
	if (p->held) {
		loop_timer_free(TAKE_PTR(p->held));
	} else {
		p->exit_status = exit_status;
		(void)clock_gettime(CLOCK_REALTIME, &p->exited_at);
	}
	if (p->io)
		process_io_stop_stdin(p->io);
	if (ran)
		runtime_emit(p->container->rt, TASK_EVENT_EXIT, p);

	struct runtime *rt = p->container->rt;
	if (ran && process_is_init(p) && rt->status == SANDBOX_UP &&
	    strcmp(p->container->res.id, rt->params.sandbox_id) == 0)
		runtime_end_members(rt, p->container);

	process_ref(p);
	while (!list_empty(&p->waiters)) {
		struct waiter *w = list_first(&p->waiters, struct waiter, link);
		list_del(&w->link);
		process_answer(p, w->done, w->arg);
		free(w);
	}
	process_unref(p);
}

void process_tell_held(struct process *p)
{
	if (p->held)
		process_exited(p, p->exit_status);
}

static void on_held_long_enough(void *arg)
{
	process_tell_held(arg);
}

/*
 * Whoever hears of a container's end asks at once whether its memory had run out. Our agent tells
 * that first; from another the two answers may come in any order, so an end that looks like it
 * waits a little.
 */
static bool may_be_oom(const struct process *p, uint32_t exit_status)
{
	const struct runtime *rt = p->container->rt;
	return process_is_init(p) && exit_status == EXIT_STATUS_KILLED && !p->end_wanted &&
	       !p->container->oom && rt->status == SANDBOX_UP && watch_hears_of_oom(rt->watch) &&
	       !agent_features(sandbox_agent(rt->sandbox))->oom_first;
}

static bool hold_end(struct process *p, uint32_t exit_status)
{
	if (!may_be_oom(p, exit_status) ||
	    loop_timer_new(p->container->rt->params.loop, on_held_long_enough, p, &p->held) < 0)
		return false;
	p->exit_status = exit_status;
	(void)clock_gettime(CLOCK_REALTIME, &p->exited_at);
	loop_timer_start(p->held, OOM_TIMEOUT_MS);
	return true;
}

static void refuse_all(struct list *waiters, const struct err *e)
{
	while (!list_empty(waiters)) {
		struct waiter *w = list_first(waiters, struct waiter, link);
		list_del(&w->link);
		w->done(w->arg, -e->errnum, NULL, e);
		free(w);
	}
}

void process_was_never(struct process *p)
{
	struct err e = ERR_INIT;
	(void)err_status(&e, STATUS_NOT_FOUND, "container %s could not be created",
			 p->container->res.id);
	refuse_all(&p->waiters, &e);
	refuse_all(&p->deleters, &e);
	refuse_all(&p->killers, &e);
}

static void on_wait_done(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	struct process *p = arg;
	uint32_t status = EXIT_STATUS_LOST;

	if (response) {
		status = (uint32_t)((Grpc__WaitProcessResponse *)response)->status;
		protobuf_c_message_free_unpacked(response, NULL);
	} else if (p->container->rt->status == SANDBOX_UP) {
		log_error("wait for process \"%s\" of container %s: %s", p->exec_id,
			  p->container->res.id, err_text(e, r));
	}
	if (!hold_end(p, status))
		process_exited(p, status);
	process_unref(p);
}

static void wait_in_guest(struct process *p)
{
	struct err e = ERR_INIT;
	Grpc__WaitProcessRequest req = GRPC__WAIT_PROCESS_REQUEST__INIT;

	if (p->waiting)
		return;
	p->waiting = true;
	req.container_id = p->container->res.id;
	req.exec_id = p->exec_id;
	process_ref(p);
	int r = agent_start(sandbox_agent(p->container->rt->sandbox), "WaitProcess", &req.base, 0,
			    on_wait_done, p, &e);
	if (r < 0)
		on_wait_done(p, r, NULL, &e);
}

void process_killed(struct process *p)
{
	p->tell_end = true;
	wait_in_guest(p);
}

/* ---- Output --------------------------------------------------------------------------------- */

static void on_drained(void *arg)
{
	struct process *p = arg;

	process_ref(p);
	if (p->container->rt->status == SANDBOX_UP)
		wait_in_guest(p);
	process_unref(p);
}

static void on_io_ended(void *arg)
{
	struct process *p = arg;
	struct runtime *rt = p->container->rt;
	task_done_fn done = TAKE_PTR(p->drained);

	process_ref(p);
	process_answer(p, done, p->drained_arg);
	process_unref(p);
	runtime_job_done(rt);
}

void process_when_drained(struct process *p, task_done_fn done, void *arg)
{
	if (!p->io) {
		process_answer(p, done, arg);
		return;
	}
	p->drained = done;
	p->drained_arg = arg;
	p->container->rt->in_flight++; /* a shutdown waits for it */
	process_io_end(p->io, on_io_ended, p);
}

static void on_io_opened(void *arg, int r, const struct err *e)
{
	struct process *p = arg;
	void (*opened)(void *arg, int r, const struct err *e) = TAKE_PTR(p->opened);

	if (r < 0)
		process_io_free(TAKE_PTR(p->io));
	opened(p->opened_arg, r, e);
}

void process_open_io(struct process *p, void (*done)(void *arg, int r, const struct err *e),
		     void *arg)
{
	struct err e = ERR_INIT;
	const struct process_io_params params = {
		.loop = p->container->rt->params.loop,
		.workers = p->container->rt->params.workers,
		.streams = p->container->rt->params.streams,
		.container_id = p->container->res.id,
		.exec_id = p->exec_id,
		.namespace = p->container->rt->params.namespace,
		.in = p->in,
		.out = p->out,
		.errout = p->errout,
		.terminal = p->terminal,
		.on_drained = on_drained,
		.arg = p,
	};
	int r = process_io_new(&params, &p->io, &e);
	if (r < 0) {
		done(arg, r, &e);
		return;
	}
	if (p->close_stdin)
		process_io_close_stdin(p->io);
	p->opened = done;
	p->opened_arg = arg;
	process_io_open(p->io, on_io_opened, p);
}

void process_started(struct process *p)
{
	p->status = TASK_RUNNING;
	struct agent *agent = sandbox_agent(p->container->rt->sandbox);
	process_io_start(p->io, agent);
	if (agent_features(agent)->early_wait)
		wait_in_guest(p);
}
