/* SPDX-License-Identifier: Apache-2.0 */
/* Both lines of a forwarded connection: a request that is taken reads the same written anew. */
#include "rpc/forward.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_request(const char *line, size_t size)
{
	union forward_address a, again;
	char canonical[FORWARD_REQUEST_MAX];

	if (forward_parse(line, size, &a, NULL) < 0)
		return;
	int n = forward_request(&a, canonical);
	if (n < 0 || forward_parse(canonical, (size_t)n, &again, NULL) < 0 ||
	    memcmp(&a, &again, forward_address_len(&a)) != 0)
		abort();
}

static void try_answer(const char *line, size_t size)
{
	struct err e = ERR_INIT;

	int r = forward_parse_answer(line, size, &e);
	if (r == 0 && size != strlen(FORWARD_OK))
		abort();
	for (const char *p = e.text; *p; p++)
		if (*p < ' ' || *p == 0x7f)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_request((const char *)data, size);
	try_answer((const char *)data, size);
	return 0;
}
