/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's text, as a crash or a full disk may have left it. */
#include "persist/undo.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever is reported must be whole: no empty argument, none that spans lines. */
static int check(void *arg, enum undo_kind kind, const char *argument)
{
	if (kind > UNDO_PROCESS || !argument[0] || strchr(argument, '\n'))
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	(void)journal_parse((const char *)data, size, check, NULL);
	return 0;
}
