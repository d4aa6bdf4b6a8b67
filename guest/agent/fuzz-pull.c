/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/storage-driver.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	bool sandbox = false;
	char *text = strndup((const char *)data, size);

	if (!text)
		return 0;
	if (storage_pull_is_sandbox(text, &sandbox, &e) < 0 && !e.text[0])
		__builtin_trap();
	free(text);
	return 0;
}
