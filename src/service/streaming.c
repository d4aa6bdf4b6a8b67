/* SPDX-License-Identifier: Apache-2.0 */
#include "service/streaming.h"

#include "proto/streaming.pb-c.h"

static void on_stream(void *ctx, struct rpc_stream *s)
{
	stdio_streams_take(ctx, s);
}

static const struct rpc_method methods[] = {{"Stream", NULL, on_stream}, {NULL}};

int streaming_service_register(struct streaming_service *s, struct stdio_streams *streams,
			       struct rpc_server *server)
{
	s->service = (struct rpc_service){
		.name = "containerd.services.streaming.v1.Streaming",
		.desc = &containerd__services__streaming__v1__streaming__descriptor,
		.methods = methods,
		.ctx = streams,
	};
	return rpc_server_add(server, &s->service);
}
