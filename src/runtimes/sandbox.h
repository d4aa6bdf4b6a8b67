/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod's virtual machine: configuration, shared directory, hypervisor, agent; brought up, watched
 * and taken down as one.
 *
 * sandbox_boot() and sandbox_shutdown() block and run on a worker, one after the other; the rest is
 * for the loop thread. Everything that boot does to the host is in the sandbox's journal.
 *
 *	/run/kata/<sid>/          0700, all of it gone after shutdown
 *	/run/kata/<sid>/journal   see persist/undo.h
 *	/run/kata/<sid>/state.json   see persist/state.h
 *	/run/kata/<sid>/root/     sockets of the VMM and its helpers
 */
#pragma once

#include "agent/agent.h"
#include "config/config.h"
#include "hypervisor/hypervisor.h"
#include "io/worker.h"
#include "oci/spec.h"
#include "persist/state.h"
#include "persist/undo.h"
#include "resource/share-fs.h"

#define SANDBOX_RUN_DIR "/run/kata"

struct sandbox;

struct sandbox_params {
	struct loop *loop;
	struct worker_pool *workers;
	const char *id;		 /* copied */
	const char *config_file; /* containerd's ConfigPath or NULL; copied */
	const char *config_body; /* containerd's ConfigBody or NULL; copied */
	bool debug;		 /* containerd itself logs at debug */
	/** The machine is gone although nobody stopped it. Loop thread, at most once. */
	void (*on_dead)(void *arg, const char *reason);
	void *arg;
};

int sandbox_new(const struct sandbox_params *p, struct sandbox **ret);
/** Boots for the pod whose first container has @spec. On failure everything is undone again. */
int sandbox_boot(struct sandbox *s, const struct oci_spec *spec, struct err *e);
/**
 * Gives up a machine that does not answer: from now on it counts as dead (on_dead is called), and
 * shutdown kills it without asking. Loop thread.
 */
void sandbox_abandon(struct sandbox *s, const char *reason);
/** Ends a machine that is given up or half dead, and nothing else: its memory is wanted. Worker. */
void sandbox_halt(struct sandbox *s);
/**
 * Ends a machine, gracefully if the guest takes at most @grace_ms (and a second at most), and
 * nothing else: what was done to the host stays until sandbox_shutdown(). on_dead is not called.
 * Idempotent. Worker.
 */
void sandbox_stop(struct sandbox *s, uint64_t grace_ms);
/** Stops the machine (gracefully within a short grace), undoes everything. Idempotent. Worker. */
void sandbox_shutdown(struct sandbox *s);
/** After sandbox_shutdown(). Loop thread or after it. NULL is fine. */
void sandbox_free(struct sandbox *s);

/* Valid once booted. */
struct agent *sandbox_agent(struct sandbox *s);
struct journal *sandbox_journal(struct sandbox *s);
struct share_fs *sandbox_share(struct sandbox *s); /* NULL with shared_fs = "none" */
const struct kata_config *sandbox_config(const struct sandbox *s);
/**
 * The pod's network namespace, in which the VMM runs; borrowed, until shutdown. A new one, if the
 * first container's spec has one without a path. -1: there is none, because the spec has none or
 * disable_new_netns is set.
 */
int sandbox_netns_fd(const struct sandbox *s);
/** For state.json: all but the status. Valid once booted; the strings are the sandbox's. */
void sandbox_describe(const struct sandbox *s, struct state_sandbox *ret);
/** What State and events report as pid: the VMM's. 0 before boot. */
pid_t sandbox_pid(const struct sandbox *s);
/** Whether the machine runs in software. */
bool sandbox_is_emulated(const struct sandbox *s);

/* How long the boot took, and each part of it. */
#define SANDBOX_PHASES_MAX 8
struct sandbox_boot_times {
	uint64_t total_ms;
	struct {
		const char *name; /* static */
		uint64_t ms;
	} phase[SANDBOX_PHASES_MAX];
	size_t n;
};
const struct sandbox_boot_times *sandbox_boot_times(const struct sandbox *s);

/**
 * Undoes what a dead shim left of a sandbox: replays its journal, ends the processes that its state
 * names, removes its directories. Any of these may be damaged or missing. -EBUSY: its shim lives,
 * and nothing was done. Within about two seconds. For `delete`.
 */
int sandbox_cleanup(const char *id);
/** The living shim that a sandbox' state names; 0: none. */
pid_t sandbox_recorded_shim(const char *id);
