/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/agent.h"

#include "agent/log-forward.h"
#include "base/clock.h"
#include "base/log.h"
#include "rpc/forward.h"

#include "proto/health.pb-c.h"

#include <string.h>

struct agent {
	struct agent_params params;
	struct rpc_client *client;
	struct log_forward *logs;
	struct agent_features features;
};

/* One dial never takes the whole budget: a guest that is not up yet may not answer at all. */
#define DIAL_TIMEOUT_MS 2000

static bool is_not_up_yet(int r)
{
	return r == -ECONNREFUSED || r == -ECONNRESET || r == -ETIMEDOUT || r == -ENODEV ||
	       r == -ENOENT || r == -EHOSTUNREACH;
}

static int dial(const struct agent_params *p, uint32_t port, uint64_t deadline, struct err *e)
{
	for (;;) {
		int left = time_left_ms(deadline);
		uint64_t budget = left < DIAL_TIMEOUT_MS ? (uint64_t)left : DIAL_TIMEOUT_MS;
		int fd = left > 0 ? p->dial(p->arg, port, budget, e) : -ETIMEDOUT;
		if (fd >= 0)
			return fd;
		if (!is_not_up_yet(fd))
			return err_wrap(e, fd, "connect to the agent");
		if (time_left_ms(deadline) == 0)
			return err_set(e, -ETIMEDOUT,
				       "the agent did not answer on port %u within %llu ms", port,
				       (unsigned long long)p->connect_timeout_ms);
		if (p->pause(p->arg, p->dial_interval_ms))
			return err_set(e, -ECONNABORTED, "the virtual machine ended");
	}
}

static void on_client_close(void *arg)
{
	struct agent *a = arg;
	if (a->params.on_close)
		a->params.on_close(a->params.arg);
}

static struct rpc_request health_request(const Grpc__CheckRequest *request, uint64_t timeout_ms)
{
	return (struct rpc_request){
		.service = &grpc__health__descriptor,
		.method = "Check",
		.message = &request->base,
		.timeout_ms = timeout_ms,
	};
}

static int check_health(struct agent *a, uint64_t timeout_ms, struct err *e)
{
	const Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;
	const struct rpc_request req = health_request(&request, timeout_ms);
	int r = rpc_client_call(a->client, &req, NULL, e);
	return r < 0 ? err_wrap(e, r, "the agent's health check") : 0;
}

int agent_connect(const struct agent_params *p, struct agent **ret, struct err *e)
{
	struct agent *a = calloc(1, sizeof *a);
	if (!a)
		return err_set(e, -ENOMEM, "out of memory");
	a->params = *p;

	uint64_t deadline = time_deadline(p->connect_timeout_ms);
	int fd = dial(p, p->port, deadline, e);
	if (fd < 0) {
		free(a);
		return fd;
	}
	int r = rpc_client_new(p->loop, fd, on_client_close, a, &a->client);
	if (r < 0) {
		(void)close_fd(fd);
		free(a);
		return err_errno(e, r, "connect to the agent");
	}
	int left = time_left_ms(deadline);
	r = check_health(a, left > 1000 ? (uint64_t)left : 1000, e);
	/* Also on failure: the client is the loop thread's to free, by agent_free(). */
	*ret = a;
	return r;
}

void agent_free(struct agent *a)
{
	if (!a)
		return;
	log_forward_free(a->logs);
	rpc_client_free(a->client);
	free(a);
}

void agent_forward_logs(struct agent *a)
{
	struct err e = ERR_INIT;
	int fd = a->params.dial(a->params.arg, a->params.log_port, DIAL_TIMEOUT_MS, &e);
	if (fd < 0) {
		log_debug("no log stream from the guest: %s", err_text(&e, fd));
		return;
	}
	int r = log_forward_new(a->params.loop, fd, &a->logs);
	if (r < 0) {
		log_warn("cannot forward the guest's log: %s", strerror(-r));
		(void)close_fd(fd);
	}
}

/* The Rust agent appends a backtrace to its sentences; only their first line is for people. */
static void cut_backtrace(struct err *e)
{
	if (!e)
		return;
	char *cut = strstr(e->text, "Stack backtrace");
	if (cut)
		*cut = '\0';
	for (size_t n = strlen(e->text); n > 0 && strchr("\n\r\t ", e->text[n - 1]); n--)
		e->text[n - 1] = '\0';
}

static struct rpc_request make_request(const char *method, const ProtobufCMessage *request,
				       uint64_t timeout_ms)
{
	return (struct rpc_request){
		.service = &grpc__agent_service__descriptor,
		.method = method,
		.message = request,
		.timeout_ms = timeout_ms,
	};
}

int agent_call(struct agent *a, const char *method, const ProtobufCMessage *request,
	       ProtobufCMessage **ret_response, struct err *e)
{
	const struct rpc_request req = make_request(method, request, a->params.call_timeout_ms);
	int r = rpc_client_call(a->client, &req, ret_response, e);
	if (r < 0)
		cut_backtrace(e);
	if (r < 0 && e && e->status == STATUS_DEADLINE_EXCEEDED)
		return err_wrap(e, r, "create_container_timeout in [agent.kata] has passed");
	return r;
}

int agent_start(struct agent *a, const char *method, const ProtobufCMessage *request,
		uint64_t timeout_ms, rpc_done_fn done, void *arg, struct err *e)
{
	const struct rpc_request req = make_request(method, request, timeout_ms);
	return rpc_client_start(a->client, &req, done, arg, e);
}

int agent_start_check(struct agent *a, uint64_t timeout_ms, rpc_done_fn done, void *arg,
		      struct err *e)
{
	const Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;
	const struct rpc_request req =
		health_request(&request, timeout_ms ? timeout_ms : a->params.call_timeout_ms);
	return rpc_client_start(a->client, &req, done, arg, e);
}

uint64_t agent_replies(const struct agent *a)
{
	return rpc_client_replies(a->client);
}

uint64_t agent_timeout_ms(const struct agent *a)
{
	return a->params.call_timeout_ms;
}

static void note_features(struct agent *a, const Grpc__AgentDetails *d)
{
	if (!d)
		return;
	(void)snprintf(a->features.version, sizeof a->features.version, "%s", d->version);
	for (size_t i = 0; i < d->n_extra_features; i++) {
		if (strcmp(d->extra_features[i], "early-wait") == 0)
			a->features.early_wait = true;
		if (strcmp(d->extra_features[i], "bulk-io") == 0)
			a->features.bulk_io = true;
		if (strcmp(d->extra_features[i], "list-processes") == 0)
			a->features.list_processes = true;
		if (strcmp(d->extra_features[i], AGENT_FORWARD_FEATURE) == 0)
			a->features.port_forward = true;
		if (strcmp(d->extra_features[i], "oom-first") == 0)
			a->features.oom_first = true;
		if (strcmp(d->extra_features[i], "signal-all") == 0)
			a->features.signal_all = true;
	}
}

int agent_get_features(struct agent *a, struct err *e)
{
	Grpc__GuestDetailsRequest request = GRPC__GUEST_DETAILS_REQUEST__INIT;
	ProtobufCMessage *response = NULL;

	request.mem_block_size = true;
	request.mem_hotplug_probe = true;
	int r = agent_call(a, "GetGuestDetails", &request.base, &response, e);
	if (r < 0)
		return err_wrap(e, r, "ask the agent for the guest's details");
	note_features(a, ((const Grpc__GuestDetailsResponse *)response)->agent_details);
	protobuf_c_message_free_unpacked(response, NULL);
	return 0;
}

const struct agent_features *agent_features(const struct agent *a)
{
	return &a->features;
}
