/* SPDX-License-Identifier: Apache-2.0 */
/* A line is a PCI path or an address; the whole is a variable of a device plugin as well. */
#include "guest/agent/pci-map.h"
#include "guest/agent/pci.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one(const char *text)
{
	struct pci_path p;
	char address[PCI_ADDRESS_MAX];

	if (pci_path_parse(text, &p, NULL) == 0) {
		if (p.n == 0 || p.n > PCI_PATH_MAX || (p.root_bus && p.root_bus < 0x20))
			__builtin_trap();
		for (size_t i = 0; i < p.n; i++)
			if (p.v[i].slot > 0x1f || p.v[i].function > 7)
				__builtin_trap();
	}
	if (pci_address_parse(text, address) == 0 && strlen(address) != PCI_ADDRESS_MAX - 1)
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size);
	struct oci_arena *arena = oci_arena_new();
	struct pci_map *m = pci_map_new();

	if (text && arena && m && pci_map_add(m, "0000:06:00.1", "0000:01:00.0", NULL) == 0) {
		char *v[] = {text, NULL}, *save = NULL;
		struct oci_strv env = {.v = v, .n = 1};
		(void)pci_map_environment(m, arena, &env, NULL);
		for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
			one(l);
	}
	pci_map_free(m);
	oci_arena_free(arena);
	return 0;
}
