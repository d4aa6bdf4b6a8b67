/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to a container that is there: kill, update, statistics, pause, resume, list. */
#include "guest/agent/container.h"
#include "guest/agent/stats.h"
#include "oci/arena.h"
#include "oci/spec-proto.h"

#include <string.h>

void container_kill_work(struct job *j)
{
	if (j->container->engine)
		j->r = engine_kill_all(j->container->engine, j->number, &j->e);
}

void container_kill_all(struct container *c, struct rpc_call *call, int signum)
{
	if (c->state == CONTAINER_REMOVING) {
		reply_empty(call); /* that is what is happening to it */
		return;
	}
	struct job *j = job_new(c->agent, call, c);
	if (!j)
		return;
	j->number = signum;
	job_start(j, container_kill_work, job_reply_empty);
}

static void update_work(struct job *j)
{
	const Grpc__UpdateContainerRequest *q = (const void *)rpc_call_request(j->call);
	_cleanup_arena_ struct oci_arena *arena = NULL;
	struct oci_resources *resources = NULL;

	j->r = oci_resources_from_proto(q->resources, &resources, &arena, &j->e);
	if (j->r == 0)
		j->r = engine_update(j->container->engine, resources, &j->e);
}

void container_update(void *ctx, struct rpc_call *call)
{
	const Grpc__UpdateContainerRequest *q = (const void *)rpc_call_request(call);

	struct container *c = container_find_usable(ctx, call, q->container_id);
	if (!c)
		return;
	if (!q->resources) {
		reply_empty(call); /* nothing to change */
		return;
	}
	struct job *j = job_new(ctx, call, c);
	if (j)
		job_start(j, update_work, job_reply_empty);
}

static void stats_work(struct job *j)
{
	Grpc__StatsContainerResponse *m = NULL;

	j->r = stats_collect(j->container->cgroup, &m, &j->e);
	j->result = m;
}

static void stats_done(struct job *j)
{
	Grpc__StatsContainerResponse *m = j->result;

	if (j->r < 0)
		rpc_call_fail(j->call, &j->e);
	else
		rpc_call_reply(j->call, &m->base);
	stats_free(m);
}

void container_stats(void *ctx, struct rpc_call *call)
{
	const Grpc__StatsContainerRequest *q = (const void *)rpc_call_request(call);

	struct container *c = container_find_usable(ctx, call, q->container_id);
	struct job *j = c ? job_new(ctx, call, c) : NULL;
	if (j)
		job_start(j, stats_work, stats_done);
}

static void freeze_work(struct job *j)
{
	j->r = engine_freeze(j->container->engine, j->number, &j->e);
}

static void freeze_done(struct job *j)
{
	struct container *c = j->container;

	if (j->r == 0 && c->state != CONTAINER_REMOVING)
		c->state = j->number ? CONTAINER_PAUSED : CONTAINER_RUNNING;
	job_reply_empty(j);
}

static void freeze(struct agent *a, struct rpc_call *call, const char *id, bool frozen)
{
	enum container_state from = frozen ? CONTAINER_RUNNING : CONTAINER_PAUSED;

	struct container *c = container_find_in_state(a, call, id, 1u << from);
	struct job *j = c ? job_new(a, call, c) : NULL;
	if (!j)
		return;
	j->number = frozen;
	job_start(j, freeze_work, freeze_done);
}

void container_pause(void *ctx, struct rpc_call *call)
{
	const Grpc__PauseContainerRequest *q = (const void *)rpc_call_request(call);
	freeze(ctx, call, q->container_id, true);
}

void container_resume(void *ctx, struct rpc_call *call)
{
	const Grpc__ResumeContainerRequest *q = (const void *)rpc_call_request(call);
	freeze(ctx, call, q->container_id, false);
}

struct pids {
	pid_t *v;
	size_t n;
};

static void list_work(struct job *j)
{
	struct pids *pids = j->result;

	if (j->container->engine)
		j->r = engine_pids(j->container->engine, &pids->v, &pids->n, &j->e);
}

/* A pid that was given anew since it was listed is none of these: they are not reaped yet. */
static const char *exec_of(const struct container *c, pid_t pid)
{
	struct list *l;

	list_for_each (l, &c->processes) {
		const struct process *p = list_entry(l, struct process, link);
		if (p->pid == pid && !p->exited)
			return p->exec_id;
	}
	return "";
}

static void reply_processes(struct job *j, const struct pids *pids)
{
	Grpc__ListContainerProcessesResponse response =
		GRPC__LIST_CONTAINER_PROCESSES_RESPONSE__INIT;
	_cleanup_free_ Grpc__ContainerProcess *v = calloc(pids->n + 1, sizeof *v);
	_cleanup_free_ Grpc__ContainerProcess **list = calloc(pids->n + 1, sizeof *list);

	if (!v || !list) {
		rpc_call_failf(j->call, STATUS_RESOURCE_EXHAUSTED, "no memory for %zu processes",
			       pids->n);
		return;
	}
	for (size_t i = 0; i < pids->n; i++) {
		grpc__container_process__init(&v[i]);
		v[i].pid = (uint32_t)pids->v[i];
		v[i].exec_id = (char *)exec_of(j->container, pids->v[i]);
		list[i] = &v[i];
	}
	response.processes = list;
	response.n_processes = pids->n;
	rpc_call_reply(j->call, &response.base);
}

static void list_done(struct job *j)
{
	struct pids *pids = j->result;

	if (j->r < 0)
		rpc_call_fail(j->call, &j->e);
	else
		reply_processes(j, pids);
	free(pids->v);
	free(pids);
}

void container_list_processes(void *ctx, struct rpc_call *call)
{
	const Grpc__ListContainerProcessesRequest *q = (const void *)rpc_call_request(call);

	struct container *c = container_find_usable(ctx, call, q->container_id);
	struct pids *pids = c ? calloc(1, sizeof *pids) : NULL;
	if (c && !pids)
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory for the request");
	struct job *j = pids ? job_new(ctx, call, c) : NULL;
	if (!j) {
		free(pids);
		return;
	}
	j->result = pids;
	job_start(j, list_work, list_done);
}
