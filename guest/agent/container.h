/* SPDX-License-Identifier: Apache-2.0 */
/* What the files about containers (container*.c) share, and nobody else. Loop thread. */
#pragma once

#include "guest/agent/agent.h"

/** The container of that id in whatever state, or NULL. */
struct container *container_find_any(struct agent *a, const char *id);
/** As container_find(), for calls that need one of some states (bits); answers the call if not. */
struct container *container_find_in_state(struct agent *a, struct rpc_call *call, const char *id,
					  unsigned states);
/** One that is neither being created nor removed; answers the call if there is none. */
struct container *container_find_usable(struct agent *a, struct rpc_call *call, const char *id);

/** A new one in the table, in the state "being created"; NULL without memory. */
struct container *container_new(struct agent *a, const char *id);
/** Takes it out of the table, and gives up the table's reference. */
void container_drop(struct container *c);

/** A job's work: sends signal j->number to all of the container's processes. */
void container_kill_work(struct job *j);
/** Kills what it has, then deletes it, and answers its removers. May be called again. */
void container_remove_begin(struct container *c);
