/* SPDX-License-Identifier: Apache-2.0 */
/* Dumps of the kernel's network, read as lists of every kind. */
#include "sys/netlink-route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_links(const struct buf *dump)
{
	struct netlink_link *v;
	char mac[NETLINK_MAC_TEXT];
	size_t n;

	if (netlink_links_parse(dump, &v, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		netlink_mac_format(&v[i].mac, mac);
		if (v[i].mac.len > NETLINK_MAC_MAX)
			__builtin_trap();
	}
	free(v);
}

static void check_addresses(const struct buf *dump)
{
	struct netlink_address *v;
	struct netlink_neighbour *w;
	char text[NETLINK_IP_TEXT];
	size_t n;

	if (netlink_addresses_parse(dump, &v, &n) == 0) {
		for (size_t i = 0; i < n; i++)
			netlink_ip_format_prefix(&v[i].local, text);
		free(v);
	}
	if (netlink_neighbours_parse(dump, &w, &n) == 0) {
		for (size_t i = 0; i < n; i++)
			netlink_ip_format(&w[i].ip, text);
		free(w);
	}
}

static void check_routes(const struct buf *dump)
{
	struct netlink_route *v;
	char text[NETLINK_IP_TEXT];
	size_t n;

	if (netlink_routes_parse(dump, &v, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		netlink_route_format(&v[i], text);
		if (v[i].hops == 0 && n < UINT16_MAX)
			__builtin_trap();
	}
	free(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf dump = BUF_INIT;
	struct netlink_mac mac;
	struct netlink_ip ip;

	buf_append(&dump, data, size);
	if (buf_failed(&dump) || !dump.data)
		return 0;
	check_links(&dump);
	check_addresses(&dump);
	check_routes(&dump);
	/* it ends with a NUL: also text */
	(void)netlink_mac_parse(dump.data, &mac);
	(void)netlink_ip_parse(dump.data, &ip);
	(void)netlink_name_valid(dump.data);
	return 0;
}
