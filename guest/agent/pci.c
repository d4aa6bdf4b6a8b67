/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/pci.h"

#include "base/fd.h"

#include <ctype.h>
#include <dirent.h>
#include <string.h>

#define SLOT_MAX 0x1f
#define FUNCTION_MAX 7
#define BUS_MAX 0xff
/* "0000:01" */
#define BUS_NAME_MAX 8

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* One or two digits; returns the number, or -1. */
static int parse_hex(const char **p)
{
	int high = hex_value(**p);
	if (high < 0)
		return -1;
	int low = hex_value(*++*p);
	if (low < 0)
		return high;
	++*p;
	return high << 4 | low;
}

static int path_bad(const char *text, struct err *e)
{
	return err_set(e, -EINVAL,
		       "PCI path \"%.80s\": not slots as 02/1f.3 (at most %d of them, to 1f.7)",
		       text, PCI_PATH_MAX);
}

static int parse_step(const char **p, struct pci_path *ret)
{
	int slot = parse_hex(p), function = 0;

	if (slot < 0 || ret->n == PCI_PATH_MAX)
		return -EINVAL;
	if (**p == '.') {
		++*p;
		function = **p >= '0' && **p <= '0' + FUNCTION_MAX ? *(*p)++ - '0' : -1;
		if (function < 0)
			return -EINVAL;
	} else if (slot > SLOT_MAX && ret->n == 0 && !ret->root_bus && **p == '/') {
		ret->root_bus = (uint8_t)slot;
		return 0;
	}
	if (slot > SLOT_MAX)
		return -EINVAL;
	ret->v[ret->n].slot = (uint8_t)slot;
	ret->v[ret->n++].function = (uint8_t)function;
	return 0;
}

int pci_path_parse(const char *text, struct pci_path *ret, struct err *e)
{
	struct pci_path path = {.n = 0};
	const char *p = text;

	do {
		if (parse_step(&p, &path) < 0)
			return path_bad(text, e);
	} while (*p == '/' && *++p);
	if (*p || p[-1] == '/')
		return path_bad(text, e);
	*ret = path;
	return 0;
}

int pci_path_from_slots(const uint32_t *slots, size_t n, struct pci_path *ret, struct err *e)
{
	char text[3 * (PCI_PATH_MAX + 1) + 1] = "";

	if (n == 0 || n > PCI_PATH_MAX + 1)
		return err_set(e, -EINVAL, "a PCI path of %zu slots: not 1 to %d", n, PCI_PATH_MAX);
	for (size_t i = 0; i < n; i++) {
		if (slots[i] > BUS_MAX)
			return err_set(e, -EINVAL, "a PCI path with slot %u: more than %d",
				       slots[i], SLOT_MAX);
		(void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s%02x",
			       i ? "/" : "", slots[i]);
	}
	return pci_path_parse(text, ret, e);
}

/* Lower-case hexadecimal digits and the separators of "dddd:dd:dd.d". */
static bool address_valid(const char *s)
{
	static const char form[] = "xxxx:xx:xx.x";

	if (strlen(s) != sizeof form - 1)
		return false;
	for (size_t i = 0; i < sizeof form - 1; i++)
		if (form[i] == 'x' ? hex_value(s[i]) < 0 : s[i] != form[i])
			return false;
	int slot = hex_value(s[8]) << 4 | hex_value(s[9]);
	return slot <= SLOT_MAX && hex_value(s[11]) <= FUNCTION_MAX;
}

int pci_address_parse(const char *text, char ret[PCI_ADDRESS_MAX])
{
	char full[PCI_ADDRESS_MAX] = "0000:";
	size_t len = strlen(text);

	if (len != PCI_ADDRESS_MAX - 1 && len != PCI_ADDRESS_MAX - 6)
		return -EINVAL;
	memcpy(full + sizeof full - 1 - len, text, len);
	for (char *p = full; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	if (!address_valid(full))
		return -EINVAL;
	memcpy(ret, full, sizeof full);
	return 0;
}

/* ---- sysfs -------------------------------------------------------------------------------- */

/* On arm64 with a device tree, the host bridge is a platform device:
 * .../4010000000.pcie/pci0000:00.
 */
static int find_platform_root(const char *sysfs, unsigned bus, char ret_dir[PCI_DIR_MAX])
{
	char path[PCI_DIR_MAX];
	int r = path_format(path, sizeof path, "%s/devices/platform", sysfs);
	DIR *d = r < 0 ? NULL : opendir(path);
	if (!d)
		return -ENOENT;
	r = -ENOENT;
	for (struct dirent *de; r < 0 && (de = readdir(d));) {
		const char *dot = strrchr(de->d_name, '.');
		if (dot && strcmp(dot, ".pcie") == 0 &&
		    path_format(ret_dir, PCI_DIR_MAX, "%s/%s/pci0000:%02x", path, de->d_name,
				bus) == 0 &&
		    access(ret_dir, F_OK) == 0)
			r = 0;
	}
	(void)closedir(d);
	return r;
}

static int find_root(const char *sysfs, unsigned bus, char ret_dir[PCI_DIR_MAX])
{
	int r = path_format(ret_dir, PCI_DIR_MAX, "%s/devices/pci0000:%02x", sysfs, bus);
	if (r < 0 || access(ret_dir, F_OK) == 0)
		return r;
	return find_platform_root(sysfs, bus, ret_dir);
}

/* The bus behind a bridge: the only entry of its directory pci_bus. */
static int bus_behind(const char *dir, char ret_bus[BUS_NAME_MAX])
{
	char path[PCI_DIR_MAX + 16];
	int r = path_format(path, sizeof path, "%s/pci_bus", dir);
	DIR *d = r < 0 ? NULL : opendir(path);
	if (!d)
		return -ENOENT;
	r = -ENOENT;
	for (struct dirent *de; r < 0 && (de = readdir(d));) {
		if (de->d_name[0] != '.' && strlen(de->d_name) < BUS_NAME_MAX) {
			memcpy(ret_bus, de->d_name, strlen(de->d_name) + 1);
			r = 0;
		}
	}
	(void)closedir(d);
	return r;
}

int pci_find(const char *sysfs, const struct pci_path *p, char ret_dir[PCI_DIR_MAX], struct err *e)
{
	char bus[BUS_NAME_MAX], dir[PCI_DIR_MAX], next[PCI_DIR_MAX];

	if (find_root(sysfs, p->root_bus, dir) < 0)
		return err_set(e, -ENOENT, "there is no PCI root bus %02x", p->root_bus);
	(void)snprintf(bus, sizeof bus, "0000:%02x", p->root_bus);
	for (size_t i = 0; i < p->n; i++) {
		if (i > 0 && bus_behind(dir, bus) < 0)
			return err_set(e, -ENOENT, "there is no bus behind PCI device %s",
				       pci_dir_address(dir));
		int r = path_format(next, sizeof next, "%s/%s:%02x.%x", dir, bus, p->v[i].slot,
				    p->v[i].function);
		if (r < 0)
			return err_set(e, r, "the sysfs path of a PCI device is too long");
		if (access(next, F_OK) < 0)
			return err_set(e, -ENOENT, "there is no PCI device %s",
				       pci_dir_address(next));
		memcpy(dir, next, sizeof dir);
	}
	memcpy(ret_dir, dir, sizeof dir);
	return 0;
}

const char *pci_dir_address(const char *dir)
{
	const char *slash = strrchr(dir, '/');
	return slash ? slash + 1 : dir;
}
