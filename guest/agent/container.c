/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers: made, started, changed, removed. Each call is checked on the loop thread against the
 * container's state, does its work on the container's strand, and settles the state back on the
 * loop. The state names what calls are possible, not what the process does.
 *
 * Here are their table, and what makes processes of them; their creation, control and removal have
 * files of their own.
 */
#include "guest/agent/container.h"

#include "base/fd.h"
#include "oci/arena.h"
#include "oci/spec-proto.h"
#include "oci/spec.h"

#include <string.h>

static bool id_characters_valid(const char *id)
{
	static const char first[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	static const char others[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

	return strlen(id) <= ID_MAX && id[0] && strchr(first, id[0]) &&
	       strspn(id, others) == strlen(id);
}

bool id_valid(const char *id)
{
	return id_characters_valid(id) && id[1];
}

static const char *const state_names[] = {
	[CONTAINER_CREATING] = "being created", [CONTAINER_CREATED] = "created",
	[CONTAINER_RUNNING] = "running",	[CONTAINER_PAUSED] = "paused",
	[CONTAINER_REMOVING] = "being removed",
};

/* ---- The table ---------------------------------------------------------------------------- */

struct container *container_find_any(struct agent *a, const char *id)
{
	struct list *l;

	list_for_each (l, &a->containers) {
		struct container *c = list_entry(l, struct container, link);
		if (strcmp(c->id, id) == 0)
			return c;
	}
	return NULL;
}

struct container *container_find(struct agent *a, const char *id, struct err *e)
{
	struct container *c = container_find_any(a, id);
	if (!c) {
		(void)err_status(e, STATUS_NOT_FOUND, "no such container: \"%s\"", id);
		return NULL;
	}
	if (c->state == CONTAINER_CREATING) {
		(void)err_status(e, STATUS_FAILED_PRECONDITION, "container %s is being created",
				 id);
		return NULL;
	}
	return c;
}

/* As container_find(), for calls that need it in certain states (bits); answers the call if not. */
struct container *container_find_in_state(struct agent *a, struct rpc_call *call, const char *id,
					  unsigned states)
{
	struct err e = ERR_INIT;

	struct container *c = container_find(a, id, &e);
	if (!c) {
		rpc_call_fail(call, &e);
	} else if (!(states & 1u << c->state)) {
		rpc_call_failf(call, STATUS_FAILED_PRECONDITION, "container %s is %s", id,
			       state_names[c->state]);
		c = NULL;
	}
	return c;
}

struct container *container_find_usable(struct agent *a, struct rpc_call *call, const char *id)
{
	return container_find_in_state(a, call, id,
				       1u << CONTAINER_CREATED | 1u << CONTAINER_RUNNING |
					       1u << CONTAINER_PAUSED);
}

struct container *container_new(struct agent *a, const char *id)
{
	struct container *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	if (strand_new(a->pool, &c->strand) < 0) {
		free(c);
		return NULL;
	}
	c->agent = a;
	c->refs = 1;
	c->state = CONTAINER_CREATING;
	(void)snprintf(c->id, sizeof c->id, "%s", id);
	c->is_sandbox = strcmp(id, a->sandbox_id) == 0;
	list_init(&c->processes);
	list_init(&c->execs);
	list_init(&c->removers);
	list_add_tail(&a->containers, &c->link);
	a->n_containers++;
	return c;
}

void container_unref(struct container *c)
{
	if (--c->refs > 0)
		return;
	strand_release(c->strand);
	oci_spec_free(c->spec);
	pci_map_free(c->pci_map);
	cgroup_free(c->cgroup);
	free(c);
}

void container_drop(struct container *c)
{
	list_del(&c->link);
	c->agent->n_containers--;
	container_unref(c);
}

/* ---- Start, exec -------------------------------------------------------------------------- */

/* The specification wants it in the log, and nothing else to come of it. */
static int only_a_hook(struct job *j, int r)
{
	if (r != ENGINE_E_HOOK)
		return r;
	log_warn("container %s: %s", j->container->id, j->e.text);
	j->e = ERR_INIT;
	return 0;
}

static void start_work(struct job *j)
{
	j->r = only_a_hook(j, engine_start(j->container->engine, &j->e));
}

static void start_done(struct job *j)
{
	struct container *c = j->container;

	c->starting = false;
	if (j->r == 0 && c->state == CONTAINER_CREATED) {
		c->state = CONTAINER_RUNNING;
		log_info("container %s is started", c->id);
	}
	job_reply_empty(j);
}

void container_start(void *ctx, struct rpc_call *call)
{
	const Grpc__StartContainerRequest *q = (const void *)rpc_call_request(call);

	struct container *c =
		container_find_in_state(ctx, call, q->container_id, 1u << CONTAINER_CREATED);
	if (!c)
		return;
	if (c->starting) {
		rpc_call_failf(call, STATUS_FAILED_PRECONDITION, "container %s is being started",
			       c->id);
		return;
	}
	struct job *j = job_new(ctx, call, c);
	if (!j)
		return;
	c->starting = true;
	job_start(j, start_work, start_done);
}

static void exec_work(struct job *j)
{
	const Grpc__ExecProcessRequest *q = (const void *)rpc_call_request(j->call);
	_cleanup_arena_ struct oci_arena *arena = NULL;
	struct oci_process *p = NULL;
	int theirs[3] = {-EBADF, -EBADF, -EBADF};
	struct engine_stdio io;

	if (j->r == 0) /* else its stdio cannot be had */
		j->r = oci_process_from_proto(q->process, &p, &arena, &j->e);
	if (j->r == 0)
		j->r = pci_map_environment(j->container->pci_map, arena, &p->env, &j->e);
	if (j->r == 0)
		j->r = process_stdio(j, p->terminal, &io, theirs, &j->e);
	if (j->r == 0)
		j->r = engine_exec(j->container->engine, p, &io, &j->process, &j->e);
	for (size_t i = 0; i < ARRAY_SIZE(theirs); i++)
		(void)close_fd(theirs[i]);
}

static void exec_done(struct job *j)
{
	list_del(&j->link);
	if (j->r == 0)
		j->r = process_add(j->container, j, &j->e);
	job_reply_empty(j);
}

static bool exec_exists(struct container *c, const char *exec_id)
{
	struct list *l;

	list_for_each (l, &c->execs) {
		if (strcmp(list_entry(l, struct job, link)->exec_id, exec_id) == 0)
			return true;
	}
	return process_find(c, exec_id) != NULL;
}

void container_exec(void *ctx, struct rpc_call *call)
{
	const Grpc__ExecProcessRequest *q = (const void *)rpc_call_request(call);

	struct container *c =
		container_find_in_state(ctx, call, q->container_id, 1u << CONTAINER_RUNNING);
	if (!c)
		return;
	if (!id_characters_valid(q->exec_id) || !q->process) {
		rpc_call_failf(call, STATUS_INVALID_ARGUMENT,
			       "exec \"%.300s\" in container %s: no valid id, or no process",
			       q->exec_id, c->id);
		return;
	}
	if (exec_exists(c, q->exec_id)) {
		rpc_call_failf(call, STATUS_ALREADY_EXISTS, "container %s: exec %s exists", c->id,
			       q->exec_id);
		return;
	}
	struct job *j = job_new(ctx, call, c);
	if (!j)
		return;
	(void)snprintf(j->exec_id, sizeof j->exec_id, "%s", q->exec_id);
	list_add_tail(&c->execs, &j->link);
	const uint32_t ports[3] = {q->stdin_port, q->stdout_port, q->stderr_port};
	j->r = process_take_streams(j, ports, &j->e);
	job_start(j, exec_work, exec_done);
}
