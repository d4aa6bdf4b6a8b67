/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring's life, as the messages make it: size, base and addresses are set; a kick descriptor
 * makes it ready; it runs once it is enabled too (at once where the front end did not take
 * VHOST_USER_F_PROTOCOL_FEATURES); GET_VRING_BASE or disabling stops it.
 *
 * Ring addresses are kept as the front end gave them and looked up anew whenever guest memory
 * changes, so that nothing points into a mapping that is gone.
 */
#include "vhost_user/server.h"

#include "base/fd.h"
#include "base/log.h"
#include "devices/virtqueue.h"
#include "vhost_user/memory.h"
#include "vhost_user/message.h"

#include <string.h>
#include <sys/stat.h>

/* The most queues of one device; vsock has 2. */
#define QUEUES_MAX 16
/* Messages of one turn of the loop. A start-up has some 30. */
#define MESSAGES_PER_TURN 32

/* Requests that a front end may have refused, each with a line in the log, before it is cut off. */
#define REFUSALS_MAX 64

#define PROTOCOL_FEATURES                                             \
	(VHOST_USER_PROTOCOL_F_MQ | VHOST_USER_PROTOCOL_F_REPLY_ACK | \
	 VHOST_USER_PROTOCOL_F_CONFIG | VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS)

struct ring {
	struct vhost_user *u;
	unsigned index;
	struct virtqueue q;
	unsigned num;
	uint16_t base;
	bool has_addr;
	struct vhost_user_vring_addr addr;
	int kick, call, err; /* owned eventfds, or -EBADF */
	struct loop_io *kick_io;
	bool enabled;
	bool running; /* the device has it */
};

struct vhost_user {
	struct loop *loop;
	int fd;
	struct loop_io *io;
	const struct virtio_device_ops *ops;
	void *dev;
	vhost_user_gone_fn gone;
	void *gone_arg;

	struct vhost_user_message msg;
	uint64_t features, protocol_features;
	unsigned refusals;
	struct vhost_user_memory mem;
	struct ring rings[QUEUES_MAX];
};

/* ---- Rings ----------------------------------------------------------------------------------- */

static void signal_eventfd(int fd)
{
	uint64_t one = 1;

	/* Full: the other side has a wake-up waiting already. */
	if (fd >= 0 && write(fd, &one, sizeof one) < 0 && errno != EAGAIN)
		log_debug("vhost-user: cannot signal an eventfd: %s", strerror(errno));
}

static void raise_interrupt(void *arg)
{
	const struct ring *r = arg;
	signal_eventfd(r->call);
}

static void on_kick(void *arg, unsigned events)
{
	struct ring *r = arg;
	uint64_t count;

	ssize_t n = read(r->kick, &count, sizeof count);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != sizeof count) {
		log_error("vhost-user %s: the kick descriptor of queue %u does not work; the queue "
			  "is deaf now",
			  r->u->ops->name, r->index);
		loop_io_set(r->kick_io, 0);
		return;
	}
	if (!r->running)
		return;
	bool was_fine = !r->q.why;
	r->u->ops->queue_kick(r->u->dev, r->index);
	if (was_fine && r->q.why)
		signal_eventfd(r->err);
}

struct ring_pointers {
	void *desc, *avail, *used;
};

static int find_ring(const struct ring *r, struct ring_pointers *ret, struct err *e)
{
	const struct guest_memory *m = &r->u->mem.guest;

	ret->desc = guest_memory_at_user(m, r->addr.desc, virtqueue_desc_bytes(r->num));
	ret->avail = guest_memory_at_user(m, r->addr.avail, virtqueue_avail_bytes(r->num));
	ret->used = guest_memory_at_user(m, r->addr.used, virtqueue_used_bytes(r->num));
	if (ret->desc && ret->avail && ret->used)
		return 0;
	return err_set(e, -EINVAL, "the rings of queue %u, size %u, do not lie in guest memory",
		       r->index, r->num);
}

static void stop_ring(struct ring *r)
{
	if (!r->running)
		return;
	r->u->ops->queue_stop(r->u->dev, r->index);
	r->running = false;
	r->base = r->q.next_avail;
	virtqueue_stop(&r->q);
}

static int start_ring_if_ready(struct ring *r, struct err *e)
{
	struct vhost_user *u = r->u;
	struct ring_pointers p;
	bool enabled = r->enabled || !(u->features & VHOST_USER_F_PROTOCOL_FEATURES);

	if (r->running || !enabled || r->kick < 0)
		return 0;
	if (!r->has_addr || r->num == 0)
		return err_set(e, -EPROTO, "queue %u has no size or no address yet", r->index);
	int rc = find_ring(r, &p, e);
	if (rc < 0)
		return rc;
	rc = virtqueue_start(&r->q, &u->mem.guest, r->num, p.desc, p.avail, p.used, u->features,
			     r->base);
	if (rc < 0)
		return err_set(e, rc, "the rings of queue %u are not aligned", r->index);
	r->running = true;
	u->ops->queue_start(u->dev, r->index, &r->q);
	return 0;
}

/* Guest memory has changed: rings that run go on where they are mapped now. One whose memory was
 * taken away is broken, and the device finds out at its next look. */
static void move_rings(struct vhost_user *u)
{
	struct ring_pointers p;
	struct err e = ERR_INIT;

	for (unsigned i = 0; i < u->ops->n_queues; i++) {
		struct ring *r = &u->rings[i];
		if (!r->running)
			continue;
		if (find_ring(r, &p, &e) < 0 ||
		    virtqueue_move(&r->q, p.desc, p.avail, p.used) < 0) {
			log_error("vhost-user %s: %s any more", u->ops->name, e.text);
			(void)virtqueue_break(&r->q, "its memory was taken away");
			stop_ring(r);
		}
	}
}

static void stop_all(struct vhost_user *u)
{
	for (unsigned i = 0; i < u->ops->n_queues; i++)
		stop_ring(&u->rings[i]);
}

/* ---- Requests: what they do ------------------------------------------------------------------ */

static int ring_of(struct vhost_user *u, uint64_t index, struct ring **ret, struct err *e)
{
	if (index >= u->ops->n_queues)
		return err_set(e, -EPROTO, "queue %llu of a device that has %u",
			       (unsigned long long)index, u->ops->n_queues);
	*ret = &u->rings[index];
	return 0;
}

static int stopped_ring_of(struct vhost_user *u, uint64_t index, struct ring **ret, struct err *e)
{
	int rc = ring_of(u, index, ret, e);
	if (rc == 0 && (*ret)->running)
		return err_set(e, -EBUSY, "queue %u is running", (*ret)->index);
	return rc;
}

static uint64_t offered(const struct vhost_user *u)
{
	return u->ops->features | VIRTQUEUE_FEATURES | VHOST_USER_F_PROTOCOL_FEATURES;
}

static int set_features(struct vhost_user *u, uint64_t features, struct err *e)
{
	if (features & ~offered(u))
		return err_set(e, -EPROTO, "features %#llx were never offered",
			       (unsigned long long)(features & ~offered(u)));
	for (unsigned i = 0; i < u->ops->n_queues; i++)
		if (u->rings[i].running && features != u->features)
			return err_set(e, -EBUSY, "features change while queue %u is running", i);
	u->features = features;
	u->ops->set_features(u->dev, features);
	return 0;
}

static int set_protocol_features(struct vhost_user *u, uint64_t features, struct err *e)
{
	if (features & ~PROTOCOL_FEATURES)
		return err_set(e, -EPROTO, "protocol features %#llx were never offered",
			       (unsigned long long)(features & ~PROTOCOL_FEATURES));
	u->protocol_features = features;
	return 0;
}

static int set_mem_table(struct vhost_user *u, struct vhost_user_message *m, struct err *e)
{
	const struct vhost_user_mem_table *t = &m->p.table;
	struct vhost_user_memory fresh = {.guest.n = 0}, old;
	size_t need = offsetof(struct vhost_user_mem_table, regions);

	if (t->n > VHOST_USER_TABLE_MAX || t->n != m->n_fds ||
	    m->h.size < need + t->n * sizeof t->regions[0])
		return err_set(e, -EPROTO,
			       "a memory table of %u regions in %u bytes with %u descriptors", t->n,
			       m->h.size, m->n_fds);
	for (unsigned i = 0; i < t->n; i++) {
		int rc = vhost_user_memory_add(&fresh, &t->regions[i], m->fds[i], e);
		if (rc < 0) {
			vhost_user_memory_clear(&fresh);
			return rc;
		}
	}
	old = u->mem;
	u->mem = fresh;
	move_rings(u);
	vhost_user_memory_clear(&old);
	return 0;
}

static int add_region(struct vhost_user *u, struct vhost_user_message *m, struct err *e)
{
	int rc = vhost_user_memory_add(&u->mem, &m->p.reg.region, m->fds[0], e);
	if (rc == 0)
		move_rings(u);
	return rc;
}

/* The region is hidden first, so that a ring in it stops while it can still be touched. */
static int remove_region(struct vhost_user *u, const struct vhost_user_region *r, struct err *e)
{
	int i = vhost_user_memory_find(&u->mem, r, e);
	if (i < 0)
		return i;
	u->mem.guest.regions[i].size = 0;
	move_rings(u);
	vhost_user_memory_drop(&u->mem, (unsigned)i);
	return 0;
}

/* An eventfd or another anonymous inode: nothing whose write() blocks or raises SIGPIPE. */
static int check_eventfd(int fd, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(e, -errno, "look at a descriptor of the front end's");
	if ((st.st_mode & S_IFMT) != 0)
		return err_set(e, -EPROTO, "a kick, call or error descriptor is no eventfd");
	int rc = fd_set_nonblock(fd, true);
	return rc < 0 ? err_errno(e, rc, "make an eventfd non-blocking") : 0;
}

/* Takes the descriptor of SET_VRING_KICK, CALL or ERR; -EBADF when the message says "none". */
static int take_ring_fd(struct vhost_user *u, struct vhost_user_message *m, struct ring **ret,
			int *ret_fd, struct err *e)
{
	bool none = m->p.u64 & VHOST_USER_VRING_NO_FD;

	if (m->p.u64 & ~(VHOST_USER_VRING_INDEX_MASK | VHOST_USER_VRING_NO_FD))
		return err_set(e, -EPROTO, "reserved bits are set in %#llx",
			       (unsigned long long)m->p.u64);
	if (none != (m->n_fds == 0))
		return err_set(e, -EPROTO, "%u descriptors where the request says %s", m->n_fds,
			       none ? "none" : "one");
	int rc = ring_of(u, m->p.u64 & VHOST_USER_VRING_INDEX_MASK, ret, e);
	if (rc == 0 && !none)
		rc = check_eventfd(m->fds[0], e);
	if (rc < 0)
		return rc;
	*ret_fd = none ? -EBADF : TAKE_FD(m->fds[0]);
	return 0;
}

static void drop_kick(struct ring *r)
{
	loop_io_free(r->kick_io);
	r->kick_io = NULL;
	r->kick = close_fd(r->kick);
}

static int set_kick(struct vhost_user *u, struct vhost_user_message *m, struct err *e)
{
	struct ring *r = NULL;
	int fd = -EBADF;

	int rc = take_ring_fd(u, m, &r, &fd, e);
	if (rc < 0)
		return rc;
	drop_kick(r);
	r->kick = fd;
	if (fd < 0)
		return err_set(e, -EPROTO,
			       "queue %u without a kick descriptor: polling is not done", r->index);
	rc = loop_io_new(u->loop, fd, LOOP_READ, on_kick, r, &r->kick_io);
	if (rc < 0)
		return err_errno(e, rc, "watch the kick descriptor of queue %u", r->index);
	return start_ring_if_ready(r, e);
}

static int set_call_or_err(struct vhost_user *u, struct vhost_user_message *m, struct err *e)
{
	struct ring *r = NULL;
	int fd = -EBADF;

	int rc = take_ring_fd(u, m, &r, &fd, e);
	if (rc < 0)
		return rc;
	int *slot = m->h.request == VHOST_USER_SET_VRING_CALL ? &r->call : &r->err;
	(void)close_fd(*slot);
	*slot = fd;
	/* What was pushed while there was nobody to call: a spurious interrupt does no harm. */
	if (r->running)
		signal_eventfd(r->call);
	return 0;
}

static int set_num(struct vhost_user *u, const struct vhost_user_vring_state *s, struct err *e)
{
	struct ring *r = NULL;
	int rc = stopped_ring_of(u, s->index, &r, e);
	if (rc < 0)
		return rc;
	if (!virtqueue_size_valid(s->num))
		return err_set(e, -EPROTO,
			       "queue %u of size %u: the rule is a power of two up to %d", s->index,
			       s->num, VIRTQUEUE_SIZE_MAX);
	r->num = s->num;
	return 0;
}

static int set_addr(struct vhost_user *u, const struct vhost_user_vring_addr *a, struct err *e)
{
	struct ring *r = NULL;
	int rc = stopped_ring_of(u, a->index, &r, e);
	if (rc < 0)
		return rc;
	if (a->flags)
		return err_set(e, -EPROTO, "queue %u asks for a log (%#x) that was never offered",
			       a->index, a->flags);
	r->addr = *a;
	r->has_addr = true;
	return start_ring_if_ready(r, e);
}

static int set_base(struct vhost_user *u, const struct vhost_user_vring_state *s, struct err *e)
{
	struct ring *r = NULL;
	int rc = stopped_ring_of(u, s->index, &r, e);
	if (rc < 0)
		return rc;
	if (s->num > UINT16_MAX)
		return err_set(e, -EPROTO, "queue %u starts at %u: the rule is 0 to 65535",
			       s->index, s->num);
	r->base = (uint16_t)s->num;
	return 0;
}

static int set_enable(struct vhost_user *u, const struct vhost_user_vring_state *s, struct err *e)
{
	struct ring *r = NULL;
	int rc = ring_of(u, s->index, &r, e);
	if (rc < 0)
		return rc;
	if (s->num > 1)
		return err_set(e, -EPROTO, "queue %u is enabled by %u: the rule is 0 or 1",
			       s->index, s->num);
	r->enabled = s->num;
	if (!r->enabled) {
		stop_ring(r);
		return 0;
	}
	return start_ring_if_ready(r, e);
}

/* ---- Requests that are answered -------------------------------------------------------------- */

static int answer(struct vhost_user *u, const void *payload, uint32_t size, struct err *e)
{
	int rc = vhost_user_message_reply(u->fd, &u->msg, payload, size);
	if (rc < 0)
		return err_errno(e, -ECONNRESET, "answer the vhost-user front end");
	return 0;
}

static int answer_u64(struct vhost_user *u, uint64_t v, struct err *e)
{
	return answer(u, &v, sizeof v, e);
}

static int get_base(struct vhost_user *u, struct vhost_user_vring_state s, struct err *e)
{
	struct ring *r = NULL;
	int rc = ring_of(u, s.index, &r, e);
	if (rc < 0)
		return rc;
	stop_ring(r);
	drop_kick(r);
	s.num = r->base;
	return answer(u, &s, sizeof s, e);
}

static int get_config(struct vhost_user *u, struct vhost_user_config *c, struct err *e)
{
	uint8_t space[VIRTIO_CONFIG_MAX] = {0};
	uint32_t total = u->ops->config_size;

	/* An answer without payload says that it failed. */
	if (c->offset > total || c->size > total - c->offset ||
	    c->size > u->msg.h.size - offsetof(struct vhost_user_config, data))
		return answer(u, NULL, 0, e);
	u->ops->read_config(u->dev, space);
	memcpy(c->data, space + c->offset, c->size);
	return answer(u, c, (uint32_t)offsetof(struct vhost_user_config, data) + c->size, e);
}

static int handle_get(struct vhost_user *u, struct err *e)
{
	struct vhost_user_message *m = &u->msg;

	switch (m->h.request) {
	case VHOST_USER_GET_FEATURES:
		return answer_u64(u, offered(u), e);
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		return answer_u64(u, PROTOCOL_FEATURES, e);
	case VHOST_USER_GET_QUEUE_NUM:
		return answer_u64(u, u->ops->n_queues, e);
	case VHOST_USER_GET_MAX_MEM_SLOTS:
		return answer_u64(u, GUEST_REGIONS_MAX, e);
	case VHOST_USER_GET_VRING_BASE:
		return get_base(u, m->p.state, e);
	case VHOST_USER_GET_CONFIG:
		return get_config(u, &m->p.config, e);
	default:
		return err_set(e, -EPROTO, "request %u is unknown", m->h.request);
	}
}

static int handle_set(struct vhost_user *u, struct err *e)
{
	struct vhost_user_message *m = &u->msg;

	switch (m->h.request) {
	case VHOST_USER_SET_FEATURES:
		return set_features(u, m->p.u64, e);
	case VHOST_USER_SET_PROTOCOL_FEATURES:
		return set_protocol_features(u, m->p.u64, e);
	case VHOST_USER_SET_OWNER:
		return 0; /* whoever holds the socket owns the device */
	case VHOST_USER_RESET_OWNER:
		stop_all(u);
		return 0;
	case VHOST_USER_SET_MEM_TABLE:
		return set_mem_table(u, m, e);
	case VHOST_USER_ADD_MEM_REG:
		return add_region(u, m, e);
	case VHOST_USER_REM_MEM_REG:
		return remove_region(u, &m->p.reg.region, e);
	case VHOST_USER_SET_VRING_NUM:
		return set_num(u, &m->p.state, e);
	case VHOST_USER_SET_VRING_ADDR:
		return set_addr(u, &m->p.addr, e);
	case VHOST_USER_SET_VRING_BASE:
		return set_base(u, &m->p.state, e);
	case VHOST_USER_SET_VRING_KICK:
		return set_kick(u, m, e);
	case VHOST_USER_SET_VRING_CALL:
	case VHOST_USER_SET_VRING_ERR:
		return set_call_or_err(u, m, e);
	case VHOST_USER_SET_VRING_ENABLE:
		return set_enable(u, &m->p.state, e);
	default:
		return err_set(e, -EPROTO, "request %u is unknown", m->h.request);
	}
}

/* ---- The connection -------------------------------------------------------------------------- */

static int handle(struct vhost_user *u, struct err *e)
{
	struct vhost_user_message *m = &u->msg;
	bool wants_ack = m->h.flags & VHOST_USER_NEED_REPLY &&
			 u->protocol_features & VHOST_USER_PROTOCOL_F_REPLY_ACK;
	const char *name = vhost_user_request_name(m->h.request);

	log_trace("vhost-user %s: %s (%u)", u->ops->name, name ? name : "?", m->h.request);
	if (vhost_user_request_answers(m->h.request)) {
		int rc = handle_get(u, e);
		return rc < 0 ? err_wrap(e, rc, "vhost-user %s", name) : 0;
	}
	int rc = handle_set(u, e);
	if (rc < 0)
		rc = err_wrap(e, rc, "vhost-user %s", name ? name : "request");
	if (!wants_ack)
		return rc;
	if (rc < 0 && ++u->refusals > REFUSALS_MAX)
		return err_wrap(e, rc, "request refused, one of %u", u->refusals);
	if (rc < 0)
		log_warn("vhost-user %s: refused: %s", u->ops->name, e->text);
	return answer_u64(u, rc < 0 ? (uint64_t)-rc : 0, e);
}

/* The rings stop, then the device forgets the guest, then the guest's memory goes. */
static void shut_down(struct vhost_user *u)
{
	loop_io_free(u->io);
	u->io = NULL;
	u->fd = close_fd(u->fd);
	vhost_user_message_clear(&u->msg);
	stop_all(u);
	u->ops->reset(u->dev);
	for (unsigned i = 0; i < QUEUES_MAX; i++) {
		struct ring *r = &u->rings[i];
		drop_kick(r);
		r->call = close_fd(r->call);
		r->err = close_fd(r->err);
	}
	vhost_user_memory_clear(&u->mem);
}

static void end(struct vhost_user *u, int rc, const struct err *e)
{
	if (rc == -ECONNRESET)
		log_info("vhost-user %s: %s; the device stops", u->ops->name, e->text);
	else
		log_error("vhost-user %s: %s; the connection is closed", u->ops->name, e->text);
	shut_down(u);
	if (u->gone)
		u->gone(u->gone_arg, e->text);
}

static void on_socket(void *arg, unsigned events)
{
	struct vhost_user *u = arg;
	struct err e = ERR_INIT;

	for (unsigned i = 0; i < MESSAGES_PER_TURN; i++) {
		int rc = vhost_user_message_recv(&u->msg, u->fd, &e);
		if (rc == 0)
			return;
		if (rc > 0)
			rc = handle(u, &e);
		if (rc < 0) {
			end(u, rc, &e);
			return;
		}
		vhost_user_message_clear(&u->msg);
	}
}

int vhost_user_new(struct loop *loop, int fd, const struct virtio_device_ops *ops, void *dev,
		   vhost_user_gone_fn gone, void *arg, struct vhost_user **ret, struct err *e)
{
	_cleanup_close_ int owned = fd;

	if (ops->n_queues > QUEUES_MAX || ops->config_size > VIRTIO_CONFIG_MAX)
		return err_set(e, -EINVAL,
			       "device %s has too many queues or too much configuration",
			       ops->name);
	struct vhost_user *u = calloc(1, sizeof *u);
	if (!u)
		return err_errno(e, -ENOMEM, "make a vhost-user device");
	u->loop = loop;
	u->ops = ops;
	u->dev = dev;
	u->gone = gone;
	u->gone_arg = arg;
	vhost_user_message_init(&u->msg);
	for (unsigned i = 0; i < QUEUES_MAX; i++)
		u->rings[i] = (struct ring){
			.u = u,
			.index = i,
			.kick = -EBADF,
			.call = -EBADF,
			.err = -EBADF,
			.q = {.interrupt = raise_interrupt, .interrupt_arg = &u->rings[i]},
		};
	int r = loop_io_new(loop, fd, LOOP_READ, on_socket, u, &u->io);
	if (r < 0) {
		free(u);
		return err_errno(e, r, "watch a vhost-user socket");
	}
	u->fd = TAKE_FD(owned);
	*ret = u;
	return 0;
}

void vhost_user_free(struct vhost_user *u)
{
	if (!u)
		return;
	shut_down(u);
	free(u);
}
