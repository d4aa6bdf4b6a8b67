/* SPDX-License-Identifier: Apache-2.0 */
/* What comes to the standard input of `start`. */
#include "shim/bootstrap.h"

#include "proto/runtimeoptions.pb-c.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is taken from it can be used as it is: whole options, an absolute path for the socket. */
static void check(const struct bootstrap *b)
{
	Runtimeoptions__V1__Options *o = runtimeoptions__v1__options__unpack(
		NULL, b->options.len, (const uint8_t *)b->options.data);
	if (!o || b->socket_dir[0] != '/')
		abort();
	runtimeoptions__v1__options__free_unpacked(o, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct cli cli = {.id = "a1", .namespace = "ns"};
	struct bootstrap b = BOOTSTRAP_INIT;
	struct err e = ERR_INIT;

	if (bootstrap_parse(&cli, data, size, &b, &e) == 0)
		check(&b);
	else if (!e.text[0])
		abort(); /* a refusal says why */
	bootstrap_deinit(&b);
	return 0;
}
