/* SPDX-License-Identifier: Apache-2.0 */
/* CreateContainer: a spec, its devices, storages and place in the pod become a container. */
#include "base/fd.h"
#include "guest/agent/cdi.h"
#include "guest/agent/container.h"
#include "guest/agent/device-request.h"
#include "guest/agent/pod-users.h"
#include "oci/arena.h"
#include "oci/spec-proto.h"
#include "oci/spec.h"

#include <fcntl.h>
#include <string.h>

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
	struct sandbox_place p = sandbox_place(j->agent);
	if (join || s->hostname || !oci_spec_namespace(s, OCI_NS_UTS) || !p.hostname[0])
		return 0;
	s->hostname = oci_arena_strdup(s->arena, p.hostname);
	return s->hostname ? 0 : -ENOMEM;
}

static int place_with_sandbox(struct job *j, struct oci_spec *s)
{
	struct sandbox_place p = sandbox_place(j->agent);
	int r = 0;

	if (oci_spec_namespace(s, OCI_NS_IPC))
		r = set_namespace(s, OCI_NS_IPC, p.ipc_ns[0] ? p.ipc_ns : NULL);
	if (r == 0 && oci_spec_namespace(s, OCI_NS_UTS))
		r = set_namespace(s, OCI_NS_UTS, p.uts_ns[0] ? p.uts_ns : NULL);
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
			container_remove_begin(c);
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
	if (container_find_any(a, q->container_id)) {
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
