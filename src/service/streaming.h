/* SPDX-License-Identifier: Apache-2.0 */
/* containerd's streaming service: streams that become the stdio of a process. */
#pragma once

#include "rpc/rpc.h"
#include "runtimes/stdio-stream.h"

struct streaming_service {
	struct rpc_service service; /* set up by streaming_service_register() */
};

/** @s is borrowed for the server's life, @streams too. */
int streaming_service_register(struct streaming_service *s, struct stdio_streams *streams,
			       struct rpc_server *server);
