/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/pci-map.h"

#include "base/buf.h"
#include "guest/agent/pci.h"

#include <string.h>

#define PREFIX "PCIDEVICE_"
#define INFO_SUFFIX "_INFO"

struct pci_map {
	size_t n;
	struct {
		char host[PCI_ADDRESS_MAX], guest[PCI_ADDRESS_MAX];
	} v[PCI_MAP_MAX];
};

struct pci_map *pci_map_new(void)
{
	return calloc(1, sizeof(struct pci_map));
}

void pci_map_free(struct pci_map *m)
{
	free(m);
}

static const char *find(const struct pci_map *m, const char *host)
{
	for (size_t i = 0; i < m->n; i++)
		if (strcmp(m->v[i].host, host) == 0)
			return m->v[i].guest;
	return NULL;
}

int pci_map_add(struct pci_map *m, const char *host, const char *guest, struct err *e)
{
	char from[PCI_ADDRESS_MAX], to[PCI_ADDRESS_MAX];

	if (pci_address_parse(host, from) < 0 || pci_address_parse(guest, to) < 0)
		return err_set(e, -EINVAL, "\"%.40s\" is no PCI address, as 0000:00:02.0",
			       pci_address_parse(host, from) < 0 ? host : guest);
	const char *old = find(m, from);
	if (old)
		return strcmp(old, to) == 0
			       ? 0
			       : err_set(e, -EINVAL, "the host's PCI device %s is both %s and %s",
					 from, old, to);
	if (m->n == PCI_MAP_MAX)
		return err_set(e, -E2BIG, "more than %d PCI devices in a container", PCI_MAP_MAX);
	memcpy(m->v[m->n].host, from, sizeof from);
	memcpy(m->v[m->n++].guest, to, sizeof to);
	return 0;
}

/* "0000:06:00.1,0000:06:00.2" */
static int rewrite_list(const struct pci_map *m, const char *name, size_t name_len,
			const char *value, struct buf *to, struct err *e)
{
	char item[64], host[PCI_ADDRESS_MAX];

	for (const char *p = value; *p;) {
		size_t len = strcspn(p, ",");
		(void)snprintf(item, sizeof item, "%.*s", (int)(len < 60 ? len : 60), p);
		const char *guest = pci_address_parse(item, host) < 0 ? NULL : find(m, host);
		if (!guest)
			return err_set(e, -EINVAL,
				       "environment variable %.*s: the guest has no device that "
				       "would be the host's \"%s\"",
				       (int)(name_len < 200 ? name_len : 200), name, item);
		buf_printf(to, "%s%s", p == value ? "" : ",", guest);
		p += len + (p[len] == ',');
	}
	return 0;
}

static bool part_of_address(char c)
{
	return c && strchr("0123456789abcdefABCDEF:.", c);
}

/* Wherever an address stands by itself. */
static void rewrite_text(const struct pci_map *m, const char *text, struct buf *to)
{
	char item[PCI_ADDRESS_MAX], host[PCI_ADDRESS_MAX];

	for (const char *p = text; *p;) {
		size_t len = 0;
		while (part_of_address(p[len]))
			len++;
		const char *guest = NULL;
		if (len == sizeof item - 1) {
			memcpy(item, p, len);
			item[len] = '\0';
			guest = pci_address_parse(item, host) < 0 ? NULL : find(m, host);
		}
		if (guest)
			buf_puts(to, guest);
		else
			buf_append(to, p, len ? len : 1);
		p += len ? len : 1;
	}
}

static bool is_info(const char *name, size_t len)
{
	size_t n = strlen(INFO_SUFFIX);
	return len > n && memcmp(name + len - n, INFO_SUFFIX, n) == 0;
}

static int rewrite(const struct pci_map *m, struct oci_arena *arena, char **variable, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	const char *name = *variable, *equals = strchr(name, '=');
	int r = 0;

	if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 || !equals)
		return 0;
	size_t len = (size_t)(equals - name);
	buf_append(&text, name, len + 1);
	if (is_info(name, len))
		rewrite_text(m, equals + 1, &text);
	else
		r = rewrite_list(m, name, len, equals + 1, &text, e);
	if (r < 0)
		return r;
	char *copy = buf_failed(&text) ? NULL : oci_arena_strdup(arena, text.data);
	if (!copy)
		return err_set(e, -ENOMEM, "no memory for the environment");
	*variable = copy;
	return 0;
}

int pci_map_environment(const struct pci_map *m, struct oci_arena *arena, struct oci_strv *env,
			struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && m && m->n > 0 && i < env->n; i++)
		r = rewrite(m, arena, &env->v[i], e);
	return r;
}
