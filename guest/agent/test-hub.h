/* SPDX-License-Identifier: Apache-2.0 */
/* A Confidential Data Hub that does as it is told. Tests only. */
#pragma once

#include "io/loop.h"
#include "rpc/rpc.h"

#include <pthread.h>
#include <stdatomic.h>

enum hub_mood {
	HUB_WORKS,
	HUB_FAILS,
	HUB_IS_SILENT,
	HUB_LIES, /* says that it has mounted, and has not */
};

struct hub {
	char socket[96];
	const char *rootfs; /* what an image is: bound where it is asked for; NULL: an empty one */
	atomic_int mood;
	atomic_int pulls, mounts, unseals;
	char text[512]; /* of the last request */

	struct loop *loop;
	pthread_t thread;
	struct rpc_server *server;
	struct rpc_call *kept[16]; /* not answered */
	unsigned n_kept;
};

/** Serves at ->socket. "sealed.X" unseals to "X"; what is mounted is a tmpfs. */
void hub_start(struct hub *h);
void hub_stop(struct hub *h);
