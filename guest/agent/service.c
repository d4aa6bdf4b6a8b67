/* SPDX-License-Identifier: Apache-2.0 */
/* The tables that say which function answers which call. What is not in them is UNIMPLEMENTED. */
#include "guest/agent/agent.h"
#include "guest/agent/network.h"
#include "guest/agent/online.h"

#include "proto/agent.pb-c.h"
#include "proto/health.pb-c.h"
#include "proto/wkt.pb-c.h"

#include <string.h>

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

/* ---- The policy --------------------------------------------------------------------------- */

static void set_policy(void *ctx, struct rpc_call *call)
{
	struct agent *a = ctx;
	const Grpc__SetPolicyRequest *q = (const void *)rpc_call_request(call);
	struct err e = ERR_INIT;

	if (policy_load(a->policy, q->policy, strlen(q->policy), &e) < 0) {
		log_error("SetPolicy: %s", e.text);
		rpc_call_fail(call, &e);
		return;
	}
	log_info("the policy is replaced");
	reply_empty(call);
}

/* Every call of the agent's service passes here. Output that must not be read is no failure: it
 * is empty. */
static bool admit(void *ctx, struct rpc_call *call)
{
	struct agent *a = ctx;
	const ProtobufCMessageDescriptor *type = rpc_call_request(call)->descriptor;

	switch (policy_ask(a->policy, type->short_name)) {
	case POLICY_ALLOWED:
		return true;
	case POLICY_TOLERATED:
		log_warn("%s is against the policy, which tolerates that", type->short_name);
		return true;
	case POLICY_DENIED:
		break;
	}
	if (type == &grpc__read_stream_request__descriptor) {
		process_read_nothing(a, call, strcmp(rpc_call_method(call), "ReadStderr") == 0);
		return false;
	}
	log_warn("%s is blocked by policy", type->short_name);
	rpc_call_failf(call, STATUS_PERMISSION_DENIED, "%s is blocked by policy", type->short_name);
	return false;
}

/* ---- The tables --------------------------------------------------------------------------- */

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

	{"UpdateInterface", network_update_interface},
	{"UpdateRoutes", network_update_routes},
	{"ListInterfaces", network_list_interfaces},
	{"ListRoutes", network_list_routes},
	{"AddARPNeighbors", network_add_neighbours},
	{"GetIPTables", network_get_iptables},
	{"SetIPTables", network_set_iptables},

	{"GetGuestDetails", guest_details},
	{"OnlineCPUMem", online_cpu_mem},
	{"MemHotplugByProbe", online_mem_by_probe},
	{"AddSwap", online_add_swap},
	{"AddSwapPath", online_add_swap_path},
	{"ReseedRandomDev", guest_reseed},
	{"SetGuestDateTime", guest_set_time},
	{"GetMetrics", guest_metrics},
	{"GetOOMEvent", oom_get_event},

	{"CopyFile", copy_file},
	{"GetVolumeStats", volume_stats},
	{"ResizeVolume", volume_resize},
	{"GetDiagnosticData", volume_diagnostics},
	{"RemoveStaleVirtiofsShareMounts", volume_forget_stale},
	{"SetPolicy", set_policy},
	{NULL, NULL},
};

int service_start(struct agent *a, int listen_fd)
{
	/* borrowed by the server; there is one agent in a process */
	static struct rpc_service services[2];

	services[0] = (struct rpc_service){.name = "grpc.AgentService",
					   .desc = &grpc__agent_service__descriptor,
					   .methods = agent_methods,
					   .ctx = a,
					   .admit = admit};
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
