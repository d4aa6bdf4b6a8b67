/* SPDX-License-Identifier: Apache-2.0 */
/* Why a machine ended, as a sentence for a person: a pure function of what was seen. */
#pragma once

#include <stddef.h>

struct qemu_exit {
	int status;		     /* exit code, or 128 + signal */
	const char *shutdown_reason; /* of QMP's SHUTDOWN event; "" if none came */
	const char *panic_line;	     /* the guest kernel's panic message; "" if none was seen */
	const char *stderr_text;     /* the last of QEMU's stderr; "" if it said nothing */
	unsigned memory_mib;	     /* default_memory, for the failure that it causes */
};

void qemu_exit_reason(const struct qemu_exit *x, char *dst, size_t size);

/** The message within a console line that reports a kernel panic, or NULL. */
const char *qemu_panic_message(const char *console_line);
