/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as the replies to a client that waits for some calls and has some streams: each must end,
 * and end once. */
#include "rpc/rpc.h"

#include "proto/agent.pb-c.h"
#include "proto/streaming.pb-c.h"
#include "rpc/fuzz-peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const methods[] = {
	"ReadStdout", "StatsContainer", "GetGuestDetails", "ListInterfaces",
	"ListRoutes", "WaitProcess",	"GetVolumeStats",  "DestroySandbox",
};

static struct loop *loop;
static unsigned done, closed;

static void on_done(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	done++;
	if ((r == 0) != (response != NULL) || (r < 0 && e->status == STATUS_OK))
		abort();
	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
}

static void on_close(void *arg)
{
	closed++;
}

static void start(struct rpc_client *c, const char *method)
{
	const ProtobufCServiceDescriptor *service = &grpc__agent_service__descriptor;
	const ProtobufCMethodDescriptor *m =
		protobuf_c_service_descriptor_get_method_by_name(service, method);
	Grpc__CreateContainerRequest any_request; /* the largest; initialised as what is needed */
	struct err e = ERR_INIT;

	protobuf_c_message_init(m->input, &any_request);
	const struct rpc_request req = {
		.service = service, .method = method, .message = &any_request.base};
	if (rpc_client_start(c, &req, on_done, NULL, &e) < 0)
		abort();
}

/* Streams 17, 19 and 21; the last closes at its first message, and is freed. */
#define STREAMS 3

static struct fuzz_stream {
	struct rpc_stream *s;
	unsigned ends;
} streams[STREAMS];

static void on_message(void *arg, const ProtobufCMessage *m)
{
	struct fuzz_stream *f = arg;

	if (!f->s || f->ends)
		abort();
	(void)rpc_stream_send(f->s, m);
	if (f != &streams[STREAMS - 1])
		return;
	rpc_stream_close(f->s);
	rpc_stream_free(f->s);
	f->s = NULL;
	f->ends = 1; /* nothing may come any more */
}

static void on_ended(void *arg, int r, const struct err *e)
{
	struct fuzz_stream *f = arg;

	if (++f->ends != 1 || (r < 0 && e->status == STATUS_OK))
		abort();
}

static const struct rpc_stream_ops stream_ops = {on_message, on_ended, NULL};

static void open_streams(struct rpc_client *c)
{
	const struct rpc_request req = {
		.service = &containerd__services__streaming__v1__streaming__descriptor,
		.method = "Stream"};
	struct err e = ERR_INIT;

	for (size_t i = 0; i < STREAMS; i++) {
		streams[i].ends = 0;
		if (rpc_client_open(c, &req, &stream_ops, &streams[i], &streams[i].s, &e) < 0)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rpc_client *c;
	int fds[2];

	if (!loop && loop_new(&loop) < 0)
		abort();
	done = closed = 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 ||
	    rpc_client_new(loop, fds[0], on_close, NULL, &c) < 0)
		abort();
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		start(c, methods[i]);
	open_streams(c);
	fuzz_peer_run(loop, fds[1], data, size);
	if (done != ARRAY_SIZE(methods) || closed != 1 || rpc_client_alive(c))
		abort();
	for (size_t i = 0; i < STREAMS; i++) {
		if (streams[i].ends != 1)
			abort();
		rpc_stream_free(streams[i].s);
	}
	rpc_client_free(c);
	return 0;
}
