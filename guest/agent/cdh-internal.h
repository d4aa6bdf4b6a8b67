/* SPDX-License-Identifier: Apache-2.0 */
/* What cdh.c and cdh-secrets.c share. */
#pragma once

#include "guest/agent/cdh.h"

#include <pthread.h>

struct cdh {
	struct loop *loop;
	struct cdh_options options;
	pthread_mutex_t store_lock; /* held while the store is mounted */
	bool has_store;
};
