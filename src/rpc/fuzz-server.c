/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes into a connection of a real server, with the agent's and the task's services and one
 * that has streams. */
#include "rpc/rpc.h"

#include "proto/agent.pb-c.h"
#include "proto/streaming.pb-c.h"
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
/* Sends back what comes, closes with the peer, and frees what is over. */
struct echo {
	struct rpc_stream *s;
};

static void on_message(void *arg, const ProtobufCMessage *m)
{
	const struct echo *d = arg;
	(void)rpc_stream_send(d->s, m);
}

static void on_ended(void *arg, int r, const struct err *e)
{
	struct echo *d = arg;
	rpc_stream_close(d->s);
	rpc_stream_free(d->s);
	free(d);
}

static const struct rpc_stream_ops echo_ops = {on_message, on_ended, NULL};

static void on_stream(void *ctx, struct rpc_stream *s)
{
	struct echo *d = malloc(sizeof *d);
	if (!d)
		abort();
	d->s = s;
	rpc_stream_accept(s, &echo_ops, d);
}

static const struct rpc_method stream_methods[] = {{"Stream", NULL, on_stream}, {NULL}};

static const struct rpc_service services[] = {
	{"containerd.services.streaming.v1.Streaming",
	 &containerd__services__streaming__v1__streaming__descriptor, stream_methods, NULL},
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
