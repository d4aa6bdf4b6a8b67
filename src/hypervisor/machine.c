/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/machine.h"

#include "base/clock.h"
#include "base/log.h"

#include <signal.h>
#include <string.h>

/* How long the process may take to obey. Quitting closes files and devices and takes milliseconds;
 * SIGKILL is beyond its will, so a process that outlives it is stuck in the kernel. */
#define QUIT_MS 1000
#define KILL_MS 10000

static void cond_init_monotonic(pthread_cond_t *c)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(c, &attr);
	pthread_condattr_destroy(&attr);
}

int machine_init(struct machine *m, const struct hypervisor_ops *ops,
		 const struct machine_hooks *hooks, const struct hypervisor_params *p,
		 struct err *e)
{
	_cleanup_free_ char *id = strdup(p->sandbox_id);
	_cleanup_free_ char *dir = strdup(p->run_dir ? p->run_dir : "");
	if (!id || !dir)
		return err_errno(e, -ENOMEM, "make a machine");

	m->base.ops = ops;
	m->base.params = *p;
	m->base.params.sandbox_id = TAKE_PTR(id);
	m->base.params.run_dir = TAKE_PTR(dir);
	m->base.state = HYPERVISOR_NEW;
	m->hooks = hooks;
	m->child = CHILD_INIT;
	m->refs = 1;
	pthread_mutex_init(&m->lock, NULL);
	cond_init_monotonic(&m->changed);
	return 0;
}

void machine_unref(struct machine *m)
{
	pthread_mutex_lock(&m->lock);
	bool last = --m->refs == 0;
	pthread_mutex_unlock(&m->lock);
	if (!last)
		return;
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
	free((char *)m->base.params.sandbox_id);
	free((char *)m->base.params.run_dir);
	free(m);
}

/* Waits, with the lock held, while the phase is @phase. Returns whether it changed in time. */
static bool wait_phase_left(struct machine *m, enum machine_phase phase, uint64_t deadline_ms)
{
	struct timespec until = {.tv_sec = (time_t)(deadline_ms / 1000),
				 .tv_nsec = (long)(deadline_ms % 1000) * 1000000};
	while (m->phase == phase) {
		int r = deadline_ms ? pthread_cond_timedwait(&m->changed, &m->lock, &until)
				    : pthread_cond_wait(&m->changed, &m->lock);
		if (r == ETIMEDOUT)
			return m->phase != phase;
	}
	return true;
}

static void set_phase(struct machine *m, enum machine_phase phase)
{
	m->phase = phase;
	m->base.state = phase == MACHINE_RUNNING ? HYPERVISOR_RUNNING : HYPERVISOR_STOPPED;
	pthread_cond_broadcast(&m->changed);
}

/* ---- The loop thread's side ------------------------------------------------------------------ */

static void default_reason(const struct machine *m, int status, char *dst, size_t size)
{
	const char *name = m->hooks->process_name;
	if (status > 128)
		(void)snprintf(dst, size, "%s was killed by signal %d", name, status - 128);
	else
		(void)snprintf(dst, size, "%s exited with code %d", name, status);
}

/* Comes before the pidfd is closed: its number may be another thread's a moment later. */
static void unwatch(struct machine *m)
{
	loop_io_free(TAKE_PTR(m->watch));
}

static void detach(struct machine *m)
{
	if (m->hooks->detach)
		m->hooks->detach(m);
}

/* The process has ended, or is about to since it was killed: reap, find the reason, tell. */
static void finish(struct machine *m)
{
	char reason[MACHINE_REASON_MAX];
	int status = 255;

	unwatch(m);
	pthread_mutex_lock(&m->lock);
	int r = child_wait(&m->child, time_deadline(KILL_MS), &status);
	pthread_mutex_unlock(&m->lock);
	if (r < 0)
		log_error("wait for %s (pid %d): %s", m->hooks->process_name, (int)m->base.pid,
			  strerror(-r));

	default_reason(m, status, reason, sizeof reason);
	if (m->hooks->ended)
		m->hooks->ended(m, status, reason, sizeof reason);
	detach(m);

	pthread_mutex_lock(&m->lock);
	bool ran = m->phase == MACHINE_RUNNING;
	if (m->stopping)
		(void)snprintf(reason, sizeof reason, "the machine was stopped");
	else if (m->failure[0])
		(void)snprintf(reason, sizeof reason, "%s", m->failure);
	memcpy(m->reason, reason, sizeof m->reason);
	set_phase(m, MACHINE_ENDED);
	pthread_mutex_unlock(&m->lock);

	/* Last, since the callback may free the machine. */
	if (ran && m->base.params.on_exit)
		m->base.params.on_exit(m->base.params.on_exit_arg, status, reason);
}

static void on_pidfd(void *arg, unsigned events)
{
	finish(arg);
}

static void attach(struct machine *m)
{
	struct err e = ERR_INIT;
	int r = loop_io_new(m->base.params.loop, m->child.pidfd, LOOP_READ, on_pidfd, m, &m->watch);
	if (r < 0)
		(void)err_errno(&e, r, "watch %s", m->hooks->process_name);
	else if (m->hooks->attach)
		r = m->hooks->attach(m, &e);
	if (r < 0) {
		machine_give_up(m, "%s", err_text(&e, r));
		finish(m);
	}
}

static void attach_posted(void *arg)
{
	struct machine *m = arg;
	pthread_mutex_lock(&m->lock);
	m->attached = !m->abandoned;
	bool go = m->attached;
	pthread_mutex_unlock(&m->lock);
	if (go)
		attach(m);
	machine_unref(m);
}

static void ask_quit_posted(void *arg)
{
	struct machine *m = arg;
	pthread_mutex_lock(&m->lock);
	bool go = m->phase == MACHINE_RUNNING;
	pthread_mutex_unlock(&m->lock);
	if (go && !m->hooks->ask_quit(m)) {
		pthread_mutex_lock(&m->lock);
		(void)child_kill(&m->child, SIGKILL);
		pthread_mutex_unlock(&m->lock);
	}
	machine_unref(m);
}

void machine_running(struct machine *m)
{
	pthread_mutex_lock(&m->lock);
	if (m->phase == MACHINE_STARTING && !m->failure[0])
		set_phase(m, MACHINE_RUNNING);
	pthread_mutex_unlock(&m->lock);
}

void machine_give_up(struct machine *m, const char *fmt, ...)
{
	va_list ap;
	pthread_mutex_lock(&m->lock);
	if (!m->failure[0]) {
		va_start(ap, fmt);
		(void)vsnprintf(m->failure, sizeof m->failure, fmt, ap);
		va_end(ap);
	}
	(void)child_kill(&m->child, SIGKILL);
	pthread_mutex_unlock(&m->lock);
}

/* ---- The workers' side ----------------------------------------------------------------------- */

/* Posts work that holds a reference. With the lock held. */
static int post(struct machine *m, void (*fn)(void *arg))
{
	int r = loop_post(m->base.params.loop, fn, m);
	if (r == 0)
		m->refs++;
	return r;
}

/* Kills and reaps without the loop, with the lock held. A process that does not even obey SIGKILL
 * is left to init rather than waited for. */
static void kill_and_reap(struct machine *m)
{
	if (child_kill(&m->child, SIGKILL) < 0)
		return;
	if (child_wait(&m->child, time_deadline(KILL_MS), NULL) < 0)
		m->child.pidfd = close_fd(m->child.pidfd);
}

/* Kills the process, with the lock held, and waits for its end, whoever reaps it. */
static int kill_and_wait(struct machine *m, struct err *e)
{
	if (m->attached) {
		(void)child_kill(&m->child, SIGKILL);
		uint64_t deadline = time_deadline(KILL_MS);
		while (m->phase != MACHINE_ENDED)
			if (!wait_phase_left(m, m->phase, deadline))
				break;
	} else {
		m->abandoned = true;
		kill_and_reap(m);
		set_phase(m, MACHINE_ENDED);
	}
	if (m->phase == MACHINE_ENDED)
		return 0;
	return err_set(e, -ETIMEDOUT, "%s (pid %d) was killed, but has not ended within %d s",
		       m->hooks->process_name, (int)m->base.pid, KILL_MS / 1000);
}

int machine_start(struct machine *m, const struct child_spec *spec, uint64_t deadline_ms,
		  struct err *e)
{
	struct child c = CHILD_INIT;
	int r = child_spawn(spec, &c, e);
	if (r < 0)
		return r;

	pthread_mutex_lock(&m->lock);
	m->child = c;
	m->base.pid = c.pid;
	m->phase = MACHINE_STARTING;
	r = post(m, attach_posted);
	if (r < 0) {
		(void)err_errno(e, r, "watch %s", m->hooks->process_name);
		(void)kill_and_wait(m, NULL);
	} else if (!wait_phase_left(m, MACHINE_STARTING, deadline_ms)) {
		/* The failure also keeps a late machine_running() from being believed. */
		(void)snprintf(m->failure, sizeof m->failure, "%s did not come up in time",
			       m->hooks->process_name);
		r = err_set(e, -ETIMEDOUT, "%s", m->failure);
		(void)kill_and_wait(m, NULL);
	} else if (m->phase == MACHINE_ENDED) {
		r = err_status(e, STATUS_INTERNAL, "%s", m->reason);
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

int machine_stop(struct machine *m, uint64_t grace_ms, struct err *e)
{
	int r = 0;

	pthread_mutex_lock(&m->lock);
	if (m->phase == MACHINE_RUNNING && grace_ms)
		(void)wait_phase_left(m, MACHINE_RUNNING, time_deadline(grace_ms));
	if (m->phase == MACHINE_RUNNING) {
		m->stopping = true;
		/* Without grace the guest's state is worthless, and killing is the fastest. */
		if (grace_ms && post(m, ask_quit_posted) == 0)
			(void)wait_phase_left(m, MACHINE_RUNNING, time_deadline(QUIT_MS));
	}
	if (m->phase == MACHINE_RUNNING || m->phase == MACHINE_STARTING)
		r = kill_and_wait(m, e);
	else if (m->phase == MACHINE_IDLE)
		set_phase(m, MACHINE_ENDED);
	pthread_mutex_unlock(&m->lock);
	return r;
}

void machine_shutdown(struct machine *m)
{
	unwatch(m);
	pthread_mutex_lock(&m->lock);
	m->abandoned = true;
	m->base.params.on_exit = NULL;
	kill_and_reap(m);
	m->phase = MACHINE_ENDED;
	pthread_mutex_unlock(&m->lock);
	detach(m);
}
