/* SPDX-License-Identifier: Apache-2.0 */
/* Time. Durations are milliseconds in names that end in _ms; deadlines are absolute milliseconds
 * of CLOCK_MONOTONIC, 0 meaning none. */
#pragma once

#include <stdint.h>
#include <time.h>

static inline uint64_t time_now_ms(void)
{
	struct timespec ts;
	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/** The deadline that lies @timeout_ms from now; 0 stays "none". */
static inline uint64_t time_deadline(uint64_t timeout_ms)
{
	return timeout_ms ? time_now_ms() + timeout_ms : 0;
}

/** What is left until @deadline_ms for poll(2): -1 for none, 0 when it has passed. */
static inline int time_left_ms(uint64_t deadline_ms)
{
	if (!deadline_ms)
		return -1;
	uint64_t now = time_now_ms();
	if (now >= deadline_ms)
		return 0;
	return deadline_ms - now > INT32_MAX ? INT32_MAX : (int)(deadline_ms - now);
}
