/* SPDX-License-Identifier: Apache-2.0 */
/* Routes. See netlink.h for who may call. */
#pragma once

#include "sys/netlink-address.h"

struct netlink_route {
	struct netlink_ip dest;	   /* its family is the route's; all 0, prefix 0: the default */
	struct netlink_ip source;  /* packets from there only (IPv6), or none */
	struct netlink_ip gateway; /* may be of IPv6 where the route is of IPv4; or none */
	struct netlink_ip prefsrc; /* the source of what we send; or none */
	int index;		   /* of the interface, 0: the kernel finds it by the gateway */
	uint32_t metric;	   /* 0: none (IPv4), the kernel's 1024 (IPv6) */
	uint32_t mtu;		   /* 0: the interface's */
	uint32_t table;		   /* RT_TABLE_* and higher */
	uint8_t scope, proto, type;
	uint8_t flags; /* RTNH_F_* */
	uint16_t hops; /* how many of these entries are hops of the one route; 1: it alone */
};

/**
 * All of both families, of all tables; to be freed by free(). A route of several hops is several
 * entries.
 */
int netlink_routes(struct netlink *nl, struct netlink_route **ret, size_t *ret_n, struct err *e);
int netlink_routes_parse(const struct buf *dump, struct netlink_route **ret, size_t *ret_n);

/** "10.0.0.0/8", "default", for people */
void netlink_route_format(const struct netlink_route *r, char ret[static NETLINK_IP_TEXT]);

/**
 * Adds behind those of the same destination and metric (IPv6: as a further hop). @name of the
 * interface is for the sentence. An equal one fails with -EEXIST, unless that is tolerated.
 */
void netlink_add_route(struct netlink_batch *b, const char *name, const struct netlink_route *r);
/** Removes the one that is equal in all of it; of one with several hops in IPv6, that hop. */
void netlink_remove_route(struct netlink_batch *b, const char *name, const struct netlink_route *r);
