/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/network.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <string.h>

/* ---- What is wished for ------------------------------------------------------------------- */

static int parse_ip(const Types__IPAddress *m, struct netlink_ip *ret, struct err *e)
{
	char text[NETLINK_IP_TEXT + 8];

	if (!text_is_given(m->address) || strchr(m->address, '/') ||
	    netlink_ip_parse(m->address, ret) < 0)
		return err_set(e, -EINVAL,
			       "address \"%.100s\": neither an IPv4 nor an IPv6 address",
			       m->address);
	if (!text_is_given(m->mask))
		return 0;
	(void)snprintf(text, sizeof text, "%.48s/%.4s", m->address, m->mask);
	if (netlink_ip_parse(text, ret) < 0)
		return err_set(e, -EINVAL,
			       "mask \"%.100s\" of address %s: not a number from 0 to %zu", m->mask,
			       m->address, 8 * netlink_ip_len(ret->family));
	return 0;
}

static int parse_ips(const Types__Interface *m, struct network_wish *w, struct err *e)
{
	if (m->n_ipaddresses > NETWORK_ADDRESSES_MAX)
		return err_set(e, -E2BIG, "%zu addresses: more than %d", m->n_ipaddresses,
			       NETWORK_ADDRESSES_MAX);
	w->ips = calloc(m->n_ipaddresses + 1, sizeof *w->ips);
	if (!w->ips)
		return err_set(e, -ENOMEM, "no memory for the addresses");
	for (size_t i = 0; i < m->n_ipaddresses; i++) {
		int r = parse_ip(m->ipaddresses[i], &w->ips[w->n_ips++], e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_wish(const Types__Interface *m, struct network_wish *w, struct err *e)
{
	const char *name = text_is_given(m->name) ? m->name : m->device;

	if (!netlink_name_valid(name))
		return err_set(e, -EINVAL,
			       "name \"%.100s\": not 1 to %d letters without space, '/' and ':'",
			       name, IF_NAMESIZE - 1);
	memcpy(w->name, name, strlen(name) + 1);
	if (text_is_given(m->hwaddr) && netlink_mac_parse(m->hwaddr, &w->mac) < 0)
		return err_set(e, -EINVAL, "hwAddr \"%.100s\": not the address of one interface",
			       m->hwaddr);
	if (m->mtu && (m->mtu < NETWORK_MTU_MIN || m->mtu > NETWORK_MTU_MAX))
		return err_set(e, -EINVAL, "mtu %" PRIu64 ": not %d to %d", m->mtu, NETWORK_MTU_MIN,
			       NETWORK_MTU_MAX);
	w->mtu = (uint32_t)m->mtu;
	w->noarp = (m->raw_flags & IFF_NOARP) != 0;
	return parse_ips(m, w, e);
}

int network_wish_parse(const Types__Interface *m, struct network_wish *ret, struct err *e)
{
	*ret = (struct network_wish){.n_ips = 0};
	int r = parse_wish(m, ret, e);
	if (r < 0)
		network_wish_free(ret);
	return r < 0 ? err_wrap(e, r, "interface %.100s", m->name) : 0;
}

void network_wish_free(struct network_wish *w)
{
	free(w->ips);
	w->ips = NULL;
	w->n_ips = 0;
}

/* ---- What is there ------------------------------------------------------------------------ */

/* One wish being granted: the network as it was, and the requests that change it. */
struct grant {
	struct netlink *nl;
	const struct network_wish *wish;
	struct netlink_link *links;
	size_t n_links;
	const struct netlink_link *link;  /* the one that is wished for */
	const struct netlink_link *other; /* that has its name, or NULL */
	struct netlink_address *addresses;
	size_t n_addresses;
	struct netlink_route *routes; /* read only if some would be lost */
	size_t n_routes;
	bool falls, other_falls; /* they must be down for a while */
	bool ipv6;
	struct netlink_batch batch;
};

static void grant_deinit(struct grant *g)
{
	free(g->links);
	free(g->addresses);
	free(g->routes);
	netlink_batch_free(&g->batch);
}

/* Of several with one MAC address - what is stacked on a card has it too - the one with the wished
 * name, or the card. */
static const struct netlink_link *find_by_mac(const struct grant *g)
{
	const struct netlink_link *found = NULL;

	for (size_t i = 0; i < g->n_links; i++) {
		const struct netlink_link *l = &g->links[i];
		if ((l->flags & IFF_LOOPBACK) || !netlink_mac_equal(&l->mac, &g->wish->mac))
			continue;
		if (strcmp(l->name, g->wish->name) == 0)
			return l;
		if (!found || (found->kind[0] && !l->kind[0]))
			found = l;
	}
	return found;
}

static int find_link(struct grant *g, const char *device, struct err *e)
{
	const struct network_wish *w = g->wish;
	char mac[NETLINK_MAC_TEXT];

	int r = netlink_links(g->nl, &g->links, &g->n_links, e);
	if (r < 0)
		return r;
	const struct netlink_link *named = netlink_link_named(g->links, g->n_links, w->name);
	if (device)
		g->link = netlink_link_named(g->links, g->n_links, device);
	else
		g->link = w->mac.len ? find_by_mac(g) : NULL;
	if (!g->link && !device)
		g->link = named;
	netlink_mac_format(&w->mac, mac);
	if (!g->link)
		return err_status(e, STATUS_NOT_FOUND,
				  "there is no interface with address \"%s\", nor one named %s",
				  mac, w->name);
	if (g->link->flags & IFF_LOOPBACK)
		return err_set(e, -EINVAL, "interface %s is the guest's own", g->link->name);
	g->other = named != g->link ? named : NULL;
	if (g->other && (g->other->flags & IFF_LOOPBACK))
		return err_set(e, -EINVAL, "name %s is that of the guest's own interface", w->name);
	return 0;
}

bool network_has_ipv6(const char *name)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[96];

	(void)snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6",
		       name[0] ? name : "all");
	return file_read(AT_FDCWD, path, 16, &text) == 0 && text.data && text.data[0] == '0';
}

/* Renaming (before Linux 6.2) and a new MAC address ask for an interface that is down, which costs
 * it its routes and its IPv6 addresses. */
static int look_around(struct grant *g, struct err *e)
{
	const struct network_wish *w = g->wish;
	bool renamed = strcmp(g->link->name, w->name) != 0;
	bool readdressed = w->mac.len && !netlink_mac_equal(&g->link->mac, &w->mac);

	g->falls = (renamed || readdressed) && (g->link->flags & IFF_UP);
	g->other_falls = g->other && (g->other->flags & IFF_UP);
	g->ipv6 = network_has_ipv6("") && network_has_ipv6(g->link->name);
	int r = netlink_addresses(g->nl, &g->addresses, &g->n_addresses, e);
	if (r == 0 && (g->falls || g->other_falls))
		r = netlink_routes(g->nl, &g->routes, &g->n_routes, e);
	return r;
}

/* ---- The link ----------------------------------------------------------------------------- */

static void set_flags(struct grant *g, const struct netlink_link *l, uint32_t flags)
{
	netlink_change_link(&g->batch, l,
			    &(struct netlink_link_change){.flags = flags, .mask = IFF_UP});
}

/* A name that nobody has: a valid one of which only this agent thinks. */
static void temporary_name(const struct netlink_link *l, char ret[static IF_NAMESIZE])
{
	(void)snprintf(ret, IF_NAMESIZE, "swap%d", l->index % 1000000000);
}

/* The attributes that differ from what is wished for; false if none does. */
static bool change_of(const struct grant *g, struct netlink_link_change *ret)
{
	const struct network_wish *w = g->wish;
	const struct netlink_link *l = g->link;

	*ret = (struct netlink_link_change){.name = NULL};
	if (strcmp(l->name, w->name) != 0)
		ret->name = w->name;
	if (w->mac.len && !netlink_mac_equal(&l->mac, &w->mac))
		ret->mac = &w->mac;
	if (w->mtu && l->mtu != w->mtu)
		ret->mtu = w->mtu;
	if (w->noarp != ((l->flags & IFF_NOARP) != 0)) {
		ret->mask = IFF_NOARP;
		ret->flags = w->noarp ? IFF_NOARP : 0;
	}
	return ret->name || ret->mac || ret->mtu || ret->mask;
}

static void add_link_requests(struct grant *g)
{
	struct netlink_link_change c;
	char temporary[IF_NAMESIZE];

	if (g->falls)
		set_flags(g, g->link, 0);
	if (g->other) {
		temporary_name(g->other, temporary);
		if (g->other_falls)
			set_flags(g, g->other, 0);
		netlink_change_link(&g->batch, g->other,
				    &(struct netlink_link_change){.name = temporary});
	}
	if (change_of(g, &c))
		netlink_change_link(&g->batch, g->link, &c);
	if (g->other)
		netlink_change_link(
			&g->batch, g->other,
			&(struct netlink_link_change){.name = g->link->name,
						      .flags = g->other->flags & IFF_UP,
						      .mask = g->other_falls ? IFF_UP : 0});
	if (g->falls || !(g->link->flags & IFF_UP))
		set_flags(g, g->link, IFF_UP);
}

/* ---- Addresses ---------------------------------------------------------------------------- */

static bool same_ip(const struct netlink_address *a, const struct netlink_ip *ip)
{
	return netlink_ip_equal(&a->local, ip) && a->local.prefix == ip->prefix &&
	       netlink_ip_equal(&a->local, &a->peer);
}

static bool is_wished(const struct network_wish *w, const struct netlink_address *a)
{
	for (size_t i = 0; i < w->n_ips; i++)
		if (same_ip(a, &w->ips[i]))
			return true;
	return false;
}

/* Link-local ones, and those that routers advertised. */
static bool is_kernels(const struct netlink_address *a)
{
	if (a->local.family != AF_INET6)
		return false;
	return (a->local.bytes[0] == 0xfe && (a->local.bytes[1] & 0xc0) == 0x80) ||
	       !(a->flags & IFA_F_PERMANENT) || (a->flags & IFA_F_MANAGETEMPADDR);
}

/* An interface that is set down loses those of IPv6. */
static bool stays(const struct grant *g, const struct netlink_address *a)
{
	return a->index == g->link->index && !(g->falls && a->local.family == AF_INET6);
}

static bool is_there(const struct grant *g, const struct netlink_ip *ip)
{
	for (size_t i = 0; i < g->n_addresses; i++)
		if (stays(g, &g->addresses[i]) && same_ip(&g->addresses[i], ip))
			return true;
	return false;
}

static void add_address(struct grant *g, const struct netlink_link *l, const struct netlink_ip *ip)
{
	/* nobody else has it, the host says; so it can be used at once */
	netlink_add_address(&g->batch, l, ip, ip->family == AF_INET6 ? IFA_F_NODAD : 0);
	netlink_tolerate(&g->batch, EEXIST);
}

static void add_address_requests(struct grant *g)
{
	const struct network_wish *w = g->wish;
	bool removed_v4 = false;

	for (size_t i = 0; i < g->n_addresses; i++) {
		const struct netlink_address *a = &g->addresses[i];
		if (!stays(g, a) || is_wished(w, a) || is_kernels(a))
			continue;
		removed_v4 |= a->local.family == AF_INET;
		netlink_remove_address(&g->batch, g->link, a);
		/* that of a network whose first address went before */
		netlink_tolerate(&g->batch, EADDRNOTAVAIL);
	}
	for (size_t i = 0; i < w->n_ips; i++) {
		const struct netlink_ip *ip = &w->ips[i];
		if (ip->family == AF_INET6 && !g->ipv6)
			continue;
		/* the first address of a network takes the others with it */
		if (!is_there(g, ip) || (removed_v4 && ip->family == AF_INET))
			add_address(g, g->link, ip);
	}
}

/* What an interface lost by being down. */
static void restore_addresses(struct grant *g, const struct netlink_link *l)
{
	for (size_t i = 0; i < g->n_addresses; i++) {
		const struct netlink_address *a = &g->addresses[i];
		if (a->index == l->index && a->local.family == AF_INET6 && !is_kernels(a))
			add_address(g, l, &a->local);
	}
}

/* ---- All of it ---------------------------------------------------------------------------- */

/* Routes are lost when an interface is set down. They are a help, until the runtime sends its
 * own: those that the addresses no longer allow are only told of. */
static void restore_routes(struct grant *g)
{
	struct err e = ERR_INIT;

	for (int gateways = 0; gateways < 2; gateways++)
		for (size_t i = 0; i < g->n_routes; i++) {
			const struct netlink_route *r = &g->routes[i];
			bool lost = (g->falls && r->index == g->link->index) ||
				    (g->other_falls && r->index == g->other->index);
			if (!lost || r->proto == RTPROT_KERNEL ||
			    (r->gateway.family != 0) != (gateways != 0))
				continue;
			netlink_add_route(
				&g->batch,
				r->index == g->link->index ? g->wish->name : g->link->name, r);
			netlink_tolerate(&g->batch, EEXIST);
		}
	if (netlink_run(g->nl, &g->batch, &e) < 0)
		log_warn("after a change of interface %s: %s", g->wish->name, e.text);
}

/* A change of names failed: nothing shall stay down or without its name. */
static void settle(struct grant *g)
{
	_cleanup_free_ struct netlink_link *now = NULL;
	char temporary[IF_NAMESIZE];
	struct err e = ERR_INIT;
	size_t n;

	if (netlink_links(g->nl, &now, &n, &e) < 0)
		return;
	const struct netlink_link *o = g->other ? netlink_link_at(now, n, g->other->index) : NULL;
	if (o)
		temporary_name(o, temporary);
	if (o && strcmp(o->name, temporary) == 0)
		netlink_change_link(&g->batch, o,
				    &(struct netlink_link_change){
					    .name = netlink_link_named(now, n, g->other->name)
							    ? g->link->name
							    : g->other->name});
	if (o && g->other_falls)
		set_flags(g, g->other, IFF_UP);
	if (g->falls)
		set_flags(g, g->link, IFF_UP);
	if (netlink_run(g->nl, &g->batch, &e) < 0)
		log_error("after a failed change of interface %s: %s", g->wish->name, e.text);
	if (g->other_falls)
		restore_addresses(g, g->other);
	if (g->falls)
		restore_addresses(g, g->link);
	restore_routes(g);
}

static int grant(struct grant *g, const char *device, struct err *e)
{
	int r = find_link(g, device, e);
	if (r == 0)
		r = look_around(g, e);
	if (r < 0)
		return r;
	add_link_requests(g);
	r = netlink_run(g->nl, &g->batch, e);
	if (r < 0) {
		settle(g);
		return r;
	}
	add_address_requests(g);
	if (g->other_falls)
		restore_addresses(g, g->other);
	r = netlink_run(g->nl, &g->batch, e);
	if (g->falls || g->other_falls)
		restore_routes(g);
	return r;
}

int network_wish_grant(struct netlink *nl, const struct network_wish *w, const char *device,
		       struct err *e)
{
	struct grant g = {.nl = nl, .wish = w};
	int r = grant(&g, device, e);

	if (r == 0 && !g.ipv6)
		for (size_t i = 0; i < w->n_ips; i++)
			if (w->ips[i].family == AF_INET6) {
				log_info("interface %s: this guest has no IPv6", w->name);
				break;
			}
	grant_deinit(&g);
	return r < 0 ? err_wrap(e, r, "set up interface %s", w->name) : 0;
}
