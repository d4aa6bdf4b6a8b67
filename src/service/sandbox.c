/* SPDX-License-Identifier: Apache-2.0 */
#include "service/sandbox.h"

#include "base/fd.h"
#include "service/sandbox-options.h"
#include "service/stats.h"

#include "proto/agent.pb-c.h"

#include <fcntl.h>
#include <string.h>

#define SANDBOX(name) Containerd__Runtime__Sandbox__V1__##name
#define REQUEST(type, call) ((const SANDBOX(type) *)rpc_call_request(call))

/* The states that Kubernetes' runtime interface has for a pod. */
#define STATE_READY "SANDBOX_READY"
#define STATE_NOT_READY "SANDBOX_NOTREADY"

#define ETC_RESOLV_CONF "/etc/resolv.conf"
#define ETC_HOSTNAME "/etc/hostname"
#define ETC_HOSTS "/etc/hosts"
#define RESOLV_CONF_MAX (64u << 10)
#define HOSTS_MAX (1u << 20)

/* As Go names architectures. */
#if defined(__x86_64__)
#define ARCHITECTURE "amd64"
#elif defined(__aarch64__)
#define ARCHITECTURE "arm64"
#else
#error "how does Go name this architecture?"
#endif

/* ---- Replies -----------------------------------------------------------------------------------
 */

/* An answer to be given later: the call, and what else it needs. */
struct pending {
	struct sandbox_service *service;
	struct rpc_call *call;
};

static struct pending *defer(struct sandbox_service *s, struct rpc_call *call)
{
	struct pending *p = malloc(sizeof *p);
	if (!p) {
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "out of memory");
		return NULL;
	}
	*p = (struct pending){s, call};
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

/* Every response that says nothing: NULL stands for it. */
static void reply_nothing(void *arg, int r, const struct pod_status *status, const struct err *e)
{
	struct rpc_call *call = finish(arg, r, e);
	if (call)
		rpc_call_reply(call, NULL);
}

/* False, and answered, if it is not this shim's sandbox. */
static bool is_ours(const struct sandbox_service *s, struct rpc_call *call, const char *id)
{
	if (strcmp(id, s->sandbox_id) == 0)
		return true;
	rpc_call_failf(call, STATUS_NOT_FOUND, "sandbox \"%.255s\" does not exist", id);
	return false;
}

static Google__Protobuf__Timestamp timestamp(const struct timespec *t)
{
	Google__Protobuf__Timestamp ret = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	ret.seconds = t->tv_sec;
	ret.nanos = (int32_t)t->tv_nsec;
	return ret;
}

/* ---- CreateSandbox -----------------------------------------------------------------------------
 */

static int check_create(const struct sandbox_service *s, const SANDBOX(CreateSandboxRequest) * req,
			struct err *e)
{
	if (strcmp(req->sandbox_id, s->sandbox_id) != 0)
		return err_set(e, -EINVAL,
			       "sandbox_id \"%.255s\": this shim was started for \"%s\"",
			       req->sandbox_id, s->sandbox_id);
	if (req->bundle_path[0] != '/')
		return err_set(e, -EINVAL, "bundle_path \"%.200s\": must be an absolute path",
			       req->bundle_path);
	if (req->n_rootfs > 0)
		return err_status(e, STATUS_UNIMPLEMENTED,
				  "rootfs: a virtual machine has its own, from the configuration");
	return 0;
}

/* The bundle is on a tmpfs, and these files are small: nothing here waits for a disk. */
static int add_file(const SANDBOX(CreateSandboxRequest) * req, struct sandbox_options *o,
		    const char *destination, const char *text, struct err *e)
{
	char path[4096];
	int r = path_format(path, sizeof path, "%s/%s", req->bundle_path,
			    strrchr(destination, '/') + 1);
	if (r < 0)
		return err_set(e, r, "bundle_path is too long");
	r = file_replace(path, text, strlen(text), 0644);
	if (r < 0)
		return err_errno(e, r, "write %s", path);
	return sandbox_options_add_file(o, destination, path) < 0
		       ? err_set(e, -ENOMEM, "out of memory")
		       : 0;
}

/* As with a pod whose sandbox is a container: what the host knows, the pod knows. */
static int add_hosts(const SANDBOX(CreateSandboxRequest) * req, struct sandbox_options *o,
		     struct err *e)
{
	_cleanup_buf_ struct buf hosts = BUF_INIT;

	if (file_read(AT_FDCWD, ETC_HOSTS, HOSTS_MAX, &hosts) < 0 || !hosts.data)
		return add_file(req, o, ETC_HOSTS, "127.0.0.1\tlocalhost\n::1\tlocalhost\n", e);
	return add_file(req, o, ETC_HOSTS, hosts.data, e);
}

static int add_files(const SANDBOX(CreateSandboxRequest) * req, struct sandbox_options *o,
		     struct err *e)
{
	_cleanup_buf_ struct buf host = BUF_INIT;
	_cleanup_buf_ struct buf name = BUF_INIT;
	const char *dns = o->resolv_conf;
	int r = add_hosts(req, o, e);
	if (r < 0)
		return r;

	if (o->wants_host_dns && file_read(AT_FDCWD, ETC_RESOLV_CONF, RESOLV_CONF_MAX, &host) == 0)
		dns = host.data;
	if (dns)
		r = add_file(req, o, ETC_RESOLV_CONF, dns, e);
	if (r < 0 || !o->spec->hostname)
		return r;
	buf_printf(&name, "%s\n", o->spec->hostname);
	return buf_failed(&name) ? err_set(e, -ENOMEM, "out of memory")
				 : add_file(req, o, ETC_HOSTNAME, name.data, e);
}

/* What a client gave as the sandbox' spec; without one there is no such file. */
static int add_spec(const SANDBOX(CreateSandboxRequest) * req, struct sandbox_options *o,
		    struct err *e)
{
	_cleanup_buf_ struct buf json = BUF_INIT;
	char path[4096];
	int r = path_format(path, sizeof path, "%s/config.json", req->bundle_path);
	if (r < 0)
		return err_set(e, r, "bundle_path is too long");
	r = file_read(AT_FDCWD, path, OCI_JSON_BYTES_MAX, &json);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_errno(e, r, "read %s", path);
	r = sandbox_options_add_spec(o, json.data ? json.data : "", json.len, e);
	return r < 0 ? err_wrap(e, r, "%s", path) : 0;
}

static int create(struct sandbox_service *s, const SANDBOX(CreateSandboxRequest) * req,
		  struct sandbox_options *o, struct err *e)
{
	struct pod_status status;
	int r = check_create(s, req, e);
	if (r < 0)
		return r;
	/* before anything of the bundle is touched */
	if (runtime_sandbox_status(s->runtime, &status, NULL) == 0)
		return err_status(e, STATUS_ALREADY_EXISTS, "sandbox %s already exists",
				  s->sandbox_id);
	r = sandbox_options_read(req, o, e);
	if (r == 0)
		r = add_spec(req, o, e);
	if (r == 0)
		r = add_files(req, o, e);
	if (r < 0)
		return r;
	const struct pod_create c = {
		.spec = o->spec, .config_file = o->config_file, .config_body = o->config_body};
	r = runtime_sandbox_create(s->runtime, &c, e);
	if (r == 0)
		o->spec = NULL;
	return r;
}

static void on_create(void *ctx, struct rpc_call *call)
{
	struct sandbox_options o = SANDBOX_OPTIONS_INIT;
	struct err e = ERR_INIT;
	int r = create(ctx, REQUEST(CreateSandboxRequest, call), &o, &e);

	sandbox_options_deinit(&o);
	if (r < 0)
		rpc_call_fail(call, &e);
	else
		rpc_call_reply(call, NULL);
}

/* ---- StartSandbox, StopSandbox, WaitSandbox ----------------------------------------------------
 */

static void reply_start(void *arg, int r, const struct pod_status *status, const struct err *e)
{
	SANDBOX(StartSandboxResponse)
	response = CONTAINERD__RUNTIME__SANDBOX__V1__START_SANDBOX_RESPONSE__INIT;
	struct rpc_call *call = finish(arg, r, e);
	if (!call)
		return;
	Google__Protobuf__Timestamp at = timestamp(&status->created_at);
	response.pid = (uint32_t)status->pid;
	response.created_at = &at;
	rpc_call_reply(call, &response.base);
}

static void on_start(void *ctx, struct rpc_call *call)
{
	struct sandbox_service *s = ctx;
	struct pending *p;
	if (is_ours(s, call, REQUEST(StartSandboxRequest, call)->sandbox_id) &&
	    (p = defer(s, call)))
		runtime_sandbox_start(s->runtime, reply_start, p);
}

static void on_stop(void *ctx, struct rpc_call *call)
{
	struct sandbox_service *s = ctx;
	const SANDBOX(StopSandboxRequest) *req = REQUEST(StopSandboxRequest, call);
	struct pending *p;
	if (is_ours(s, call, req->sandbox_id) && (p = defer(s, call)))
		runtime_sandbox_stop(s->runtime, (uint64_t)req->timeout_secs * 1000, reply_nothing,
				     p);
}

static void reply_wait(void *arg, int r, const struct pod_status *status, const struct err *e)
{
	SANDBOX(WaitSandboxResponse)
	response = CONTAINERD__RUNTIME__SANDBOX__V1__WAIT_SANDBOX_RESPONSE__INIT;
	struct rpc_call *call = finish(arg, r, e);
	if (!call)
		return;
	Google__Protobuf__Timestamp at = timestamp(&status->exited_at);
	response.exit_status = status->exit_status;
	response.exited_at = &at;
	rpc_call_reply(call, &response.base);
}

static void on_wait(void *ctx, struct rpc_call *call)
{
	struct sandbox_service *s = ctx;
	struct pending *p;
	if (is_ours(s, call, REQUEST(WaitSandboxRequest, call)->sandbox_id) && (p = defer(s, call)))
		runtime_sandbox_wait(s->runtime, reply_wait, p);
}

/* ---- Questions ---------------------------------------------------------------------------------
 */

static void on_platform(void *ctx, struct rpc_call *call)
{
	SANDBOX(PlatformResponse)
	response = CONTAINERD__RUNTIME__SANDBOX__V1__PLATFORM_RESPONSE__INIT;
	Containerd__Types__Platform platform = CONTAINERD__TYPES__PLATFORM__INIT;

	/* It is what every guest of this shim would have, so it can be asked before there is one.
	 */
	if (!is_ours(ctx, call, REQUEST(PlatformRequest, call)->sandbox_id))
		return;
	platform.os = "linux";
	platform.architecture = ARCHITECTURE;
	response.platform = &platform;
	rpc_call_reply(call, &response.base);
}

static void on_status(void *ctx, struct rpc_call *call)
{
	struct sandbox_service *s = ctx;
	const SANDBOX(SandboxStatusRequest) *req = REQUEST(SandboxStatusRequest, call);
	SANDBOX(SandboxStatusResponse)
	response = CONTAINERD__RUNTIME__SANDBOX__V1__SANDBOX_STATUS_RESPONSE__INIT;
	SANDBOX(SandboxStatusResponse__InfoEntry)
	info = CONTAINERD__RUNTIME__SANDBOX__V1__SANDBOX_STATUS_RESPONSE__INFO_ENTRY__INIT;
	SANDBOX(SandboxStatusResponse__InfoEntry) * infos[] = {&info};
	struct pod_status status;
	struct err e = ERR_INIT;

	if (!is_ours(s, call, req->sandbox_id))
		return;
	if (runtime_sandbox_status(s->runtime, &status, &e) < 0) {
		rpc_call_fail(call, &e);
		return;
	}
	Google__Protobuf__Timestamp created = timestamp(&status.created_at);
	Google__Protobuf__Timestamp exited = timestamp(&status.exited_at);
	response.sandbox_id = req->sandbox_id;
	response.pid = (uint32_t)status.pid;
	response.state = status.ready ? STATE_READY : STATE_NOT_READY;
	response.created_at = status.created_at.tv_sec ? &created : NULL;
	response.exited_at = status.exited_at.tv_sec ? &exited : NULL;
	/* "info" is containerd's own: it decodes that key, and loses what it does not know. */
	_cleanup_free_ char *text = req->verbose ? runtime_sandbox_describe(s->runtime) : NULL;
	if (text) {
		info.key = "kata";
		info.value = text;
		response.info = infos;
		response.n_info = 1;
	}
	rpc_call_reply(call, &response.base);
}

static void on_ping(void *ctx, struct rpc_call *call)
{
	struct sandbox_service *s = ctx;
	struct pending *p;
	if (is_ours(s, call, REQUEST(PingRequest, call)->sandbox_id) && (p = defer(s, call)))
		runtime_sandbox_ping(s->runtime, reply_nothing, p);
}

/* ---- SandboxMetrics ----------------------------------------------------------------------------
 */

/* What containerd's own controller reads from a pod's cgroup, so in a cgroup's words. */
static const char *pack_usage(const struct usage *u, struct buf *ret)
{
	Grpc__StatsContainerResponse stats = GRPC__STATS_CONTAINER_RESPONSE__INIT;
	Grpc__CgroupStats cgroup = GRPC__CGROUP_STATS__INIT;
	Grpc__CpuStats cpu = GRPC__CPU_STATS__INIT;
	Grpc__CpuUsage cpu_usage = GRPC__CPU_USAGE__INIT;
	Grpc__MemoryStats memory = GRPC__MEMORY_STATS__INIT;
	Grpc__MemoryData memory_usage = GRPC__MEMORY_DATA__INIT;
	Grpc__PidsStats pids = GRPC__PIDS_STATS__INIT;

	cpu_usage.total_usage = u->cpu_user_ns + u->cpu_system_ns;
	cpu_usage.usage_in_usermode = u->cpu_user_ns;
	cpu_usage.usage_in_kernelmode = u->cpu_system_ns;
	cpu.cpu_usage = &cpu_usage;
	memory_usage.usage = u->memory_bytes;
	memory_usage.limit = UINT64_MAX; /* a cgroup's word for none */
	memory.usage = &memory_usage;
	pids.current = u->threads;
	cgroup.cpu_stats = &cpu;
	cgroup.memory_stats = &memory;
	cgroup.pids_stats = &pids;
	stats.cgroup_stats = &cgroup;
	return stats_pack(&stats, stats_host_is_v2(), ret);
}

static void reply_metrics(void *arg, int r, const struct usage *usage, const struct err *e)
{
	SANDBOX(SandboxMetricsResponse)
	response = CONTAINERD__RUNTIME__SANDBOX__V1__SANDBOX_METRICS_RESPONSE__INIT;
	Containerd__Types__Metric metric = CONTAINERD__TYPES__METRIC__INIT;
	Google__Protobuf__Any data = GOOGLE__PROTOBUF__ANY__INIT;
	_cleanup_buf_ struct buf packed = BUF_INIT;
	const char *id = ((struct pending *)arg)->service->sandbox_id;
	struct rpc_call *call = finish(arg, r, e);
	struct timespec now;

	if (!call)
		return;
	const char *type = pack_usage(usage, &packed);
	if (!type) {
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	(void)clock_gettime(CLOCK_REALTIME, &now);
	Google__Protobuf__Timestamp at = timestamp(&now);
	data.type_url = (char *)type;
	data.value.data = (uint8_t *)packed.data;
	data.value.len = packed.len;
	metric.timestamp = &at;
	metric.id = (char *)id;
	metric.data = &data;
	response.metrics = &metric;
	rpc_call_reply(call, &response.base);
}

static void on_metrics(void *ctx, struct rpc_call *call)
{
	struct sandbox_service *s = ctx;
	struct pending *p;
	if (is_ours(s, call, REQUEST(SandboxMetricsRequest, call)->sandbox_id) &&
	    (p = defer(s, call)))
		runtime_sandbox_usage(s->runtime, reply_metrics, p);
}

/* ---- ShutdownSandbox ---------------------------------------------------------------------------
 */

static void reply_shutdown(void *arg, int r, const struct task_state *state, const struct err *e)
{
	struct sandbox_service *s = ((struct pending *)arg)->service;
	struct rpc_call *call = finish(arg, r, e);

	if (call)
		rpc_call_reply(call, NULL);
	if (r == 0)
		s->on_shutdown(s->arg);
}

/* containerd asks for it also when CreateSandbox was refused, so it needs no sandbox. */
static void on_shutdown(void *ctx, struct rpc_call *call)
{
	struct sandbox_service *s = ctx;
	struct pending *p;
	if (is_ours(s, call, REQUEST(ShutdownSandboxRequest, call)->sandbox_id) &&
	    (p = defer(s, call)))
		runtime_sandbox_shutdown(s->runtime, reply_shutdown, p);
}

/* ---- The table ---------------------------------------------------------------------------------
 */

static const struct rpc_method methods[] = {
	{"CreateSandbox", on_create},	{"StartSandbox", on_start},
	{"Platform", on_platform},	{"StopSandbox", on_stop},
	{"WaitSandbox", on_wait},	{"SandboxStatus", on_status},
	{"PingSandbox", on_ping},	{"ShutdownSandbox", on_shutdown},
	{"SandboxMetrics", on_metrics}, {NULL, NULL},
};

int sandbox_service_register(struct sandbox_service *s, struct rpc_server *server)
{
	s->service = (struct rpc_service){
		.name = "containerd.runtime.sandbox.v1.Sandbox",
		.desc = &containerd__runtime__sandbox__v1__sandbox__descriptor,
		.methods = methods,
		.ctx = s,
	};
	return rpc_server_add(server, &s->service);
}
