/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/netlink-tc.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>

/* "ffff:", the only one that an ingress qdisc can have */
#define INGRESS_HANDLE TC_H_MAKE(0xffff0000U, 0)

static struct tcmsg ingress_head(const struct netlink_link *l)
{
	return (struct tcmsg){.tcm_family = AF_UNSPEC,
			      .tcm_ifindex = l->index,
			      .tcm_handle = INGRESS_HANDLE,
			      .tcm_parent = TC_H_INGRESS};
}

void netlink_add_ingress(struct netlink_batch *b, const struct netlink_link *l)
{
	const struct tcmsg head = ingress_head(l);

	netlink_begin(b, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof head,
		      "filter what arrives at interface %s", l->name);
	netlink_put_text(b, TCA_KIND, "ingress");
}

void netlink_remove_ingress(struct netlink_batch *b, const struct netlink_link *l)
{
	struct tcmsg head = ingress_head(l);

	/* Without a handle one that is gone is -ENOENT; with one, -EINVAL as for a mistake. */
	head.tcm_handle = 0;
	netlink_begin(b, RTM_DELQDISC, 0, &head, sizeof head,
		      "filter no longer what arrives at interface %s", l->name);
	netlink_tolerate(b, ENOENT);
}

/* One key of no bits: it matches everything. */
static void put_match_all(struct netlink_batch *b)
{
	const union {
		struct tc_u32_sel sel;
		char room[sizeof(struct tc_u32_sel) + sizeof(struct tc_u32_key)];
	} all = {.sel = {.flags = TC_U32_TERMINAL, .nkeys = 1}};

	netlink_put(b, TCA_U32_SEL, &all, sizeof all);
}

static void put_redirect(struct netlink_batch *b, const struct netlink_link *to)
{
	const struct tc_mirred mirred = {.action = TC_ACT_STOLEN,
					 .eaction = TCA_EGRESS_REDIR,
					 .ifindex = (uint32_t)to->index};

	size_t actions = netlink_nest(b, TCA_U32_ACT);
	size_t first = netlink_nest(b, 1);
	netlink_put_text(b, TCA_ACT_KIND, "mirred");
	size_t options = netlink_nest(b, TCA_ACT_OPTIONS);
	netlink_put(b, TCA_MIRRED_PARMS, &mirred, sizeof mirred);
	netlink_unnest(b, options);
	netlink_unnest(b, first);
	netlink_unnest(b, actions);
}

void netlink_add_redirect(struct netlink_batch *b, const struct netlink_link *from,
			  const struct netlink_link *to)
{
	/* of no priority: the kernel chooses one */
	const struct tcmsg head = {.tcm_family = AF_UNSPEC,
				   .tcm_ifindex = from->index,
				   .tcm_parent = INGRESS_HANDLE,
				   .tcm_info = TC_H_MAKE(0, htons(ETH_P_ALL))};

	netlink_begin(b, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof head,
		      "send on what arrives at interface %s to %s", from->name, to->name);
	netlink_put_text(b, TCA_KIND, "u32");
	size_t options = netlink_nest(b, TCA_OPTIONS);
	put_match_all(b);
	put_redirect(b, to);
	netlink_unnest(b, options);
}
