/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the host's PCI devices are in the guest. A device plugin tells a container by variables
 * PCIDEVICE_* which devices it has, with the addresses of the host; here they become the guest's.
 *
 * One thread at a time.
 */
#pragma once

#include "oci/arena.h"
#include "oci/spec.h"

#include <stdbool.h>

/* Devices of one container; a node has fewer slots. */
#define PCI_MAP_MAX 256

struct pci_map;

struct pci_map *pci_map_new(void);
/** NULL is fine. */
void pci_map_free(struct pci_map *m);
/** Adds a pair of addresses. -EINVAL: @host is none, or has another place already. */
int pci_map_add(struct pci_map *m, const char *host, const char *guest, struct err *e);

/**
 * Rewrites PCIDEVICE_* in an environment; new strings are of the arena. Nothing without a map
 * (NULL) or with an empty one. -EINVAL: a variable names a device that the map has not, so that the
 * container would look in the wrong place. In PCIDEVICE_*_INFO, which is JSON, only what the map
 * has is replaced.
 */
int pci_map_environment(const struct pci_map *m, struct oci_arena *arena, struct oci_strv *env,
			struct err *e);

DEFINE_CLEANUP(struct pci_map, pci_map_free)
