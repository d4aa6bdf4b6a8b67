/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod that is a sandbox by itself: its machine is booted and ended by requests of its own, and
 * containers join it.
 *
 * CREATED -> STARTING -> STARTED -> STOPPING -> STOPPED; a start that fails leads back to CREATED.
 * It is ready while it is STARTED and its machine lives. The machine's state is the runtime's, as
 * for every pod: a death shows there.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "runtimes/internal.h"
#include "runtimes/watch.h"

#include "proto/health.pb-c.h"

#include <signal.h>
#include <string.h>

/* What StopSandbox may take if it does not say: containers are killed, not asked. */
#define STOP_MS_DEFAULT 10000
/* A machine whose time is over is still given this long to write its file systems back. */
#define GRACE_LEAST_MS 100

enum pod_phase {
	POD_CREATED,
	POD_STARTING,
	POD_STARTED,
	POD_STOPPING,
	POD_STOPPED,
};

struct pod_waiter {
	struct list link;
	pod_done_fn done;
	void *arg;
};

struct pod {
	struct runtime *rt;
	struct oci_spec *spec;
	char *config_file, *config_body; /* or NULL */
	enum pod_phase phase;
	struct timespec created_at, exited_at; /* 0: not yet */
	uint32_t exit_status;
	struct list waiters, stoppers;

	/* While it is stopped: */
	uint64_t stop_deadline;
	struct loop_timer *stop_timer; /* until the containers have ended */
	unsigned n_left;	       /* of them, and one for the request itself */
	bool halting;		       /* the machine's turn has come */
};

/* ---- Small things ------------------------------------------------------------------------------
 */

static struct pod *find_pod(struct runtime *rt, struct err *e)
{
	if (!rt->pod)
		(void)err_status(e, STATUS_NOT_FOUND, "sandbox %s has not been created",
				 rt->params.sandbox_id);
	return rt->pod;
}

static bool is_ready(const struct pod *p)
{
	return p->phase == POD_STARTED && p->rt->status == SANDBOX_UP;
}

static int not_running(const struct pod *p, struct err *e)
{
	const char *why = p->phase == POD_CREATED    ? "has not been started"
			  : p->phase == POD_STARTING ? "is being started"
			  : p->phase == POD_STOPPING ? "is being stopped"
			  : p->phase == POD_STOPPED  ? "was stopped"
						     : NULL;
	if (why)
		return err_status(e, STATUS_FAILED_PRECONDITION, "sandbox %s %s",
				  p->rt->params.sandbox_id, why);
	return err_status(e, STATUS_FAILED_PRECONDITION, "sandbox %s is dead: %s",
			  p->rt->params.sandbox_id, p->rt->dead_reason);
}

static void refuse(pod_done_fn done, void *arg, const struct err *e)
{
	done(arg, -e->errnum, NULL, e);
}

static void fill_status(const struct pod *p, struct pod_status *ret)
{
	*ret = (struct pod_status){
		.ready = is_ready(p),
		.pid = p->rt->sandbox ? sandbox_pid(p->rt->sandbox) : 0,
		.created_at = p->created_at,
		.exited_at = p->exited_at,
		.exit_status = p->exit_status,
	};
}

static void answer(const struct pod *p, pod_done_fn done, void *arg)
{
	struct pod_status status;
	fill_status(p, &status);
	done(arg, 0, &status, NULL);
}

static int add_waiter(struct list *list, pod_done_fn done, void *arg)
{
	struct pod_waiter *w = malloc(sizeof *w);
	if (!w) {
		struct err e = ERR_INIT;
		(void)err_set(&e, -ENOMEM, "out of memory");
		refuse(done, arg, &e);
		return -ENOMEM;
	}
	w->done = done;
	w->arg = arg;
	list_add_tail(list, &w->link);
	return 0;
}

static void answer_all(const struct pod *p, struct list *list)
{
	while (!list_empty(list)) {
		struct pod_waiter *w = list_first(list, struct pod_waiter, link);
		list_del(&w->link);
		answer(p, w->done, w->arg);
		free(w);
	}
}

/* The first end is the end: a stop that finds a dead machine changes nothing about it. */
static void end(struct pod *p, uint32_t exit_status)
{
	if (p->exited_at.tv_sec == 0) {
		(void)clock_gettime(CLOCK_REALTIME, &p->exited_at);
		p->exit_status = exit_status;
	}
	answer_all(p, &p->waiters);
}

/* ---- Create ------------------------------------------------------------------------------------
 */

static struct pod *pod_new(struct runtime *rt, const struct pod_create *c)
{
	struct pod *p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	p->rt = rt;
	list_init(&p->waiters);
	list_init(&p->stoppers);
	p->config_file = text_is_given(c->config_file) ? strdup(c->config_file) : NULL;
	p->config_body = text_is_given(c->config_body) ? strdup(c->config_body) : NULL;
	if ((text_is_given(c->config_file) && !p->config_file) ||
	    (text_is_given(c->config_body) && !p->config_body)) {
		pod_free(p);
		return NULL;
	}
	return p;
}

void pod_free(struct pod *p)
{
	if (!p)
		return;
	loop_timer_free(p->stop_timer);
	oci_spec_free(p->spec);
	free(p->config_file);
	free(p->config_body);
	free(p);
}

int runtime_sandbox_create(struct runtime *rt, const struct pod_create *c, struct err *e)
{
	if (rt->status == SANDBOX_CLOSED || rt->shutdown)
		return err_status(e, STATUS_UNAVAILABLE, "the shim is shutting down");
	if (rt->pod || rt->status != SANDBOX_NONE || rt->n_containers > 0)
		return err_status(e, STATUS_ALREADY_EXISTS, "sandbox %s already exists%s",
				  rt->params.sandbox_id,
				  rt->pod ? "" : ": a task has brought it up");
	rt->pod = pod_new(rt, c);
	if (!rt->pod)
		return err_set(e, -ENOMEM, "out of memory");
	rt->pod->spec = c->spec;
	return 0;
}

const char *runtime_sandbox_id(const struct runtime *rt)
{
	return rt->pod ? rt->params.sandbox_id : NULL;
}

const struct oci_spec *pod_spec(const struct runtime *rt)
{
	return rt->pod ? rt->pod->spec : NULL;
}

int pod_check_create(const struct runtime *rt, const char *id, struct err *e)
{
	if (!rt->pod)
		return 0;
	if (strcmp(id, rt->params.sandbox_id) == 0)
		return err_status(e, STATUS_ALREADY_EXISTS, "%s is the id of the sandbox itself",
				  id);
	return is_ready(rt->pod) ? 0 : not_running(rt->pod, e);
}

bool pod_task_state(const struct runtime *rt, const char *id, const char *exec_id,
		    struct task_state *ret)
{
	struct pod_status status;

	if (!rt->pod || strcmp(id, rt->params.sandbox_id) != 0 ||
	    (exec_id[0] && strcmp(exec_id, id) != 0))
		return false;
	fill_status(rt->pod, &status);
	*ret = (struct task_state){
		.id = rt->params.sandbox_id,
		.exec_id = "",
		.bundle = "",
		.pid = status.pid,
		.status = status.exited_at.tv_sec ? TASK_STOPPED
			  : status.ready	  ? TASK_RUNNING
						  : TASK_CREATED,
		.stdio = {false, "", "", ""},
		.exit_status = status.exit_status,
		.exited_at = status.exited_at,
	};
	return true;
}

/* ---- Start -------------------------------------------------------------------------------------
 */

struct boot_job {
	struct pod *pod;
	pod_done_fn done;
	void *arg;
	int r;
	struct err e;
};

static void stop_machine(struct pod *p);

static void boot_failed(struct boot_job *j)
{
	struct runtime *rt = j->pod->rt;

	/* Undone wholly, so that another start may try again. */
	sandbox_free(TAKE_PTR(rt->sandbox));
	rt->status = SANDBOX_NONE;
	rt->dead_reason[0] = '\0';
	if (j->pod->phase == POD_STARTING)
		j->pod->phase = POD_CREATED;
	log_error("start sandbox %s: %s", rt->params.sandbox_id, err_text(&j->e, j->r));
}

static void boot_succeeded(struct boot_job *j)
{
	struct pod *p = j->pod;
	struct runtime *rt = p->rt;

	(void)clock_gettime(CLOCK_REALTIME, &p->created_at);
	rt->status = rt->dead_reason[0] ? SANDBOX_DEAD : SANDBOX_UP;
	if (p->phase == POD_STARTING)
		p->phase = POD_STARTED;
	if (rt->status == SANDBOX_DEAD) { /* since its boot */
		j->r = err_status(&j->e, STATUS_UNAVAILABLE, "sandbox %s is dead: %s",
				  rt->params.sandbox_id, rt->dead_reason);
		runtime_halt(rt);
		if (p->phase != POD_STOPPING)
			end(p, EXIT_STATUS_LOST);
	} else {
		watch_start(rt);
	}
	runtime_save(rt);
}

static void boot_done(void *arg)
{
	struct boot_job *j = arg;
	struct pod *p = j->pod;
	struct runtime *rt = p->rt;

	if (j->r < 0)
		boot_failed(j);
	else
		boot_succeeded(j);
	if (p->phase == POD_STOPPING)
		j->r = not_running(p, &j->e);
	if (j->r < 0)
		refuse(j->done, j->arg, &j->e);
	else
		answer(p, j->done, j->arg);
	if (p->phase == POD_STOPPING)
		stop_machine(p);
	free(j);
	runtime_job_done(rt);
}

static void boot_on_worker(void *arg)
{
	struct boot_job *j = arg;
	struct runtime *rt = j->pod->rt;

	j->r = sandbox_boot(rt->sandbox, j->pod->spec, &j->e);
	if (loop_post(rt->params.loop, boot_done, j) < 0)
		log_error("out of memory: the start of the sandbox is not answered");
}

static int begin_start(struct pod *p, struct err *e)
{
	struct runtime *rt = p->rt;
	if (rt->status == SANDBOX_CLOSED || rt->shutdown)
		return err_status(e, STATUS_UNAVAILABLE, "the shim is shutting down");
	if (is_ready(p))
		return err_status(e, STATUS_FAILED_PRECONDITION, "sandbox %s has been started",
				  rt->params.sandbox_id);
	if (p->phase != POD_CREATED)
		return not_running(p, e);
	return runtime_make_sandbox(rt, p->config_file, p->config_body, e);
}

void runtime_sandbox_start(struct runtime *rt, pod_done_fn done, void *arg)
{
	struct err e = ERR_INIT;
	struct pod *p = find_pod(rt, &e);
	struct boot_job *j = NULL;

	if (p && !(j = calloc(1, sizeof *j)))
		(void)err_set(&e, -ENOMEM, "out of memory");
	if (!j || begin_start(p, &e) < 0) {
		free(j);
		refuse(done, arg, &e);
		return;
	}
	*j = (struct boot_job){.pod = p, .done = done, .arg = arg, .e = ERR_INIT};
	p->phase = POD_STARTING;
	rt->status = SANDBOX_BOOTING;
	rt->in_flight++;
	if (worker_pool_run(rt->params.workers, boot_on_worker, j) < 0) {
		j->r = err_set(&j->e, -ENOMEM, "out of memory");
		boot_done(j);
	}
}

/* ---- Stop: first the containers, then the machine ----------------------------------------------
 */

static void stop_done(void *arg)
{
	struct pod *p = arg;
	struct runtime *rt = p->rt;

	p->phase = POD_STOPPED;
	end(p, 0);
	answer_all(p, &p->stoppers);
	runtime_job_done(rt);
}

static void stop_on_worker(void *arg)
{
	struct pod *p = arg;
	int left = time_left_ms(p->stop_deadline);

	if (p->rt->sandbox)
		sandbox_stop(p->rt->sandbox,
			     left < GRACE_LEAST_MS ? GRACE_LEAST_MS : (uint64_t)left);
	if (loop_post(p->rt->params.loop, stop_done, p) < 0)
		log_error("out of memory: the end of the sandbox is not answered");
}

/* What still runs has ended when this returns; nothing is asked of the guest any more. */
static void stop_machine(struct pod *p)
{
	struct runtime *rt = p->rt;

	if (p->halting)
		return;
	p->halting = true;
	loop_timer_free(TAKE_PTR(p->stop_timer));
	if (rt->status == SANDBOX_UP) {
		(void)snprintf(rt->dead_reason, sizeof rt->dead_reason, "it was stopped");
		rt->status = SANDBOX_DEAD;
		watch_stop(rt->watch);
		runtime_save(rt);
		runtime_stop_all(rt, EXIT_STATUS_KILLED);
	}
	rt->in_flight++;
	if (worker_pool_run(rt->params.workers, stop_on_worker, p) < 0)
		stop_done(p);
}

static void one_less(struct pod *p)
{
	if (--p->n_left == 0 && p->phase == POD_STOPPING)
		stop_machine(p);
}

static void on_member_ended(void *arg, int r, const struct task_state *state, const struct err *e)
{
	one_less(arg);
}

static void on_member_killed(void *arg, int r, const struct task_state *state, const struct err *e)
{
	if (r < 0)
		log_warn("end a container with its sandbox: %s", err_text(e, r));
}

static void on_stop_timeout(void *arg)
{
	struct pod *p = arg;
	log_warn("the containers of the sandbox did not end in time: it is stopped all the same");
	stop_machine(p);
}

static bool runs(const struct process *p)
{
	return p->status == TASK_STARTING || p->status == TASK_RUNNING || p->status == TASK_PAUSED;
}

static void end_containers(struct pod *p)
{
	struct runtime *rt = p->rt;
	struct list *pos, *tmp;

	p->n_left = 1;
	if (loop_timer_new(rt->params.loop, on_stop_timeout, p, &p->stop_timer) == 0) {
		loop_timer_start(p->stop_timer, (uint64_t)time_left_ms(p->stop_deadline));
		list_for_each_safe (pos, tmp, &rt->containers) {
			struct container *c = list_entry(pos, struct container, link);
			if (!runs(c->init))
				continue;
			p->n_left++;
			runtime_wait(rt, c->res.id, "", on_member_ended, p);
			runtime_kill(rt, c->res.id, "", SIGKILL, true, on_member_killed, NULL);
		}
	}
	one_less(p);
}

void runtime_sandbox_stop(struct runtime *rt, uint64_t timeout_ms, pod_done_fn done, void *arg)
{
	struct err e = ERR_INIT;
	struct pod *p = find_pod(rt, &e);

	if (!p) {
		refuse(done, arg, &e);
		return;
	}
	if (p->phase == POD_STOPPED || rt->status == SANDBOX_CLOSED) {
		answer(p, done, arg);
		return;
	}
	if (add_waiter(&p->stoppers, done, arg) < 0 || p->phase == POD_STOPPING)
		return;
	bool boots = p->phase == POD_STARTING;
	p->phase = POD_STOPPING;
	p->stop_deadline = time_deadline(timeout_ms ? timeout_ms : STOP_MS_DEFAULT);
	if (boots)
		sandbox_abandon(rt->sandbox, "it is stopped"); /* the boot's end goes on here */
	else if (rt->status == SANDBOX_UP)
		end_containers(p);
	else
		stop_machine(p);
}

/* ---- Death and shutdown ------------------------------------------------------------------------
 */

void pod_died(struct runtime *rt)
{
	if (rt->pod)
		end(rt->pod, EXIT_STATUS_LOST);
}

void pod_closing(struct runtime *rt)
{
	if (!rt->pod)
		return;
	loop_timer_free(TAKE_PTR(rt->pod->stop_timer));
	rt->pod->halting = true; /* the shutdown ends the machine */
}

void pod_closed(struct runtime *rt)
{
	struct pod *p = rt->pod;
	if (!p)
		return;
	p->phase = POD_STOPPED;
	end(p, 0);
	answer_all(p, &p->stoppers);
}

void runtime_sandbox_shutdown(struct runtime *rt, task_done_fn done, void *arg)
{
	/* A boot is not waited for: it may take a minute, and its machine goes all the same. */
	if (rt->status == SANDBOX_BOOTING && rt->sandbox)
		sandbox_abandon(rt->sandbox, "the shim is shut down");
	runtime_shutdown(rt, true, done, arg);
}

/* ---- Questions ---------------------------------------------------------------------------------
 */

void runtime_sandbox_wait(struct runtime *rt, pod_done_fn done, void *arg)
{
	struct err e = ERR_INIT;
	struct pod *p = find_pod(rt, &e);

	if (!p)
		refuse(done, arg, &e);
	else if (p->exited_at.tv_sec)
		answer(p, done, arg);
	else
		(void)add_waiter(&p->waiters, done, arg);
}

int runtime_sandbox_status(struct runtime *rt, struct pod_status *ret, struct err *e)
{
	struct pod *p = find_pod(rt, e);
	if (!p)
		return -ENOENT;
	fill_status(p, ret);
	return 0;
}

/* For a question to the guest or its machine. */
static struct pod *find_ready(struct runtime *rt, struct err *e)
{
	struct pod *p = find_pod(rt, e);
	if (!p || is_ready(p))
		return p;
	(void)not_running(p, e);
	return NULL;
}

struct ping {
	struct runtime *rt;
	pod_done_fn done;
	void *arg;
};

static void on_checked(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	struct ping *ping = arg;
	struct err outcome = e ? *e : ERR_INIT;
	const Grpc__HealthCheckResponse *answered = (const void *)response;

	if (r == 0 && answered->status != GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING)
		r = err_status(&outcome, STATUS_UNAVAILABLE,
			       "the guest's agent says that it does not serve");
	if (r < 0)
		ping->done(ping->arg, r, NULL, &outcome);
	else
		answer(ping->rt->pod, ping->done, ping->arg);
	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
	free(ping);
}

void runtime_sandbox_ping(struct runtime *rt, pod_done_fn done, void *arg)
{
	struct err e = ERR_INIT;
	struct ping *ping = NULL;

	if (find_ready(rt, &e) && !(ping = malloc(sizeof *ping)))
		(void)err_set(&e, -ENOMEM, "out of memory");
	if (!ping) {
		refuse(done, arg, &e);
		return;
	}
	*ping = (struct ping){rt, done, arg};
	const struct agent_config *c = &sandbox_config(rt->sandbox)->agent;
	int r = agent_start_check(sandbox_agent(rt->sandbox), c->health_check_request_timeout_ms,
				  on_checked, ping, &e);
	if (r < 0)
		on_checked(ping, r, NULL, &e);
}

struct usage_job {
	struct runtime *rt;
	struct usage usage;
	pod_usage_fn done;
	void *arg;
	int r;
	struct err e;
};

static void usage_done(void *arg)
{
	struct usage_job *j = arg;
	struct runtime *rt = j->rt;

	j->done(j->arg, j->r, j->r < 0 ? NULL : &j->usage, &j->e);
	free(j);
	runtime_job_done(rt);
}

static void usage_on_worker(void *arg)
{
	struct usage_job *j = arg;
	/* The shim, and its children: the machine, the file server. */
	j->r = usage_read(getpid(), &j->usage, &j->e);
	if (loop_post(j->rt->params.loop, usage_done, j) < 0)
		log_error("out of memory: the sandbox' metrics are not answered");
}

void runtime_sandbox_usage(struct runtime *rt, pod_usage_fn done, void *arg)
{
	struct err e = ERR_INIT;
	struct usage_job *j = NULL;

	if (find_ready(rt, &e) && !(j = calloc(1, sizeof *j)))
		(void)err_set(&e, -ENOMEM, "out of memory");
	if (!j) {
		done(arg, -e.errnum, NULL, &e);
		return;
	}
	*j = (struct usage_job){.rt = rt, .done = done, .arg = arg, .e = ERR_INIT};
	rt->in_flight++;
	if (worker_pool_run(rt->params.workers, usage_on_worker, j) < 0) {
		j->r = err_set(&j->e, -ENOMEM, "out of memory");
		usage_done(j);
	}
}

/* ---- The description ---------------------------------------------------------------------------
 */

static json_t *describe_boot(const struct sandbox_boot_times *t)
{
	json_t *phases = json_object();
	for (size_t i = 0; i < t->n; i++)
		(void)json_object_set_new(phases, t->phase[i].name,
					  json_integer((json_int_t)t->phase[i].ms));
	return json_pack("{s:I, s:o}", "totalMs", (json_int_t)t->total_ms, "phasesMs", phases);
}

static void describe_machine(const struct sandbox *s, json_t *to)
{
	const struct kata_config *c = sandbox_config(s);
	struct agent *agent = sandbox_agent((struct sandbox *)s);
	const struct hypervisor_config *h = &c->hypervisor;
	json_t *machine =
		json_pack("{s:s, s:s, s:b, s:i, s:s, s:s, s:s}", "hypervisor", h->name, "path",
			  h->path, "emulated", sandbox_is_emulated(s), "pid", (int)sandbox_pid(s),
			  "kernel", h->kernel, "initrd", h->initrd, "image", h->image);

	(void)json_object_set_new(to, "configFile", json_string(c->file));
	(void)json_object_set_new(to, "machine", machine);
	(void)json_object_set_new(to, "boot", describe_boot(sandbox_boot_times(s)));
	if (agent)
		(void)json_object_set_new(to, "agentVersion",
					  json_string(agent_features(agent)->version));
}

char *runtime_sandbox_describe(struct runtime *rt)
{
	struct pod *p = rt->pod;
	if (!p)
		return NULL;
	json_t *o = json_pack("{s:s, s:b, s:i}", "sandboxId", rt->params.sandbox_id, "ready",
			      is_ready(p), "containers", (int)rt->n_containers);
	/* While it boots, what is known of it is a worker's. */
	if (rt->sandbox && (rt->status == SANDBOX_UP || rt->status == SANDBOX_DEAD))
		describe_machine(rt->sandbox, o);
	if (rt->dead_reason[0])
		(void)json_object_set_new(o, "reason", json_string(rt->dead_reason));
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	return text;
}
