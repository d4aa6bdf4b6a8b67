/* SPDX-License-Identifier: Apache-2.0 */
/* Network interfaces: looked at, changed, made. See netlink.h for who may call. */
#pragma once

#include "sys/netlink.h"

#include <net/if.h>

/* Addresses of hardware: 6 bytes on Ethernet, 20 on InfiniBand (kernel: MAX_ADDR_LEN). */
#define NETLINK_MAC_MAX 32
/* "00:11:..." and a NUL */
#define NETLINK_MAC_TEXT (NETLINK_MAC_MAX * 3)

struct netlink_mac {
	uint8_t len; /* 0: none */
	uint8_t bytes[NETLINK_MAC_MAX];
};

struct netlink_link {
	int index;
	uint32_t flags; /* IFF_* */
	uint32_t mtu;
	int lower; /* the interface that it is stacked on or paired with; 0: none */
	struct netlink_mac mac;
	char name[IF_NAMESIZE];
	char kind[32]; /* "veth", ...; "" for hardware */
};

/** 6, 8 or 20 bytes in hex with colons; not all 0, and no group's address. -EINVAL. */
int netlink_mac_parse(const char *text, struct netlink_mac *ret);
/** In lower case; "" for none. */
void netlink_mac_format(const struct netlink_mac *mac, char ret[static NETLINK_MAC_TEXT]);
bool netlink_mac_equal(const struct netlink_mac *a, const struct netlink_mac *b);

/** Whether the kernel would take the name (net/core/dev.c: dev_valid_name; and no '%', which asks
 * it to number). */
bool netlink_name_valid(const char *name);

/** All of them, to be freed by free(). */
int netlink_links(struct netlink *nl, struct netlink_link **ret, size_t *ret_n, struct err *e);
/** What a dump of RTM_GETLINK says; pure. 0 or -ENOMEM. */
int netlink_links_parse(const struct buf *dump, struct netlink_link **ret, size_t *ret_n);

/** NULL if there is none of that name or number. */
const struct netlink_link *netlink_link_named(const struct netlink_link *v, size_t n,
					      const char *name);
const struct netlink_link *netlink_link_at(const struct netlink_link *v, size_t n, int index);

/** What shall become of an interface; what is 0 or NULL stays. */
struct netlink_link_change {
	const char *name;
	const struct netlink_mac *mac;
	uint32_t mtu;
	uint32_t flags, mask; /* IFF_UP, IFF_NOARP: those of the mask become as in flags */
};

/** @l: the number counts; its name is for the sentence. */
void netlink_change_link(struct netlink_batch *b, const struct netlink_link *l,
			 const struct netlink_link_change *c);
void netlink_remove_link(struct netlink_batch *b, const struct netlink_link *l);
/** A pair of connected interfaces; both are down. -EEXIST if a name is taken. */
void netlink_add_veth(struct netlink_batch *b, const char *name, const char *peer);
