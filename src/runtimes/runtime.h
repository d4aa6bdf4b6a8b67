/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of a pod: its sandbox, containers and processes, and what may be done to each when.
 *
 * All of it belongs to the loop thread: there is no lock, because nothing else ever touches it.
 * What would block (boot, mounts, their undoing) runs on a worker with data of its own and posts
 * its outcome back; what is one call to the agent is started and finished on the loop. A request is
 * never cancelled by its client: the work finishes, and its result is kept.
 *
 * Container and process: CREATING -> CREATED -> STARTING -> RUNNING (<-> PAUSED) -> STOPPED, then
 * deleted. The callbacks of one container's events come in the order create, start, exit, delete,
 * each once; "out of memory" comes before the exit that it caused.
 */
#pragma once

#include "base/err.h"
#include "io/loop.h"
#include "io/worker.h"
#include "oci/spec.h"
#include "resource/rootfs.h"
#include "runtimes/usage.h"

#include "proto/agent.pb-c.h"

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

struct runtime;
struct stdio_streams;

enum task_status {
	TASK_CREATING,
	TASK_CREATED,
	TASK_STARTING,
	TASK_RUNNING,
	TASK_PAUSED,
	TASK_STOPPED,
};

enum task_event_type {
	TASK_EVENT_CREATE,
	TASK_EVENT_START,
	TASK_EVENT_EXEC_ADDED,
	TASK_EVENT_EXEC_STARTED,
	TASK_EVENT_EXIT,
	TASK_EVENT_DELETE,
	TASK_EVENT_PAUSED,
	TASK_EVENT_RESUMED,
	TASK_EVENT_OOM, /* before the exit that it caused */
};

struct task_stdio {
	bool terminal;
	const char *in, *out, *errout; /* never NULL */
};

/** A snapshot of a process. Strings are borrowed until the next call into the runtime. */
struct task_state {
	const char *id;	     /* of the container */
	const char *exec_id; /* "" for its init */
	const char *bundle;
	pid_t pid; /* the VMM's: a guest's pid means nothing on the host */
	enum task_status status;
	struct task_stdio stdio;
	uint32_t exit_status;
	struct timespec exited_at; /* 0: has not */
};

struct task_create {
	const char *id, *bundle;
	struct task_stdio stdio;
	const struct rootfs_mount *rootfs;
	size_t n_rootfs;
	const char *config_file, *config_body; /* or NULL */
};

struct runtime_params {
	struct loop *loop;
	struct worker_pool *workers;
	const char *sandbox_id;	       /* borrowed */
	const char *namespace;	       /* containerd's; borrowed */
	struct stdio_streams *streams; /* NULL: no streams as stdio; outlives the runtime */
	bool debug;
	/* What `start` was told about the configuration, for when Create tells nothing: borrowed,
	 * or NULL. */
	const char *config_file, *config_body;
	/** Something happened to a task. @rootfs only with TASK_EVENT_CREATE. Loop thread. */
	void (*on_event)(void *arg, enum task_event_type type, const struct task_state *state,
			 const struct task_create *create);
	void *arg;
};

/** The outcome of a request, on the loop thread; @state is NULL where r < 0. */
typedef void (*task_done_fn)(void *arg, int r, const struct task_state *state, const struct err *e);
typedef void (*task_stats_fn)(void *arg, int r, const Grpc__StatsContainerResponse *stats,
			      const struct err *e);

/**
 * Receives the guest's processes of a container; with r = 0 and without @list, or an empty one,
 * only the machine can be told: its agent lists none, or did not answer in time, or the container
 * has ended. @state is the container's.
 */
typedef void (*task_pids_fn)(void *arg, int r, const struct task_state *state,
			     const Grpc__ListContainerProcessesResponse *list, const struct err *e);

int runtime_new(const struct runtime_params *p, struct runtime **ret);
/** After runtime_shutdown() has finished. */
void runtime_free(struct runtime *rt);

/* An exec_id of "" (or the container's own id) means the container's init. */
void runtime_create(struct runtime *rt, const struct task_create *c, task_done_fn done, void *arg);
void runtime_start(struct runtime *rt, const char *id, const char *exec_id, task_done_fn done,
		   void *arg);
void runtime_delete(struct runtime *rt, const char *id, const char *exec_id, task_done_fn done,
		    void *arg);
void runtime_kill(struct runtime *rt, const char *id, const char *exec_id, uint32_t signum,
		  bool all, task_done_fn done, void *arg);
void runtime_wait(struct runtime *rt, const char *id, const char *exec_id, task_done_fn done,
		  void *arg);
void runtime_pause(struct runtime *rt, const char *id, bool pause, task_done_fn done, void *arg);
void runtime_resize(struct runtime *rt, const char *id, const char *exec_id, uint32_t width,
		    uint32_t height, task_done_fn done, void *arg);
void runtime_update(struct runtime *rt, const char *id, const char *resources_json, size_t len,
		    task_done_fn done, void *arg);
void runtime_stats(struct runtime *rt, const char *id, task_stats_fn done, void *arg);
void runtime_pids(struct runtime *rt, const char *id, task_pids_fn done, void *arg);

int runtime_exec(struct runtime *rt, const char *id, const char *exec_id,
		 const struct task_stdio *stdio, const char *process_json, size_t len,
		 struct err *e);
int runtime_close_stdin(struct runtime *rt, const char *id, const char *exec_id, struct err *e);
int runtime_state(struct runtime *rt, const char *id, const char *exec_id, struct task_state *ret,
		  struct err *e);

/**
 * A client left without the answer that told it of a container's end, and with it the duty to call
 * Shutdown. As runtime_shutdown(), if there are no containers; else r = 1.
 */
void runtime_abandon(struct runtime *rt, task_done_fn done, void *arg);
/** Whether there is a machine, but no container, and no client that asked for a sandbox. */
bool runtime_is_deserted(const struct runtime *rt);
/** Whether nothing was ever made here, or nothing is left of it, and nothing is under way. */
bool runtime_is_unused(const struct runtime *rt);
/**
 * Takes the pod down and calls @done with r = 0; with containers left and not @now, does nothing
 * and calls it with r = 1. Waits for work in flight. No request is taken afterwards.
 */
void runtime_shutdown(struct runtime *rt, bool now, task_done_fn done, void *arg);

/* ---- The pod as a sandbox (containerd's sandbox service) ---------------------------------------
 *
 * Either the first task brings a pod's machine up, or these do; then tasks join it while it is
 * ready, and runtime_state() knows a task of the sandbox' own id.
 */

struct pod_create {
	/* What the pod's own container would say, if it had one: host name, annotations, network
	 * namespace, and in `mounts` and `sysctl` what all its containers shall have. Consumed on
	 * success. */
	struct oci_spec *spec;
	const char *config_file, *config_body; /* or NULL */
};

struct pod_status {
	bool ready;
	pid_t pid;		    /* the VMM's */
	struct timespec created_at; /* of the machine; 0: not yet */
	struct timespec exited_at;  /* 0: not yet */
	uint32_t exit_status;	    /* 0 if it was stopped */
};

/** As task_done_fn. */
typedef void (*pod_done_fn)(void *arg, int r, const struct pod_status *status, const struct err *e);
typedef void (*pod_usage_fn)(void *arg, int r, const struct usage *usage, const struct err *e);

/** Remembers what the pod shall be; nothing is begun. ALREADY_EXISTS the second time. */
int runtime_sandbox_create(struct runtime *rt, const struct pod_create *c, struct err *e);
/** Boots it. A failure is undone wholly, and may be tried again; a running one is
 * FAILED_PRECONDITION. */
void runtime_sandbox_start(struct runtime *rt, pod_done_fn done, void *arg);
/**
 * Kills its containers (each has its event), then ends the machine, within about @timeout_ms (0:
 * 10 s). Its tasks can be deleted afterwards, and its status be asked for. Idempotent, in each
 * state.
 */
void runtime_sandbox_stop(struct runtime *rt, uint64_t timeout_ms, pod_done_fn done, void *arg);
/** Answers when it has been stopped, or died. */
void runtime_sandbox_wait(struct runtime *rt, pod_done_fn done, void *arg);
/** Asks the guest's agent whether it is well. */
void runtime_sandbox_ping(struct runtime *rt, pod_done_fn done, void *arg);
/** What the shim, the machine and its helpers use of the host. */
void runtime_sandbox_usage(struct runtime *rt, pod_usage_fn done, void *arg);
/** As runtime_shutdown() with @now, and also breaks a boot off. Works in each state, and without a
 * sandbox too. */
void runtime_sandbox_shutdown(struct runtime *rt, task_done_fn done, void *arg);

int runtime_sandbox_status(struct runtime *rt, struct pod_status *ret, struct err *e);
/** A JSON object about machine, configuration and boot; malloc'ed, NULL: out of memory. */
char *runtime_sandbox_describe(struct runtime *rt);
/** The id of the sandbox that runtime_sandbox_create() has made; NULL: none. */
const char *runtime_sandbox_id(const struct runtime *rt);
