/* SPDX-License-Identifier: Apache-2.0 */
/* What a command line says of extensions. */
#include "guest/agent/extension.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct extensions x;
	char *text = strndup((const char *)data, size);

	if (text && extensions_parse(text, &x, NULL) == 0)
		for (size_t i = 0; i < x.n; i++)
			if (!x.v[i].name[0] || strpbrk(x.v[i].name, "/. ") ||
			    (x.v[i].verified &&
			     (!x.v[i].verity.root_len || !x.v[i].verity.data_blocks)))
				__builtin_trap();
	free(text);
	return 0;
}
