/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine whose monitor is a child process: the part that such drivers share.
 *
 * A worker starts and stops; the loop thread watches the process by pidfd, reaps it, and reports
 * its end exactly once. The two meet under one lock and one condition. The states:
 *
 *	IDLE -> STARTING -> RUNNING -> ENDED	(STARTING -> ENDED when it does not come up)
 *
 * STARTING ends by machine_running(), which the driver calls on the loop thread, by the end of the
 * process, or by the deadline. A start that fails has ended and reaped the process.
 *
 * The memory is counted: one reference of the owner, one of the work that start posts to the loop,
 * so that a loop which runs it late (after the deadline has passed) finds the machine still there.
 */
#pragma once

#include "hypervisor/hypervisor.h"
#include "io/child.h"

#include <pthread.h>

#define MACHINE_REASON_MAX 768

enum machine_phase {
	MACHINE_IDLE,
	MACHINE_STARTING,
	MACHINE_RUNNING,
	MACHINE_ENDED,
};

struct machine;

/* What the driver adds. All on the loop thread, without the lock. */
struct machine_hooks {
	const char *process_name; /* for sentences: "QEMU" */
	/** The process has just been started: add watches. May be NULL. */
	int (*attach)(struct machine *m, struct err *e);
	/** Asks the process to end in order, without waiting; false: it cannot be asked. */
	bool (*ask_quit)(struct machine *m);
	/**
	 * The process is gone: read what it left, and write why it ended to @reason (which holds a
	 * sentence about the exit code already). May be NULL.
	 */
	void (*ended)(struct machine *m, int status, char *reason, size_t size);
	/** Frees all watches. Idempotent. May be NULL. */
	void (*detach)(struct machine *m);
};

/* The first member of the driver's state, which is one malloc'ed block. */
struct machine {
	struct hypervisor base;
	const struct machine_hooks *hooks;

	pthread_mutex_t lock; /* guards what follows; taken alone */
	pthread_cond_t changed;
	enum machine_phase phase;
	struct child child;
	unsigned refs;
	bool attached;			  /* the loop thread watches, and alone may reap */
	bool abandoned;			  /* start gave up before that */
	bool stopping;			  /* hypervisor_stop() ends it: its end is no news */
	char failure[MACHINE_REASON_MAX]; /* why the driver gave it up; "" if it did not */
	char reason[MACHINE_REASON_MAX];  /* why it ended */

	struct loop_io *watch; /* loop thread */
};

/** @m is zeroed memory. Copies the strings of @p. On failure nothing is left to free but @m. */
int machine_init(struct machine *m, const struct hypervisor_ops *ops,
		 const struct machine_hooks *hooks, const struct hypervisor_params *p,
		 struct err *e);

/** Starts the process and waits for machine_running(). Worker. */
int machine_start(struct machine *m, const struct child_spec *spec, uint64_t deadline_ms,
		  struct err *e);

/** The machine runs: ends the waiting of machine_start(). Loop thread. */
void machine_running(struct machine *m);

/** Gives the machine up: kills the process; the sentence becomes the reason. Any thread. */
void machine_give_up(struct machine *m, const char *fmt, ...) _printf_(2, 3);

/** The stop op. Worker. */
int machine_stop(struct machine *m, uint64_t grace_ms, struct err *e);

/** Ends what lives and frees the watches; then the driver frees its own, and calls unref. */
void machine_shutdown(struct machine *m);
void machine_unref(struct machine *m);
