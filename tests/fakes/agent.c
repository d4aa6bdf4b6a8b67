/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fakes/agent.h"

#include "base/buf.h"
#include "base/list.h"
#include "rpc/listen.h"
#include "rpc/rpc.h"

#include "proto/agent.pb-c.h"
#include "proto/health.pb-c.h"

#include <pthread.h>
#include <string.h>

#define COUNTERS_MAX 64
#define UNANSWERED_MAX 64
#define OOM_LATE_MS 100

struct fake_process {
	struct list link;
	char id[128], exec_id[128], what[64];
	bool started, ended, hold;
	int status;
	size_t flood, flooded;
	struct buf out;
	struct rpc_call *wait, *read_out, *read_err;
};

struct fake_agent {
	struct loop *loop;
	struct rpc_server *server;
	struct rpc_service agent, health;
	bool early_wait;
	bool in_time; /* a postponed request is being handled */
	char path[108];
	struct list processes;
	struct rpc_call *oom; /* GetOOMEvent, while it waits */
	char oom_untold[128]; /* the container of an event that nobody has asked for yet */
	char oom_later[128];  /* one that is told when the timer runs off */
	struct loop_timer *late, *absent;
	struct rpc_call *unanswered[UNANSWERED_MAX];
	size_t n_unanswered;

	pthread_mutex_t lock; /* guards what follows */
	char sandbox[1024], mounts[1024];
	unsigned slow_ms, absent_ms;
	bool sick;
	bool silent;
	int oom_status;
	struct {
		const char *method;
		unsigned n;
	} counters[COUNTERS_MAX];
};

static void count(struct fake_agent *f, const struct rpc_call *call)
{
	pthread_mutex_lock(&f->lock);
	for (size_t i = 0; i < COUNTERS_MAX; i++) {
		if (!f->counters[i].method)
			f->counters[i].method = strdup(rpc_call_method(call));
		if (strcmp(f->counters[i].method, rpc_call_method(call)) == 0) {
			f->counters[i].n++;
			break;
		}
	}
	pthread_mutex_unlock(&f->lock);
}

unsigned fake_agent_calls(struct fake_agent *f, const char *method)
{
	unsigned n = 0;
	pthread_mutex_lock(&f->lock);
	for (size_t i = 0; i < COUNTERS_MAX && f->counters[i].method; i++)
		if (strcmp(f->counters[i].method, method) == 0)
			n = f->counters[i].n;
	pthread_mutex_unlock(&f->lock);
	return n;
}

static bool leave_unanswered(struct fake_agent *f, struct rpc_call *call)
{
	if (f->n_unanswered == UNANSWERED_MAX)
		return false;
	f->unanswered[f->n_unanswered++] = call;
	return true;
}

static void reply_empty(struct rpc_call *call)
{
	const Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	rpc_call_reply(call, &empty.base);
}

/* ---- Processes ------------------------------------------------------------------------------ */

static struct fake_process *find(struct fake_agent *f, const char *id, const char *exec_id)
{
	struct list *pos;
	const char *exec = strcmp(exec_id, id) == 0 ? "" : exec_id;

	list_for_each (pos, &f->processes) {
		struct fake_process *p = list_entry(pos, struct fake_process, link);
		if (strcmp(p->id, id) == 0 && strcmp(p->exec_id, exec) == 0)
			return p;
	}
	return NULL;
}

/* Answers with NOT_FOUND, as agents do, and returns NULL where there is no such process. */
static struct fake_process *find_or_refuse(struct fake_agent *f, struct rpc_call *call,
					   const char *id, const char *exec_id)
{
	struct fake_process *p = find(f, id, exec_id);
	if (!p)
		rpc_call_failf(call, STATUS_NOT_FOUND, "no process %s/%s", id, exec_id);
	return p;
}

static void forget(struct fake_process *p)
{
	list_del(&p->link);
	if (p->wait)
		rpc_call_failf(p->wait, STATUS_NOT_FOUND, "gone");
	if (p->read_out)
		rpc_call_failf(p->read_out, STATUS_NOT_FOUND, "gone");
	if (p->read_err)
		rpc_call_failf(p->read_err, STATUS_NOT_FOUND, "gone");
	buf_free(&p->out);
	free(p);
}

static void reply_data(struct rpc_call *call, const char *data, size_t len)
{
	Grpc__ReadStreamResponse response = GRPC__READ_STREAM_RESPONSE__INIT;
	response.data.data = (uint8_t *)data;
	response.data.len = len;
	rpc_call_reply(call, &response.base);
}

static void reply_flood(struct fake_process *p)
{
	const Grpc__ReadStreamRequest *req = (const void *)rpc_call_request(p->read_out);
	size_t n = p->flood - p->flooded;
	n = n < req->len ? n : req->len;
	char *data = malloc(n);
	for (size_t i = 0; data && i < n; i++)
		data[i] = (char)fake_agent_byte(p->flooded + i);
	p->flooded += n;
	reply_data(TAKE_PTR(p->read_out), data, n);
	free(data);
}

/* As much as was asked for: a reply has its limit. */
static void reply_out(struct fake_process *p)
{
	const Grpc__ReadStreamRequest *req = (const void *)rpc_call_request(p->read_out);
	size_t n = p->out.len < req->len ? p->out.len : req->len;
	reply_data(TAKE_PTR(p->read_out), p->out.data, n);
	buf_consume(&p->out, n);
}

/* Answers what can be answered by now. */
static void progress(struct fake_agent *f, struct fake_process *p)
{
	if (p->read_out && p->started && p->flooded < p->flood) {
		reply_flood(p);
		p->ended = p->flooded == p->flood;
	}
	if (p->read_out && p->out.len > 0)
		reply_out(p);
	if (!p->ended)
		return;
	if (p->read_out && !p->hold)
		reply_data(TAKE_PTR(p->read_out), NULL, 0);
	if (p->read_err && !p->hold)
		reply_data(TAKE_PTR(p->read_err), NULL, 0);
	if (p->wait) {
		Grpc__WaitProcessResponse response = GRPC__WAIT_PROCESS_RESPONSE__INIT;
		response.status = p->status;
		rpc_call_reply(TAKE_PTR(p->wait), &response.base);
		if (!f->early_wait)
			buf_free(&p->out); /* such an agent drops what was not read yet */
	}
}

static void end(struct fake_agent *f, struct fake_process *p, int status)
{
	p->ended = true;
	p->status = status;
	progress(f, p);
}

static bool is(const Grpc__Process *process, const char *what)
{
	return process && process->n_args && strcmp(process->args[0], what) == 0;
}

static int add(struct fake_agent *f, const char *id, const char *exec_id,
	       const Grpc__Process *process)
{
	const char *what = process && process->n_args ? process->args[0] : "run";
	if (strcmp(what, "fail-create") == 0)
		return -ENOENT;
	struct fake_process *p = calloc(1, sizeof *p);
	if (!p)
		return -ENOMEM;
	(void)snprintf(p->id, sizeof p->id, "%s", id);
	(void)snprintf(p->exec_id, sizeof p->exec_id, "%s", exec_id);
	(void)snprintf(p->what, sizeof p->what, "%s", what);
	p->hold = strcmp(what, "hold") == 0;
	if (process && process->n_args > 1) {
		if (strcmp(what, "exit") == 0)
			p->status = atoi(process->args[1]);
		else if (strcmp(what, "flood") == 0)
			p->flood = strtoul(process->args[1], NULL, 10);
		else
			buf_puts(&p->out, process->args[1]);
	}
	list_add_tail(&f->processes, &p->link);
	return 0;
}

static void tell_oom(struct fake_agent *f, const char *id)
{
	Grpc__OOMEvent event = GRPC__OOMEVENT__INIT;

	if (!f->oom) {
		(void)snprintf(f->oom_untold, sizeof f->oom_untold, "%s", id);
		return;
	}
	event.container_id = (char *)id;
	rpc_call_reply(TAKE_PTR(f->oom), &event.base);
}

static void on_late(void *arg)
{
	struct fake_agent *f = arg;
	tell_oom(f, f->oom_later);
}

static void begin(struct fake_agent *f, struct fake_process *p)
{
	p->started = true;
	if (strcmp(p->what, "oom") == 0) {
		tell_oom(f, p->id);
		end(f, p, 137);
	} else if (strcmp(p->what, "oom-late") == 0) {
		(void)snprintf(f->oom_later, sizeof f->oom_later, "%s", p->id);
		loop_timer_start(f->late, OOM_LATE_MS);
		end(f, p, 137);
	}
	if (strcmp(p->what, "exit") == 0)
		end(f, p, p->status);
	else if (strcmp(p->what, "print") == 0 || p->hold)
		end(f, p, 0);
}

/* ---- Methods -------------------------------------------------------------------------------- */

#define REQUEST(type) const Grpc__##type *req = (const Grpc__##type *)rpc_call_request(call)

/* A request that is handled later. */
struct postponed {
	struct fake_agent *agent;
	struct rpc_call *call;
	rpc_handler handler;
	struct loop_timer *timer;
};

static void on_time(void *arg)
{
	struct postponed *p = arg;
	struct postponed now = *p;

	loop_timer_free(p->timer);
	free(p);
	now.agent->in_time = true;
	now.handler(now.agent, now.call);
	now.agent->in_time = false;
}

/* Whether the handler is called again when it is time. */
static bool postpone(struct fake_agent *f, struct rpc_call *call, rpc_handler handler)
{
	pthread_mutex_lock(&f->lock);
	unsigned ms = f->in_time ? 0 : f->slow_ms;
	pthread_mutex_unlock(&f->lock);
	struct postponed *p = ms ? calloc(1, sizeof *p) : NULL;
	if (!p)
		return false;
	*p = (struct postponed){.agent = f, .call = call, .handler = handler};
	if (loop_timer_new(f->loop, on_time, p, &p->timer) < 0)
		abort();
	loop_timer_start(p->timer, ms);
	return true;
}

void fake_agent_be_slow(struct fake_agent *f, unsigned ms)
{
	pthread_mutex_lock(&f->lock);
	f->slow_ms = ms;
	pthread_mutex_unlock(&f->lock);
}

static void on_empty(void *ctx, struct rpc_call *call)
{
	count(ctx, call);
	reply_empty(call);
}

static void on_sandbox(void *ctx, struct rpc_call *call)
{
	struct fake_agent *f = ctx;
	REQUEST(CreateSandboxRequest);
	count(f, call);
	pthread_mutex_lock(&f->lock);
	(void)snprintf(f->sandbox, sizeof f->sandbox, "%s", req->hostname);
	for (size_t i = 0; i < req->n_dns; i++) {
		size_t n = strlen(f->sandbox);
		(void)snprintf(f->sandbox + n, sizeof f->sandbox - n, "|%s", req->dns[i]);
	}
	size_t n = strlen(f->sandbox);
	if (req->guest_hook_path[0])
		(void)snprintf(f->sandbox + n, sizeof f->sandbox - n, "|hooks %s",
			       req->guest_hook_path);
	pthread_mutex_unlock(&f->lock);
	reply_empty(call);
}

void fake_agent_sandbox(struct fake_agent *f, char *dst, size_t size)
{
	pthread_mutex_lock(&f->lock);
	(void)snprintf(dst, size, "%s", f->sandbox);
	pthread_mutex_unlock(&f->lock);
}

void fake_agent_mounts(struct fake_agent *f, char *dst, size_t size)
{
	pthread_mutex_lock(&f->lock);
	(void)snprintf(dst, size, "%s", f->mounts);
	pthread_mutex_unlock(&f->lock);
}

static void note_mounts(struct fake_agent *f, const Grpc__Spec *spec)
{
	pthread_mutex_lock(&f->lock);
	f->mounts[0] = '\0';
	for (size_t i = 0; spec && i < spec->n_mounts; i++) {
		size_t n = strlen(f->mounts);
		(void)snprintf(f->mounts + n, sizeof f->mounts - n, "%s ",
			       spec->mounts[i]->destination);
	}
	pthread_mutex_unlock(&f->lock);
}

void fake_agent_set_health(struct fake_agent *f, bool well)
{
	pthread_mutex_lock(&f->lock);
	f->sick = !well;
	pthread_mutex_unlock(&f->lock);
}

static void on_create(void *ctx, struct rpc_call *call)
{
	struct fake_agent *f = ctx;
	REQUEST(CreateContainerRequest);
	if (postpone(f, call, on_create))
		return;
	count(f, call);
	note_mounts(f, req->oci);
	if (is(req->oci ? req->oci->process : NULL, "never-create") && leave_unanswered(f, call))
		return;
	if (add(f, req->container_id, "", req->oci ? req->oci->process : NULL) < 0)
		rpc_call_failf(call, STATUS_NOT_FOUND, "exec: \"nope\": executable file not found");
	else
		reply_empty(call);
}

static void on_start(void *ctx, struct rpc_call *call)
{
	struct fake_agent *f = ctx;
	REQUEST(StartContainerRequest);
	if (postpone(f, call, on_start))
		return;
	count(f, call);
	struct fake_process *p = find_or_refuse(f, call, req->container_id, "");
	if (!p)
		return;
	if (strcmp(p->what, "never-start") == 0 && leave_unanswered(f, call))
		return;
	if (strcmp(p->what, "fail-start") == 0) {
		rpc_call_failf(call, STATUS_INTERNAL, "start fails as asked");
		return;
	}
	reply_empty(call);
	begin(f, p);
}

static void on_exec(void *ctx, struct rpc_call *call)
{
	struct fake_agent *f = ctx;
	REQUEST(ExecProcessRequest);
	if (postpone(f, call, on_exec))
		return;
	count(f, call);
	if (is(req->process, "never-create") && leave_unanswered(f, call))
		return;
	if (add(f, req->container_id, req->exec_id, req->process) < 0) {
		rpc_call_failf(call, STATUS_NOT_FOUND, "exec: \"nope\": executable file not found");
		return;
	}
	struct fake_process *p = find(f, req->container_id, req->exec_id);
	reply_empty(call);
	begin(f, p);
}

static void on_signal(void *ctx, struct rpc_call *call)
{
	struct fake_agent *f = ctx;
	REQUEST(SignalProcessRequest);
	if (postpone(f, call, on_signal))
		return;
	count(f, call);
	struct fake_process *p = find_or_refuse(f, call, req->container_id, req->exec_id);
	if (!p)
		return;
	int status = 128 + (int)req->signal; /* the request goes with the reply */
	reply_empty(call);
	if (!p->ended && status > 128)
		end(f, p, status);
}

static void on_wait(void *ctx, struct rpc_call *call)
{
	struct fake_agent *f = ctx;
	REQUEST(WaitProcessRequest);
	count(f, call);
	struct fake_process *p = find_or_refuse(f, call, req->container_id, req->exec_id);
	if (p) {
		p->wait = call;
		progress(f, p);
	}
}

static void on_read_out(void *ctx, struct rpc_call *call)
{
	struct fake_agent *f = ctx;
	REQUEST(ReadStreamRequest);
	count(f, call);
	struct fake_process *p = find_or_refuse(f, call, req->container_id, req->exec_id);
	if (p) {
		p->read_out = call;
		progress(f, p);
	}
}

static void on_read_err(void *ctx, struct rpc_call *call)
{
	struct fake_agent *f = ctx;
	REQUEST(ReadStreamRequest);
	count(f, call);
	struct fake_process *p = find_or_refuse(f, call, req->container_id, req->exec_id);
	if (p) {
		p->read_err = call;
		progress(f, p);
	}
}

static void on_write(void *ctx, struct rpc_call *call)
{
	struct fake_agent *f = ctx;
	Grpc__WriteStreamResponse response = GRPC__WRITE_STREAM_RESPONSE__INIT;
	REQUEST(WriteStreamRequest);
	count(f, call);
	struct fake_process *p = find_or_refuse(f, call, req->container_id, req->exec_id);
	if (!p)
		return;
	bool cat = strcmp(p->what, "cat") == 0;
	if (cat)
		buf_append(&p->out, req->data.data, req->data.len);
	response.len = (uint32_t)req->data.len;
	bool eof = req->data.len == 0;
	rpc_call_reply(call, &response.base);
	if (cat && eof)
		end(f, p, 0);
	else
		progress(f, p);
}

static void on_remove(void *ctx, struct rpc_call *call)
{
	struct fake_agent *f = ctx;
	struct list *pos, *tmp;
	REQUEST(RemoveContainerRequest);
	if (postpone(f, call, on_remove))
		return;
	count(f, call);
	list_for_each_safe (pos, tmp, &f->processes) {
		struct fake_process *p = list_entry(pos, struct fake_process, link);
		if (strcmp(p->id, req->container_id) == 0)
			forget(p);
	}
	reply_empty(call);
}

static void on_details(void *ctx, struct rpc_call *call)
{
	struct fake_agent *f = ctx;
	Grpc__GuestDetailsResponse response = GRPC__GUEST_DETAILS_RESPONSE__INIT;
	Grpc__AgentDetails details = GRPC__AGENT_DETAILS__INIT;
	char *features[] = {"bulk-io", "early-wait", "list-processes", "oom-first"};
	count(f, call);
	details.version = "fake";
	details.extra_features = features;
	details.n_extra_features = f->early_wait ? ARRAY_SIZE(features) : 0;
	response.agent_details = &details;
	rpc_call_reply(call, &response.base);
}

static void on_stats(void *ctx, struct rpc_call *call)
{
	Grpc__StatsContainerResponse response = GRPC__STATS_CONTAINER_RESPONSE__INIT;
	Grpc__CgroupStats stats = GRPC__CGROUP_STATS__INIT;
	Grpc__MemoryStats memory = GRPC__MEMORY_STATS__INIT;
	Grpc__MemoryData usage = GRPC__MEMORY_DATA__INIT;
	count(ctx, call);
	usage.usage = 4711;
	memory.usage = &usage;
	stats.memory_stats = &memory;
	response.cgroup_stats = &stats;
	rpc_call_reply(call, &response.base);
}

static void on_check(void *ctx, struct rpc_call *call)
{
	struct fake_agent *f = ctx;
	Grpc__HealthCheckResponse response = GRPC__HEALTH_CHECK_RESPONSE__INIT;
	count(f, call);
	pthread_mutex_lock(&f->lock);
	bool silent = f->silent;
	response.status = f->sick ? GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
				  : GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	pthread_mutex_unlock(&f->lock);
	if (silent && leave_unanswered(f, call))
		return;
	rpc_call_reply(call, &response.base);
}

static void on_get_oom(void *ctx, struct rpc_call *call)
{
	struct fake_agent *f = ctx;
	count(f, call);
	pthread_mutex_lock(&f->lock);
	int status = f->oom_status;
	pthread_mutex_unlock(&f->lock);
	if (status) {
		rpc_call_failf(call, status, "refused as asked");
		return;
	}
	if (f->oom)
		rpc_call_failf(f->oom, STATUS_UNAVAILABLE, "asked anew");
	f->oom = call;
	if (f->oom_untold[0]) {
		char id[sizeof f->oom_untold];
		memcpy(id, f->oom_untold, sizeof id);
		f->oom_untold[0] = '\0';
		tell_oom(f, id);
	}
}

/* The process' number in the list is its pid. */
static void on_list_processes(void *ctx, struct rpc_call *call)
{
	struct fake_agent *f = ctx;
	Grpc__ListContainerProcessesResponse response =
		GRPC__LIST_CONTAINER_PROCESSES_RESPONSE__INIT;
	Grpc__ContainerProcess v[16], *list[16];
	struct list *pos;
	uint32_t pid = 100;
	REQUEST(ListContainerProcessesRequest);
	count(f, call);
	list_for_each (pos, &f->processes) {
		struct fake_process *p = list_entry(pos, struct fake_process, link);
		size_t i = response.n_processes;
		pid++;
		if (strcmp(p->id, req->container_id) != 0 || p->ended || i >= ARRAY_SIZE(v))
			continue;
		grpc__container_process__init(&v[i]);
		v[i].pid = pid;
		v[i].exec_id = p->exec_id;
		list[i] = &v[i];
		response.n_processes++;
	}
	response.processes = list;
	rpc_call_reply(call, &response.base);
}

static const struct rpc_method agent_methods[] = {
	{"CreateSandbox", on_sandbox},
	{"DestroySandbox", on_empty},
	{"GetGuestDetails", on_details},
	{"CreateContainer", on_create},
	{"StartContainer", on_start},
	{"ExecProcess", on_exec},
	{"SignalProcess", on_signal},
	{"WaitProcess", on_wait},
	{"ReadStdout", on_read_out},
	{"ReadStderr", on_read_err},
	{"WriteStdin", on_write},
	{"RemoveContainer", on_remove},
	{"TtyWinResize", on_empty},
	{"PauseContainer", on_empty},
	{"ResumeContainer", on_empty},
	{"UpdateContainer", on_empty},
	{"StatsContainer", on_stats},
	{"GetOOMEvent", on_get_oom},
	{"ListContainerProcesses", on_list_processes},
	{NULL, NULL},
};

static const struct rpc_method health_methods[] = {{"Check", on_check}, {NULL, NULL}};

static int serve(struct fake_agent *f)
{
	struct err e = ERR_INIT;
	int r = rpc_server_new(f->loop, &f->server);
	if (r == 0)
		r = rpc_server_add(f->server, &f->agent);
	if (r == 0)
		r = rpc_server_add(f->server, &f->health);
	int fd = r == 0 ? rpc_listen_unix(f->path, RPC_LISTEN_REPLACE_STALE, &e) : r;
	if (fd < 0)
		return fd;
	return rpc_server_listen(f->server, fd);
}

static void on_back(void *arg)
{
	(void)serve(arg);
}

int fake_agent_new(struct loop *loop, const char *socket_path, bool early_wait,
		   struct fake_agent **ret)
{
	struct fake_agent *f = calloc(1, sizeof *f);
	if (!f)
		return -ENOMEM;
	f->loop = loop;
	f->early_wait = early_wait;
	list_init(&f->processes);
	pthread_mutex_init(&f->lock, NULL);
	(void)snprintf(f->path, sizeof f->path, "%s", socket_path);
	f->agent = (struct rpc_service){.name = "grpc.AgentService",
					.desc = &grpc__agent_service__descriptor,
					.methods = agent_methods,
					.ctx = f};
	f->health = (struct rpc_service){.name = "grpc.Health",
					 .desc = &grpc__health__descriptor,
					 .methods = health_methods,
					 .ctx = f};
	int r = loop_timer_new(loop, on_late, f, &f->late);
	if (r == 0)
		r = loop_timer_new(loop, on_back, f, &f->absent);
	if (r == 0)
		r = serve(f);
	if (r < 0) {
		fake_agent_free(f);
		return r;
	}
	*ret = f;
	return 0;
}

static void drop_calls(struct fake_agent *f)
{
	while (!list_empty(&f->processes))
		forget(list_first(&f->processes, struct fake_process, link));
	if (f->oom)
		rpc_call_failf(TAKE_PTR(f->oom), STATUS_UNAVAILABLE, "gone");
	while (f->n_unanswered > 0)
		rpc_call_failf(f->unanswered[--f->n_unanswered], STATUS_UNAVAILABLE, "gone");
}

static void hang_up(void *arg)
{
	struct fake_agent *f = arg;
	drop_calls(f);
	rpc_server_free(f->server);
	f->server = NULL;
	(void)serve(f); /* the next machine's agent */
}

static void go_away(void *arg)
{
	struct fake_agent *f = arg;
	drop_calls(f);
	rpc_server_free(f->server);
	f->server = NULL;
	pthread_mutex_lock(&f->lock);
	loop_timer_start(f->absent, f->absent_ms);
	pthread_mutex_unlock(&f->lock);
}

void fake_agent_be_late(struct fake_agent *f, unsigned ms)
{
	pthread_mutex_lock(&f->lock);
	f->absent_ms = ms;
	pthread_mutex_unlock(&f->lock);
	(void)loop_post(f->loop, go_away, f);
}

void fake_agent_hang_up(struct fake_agent *f)
{
	(void)loop_post(f->loop, hang_up, f);
}

void fake_agent_fall_silent(struct fake_agent *f)
{
	pthread_mutex_lock(&f->lock);
	f->silent = true;
	pthread_mutex_unlock(&f->lock);
}

void fake_agent_refuse_oom(struct fake_agent *f, int status)
{
	pthread_mutex_lock(&f->lock);
	f->oom_status = status;
	pthread_mutex_unlock(&f->lock);
}

void fake_agent_free(struct fake_agent *f)
{
	drop_calls(f);
	loop_timer_free(f->late);
	loop_timer_free(f->absent);
	rpc_server_free(f->server);
	for (size_t i = 0; i < COUNTERS_MAX; i++)
		free((char *)f->counters[i].method);
	pthread_mutex_destroy(&f->lock);
	free(f);
}
