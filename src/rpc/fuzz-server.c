/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes into a connection of a real server, with the agent's and the task's services. */
#include "rpc/rpc.h"

#include "proto/agent.pb-c.h"
#include "proto/task_service.pb-c.h"
#include "rpc/fuzz-peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct rpc_server *server;
static unsigned turn;

static void reply_later(void *arg)
{
	rpc_call_reply(arg, NULL);
}

/* Answers now, later, or with a failure, in turn. */
static void handle(void *ctx, struct rpc_call *call)
{
	if (!rpc_call_request(call) || !rpc_call_wanted(call))
		abort();
	(void)rpc_call_metadata(call, "key");
	switch (turn++ % 3) {
	case 0:
		rpc_call_reply(call, NULL);
		break;
	case 1:
		if (loop_post(loop, reply_later, call) < 0)
			rpc_call_reply(call, NULL);
		break;
	default:
		rpc_call_failf(call, STATUS_NOT_FOUND, "%s", rpc_call_method(call));
	}
}

static const struct rpc_method agent_methods[] = {
	{"CreateContainer", handle}, {"ExecProcess", handle},	  {"UpdateContainer", handle},
	{"WriteStdin", handle},	     {"UpdateRoutes", handle},	  {"CreateSandbox", handle},
	{"CopyFile", handle},	     {"AddARPNeighbors", handle}, {NULL, NULL},
};
static const struct rpc_method task_methods[] = {
	{"State", handle}, {"Create", handle}, {"Update", handle}, {"Wait", handle}, {NULL, NULL},
};
static const struct rpc_service services[] = {
	{"grpc.AgentService", &grpc__agent_service__descriptor, agent_methods, NULL},
	{"t", &containerd__task__v2__task__descriptor, task_methods, NULL},
};

static void begin(void)
{
	if (server)
		return;
	if (loop_new(&loop) < 0 || rpc_server_new(loop, &server) < 0)
		abort();
	for (size_t i = 0; i < ARRAY_SIZE(services); i++)
		if (rpc_server_add(server, &services[i]) < 0)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fds[2];

	begin();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 ||
	    rpc_server_serve(server, fds[0]) < 0)
		abort();
	fuzz_peer_run(loop, fds[1], data, size);
	return 0;
}
