/* SPDX-License-Identifier: Apache-2.0 */
/* The tables that say which function answers which call. What is not in them is UNIMPLEMENTED. */
#include "guest/agent/agent.h"

#include "proto/agent.pb-c.h"
#include "proto/health.pb-c.h"
#include "proto/wkt.pb-c.h"

/* Of this protocol, as the original numbers it; never changed since. */
#define PROTOCOL_VERSION "0.0.1"

void reply_empty(struct rpc_call *call)
{
	const Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	rpc_call_reply(call, &empty.base);
}

static void health_check(void *ctx, struct rpc_call *call)
{
	Grpc__HealthCheckResponse response = GRPC__HEALTH_CHECK_RESPONSE__INIT;

	response.status = GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	rpc_call_reply(call, &response.base);
}

static void health_version(void *ctx, struct rpc_call *call)
{
	Grpc__VersionCheckResponse response = GRPC__VERSION_CHECK_RESPONSE__INIT;

	response.grpc_version = (char *)PROTOCOL_VERSION;
	response.agent_version = (char *)AGENT_VERSION;
	rpc_call_reply(call, &response.base);
}

static const struct rpc_method health_methods[] = {
	{"Check", health_check},
	{"Version", health_version},
	{NULL, NULL},
};

static const struct rpc_method agent_methods[] = {
	{"CreateSandbox", sandbox_create},
	{"DestroySandbox", sandbox_destroy},
	{"UpdateEphemeralMounts", sandbox_update_ephemeral_mounts},

	{"CreateContainer", container_create},
	{"StartContainer", container_start},
	{"RemoveContainer", container_remove},
	{"ExecProcess", container_exec},
	{"UpdateContainer", container_update},
	{"StatsContainer", container_stats},
	{"PauseContainer", container_pause},
	{"ResumeContainer", container_resume},
	{"ListContainerProcesses", container_list_processes},

	{"SignalProcess", process_signal},
	{"WaitProcess", process_wait},
	{"ReadStdout", process_read_stdout},
	{"ReadStderr", process_read_stderr},
	{"WriteStdin", process_write_stdin},
	{"CloseStdin", process_close_stdin},
	{"TtyWinResize", process_resize},

	{"GetGuestDetails", guest_details},
	{"OnlineCPUMem", guest_online},
	{"ReseedRandomDev", guest_reseed},
	{"SetGuestDateTime", guest_set_time},
	{"GetMetrics", guest_metrics},
	{"GetOOMEvent", oom_get_event},
	{NULL, NULL},
};

int service_start(struct agent *a, int listen_fd)
{
	/* borrowed by the server; there is one agent in a process */
	static struct rpc_service services[2];

	services[0] = (struct rpc_service){.name = "grpc.AgentService",
					   .desc = &grpc__agent_service__descriptor,
					   .methods = agent_methods,
					   .ctx = a};
	services[1] = (struct rpc_service){.name = "grpc.Health",
					   .desc = &grpc__health__descriptor,
					   .methods = health_methods,
					   .ctx = a};
	int r = rpc_server_new(a->loop, &a->server);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(services); i++)
		r = rpc_server_add(a->server, &services[i]);
	if (r == 0)
		r = rpc_server_listen(a->server, listen_fd);
	return r;
}
