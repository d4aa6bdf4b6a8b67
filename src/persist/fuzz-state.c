/* SPDX-License-Identifier: Apache-2.0 */
/* A state.json that is cut, damaged, or somebody else's. */
#include "persist/state.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whom it names must be told by a start time, and be one process. */
static void check(const struct state_pid *p)
{
	if (p->pid < 0 || (p->pid > 0 && p->start_time == 0))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state_pids pids;
	if (state_parse((const char *)data, size, &pids) == 0) {
		check(&pids.shim);
		check(&pids.vmm);
		check(&pids.virtiofsd);
	}
	return 0;
}
