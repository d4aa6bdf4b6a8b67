/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of the guest's agent: connects, knows what this agent can do, calls it.
 *
 * It speaks to our agent and to the field's Rust agent alike; where ours can do more it says so in
 * GuestDetails' extra_features. Blocking calls are for workers, agent_start() for any thread.
 */
#pragma once

#include "rpc/rpc.h"

#include "proto/agent.pb-c.h"

#include <stdbool.h>

struct agent;

struct agent_params {
	struct loop *loop;
	/**
	 * Makes a stream to a guest port, once: a descriptor, or a negative errno; -ECONNREFUSED
	 * and -ECONNRESET mean "nobody listens yet". Called from workers.
	 */
	int (*dial)(void *arg, uint32_t port, uint64_t timeout_ms, struct err *e);
	/** Sleeps @ms between two tries; returns true to give up at once (the machine is gone). */
	bool (*pause)(void *arg, unsigned ms);
	/** The connection ended, for whatever reason but agent_free(). Loop thread, once. */
	void (*on_close)(void *arg);
	void *arg;

	uint32_t port, log_port;
	uint32_t dial_interval_ms; /* between two tries */
	uint64_t connect_timeout_ms;
	uint64_t call_timeout_ms; /* of every bounded call */
};

/** Connects within the timeout, then checks that the agent answers. */
int agent_connect(const struct agent_params *p, struct agent **ret, struct err *e);
/** Loop thread. No other thread may be inside a call. NULL is fine. */
void agent_free(struct agent *a);

/**
 * Forwards the guest's log lines into ours, at their level, until the connection ends. A guest
 * without a log port only costs a debug line. Worker.
 */
void agent_forward_logs(struct agent *a);

/** What the agent said about itself, once asked (GetGuestDetails). */
struct agent_features {
	bool early_wait;     /* WaitProcess may precede the end of the streams */
	bool bulk_io;	     /* reads and writes of up to AGENT_BULK_BYTES */
	bool list_processes; /* it has ListContainerProcesses */
	bool signal_all;     /* SignalProcess takes `all` with every signal */
	bool oom_first;	     /* a lack of memory is told before the end that it caused */
	bool port_forward;   /* connects us to ports of the pod (rpc/forward.h) */
	char version[64];
};

int agent_get_features(struct agent *a, struct err *e);
const struct agent_features *agent_features(const struct agent *a);

#define AGENT_BULK_BYTES (1u << 20)
/* For an agent that allocates what is asked for, whether there is output or not. */
#define AGENT_PLAIN_BYTES (64u << 10)

/**
 * Calls a method of AgentService within the call timeout and waits. *@ret_response as
 * rpc_client_call(). Sentences of the peer are cut before a backtrace.
 */
int agent_call(struct agent *a, const char *method, const ProtobufCMessage *request,
	       ProtobufCMessage **ret_response, struct err *e);
/** Starts a call; @timeout_ms 0: it may take for ever (reads, waits). */
int agent_start(struct agent *a, const char *method, const ProtobufCMessage *request,
		uint64_t timeout_ms, rpc_done_fn done, void *arg, struct err *e);
/** Asks for the agent's health, which it answers itself; @timeout_ms 0: the usual one. */
int agent_start_check(struct agent *a, uint64_t timeout_ms, rpc_done_fn done, void *arg,
		      struct err *e);
/** How many replies have come: that it grows tells that the agent lives. Loop thread. */
uint64_t agent_replies(const struct agent *a);
/** The bounded calls' timeout, for agent_start(). */
uint64_t agent_timeout_ms(const struct agent *a);
