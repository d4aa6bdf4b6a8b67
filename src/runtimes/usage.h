/* SPDX-License-Identifier: Apache-2.0 */
/* What a process and all its descendants use of the host, by what /proc says about them. */
#pragma once

#include "base/err.h"

#include <stdint.h>
#include <sys/types.h>

struct usage {
	uint64_t cpu_user_ns, cpu_system_ns;
	/* Proportional: a page that two of them share counts once, one that is shared with others
	 * (a library) counts by its part. */
	uint64_t memory_bytes;
	uint64_t threads;
};

/** Processes that end meanwhile are left out; -ESRCH if @pid itself is none. For a worker: the
 * kernel walks the page tables of each. */
int usage_read(pid_t pid, struct usage *ret, struct err *e);
