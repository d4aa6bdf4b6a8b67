/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/options.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct agent_options o;
	char *text = strndup((const char *)data, size);

	if (!text)
		return 0;
	agent_options_default(&o);
	agent_options_parse(&o, text, NULL, NULL);
	if (memchr(o.server_addr, '\0', sizeof o.server_addr) == NULL || !o.server_addr[0])
		__builtin_trap();
	free(text);
	return 0;
}
