/* SPDX-License-Identifier: Apache-2.0 */
/* Any text is a policy, or a sentence says in which line it is not; and a refusal changes nothing.
 */
#include "guest/agent/policy.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char before[] = "package agent_policy\nA := true";
	struct policy *p = NULL;
	struct err e = ERR_INIT;

	must(policy_new(&p) == 0);
	must(policy_load(p, before, sizeof before - 1, &e) == 0);
	int r = policy_load(p, (const char *)data, size, &e);
	must(r == 0 || (r == -EINVAL && e.text[0]));
	must(r == 0 ||
	     (policy_ask(p, "A") == POLICY_ALLOWED && policy_ask(p, "B") == POLICY_DENIED));
	(void)policy_ask(p, "ExecProcessRequest");
	policy_free(p);
	return 0;
}
