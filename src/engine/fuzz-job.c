/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a job: refused, or decoded to something that encodes to the same bytes. */
#include "engine/job.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct engine_job job;
	if (engine_job_decode(data, size, &job) < 0)
		return 0;
	_cleanup_buf_ struct buf again = BUF_INIT;
	if (engine_job_encode(&job, &again) < 0 || again.len != size ||
	    memcmp(again.data, data, size) != 0)
		abort();
	engine_job_deinit(&job);
	return 0;
}
