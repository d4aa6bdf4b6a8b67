/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's network, as the runtime wants it: interfaces, routes, neighbours, packet filters.
 *
 * The runtime tells what shall be; what is there already stays untouched, so that a repeated call
 * changes nothing and an interrupted one can be repeated. The work blocks: it runs on the sandbox'
 * strand, that of the packet filters on a strand of its own.
 *
 * What interfaces have sent and received is told by stats_collect() (stats.h).
 */
#pragma once

#include "proto/agent.pb-c.h"
#include "rpc/rpc.h"
#include "sys/netlink-route.h"

/* What one call may bring. A pod has a handful of each. */
#define NETWORK_ADDRESSES_MAX 1024
#define NETWORK_ROUTES_MAX 8192
#define NETWORK_NEIGHBOURS_MAX 8192
/* The largest MTU of any device: that of the loopback. */
#define NETWORK_MTU_MAX 65536
/* IPv4's least (RFC 791). */
#define NETWORK_MTU_MIN 68

/* ---- The calls ---------------------------------------------------------------------------- */

void network_update_interface(void *ctx, struct rpc_call *call);
void network_update_routes(void *ctx, struct rpc_call *call);
void network_list_interfaces(void *ctx, struct rpc_call *call);
void network_list_routes(void *ctx, struct rpc_call *call);
void network_add_neighbours(void *ctx, struct rpc_call *call);
void network_get_iptables(void *ctx, struct rpc_call *call); /* these two: iptables.c */
void network_set_iptables(void *ctx, struct rpc_call *call);

/* ---- network-interface.c ------------------------------------------------------------------ */

/** What an Interface asks for, checked. */
struct network_wish {
	char name[IF_NAMESIZE];
	struct netlink_mac mac; /* or none: found by its name */
	uint32_t mtu;		/* 0: as it is */
	bool noarp;
	struct netlink_ip *ips; /* owned */
	size_t n_ips;
};

/** Checks a message; the sentence names field and value. Free with network_wish_free(). */
int network_wish_parse(const Types__Interface *m, struct network_wish *ret, struct err *e);
void network_wish_free(struct network_wish *w);

/**
 * Makes interface @device (NULL: that of the wish' MAC address, else of its name) what is wished
 * for. -ENODEV with NOT_FOUND if there is none. Addresses that are not wished for are removed, but
 * not those that the kernel made by itself; an interface that has the wished name gets the old one
 * of this.
 */
int network_wish_grant(struct netlink *nl, const struct network_wish *w, const char *device,
		       struct err *e);

/** Whether interfaces of that name (empty: any) have IPv6. */
bool network_has_ipv6(const char *name);

/* ---- network-route.c ---------------------------------------------------------------------- */

/**
 * Makes the routes of the main table what is listed: adds what is missing, then removes those that
 * were set by hand or at boot and are not listed.
 */
int network_set_routes(struct netlink *nl, Types__Route *const *v, size_t n, struct err *e);
/** All of the main table, in the form that network_set_routes() takes. */
int network_get_routes(struct netlink *nl, Grpc__Routes **ret, struct err *e);
