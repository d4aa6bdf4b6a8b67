/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's state, and what its files share.
 *
 * The loop thread owns every structure here. Work that may block (mounts, the engine) is a job on a
 * strand: it may use what the job was given, the engine, the storages and the container's fields
 * marked "strand", and hands its result back to the loop. So there are no locks but inside the
 * parts (strands, storages, modules, log).
 */
#pragma once

#include "base/err.h"
#include "base/list.h"
#include "engine/engine.h"
#include "guest/agent/cdh.h"
#include "guest/agent/components.h"
#include "guest/agent/console.h"
#include "guest/agent/device.h"
#include "guest/agent/flow.h"
#include "guest/agent/forward.h"
#include "guest/agent/hooks.h"
#include "guest/agent/hotplug.h"
#include "guest/agent/logging.h"
#include "guest/agent/modules.h"
#include "guest/agent/options.h"
#include "guest/agent/passfd.h"
#include "guest/agent/pci-map.h"
#include "guest/agent/policy.h"
#include "guest/agent/storage.h"
#include "guest/agent/strand.h"
#include "guest/agent/stream.h"
#include "guest/agent/time-sync.h"
#include "guest/agent/watch.h"
#include "io/loop.h"
#include "io/worker.h"
#include "rpc/rpc.h"
#include "sys/cgroup.h"

#include <pthread.h>

/* The shim's own limit is the kubelet's 110 pods; one pod has a handful of containers. */
#define CONTAINERS_MAX 1024
/* Processes that a container has or whose end nobody has collected yet. */
#define PROCESSES_PER_CONTAINER_MAX 1024
/* Calls that wait for one process' end, or for an event. */
#define WAITERS_MAX 64
/* Container and exec ids become file names. */
#define ID_MAX 255

/** A call that waits for something to happen. */
struct waiter {
	struct list link;
	struct rpc_call *call;
};

/** What containers share of the sandbox: "" until it is made, and after it is gone. */
struct sandbox_place {
	char ipc_ns[160], uts_ns[160]; /* paths that pin the namespaces */
	char hostname[65];
};

struct agent {
	struct agent_options options;
	bool is_init;
	struct loop *loop;
	struct worker_pool *pool;
	struct strand *strand;	      /* of the sandbox */
	struct strand *filter_strand; /* of packet filters; or NULL: nobody has asked */
	struct engine *engine;
	struct logging *logging;
	struct forward *forward; /* or NULL: ports are not forwarded */
	struct console *console; /* or NULL: there is no debug console */
	struct passfd *passfd;	 /* or NULL: no streams for stdio are taken */
	struct components *components;
	struct modules *modules;
	struct devices *devices;
	struct hotplug *hotplug;
	struct storage_table *storages;
	struct watches *watches;
	struct cdh *cdh;
	struct time_sync *time_sync; /* or NULL: there is no clock to follow */
	struct copier *copier;	     /* copy.c */
	struct rpc_server *server;
	struct policy *policy;
	struct guest_hooks *hooks; /* or NULL; constant once the sandbox is there */

	struct list containers;
	size_t n_containers;

	/* sandbox */
	bool sandbox_created;
	char sandbox_id[ID_MAX + 1];
	bool sandbox_pidns;	     /* containers share one pid namespace */
	int pidns_fd;		     /* that of the first container, or -EBADF */
	struct storage_set held;     /* sandbox strand */
	struct rpc_call *destroying; /* DestroySandbox, while containers are being removed */
	bool stopping;		     /* the loop ends because the sandbox did */
	pthread_mutex_t place_lock;  /* guards place: any strand's work may ask for it */
	struct sandbox_place place;
	struct pod_users *users; /* or NULL: no container has had users of its own */

	/* oom.c */
	int inotify_fd;
	struct loop_io *inotify_io;
	struct list oom_waiters; /* of struct waiter */
	unsigned n_oom_waiters;
	bool oom_listened; /* somebody has asked for events */

	/* forget.c */
	struct list forgotten; /* paths of what was removed; while a job looks, it has them */
	unsigned n_forgotten;
	bool looking;
	struct loop_timer *look;

	/* tidy.c */
	struct loop_timer *tidy;
	bool untidy; /* it will be done */

	/* reaper.c */
	unsigned jobs; /* on their way: a dead child may be one that a job still waits for */
	struct loop_signal *sigchld;
	struct loop_timer *sweep;
	struct loop_io *launcher_io;
	int launcher_fd;
};

/* ---- container.c -------------------------------------------------------------------------- */

struct process;

enum container_state {
	CONTAINER_CREATING,
	CONTAINER_CREATED,
	CONTAINER_RUNNING,
	CONTAINER_PAUSED,
	CONTAINER_REMOVING,
};

struct container {
	struct list link;
	struct agent *agent;
	unsigned refs; /* the table's and each job's */
	char id[ID_MAX + 1];
	enum container_state state;
	bool starting; /* a StartContainer is on its way */
	bool is_sandbox;
	bool owns_pidns; /* agent.pidns_fd is of this one */

	/* removal, in this order */
	struct list removers; /* who waits for it */
	bool killing, killed, deleting;

	struct list processes;
	size_t n_processes;
	struct list execs; /* jobs that will become processes */

	struct strand *strand;
	struct engine_container *engine; /* strand */
	struct oci_spec *spec;		 /* strand */
	struct storage_set storages;	 /* strand */
	struct pci_map *pci_map;	 /* strand; or NULL */
	const struct pod_users *users;	 /* to join with the same maps, or NULL; the agent's */
	struct cgroup *cgroup;		 /* set once by create; or NULL */

	struct container_oom *oom; /* of oom.c, or NULL */
};

/** The container of that id that can be used: not one being created or removed. */
struct container *container_find(struct agent *a, const char *id, struct err *e);
void container_unref(struct container *c);

void container_create(void *ctx, struct rpc_call *call);
void container_start(void *ctx, struct rpc_call *call);
void container_remove(void *ctx, struct rpc_call *call);
void container_exec(void *ctx, struct rpc_call *call);
void container_update(void *ctx, struct rpc_call *call);
void container_stats(void *ctx, struct rpc_call *call);
void container_pause(void *ctx, struct rpc_call *call);
void container_resume(void *ctx, struct rpc_call *call);
void container_list_processes(void *ctx, struct rpc_call *call);
/** Kills everything in it, then answers. */
void container_kill_all(struct container *c, struct rpc_call *call, int signum);

/** A process has ended: a removal may go on. */
void container_process_exited(struct container *c);
/** Begins to remove every container; sandbox_container_gone() tells of each. */
void container_remove_all(struct agent *a);

/** The same at the end of the process, when neither loop nor workers run. */
void container_remove_all_now(struct agent *a);

/** "^[A-Za-z0-9][A-Za-z0-9_.-]+$", at most ID_MAX bytes. */
bool id_valid(const char *id);

/* ---- job.c -------------------------------------------------------------------------------- */

/**
 * One call's work: work() runs on the strand, then done() on the loop thread, which answers the
 * call. Made by job_start(); freed after done().
 */
struct job {
	struct agent *agent;
	struct rpc_call *call;
	struct container *container; /* a reference, or NULL */
	struct strand *strand;	     /* NULL: the container's, or the sandbox' */
	void (*work)(struct job *j);
	void (*done)(struct job *j);
	int r;
	struct err e;

	/* what work() leaves for done() */
	struct engine_process process;
	int in, out, errout; /* our ends of a new process' stdio; closed with the job */
	int streams[3];	     /* the host's connections for them, or -EBADF; likewise */
	bool terminal;
	int number; /* a signal, a flag */
	void *result;
	char exec_id[ID_MAX + 1];
	struct list link;
};

/** Makes a job; NULL when memory runs out: then @call, if any, has been answered. */
struct job *job_new(struct agent *a, struct rpc_call *call, struct container *c);
/** Starts it on the container's strand, or the sandbox's. done() always runs. */
void job_start(struct job *j, void (*work)(struct job *), void (*done)(struct job *));
/** The same beside all others: for what may hang, and that nobody shall wait for. */
void job_start_alone(struct job *j, void (*work)(struct job *), void (*done)(struct job *));
/** The same for one whose work is not to be: j->r tells why. */
void job_finish(struct job *j, void (*done)(struct job *));
/** For the end of the process: a job that was not started never will be. Nobody is answered. */
void job_abandon(struct job *j);
/** Answers with Empty if j->r is 0, else with the failure, which is also logged. */
void job_reply_empty(struct job *j);

/* ---- process.c ---------------------------------------------------------------------------- */

struct process {
	struct list link;
	struct container *container; /* borrowed: it outlives its processes */
	char exec_id[ID_MAX + 1];    /* "": the container's init */
	pid_t pid;
	int pidfd;
	struct loop_io *pidfd_io;
	struct loop_timer *linger;

	bool exited, waited;
	int status; /* exit code, or 128 + signal */
	struct list waiters;
	unsigned n_waiters;

	int pty; /* master, borrowed from `out`; -EBADF without a terminal */
	struct stream_in in;
	struct stream_out out, err;
	struct flow_in *flow_in;	      /* or NULL: by RPC */
	struct flow_out *flow_out, *flow_err; /* or NULL: by RPC, or all is delivered */
};

/** Takes over a process that the engine made, with our ends of its stdio; -ENOMEM. */
int process_add(struct container *c, struct job *j, struct err *e);
/** Takes the connections that the host has opened for a new process' stdio; 0: none. */
int process_take_streams(struct job *j, const uint32_t ports[3], struct err *e);
struct process *process_find(struct container *c, const char *exec_id);
/** Answers who waits for processes that have ended. */
void process_tell_ends(struct container *c);
/** Answers who waits (the process is gone), closes, frees. */
void process_destroy(struct process *p);
/** Makes the stdio pipes of a new process: the process' ends, and ours in the job. */
int process_stdio(struct job *j, bool terminal, struct engine_stdio *io, int theirs[3],
		  struct err *e);

void process_signal(void *ctx, struct rpc_call *call);
void process_wait(void *ctx, struct rpc_call *call);
void process_read_stdout(void *ctx, struct rpc_call *call);
void process_read_stderr(void *ctx, struct rpc_call *call);
/** What a read is when the policy forbids it: the process goes on and its output is dropped; the
 * answer is the end of the stream, when that has come. */
void process_read_nothing(struct agent *a, struct rpc_call *call, bool errout);
void process_write_stdin(void *ctx, struct rpc_call *call);
void process_close_stdin(void *ctx, struct rpc_call *call);
void process_resize(void *ctx, struct rpc_call *call);

/* ---- reaper.c ----------------------------------------------------------------------------- */

/** Watches for children that nobody else collects: orphans that became ours. */
int reaper_start(struct agent *a);
void reaper_stop(struct agent *a);

/* ---- forget.c ----------------------------------------------------------------------------- */

int forget_start(struct agent *a);
void forget_stop(struct agent *a);
/** The container of that spec is removed: lets the host have back what it held of its files. */
void forget_files(struct agent *a, const struct oci_spec *s);

/* ---- tidy.c ------------------------------------------------------------------------------- */

int tidy_start(struct agent *a);
void tidy_stop(struct agent *a);
/** Something was freed that others like it will follow: gives memory back a little later. */
void tidy_later(struct agent *a);

/* ---- oom.c -------------------------------------------------------------------------------- */

int oom_start(struct agent *a);
void oom_stop(struct agent *a);
/** Watches a container's control group; nothing without one. */
void oom_watch(struct container *c);
void oom_unwatch(struct container *c);
/**
 * A process of the container has ended: whether that must not be told yet, because the container
 * ran out of memory and the runtime shall hear of that first. process_tell_ends() follows then.
 */
bool oom_holds_end(struct container *c);
void oom_get_event(void *ctx, struct rpc_call *call);

/* ---- sandbox.c ---------------------------------------------------------------------------- */

void sandbox_create(void *ctx, struct rpc_call *call);
void sandbox_destroy(void *ctx, struct rpc_call *call);
void sandbox_update_ephemeral_mounts(void *ctx, struct rpc_call *call);
/** One container less: the end of the sandbox may wait for the last. */
void sandbox_container_gone(struct agent *a);
/** Where the sandbox' own files are: <state>/sandbox. */
int sandbox_path(const struct agent *a, const char *name, char *dst, size_t size);

/** What the pod's containers share as it is now; any thread. Its namespaces may go any time. */
struct sandbox_place sandbox_place(struct agent *a);

/* ---- copy.c ------------------------------------------------------------------------------- */

int copier_start(struct agent *a);
/** What has been copied by half is removed. When no workers run any more; NULL is fine. */
void copier_stop(struct copier *c);
/** CopyFile */
void copy_file(void *ctx, struct rpc_call *call);

/* ---- volume.c ----------------------------------------------------------------------------- */

void volume_stats(void *ctx, struct rpc_call *call);
void volume_resize(void *ctx, struct rpc_call *call);
/** GetDiagnosticData */
void volume_diagnostics(void *ctx, struct rpc_call *call);
/** RemoveStaleVirtiofsShareMounts */
void volume_forget_stale(void *ctx, struct rpc_call *call);

/* ---- guest.c, metrics.c ------------------------------------------------------------------- */

void guest_details(void *ctx, struct rpc_call *call);
void guest_reseed(void *ctx, struct rpc_call *call);
void guest_set_time(void *ctx, struct rpc_call *call);
void guest_metrics(void *ctx, struct rpc_call *call);

/* ---- service.c ---------------------------------------------------------------------------- */

int service_start(struct agent *a, int listen_fd);
/** Answers with google.protobuf.Empty. */
void reply_empty(struct rpc_call *call);

/* ---- prepare.c, ports.c ------------------------------------------------------------------- */

/** What comes before anything is served. A failure means that nothing may be. */
int prepare(struct agent *a, struct err *e);
/** Listens at "vsock://CID:PORT", where CID -1 is any, or "unix://PATH"; a descriptor. */
int ports_listen(const char *address, struct err *e);
/** Opens those that the options ask for; failures are logged. */
void ports_open(struct agent *a);
