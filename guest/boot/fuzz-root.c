/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as the kernel's command line: refused, or a root that is read-only and protected. */
#include "guest/boot/root.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct root r;
	char *cmdline = strndup((const char *)data, size);

	if (!cmdline)
		return 0;
	if (root_parse(cmdline, &r, NULL) == 0 &&
	    (!strstr(r.options, "_on_corruption") || r.verity.root_len == 0 || !r.name[0] ||
	     !r.data_device[0] || !r.hash_device[0]))
		abort();
	free(cmdline);
	return 0;
}
