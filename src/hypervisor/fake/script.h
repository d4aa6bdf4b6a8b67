/* SPDX-License-Identifier: Apache-2.0 */
/* The parsed form of fake_script; the grammar is in fake.h. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct fake_script {
	char *text; /* owned; what follows points into it, or is NULL */
	const char *create_fail, *add_device_fail, *start_fail, *stop_fail, *agent_fail, *console;
	bool start_hang, never_power_off, agent_hybrid;
	int start_exit; /* -1: comes up */
	int exit_code;
	uint32_t start_delay_ms, stop_delay_ms, power_off_ms;
	int64_t exit_after_ms; /* -1: lives on */
};

int fake_script_parse(const char *text, struct fake_script *ret, struct err *e);
void fake_script_free(struct fake_script *s);
