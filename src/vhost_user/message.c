/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost_user/message.h"

#include <string.h>
#include <sys/socket.h>

#define HDR (sizeof(struct vhost_user_header))
#define TABLE_HDR (offsetof(struct vhost_user_mem_table, regions))
#define CONFIG_HDR (offsetof(struct vhost_user_config, data))

/* What a request must look like. Sizes are bytes of payload. */
struct rule {
	const char *name; /* NULL: not a request that is known here */
	uint16_t min, max;
	uint8_t min_fds, max_fds;
	bool answers;
};

#define NO_PAYLOAD 0, 0
#define EXACTLY(type) sizeof(type), sizeof(type)

static const struct rule rules[] = {
	[VHOST_USER_GET_FEATURES] = {"GET_FEATURES", NO_PAYLOAD, 0, 0, true},
	[VHOST_USER_SET_FEATURES] = {"SET_FEATURES", EXACTLY(uint64_t), 0, 0, false},
	[VHOST_USER_SET_OWNER] = {"SET_OWNER", NO_PAYLOAD, 0, 0, false},
	[VHOST_USER_RESET_OWNER] = {"RESET_OWNER", NO_PAYLOAD, 0, 0, false},
	[VHOST_USER_SET_MEM_TABLE] = {"SET_MEM_TABLE", TABLE_HDR,
				      sizeof(struct vhost_user_mem_table), 0, VHOST_USER_FDS_MAX,
				      false},
	[VHOST_USER_SET_VRING_NUM] = {"SET_VRING_NUM", EXACTLY(struct vhost_user_vring_state), 0, 0,
				      false},
	[VHOST_USER_SET_VRING_ADDR] = {"SET_VRING_ADDR", EXACTLY(struct vhost_user_vring_addr), 0,
				       0, false},
	[VHOST_USER_SET_VRING_BASE] = {"SET_VRING_BASE", EXACTLY(struct vhost_user_vring_state), 0,
				       0, false},
	[VHOST_USER_GET_VRING_BASE] = {"GET_VRING_BASE", EXACTLY(struct vhost_user_vring_state), 0,
				       0, true},
	[VHOST_USER_SET_VRING_KICK] = {"SET_VRING_KICK", EXACTLY(uint64_t), 0, 1, false},
	[VHOST_USER_SET_VRING_CALL] = {"SET_VRING_CALL", EXACTLY(uint64_t), 0, 1, false},
	[VHOST_USER_SET_VRING_ERR] = {"SET_VRING_ERR", EXACTLY(uint64_t), 0, 1, false},
	[VHOST_USER_GET_PROTOCOL_FEATURES] = {"GET_PROTOCOL_FEATURES", NO_PAYLOAD, 0, 0, true},
	[VHOST_USER_SET_PROTOCOL_FEATURES] = {"SET_PROTOCOL_FEATURES", EXACTLY(uint64_t), 0, 0,
					      false},
	[VHOST_USER_GET_QUEUE_NUM] = {"GET_QUEUE_NUM", NO_PAYLOAD, 0, 0, true},
	[VHOST_USER_SET_VRING_ENABLE] = {"SET_VRING_ENABLE", EXACTLY(struct vhost_user_vring_state),
					 0, 0, false},
	[VHOST_USER_GET_CONFIG] = {"GET_CONFIG", CONFIG_HDR, sizeof(struct vhost_user_config), 0, 0,
				   true},
	[VHOST_USER_GET_MAX_MEM_SLOTS] = {"GET_MAX_MEM_SLOTS", NO_PAYLOAD, 0, 0, true},
	[VHOST_USER_ADD_MEM_REG] = {"ADD_MEM_REG", EXACTLY(struct vhost_user_mem_reg), 1, 1, false},
	/* Some front ends send the descriptor along; it has no meaning. */
	[VHOST_USER_REM_MEM_REG] = {"REM_MEM_REG", EXACTLY(struct vhost_user_mem_reg), 0, 1, false},
};

static const struct rule *find_rule(uint32_t request)
{
	if (request >= ARRAY_SIZE(rules) || !rules[request].name)
		return NULL;
	return &rules[request];
}

const char *vhost_user_request_name(uint32_t request)
{
	const struct rule *rule = find_rule(request);
	return rule ? rule->name : NULL;
}

bool vhost_user_request_answers(uint32_t request)
{
	const struct rule *rule = find_rule(request);
	return rule && rule->answers;
}

void vhost_user_message_init(struct vhost_user_message *m)
{
	memset(m, 0, sizeof *m);
	for (unsigned i = 0; i < VHOST_USER_FDS_MAX; i++)
		m->fds[i] = -EBADF;
}

void vhost_user_message_clear(struct vhost_user_message *m)
{
	for (unsigned i = 0; i < m->n_fds; i++)
		(void)close_fd(m->fds[i]);
	vhost_user_message_init(m);
}

static int check_header(const struct vhost_user_header *h, struct err *e)
{
	const struct rule *rule = find_rule(h->request);

	if ((h->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION)
		return err_set(e, -EPROTO, "vhost-user request %u has flags %#x: not version 1",
			       h->request, h->flags);
	if (h->flags & VHOST_USER_REPLY)
		return err_set(e, -EPROTO, "vhost-user request %u is marked as a reply",
			       h->request);
	uint32_t min = rule ? rule->min : 0;
	uint32_t max = rule ? rule->max : (uint32_t)sizeof(union vhost_user_payload);
	if (h->size < min || h->size > max)
		return err_set(e, -EPROTO,
			       "vhost-user %s (%u) has %u bytes of payload: the rule is %u to %u",
			       rule ? rule->name : "request", h->request, h->size, min, max);
	return 0;
}

static int check_fds(const struct vhost_user_message *m, struct err *e)
{
	const struct rule *rule = find_rule(m->h.request);
	unsigned min = rule ? rule->min_fds : 0, max = rule ? rule->max_fds : VHOST_USER_FDS_MAX;

	if (m->n_fds < min || m->n_fds > max)
		return err_set(e, -EPROTO,
			       "vhost-user %s (%u) has %u descriptors: the rule is %u to %u",
			       rule ? rule->name : "request", m->h.request, m->n_fds, min, max);
	return 0;
}

/* Takes every descriptor that came; what is too much is closed here. */
static int take_fds(struct vhost_user_message *m, struct msghdr *msg, struct err *e)
{
	bool too_many = msg->msg_flags & MSG_CTRUNC;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (m->n_fds < VHOST_USER_FDS_MAX) {
				m->fds[m->n_fds++] = fd;
			} else {
				(void)close(fd);
				too_many = true;
			}
		}
	}
	if (too_many)
		return err_set(e, -EPROTO, "a vhost-user message brings more than %d descriptors",
			       VHOST_USER_FDS_MAX);
	return 0;
}

/* Reads up to @len bytes at @dst. Returns how many, 0: none now. */
static int read_some(struct vhost_user_message *m, int fd, void *dst, size_t len, struct err *e)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * VHOST_USER_FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = dst, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof control.buf};
	ssize_t n;

	do
		n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < 0)
		return err_errno(e, -ECONNRESET, "read from the vhost-user front end");
	int r = take_fds(m, &msg, e);
	if (r < 0)
		return r;
	if (n == 0)
		return err_set(e, -ECONNRESET, "the vhost-user front end closed the connection");
	m->have += (size_t)n;
	return (int)n;
}

int vhost_user_message_recv(struct vhost_user_message *m, int fd, struct err *e)
{
	int r;

	while (m->have < HDR) {
		r = read_some(m, fd, (uint8_t *)&m->h + m->have, HDR - m->have, e);
		if (r <= 0)
			return r;
		if (m->have == HDR) {
			r = check_header(&m->h, e);
			if (r < 0)
				return r;
		}
	}
	while (m->have < HDR + m->h.size) {
		size_t at = m->have - HDR;
		r = read_some(m, fd, (uint8_t *)&m->p + at, m->h.size - at, e);
		if (r <= 0)
			return r;
	}
	r = check_fds(m, e);
	return r < 0 ? r : 1;
}

int vhost_user_message_reply(int fd, const struct vhost_user_message *m, const void *payload,
			     uint32_t size)
{
	struct vhost_user_header h = {.request = m->h.request,
				      .flags = VHOST_USER_VERSION | VHOST_USER_REPLY,
				      .size = size};
	struct iovec iov[2] = {{&h, sizeof h}, {(void *)payload, size}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = size ? 2 : 1};
	ssize_t n;

	do
		n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == sizeof h + size ? 0 : -EPIPE;
}
