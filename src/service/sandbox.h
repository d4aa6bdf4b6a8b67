/* SPDX-License-Identifier: Apache-2.0 */
/*
 * containerd's sandbox service: a pod's machine without a container of its own. Decodes a request,
 * checks its id, has the runtime do it, encodes the answer.
 *
 * A shim serves the one sandbox that it was started for: any other id is NOT_FOUND.
 */
#pragma once

#include "rpc/rpc.h"
#include "runtimes/runtime.h"

struct sandbox_service {
	struct runtime *runtime;
	const char *sandbox_id; /* borrowed */
	/** As that of the task service. */
	void (*on_shutdown)(void *arg);
	void *arg;
	struct rpc_service service; /* set up by sandbox_service_register() */
};

/** @s is borrowed for the server's life. */
int sandbox_service_register(struct sandbox_service *s, struct rpc_server *server);
