/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/testing-loop.h"

#include "io/testing.h"

#include <string.h>

static void on_exit_noted(void *arg, int exit_code, const char *reason)
{
	struct test_host *t = arg;
	pthread_mutex_lock(&t->lock);
	t->exits++;
	t->exit_code = exit_code;
	(void)snprintf(t->reason, sizeof t->reason, "%s", reason);
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

void test_host_init(struct test_host *t, const char *name)
{
	static char empty[] = "";
	*t = (struct test_host){.exit_code = -1};
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	if (loop_new(&t->loop) < 0 || testing_loop_start(t->loop, &t->thread) < 0)
		exit(1);

	struct hypervisor_config *c = &t->config.hypervisor;
	c->name = (char *)name;
	c->path = c->kernel = c->initrd = c->image = c->firmware = c->kernel_params = empty;
	c->accelerator = c->machine_type = c->machine_accelerators = c->cpu_features = empty;
	c->seccomp_sandbox = c->shared_fs = c->virtio_fs_daemon = c->virtio_fs_cache = empty;
	c->fake_script = c->fake_agent_socket = empty;
	c->default_vcpus = 1;
	c->default_memory = 256;
	t->config.agent.log_level = empty;
	t->params = (struct hypervisor_params){
		.loop = t->loop,
		.config = &t->config,
		.sandbox_id = "s1",
		.run_dir = "/tmp",
		.netns_fd = -1,
		.on_exit = on_exit_noted,
		.on_exit_arg = t,
	};
}

int test_host_wait_exit(struct test_host *t)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	pthread_mutex_lock(&t->lock);
	int r = 0;
	while (!t->exits && r == 0)
		r = pthread_cond_timedwait(&t->changed, &t->lock, &until);
	int seen = t->exits != 0;
	pthread_mutex_unlock(&t->lock);
	return seen;
}

struct freeing {
	struct test_host *t;
	struct hypervisor *h;
	int done;
};

static void free_posted(void *arg)
{
	struct freeing *f = arg;
	hypervisor_free(f->h);
	pthread_mutex_lock(&f->t->lock);
	f->done = 1;
	pthread_cond_broadcast(&f->t->changed);
	pthread_mutex_unlock(&f->t->lock);
}

void test_host_free_machine(struct test_host *t, struct hypervisor *h)
{
	struct freeing f = {.t = t, .h = h};
	if (!h || loop_post(t->loop, free_posted, &f) < 0)
		return;
	pthread_mutex_lock(&t->lock);
	while (!f.done)
		pthread_cond_wait(&t->changed, &t->lock);
	pthread_mutex_unlock(&t->lock);
}

void test_host_deinit(struct test_host *t)
{
	loop_stop(t->loop);
	pthread_join(t->thread, NULL);
	loop_free(t->loop);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
}
