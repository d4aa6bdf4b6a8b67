/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What arrives at one interface leaves at another, frame for frame: how a machine's tap device is
 * joined to the pod's own interface without a bridge. See netlink.h for who may call.
 *
 * Equivalent:	tc qdisc add dev FROM ingress
 *		tc filter add dev FROM parent ffff: protocol all u32 match u8 0 0 \
 *			action mirred egress redirect dev TO
 */
#pragma once

#include "sys/netlink-link.h"

/** Gives an interface the place for filters of what arrives. -EEXIST if it has one. */
void netlink_add_ingress(struct netlink_batch *b, const struct netlink_link *l);
/** Takes it away with all its filters; without one nothing happens. */
void netlink_remove_ingress(struct netlink_batch *b, const struct netlink_link *l);
/** Sends on everything that arrives; after netlink_add_ingress(@from). */
void netlink_add_redirect(struct netlink_batch *b, const struct netlink_link *from,
			  const struct netlink_link *to);
