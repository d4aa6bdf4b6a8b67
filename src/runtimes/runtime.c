/* SPDX-License-Identifier: Apache-2.0 */
/* The pod: its containers, its sandbox's beginning and end, and the creation of a container. */
#include "runtimes/runtime.h"

#include "base/log.h"
#include "base/text.h"
#include "runtimes/internal.h"
#include "runtimes/watch.h"

#include <malloc.h>
#include <string.h>

/* ---- Containers ------------------------------------------------------------------------------ */

struct container *runtime_find(struct runtime *rt, const char *id, struct err *e)
{
	struct list *pos;

	list_for_each (pos, &rt->containers) {
		struct container *c = list_entry(pos, struct container, link);
		if (strcmp(c->res.id, id) == 0)
			return c;
	}
	(void)err_status(e, STATUS_NOT_FOUND, "container %s does not exist", id);
	return NULL;
}

struct process *runtime_find_process(struct runtime *rt, const char *id, const char *exec_id,
				     struct err *e)
{
	struct container *c = runtime_find(rt, id, e);
	struct list *pos;

	if (!c || !exec_id[0] || strcmp(exec_id, id) == 0)
		return c ? c->init : NULL;
	list_for_each (pos, &c->execs) {
		struct process *p = list_entry(pos, struct process, link);
		if (strcmp(p->exec_id, exec_id) == 0)
			return p;
	}
	(void)err_status(e, STATUS_NOT_FOUND, "exec %s of container %s does not exist", exec_id,
			 id);
	return NULL;
}

static int container_new(struct runtime *rt, const struct task_create *t, struct container **ret,
			 struct err *e)
{
	struct container *c = calloc(1, sizeof *c);
	if (!c)
		return err_set(e, -ENOMEM, "out of memory");
	c->refs = 1;
	c->rt = rt;
	list_init(&c->link);
	list_init(&c->execs);
	c->res.id = strdup(t->id);
	c->res.bundle = strdup(t->bundle);
	int r = c->res.id && c->res.bundle ? process_new(c, "", &t->stdio, &c->init) : -ENOMEM;
	if (r < 0) {
		container_unref(c);
		return err_set(e, r, "out of memory");
	}
	c->init->status = TASK_CREATING;
	*ret = c;
	return 0;
}

void container_unref(struct container *c)
{
	if (--c->refs > 0)
		return;
	container_resources_free(&c->res);
	free(c);
}

void container_unlist(struct container *c)
{
	if (list_empty(&c->link))
		return;
	list_del(&c->link);
	c->rt->n_containers--;
}

void container_unlink(struct container *c)
{
	struct list *pos, *tmp;

	list_for_each_safe (pos, tmp, &c->execs) {
		struct process *p = list_entry(pos, struct process, link);
		list_del(&p->link);
		process_unref(p);
	}
	container_unlist(c);
	/* init and container hold each other: this is where the knot is cut */
	process_unref(TAKE_PTR(c->init));
	container_unref(c);
}

void runtime_emit(struct runtime *rt, enum task_event_type type, const struct process *p)
{
	struct task_state state;
	process_state(p, &state);
	rt->params.on_event(rt->params.arg, type, &state, NULL);
	runtime_save(rt);
}

int runtime_state(struct runtime *rt, const char *id, const char *exec_id, struct task_state *ret,
		  struct err *e)
{
	if (pod_task_state(rt, id, exec_id, ret))
		return 0;
	struct process *p = runtime_find_process(rt, id, exec_id, e);
	if (!p)
		return -ENOENT;
	process_state(p, ret);
	return 0;
}

/* ---- Jobs: work on a worker, its outcome on the loop ------------------------------------------
 */

void runtime_job_done(struct runtime *rt);

struct create_job {
	struct list link; /* in rt->booting */
	struct runtime *rt;
	struct container *container;
	struct task_create create; /* deep copy: strings and mounts are owned by `copy` */
	struct oci_arena *copy;
	bool boots; /* this one brings the sandbox up */
	bool booted;
	task_done_fn done;
	void *arg;
	int r;
	struct err e;
};

static void create_job_free(struct create_job *j)
{
	oci_arena_free(j->copy);
	free(j);
}

static int copy_mounts(struct create_job *j, const struct task_create *t)
{
	struct rootfs_mount *v = oci_arena_array(j->copy, t->n_rootfs, sizeof *v);
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < t->n_rootfs; i++) {
		const struct rootfs_mount *from = &t->rootfs[i];
		struct oci_strv options;
		if (oci_arena_strv(j->copy, from->n_options, &options) < 0)
			return -ENOMEM;
		for (size_t k = 0; k < from->n_options; k++)
			if (!(options.v[k] = oci_arena_strdup(j->copy, from->options[k])))
				return -ENOMEM;
		v[i] = (struct rootfs_mount){.type = oci_arena_strdup(j->copy, from->type),
					     .source = oci_arena_strdup(j->copy, from->source),
					     .target = oci_arena_strdup(j->copy, from->target),
					     .options = options.v,
					     .n_options = options.n};
		if (!v[i].type || !v[i].source || !v[i].target)
			return -ENOMEM;
	}
	j->create.rootfs = v;
	j->create.n_rootfs = t->n_rootfs;
	return 0;
}

static struct create_job *create_job_new(struct runtime *rt, const struct task_create *t)
{
	struct create_job *j = calloc(1, sizeof *j);
	if (!j)
		return NULL;
	list_init(&j->link);
	j->rt = rt;
	j->e = ERR_INIT;
	j->copy = oci_arena_new();
	if (!j->copy || copy_mounts(j, t) < 0) {
		create_job_free(j);
		return NULL;
	}
	return j;
}

static void create_done(void *arg);

static void create_on_worker(void *arg)
{
	struct create_job *j = arg;
	struct container_resources *res = &j->container->res;

	j->r = container_load(res, &j->e);
	if (j->r == 0 && j->boots) {
		j->r = sandbox_boot(j->rt->sandbox, res->spec, &j->e);
		j->booted = j->r == 0;
	}
	if (j->r == 0) {
		res->sandbox = j->rt->sandbox;
		j->r = container_make(res, j->create.rootfs, j->create.n_rootfs, &j->e);
	}
	(void)malloc_trim(0); /* the parsed spec's trees: private memory counts once per pod */
	if (loop_post(j->rt->params.loop, create_done, j) < 0)
		log_error("out of memory: the creation of container %s is not answered", res->id);
}

static void on_io_opened(void *arg, int r, const struct err *e)
{
	struct create_job *j = arg;

	/* once a worker has it, it is not ours to look at */
	if (r == 0 && worker_pool_run(j->rt->params.workers, create_on_worker, j) == 0)
		return;
	j->r = r;
	if (r < 0)
		j->e = *e;
	else
		j->r = err_set(&j->e, -ENOMEM, "out of memory");
	create_done(j);
}

/* Streams first: what is wrong with them is known at once, and nothing has been made then. */
static void submit(struct create_job *j)
{
	j->rt->in_flight++;
	process_open_io(j->container->init, on_io_opened, j);
}

/* The sandbox is decided: those that waited for it go on, or fail as it did. */
static void release_waiting(struct runtime *rt, const struct create_job *boot)
{
	while (!list_empty(&rt->booting)) {
		struct create_job *j = list_first(&rt->booting, struct create_job, link);
		list_del(&j->link);
		if (boot->booted) {
			submit(j);
		} else {
			rt->in_flight++;
			j->r = boot->r;
			j->e = boot->e;
			create_done(j);
		}
	}
}

static void after_boot(struct create_job *j)
{
	struct runtime *rt = j->rt;

	if (j->booted) {
		/* it may have died since */
		rt->status = rt->dead_reason[0] ? SANDBOX_DEAD : SANDBOX_UP;
		if (rt->status == SANDBOX_UP)
			watch_start(rt);
	} else {
		/* Undone wholly, so that another Create may try again. */
		sandbox_free(TAKE_PTR(rt->sandbox));
		rt->status = SANDBOX_NONE;
		rt->dead_reason[0] = '\0';
	}
	release_waiting(rt, j);
}

static void create_done(void *arg)
{
	struct create_job *j = arg;
	struct runtime *rt = j->rt;
	struct container *c = j->container;
	struct task_state state;

	if (j->boots)
		after_boot(j);
	if (j->r == 0) {
		c->init->status = TASK_CREATED;
		runtime_save(rt);
		process_state(c->init, &state);
		j->create.id = c->res.id;
		j->create.bundle = c->res.bundle;
		j->create.stdio = state.stdio;
		rt->params.on_event(rt->params.arg, TASK_EVENT_CREATE, &state, &j->create);
		j->done(j->arg, 0, &state, NULL);
		process_end_late(c->init);
	} else {
		log_error("create container %s: %s", c->res.id, err_text(&j->e, j->r));
		container_ref(c);
		container_unlist(c);
		runtime_save(rt);
		process_was_never(c->init);
		j->done(j->arg, j->r, NULL, &j->e);
		container_unlink(c);
		container_unref(c);
	}
	create_job_free(j);
	runtime_job_done(rt);
}

/* ---- Create -----------------------------------------------------------------------------------
 */

static void on_sandbox_dead(void *arg, const char *reason);

int runtime_make_sandbox(struct runtime *rt, const char *config_file, const char *config_body,
			 struct err *e)
{
	bool told = text_is_given(config_file) || text_is_given(config_body);
	const struct sandbox_params p = {
		.loop = rt->params.loop,
		.workers = rt->params.workers,
		.id = rt->params.sandbox_id,
		.config_file = told ? config_file : rt->params.config_file,
		.config_body = told ? config_body : rt->params.config_body,
		.debug = rt->params.debug,
		.on_dead = on_sandbox_dead,
		.arg = rt,
	};
	int r = sandbox_new(&p, &rt->sandbox);
	return r < 0 ? err_set(e, r, "out of memory") : 0;
}

static int begin_create(struct runtime *rt, const struct task_create *t, struct create_job **ret,
			struct err *e)
{
	if (rt->status == SANDBOX_CLOSED)
		return err_status(e, STATUS_UNAVAILABLE, "the shim is shutting down");
	if (rt->status == SANDBOX_DEAD)
		return err_status(e, STATUS_FAILED_PRECONDITION, "the sandbox is dead: %s",
				  rt->dead_reason);
	int r = pod_check_create(rt, t->id, e);
	if (r < 0)
		return r;
	if (runtime_find(rt, t->id, NULL))
		return err_status(e, STATUS_ALREADY_EXISTS, "container %s already exists", t->id);
	if (rt->n_containers >= CONTAINERS_MAX)
		return err_status(e, STATUS_RESOURCE_EXHAUSTED,
				  "the pod has %d containers, the most that it may",
				  CONTAINERS_MAX);

	struct create_job *j = create_job_new(rt, t);
	if (!j)
		return err_set(e, -ENOMEM, "out of memory");
	r = container_new(rt, t, &j->container, e);
	if (r == 0 && rt->status == SANDBOX_NONE) {
		r = runtime_make_sandbox(rt, t->config_file, t->config_body, e);
		if (r < 0)
			container_unlink(j->container);
	}
	if (r < 0) {
		create_job_free(j);
		return r;
	}
	j->container->res.pod = pod_spec(rt);
	list_add_tail(&rt->containers, &j->container->link);
	rt->n_containers++;
	*ret = j;
	return 0;
}

void runtime_create(struct runtime *rt, const struct task_create *t, task_done_fn done, void *arg)
{
	struct err e = ERR_INIT;
	struct create_job *j = NULL;
	int r = begin_create(rt, t, &j, &e);
	if (r < 0) {
		done(arg, r, NULL, &e);
		return;
	}
	j->done = done;
	j->arg = arg;
	if (rt->status == SANDBOX_BOOTING) {
		list_add_tail(&rt->booting, &j->link);
		return;
	}
	if (rt->status == SANDBOX_NONE) {
		rt->status = SANDBOX_BOOTING;
		j->boots = true;
	}
	submit(j);
}

/* ---- The end -----------------------------------------------------------------------------------
 */

void runtime_stop_all(struct runtime *rt, uint32_t exit_status)
{
	struct list *pos, *tmp, *pos2, *tmp2;

	list_for_each_safe (pos, tmp, &rt->containers) {
		struct container *c = list_entry(pos, struct container, link);
		if (c->init->status == TASK_CREATING)
			continue; /* its job fails by itself */
		container_ref(c);
		list_for_each_safe (pos2, tmp2, &c->execs)
			process_exited(list_entry(pos2, struct process, link), exit_status);
		process_exited(c->init, exit_status);
		container_unref(c);
	}
}

static void halt_done(void *arg)
{
	runtime_job_done(arg);
}

static void halt_on_worker(void *arg)
{
	struct runtime *rt = arg;
	sandbox_halt(rt->sandbox);
	if (loop_post(rt->params.loop, halt_done, rt) < 0)
		log_error("out of memory: a shutdown will wait for ever");
}

/* A VMM may outlive the guest's agent or its file server; its tasks have ended, so it goes too, not
 * only when they are deleted. */
void runtime_halt(struct runtime *rt)
{
	rt->in_flight++;
	if (worker_pool_run(rt->params.workers, halt_on_worker, rt) < 0)
		halt_done(rt);
}

static void on_sandbox_dead(void *arg, const char *reason)
{
	struct runtime *rt = arg;

	if (rt->status == SANDBOX_CLOSED)
		return;
	log_error("the sandbox died: %s", reason);
	(void)snprintf(rt->dead_reason, sizeof rt->dead_reason, "%s", reason);
	/* A boot that is under way notices by itself, and says why. */
	if (rt->status == SANDBOX_UP) {
		rt->status = SANDBOX_DEAD;
		watch_stop(rt->watch);
		runtime_save(rt);
		runtime_stop_all(rt, EXIT_STATUS_LOST);
		runtime_halt(rt);
		pod_died(rt);
	}
}

struct shutdown_job {
	struct runtime *rt;
	struct waiter *waiter;
};

static void shutdown_done(void *arg)
{
	struct shutdown_job *j = arg;
	sandbox_free(TAKE_PTR(j->rt->sandbox));
	pod_closed(j->rt);
	j->waiter->done(j->waiter->arg, 0, NULL, NULL);
	free(j->waiter);
	free(j);
}

static void shutdown_on_worker(void *arg)
{
	struct shutdown_job *j = arg;
	struct list *pos;

	/* The loop takes no request any more, so the containers are this thread's. */
	list_for_each (pos, &j->rt->containers) {
		struct container *c = list_entry(pos, struct container, link);
		(void)container_remove(&c->res, false, NULL);
	}
	if (j->rt->sandbox)
		sandbox_shutdown(j->rt->sandbox);
	if (loop_post(j->rt->params.loop, shutdown_done, j) < 0)
		log_error("out of memory: the end of the sandbox is not answered");
}

static void close_streams(struct runtime *rt)
{
	struct list *pos, *pos2;

	list_for_each (pos, &rt->containers) {
		struct container *c = list_entry(pos, struct container, link);
		process_io_free(TAKE_PTR(c->init->io));
		list_for_each (pos2, &c->execs)
			process_io_free(TAKE_PTR(list_entry(pos2, struct process, link)->io));
	}
}

static void begin_shutdown(struct runtime *rt)
{
	struct waiter *w = TAKE_PTR(rt->shutdown);
	struct shutdown_job *j = calloc(1, sizeof *j);

	pod_closing(rt);
	if (rt->status == SANDBOX_UP)
		runtime_stop_all(rt, EXIT_STATUS_KILLED);
	rt->status = SANDBOX_CLOSED;
	watch_stop(rt->watch);
	loop_timer_free(TAKE_PTR(rt->save_timer));
	close_streams(rt);
	if (j) {
		j->rt = rt;
		j->waiter = w;
		if (worker_pool_run(rt->params.workers, shutdown_on_worker, j) == 0)
			return;
	}
	struct err e = ERR_INIT;
	(void)err_set(&e, -ENOMEM, "out of memory");
	w->done(w->arg, -ENOMEM, NULL, &e);
	free(w);
	free(j);
}

void runtime_job_done(struct runtime *rt)
{
	rt->in_flight--;
	if (rt->shutdown && rt->in_flight == 0)
		begin_shutdown(rt);
}

void runtime_shutdown(struct runtime *rt, bool now, task_done_fn done, void *arg)
{
	struct err e = ERR_INIT;

	if (rt->shutdown || rt->status == SANDBOX_CLOSED || (rt->n_containers > 0 && !now)) {
		done(arg, 1, NULL, NULL);
		return;
	}
	struct waiter *w = calloc(1, sizeof *w);
	if (!w) {
		(void)err_set(&e, -ENOMEM, "out of memory");
		done(arg, -ENOMEM, NULL, &e);
		return;
	}
	list_init(&w->link);
	w->done = done;
	w->arg = arg;
	rt->shutdown = w;
	if (rt->in_flight == 0)
		begin_shutdown(rt);
}

/* A sandbox by itself needs no container: it ends when it is asked to. */
static bool is_empty(const struct runtime *rt)
{
	return !rt->pod && rt->n_containers == 0;
}

bool runtime_is_deserted(const struct runtime *rt)
{
	return is_empty(rt) && (rt->status == SANDBOX_UP || rt->status == SANDBOX_DEAD) &&
	       !rt->shutdown;
}

bool runtime_is_unused(const struct runtime *rt)
{
	return is_empty(rt) && rt->status == SANDBOX_NONE && rt->in_flight == 0 && !rt->shutdown;
}

void runtime_abandon(struct runtime *rt, task_done_fn done, void *arg)
{
	if (!is_empty(rt))
		done(arg, 1, NULL, NULL);
	else
		runtime_shutdown(rt, false, done, arg);
}

int runtime_new(const struct runtime_params *p, struct runtime **ret)
{
	struct runtime *rt = calloc(1, sizeof *rt);
	if (!rt)
		return -ENOMEM;
	rt->params = *p;
	list_init(&rt->containers);
	list_init(&rt->booting);
	*ret = rt;
	return 0;
}

void runtime_free(struct runtime *rt)
{
	if (!rt)
		return;
	while (!list_empty(&rt->containers))
		container_unlink(list_first(&rt->containers, struct container, link));
	watch_free(rt->watch);
	loop_timer_free(rt->save_timer);
	pod_free(rt->pod);
	free(rt);
}
