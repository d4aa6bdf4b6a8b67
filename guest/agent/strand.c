/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/strand.h"

#include "base/list.h"

#include <pthread.h>

struct job {
	struct list link;
	void (*fn)(void *arg);
	void *arg;
};

struct strand {
	pthread_mutex_t lock; /* guards all below */
	struct worker_pool *pool;
	struct list jobs;
	bool running;  /* a worker has it, or is about to */
	bool released; /* by its owner */
};

int strand_new(struct worker_pool *pool, struct strand **ret)
{
	struct strand *s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	list_init(&s->jobs);
	s->pool = pool;
	*ret = s;
	return 0;
}

static void strand_destroy(struct strand *s)
{
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* One job, then back to the end of the pool's queue: other strands get their turn. */
static void strand_turn(void *arg)
{
	struct strand *s = arg;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct job *j = list_first(&s->jobs, struct job, link);
		list_del(&j->link);
		pthread_mutex_unlock(&s->lock);
		j->fn(j->arg);
		free(j);
		pthread_mutex_lock(&s->lock);
		if (list_empty(&s->jobs))
			break;
		if (worker_pool_run(s->pool, strand_turn, s) == 0) {
			pthread_mutex_unlock(&s->lock);
			return;
		}
		/* no memory to queue: go on here, so that no job is lost */
	}
	s->running = false;
	bool last = s->released;
	pthread_mutex_unlock(&s->lock);
	if (last)
		strand_destroy(s);
}

int strand_run(struct strand *s, void (*fn)(void *arg), void *arg)
{
	struct job *j = malloc(sizeof *j);
	if (!j)
		return -ENOMEM;
	j->fn = fn;
	j->arg = arg;
	pthread_mutex_lock(&s->lock);
	list_add_tail(&s->jobs, &j->link);
	int r = 0;
	if (!s->running) {
		r = worker_pool_run(s->pool, strand_turn, s);
		s->running = r == 0;
		if (r < 0)
			list_del(&j->link);
	}
	pthread_mutex_unlock(&s->lock);
	if (r < 0)
		free(j);
	return r;
}

void strand_release(struct strand *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->released = true;
	bool idle = !s->running;
	pthread_mutex_unlock(&s->lock);
	if (idle)
		strand_destroy(s);
}
