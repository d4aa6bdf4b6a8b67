/* SPDX-License-Identifier: Apache-2.0 */
/* Tests only: a loop that runs in a thread of its own, as drivers expect, an exit callback that
 * remembers, and a configuration whose strings are all set. */
#pragma once

#include "config/config.h"
#include "hypervisor/hypervisor.h"

#include <pthread.h>

struct test_host {
	struct loop *loop;
	pthread_t thread;
	struct kata_config config;
	struct hypervisor_params params;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	int exits; /* how often on_exit came */
	int exit_code;
	char reason[1024];
};

/** Starts the loop; the configuration is that of driver @name with everything else unset. */
void test_host_init(struct test_host *t, const char *name);
/** Waits up to 10 s until on_exit has come. Whether it did. */
int test_host_wait_exit(struct test_host *t);
/** Frees the machine on the loop thread. NULL is fine. */
void test_host_free_machine(struct test_host *t, struct hypervisor *h);
/** Ends the loop. */
void test_host_deinit(struct test_host *t);
