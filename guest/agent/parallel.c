/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/parallel.h"

#include <pthread.h>
#include <stdbool.h>

/* More than that side by side has never paid in a small machine. */
#define THREADS_MAX 16
#define STACK_BYTES (256 * 1024)

struct parallel {
	pthread_mutex_t lock; /* guards what follows */
	size_t next, n;
	int r; /* of round @failed */
	size_t failed;
	struct err e;

	int (*work)(void *ctx, size_t i, struct err *e);
	void *ctx;
};

/* The next round, or false when there is none to begin. */
static bool take(struct parallel *p, size_t *ret)
{
	pthread_mutex_lock(&p->lock);
	bool more = p->r == 0 && p->next < p->n;
	if (more)
		*ret = p->next++;
	pthread_mutex_unlock(&p->lock);
	return more;
}

static void note_failure(struct parallel *p, size_t i, int r, const struct err *e)
{
	pthread_mutex_lock(&p->lock);
	if (p->r == 0 || i < p->failed) {
		p->r = r;
		p->failed = i;
		p->e = *e;
	}
	pthread_mutex_unlock(&p->lock);
}

static void *run(void *arg)
{
	struct parallel *p = arg;
	size_t i;

	while (take(p, &i)) {
		struct err e = ERR_INIT;
		int r = p->work(p->ctx, i, &e);
		if (r < 0)
			note_failure(p, i, r, &e);
	}
	return NULL;
}

int parallel_run(unsigned threads, size_t n, int (*work)(void *ctx, size_t i, struct err *e),
		 void *ctx, struct err *e)
{
	struct parallel p = {.n = n, .work = work, .ctx = ctx, .e = ERR_INIT};
	pthread_t others[THREADS_MAX];
	pthread_attr_t attr;
	unsigned started = 0;

	pthread_mutex_init(&p.lock, NULL);
	if (pthread_attr_init(&attr) == 0) {
		(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
		while (started + 1 < threads && started + 1 < n && started < THREADS_MAX &&
		       pthread_create(&others[started], &attr, run, &p) == 0)
			started++;
		(void)pthread_attr_destroy(&attr);
	}
	(void)run(&p);
	while (started > 0)
		(void)pthread_join(others[--started], NULL);
	pthread_mutex_destroy(&p.lock);
	if (p.r < 0 && e)
		*e = p.e;
	return p.r;
}
