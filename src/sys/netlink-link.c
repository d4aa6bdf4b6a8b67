/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/netlink-link.h"

#include <ctype.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <string.h>

/* ---- Names and addresses ------------------------------------------------------------------ */

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int netlink_mac_parse(const char *text, struct netlink_mac *ret)
{
	struct netlink_mac mac = {.len = 0};
	uint8_t any = 0;

	for (const char *at = text;; at += 3) {
		int high = hex(at[0]), low = high < 0 ? -1 : hex(at[1]);
		if (low < 0 || mac.len == NETLINK_MAC_MAX)
			return -EINVAL;
		mac.bytes[mac.len++] = (uint8_t)(high << 4 | low);
		any |= (uint8_t)(high << 4 | low);
		if (!at[2])
			break;
		if (at[2] != ':')
			return -EINVAL;
	}
	if ((mac.len != 6 && mac.len != 8 && mac.len != 20) || !any)
		return -EINVAL;
	if (mac.len == 6 && (mac.bytes[0] & 1)) /* of a group */
		return -EINVAL;
	*ret = mac;
	return 0;
}

void netlink_mac_format(const struct netlink_mac *mac, char ret[static NETLINK_MAC_TEXT])
{
	static const char digits[] = "0123456789abcdef";
	char *to = ret;

	for (size_t i = 0; i < mac->len; i++) {
		if (i)
			*to++ = ':';
		*to++ = digits[mac->bytes[i] >> 4];
		*to++ = digits[mac->bytes[i] & 15];
	}
	*to = '\0';
}

bool netlink_mac_equal(const struct netlink_mac *a, const struct netlink_mac *b)
{
	return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

bool netlink_name_valid(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len >= IF_NAMESIZE || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (size_t i = 0; i < len; i++)
		if (name[i] == '/' || name[i] == ':' || name[i] == '%' ||
		    !isgraph((unsigned char)name[i]))
			return false;
	return true;
}

/* ---- Lists -------------------------------------------------------------------------------- */

static void parse_mac(const struct nlattr *a, struct netlink_mac *ret)
{
	*ret = (struct netlink_mac){.len = 0};
	if (!a || netlink_len(a) > NETLINK_MAC_MAX)
		return;
	ret->len = (uint8_t)netlink_len(a);
	memcpy(ret->bytes, netlink_data(a), ret->len);
}

static void parse_link(const struct nlmsghdr *m, struct netlink_link *l)
{
	const struct ifinfomsg *head = netlink_head(m);
	const struct nlattr *v[IFLA_LINKINFO + 1], *info[IFLA_INFO_KIND + 1];

	netlink_message_attributes(m, sizeof *head, v, IFLA_LINKINFO);
	l->index = head->ifi_index;
	l->flags = head->ifi_flags;
	l->mtu = netlink_u32(v[IFLA_MTU], 0);
	l->lower = (int)netlink_u32(v[IFLA_LINK], 0);
	parse_mac(v[IFLA_ADDRESS], &l->mac);
	netlink_text(v[IFLA_IFNAME], l->name, sizeof l->name);
	l->kind[0] = '\0';
	if (v[IFLA_LINKINFO]) {
		netlink_attributes(netlink_data(v[IFLA_LINKINFO]), netlink_len(v[IFLA_LINKINFO]),
				   info, IFLA_INFO_KIND);
		netlink_text(info[IFLA_INFO_KIND], l->kind, sizeof l->kind);
	}
}

int netlink_links_parse(const struct buf *dump, struct netlink_link **ret, size_t *ret_n)
{
	const struct nlmsghdr *m;
	size_t n = 0;

	for (size_t at = 0; (m = netlink_next(dump, &at, sizeof(struct ifinfomsg)));)
		n += m->nlmsg_type == RTM_NEWLINK;
	struct netlink_link *v = calloc(n ? n : 1, sizeof *v);
	if (!v)
		return -ENOMEM;
	n = 0;
	for (size_t at = 0; (m = netlink_next(dump, &at, sizeof(struct ifinfomsg)));)
		if (m->nlmsg_type == RTM_NEWLINK)
			parse_link(m, &v[n++]);
	*ret = v;
	*ret_n = n;
	return 0;
}

int netlink_links(struct netlink *nl, struct netlink_link **ret, size_t *ret_n, struct err *e)
{
	const struct ifinfomsg all = {.ifi_family = AF_UNSPEC};
	_cleanup_buf_ struct buf dump = BUF_INIT;

	int r = netlink_dump(nl, RTM_GETLINK, &all, sizeof all, &dump, e);
	if (r < 0)
		return r;
	r = netlink_links_parse(&dump, ret, ret_n);
	return r < 0 ? err_set(e, r, "no memory for the list of interfaces") : 0;
}

const struct netlink_link *netlink_link_named(const struct netlink_link *v, size_t n,
					      const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(v[i].name, name) == 0)
			return &v[i];
	return NULL;
}

const struct netlink_link *netlink_link_at(const struct netlink_link *v, size_t n, int index)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].index == index)
			return &v[i];
	return NULL;
}

/* ---- Changes ------------------------------------------------------------------------------ */

/* "rename eth1 to eth0, set its MTU to 1400, set it up" */
static void describe(const struct netlink_link *l, const struct netlink_link_change *c, char *ret,
		     size_t size)
{
	char mac[NETLINK_MAC_TEXT], name[64] = "", address[NETLINK_MAC_TEXT + 32] = "";
	char mtu[48] = "";

	if (c->name)
		(void)snprintf(name, sizeof name, ", rename it to %s", c->name);
	if (c->mac) {
		netlink_mac_format(c->mac, mac);
		(void)snprintf(address, sizeof address, ", give it address %s", mac);
	}
	if (c->mtu)
		(void)snprintf(mtu, sizeof mtu, ", set its MTU to %u", c->mtu);
	(void)snprintf(ret, size, "interface %s: %s%s%s%s", l->name,
		       !(c->mask & IFF_UP)   ? "leave it"
		       : (c->flags & IFF_UP) ? "set it up"
					     : "set it down",
		       name, address, mtu);
}

void netlink_change_link(struct netlink_batch *b, const struct netlink_link *l,
			 const struct netlink_link_change *c)
{
	const struct ifinfomsg head = {.ifi_family = AF_UNSPEC,
				       .ifi_index = l->index,
				       .ifi_flags = c->flags,
				       .ifi_change = c->mask};
	char words[384];

	describe(l, c, words, sizeof words);
	netlink_begin(b, RTM_NEWLINK, 0, &head, sizeof head, "%s", words);
	if (c->name)
		netlink_put_text(b, IFLA_IFNAME, c->name);
	if (c->mac)
		netlink_put(b, IFLA_ADDRESS, c->mac->bytes, c->mac->len);
	if (c->mtu)
		netlink_put_u32(b, IFLA_MTU, c->mtu);
}

void netlink_remove_link(struct netlink_batch *b, const struct netlink_link *l)
{
	const struct ifinfomsg head = {.ifi_family = AF_UNSPEC, .ifi_index = l->index};
	netlink_begin(b, RTM_DELLINK, 0, &head, sizeof head, "remove interface %s", l->name);
}

void netlink_add_veth(struct netlink_batch *b, const char *name, const char *peer)
{
	const struct ifinfomsg head = {.ifi_family = AF_UNSPEC};

	netlink_begin(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof head,
		      "make interfaces %s and %s", name, peer);
	netlink_put_text(b, IFLA_IFNAME, name);
	size_t info = netlink_nest(b, IFLA_LINKINFO);
	netlink_put_text(b, IFLA_INFO_KIND, "veth");
	size_t data = netlink_nest(b, IFLA_INFO_DATA);
	size_t other = netlink_nest(b, VETH_INFO_PEER);
	/* a whole head stands before the peer's attributes */
	buf_append(&b->bytes, &head, sizeof head);
	b->failed |= buf_failed(&b->bytes);
	netlink_put_text(b, IFLA_IFNAME, peer);
	netlink_unnest(b, other);
	netlink_unnest(b, data);
	netlink_unnest(b, info);
}
