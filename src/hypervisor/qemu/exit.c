/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/qemu/exit.h"

#include "base/cleanup.h"

#include <stdbool.h>
#include <string.h>

const char *qemu_panic_message(const char *console_line)
{
	static const char mark[] = "Kernel panic - not syncing: ";
	const char *p = strstr(console_line, mark);
	return p ? p + sizeof mark - 1 : NULL;
}

/* QAPI's ShutdownCause (qemu/qapi/run-state.json). */
static const char *shutdown_sentence(const char *cause)
{
	static const struct {
		const char *cause, *sentence;
	} table[] = {
		{"guest-shutdown", "the guest powered off"},
		{"guest-reset", "the guest rebooted"},
		{"guest-panic", "the guest kernel panicked"},
		{"host-qmp-quit", "the machine was stopped"},
		{"host-signal", "QEMU was ended by a signal"},
		{"host-error", "QEMU gave up after an error of the host"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (strcmp(cause, table[i].cause) == 0)
			return table[i].sentence;
	return NULL;
}

/* QEMU's stderr as one line: its lines joined, trailing ones cut off. */
static void one_line(const char *text, char *dst, size_t size)
{
	size_t n = 0;
	for (const char *p = text; *p && n + 3 < size; p++) {
		if (*p != '\n') {
			dst[n++] = *p;
		} else if (p[1] && n) {
			dst[n++] = ';';
			dst[n++] = ' ';
		}
	}
	dst[n] = '\0';
}

/* QEMU 7.2's words for guest memory that cannot be had (softmmu/physmem.c, backends/hostmem.c). */
static bool about_memory(const char *said)
{
	return strstr(said, "guest memory") || strstr(said, "guest RAM") ||
	       strstr(said, "preallocat") || strstr(said, "failed to resize memfd");
}

void qemu_exit_reason(const struct qemu_exit *x, char *dst, size_t size)
{
	char said[512], memory[48] = "";
	const char *sentence = shutdown_sentence(x->shutdown_reason);

	one_line(x->stderr_text, said, sizeof said);
	if (about_memory(said))
		(void)snprintf(memory, sizeof memory, "default_memory = %u MiB: ", x->memory_mib);

	if (x->panic_line[0])
		(void)snprintf(dst, size, "the guest kernel panicked: %s", x->panic_line);
	else if (x->status > 128)
		(void)snprintf(dst, size, "QEMU was killed by signal %d%s%s", x->status - 128,
			       said[0] ? ": " : "", said);
	else if (x->status != 0)
		(void)snprintf(dst, size, "QEMU exited with code %d%s%s%s", x->status,
			       said[0] ? ": " : "", memory, said);
	else if (sentence)
		(void)snprintf(dst, size, "%s", sentence);
	else if (x->shutdown_reason[0])
		(void)snprintf(dst, size, "QEMU ended (%.64s)", x->shutdown_reason);
	else
		(void)snprintf(dst, size, "QEMU exited without a reason%s%s", said[0] ? ": " : "",
			       said);
}
