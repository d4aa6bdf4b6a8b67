/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/agent.h"

static void job_free(struct job *j)
{
	tidy_later(j->agent);
	if (j->container)
		container_unref(j->container);
	(void)close_fd(j->in);
	(void)close_fd(j->out);
	(void)close_fd(j->errout);
	for (size_t i = 0; i < ARRAY_SIZE(j->streams); i++)
		(void)close_fd(j->streams[i]);
	(void)close_fd(j->process.pidfd);
	(void)close_fd(j->process.pty);
	free(j);
}

struct job *job_new(struct agent *a, struct rpc_call *call, struct container *c)
{
	struct job *j = calloc(1, sizeof *j);
	if (!j) {
		log_error("no memory for a request");
		if (call)
			rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED,
				       "no memory for the request");
		return NULL;
	}
	list_init(&j->link);
	j->agent = a;
	j->call = call;
	j->process = ENGINE_PROCESS_INIT;
	j->in = j->out = j->errout = -EBADF;
	for (size_t i = 0; i < ARRAY_SIZE(j->streams); i++)
		j->streams[i] = -EBADF;
	if (c) {
		c->refs++;
		j->container = c;
	}
	return j;
}

void job_abandon(struct job *j)
{
	if (j->call)
		rpc_call_failf(j->call, STATUS_UNAVAILABLE, "the agent ends");
	job_free(j);
}

static void run_done(void *arg)
{
	struct job *j = arg;

	j->agent->jobs--;
	j->done(j);
	job_free(j);
}

static void run_work(void *arg)
{
	struct job *j = arg;

	j->work(j);
	/* done() answers the call and undoes what depends on it: it has to run */
	while (loop_post(j->agent->loop, run_done, j) < 0)
		(void)usleep(10 * 1000);
}

void job_start(struct job *j, void (*work)(struct job *), void (*done)(struct job *))
{
	struct strand *s = j->strand	  ? j->strand
			   : j->container ? j->container->strand
					  : j->agent->strand;

	j->work = work;
	j->done = done;
	j->agent->jobs++;
	int r = strand_run(s, run_work, j);
	if (r < 0) {
		j->r = err_set(&j->e, r, "no memory to queue the request");
		run_done(j);
	}
}

void job_start_alone(struct job *j, void (*work)(struct job *), void (*done)(struct job *))
{
	struct strand *s;

	if (strand_new(j->agent->pool, &s) < 0) {
		j->r = err_set(&j->e, -ENOMEM, "no memory to queue the request");
		job_finish(j, done);
		return;
	}
	j->strand = s;
	job_start(j, work, done);
	strand_release(s);
}

void job_finish(struct job *j, void (*done)(struct job *))
{
	j->done = done;
	j->agent->jobs++;
	run_done(j);
}

void job_reply_empty(struct job *j)
{
	if (j->r < 0) {
		log_error("%s: %s", rpc_call_method(j->call), err_text(&j->e, j->r));
		rpc_call_fail(j->call, &j->e);
	} else {
		reply_empty(j->call);
	}
}
