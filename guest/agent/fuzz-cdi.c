/* SPDX-License-Identifier: Apache-2.0 */
/* A file of CDI: its own edits, and those of each of its devices, in a fresh spec. */
#include "guest/agent/cdi-edits.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void edit(const struct yaml_node *edits)
{
	struct oci_spec *s = oci_spec_new();

	if (s && cdi_edit(s, edits, NULL) == 0)
		for (size_t i = 0; i < s->n_devices; i++)
			if (s->devices[i].path[0] != '/')
				__builtin_trap();
	oci_spec_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct oci_arena *arena = oci_arena_new();
	struct yaml_node *root;

	if (size && arena && yaml_parse(arena, (const char *)data, size, &root, NULL) == 0) {
		const struct yaml_node *list = yaml_get(root, "devices");
		edit(yaml_get(root, "containerEdits"));
		for (const struct yaml_node *n = list ? list->first : NULL; n; n = n->next)
			edit(yaml_get(n, "containerEdits"));
	}
	oci_arena_free(arena);
	return 0;
}
