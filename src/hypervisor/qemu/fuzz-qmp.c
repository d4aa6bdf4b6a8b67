/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a hostile QEMU, cut into pieces whose size is the first byte. */
#include "hypervisor/qemu/qmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_message(void *arg, const struct qmp_message *m, struct err *e)
{
	/* What the driver reads of messages. */
	(void)json_string_value(json_object_get(m->body, "reason"));
	(void)json_string_value(json_object_get(m->body, "status"));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qmp_reader r = {.scanned = 0};
	struct err e = ERR_INIT;

	if (!size)
		return 0;
	size_t step = data[0] ? data[0] : 4096;
	for (size_t at = 1; at < size; at += step) {
		size_t n = size - at < step ? size - at : step;
		if (qmp_reader_feed(&r, data + at, n, on_message, NULL, &e) < 0)
			break;
	}
	qmp_reader_free(&r);
	return 0;
}
