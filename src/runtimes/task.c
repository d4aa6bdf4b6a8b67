/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests to one process. Each checks the state, makes at most one call to the agent, and
 * answers when that is done. What is wrong is refused before anything has happened.
 */
#include "base/log.h"
#include "oci/spec-proto.h"
#include "runtimes/internal.h"

#include <signal.h>
#include <string.h>

/* A guest that is only busy has answered long before. */
#define SIGKILL_TIMEOUT_MS 5000
/* containerd asks when it loads a shim again, for which it takes 5 s at most. */
#define PIDS_TIMEOUT_MS 2000

/* ---- One call to the agent, then the answer ---------------------------------------------------
 */

struct call {
	struct process *process; /* referenced */
	/** What the outcome means; may turn a failure into success. Before the answer. */
	int (*finish)(struct call *c, int r, const ProtobufCMessage *response, struct err *e);
	task_done_fn done;
	void *arg;
	enum task_status before;
};

static void refuse(task_done_fn done, void *arg, const struct err *e)
{
	done(arg, -e->errnum, NULL, e);
}

/* An answer that is kept until its time. */
static void add_waiter(struct list *waiters, task_done_fn done, void *arg)
{
	struct waiter *w = malloc(sizeof *w);
	if (!w) {
		struct err e = ERR_INIT;
		(void)err_set(&e, -ENOMEM, "out of memory");
		refuse(done, arg, &e);
		return;
	}
	w->done = done;
	w->arg = arg;
	list_add_tail(waiters, &w->link);
}

static void on_called(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	struct call *c = arg;
	struct err outcome = e ? *e : ERR_INIT;

	r = c->finish(c, r, response, &outcome);
	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
	if (r < 0)
		c->done(c->arg, r, NULL, &outcome);
	else
		process_answer(c->process, c->done, c->arg);
	process_unref(c->process);
	free(c);
}

typedef int (*finish_fn)(struct call *c, int r, const ProtobufCMessage *response, struct err *e);

/* @timeout_ms 0: the agent's usual one. */
static void call_agent_within(uint64_t timeout_ms, struct process *p, const char *method,
			      const ProtobufCMessage *request, finish_fn finish, task_done_fn done,
			      void *arg)
{
	struct err e = ERR_INIT;
	struct agent *agent = sandbox_agent(p->container->rt->sandbox);
	struct call *c = malloc(sizeof *c);

	if (!c) {
		(void)err_set(&e, -ENOMEM, "out of memory");
		refuse(done, arg, &e);
		return;
	}
	*c = (struct call){process_ref(p), finish, done, arg, p->status};
	int r = agent_start(agent, method, request,
			    timeout_ms ? timeout_ms : agent_timeout_ms(agent), on_called, c, &e);
	if (r < 0)
		on_called(c, r, NULL, &e);
}

static void call_agent(struct process *p, const char *method, const ProtobufCMessage *request,
		       finish_fn finish, task_done_fn done, void *arg)
{
	call_agent_within(0, p, method, request, finish, done, arg);
}

/* ---- What must hold first ----------------------------------------------------------------------
 */

static int wrong_status(const struct process *p, const char *must, struct err *e)
{
	return err_status(e, STATUS_FAILED_PRECONDITION, "%s%s%s%s is %s: it must be %s",
			  process_is_init(p) ? "container " : "exec ",
			  process_is_init(p) ? p->container->res.id : p->exec_id,
			  process_is_init(p) ? "" : " of container ",
			  process_is_init(p) ? "" : p->container->res.id,
			  task_status_name(p->status), must);
}

static int check_sandbox(const struct runtime *rt, struct err *e)
{
	switch (rt->status) {
	case SANDBOX_UP:
		return 0;
	case SANDBOX_DEAD:
		return err_status(e, STATUS_FAILED_PRECONDITION, "the sandbox is dead: %s",
				  rt->dead_reason);
	case SANDBOX_NONE:
	case SANDBOX_BOOTING:
	case SANDBOX_CLOSED:
		break;
	}
	return err_status(e, STATUS_UNAVAILABLE, "the sandbox is not running");
}

static bool is_alive(const struct process *p)
{
	return p->status == TASK_RUNNING || p->status == TASK_PAUSED;
}

/* ---- Start -------------------------------------------------------------------------------------
 */

static int finish_resize(struct call *c, int r, const ProtobufCMessage *response, struct err *e)
{
	return r;
}

static void ignore_outcome(void *arg, int r, const struct task_state *state, const struct err *e)
{
}

static void send_resize(struct process *p, task_done_fn done, void *arg)
{
	Grpc__TtyWinResizeRequest req = GRPC__TTY_WIN_RESIZE_REQUEST__INIT;

	req.container_id = p->container->res.id;
	req.exec_id = p->exec_id;
	req.row = p->height;
	req.column = p->width;
	call_agent(p, "TtyWinResize", &req.base, finish_resize, done, arg);
}

static void remove_container(struct delete_job *j);

static void poststart_done(void *arg)
{
	struct process *p = arg;
	struct container *c = p->container;
	struct runtime *rt = c->rt;

	c->in_poststart = false;
	if (c->after_poststart)
		remove_container(TAKE_PTR(c->after_poststart));
	process_unref(p);
	runtime_job_done(rt);
}

static void poststart_on_worker(void *arg)
{
	struct process *p = arg;

	container_poststart(&p->container->res);
	if (loop_post(p->container->rt->params.loop, poststart_done, p) < 0)
		log_error("out of memory: a shutdown will wait for ever");
}

static void run_poststart(struct process *p)
{
	struct runtime *rt = p->container->rt;

	if (!process_is_init(p) || !container_has_poststart(&p->container->res))
		return;
	rt->in_flight++;
	p->container->in_poststart = true;
	process_ref(p);
	if (worker_pool_run(rt->params.workers, poststart_on_worker, p) < 0)
		poststart_done(p);
}

static int finish_start(struct call *c, int r, const ProtobufCMessage *response, struct err *e)
{
	struct process *p = c->process;

	if (p->status == TASK_STOPPED)
		return wrong_status(p, "created", e); /* the machine died meanwhile */
	if (r < 0) {
		/* What could not be started is over: a container's init has ended, or is not to be
		 * trusted with a second try. What is left of it goes when it is deleted. */
		p->status = TASK_CREATED;
		p->tell_end = process_is_init(p);
		process_exited(p, EXIT_STATUS_LOST);
		if (!process_is_init(p))
			process_io_free(TAKE_PTR(p->io));
		return r;
	}
	/* The event goes out before the process' end can be learnt. */
	p->status = TASK_RUNNING;
	runtime_emit(p->container->rt,
		     process_is_init(p) ? TASK_EVENT_START : TASK_EVENT_EXEC_STARTED, p);
	process_started(p);
	run_poststart(p);
	if (p->terminal && p->width && p->height)
		send_resize(p, ignore_outcome, NULL);
	return 0;
}

static void start_init(struct process *p, task_done_fn done, void *arg)
{
	Grpc__StartContainerRequest req = GRPC__START_CONTAINER_REQUEST__INIT;
	req.container_id = p->container->res.id;
	/* Before it runs, so that the first that it sees is the right size; an agent that takes its
	 * calls in another order hears of it once more afterwards. */
	if (p->terminal && p->width && p->height)
		send_resize(p, ignore_outcome, NULL);
	call_agent(p, "StartContainer", &req.base, finish_start, done, arg);
}

/* An exec whose streams are being opened. */
struct exec_start {
	struct process *process; /* referenced */
	Grpc__Process *message;
	task_done_fn done;
	void *arg;
};

static void exec_start_free(struct exec_start *s)
{
	grpc__process__free_unpacked(s->message, NULL);
	process_unref(s->process);
	free(s);
}

/* What may have happened while a logging binary got ready. */
static int check_exec(const struct process *p, struct err *e)
{
	int r = check_sandbox(p->container->rt, e);
	if (r == 0 && p->status != TASK_STARTING)
		r = wrong_status(p, "created", e);
	if (r == 0 && !is_alive(p->container->init))
		r = wrong_status(p->container->init, "running", e);
	return r;
}

static void on_exec_io(void *arg, int r, const struct err *e)
{
	struct exec_start *s = arg;
	struct process *p = s->process;
	struct runtime *rt = p->container->rt;
	struct err outcome = e ? *e : ERR_INIT;

	if (r == 0 && (r = check_exec(p, &outcome)) < 0)
		process_io_free(TAKE_PTR(p->io));
	if (r < 0) {
		if (p->status == TASK_STARTING)
			p->status = TASK_CREATED;
		refuse(s->done, s->arg, &outcome);
	} else {
		Grpc__ExecProcessRequest req = GRPC__EXEC_PROCESS_REQUEST__INIT;
		req.container_id = p->container->res.id;
		req.exec_id = p->exec_id;
		req.process = s->message;
		call_agent(p, "ExecProcess", &req.base, finish_start, s->done, s->arg);
		/* an exec runs once: what it was made from is not needed any more */
		oci_arena_free(TAKE_PTR(p->arena));
		p->spec = NULL;
	}
	exec_start_free(s);
	runtime_job_done(rt);
}

static int start_exec(struct process *p, task_done_fn done, void *arg, struct err *e)
{
	Grpc__Process *message = NULL;

	if (p->terminal && p->width && p->height) {
		p->spec->console_width = p->width;
		p->spec->console_height = p->height;
	}
	int r = oci_process_to_proto(p->spec, &message, e);
	if (r < 0)
		return r;
	struct exec_start *s = malloc(sizeof *s);
	if (!s) {
		grpc__process__free_unpacked(message, NULL);
		return err_set(e, -ENOMEM, "out of memory");
	}
	*s = (struct exec_start){process_ref(p), message, done, arg};
	p->container->rt->in_flight++; /* a shutdown waits for it */
	process_open_io(p, on_exec_io, s);
	return 0;
}

void runtime_start(struct runtime *rt, const char *id, const char *exec_id, task_done_fn done,
		   void *arg)
{
	struct err e = ERR_INIT;
	struct process *p = runtime_find_process(rt, id, exec_id, &e);
	int r = p ? 0 : -ENOENT;

	if (r == 0 && p->status != TASK_CREATED)
		r = wrong_status(p, "created", &e);
	if (r == 0)
		r = check_sandbox(rt, &e);
	if (r == 0 && !process_is_init(p) && p->container->init->status != TASK_RUNNING)
		r = wrong_status(p->container->init, "running", &e);
	if (r == 0) {
		p->status = TASK_STARTING;
		if (process_is_init(p))
			start_init(p, done, arg);
		else if ((r = start_exec(p, done, arg, &e)) < 0)
			p->status = TASK_CREATED;
	}
	if (r < 0)
		refuse(done, arg, &e);
}

/* ---- Exec --------------------------------------------------------------------------------------
 */

int runtime_exec(struct runtime *rt, const char *id, const char *exec_id,
		 const struct task_stdio *stdio, const char *process_json, size_t len,
		 struct err *e)
{
	struct container *c = runtime_find(rt, id, e);
	struct process *p;

	if (!c)
		return -ENOENT;
	if (runtime_find_process(rt, id, exec_id, NULL))
		return err_status(e, STATUS_ALREADY_EXISTS,
				  "exec %s of container %s already exists", exec_id, id);
	if (c->init->status != TASK_RUNNING)
		return wrong_status(c->init, "running", e);
	if (c->n_execs >= EXECS_MAX)
		return err_status(e, STATUS_RESOURCE_EXHAUSTED,
				  "container %s has %d execs, the most that it may", id, EXECS_MAX);
	int r = process_new(c, exec_id, stdio, &p);
	if (r < 0)
		return err_set(e, r, "out of memory");
	r = oci_process_parse(process_json, len, &p->spec, &p->arena, e);
	if (r < 0) {
		process_unref(p);
		return err_wrap(e, r, "the process of exec %s", exec_id);
	}
	p->spec->terminal = stdio->terminal;
	/* host labels mean nothing in a guest */
	p->spec->apparmor_profile = NULL;
	p->spec->selinux_label = NULL;
	list_add_tail(&c->execs, &p->link);
	c->n_execs++;
	runtime_emit(rt, TASK_EVENT_EXEC_ADDED, p);
	return 0;
}

/* ---- Delete ------------------------------------------------------------------------------------
 */

struct delete_job {
	struct process *process; /* referenced */
	struct task_state state;
	bool machine_lives;
	task_done_fn done;
	void *arg;
	int r;
	struct err e;
};

/* All who asked for the deletion, among them clients that have lost their connection and came
 * back. */
static void answer_deletion(struct delete_job *j)
{
	struct process *p = j->process;

	process_state(p, &j->state);
	j->done(j->arg, 0, &j->state, NULL);
	while (!list_empty(&p->deleters)) {
		struct waiter *w = list_first(&p->deleters, struct waiter, link);
		list_del(&w->link);
		process_answer(p, w->done, w->arg);
		free(w);
	}
}

static void delete_done(void *arg)
{
	struct delete_job *j = arg;
	struct container *c = j->process->container;
	struct runtime *rt = c->rt;

	if (j->r < 0)
		/* the container is gone all the same; what is left stays in the journal */
		log_error("delete container %s: %s", c->res.id, err_text(&j->e, j->r));
	container_unlist(c);
	runtime_emit(rt, TASK_EVENT_DELETE, j->process);
	answer_deletion(j);
	container_unlink(c);
	process_unref(j->process);
	free(j);
	runtime_job_done(rt);
}

static void delete_on_worker(void *arg)
{
	struct delete_job *j = arg;
	struct container *c = j->process->container;

	j->r = container_remove(&c->res, j->machine_lives, &j->e);
	if (loop_post(c->rt->params.loop, delete_done, j) < 0)
		log_error("out of memory: the deletion of container %s is not answered", c->res.id);
}

static void remove_container(struct delete_job *j)
{
	struct container *c = j->process->container;

	c->rt->in_flight++;
	if (worker_pool_run(c->rt->params.workers, delete_on_worker, j) < 0) {
		j->r = err_set(&j->e, -ENOMEM, "out of memory");
		delete_done(j);
	}
}

static void delete_init(void *arg, int r, const struct task_state *state, const struct err *e)
{
	struct delete_job *j = arg;
	struct container *c = j->process->container;

	process_io_free(TAKE_PTR(c->init->io));
	if (c->in_poststart) /* poststop comes after poststart, however short the life was */
		c->after_poststart = j;
	else
		remove_container(j);
}

static void delete_exec(void *arg, int r, const struct task_state *state, const struct err *e)
{
	struct delete_job *j = arg;
	struct process *p = j->process;

	if (!list_empty(&p->link)) {
		list_del(&p->link);
		p->container->n_execs--;
		process_unref(p);
	}
	runtime_emit(p->container->rt, TASK_EVENT_DELETE, p);
	answer_deletion(j);
	process_unref(p);
	free(j);
}

static int check_delete(struct process *p, struct err *e)
{
	if (p->status != TASK_STOPPED && p->status != TASK_CREATED)
		return wrong_status(p, "stopped", e);
	return 0;
}

void runtime_delete(struct runtime *rt, const char *id, const char *exec_id, task_done_fn done,
		    void *arg)
{
	struct err e = ERR_INIT;
	struct process *p = runtime_find_process(rt, id, exec_id, &e);
	struct delete_job *j = NULL;

	/* One that is being created cannot be stopped half-way: it is deleted when it is there. */
	if (p && (p->deleted || p->status == TASK_CREATING)) {
		add_waiter(&p->deleters, done, arg);
		return;
	}
	if (p && check_delete(p, &e) == 0 && !(j = calloc(1, sizeof *j)))
		(void)err_set(&e, -ENOMEM, "out of memory");
	if (!j) {
		refuse(done, arg, &e);
		return;
	}
	*j = (struct delete_job){.process = process_ref(p),
				 .machine_lives = rt->status == SANDBOX_UP,
				 .done = done,
				 .arg = arg};
	p->deleted = true;
	process_exited(p, EXIT_STATUS_KILLED); /* one that never ran: nobody may wait any longer */
	process_when_drained(p, process_is_init(p) ? delete_init : delete_exec, j);
}

static void take_all(struct list *from, struct list *to)
{
	while (!list_empty(from)) {
		struct list *n = from->next;
		list_del(n);
		list_add_tail(to, n);
	}
}

void process_end_late(struct process *init)
{
	struct list killers = LIST_INIT(killers), deleters = LIST_INIT(deleters);
	struct runtime *rt = init->container->rt;

	process_ref(init);
	take_all(&init->killers, &killers);
	take_all(&init->deleters, &deleters);
	while (!list_empty(&killers)) {
		struct waiter *w = list_first(&killers, struct waiter, link);
		list_del(&w->link);
		runtime_kill(rt, init->container->res.id, "", SIGKILL, true, w->done, w->arg);
		free(w);
	}
	while (!list_empty(&deleters)) {
		struct waiter *w = list_first(&deleters, struct waiter, link);
		list_del(&w->link);
		runtime_delete(rt, init->container->res.id, "", w->done, w->arg);
		free(w);
	}
	process_unref(init);
}

/* ---- Signals -----------------------------------------------------------------------------------
 */

static int finish_kill(struct call *c, int r, const ProtobufCMessage *response, struct err *e)
{
	/* It ended before the signal came: what the caller wanted, where it wanted an end. */
	if (r < 0 && (e->status == STATUS_NOT_FOUND || c->process->status == TASK_STOPPED))
		return 0;
	if (r == 0 && c->process->status == TASK_CREATED && c->process->end_wanted)
		process_killed(c->process);
	return r;
}

/* Signal 0 asks whether it lives, and changes nothing: an end is an answer, and no success. */
static int finish_probe(struct call *c, int r, const ProtobufCMessage *response, struct err *e)
{
	return r;
}

/* SIGKILL must end a process even if its guest hangs: then it ends the machine. */
static int finish_sigkill(struct call *c, int r, const ProtobufCMessage *response, struct err *e)
{
	struct runtime *rt = c->process->container->rt;

	if (r < 0 && e->status == STATUS_DEADLINE_EXCEEDED && rt->status == SANDBOX_UP)
		sandbox_abandon(rt->sandbox, "the guest does not answer to a SIGKILL");
	return finish_kill(c, r, response, e);
}

/* Asking again for an end that has come is no error: a pod's stop is repeated until it works. */
static bool ends(uint32_t signum)
{
	return signum == SIGKILL || signum == SIGTERM;
}

void runtime_kill(struct runtime *rt, const char *id, const char *exec_id, uint32_t signum,
		  bool all, task_done_fn done, void *arg)
{
	struct err e = ERR_INIT;
	/* "all" are the container's, whoever of them is named */
	struct process *p = runtime_find_process(rt, id, all ? "" : exec_id, &e);

	if (signum >= NSIG) {
		(void)err_set(&e, -EINVAL, "signal %u: must be 0 to %d", signum, NSIG - 1);
		refuse(done, arg, &e);
		return;
	}
	if (!p || p->status == TASK_STOPPED || rt->status == SANDBOX_DEAD) {
		if (ends(signum))
			done(arg, 0, NULL, NULL);
		else if (!p)
			refuse(done, arg, &e);
		else {
			(void)err_status(&e, STATUS_NOT_FOUND, "process of container %s has ended",
					 id);
			refuse(done, arg, &e);
		}
		return;
	}
	if (p->status == TASK_CREATING && signum == SIGKILL) {
		add_waiter(&p->killers, done, arg);
		return;
	}
	if (p->status == TASK_CREATING || (!process_is_init(p) && !is_alive(p)))
		(void)wrong_status(p, "running", &e);
	else
		(void)check_sandbox(rt, &e);
	if (e.errnum) {
		refuse(done, arg, &e);
		return;
	}

	p->end_wanted |= ends(signum);
	Grpc__SignalProcessRequest req = GRPC__SIGNAL_PROCESS_REQUEST__INIT;
	req.container_id = p->container->res.id;
	/* SIGKILL to init, whose exec id is empty, ends every process of the container; another
	 * signal reaches all of them only through an agent that knows how. */
	req.exec_id = p->exec_id;
	req.signal = signum;
	req.all = all && agent_features(sandbox_agent(rt->sandbox))->signal_all;
	bool sure = signum == SIGKILL;
	call_agent_within(sure ? SIGKILL_TIMEOUT_MS : 0, p, "SignalProcess", &req.base,
			  sure		? finish_sigkill
			  : signum == 0 ? finish_probe
					: finish_kill,
			  done, arg);
}

static void on_member_killed(void *arg, int r, const struct task_state *state, const struct err *e)
{
	if (r < 0)
		log_warn("end a container with its pod: %s", err_text(e, r));
}

void runtime_end_members(struct runtime *rt, const struct container *of)
{
	struct list *pos, *tmp;

	list_for_each_safe (pos, tmp, &rt->containers) {
		struct container *c = list_entry(pos, struct container, link);
		if (c != of && (is_alive(c->init) || c->init->status == TASK_CREATED))
			runtime_kill(rt, c->res.id, "", SIGKILL, true, on_member_killed, NULL);
	}
}

/* ---- Wait --------------------------------------------------------------------------------------
 */

void runtime_wait(struct runtime *rt, const char *id, const char *exec_id, task_done_fn done,
		  void *arg)
{
	struct err e = ERR_INIT;
	struct process *p = runtime_find_process(rt, id, exec_id, &e);

	if (!p)
		refuse(done, arg, &e);
	else if (p->status == TASK_STOPPED)
		process_answer(p, done, arg);
	else
		add_waiter(&p->waiters, done, arg);
}

/* ---- Pause and resume
 * ---------------------------------------------------------------------------- */

static int finish_pause(struct call *c, int r, const ProtobufCMessage *response, struct err *e)
{
	struct process *p = c->process;
	if (r == 0 && is_alive(p)) {
		bool paused = c->before == TASK_RUNNING;
		p->status = paused ? TASK_PAUSED : TASK_RUNNING;
		runtime_emit(p->container->rt, paused ? TASK_EVENT_PAUSED : TASK_EVENT_RESUMED, p);
	}
	return r;
}

void runtime_pause(struct runtime *rt, const char *id, bool pause, task_done_fn done, void *arg)
{
	struct err e = ERR_INIT;
	struct process *p = runtime_find_process(rt, id, "", &e);

	if (p && p->status != (pause ? TASK_RUNNING : TASK_PAUSED))
		(void)wrong_status(p, pause ? "running" : "paused", &e);
	else if (p)
		(void)check_sandbox(rt, &e);
	if (e.errnum) {
		refuse(done, arg, &e);
		return;
	}
	/* Both requests carry nothing but the id, as field 1. */
	Grpc__PauseContainerRequest stop = GRPC__PAUSE_CONTAINER_REQUEST__INIT;
	Grpc__ResumeContainerRequest go = GRPC__RESUME_CONTAINER_REQUEST__INIT;
	stop.container_id = go.container_id = p->container->res.id;
	call_agent(p, pause ? "PauseContainer" : "ResumeContainer", pause ? &stop.base : &go.base,
		   finish_pause, done, arg);
}

/* ---- Terminal and standard input
 * ------------------------------------------------------------------ */

void runtime_resize(struct runtime *rt, const char *id, const char *exec_id, uint32_t width,
		    uint32_t height, task_done_fn done, void *arg)
{
	struct err e = ERR_INIT;
	struct process *p = runtime_find_process(rt, id, exec_id, &e);

	if (p && (width > UINT16_MAX || height > UINT16_MAX))
		(void)err_set(&e, -EINVAL, "terminal size %ux%u: at most %d are possible", width,
			      height, UINT16_MAX);
	if (e.errnum) {
		refuse(done, arg, &e);
		return;
	}
	p->width = width;
	p->height = height;
	/* Before the start it is remembered; after the end, or without a terminal, there is nothing
	 * to resize, which containerd's own shim does not mind either. */
	if (!p->terminal || !is_alive(p) || rt->status != SANDBOX_UP)
		process_answer(p, done, arg);
	else
		send_resize(p, done, arg);
}

int runtime_close_stdin(struct runtime *rt, const char *id, const char *exec_id, struct err *e)
{
	struct process *p = runtime_find_process(rt, id, exec_id, e);
	if (!p)
		return -ENOENT;
	p->close_stdin = true; /* an exec's streams are opened at its start */
	if (p->io)
		process_io_close_stdin(p->io);
	return 0;
}

/* ---- Resources
 * ------------------------------------------------------------------------------------ */

static int finish_update(struct call *c, int r, const ProtobufCMessage *response, struct err *e)
{
	return r;
}

void runtime_update(struct runtime *rt, const char *id, const char *resources_json, size_t len,
		    task_done_fn done, void *arg)
{
	struct err e = ERR_INIT;
	struct oci_resources *resources = NULL;
	_cleanup_arena_ struct oci_arena *arena = NULL;
	Grpc__UpdateContainerRequest req = GRPC__UPDATE_CONTAINER_REQUEST__INIT;
	struct process *p = runtime_find_process(rt, id, "", &e);

	if (p && !is_alive(p) && p->status != TASK_CREATED)
		(void)wrong_status(p, "running", &e);
	if (!e.errnum && check_sandbox(rt, &e) == 0 &&
	    oci_resources_parse(resources_json, len, &resources, &arena, &e) == 0)
		(void)oci_resources_to_proto(resources, &req.resources, &e);
	if (e.errnum) {
		refuse(done, arg, &e);
		return;
	}
	req.container_id = p->container->res.id;
	call_agent(p, "UpdateContainer", &req.base, finish_update, done, arg);
	grpc__linux_resources__free_unpacked(req.resources, NULL);
}

struct stats_call {
	task_stats_fn done;
	void *arg;
};

static void on_stats(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	struct stats_call *c = arg;
	c->done(c->arg, r, (const Grpc__StatsContainerResponse *)response, e);
	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
	free(c);
}

void runtime_stats(struct runtime *rt, const char *id, task_stats_fn done, void *arg)
{
	struct err e = ERR_INIT;
	Grpc__StatsContainerRequest req = GRPC__STATS_CONTAINER_REQUEST__INIT;
	struct process *p = runtime_find_process(rt, id, "", &e);
	struct stats_call *c = NULL;

	if (p && p->status == TASK_STOPPED)
		(void)wrong_status(p, "running", &e);
	else if (p)
		(void)check_sandbox(rt, &e);
	if (!e.errnum && !(c = malloc(sizeof *c)))
		(void)err_set(&e, -ENOMEM, "out of memory");
	if (e.errnum) {
		done(arg, -e.errnum, NULL, &e);
		return;
	}
	c->done = done;
	c->arg = arg;
	req.container_id = p->container->res.id;
	struct agent *agent = sandbox_agent(rt->sandbox);
	int r = agent_start(agent, "StatsContainer", &req.base, agent_timeout_ms(agent), on_stats,
			    c, &e);
	if (r < 0)
		on_stats(c, r, NULL, &e);
}

/* ---- Processes --------------------------------------------------------------------------------
 */

struct pids_call {
	struct process *process; /* referenced */
	task_pids_fn done;
	void *arg;
};

static void on_pids(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	struct pids_call *c = arg;
	struct task_state state;

	process_state(c->process, &state);
	if (r < 0)
		log_debug("list the processes of container %s: %s", c->process->container->res.id,
			  err_text(e, r));
	c->done(c->arg, 0, &state, (const Grpc__ListContainerProcessesResponse *)response, NULL);
	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
	process_unref(c->process);
	free(c);
}

static void list_in_guest(struct process *p, task_pids_fn done, void *arg)
{
	struct err e = ERR_INIT;
	Grpc__ListContainerProcessesRequest req = GRPC__LIST_CONTAINER_PROCESSES_REQUEST__INIT;
	struct agent *agent = sandbox_agent(p->container->rt->sandbox);
	struct pids_call *c = malloc(sizeof *c);

	if (!c) {
		(void)err_set(&e, -ENOMEM, "out of memory");
		done(arg, -ENOMEM, NULL, NULL, &e);
		return;
	}
	*c = (struct pids_call){process_ref(p), done, arg};
	req.container_id = p->container->res.id;
	int r = agent_start(agent, "ListContainerProcesses", &req.base, PIDS_TIMEOUT_MS, on_pids, c,
			    &e);
	if (r < 0)
		on_pids(c, r, NULL, &e);
}

void runtime_pids(struct runtime *rt, const char *id, task_pids_fn done, void *arg)
{
	struct err e = ERR_INIT;
	struct task_state state;
	if (pod_task_state(rt, id, "", &state)) {
		done(arg, 0, &state, NULL, NULL);
		return;
	}

	struct process *p = runtime_find_process(rt, id, "", &e);
	if (!p) {
		done(arg, -e.errnum, NULL, NULL, &e);
		return;
	}
	bool lists = rt->status == SANDBOX_UP &&
		     agent_features(sandbox_agent(rt->sandbox))->list_processes;
	if (lists && p->status != TASK_STOPPED && p->status != TASK_CREATING) {
		list_in_guest(p, done, arg);
		return;
	}
	process_state(p, &state);
	done(arg, 0, &state, NULL, NULL);
}
