/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/qemu/exit.h"

#include "base/testing.h"

#include <string.h>

static void each_end_has_its_sentence(void **state)
{
	static const struct {
		struct qemu_exit x;
		const char *reason;
	} table[] = {
		{{0, "guest-shutdown", "", "", 256}, "the guest powered off"},
		{{0, "guest-reset", "", "", 256}, "the guest rebooted"},
		{{0, "guest-panic", "", "", 256}, "the guest kernel panicked"},
		{{0, "host-qmp-quit", "", "", 256}, "the machine was stopped"},
		{{0, "host-signal", "", "", 256}, "QEMU was ended by a signal"},
		{{0, "subsystem-reset", "", "", 256}, "QEMU ended (subsystem-reset)"},
		{{0, "", "", "", 256}, "QEMU exited without a reason"},
		{{0, "", "", "QEMU 7.2\n", 256}, "QEMU exited without a reason: QEMU 7.2"},
		{{137, "", "", "", 256}, "QEMU was killed by signal 9"},
		{{134, "", "", "assertion x\nfailed\n", 256},
		 "QEMU was killed by signal 6: assertion x; failed"},
		/* a panic ends in a reset, and is the better reason */
		{{0, "guest-reset", "Attempted to kill init!", "", 256},
		 "the guest kernel panicked: Attempted to kill init!"},
		{{1, "", "", "qemu: could not load kernel 'x'\n", 256},
		 "QEMU exited with code 1: qemu: could not load kernel 'x'"},
		{{1, "", "", "qemu: cannot set up guest memory 'mem': Cannot allocate memory\n",
		  4096},
		 "QEMU exited with code 1: default_memory = 4096 MiB: qemu: cannot set up guest "
		 "memory 'mem': Cannot allocate memory"},
		{{1, "", "",
		  "qemu: unable to map backing store for guest RAM: Cannot allocate memory\n", 9},
		 "QEMU exited with code 1: default_memory = 9 MiB: qemu: unable to map backing "
		 "store for guest RAM: Cannot allocate memory"},
	};
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		char reason[768];
		qemu_exit_reason(&table[i].x, reason, sizeof reason);
		assert_string_equal(reason, table[i].reason);
	}
}

static void a_long_stderr_is_cut(void **state)
{
	char big[2048], reason[128];
	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = '\0';
	struct qemu_exit x = {1, "", "", big, 1};
	qemu_exit_reason(&x, reason, sizeof reason);
	assert_int_equal(strlen(reason), sizeof reason - 1);
}

static void panics_are_found_in_console_lines(void **state)
{
	assert_string_equal(
		qemu_panic_message("[    0.5] Kernel panic - not syncing: No working init found."),
		"No working init found.");
	assert_null(qemu_panic_message("[    0.5] ---[ end Kernel panic"));
	assert_null(qemu_panic_message(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_end_has_its_sentence),
		cmocka_unit_test(a_long_stderr_is_cut),
		cmocka_unit_test(panics_are_found_in_console_lines),
	};
	return RUN_TESTS();
}
