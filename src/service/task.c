/* SPDX-License-Identifier: Apache-2.0 */
#include "service/task.h"

#include "base/id.h"
#include "base/log.h"
#include "service/stats.h"

#include "proto/runc_options.pb-c.h"
#include "proto/runtimeoptions.pb-c.h"
#include "proto/task_service.pb-c.h"

#include <string.h>

#define TASK(name) Containerd__Task__V2__##name
#define REQUEST(type, call) ((const TASK(type) *)rpc_call_request(call))

/* Go's zero time, which clients expect where a process has not ended: year 1. */
#define GO_ZERO_TIME INT64_C(-62135596800)

/* A deferred answer: the call and the service that it came to. */
struct pending {
	struct task_service *service;
	struct rpc_call *call;
};

static struct pending *defer(struct task_service *s, struct rpc_call *call)
{
	struct pending *p = malloc(sizeof *p);
	if (!p) {
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "out of memory");
		return NULL;
	}
	p->service = s;
	p->call = call;
	return p;
}

/* Ends a deferral; on failure answers with it and returns NULL. */
static struct rpc_call *finish(void *arg, int r, const struct err *e)
{
	struct pending *p = arg;
	struct rpc_call *call = p->call;

	free(p);
	if (r >= 0)
		return call;
	rpc_call_fail(call, e);
	return NULL;
}

static void reply_empty(void *arg, int r, const struct task_state *state, const struct err *e)
{
	const Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	struct rpc_call *call = finish(arg, r, e);
	if (call)
		rpc_call_reply(call, &empty.base);
}

static bool ids_are_good(struct rpc_call *call, const char *id, const char *exec_id)
{
	struct err e = ERR_INIT;
	if (id_check("id", id, &e) == 0 && (!exec_id[0] || id_check("exec_id", exec_id, &e) == 0))
		return true;
	rpc_call_fail(call, &e);
	return false;
}

static Google__Protobuf__Timestamp timestamp(const struct timespec *t)
{
	Google__Protobuf__Timestamp ret = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	ret.seconds = t->tv_sec ? t->tv_sec : GO_ZERO_TIME;
	ret.nanos = (int32_t)t->tv_nsec;
	return ret;
}

/* ---- Create ------------------------------------------------------------------------------------
 */

/* containerd's runtime options: which configuration to use. Unknown kinds are not ours to judge. */
static Runtimeoptions__V1__Options *unpack_options(const Google__Protobuf__Any *any)
{
	if (!any || !any->type_url || !strstr(any->type_url, "runtimeoptions.v1.Options"))
		return NULL;
	return runtimeoptions__v1__options__unpack(NULL, any->value.len, any->value.data);
}

static void on_abandoned(void *arg, int r, const struct task_state *state, const struct err *e)
{
	struct task_service *s = arg;
	if (r == 0) {
		log_warn("the pod is over, and the client that would end the shim is gone");
		s->on_shutdown(s->arg);
	}
}

/*
 * containerd calls Shutdown once it knows of the end of a pod's last container, or that there never
 * was one. If it was killed before the answer came, its successor does not know this shim, or
 * takes it for one that lives: so it ends by itself.
 */
static void end_unless_wanted(struct task_service *s, bool wanted)
{
	if (!wanted)
		runtime_abandon(s->runtime, on_abandoned, s);
}

static void reply_create(void *arg, int r, const struct task_state *state, const struct err *e)
{
	TASK(CreateTaskResponse) response = CONTAINERD__TASK__V2__CREATE_TASK_RESPONSE__INIT;
	struct task_service *s = ((struct pending *)arg)->service;
	bool wanted = r == 0 || rpc_call_wanted(((struct pending *)arg)->call);
	struct rpc_call *call = finish(arg, r, e);
	if (call) {
		response.pid = (uint32_t)state->pid;
		rpc_call_reply(call, &response.base);
	}
	end_unless_wanted(s, wanted);
}

static struct rootfs_mount *rootfs_of(const TASK(CreateTaskRequest) * req)
{
	struct rootfs_mount *v = calloc(req->n_rootfs + 1, sizeof *v);
	for (size_t i = 0; v && i < req->n_rootfs; i++)
		v[i] = (struct rootfs_mount){.type = req->rootfs[i]->type,
					     .source = req->rootfs[i]->source,
					     .target = req->rootfs[i]->target,
					     .options = req->rootfs[i]->options,
					     .n_options = req->rootfs[i]->n_options};
	return v;
}

static void on_create(void *ctx, struct rpc_call *call)
{
	struct task_service *s = ctx;
	const TASK(CreateTaskRequest) *req = REQUEST(CreateTaskRequest, call);

	if (!ids_are_good(call, req->id, ""))
		return;
	if (req->bundle[0] != '/') {
		rpc_call_failf(call, STATUS_INVALID_ARGUMENT,
			       "bundle \"%s\" must be an absolute path", req->bundle);
		return;
	}
	if (req->checkpoint[0] || req->parent_checkpoint[0]) {
		rpc_call_failf(call, STATUS_UNIMPLEMENTED,
			       "a virtual machine cannot be restored from a checkpoint");
		return;
	}
	struct pending *p = defer(s, call);
	if (!p)
		return;
	_cleanup_free_ struct rootfs_mount *rootfs = rootfs_of(req);
	Runtimeoptions__V1__Options *options = unpack_options(req->options);
	_cleanup_free_ char *body = NULL;
	if (options && options->config_body.len)
		body = strndup((const char *)options->config_body.data, options->config_body.len);
	const struct task_create create = {
		.id = req->id,
		.bundle = req->bundle,
		.stdio = {req->terminal, req->stdin, req->stdout, req->stderr},
		.rootfs = rootfs,
		.n_rootfs = rootfs ? req->n_rootfs : 0,
		.config_file = options ? options->config_path : NULL,
		.config_body = body,
	};
	runtime_create(s->runtime, &create, reply_create, p);
	if (options)
		runtimeoptions__v1__options__free_unpacked(options, NULL);
}

/* ---- Start, Exec
 * --------------------------------------------------------------------------------- */

static void reply_start(void *arg, int r, const struct task_state *state, const struct err *e)
{
	TASK(StartResponse) response = CONTAINERD__TASK__V2__START_RESPONSE__INIT;
	struct rpc_call *call = finish(arg, r, e);
	if (call) {
		response.pid = (uint32_t)state->pid;
		rpc_call_reply(call, &response.base);
	}
}

static void on_start(void *ctx, struct rpc_call *call)
{
	struct task_service *s = ctx;
	const TASK(StartRequest) *req = REQUEST(StartRequest, call);
	struct pending *p;

	if (ids_are_good(call, req->id, req->exec_id) && (p = defer(s, call)))
		runtime_start(s->runtime, req->id, req->exec_id, reply_start, p);
}

/* The field is an Any: what is in it must be what it is said to be. Older clients say nothing. */
static bool is_kind(struct rpc_call *call, const char *field, const Google__Protobuf__Any *any,
		    const char *kind)
{
	const char *slash = strrchr(any->type_url, '/'), *dot = strrchr(any->type_url, '.');
	const char *name = slash ? slash + 1 : dot ? dot + 1 : any->type_url;
	if (!name[0] || strcmp(name, kind) == 0)
		return true;
	rpc_call_failf(call, STATUS_INVALID_ARGUMENT, "%s is a \"%.128s\": must be a %s", field,
		       any->type_url, kind);
	return false;
}

static void on_exec(void *ctx, struct rpc_call *call)
{
	struct task_service *s = ctx;
	const TASK(ExecProcessRequest) *req = REQUEST(ExecProcessRequest, call);
	const Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	const struct task_stdio stdio = {req->terminal, req->stdin, req->stdout, req->stderr};
	struct err e = ERR_INIT;

	if (!ids_are_good(call, req->id, req->exec_id))
		return;
	if (!req->exec_id[0] || !req->spec || !req->spec->value.len) {
		rpc_call_failf(call, STATUS_INVALID_ARGUMENT, "%s is empty",
			       req->exec_id[0] ? "spec" : "exec_id");
		return;
	}
	if (!is_kind(call, "spec", req->spec, "Process"))
		return;
	int r = runtime_exec(s->runtime, req->id, req->exec_id, &stdio,
			     (const char *)req->spec->value.data, req->spec->value.len, &e);
	if (r < 0)
		rpc_call_fail(call, &e);
	else
		rpc_call_reply(call, &empty.base);
}

/* ---- State, Wait, Delete
 * ---------------------------------------------------------------------------- */

static Containerd__V1__Types__Status wire_status(enum task_status status)
{
	switch (status) {
	case TASK_CREATING:
	case TASK_CREATED:
	case TASK_STARTING:
		return CONTAINERD__V1__TYPES__STATUS__CREATED;
	case TASK_RUNNING:
		return CONTAINERD__V1__TYPES__STATUS__RUNNING;
	case TASK_PAUSED:
		return CONTAINERD__V1__TYPES__STATUS__PAUSED;
	case TASK_STOPPED:
		return CONTAINERD__V1__TYPES__STATUS__STOPPED;
	}
	return CONTAINERD__V1__TYPES__STATUS__UNKNOWN;
}

static void on_state(void *ctx, struct rpc_call *call)
{
	struct task_service *s = ctx;
	const TASK(StateRequest) *req = REQUEST(StateRequest, call);
	TASK(StateResponse) response = CONTAINERD__TASK__V2__STATE_RESPONSE__INIT;
	struct task_state t;
	struct err e = ERR_INIT;

	if (!ids_are_good(call, req->id, req->exec_id))
		return;
	if (runtime_state(s->runtime, req->id, req->exec_id, &t, &e) < 0) {
		rpc_call_fail(call, &e);
		return;
	}
	Google__Protobuf__Timestamp exited_at = timestamp(&t.exited_at);
	/* containerd's own shim answers an exec's state with the exec's id as id */
	response.id = (char *)(t.exec_id[0] ? t.exec_id : t.id);
	response.exec_id = (char *)t.exec_id;
	response.bundle = (char *)t.bundle;
	response.pid = (uint32_t)t.pid;
	response.status = wire_status(t.status);
	response.stdin = (char *)t.stdio.in;
	response.stdout = (char *)t.stdio.out;
	response.stderr = (char *)t.stdio.errout;
	response.terminal = t.stdio.terminal;
	response.exit_status = t.exit_status;
	response.exited_at = &exited_at;
	rpc_call_reply(call, &response.base);
}

static void reply_wait(void *arg, int r, const struct task_state *state, const struct err *e)
{
	TASK(WaitResponse) response = CONTAINERD__TASK__V2__WAIT_RESPONSE__INIT;
	struct rpc_call *call = finish(arg, r, e);
	if (call) {
		Google__Protobuf__Timestamp at = timestamp(&state->exited_at);
		response.exit_status = state->exit_status;
		response.exited_at = &at;
		rpc_call_reply(call, &response.base);
	}
}

static void on_wait(void *ctx, struct rpc_call *call)
{
	struct task_service *s = ctx;
	const TASK(WaitRequest) *req = REQUEST(WaitRequest, call);
	struct pending *p;

	if (ids_are_good(call, req->id, req->exec_id) && (p = defer(s, call)))
		runtime_wait(s->runtime, req->id, req->exec_id, reply_wait, p);
}

static void reply_delete(void *arg, int r, const struct task_state *state, const struct err *e)
{
	TASK(DeleteResponse) response = CONTAINERD__TASK__V2__DELETE_RESPONSE__INIT;
	struct task_service *s = ((struct pending *)arg)->service;
	bool wanted = r < 0 || rpc_call_wanted(((struct pending *)arg)->call);
	struct rpc_call *call = finish(arg, r, e);
	if (call) {
		Google__Protobuf__Timestamp at = timestamp(&state->exited_at);
		response.pid = (uint32_t)state->pid;
		response.exit_status = state->exit_status;
		response.exited_at = &at;
		rpc_call_reply(call, &response.base);
	}
	end_unless_wanted(s, wanted);
}

static void on_delete(void *ctx, struct rpc_call *call)
{
	struct task_service *s = ctx;
	const TASK(DeleteRequest) *req = REQUEST(DeleteRequest, call);
	struct pending *p;

	if (ids_are_good(call, req->id, req->exec_id) && (p = defer(s, call)))
		runtime_delete(s->runtime, req->id, req->exec_id, reply_delete, p);
}

/* ---- Kill, Pause, Resume, streams
 * ---------------------------------------------------------------------- */

static void on_kill(void *ctx, struct rpc_call *call)
{
	struct task_service *s = ctx;
	const TASK(KillRequest) *req = REQUEST(KillRequest, call);
	struct pending *p;

	if (ids_are_good(call, req->id, req->exec_id) && (p = defer(s, call)))
		runtime_kill(s->runtime, req->id, req->exec_id, req->signal, req->all, reply_empty,
			     p);
}

static void on_pause(void *ctx, struct rpc_call *call)
{
	struct task_service *s = ctx;
	const TASK(PauseRequest) *req = REQUEST(PauseRequest, call);
	struct pending *p;

	if (ids_are_good(call, req->id, "") && (p = defer(s, call)))
		runtime_pause(s->runtime, req->id, true, reply_empty, p);
}

static void on_resume(void *ctx, struct rpc_call *call)
{
	struct task_service *s = ctx;
	const TASK(ResumeRequest) *req = REQUEST(ResumeRequest, call);
	struct pending *p;

	if (ids_are_good(call, req->id, "") && (p = defer(s, call)))
		runtime_pause(s->runtime, req->id, false, reply_empty, p);
}

static void on_resize_pty(void *ctx, struct rpc_call *call)
{
	struct task_service *s = ctx;
	const TASK(ResizePtyRequest) *req = REQUEST(ResizePtyRequest, call);
	struct pending *p;

	if (ids_are_good(call, req->id, req->exec_id) && (p = defer(s, call)))
		runtime_resize(s->runtime, req->id, req->exec_id, req->width, req->height,
			       reply_empty, p);
}

static void on_close_io(void *ctx, struct rpc_call *call)
{
	struct task_service *s = ctx;
	const TASK(CloseIORequest) *req = REQUEST(CloseIORequest, call);
	const Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	struct err e = ERR_INIT;

	if (!ids_are_good(call, req->id, req->exec_id))
		return;
	if (req->stdin && runtime_close_stdin(s->runtime, req->id, req->exec_id, &e) < 0)
		rpc_call_fail(call, &e);
	else
		rpc_call_reply(call, &empty.base);
}

static void on_update(void *ctx, struct rpc_call *call)
{
	struct task_service *s = ctx;
	const TASK(UpdateTaskRequest) *req = REQUEST(UpdateTaskRequest, call);
	struct pending *p;

	if (!ids_are_good(call, req->id, ""))
		return;
	if (!req->resources || !req->resources->value.len)
		rpc_call_failf(call, STATUS_INVALID_ARGUMENT, "resources is empty");
	else if (is_kind(call, "resources", req->resources, "LinuxResources") &&
		 (p = defer(s, call)))
		runtime_update(s->runtime, req->id, (const char *)req->resources->value.data,
			       req->resources->value.len, reply_empty, p);
}

static void on_checkpoint(void *ctx, struct rpc_call *call)
{
	rpc_call_failf(call, STATUS_UNIMPLEMENTED, "a virtual machine cannot be checkpointed");
}

/* ---- Pids, Stats, Connect
 * ---------------------------------------------------------------------------------- */

struct process_info {
	Containerd__V1__Types__ProcessInfo info;
	Google__Protobuf__Any any;
	uint8_t details[300]; /* an exec id has at most 255 bytes */
};

/* One that was exec'ed says as which. */
static void set_info(struct process_info *i, uint32_t pid, const char *exec_id)
{
	Containerd__Runc__V1__ProcessDetails details = CONTAINERD__RUNC__V1__PROCESS_DETAILS__INIT;

	i->info = (Containerd__V1__Types__ProcessInfo)CONTAINERD__V1__TYPES__PROCESS_INFO__INIT;
	i->info.pid = pid;
	details.exec_id = (char *)exec_id;
	size_t n = protobuf_c_message_get_packed_size(&details.base);
	if (!exec_id[0] || n > sizeof i->details)
		return;
	i->any = (Google__Protobuf__Any)GOOGLE__PROTOBUF__ANY__INIT;
	i->any.type_url = (char *)details.base.descriptor->name;
	i->any.value.data = i->details;
	i->any.value.len = protobuf_c_message_pack(&details.base, i->details);
	i->info.info = &i->any;
}

static void reply_pids(void *arg, int r, const struct task_state *t,
		       const Grpc__ListContainerProcessesResponse *processes, const struct err *e)
{
	TASK(PidsResponse) response = CONTAINERD__TASK__V2__PIDS_RESPONSE__INIT;
	struct rpc_call *call = finish(arg, r, e);

	if (!call)
		return;
	/* Where the guest tells of none, the machine stands for them all. The answer is never
	 * empty: a containerd that starts again takes a shim without pids for one whose task was
	 * never made, and ends it, and with it the exit code of a task that has stopped meanwhile
	 * (containerd >= 1.7, core/runtime/v2/shim_load.go). */
	bool listed = processes && processes->n_processes > 0;
	size_t n = listed ? processes->n_processes : 1;
	_cleanup_free_ struct process_info *v = calloc(n + 1, sizeof *v);
	_cleanup_free_ Containerd__V1__Types__ProcessInfo **list = calloc(n + 1, sizeof *list);
	if (!v || !list) {
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (listed)
			set_info(&v[i], processes->processes[i]->pid,
				 processes->processes[i]->exec_id);
		else
			set_info(&v[i], (uint32_t)t->pid, "");
		list[i] = &v[i].info;
	}
	response.processes = list;
	response.n_processes = n;
	rpc_call_reply(call, &response.base);
}

static void on_pids(void *ctx, struct rpc_call *call)
{
	struct task_service *s = ctx;
	const TASK(PidsRequest) *req = REQUEST(PidsRequest, call);
	struct pending *p;

	if (ids_are_good(call, req->id, "") && (p = defer(s, call)))
		runtime_pids(s->runtime, req->id, reply_pids, p);
}

static void reply_stats(void *arg, int r, const Grpc__StatsContainerResponse *stats,
			const struct err *e)
{
	TASK(StatsResponse) response = CONTAINERD__TASK__V2__STATS_RESPONSE__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	_cleanup_buf_ struct buf packed = BUF_INIT;
	struct rpc_call *call = finish(arg, r, e);

	if (!call)
		return;
	const char *type = stats_pack(stats, stats_host_is_v2(), &packed);
	if (!type) {
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	any.type_url = (char *)type;
	any.value.data = (uint8_t *)packed.data;
	any.value.len = packed.len;
	response.stats = &any;
	rpc_call_reply(call, &response.base);
}

static void on_stats(void *ctx, struct rpc_call *call)
{
	struct task_service *s = ctx;
	const TASK(StatsRequest) *req = REQUEST(StatsRequest, call);
	struct pending *p;

	if (ids_are_good(call, req->id, "") && (p = defer(s, call)))
		runtime_stats(s->runtime, req->id, reply_stats, p);
}

static void on_connect(void *ctx, struct rpc_call *call)
{
	struct task_service *s = ctx;
	const TASK(ConnectRequest) *req = REQUEST(ConnectRequest, call);
	TASK(ConnectResponse) response = CONTAINERD__TASK__V2__CONNECT_RESPONSE__INIT;
	struct task_state t;

	events_kick(s->events); /* a containerd that has come back asks this first */
	/* Asked of a shim with or without the task: its own pid is true either way. */
	response.shim_pid = (uint32_t)getpid();
	if (runtime_state(s->runtime, req->id, "", &t, NULL) == 0)
		response.task_pid = (uint32_t)t.pid;
	rpc_call_reply(call, &response.base);
}

/* ---- Shutdown
 * ---------------------------------------------------------------------------------------------- */

static void reply_shutdown(void *arg, int r, const struct task_state *state, const struct err *e)
{
	const Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	struct task_service *s = ((struct pending *)arg)->service;
	struct rpc_call *call = finish(arg, r, e);

	if (call)
		rpc_call_reply(call, &empty.base);
	if (r == 0)
		s->on_shutdown(s->arg);
}

static void on_shutdown(void *ctx, struct rpc_call *call)
{
	struct task_service *s = ctx;
	const TASK(ShutdownRequest) *req = REQUEST(ShutdownRequest, call);
	const Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	const char *sandbox = runtime_sandbox_id(s->runtime);
	struct pending *p;

	/* containerd asks after each task's deletion; the end of a sandbox is its own request. */
	if (sandbox && strcmp(req->id, sandbox) != 0)
		rpc_call_reply(call, &empty.base);
	else if ((p = defer(s, call)))
		runtime_shutdown(s->runtime, req->now || sandbox, reply_shutdown, p);
}

/* ---- The table
 * ---------------------------------------------------------------------------------------------- */

static const struct rpc_method methods[] = {
	{"State", on_state},
	{"Create", on_create},
	{"Start", on_start},
	{"Delete", on_delete},
	{"Pids", on_pids},
	{"Pause", on_pause},
	{"Resume", on_resume},
	{"Checkpoint", on_checkpoint},
	{"Kill", on_kill},
	{"Exec", on_exec},
	{"ResizePty", on_resize_pty},
	{"CloseIO", on_close_io},
	{"Update", on_update},
	{"Wait", on_wait},
	{"Stats", on_stats},
	{"Connect", on_connect},
	{"Shutdown", on_shutdown},
	{NULL, NULL},
};

int task_service_register(struct task_service *s, struct rpc_server *server)
{
	s->v2 = (struct rpc_service){.name = "containerd.task.v2.Task",
				     .desc = &containerd__task__v2__task__descriptor,
				     .methods = methods,
				     .ctx = s};
	s->v3 = s->v2;
	s->v3.name = "containerd.task.v3.Task";
	int r = rpc_server_add(server, &s->v2);
	return r < 0 ? r : rpc_server_add(server, &s->v3);
}
