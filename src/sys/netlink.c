/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/netlink.h"

#include "base/clock.h"

#include <linux/rtnetlink.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* The kernel fills datagrams of at most 32 KiB (net/netlink/af_netlink.c: netlink_dump). */
#define RECEIVE_BYTES (32 * 1024)
/* So many answers fit the socket's receive buffer of any kernel; each takes some 800 bytes there.
 */
#define REQUESTS_PER_SEND 64
#define BYTES_PER_SEND (32 * 1024)
#define DUMP_TRIES 20

struct netlink {
	int fd;
	uint32_t seq;
	char *room; /* RECEIVE_BYTES */
};

struct netlink_request {
	size_t at;    /* in bytes */
	size_t words; /* in words */
	int tolerated;
};

/* ---- The socket --------------------------------------------------------------------------- */

int netlink_open(struct netlink **ret, struct err *e)
{
	const struct sockaddr_nl any = {.nl_family = AF_NETLINK};
	const int on = 1;
	_cleanup_(netlink_free_p) struct netlink *nl = calloc(1, sizeof *nl);

	if (!nl)
		return err_set(e, -ENOMEM, "no memory to speak to the kernel's network");
	nl->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (nl->fd < 0)
		return err_errno(e, -errno, "socket for the kernel's network");
	if (bind(nl->fd, (const struct sockaddr *)&any, sizeof any) < 0)
		return err_errno(e, -errno, "bind the socket for the kernel's network");
	nl->room = malloc(RECEIVE_BYTES);
	if (!nl->room)
		return err_set(e, -ENOMEM, "no memory to speak to the kernel's network");
	/* reasons in words (Linux 4.12), and no copies of what we sent (4.2): without is fine */
	(void)setsockopt(nl->fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
	(void)setsockopt(nl->fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
	*ret = TAKE_PTR(nl);
	return 0;
}

void netlink_free(struct netlink *nl)
{
	if (!nl)
		return;
	(void)close_fd(nl->fd);
	free(nl->room);
	free(nl);
}

static int send_all(const struct netlink *nl, const void *data, size_t len, struct err *e)
{
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	ssize_t n;

	do
		n = sendto(nl->fd, data, len, 0, (const struct sockaddr *)&kernel, sizeof kernel);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_errno(e, -errno, "send to the kernel's network");
	return (size_t)n == len ? 0 : err_set(e, -EIO, "the kernel's network took only a part");
}

/* One datagram of the kernel into nl->room; returns its length. What others send is dropped. */
static int receive(struct netlink *nl, uint64_t deadline, struct err *e)
{
	for (;;) {
		struct pollfd p = {.fd = nl->fd, .events = POLLIN};
		struct sockaddr_nl from = {.nl_family = AF_NETLINK};
		socklen_t from_len = sizeof from;

		int r = poll(&p, 1, time_left_ms(deadline));
		if (r == 0)
			return err_set(e, -ETIMEDOUT,
				       "the kernel's network did not answer within %d ms",
				       NETLINK_TIMEOUT_MS);
		ssize_t n =
			r < 0 ? -1
			      : recvfrom(nl->fd, nl->room, RECEIVE_BYTES, MSG_DONTWAIT | MSG_TRUNC,
					 (struct sockaddr *)&from, &from_len);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return err_errno(e, -errno, "receive from the kernel's network");
		if (n > RECEIVE_BYTES)
			return err_set(
				e, -EMSGSIZE,
				"an answer of the kernel's network has %zd bytes: more than %d", n,
				RECEIVE_BYTES);
		if (from_len == sizeof from && from.nl_pid == 0)
			return (int)n;
	}
}

/* ---- Parsing ------------------------------------------------------------------------------ */

/* The message at *@at of @len bytes. */
static const struct nlmsghdr *next_message(const char *data, size_t len, size_t *at,
					   size_t head_len)
{
	size_t left = *at < len ? len - *at : 0;
	const struct nlmsghdr *m = (const void *)(data + *at);

	if (left < sizeof *m || m->nlmsg_len < NLMSG_HDRLEN + head_len || m->nlmsg_len > left)
		return NULL;
	*at += NLMSG_ALIGN(m->nlmsg_len);
	return m;
}

const struct nlmsghdr *netlink_next(const struct buf *b, size_t *at, size_t head_len)
{
	return b->data ? next_message(b->data, b->len, at, head_len) : NULL;
}

void netlink_attributes(const void *data, size_t len, const struct nlattr **ret, uint16_t max)
{
	for (size_t i = 0; i <= max; i++)
		ret[i] = NULL;
	for (size_t at = 0; at < len && len - at >= sizeof(struct nlattr);) {
		const struct nlattr *a = (const void *)((const char *)data + at);
		uint16_t type = a->nla_type & NLA_TYPE_MASK;
		if (a->nla_len < NLA_HDRLEN || a->nla_len > len - at)
			return;
		if (type <= max)
			ret[type] = a;
		at += (size_t)NLA_ALIGN(a->nla_len);
	}
}

void netlink_message_attributes(const struct nlmsghdr *m, size_t head_len,
				const struct nlattr **ret, uint16_t max)
{
	size_t before = NLMSG_HDRLEN + NLMSG_ALIGN(head_len);
	size_t len = m->nlmsg_len > before ? m->nlmsg_len - before : 0;

	netlink_attributes((const char *)m + before, len, ret, max);
}

uint32_t netlink_u32(const struct nlattr *a, uint32_t otherwise)
{
	uint32_t v;

	if (!a || netlink_len(a) != sizeof v)
		return otherwise;
	memcpy(&v, netlink_data(a), sizeof v);
	return v;
}

void netlink_text(const struct nlattr *a, char *ret, size_t size)
{
	size_t len = a ? strnlen(netlink_data(a), netlink_len(a)) : 0;

	if (len >= size)
		len = size - 1;
	if (len)
		memcpy(ret, netlink_data(a), len);
	ret[len] = '\0';
}

/* ---- Writing ------------------------------------------------------------------------------ */

void netlink_batch_free(struct netlink_batch *b)
{
	buf_free(&b->bytes);
	buf_free(&b->words);
	free(b->requests);
	*b = NETLINK_BATCH_INIT;
}

static void batch_clear(struct netlink_batch *b)
{
	buf_clear(&b->bytes);
	buf_clear(&b->words);
	b->n = 0;
}

/* Appends to the last message, padded, and keeps its length right. */
static void add(struct netlink_batch *b, const void *data, size_t len, size_t padded)
{
	static const char zeros[NLMSG_ALIGNTO];

	if (len)
		buf_append(&b->bytes, data, len);
	if (padded > len)
		buf_append(&b->bytes, zeros, padded - len);
	if (buf_failed(&b->bytes) || b->n == 0) {
		b->failed = true;
		return;
	}
	size_t at = b->requests[b->n - 1].at;
	struct nlmsghdr *m = (void *)(b->bytes.data + at);
	m->nlmsg_len = (uint32_t)(b->bytes.len - at);
}

static struct netlink_request *new_request(struct netlink_batch *b)
{
	if (b->n == b->cap) {
		size_t cap = b->cap ? b->cap * 2 : 16;
		struct netlink_request *grown =
			cap > NETLINK_REQUESTS_MAX ? NULL
						   : reallocarray(b->requests, cap, sizeof *grown);
		if (!grown) {
			b->failed = true;
			return NULL;
		}
		b->requests = grown;
		b->cap = cap;
	}
	return &b->requests[b->n++];
}

void netlink_begin(struct netlink_batch *b, uint16_t type, uint16_t flags, const void *head,
		   size_t len, const char *fmt, ...)
{
	const struct nlmsghdr m = {.nlmsg_type = type,
				   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags};
	char words[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(words, sizeof words, fmt, ap);
	va_end(ap);
	struct netlink_request *q = b->failed ? NULL : new_request(b);
	if (!q)
		return;
	*q = (struct netlink_request){.at = b->bytes.len, .words = b->words.len};
	buf_append(&b->words, words, strlen(words) + 1);
	b->failed |= buf_failed(&b->words);
	add(b, &m, sizeof m, NLMSG_HDRLEN);
	add(b, head, len, NLMSG_ALIGN(len));
}

void netlink_tolerate(struct netlink_batch *b, int errnum)
{
	if (!b->failed && b->n)
		b->requests[b->n - 1].tolerated = errnum;
}

void netlink_put(struct netlink_batch *b, uint16_t type, const void *data, size_t len)
{
	if (len > UINT16_MAX - NLA_HDRLEN)
		b->failed = true;
	if (b->failed)
		return;
	const struct nlattr a = {.nla_type = type, .nla_len = (uint16_t)(NLA_HDRLEN + len)};
	add(b, &a, sizeof a, NLA_HDRLEN);
	add(b, data, len, NLA_ALIGN(len));
}

void netlink_put_u8(struct netlink_batch *b, uint16_t type, uint8_t v)
{
	netlink_put(b, type, &v, sizeof v);
}

void netlink_put_u32(struct netlink_batch *b, uint16_t type, uint32_t v)
{
	netlink_put(b, type, &v, sizeof v);
}

void netlink_put_text(struct netlink_batch *b, uint16_t type, const char *s)
{
	netlink_put(b, type, s, strlen(s) + 1);
}

size_t netlink_nest(struct netlink_batch *b, uint16_t type)
{
	size_t at = b->bytes.len;
	netlink_put(b, type | NLA_F_NESTED, NULL, 0);
	return at;
}

void netlink_unnest(struct netlink_batch *b, size_t at)
{
	if (b->failed)
		return;
	struct nlattr *a = (void *)(b->bytes.data + at);
	b->failed |= b->bytes.len - at > UINT16_MAX;
	a->nla_len = (uint16_t)(b->bytes.len - at);
}

/* ---- Requests ----------------------------------------------------------------------------- */

/* The outcome that an NLMSG_ERROR tells, and the kernel's words for it, if any. */
static int read_error(const struct nlmsghdr *m, char *words, size_t size)
{
	const struct nlattr *v[NLMSGERR_ATTR_MAX + 1];
	const struct nlmsgerr *error = netlink_head(m);
	size_t head = sizeof *error;

	words[0] = '\0';
	if (m->nlmsg_len < NLMSG_HDRLEN + sizeof *error)
		return -EBADMSG;
	if (!(m->nlmsg_flags & NLM_F_CAPPED) && error->msg.nlmsg_len > NLMSG_HDRLEN)
		head += error->msg.nlmsg_len - NLMSG_HDRLEN;
	if (m->nlmsg_flags & NLM_F_ACK_TLVS) {
		netlink_message_attributes(m, head, v, NLMSGERR_ATTR_MAX);
		netlink_text(v[NLMSGERR_ATTR_MSG], words, size);
	}
	return error->error > 0 || error->error < -4095 ? -EBADMSG : error->error;
}

static int request_failed(const struct netlink_batch *b, size_t i, int r, const char *words,
			  struct err *e)
{
	const char *what = b->words.data + b->requests[i].words;

	if (words[0])
		return err_errno(e, r, "%s: %s", what, words);
	return err_errno(e, r, "%s", what);
}

struct run {
	struct netlink_batch *b;
	uint32_t seq; /* of the batch' first */
	size_t from, to, answered;
	int r;
};

/* Counts one answer; the first failure is kept. */
static void answer(struct run *run, const struct nlmsghdr *m, struct err *e)
{
	char words[256];
	size_t i = (uint32_t)(m->nlmsg_seq - run->seq);

	if (m->nlmsg_type != NLMSG_ERROR || i < run->from || i >= run->to)
		return;
	run->answered++;
	int r = read_error(m, words, sizeof words);
	if (r < 0 && r != -run->b->requests[i].tolerated && run->r == 0)
		run->r = request_failed(run->b, i, r, words, e);
}

static int await_answers(struct netlink *nl, struct run *run, struct err *e)
{
	uint64_t deadline = time_deadline(NETLINK_TIMEOUT_MS);

	while (run->answered < run->to - run->from) {
		size_t at = 0;
		int n = receive(nl, deadline, e);
		if (n < 0)
			return n;
		for (const struct nlmsghdr *m; (m = next_message(nl->room, (size_t)n, &at, 0));)
			answer(run, m, e);
	}
	return run->r;
}

/* Where the requests that fit one datagram end. */
static size_t chunk_end(const struct netlink_batch *b, size_t from)
{
	size_t to = from + 1;
	while (to < b->n && to - from < REQUESTS_PER_SEND &&
	       (to + 1 < b->n ? b->requests[to + 1].at : b->bytes.len) - b->requests[from].at <=
		       BYTES_PER_SEND)
		to++;
	return to;
}

int netlink_run(struct netlink *nl, struct netlink_batch *b, struct err *e)
{
	struct run run = {.b = b, .seq = nl->seq + 1};
	int r = 0;

	if (b->failed)
		return err_set(e, -ENOMEM, "no memory for requests to the kernel's network");
	for (size_t i = 0; i < b->n; i++)
		((struct nlmsghdr *)(void *)(b->bytes.data + b->requests[i].at))->nlmsg_seq =
			++nl->seq;
	for (size_t from = 0; r == 0 && from < b->n; from = run.to) {
		run.from = from;
		run.to = chunk_end(b, from);
		run.answered = 0;
		size_t begin = b->requests[from].at;
		size_t end = run.to < b->n ? b->requests[run.to].at : b->bytes.len;
		r = send_all(nl, b->bytes.data + begin, end - begin, e);
		if (r == 0)
			r = await_answers(nl, &run, e);
	}
	batch_clear(b);
	return r;
}

/* ---- Dumps -------------------------------------------------------------------------------- */

struct dump {
	uint32_t seq;
	struct buf *ret;
	bool done, interrupted;
};

static int take(struct dump *d, const struct nlmsghdr *m, struct err *e)
{
	static const char zeros[NLMSG_ALIGNTO];
	char words[256];

	if (m->nlmsg_seq != d->seq)
		return 0;
	d->interrupted |= (m->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
	if (m->nlmsg_type == NLMSG_DONE) {
		d->done = true;
		return 0;
	}
	if (m->nlmsg_type == NLMSG_ERROR) {
		int r = read_error(m, words, sizeof words);
		d->done = true;
		return r == 0 ? 0
			      : err_errno(e, r, "list what the kernel's network has%s%s",
					  words[0] ? ": " : "", words);
	}
	if (d->ret->len + m->nlmsg_len > NETLINK_DUMP_MAX)
		return err_set(e, -E2BIG, "a list of the kernel's network has more than %u bytes",
			       NETLINK_DUMP_MAX);
	buf_append(d->ret, m, m->nlmsg_len);
	buf_append(d->ret, zeros, NLMSG_ALIGN(m->nlmsg_len) - m->nlmsg_len);
	return buf_failed(d->ret) ? err_set(e, -ENOMEM, "no memory for a list of the network") : 0;
}

static int dump_once(struct netlink *nl, struct dump *d, uint64_t deadline, struct err *e)
{
	while (!d->done) {
		size_t at = 0;
		int r = 0, n = receive(nl, deadline, e);
		if (n < 0)
			return n;
		for (const struct nlmsghdr *m;
		     r == 0 && (m = next_message(nl->room, (size_t)n, &at, 0));)
			r = take(d, m, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int netlink_dump(struct netlink *nl, uint16_t type, const void *head, size_t len, struct buf *ret,
		 struct err *e)
{
	uint64_t deadline = time_deadline(NETLINK_TIMEOUT_MS);
	size_t before = ret->len;

	for (int i = 0; i < DUMP_TRIES; i++) {
		char q[256] = {0};
		struct nlmsghdr *m = (void *)q;
		struct dump d = {.seq = ++nl->seq, .ret = ret};

		if (len > sizeof q - NLMSG_HDRLEN)
			return err_set(e, -EINVAL, "a request of %zu bytes is too long", len);
		*m = (struct nlmsghdr){.nlmsg_len = (uint32_t)(NLMSG_HDRLEN + len),
				       .nlmsg_type = type,
				       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
				       .nlmsg_seq = d.seq};
		memcpy(q + NLMSG_HDRLEN, head, len);
		int r = send_all(nl, q, m->nlmsg_len, e);
		if (r == 0)
			r = dump_once(nl, &d, deadline, e);
		if (r < 0 || !d.interrupted)
			return r;
		ret->len = before;
	}
	return err_set(e, -EAGAIN, "the network changes faster than it can be listed");
}
