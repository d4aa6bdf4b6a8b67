/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest agent without a guest: answers the calls that a shim makes, for tests of everything above
 * it. A process does what its first argument says, without being one:
 *
 *	exit N         ends at once with N
 *	print TEXT     writes TEXT to stdout, then ends with 0
 *	run            runs until a signal comes, ends with 128 + signal
 *	cat            copies stdin to stdout, ends with 0 at the end of stdin
 *	fail-create    CreateContainer (or ExecProcess) fails with NOT_FOUND
 *	fail-start     StartContainer fails
 *	never-create   CreateContainer (or ExecProcess) is never answered, and makes nothing
 *	never-start    StartContainer is never answered
 *	hold TEXT      writes TEXT, ends with 0, but its streams never end
 *	oom            runs out of memory at once: the event is told, then its end with 137
 *	oom-late       the same, but the event is told some time after the end
 *	flood N        writes N bytes, byte i being fake_agent_byte(i), then ends with 0
 */
#pragma once

#include "io/loop.h"

#include <stdbool.h>
#include <stddef.h>

struct fake_agent;

/** Listens on a unix socket. @early_wait: advertises what our agent can; else as the field's. */
int fake_agent_new(struct loop *loop, const char *socket_path, bool early_wait,
		   struct fake_agent **ret);
void fake_agent_free(struct fake_agent *f);
/** How often a method was called. Any thread. */
unsigned fake_agent_calls(struct fake_agent *f, const char *method);
/** The last CreateSandbox: "<host name>|<line of DNS>|<line of DNS>...|hooks <path>". Any
 * thread. */
void fake_agent_sandbox(struct fake_agent *f, char *dst, size_t size);
/** The destinations of the last CreateContainer's mounts, a blank after each. Any thread. */
void fake_agent_mounts(struct fake_agent *f, char *dst, size_t size);
/** What its health check answers from now on; at first it is well. Any thread. */
void fake_agent_set_health(struct fake_agent *f, bool well);
/** What "flood" writes at a place. */
static inline unsigned char fake_agent_byte(size_t i)
{
	return (unsigned char)(i * 7 + (i >> 8) + (i >> 16));
}
/** From now on answers what changes a container that much later; 0: at once. Any thread. */
void fake_agent_be_slow(struct fake_agent *f, unsigned ms);
/** Nobody listens any more from now on, for @ms. The loop must run. Any thread. */
void fake_agent_be_late(struct fake_agent *f, unsigned ms);
/** Ends all connections, as a machine that dies does. Any thread. */
void fake_agent_hang_up(struct fake_agent *f);
/** From now on no health check is answered; the rest is. Any thread. */
void fake_agent_fall_silent(struct fake_agent *f);
/** The status that GetOOMEvent fails with at once; 0: it waits for an event. Any thread. */
void fake_agent_refuse_oom(struct fake_agent *f, int status);
