/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of a container that has no cgroup: found by a namespace that is the container's
 * alone. That is its pid namespace, whose end ends all in it, also those in further ones below;
 * without one of its own its mount namespace, out of which a privileged process can get.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct engine_owned {
	/* Held open: once a namespace is gone, its number is given to the next one, and killing by
	 * number would kill strangers. */
	int fd;
	bool is_pid;
	uint64_t ino;
};

#define ENGINE_OWNED_INIT ((struct engine_owned){.fd = -EBADF})

/** Takes hold, by a process' directory below /proc (O_PATH). @own_pid: it has its own pid ns. */
int engine_owned_open(int proc_pid_fd, bool own_pid, struct engine_owned *ret);
void engine_owned_close(struct engine_owned *o);

/** Every process that is in it. *@ret is malloc'ed. Zombies are not. */
int engine_owned_pids(const struct engine_owned *o, pid_t **ret, size_t *ret_n);
