/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest of components, as the JSON that the parser makes of it. */
#include "fmt/json.h"
#include "guest/agent/component-plan.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct json_limits limits = {
		.bytes = COMPONENTS_MANIFEST_MAX, .depth = 16, .values = 4096};
	const struct component_settings s = {.level = COMPONENTS_REST,
					     .rest_api = "all",
					     .timeout_s = 6,
					     .initdata = true,
					     .extension = "/x",
					     .run = "/run"};
	struct component_plan p;
	json_t *root;

	if (json_text_parse((const char *)data, size, &limits, &root, NULL) < 0)
		return 0;
	if (component_plan_manifest(&s, root, &p, NULL) == 0)
		for (size_t i = 0; i < p.n; i++)
			if (strncmp(p.v[i].path, "/x/", 3) != 0 || strstr(p.v[i].path, "/../") ||
			    p.v[i].args.v[p.v[i].args.n] || p.v[i].env.v[p.v[i].env.n])
				__builtin_trap();
	component_plan_free(&p);
	json_decref(root);
	return 0;
}
