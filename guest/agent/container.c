/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers: made, started, changed, removed. Each call is checked on the loop thread against the
 * container's state, does its work on the container's strand, and settles the state back on the
 * loop. The state names what calls are possible, not what the process does.
 */
#include "guest/agent/agent.h"

#include "base/clock.h"
#include "base/fd.h"
#include "guest/agent/cdi.h"
#include "guest/agent/device-request.h"
#include "guest/agent/pod-users.h"
#include "guest/agent/stats.h"
#include "oci/arena.h"
#include "oci/spec-proto.h"
#include "oci/spec.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

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

static struct container *find_any(struct agent *a, const char *id)
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
	struct container *c = find_any(a, id);
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
static struct container *find_in_state(struct agent *a, struct rpc_call *call, const char *id,
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

static struct container *find_usable(struct agent *a, struct rpc_call *call, const char *id)
{
	return find_in_state(a, call, id,
			     1u << CONTAINER_CREATED | 1u << CONTAINER_RUNNING |
				     1u << CONTAINER_PAUSED);
}

static struct container *container_new(struct agent *a, const char *id)
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

static void container_drop(struct container *c)
{
	list_del(&c->link);
	c->agent->n_containers--;
	container_unref(c);
}

/* ---- Create ------------------------------------------------------------------------------- */

/* Sets the namespace of a type, which is added if the spec has none. */
static int set_namespace(struct oci_spec *s, enum oci_ns_type type, const char *path)
{
	struct oci_namespace *ns = NULL;

	for (size_t i = 0; i < s->n_namespaces; i++)
		if (s->namespaces[i].type == type)
			ns = &s->namespaces[i];
	if (!ns) {
		struct oci_namespace *v = oci_arena_array(s->arena, s->n_namespaces + 1, sizeof *v);
		if (!v)
			return -ENOMEM;
		if (s->n_namespaces)
			memcpy(v, s->namespaces, s->n_namespaces * sizeof *v);
		s->namespaces = v;
		ns = &v[s->n_namespaces++];
		ns->type = type;
	}
	ns->path = NULL;
	if (path && !(ns->path = oci_arena_strdup(s->arena, path)))
		return -ENOMEM;
	return 0;
}

/* With users of its own, what the container shares must belong to those: see pod-users.h. */
static int place_with_users(struct job *j, struct oci_spec *s)
{
	static const enum oci_ns_type types[] = {OCI_NS_USER, OCI_NS_IPC, OCI_NS_UTS};
	bool join = pod_users_match(j->container->users, s);
	char path[64];

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (!oci_spec_namespace(s, types[i]))
			continue;
		int r = set_namespace(s, types[i],
				      join ? pod_users_path(j->container->users, types[i], path)
					   : NULL);
		if (r < 0)
			return r;
	}
	if (join || s->hostname || !oci_spec_namespace(s, OCI_NS_UTS) || !j->agent->hostname[0])
		return 0;
	s->hostname = oci_arena_strdup(s->arena, j->agent->hostname);
	return s->hostname ? 0 : -ENOMEM;
}

static int place_with_sandbox(struct job *j, struct oci_spec *s)
{
	struct agent *a = j->agent;
	int r = 0;

	if (oci_spec_namespace(s, OCI_NS_IPC))
		r = set_namespace(s, OCI_NS_IPC, a->ipc_ns[0] ? a->ipc_ns : NULL);
	if (r == 0 && oci_spec_namespace(s, OCI_NS_UTS))
		r = set_namespace(s, OCI_NS_UTS, a->uts_ns[0] ? a->uts_ns : NULL);
	return r;
}

/*
 * The pod's containers share the guest's network, and the sandbox' ipc and uts namespaces; each has
 * its own processes, unless the pod shares those too. What the runtime knows about namespaces are
 * the host's paths, which mean nothing here.
 */
static int place_in_sandbox(struct job *j, struct oci_spec *s)
{
	char pidns[64] = "";
	size_t kept = 0;

	for (size_t i = 0; i < s->n_namespaces; i++)
		if (s->namespaces[i].type != OCI_NS_NETWORK) {
			s->namespaces[i].path = NULL;
			s->namespaces[kept++] = s->namespaces[i];
		}
	s->n_namespaces = kept;

	int r = oci_spec_namespace(s, OCI_NS_USER) ? place_with_users(j, s)
						   : place_with_sandbox(j, s);
	if (j->number >= 0)
		(void)snprintf(pidns, sizeof pidns, "/proc/%d/fd/%d", (int)getpid(), j->number);
	if (r == 0)
		r = set_namespace(s, OCI_NS_PID, pidns[0] ? pidns : NULL);
	if (r == 0)
		r = set_namespace(s, OCI_NS_MOUNT, NULL);
	return r;
}

static void create_undo(struct job *j)
{
	struct container *c = j->container;

	storages_release(j->agent->storages, &c->storages);
	oci_spec_free(c->spec);
	c->spec = NULL;
}

static struct device_request devices_of(const struct job *j)
{
	const Grpc__CreateContainerRequest *q = (const void *)rpc_call_request(j->call);

	return (struct device_request){.devices = q->devices,
				       .n_devices = q->n_devices,
				       .storages = q->storages,
				       .n_storages = q->n_storages};
}

static int create_engine(struct job *j)
{
	struct container *c = j->container;
	int theirs[3] = {-EBADF, -EBADF, -EBADF};
	struct engine_stdio io;

	int r = process_stdio(j, c->spec->process.terminal, &io, theirs, &j->e);
	if (r == 0)
		r = engine_create(j->agent->engine, c->id, c->spec, c->spec->root_path, &io,
				  &c->engine, &j->process, &j->e);
	for (size_t i = 0; i < ARRAY_SIZE(theirs); i++)
		(void)close_fd(theirs[i]);
	return r;
}

/* The specification wants them ignored, and said. Words of a peer: the log flattens and cuts them.
 */
static void warn_of_unknown(const char *id, const struct oci_capabilities *caps)
{
	for (size_t i = 0; i < caps->unknown.n && i < 8; i++)
		log_warn("container %s: unknown capability %.64s is ignored", id,
			 caps->unknown.v[i]);
}

static int create_apply_cdi(struct job *j)
{
	const Grpc__CreateContainerRequest *q = (const void *)rpc_call_request(j->call);
	struct cdi_request cdi;

	int r = cdi_request_read(q->oci, &cdi, &j->e);
	if (r == 0)
		r = cdi_apply(cdi_dirs, &cdi, j->container->spec, &j->e);
	cdi_request_free(&cdi);
	return r;
}

static void create_work(struct job *j)
{
	const Grpc__CreateContainerRequest *q = (const void *)rpc_call_request(j->call);
	const struct device_request devices = devices_of(j);
	struct container *c = j->container;

	if (j->r == 0) /* else its stdio cannot be had */
		j->r = oci_spec_from_proto(q->oci, &c->spec, &j->e);
	if (j->r < 0)
		return;
	warn_of_unknown(c->id, &c->spec->process.caps);
	if (!c->spec->has_process)
		j->r = err_set(&j->e, -EINVAL, "container %s: the spec has no process", c->id);
	else if (c->spec->root_path[0] != '/')
		j->r = err_set(&j->e, -EINVAL, "container %s: root path \"%s\" is not absolute",
			       c->id, c->spec->root_path);
	else if (place_in_sandbox(j, c->spec) < 0)
		j->r = err_set(&j->e, -ENOMEM, "no memory for the container's namespaces");
	else if (guest_hooks_add(j->result, c->spec) < 0)
		j->r = err_set(&j->e, -ENOMEM, "no memory for the guest's hooks");
	if (j->r == 0)
		j->r = device_request_apply(j->agent->devices, &devices, c->spec, &c->pci_map,
					    &j->e);
	if (j->r == 0)
		j->r = create_apply_cdi(j);
	if (j->r == 0)
		j->r = cdh_prepare_image_store(j->agent->cdh, c->spec, &j->e);
	if (j->r == 0)
		j->r = storages_add(j->agent->storages, c->id, q->storages, q->n_storages,
				    &c->storages, &j->e);
	if (j->r == 0)
		j->r = storages_set_process(j->agent->storages, q->storages, q->n_storages, c->spec,
					    &j->e);
	if (j->r == 0) {
		cdh_unseal_secrets(j->agent->cdh, c->spec);
		j->r = create_engine(j);
	}
	if (j->r < 0) {
		create_undo(j);
		return;
	}
	storages_keep(j->agent->storages, &c->storages);
	/* runtimes of the field send the host's */
	if (engine_unconfined(c->engine))
		log_warn("container %s: the AppArmor profile %.200s is not in this guest, and is "
			 "ignored",
			 c->id, c->spec->process.apparmor_profile);
	const struct cgroup *cgroup = engine_cgroup(c->engine);
	c->cgroup = cgroup ? cgroup_dup(cgroup) : NULL;
}

/* The first container's pid namespace is what a pod that shares one shares. */
static void keep_pidns(struct container *c, pid_t pid)
{
	struct agent *a = c->agent;
	char path[64];

	if (a->pidns_fd >= 0)
		return;
	(void)snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)pid);
	a->pidns_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (a->pidns_fd >= 0)
		c->owns_pidns = true;
}

/* The same for the first user namespace. */
static void keep_users(struct container *c, pid_t pid)
{
	if (!c->agent->users && oci_spec_namespace(c->spec, OCI_NS_USER))
		c->agent->users = pod_users_new(c->spec, pid);
}

static void remove_begin(struct container *c);

static void create_done(struct job *j)
{
	struct container *c = j->container;

	if (j->r == 0) {
		pid_t pid = j->process.pid;
		j->r = process_add(c, j, &j->e);
		if (j->r == 0) {
			c->state = CONTAINER_CREATED;
			keep_pidns(c, pid);
			keep_users(c, pid);
			oom_watch(c);
			log_info("container %s is created", c->id);
		}
		/* the sandbox may have been asked to end meanwhile */
		if (j->r < 0 || c->agent->destroying)
			remove_begin(c);
	} else {
		container_drop(c);
		sandbox_container_gone(j->agent);
	}
	job_reply_empty(j);
}

static int create_look(struct job *j, struct err *e)
{
	const struct device_request q = devices_of(j);
	return device_request_look(j->agent->devices, &q, e);
}

static void create_equipped(struct job *j)
{
	const Grpc__CreateContainerRequest *q = (const void *)rpc_call_request(j->call);
	struct agent *a = j->agent;

	/* as they are now, after all waiting */
	j->number = q->sandbox_pidns ? a->pidns_fd : -EBADF;
	j->result = a->hooks;
	j->container->users = a->users;
	if (j->r < 0)
		job_finish(j, create_done);
	else
		job_start(j, create_work, create_done);
}

static int create_look_cdi(struct job *j, struct err *e)
{
	const Grpc__CreateContainerRequest *q = (const void *)rpc_call_request(j->call);
	struct cdi_request cdi;

	int r = cdi_request_read(q->oci, &cdi, e);
	if (r == 0)
		r = cdi_look(cdi_dirs, &cdi, e);
	cdi_request_free(&cdi);
	return r;
}

/* The hardware is there; what its vendor says of it may be being written. */
static void create_ready(struct job *j)
{
	const Grpc__CreateContainerRequest *q = (const void *)rpc_call_request(j->call);
	const struct hotplug_want want = {.look = create_look_cdi,
					  .kinds = HOTPLUG_CDI,
					  .timeout_ms = j->agent->options.cdi_timeout_s * 1000ULL};

	if (j->r == 0 && cdi_requested(q->oci))
		hotplug_wait(j, &want, create_equipped);
	else
		create_equipped(j);
}

/* What it needs may still be on its way; most containers need nothing of that kind. */
static void create_begin(struct job *j)
{
	const struct device_request q = devices_of(j);
	const struct hotplug_want want = {.look = create_look,
					  .kinds = device_request_kinds(),
					  .timeout_ms =
						  j->agent->options.hotplug_timeout_s * 1000ULL};

	if (j->r == 0 && device_request_waits(&q))
		hotplug_wait(j, &want, create_ready);
	else
		create_ready(j);
}

void container_create(void *ctx, struct rpc_call *call)
{
	struct agent *a = ctx;
	const Grpc__CreateContainerRequest *q = (const void *)rpc_call_request(call);

	if (!id_valid(q->container_id)) {
		rpc_call_failf(call, STATUS_INVALID_ARGUMENT,
			       "container id \"%.300s\": not 2 to %d letters, digits, _ . -",
			       q->container_id, ID_MAX);
		return;
	}
	if (!q->oci) {
		rpc_call_failf(call, STATUS_INVALID_ARGUMENT, "container %s: no OCI spec",
			       q->container_id);
		return;
	}
	if (a->destroying || a->stopping) {
		rpc_call_failf(call, STATUS_FAILED_PRECONDITION, "the sandbox is being destroyed");
		return;
	}
	if (find_any(a, q->container_id)) {
		rpc_call_failf(call, STATUS_ALREADY_EXISTS, "container %s exists", q->container_id);
		return;
	}
	if (a->n_containers >= CONTAINERS_MAX) {
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "more than %d containers",
			       CONTAINERS_MAX);
		return;
	}
	struct container *c = container_new(a, q->container_id);
	struct job *j = c ? job_new(a, call, c) : NULL;
	if (!c) {
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory for a container");
	} else if (!j) {
		container_drop(c);
	} else {
		const uint32_t ports[3] = {q->stdin_port, q->stdout_port, q->stderr_port};
		j->r = process_take_streams(j, ports, &j->e);
		create_begin(j);
	}
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

	struct container *c = find_in_state(ctx, call, q->container_id, 1u << CONTAINER_CREATED);
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

	struct container *c = find_in_state(ctx, call, q->container_id, 1u << CONTAINER_RUNNING);
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

/* ---- Kill, update, stats, freeze ---------------------------------------------------------- */

static void kill_work(struct job *j)
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
	job_start(j, kill_work, job_reply_empty);
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

	struct container *c = find_usable(ctx, call, q->container_id);
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

	struct container *c = find_usable(ctx, call, q->container_id);
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

	struct container *c = find_in_state(a, call, id, 1u << from);
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

	struct container *c = find_usable(ctx, call, q->container_id);
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

/* ---- Remove ------------------------------------------------------------------------------- */

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

static void remove_begin(struct container *c)
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
	job_start(j, kill_work, remove_killed);
}

void container_remove(void *ctx, struct rpc_call *call)
{
	const Grpc__RemoveContainerRequest *q = (const void *)rpc_call_request(call);
	struct err e = ERR_INIT;

	struct container *c = container_find(ctx, q->container_id, &e);
	if (!c)
		rpc_call_fail(call, &e);
	else if (remover_add(c, call, q->timeout))
		remove_begin(c);
}

void container_remove_all(struct agent *a)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &a->containers) {
		struct container *c = list_entry(l, struct container, link);
		if (c->state != CONTAINER_CREATING)
			remove_begin(c);
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
