/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the kernel's network by rtnetlink: the way there and back. What the messages say is
 * in netlink-link.h, netlink-address.h, netlink-route.h and netlink-tc.h.
 *
 * A client is a socket in the network namespace of the thread that opened it, used by one thread at
 * a time. Each call waits for the kernel's answer, at most NETLINK_TIMEOUT_MS.
 *
 * Sources: rtnetlink(7), netlink(7), kernel Documentation/userspace-api/netlink/intro.rst.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <linux/netlink.h>
#include <stdbool.h>
#include <stdint.h>

/* The kernel answers at once, unless somebody else holds its lock of the network. */
#define NETLINK_TIMEOUT_MS 10000
/* A whole dump: thousands of routes. More is refused. */
#define NETLINK_DUMP_MAX (8u << 20)
/* Requests in one batch. */
#define NETLINK_REQUESTS_MAX 16384

struct netlink;

int netlink_open(struct netlink **ret, struct err *e);
void netlink_free(struct netlink *nl);
DEFINE_CLEANUP(struct netlink, netlink_free)

/* ---- Requests ----------------------------------------------------------------------------- */

/**
 * Requests that are sent together. An allocation that fails is remembered, and fails the run; so
 * does an attribute that is too long for a message.
 */
struct netlink_batch {
	struct buf bytes; /* whole messages, the last one still being written */
	struct buf words; /* what each does */
	struct netlink_request *requests;
	size_t n, cap;
	bool failed;
};

#define NETLINK_BATCH_INIT ((struct netlink_batch){.n = 0})
#define _cleanup_netlink_batch_ _cleanup_(netlink_batch_free)

void netlink_batch_free(struct netlink_batch *b);

/**
 * Begins a request, which ends where the next one begins. @flags are added to NLM_F_REQUEST and
 * NLM_F_ACK; @head is the family's fixed part. The sentence says what it does, for errors: "add
 * address 10.0.0.1/24 to eth0".
 */
void netlink_begin(struct netlink_batch *b, uint16_t type, uint16_t flags, const void *head,
		   size_t len, const char *fmt, ...) _printf_(6, 7);
/** The errno (positive) that is no failure of the last request, like EEXIST; at most one. */
void netlink_tolerate(struct netlink_batch *b, int errnum);

/** Add attributes to the last request. */
void netlink_put(struct netlink_batch *b, uint16_t type, const void *data, size_t len);
void netlink_put_u8(struct netlink_batch *b, uint16_t type, uint8_t v);
void netlink_put_u32(struct netlink_batch *b, uint16_t type, uint32_t v);
void netlink_put_text(struct netlink_batch *b, uint16_t type, const char *s);
/** Begins an attribute that holds others; netlink_unnest() takes what this returns. */
size_t netlink_nest(struct netlink_batch *b, uint16_t type);
void netlink_unnest(struct netlink_batch *b, size_t at);

/**
 * Sends all of it, in few datagrams, waits for all answers and empties the batch. The kernel does
 * every request of a datagram, also those after one that failed; the failure of the first is
 * returned, in a sentence with the kernel's own words. Later datagrams are not sent then.
 */
int netlink_run(struct netlink *nl, struct netlink_batch *b, struct err *e);

/* ---- Dumps -------------------------------------------------------------------------------- */

/**
 * Asks for all objects of a kind. The messages are appended to @ret, to be read by netlink_next().
 * A dump that was interrupted by changes is asked for again.
 */
int netlink_dump(struct netlink *nl, uint16_t type, const void *head, size_t len, struct buf *ret,
		 struct err *e);

/**
 * The message at *@at of what a dump returned, and *@at moves on; NULL at the end, or before what
 * is no whole message. @head_len is what must be there before the attributes.
 */
const struct nlmsghdr *netlink_next(const struct buf *b, size_t *at, size_t head_len);
/** The fixed part of a message. */
static inline const void *netlink_head(const struct nlmsghdr *m)
{
	return (const char *)m + NLMSG_HDRLEN;
}

/** Sorts attributes into @ret by type, 0 to @max; the rest is passed over, as is what is cut off.
 * Those that do not occur are NULL. */
void netlink_attributes(const void *data, size_t len, const struct nlattr **ret, uint16_t max);
/** The attributes of a message behind its fixed part. */
void netlink_message_attributes(const struct nlmsghdr *m, size_t head_len,
				const struct nlattr **ret, uint16_t max);
static inline const void *netlink_data(const struct nlattr *a)
{
	return (const char *)a + NLA_HDRLEN;
}
static inline size_t netlink_len(const struct nlattr *a)
{
	return a->nla_len - (size_t)NLA_HDRLEN;
}
/** @a may be NULL: @otherwise, as for one of a wrong size. */
uint32_t netlink_u32(const struct nlattr *a, uint32_t otherwise);
/** Copies a string, cut to @size; "" if there is none. */
void netlink_text(const struct nlattr *a, char *ret, size_t size);
