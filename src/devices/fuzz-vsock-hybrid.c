/* SPDX-License-Identifier: Apache-2.0 */
/* The line of a hybrid socket's client: what is taken is what its canonical spelling gives. */
#include "devices/vsock-hybrid.h"

#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char line[VSOCK_HYBRID_LINE_MAX + 1];
	uint32_t port = 0, again = 0;

	if (vsock_hybrid_parse((const char *)data, size, &port) < 0)
		return 0;
	if (size > VSOCK_HYBRID_LINE_MAX || memchr(data, '\n', size) != data + size - 1)
		abort();
	int n = snprintf(line, sizeof line, "CONNECT %u\n", port);
	if (vsock_hybrid_parse(line, (size_t)n, &again) < 0 || again != port)
		abort();
	return 0;
}
