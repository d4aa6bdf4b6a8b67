/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a process' stdout: what is accepted must be whole. */
#include "runtimes/stdio-uri.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct stdio_uri u;
	char *uri = malloc(size + 1);
	size_t n = 0;

	if (!uri)
		abort();
	if (size)
		memcpy(uri, data, size);
	uri[size] = '\0';
	if (stdio_uri_parse("stdout", uri, &u, &e) < 0) {
		if (!e.errnum || !e.text[0])
			abort();
	} else {
		for (; u.args[n]; n++)
			if (strlen(u.args[n]) > size)
				abort();
		if (n % 2 || n > STDIO_ARGS_MAX || (u.kind == STDIO_NONE) != !u.path ||
		    (u.kind == STDIO_STREAM) != (u.stream_id != NULL))
			abort();
		stdio_uri_free(&u);
	}
	free(uri);
	return 0;
}
