/* SPDX-License-Identifier: Apache-2.0 */
/* What runtime.c (the pod), task.c (a request to one process) and process.c (its life) share. */
#pragma once

#include "base/list.h"
#include "oci/arena.h"
#include "runtimes/container.h"
#include "runtimes/process-io.h"
#include "runtimes/runtime.h"

/* A pod has tens of execs at a time; each holds descriptors. */
#define EXECS_MAX 4096
#define CONTAINERS_MAX 1024

/* What the field's runtime reports for a process whose machine died. */
#define EXIT_STATUS_LOST 255
/* 128 + SIGKILL */
#define EXIT_STATUS_KILLED 137

struct waiter {
	struct list link;
	task_done_fn done;
	void *arg;
};

struct process {
	struct list link;	     /* in container->execs; unused for init */
	struct container *container; /* of which it holds a reference */
	unsigned refs;
	char *exec_id; /* "" for init */
	bool terminal;
	char *in, *out, *errout;
	enum task_status status;
	bool deleted; /* a Delete is at work */
	uint32_t exit_status;
	struct timespec exited_at;
	uint32_t width, height; /* asked for before it ran; 0: never */
	struct process_io *io;
	bool waiting;		 /* WaitProcess is on its way */
	bool end_wanted;	 /* somebody asked for its end */
	bool tell_end;		 /* its end is an event, although it never ran */
	struct loop_timer *held; /* it has ended with `exit_status`, and that is to be told soon */
	bool close_stdin;	 /* CloseIO has come, maybe before the streams were made */
	struct list waiters;
	struct list deleters; /* further Deletes, which get the answer of the first */
	struct list killers;  /* SIGKILLs that came while it was being created */
	task_done_fn drained; /* while a Delete waits for the output */
	void *drained_arg;
	void (*opened)(void *arg, int r, const struct err *e); /* while streams are opened */
	void *opened_arg;

	struct oci_process *spec; /* an exec's, until it is started */
	struct oci_arena *arena;
};

struct container {
	struct list link;
	struct runtime *rt;
	unsigned refs;
	struct container_resources res;	    /* a worker's while it is created or removed */
	bool in_poststart;		    /* a worker runs its poststart hooks */
	struct delete_job *after_poststart; /* the deletion that waits for them */
	bool oom;			    /* it has run out of memory, and that was told */
	struct process *init;
	struct list execs;
	size_t n_execs;
};

enum sandbox_status {
	SANDBOX_NONE,
	SANDBOX_BOOTING,
	SANDBOX_UP,
	SANDBOX_DEAD,
	SANDBOX_CLOSED,
};

struct pod;

struct runtime {
	struct runtime_params params;
	struct pod *pod; /* if it is a sandbox by itself */
	struct sandbox *sandbox;
	enum sandbox_status status;
	char dead_reason[512];
	struct list containers;
	size_t n_containers;
	struct list booting;	 /* create jobs that wait for the sandbox */
	unsigned in_flight;	 /* jobs on workers */
	struct watch *watch;	 /* since the sandbox is up */
	struct waiter *shutdown; /* waits for in_flight to be 0 */
	struct loop_timer *save_timer;
	size_t saved_bytes; /* of state.json */
	bool save_failed;
};

/* runtime.c */
struct container *runtime_find(struct runtime *rt, const char *id, struct err *e);
struct process *runtime_find_process(struct runtime *rt, const char *id, const char *exec_id,
				     struct err *e);
void runtime_emit(struct runtime *rt, enum task_event_type type, const struct process *p);
void runtime_job_done(struct runtime *rt);
/** Makes rt->sandbox; the configuration may be NULL, then it is what `start` was told. */
int runtime_make_sandbox(struct runtime *rt, const char *config_file, const char *config_body,
			 struct err *e);
/** All processes have ended, and everybody is told. */
void runtime_stop_all(struct runtime *rt, uint32_t exit_status);
/** Kills the rest of a dead machine, on a worker. */
void runtime_halt(struct runtime *rt);
void container_unref(struct container *c);
/** The pod's first container has ended, and with it the pod: kills the others. */
void runtime_end_members(struct runtime *rt, const struct container *of);
static inline struct container *container_ref(struct container *c)
{
	c->refs++;
	return c;
}
/** Takes it out of the pod's list: nobody finds it any more. */
void container_unlist(struct container *c);
/** Takes it out of the pod; the memory goes with the last reference. */
void container_unlink(struct container *c);

/* save.c */
/** Something has changed: writes state.json, or soon. */
void runtime_save(struct runtime *rt);

/* pod.c: does nothing, or says no, where rt->pod is NULL */
void pod_free(struct pod *p);
/** What its containers have in common; NULL: nothing. */
const struct oci_spec *pod_spec(const struct runtime *rt);
/** Whether a task may join now. */
int pod_check_create(const struct runtime *rt, const char *id, struct err *e);
/** The state of a task that has the sandbox' id, which none has made. False: not that id. */
bool pod_task_state(const struct runtime *rt, const char *id, const char *exec_id,
		    struct task_state *ret);
/** The machine is gone, and the containers have ended. */
void pod_died(struct runtime *rt);
/** The shutdown begins: a stop that is under way is part of it from now on. */
void pod_closing(struct runtime *rt);
/** Everything is down. */
void pod_closed(struct runtime *rt);
/* task.c */
/** It is created: those who have asked for its end or deletion meanwhile get it. */
void process_end_late(struct process *init);

/* process.c */
int process_new(struct container *c, const char *exec_id, const struct task_stdio *stdio,
		struct process **ret);
void process_unref(struct process *p);
static inline struct process *process_ref(struct process *p)
{
	p->refs++;
	return p;
}
static inline bool process_is_init(const struct process *p)
{
	return p->exec_id[0] == '\0';
}
/** Opens its streams; on failure they are gone again. @done runs once, maybe before this returns.
 */
void process_open_io(struct process *p, void (*done)(void *arg, int r, const struct err *e),
		     void *arg);
/** It runs in the guest: copies its streams, waits for its end. */
void process_started(struct process *p);
/** It was killed before it ran: waits for its end. */
void process_killed(struct process *p);
/** It has ended: tells everybody. */
void process_exited(struct process *p, uint32_t exit_status);
/** If its end is being held back, tells it now. */
void process_tell_held(struct process *p);
void process_state(const struct process *p, struct task_state *ret);
/** Calls @done once its output is delivered, or cannot be within a bound. Ends its streams. */
void process_when_drained(struct process *p, task_done_fn done, void *arg);
/** It could not be created: who waits for its end or deletion is told. */
void process_was_never(struct process *p);
const char *task_status_name(enum task_status s);
/** Answers with its state. */
void process_answer(struct process *p, task_done_fn done, void *arg);
