/* SPDX-License-Identifier: Apache-2.0 */
#include "io/worker.h"

#include "base/list.h"

#include <pthread.h>
#include <signal.h>

struct job {
	struct list link;
	void (*fn)(void *arg);
	void *arg;
};

struct worker_pool {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list jobs;
	bool stop;
	unsigned n_threads;
	pthread_t threads[];
};

static void *worker_main(void *arg)
{
	struct worker_pool *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (list_empty(&p->jobs) && !p->stop)
			pthread_cond_wait(&p->more, &p->lock);
		if (p->stop)
			break;
		struct job *job = list_first(&p->jobs, struct job, link);
		list_del(&job->link);
		pthread_mutex_unlock(&p->lock);
		job->fn(job->arg);
		free(job);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

int worker_pool_new(unsigned n, size_t stack_bytes, struct worker_pool **ret)
{
	struct worker_pool *p = calloc(1, sizeof *p + n * sizeof p->threads[0]);
	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
	list_init(&p->jobs);

	/* Signals belong to the loop thread. */
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, stack_bytes ? stack_bytes : 256 * 1024);
	int r = 0;
	for (unsigned i = 0; i < n && r == 0; i++) {
		r = -pthread_create(&p->threads[i], &attr, worker_main, p);
		if (r == 0)
			p->n_threads++;
	}
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0) {
		worker_pool_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int worker_pool_run(struct worker_pool *p, void (*fn)(void *arg), void *arg)
{
	struct job *job = malloc(sizeof *job);
	if (!job)
		return -ENOMEM;
	job->fn = fn;
	job->arg = arg;
	pthread_mutex_lock(&p->lock);
	list_add_tail(&p->jobs, &job->link);
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->lock);
	return 0;
}

void worker_pool_free(struct worker_pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->more);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n_threads; i++)
		pthread_join(p->threads[i], NULL);
	while (!list_empty(&p->jobs)) {
		struct job *job = list_first(&p->jobs, struct job, link);
		list_del(&job->link);
		free(job);
	}
	pthread_cond_destroy(&p->more);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
