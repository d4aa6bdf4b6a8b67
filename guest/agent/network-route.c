/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/network.h"

#include "base/log.h"
#include "base/text.h"

#include <linux/rtnetlink.h>
#include <string.h>

/* What the kernel gives a route of IPv6 that names no metric (net/ipv6: IP6_RT_PRIO_USER). */
#define IPV6_METRIC 1024

/* ---- What is wished for ------------------------------------------------------------------- */

struct wanted {
	struct netlink_route r;
	const char *device; /* the message's */
};

static int bad(const char *field, const char *value, const char *rule, struct err *e)
{
	return err_set(e, -EINVAL, "%s \"%.100s\": %s", field, value, rule);
}

static int parse_dest(const Types__Route *m, struct netlink_route *r, struct err *e)
{
	if (text_is_given(m->dest)) {
		if (netlink_ip_parse(m->dest, &r->dest) < 0)
			return bad("dest", m->dest, "neither a network nor \"\"", e);
		return 0;
	}
	/* the default: of the family that the rest of it has */
	r->dest = (struct netlink_ip){.family = m->family == TYPES__IPFAMILY__v6 ? AF_INET6
										 : AF_INET};
	if (text_is_given(m->gateway))
		r->dest.family = strchr(m->gateway, ':') ? AF_INET6 : AF_INET;
	return 0;
}

static int parse_gateway(const Types__Route *m, struct netlink_route *r, struct err *e)
{
	if (!text_is_given(m->gateway))
		return 0;
	if (strchr(m->gateway, '/') || netlink_ip_parse(m->gateway, &r->gateway) < 0)
		return bad("gateway", m->gateway, "not an address", e);
	r->gateway.prefix = 0;
	if (r->dest.family == AF_INET6 && r->gateway.family == AF_INET)
		return bad("gateway", m->gateway, "a route of IPv6 cannot go by IPv4", e);
	if (netlink_ip_is_any(&r->gateway))
		r->gateway.family = 0;
	return 0;
}

/* An address is the one to send from; a network (IPv6) is where packets must come from. The
 * original's "address/0" is an address as well. */
static int parse_source(const Types__Route *m, struct netlink_route *r, struct err *e)
{
	struct netlink_ip ip;

	if (!text_is_given(m->source))
		return 0;
	if (netlink_ip_parse(m->source, &ip) < 0 || ip.family != r->dest.family)
		return bad("source", m->source, "not an address of the route's family", e);
	if (netlink_ip_is_any(&ip))
		return 0;
	if (ip.prefix == 0 || ip.prefix == 8 * netlink_ip_len(ip.family)) {
		ip.prefix = 0;
		r->prefsrc = ip;
	} else if (ip.family == AF_INET) {
		return bad("source", m->source, "IPv4 has no routes from networks", e);
	} else {
		r->source = ip;
	}
	return 0;
}

static int parse_route(const Types__Route *m, struct netlink_route *r, struct err *e)
{
	*r = (struct netlink_route){.table = RT_TABLE_MAIN,
				    .proto = RTPROT_BOOT,
				    .type = RTN_UNICAST,
				    .hops = 1,
				    .mtu = m->mtu,
				    /* of the flags only this is a wish; others are a state */
				    .flags = m->flags & RTNH_F_ONLINK};
	int v = parse_dest(m, r, e);
	if (v == 0)
		v = parse_gateway(m, r, e);
	if (v == 0)
		v = parse_source(m, r, e);
	if (v < 0)
		return v;
	if (!netlink_name_valid(m->device))
		return bad("device", m->device, "not the name of an interface", e);
	if (m->scope > UINT8_MAX)
		return err_set(e, -EINVAL, "scope %u: more than %d", m->scope, UINT8_MAX);
	if (m->mtu && (m->mtu < NETWORK_MTU_MIN || m->mtu > NETWORK_MTU_MAX))
		return err_set(e, -EINVAL, "mtu %u: not %d to %d", m->mtu, NETWORK_MTU_MIN,
			       NETWORK_MTU_MAX);
	r->scope = r->dest.family == AF_INET ? (uint8_t)m->scope : RT_SCOPE_UNIVERSE;
	r->metric = r->dest.family == AF_INET6 ? IPV6_METRIC : 0;
	return 0;
}

static int parse_routes(Types__Route *const *v, size_t n, struct wanted *ret, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		int r = parse_route(v[i], &ret[i].r, e);
		if (r < 0)
			return err_wrap(e, r, "route %zu to \"%.100s\"", i, v[i]->dest);
		ret[i].device = v[i]->device;
	}
	return 0;
}

/* ---- What is there ------------------------------------------------------------------------ */

struct routes {
	struct netlink *nl;
	struct wanted *wanted;
	size_t n_wanted;
	struct netlink_link *links;
	size_t n_links;
	struct netlink_route *there;
	bool *taken; /* of those there: it is wanted, or replaced */
	size_t n_there;
	struct netlink_batch batch;
};

static void routes_deinit(struct routes *s)
{
	free(s->wanted);
	free(s->links);
	free(s->there);
	free(s->taken);
	netlink_batch_free(&s->batch);
}

static const char *name_of(const struct routes *s, int index)
{
	const struct netlink_link *l = netlink_link_at(s->links, s->n_links, index);
	return l ? l->name : "?";
}

static int find_devices(struct routes *s, struct err *e)
{
	for (size_t i = 0; i < s->n_wanted; i++) {
		const char *name = s->wanted[i].device;
		const struct netlink_link *l = netlink_link_named(s->links, s->n_links, name);
		if (!l)
			return err_status(e, STATUS_NOT_FOUND,
					  "route %zu: there is no interface %s", i, name);
		s->wanted[i].r.index = l->index;
	}
	return 0;
}

static int look_around(struct routes *s, struct err *e)
{
	int r = netlink_links(s->nl, &s->links, &s->n_links, e);
	if (r == 0)
		r = netlink_routes(s->nl, &s->there, &s->n_there, e);
	if (r == 0)
		r = find_devices(s, e);
	if (r < 0)
		return r;
	s->taken = calloc(s->n_there + 1, sizeof *s->taken);
	return s->taken ? 0 : err_set(e, -ENOMEM, "no memory for the list of routes");
}

static bool concerns_us(const struct netlink_route *r)
{
	return r->table == RT_TABLE_MAIN && r->type == RTN_UNICAST;
}

/* Set by the runtime, or by whoever made the guest; not by the kernel or a routing daemon. */
static bool is_ours(const struct netlink_route *r)
{
	return concerns_us(r) && (r->proto == RTPROT_BOOT || r->proto == RTPROT_STATIC);
}

/* Goes the same way to the same place: IPv6 cannot have two of them. */
static bool same_way(const struct netlink_route *a, const struct netlink_route *b)
{
	return netlink_ip_equal(&a->dest, &b->dest) && a->dest.prefix == b->dest.prefix &&
	       a->index == b->index && netlink_ip_equal(&a->gateway, &b->gateway) &&
	       netlink_ip_equal(&a->source, &b->source) && a->source.prefix == b->source.prefix;
}

/* Whether what is there is what is wanted. That which the kernel made for an address has a scope,
 * a metric and a source of its own, and is as good. */
static bool satisfies(const struct netlink_route *there, const struct netlink_route *wanted)
{
	bool kernels = there->proto == RTPROT_KERNEL;

	if (!same_way(there, wanted) || there->mtu != wanted->mtu ||
	    (there->hops > 1 && there->dest.family == AF_INET) ||
	    ((there->flags ^ wanted->flags) & RTNH_F_ONLINK))
		return false;
	if (kernels && !wanted->prefsrc.family)
		return true;
	return netlink_ip_equal(&there->prefsrc, &wanted->prefsrc) &&
	       (kernels || (there->metric == wanted->metric && there->scope == wanted->scope));
}

/* ---- The difference ----------------------------------------------------------------------- */

static bool find_and_take(struct routes *s, const struct netlink_route *wanted)
{
	for (size_t i = 0; i < s->n_there; i++) {
		if (s->taken[i] || !concerns_us(&s->there[i]) || !satisfies(&s->there[i], wanted))
			continue;
		s->taken[i] = true;
		return true;
	}
	return false;
}

static void remove_route(struct routes *s, size_t i)
{
	struct netlink_route r = s->there[i];

	s->taken[i] = true;
	if (r.hops > 1 && r.dest.family == AF_INET) {
		/* of IPv4 only the whole can be removed; its entries are neighbours */
		for (size_t k = i; k < s->n_there && k < i + r.hops; k++)
			s->taken[k] = true;
		r.index = 0;
		r.gateway.family = 0;
	}
	netlink_remove_route(&s->batch, name_of(s, s->there[i].index), &r);
	netlink_tolerate(&s->batch, ESRCH);
}

static void add_route(struct routes *s, const struct wanted *w)
{
	for (size_t i = 0; i < s->n_there; i++)
		if (!s->taken[i] && is_ours(&s->there[i]) && same_way(&s->there[i], &w->r) &&
		    s->there[i].metric == w->r.metric)
			remove_route(s, i);
	netlink_add_route(&s->batch, w->device, &w->r);
	netlink_tolerate(&s->batch, EEXIST);
}

/* First those that lead to a gateway, then those that go by one. */
static void add_missing(struct routes *s)
{
	bool told = false;

	for (size_t i = 0; i < s->n_wanted; i++)
		s->wanted[i].r.hops = find_and_take(s, &s->wanted[i].r) ? 0 : 1;
	for (int gateways = 0; gateways < 2; gateways++)
		for (size_t i = 0; i < s->n_wanted; i++) {
			const struct wanted *w = &s->wanted[i];
			if (w->r.hops == 0 || (w->r.gateway.family != 0) != (gateways != 0))
				continue;
			if (w->r.dest.family == AF_INET6 && !network_has_ipv6(w->device)) {
				if (!told)
					log_info("routes of IPv6: this guest has none");
				told = true;
				continue;
			}
			add_route(s, w);
		}
}

static void remove_unwanted(struct routes *s)
{
	for (size_t i = 0; i < s->n_there; i++)
		if (!s->taken[i] && is_ours(&s->there[i]))
			remove_route(s, i);
}

int network_set_routes(struct netlink *nl, Types__Route *const *v, size_t n, struct err *e)
{
	struct routes s = {.nl = nl, .n_wanted = n};

	if (n > NETWORK_ROUTES_MAX)
		return err_set(e, -E2BIG, "%zu routes: more than %d", n, NETWORK_ROUTES_MAX);
	s.wanted = calloc(n + 1, sizeof *s.wanted);
	int r = s.wanted ? 0 : err_set(e, -ENOMEM, "no memory for the routes");
	if (r == 0)
		r = parse_routes(v, n, s.wanted, e);
	if (r == 0)
		r = look_around(&s, e);
	if (r == 0) {
		add_missing(&s);
		r = netlink_run(nl, &s.batch, e);
	}
	if (r == 0) {
		remove_unwanted(&s);
		r = netlink_run(nl, &s.batch, e);
	}
	routes_deinit(&s);
	return r;
}

/* ---- The list ----------------------------------------------------------------------------- */

static int copy_ip(const struct netlink_ip *ip, bool prefix, char **ret)
{
	char text[NETLINK_IP_TEXT];

	if (!ip->family)
		return 0;
	if (prefix)
		netlink_ip_format_prefix(ip, text);
	else
		netlink_ip_format(ip, text);
	char *copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}

static int fill(const struct netlink_route *r, const char *device, Types__Route *m)
{
	int v = 0;

	if (r->dest.prefix || !netlink_ip_is_any(&r->dest))
		v = copy_ip(&r->dest, true, &m->dest);
	if (v == 0)
		v = copy_ip(&r->gateway, false, &m->gateway);
	if (v == 0)
		v = copy_ip(r->prefsrc.family ? &r->prefsrc : &r->source, !r->prefsrc.family,
			    &m->source);
	char *name = v == 0 ? strdup(device) : NULL;
	if (!name)
		return -ENOMEM;
	m->device = name;
	m->scope = r->scope;
	m->family = r->dest.family == AF_INET6 ? TYPES__IPFAMILY__v6 : TYPES__IPFAMILY__v4;
	m->flags = r->flags & RTNH_F_ONLINK;
	m->mtu = r->mtu;
	return 0;
}

static int add_to_list(const struct routes *s, const struct netlink_route *r, Grpc__Routes *list)
{
	Types__Route *m = malloc(sizeof *m);
	if (!m)
		return -ENOMEM;
	types__route__init(m);
	list->routes[list->n_routes++] = m;
	return fill(r, name_of(s, r->index), m);
}

static int make_list(const struct routes *s, Grpc__Routes *list)
{
	int r = 0;

	list->routes = calloc(s->n_there + 1, sizeof(Types__Route *));
	if (!list->routes)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < s->n_there; i++)
		if (concerns_us(&s->there[i]))
			r = add_to_list(s, &s->there[i], list);
	return r;
}

int network_get_routes(struct netlink *nl, Grpc__Routes **ret, struct err *e)
{
	struct routes s = {.nl = nl};
	Grpc__Routes *list = malloc(sizeof *list);

	if (!list)
		return err_set(e, -ENOMEM, "no memory for the list of routes");
	grpc__routes__init(list);
	int r = look_around(&s, e);
	if (r == 0 && make_list(&s, list) < 0)
		r = err_set(e, -ENOMEM, "no memory for the list of routes");
	routes_deinit(&s);
	if (r < 0)
		grpc__routes__free_unpacked(list, NULL);
	else
		*ret = list;
	return r;
}
