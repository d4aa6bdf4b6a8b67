/* SPDX-License-Identifier: Apache-2.0 */
/*
 * containerd's task service, under its two names: decodes a request, checks its ids, has the
 * runtime do it, encodes the answer or the event.
 */
#pragma once

#include "rpc/rpc.h"
#include "runtimes/runtime.h"
#include "service/events.h"

struct task_service {
	struct runtime *runtime;
	struct events *events;
	/** The pod is down, and its last reply on its way: the process may end. Loop thread. */
	void (*on_shutdown)(void *arg);
	void *arg;
	struct rpc_service v2, v3; /* set up by task_service_register() */
};

/** Adds both names to the server. @s is borrowed for the server's life. */
int task_service_register(struct task_service *s, struct rpc_server *server);
/** For struct runtime_params: @arg is the task_service. */
void task_service_on_event(void *arg, enum task_event_type type, const struct task_state *state,
			   const struct task_create *create);
