/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/netlink-route.h"

#include <linux/rtnetlink.h>
#include <string.h>

/* A multipath route has at most 65535 bytes of hops; each has 8 or more. */
#define ENTRIES_MAX (1u << 18)

/* ---- Reading ------------------------------------------------------------------------------ */

struct list_of_routes {
	struct netlink_route *v;
	size_t n, cap;
};

static struct netlink_route *append(struct list_of_routes *l, const struct netlink_route *r)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		struct netlink_route *grown =
			cap > ENTRIES_MAX ? NULL : reallocarray(l->v, cap, sizeof *grown);
		if (!grown)
			return NULL;
		l->v = grown;
		l->cap = cap;
	}
	l->v[l->n] = *r;
	return &l->v[l->n++];
}

/* The gateway of a route or of one hop of it. */
static void read_gateway(int family, const struct nlattr *gateway, const struct nlattr *via,
			 struct netlink_ip *ret)
{
	netlink_ip_read(family, gateway, 0, ret);
	if (!gateway && via && netlink_len(via) == sizeof(struct rtvia) + 16) {
		const struct rtvia *v = netlink_data(via);
		uint16_t of;
		memcpy(&of, &v->rtvia_family, sizeof of);
		if (of != AF_INET6)
			return;
		*ret = (struct netlink_ip){.family = AF_INET6};
		memcpy(ret->bytes, v->rtvia_addr, 16);
	}
}

static int read_hops(struct list_of_routes *l, const struct nlattr *multipath,
		     struct netlink_route r)
{
	const char *data = netlink_data(multipath);
	size_t len = netlink_len(multipath), first = l->n, at = 0;

	while (len - at >= sizeof(struct rtnexthop)) {
		const struct rtnexthop *hop = (const void *)(data + at);
		const struct nlattr *v[RTA_VIA + 1];
		if (hop->rtnh_len < sizeof *hop || hop->rtnh_len > len - at)
			break;
		netlink_attributes(hop + 1, hop->rtnh_len - sizeof *hop, v, RTA_VIA);
		r.index = hop->rtnh_ifindex;
		r.flags = hop->rtnh_flags;
		read_gateway(r.dest.family, v[RTA_GATEWAY], v[RTA_VIA], &r.gateway);
		if (!append(l, &r))
			return -ENOMEM;
		at += RTNH_ALIGN(hop->rtnh_len);
		if (at > len)
			break;
	}
	for (size_t i = first; i < l->n; i++)
		l->v[i].hops = (uint16_t)(l->n - first);
	return 0;
}

static uint32_t read_mtu(const struct nlattr *metrics)
{
	const struct nlattr *v[RTAX_MTU + 1];

	if (!metrics)
		return 0;
	netlink_attributes(netlink_data(metrics), netlink_len(metrics), v, RTAX_MTU);
	return netlink_u32(v[RTAX_MTU], 0);
}

static int parse_route(struct list_of_routes *l, const struct nlmsghdr *m)
{
	const struct rtmsg *head = netlink_head(m);
	const struct nlattr *v[RTA_VIA + 1];
	int family = head->rtm_family;

	if (m->nlmsg_type != RTM_NEWROUTE || (family != AF_INET && family != AF_INET6) ||
	    (head->rtm_flags & RTM_F_CLONED) || head->rtm_dst_len > 8 * netlink_ip_len(family))
		return 0;
	netlink_message_attributes(m, sizeof *head, v, RTA_VIA);
	struct netlink_route r = {.index = (int)netlink_u32(v[RTA_OIF], 0),
				  .metric = netlink_u32(v[RTA_PRIORITY], 0),
				  .mtu = read_mtu(v[RTA_METRICS]),
				  .table = netlink_u32(v[RTA_TABLE], head->rtm_table),
				  .scope = head->rtm_scope,
				  .proto = head->rtm_protocol,
				  .type = head->rtm_type,
				  .flags = (uint8_t)head->rtm_flags,
				  .hops = 1};
	netlink_ip_read(family, v[RTA_DST], head->rtm_dst_len, &r.dest);
	r.dest.family = family;
	netlink_ip_read(family, v[RTA_SRC], head->rtm_src_len, &r.source);
	netlink_ip_read(family, v[RTA_PREFSRC], 0, &r.prefsrc);
	read_gateway(family, v[RTA_GATEWAY], v[RTA_VIA], &r.gateway);
	if (v[RTA_MULTIPATH])
		return read_hops(l, v[RTA_MULTIPATH], r);
	return append(l, &r) ? 0 : -ENOMEM;
}

int netlink_routes_parse(const struct buf *dump, struct netlink_route **ret, size_t *ret_n)
{
	struct list_of_routes l = {.n = 0};
	const struct nlmsghdr *m;
	int r = 0;

	for (size_t at = 0; r == 0 && (m = netlink_next(dump, &at, sizeof(struct rtmsg)));)
		r = parse_route(&l, m);
	if (r == 0 && !l.v && !(l.v = calloc(1, sizeof *l.v)))
		r = -ENOMEM;
	if (r < 0) {
		free(l.v);
		return r;
	}
	*ret = l.v;
	*ret_n = l.n;
	return 0;
}

int netlink_routes(struct netlink *nl, struct netlink_route **ret, size_t *ret_n, struct err *e)
{
	const struct rtmsg all = {.rtm_family = AF_UNSPEC};
	_cleanup_buf_ struct buf dump = BUF_INIT;

	int r = netlink_dump(nl, RTM_GETROUTE, &all, sizeof all, &dump, e);
	if (r < 0)
		return r;
	r = netlink_routes_parse(&dump, ret, ret_n);
	return r < 0 ? err_set(e, r, "no memory for the list of routes") : 0;
}

void netlink_route_format(const struct netlink_route *r, char ret[static NETLINK_IP_TEXT])
{
	if (r->dest.prefix == 0 && netlink_ip_is_any(&r->dest))
		(void)snprintf(ret, NETLINK_IP_TEXT, "default%s",
			       r->dest.family == AF_INET6 ? " (IPv6)" : "");
	else
		netlink_ip_format_prefix(&r->dest, ret);
}

/* ---- Writing ------------------------------------------------------------------------------ */

static void put_ip(struct netlink_batch *b, uint16_t type, const struct netlink_ip *ip)
{
	if (ip->family)
		netlink_put(b, type, ip->bytes, netlink_ip_len(ip->family));
}

static void put_gateway(struct netlink_batch *b, const struct netlink_route *r)
{
	struct {
		uint16_t family;
		uint8_t bytes[16];
	} via = {.family = AF_INET6};

	if (r->gateway.family == r->dest.family || !r->gateway.family) {
		put_ip(b, RTA_GATEWAY, &r->gateway);
		return;
	}
	memcpy(via.bytes, r->gateway.bytes, sizeof via.bytes);
	netlink_put(b, RTA_VIA, &via, sizeof via);
}

static void put_route(struct netlink_batch *b, uint16_t type, uint16_t flags, const char *verb,
		      const char *name, const struct netlink_route *r)
{
	const struct rtmsg head = {.rtm_family = (uint8_t)r->dest.family,
				   .rtm_dst_len = r->dest.prefix,
				   .rtm_src_len = r->source.family ? r->source.prefix : 0,
				   .rtm_table =
					   r->table < 256 ? (uint8_t)r->table : RT_TABLE_UNSPEC,
				   .rtm_protocol = r->proto,
				   .rtm_scope = r->scope,
				   .rtm_type = r->type,
				   .rtm_flags = r->flags & RTNH_F_ONLINK};
	char dest[NETLINK_IP_TEXT], gateway[NETLINK_IP_TEXT];

	netlink_route_format(r, dest);
	netlink_ip_format(&r->gateway, gateway);
	netlink_begin(b, type, flags, &head, sizeof head, "%s route %s%s%s on interface %s", verb,
		      dest, gateway[0] ? " by " : "", gateway, name);
	if (r->dest.prefix)
		put_ip(b, RTA_DST, &r->dest);
	put_ip(b, RTA_SRC, &r->source);
	put_ip(b, RTA_PREFSRC, &r->prefsrc);
	put_gateway(b, r);
	if (r->index)
		netlink_put_u32(b, RTA_OIF, (uint32_t)r->index);
	if (r->metric)
		netlink_put_u32(b, RTA_PRIORITY, r->metric);
	netlink_put_u32(b, RTA_TABLE, r->table);
	if (r->mtu) {
		size_t metrics = netlink_nest(b, RTA_METRICS);
		netlink_put_u32(b, RTAX_MTU, r->mtu);
		netlink_unnest(b, metrics);
	}
}

void netlink_add_route(struct netlink_batch *b, const char *name, const struct netlink_route *r)
{
	put_route(b, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND, "add", name, r);
}

void netlink_remove_route(struct netlink_batch *b, const char *name, const struct netlink_route *r)
{
	put_route(b, RTM_DELROUTE, 0, "remove", name, r);
}
