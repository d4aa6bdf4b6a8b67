/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places on the PCI bus, as the runtime names them: "02/01.3" is function 3 in slot 1 behind the
 * bridge in slot 2 of the root bus. Slots and functions are hexadecimal; function 0 may be left
 * out. A first number that no slot can have (above 1f) is the number of another root bus, which
 * QEMU's pxb devices make: "20/00/00".
 *
 * Numbers of buses are the guest's business, so a path is resolved through sysfs each time it is
 * needed. No state; any thread. The path is a peer's and trusted with nothing.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Root port, two ports of a switch, a bridge and the device itself are 5. */
#define PCI_PATH_MAX 8

struct pci_path {
	uint8_t root_bus;
	size_t n;
	struct {
		uint8_t slot, function;
	} v[PCI_PATH_MAX];
};

/** -EINVAL if it is no such path. */
int pci_path_parse(const char *text, struct pci_path *ret, struct err *e);
/** The same of slots alone, as AddSwap has them. */
int pci_path_from_slots(const uint32_t *slots, size_t n, struct pci_path *ret, struct err *e);

/* "0000:01:1f.7" and its NUL. */
#define PCI_ADDRESS_MAX 13
/** "01:02.3" or "0000:01:02.3", any case, to the long form in lower case. -EINVAL. */
int pci_address_parse(const char *text, char ret[PCI_ADDRESS_MAX]);

/* "/sys/devices/pci0000:00", and 13 bytes for each step. */
#define PCI_DIR_MAX 256
/**
 * Finds a device's directory below @sysfs ("/sys"). -ENOENT: there is none at that place, or not
 * yet; the sentence says how far the way goes.
 */
int pci_find(const char *sysfs, const struct pci_path *p, char ret_dir[PCI_DIR_MAX], struct err *e);
/** The last part of a device's directory: its address. */
const char *pci_dir_address(const char *dir);
