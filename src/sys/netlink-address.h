/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of interfaces, and neighbours. See netlink.h for who may call. */
#pragma once

#include "sys/netlink-link.h"

/* INET6_ADDRSTRLEN, "/128" */
#define NETLINK_IP_TEXT 52

struct netlink_ip {
	int family; /* AF_INET, AF_INET6; 0: none */
	uint8_t prefix;
	uint8_t bytes[16]; /* in the network's order; the first 4 for AF_INET */
};

/** Bytes of an address of the family. */
static inline size_t netlink_ip_len(int family)
{
	return family == AF_INET ? 4 : 16;
}
/** "ADDRESS" (the whole of it is the prefix) or "ADDRESS/LENGTH", of either family. -EINVAL. */
int netlink_ip_parse(const char *text, struct netlink_ip *ret);
/** Without the prefix; "" for none. */
void netlink_ip_format(const struct netlink_ip *ip, char ret[static NETLINK_IP_TEXT]);
/** With it: "10.0.0.1/24". */
void netlink_ip_format_prefix(const struct netlink_ip *ip, char ret[static NETLINK_IP_TEXT]);
/** Whether the addresses are the same, or both are none; the prefix does not count. */
bool netlink_ip_equal(const struct netlink_ip *a, const struct netlink_ip *b);
/** Whether all bytes are 0. */
bool netlink_ip_is_any(const struct netlink_ip *ip);
/** Takes the address that is there, of the family's length; else none. */
void netlink_ip_read(int family, const struct nlattr *a, uint8_t prefix, struct netlink_ip *ret);

struct netlink_address {
	int index;
	struct netlink_ip local; /* with the prefix length of the peer's network */
	struct netlink_ip peer;	 /* the same address but on point-to-point links */
	uint32_t flags;		 /* IFA_F_* */
	uint8_t scope;		 /* RT_SCOPE_* */
	uint8_t proto;		 /* IFAPROT_*: who made it; 0 before Linux 5.18 */
};

/** Those of all interfaces, of both families; to be freed by free(). */
int netlink_addresses(struct netlink *nl, struct netlink_address **ret, size_t *ret_n,
		      struct err *e);
int netlink_addresses_parse(const struct buf *dump, struct netlink_address **ret, size_t *ret_n);

/** @flags: IFA_F_NODAD and the like. An address that is there already fails with -EEXIST, unless
 * that is tolerated. IPv4 gets the network's broadcast address, if it has one. */
void netlink_add_address(struct netlink_batch *b, const struct netlink_link *l,
			 const struct netlink_ip *ip, uint32_t flags);
void netlink_remove_address(struct netlink_batch *b, const struct netlink_link *l,
			    const struct netlink_address *a);

struct netlink_neighbour {
	int index;
	struct netlink_ip ip;
	struct netlink_mac mac;
	uint16_t state; /* NUD_* */
	uint8_t flags;	/* NTF_* */
};

int netlink_neighbours(struct netlink *nl, struct netlink_neighbour **ret, size_t *ret_n,
		       struct err *e);
int netlink_neighbours_parse(const struct buf *dump, struct netlink_neighbour **ret, size_t *ret_n);
/** Makes it, or makes it so. @name of the interface is for the sentence. */
void netlink_set_neighbour(struct netlink_batch *b, const char *name,
			   const struct netlink_neighbour *n);
