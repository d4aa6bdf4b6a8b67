/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/uevent.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct uevent u;

	if (size && uevent_parse((const char *)data, size, &u) == 0 &&
	    strlen(u.action) + strlen(u.devpath) + strlen(u.subsystem) > size)
		__builtin_trap();
	return 0;
}
