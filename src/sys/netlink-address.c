/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/netlink-address.h"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>

/* linux/if_addr.h of Linux 5.18 */
#define ATTRIBUTE_PROTO 11

/* ---- Text --------------------------------------------------------------------------------- */

static int parse_prefix(const char *text, unsigned max, uint8_t *ret)
{
	unsigned v = 0;

	if (!*text || strlen(text) > 3)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		v = v * 10 + (unsigned)(*text - '0');
	}
	if (v > max)
		return -EINVAL;
	*ret = (uint8_t)v;
	return 0;
}

int netlink_ip_parse(const char *text, struct netlink_ip *ret)
{
	struct netlink_ip ip = {.family = strchr(text, ':') ? AF_INET6 : AF_INET};
	unsigned max = 8 * (unsigned)netlink_ip_len(ip.family);
	char address[NETLINK_IP_TEXT];
	size_t len = strcspn(text, "/");

	if (len >= sizeof address)
		return -EINVAL;
	memcpy(address, text, len);
	address[len] = '\0';
	ip.prefix = (uint8_t)max;
	if (inet_pton(ip.family, address, ip.bytes) != 1 ||
	    (text[len] && parse_prefix(text + len + 1, max, &ip.prefix) < 0))
		return -EINVAL;
	*ret = ip;
	return 0;
}

void netlink_ip_format(const struct netlink_ip *ip, char ret[static NETLINK_IP_TEXT])
{
	if (!ip->family || !inet_ntop(ip->family, ip->bytes, ret, NETLINK_IP_TEXT))
		ret[0] = '\0';
}

void netlink_ip_format_prefix(const struct netlink_ip *ip, char ret[static NETLINK_IP_TEXT])
{
	netlink_ip_format(ip, ret);
	size_t len = strlen(ret);
	(void)snprintf(ret + len, NETLINK_IP_TEXT - len, "/%u", ip->prefix);
}

bool netlink_ip_equal(const struct netlink_ip *a, const struct netlink_ip *b)
{
	return a->family == b->family &&
	       (!a->family || memcmp(a->bytes, b->bytes, netlink_ip_len(a->family)) == 0);
}

bool netlink_ip_is_any(const struct netlink_ip *ip)
{
	static const uint8_t zeros[16];
	return memcmp(ip->bytes, zeros, netlink_ip_len(ip->family)) == 0;
}

void netlink_ip_read(int family, const struct nlattr *a, uint8_t prefix, struct netlink_ip *ret)
{
	*ret = (struct netlink_ip){.family = 0};
	if (!a || (family != AF_INET && family != AF_INET6) ||
	    netlink_len(a) != netlink_ip_len(family))
		return;
	ret->family = family;
	ret->prefix = prefix;
	memcpy(ret->bytes, netlink_data(a), netlink_ip_len(family));
}

/* ---- Addresses ---------------------------------------------------------------------------- */

static bool parse_address(const struct nlmsghdr *m, struct netlink_address *a)
{
	const struct ifaddrmsg *head = netlink_head(m);
	const struct nlattr *v[ATTRIBUTE_PROTO + 1];

	if (m->nlmsg_type != RTM_NEWADDR)
		return false;
	netlink_message_attributes(m, sizeof *head, v, ATTRIBUTE_PROTO);
	a->index = (int)head->ifa_index;
	a->scope = head->ifa_scope;
	a->flags = netlink_u32(v[IFA_FLAGS], head->ifa_flags);
	a->proto = 0;
	if (v[ATTRIBUTE_PROTO] && netlink_len(v[ATTRIBUTE_PROTO]) == 1)
		a->proto = *(const uint8_t *)netlink_data(v[ATTRIBUTE_PROTO]);
	/* without IFA_LOCAL (IPv6 mostly) there is no peer, and IFA_ADDRESS is our own */
	netlink_ip_read(head->ifa_family, v[IFA_ADDRESS], head->ifa_prefixlen, &a->peer);
	netlink_ip_read(head->ifa_family, v[IFA_LOCAL] ? v[IFA_LOCAL] : v[IFA_ADDRESS],
			head->ifa_prefixlen, &a->local);
	return a->local.family && a->peer.family;
}

static size_t count_messages(const struct buf *dump, size_t head_len)
{
	size_t n = 0;
	for (size_t at = 0; netlink_next(dump, &at, head_len);)
		n++;
	return n;
}

int netlink_addresses_parse(const struct buf *dump, struct netlink_address **ret, size_t *ret_n)
{
	const size_t head = sizeof(struct ifaddrmsg);
	size_t n = count_messages(dump, head);
	const struct nlmsghdr *m;

	struct netlink_address *v = calloc(n ? n : 1, sizeof *v);
	if (!v)
		return -ENOMEM;
	n = 0;
	for (size_t at = 0; (m = netlink_next(dump, &at, head));)
		n += parse_address(m, &v[n]);
	*ret = v;
	*ret_n = n;
	return 0;
}

int netlink_addresses(struct netlink *nl, struct netlink_address **ret, size_t *ret_n,
		      struct err *e)
{
	const struct ifaddrmsg all = {.ifa_family = AF_UNSPEC};
	_cleanup_buf_ struct buf dump = BUF_INIT;

	int r = netlink_dump(nl, RTM_GETADDR, &all, sizeof all, &dump, e);
	if (r < 0)
		return r;
	r = netlink_addresses_parse(&dump, ret, ret_n);
	return r < 0 ? err_set(e, r, "no memory for the list of addresses") : 0;
}

/* All bits of the host: networks of two addresses or one have no broadcast (RFC 3021). */
static void put_broadcast(struct netlink_batch *b, const struct netlink_ip *ip)
{
	uint32_t v;

	if (ip->family != AF_INET || ip->prefix == 0 || ip->prefix >= 31)
		return;
	memcpy(&v, ip->bytes, sizeof v);
	v |= htonl(UINT32_MAX >> ip->prefix);
	netlink_put_u32(b, IFA_BROADCAST, v);
}

static bool is_loopback(const struct netlink_ip *ip)
{
	static const uint8_t one[16] = {[15] = 1};
	return ip->family == AF_INET ? ip->bytes[0] == 127 : memcmp(ip->bytes, one, 16) == 0;
}

void netlink_add_address(struct netlink_batch *b, const struct netlink_link *l,
			 const struct netlink_ip *ip, uint32_t flags)
{
	const struct ifaddrmsg head = {.ifa_family = (uint8_t)ip->family,
				       .ifa_prefixlen = ip->prefix,
				       .ifa_flags = (uint8_t)flags,
				       .ifa_scope =
					       is_loopback(ip) ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE,
				       .ifa_index = (uint32_t)l->index};
	char text[NETLINK_IP_TEXT];

	netlink_ip_format_prefix(ip, text);
	netlink_begin(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof head,
		      "add address %s to interface %s", text, l->name);
	netlink_put(b, IFA_LOCAL, ip->bytes, netlink_ip_len(ip->family));
	netlink_put(b, IFA_ADDRESS, ip->bytes, netlink_ip_len(ip->family));
	put_broadcast(b, ip);
	if (flags)
		netlink_put_u32(b, IFA_FLAGS, flags);
}

void netlink_remove_address(struct netlink_batch *b, const struct netlink_link *l,
			    const struct netlink_address *a)
{
	const struct ifaddrmsg head = {.ifa_family = (uint8_t)a->local.family,
				       .ifa_prefixlen = a->local.prefix,
				       .ifa_scope = a->scope,
				       .ifa_index = (uint32_t)a->index};
	char text[NETLINK_IP_TEXT];

	netlink_ip_format_prefix(&a->local, text);
	netlink_begin(b, RTM_DELADDR, 0, &head, sizeof head, "remove address %s from interface %s",
		      text, l->name);
	netlink_put(b, IFA_LOCAL, a->local.bytes, netlink_ip_len(a->local.family));
	netlink_put(b, IFA_ADDRESS, a->peer.bytes, netlink_ip_len(a->peer.family));
}

/* ---- Neighbours --------------------------------------------------------------------------- */

static bool parse_neighbour(const struct nlmsghdr *m, struct netlink_neighbour *n)
{
	const struct ndmsg *head = netlink_head(m);
	const struct nlattr *v[NDA_LLADDR + 1];

	if (m->nlmsg_type != RTM_NEWNEIGH)
		return false;
	netlink_message_attributes(m, sizeof *head, v, NDA_LLADDR);
	n->index = head->ndm_ifindex;
	n->state = head->ndm_state;
	n->flags = head->ndm_flags;
	netlink_ip_read(head->ndm_family, v[NDA_DST], 0, &n->ip);
	n->mac.len = 0;
	if (v[NDA_LLADDR] && netlink_len(v[NDA_LLADDR]) <= NETLINK_MAC_MAX) {
		n->mac.len = (uint8_t)netlink_len(v[NDA_LLADDR]);
		memcpy(n->mac.bytes, netlink_data(v[NDA_LLADDR]), n->mac.len);
	}
	return n->ip.family != 0;
}

int netlink_neighbours_parse(const struct buf *dump, struct netlink_neighbour **ret, size_t *ret_n)
{
	const size_t head = sizeof(struct ndmsg);
	size_t n = count_messages(dump, head);
	const struct nlmsghdr *m;

	struct netlink_neighbour *v = calloc(n ? n : 1, sizeof *v);
	if (!v)
		return -ENOMEM;
	n = 0;
	for (size_t at = 0; (m = netlink_next(dump, &at, head));)
		n += parse_neighbour(m, &v[n]);
	*ret = v;
	*ret_n = n;
	return 0;
}

int netlink_neighbours(struct netlink *nl, struct netlink_neighbour **ret, size_t *ret_n,
		       struct err *e)
{
	const struct ndmsg all = {.ndm_family = AF_UNSPEC};
	_cleanup_buf_ struct buf dump = BUF_INIT;

	int r = netlink_dump(nl, RTM_GETNEIGH, &all, sizeof all, &dump, e);
	if (r < 0)
		return r;
	r = netlink_neighbours_parse(&dump, ret, ret_n);
	return r < 0 ? err_set(e, r, "no memory for the list of neighbours") : 0;
}

void netlink_set_neighbour(struct netlink_batch *b, const char *name,
			   const struct netlink_neighbour *n)
{
	const struct ndmsg head = {.ndm_family = (uint8_t)n->ip.family,
				   .ndm_ifindex = n->index,
				   .ndm_state = n->state,
				   .ndm_flags = n->flags};
	char text[NETLINK_IP_TEXT], mac[NETLINK_MAC_TEXT];

	netlink_ip_format(&n->ip, text);
	netlink_mac_format(&n->mac, mac);
	netlink_begin(b, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &head, sizeof head,
		      "set neighbour %s of interface %s to %s", text, name, mac);
	netlink_put(b, NDA_DST, n->ip.bytes, netlink_ip_len(n->ip.family));
	if (n->mac.len)
		netlink_put(b, NDA_LLADDR, n->mac.bytes, n->mac.len);
}
