/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost_user/vhost-vsock.h"

#include "devices/vsock-hybrid.h"
#include "vhost_user/server.h"

#include <pthread.h>
#include <sys/socket.h>

struct vhost_vsock {
	struct loop *loop;
	struct vsock *vsock;
	struct vsock_hybrid *hybrid; /* NULL: none */
	struct vhost_user *server;
};

/* ---- Acting on the loop's thread ------------------------------------------------------------- */

struct errand {
	void (*fn)(void *arg);
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool done;
};

static void run_errand(void *arg)
{
	struct errand *a = arg;

	a->fn(a->arg);
	pthread_mutex_lock(&a->lock);
	a->done = true;
	pthread_cond_signal(&a->ended);
	pthread_mutex_unlock(&a->lock);
}

static int on_loop(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	struct errand a = {.fn = fn,
			   .arg = arg,
			   .lock = PTHREAD_MUTEX_INITIALIZER,
			   .ended = PTHREAD_COND_INITIALIZER};

	if (loop_is_current(loop)) {
		fn(arg);
		return 0;
	}
	int r = loop_post(loop, run_errand, &a);
	if (r < 0)
		return r;
	pthread_mutex_lock(&a.lock);
	while (!a.done)
		pthread_cond_wait(&a.ended, &a.lock);
	pthread_mutex_unlock(&a.lock);
	pthread_cond_destroy(&a.ended);
	pthread_mutex_destroy(&a.lock);
	return 0;
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void destroy(void *arg)
{
	struct vhost_vsock *d = arg;

	vsock_hybrid_free(d->hybrid);
	vhost_user_free(d->server);
	vsock_free(d->vsock);
	free(d);
}

struct creation {
	struct loop *loop;
	uint64_t cid;
	const char *hybrid_path;
	int device_fd; /* consumed */
	struct vhost_vsock *made;
	struct err *e;
	int result;
};

static int build(struct creation *c, struct vhost_vsock *d)
{
	int r = vsock_new(c->loop, c->cid, &d->vsock);
	if (r < 0) {
		(void)close_fd(c->device_fd);
		return err_errno(c->e, r, "make a vsock device with CID %llu",
				 (unsigned long long)c->cid);
	}
	r = vhost_user_new(c->loop, c->device_fd, &vsock_ops, d->vsock, NULL, NULL, &d->server,
			   c->e);
	if (r < 0 || !c->hybrid_path)
		return r;
	return vsock_hybrid_new(c->loop, d->vsock, c->hybrid_path, &d->hybrid, c->e);
}

static void create(void *arg)
{
	struct creation *c = arg;
	struct vhost_vsock *d = calloc(1, sizeof *d);

	if (!d) {
		(void)close_fd(c->device_fd);
		c->result = err_errno(c->e, -ENOMEM, "make a vsock device");
		return;
	}
	d->loop = c->loop;
	c->result = build(c, d);
	if (c->result < 0)
		destroy(d);
	else
		c->made = d;
}

int vhost_vsock_new(struct loop *loop, uint64_t cid, const char *hybrid_path,
		    struct vhost_vsock **ret, int *ret_vmm_fd, struct err *e)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return err_errno(e, -errno, "make the vsock device's socket pair");
	_cleanup_close_ int vmm_fd = sv[0];
	struct creation c = {
		.loop = loop, .cid = cid, .hybrid_path = hybrid_path, .device_fd = sv[1], .e = e};
	int r = on_loop(loop, create, &c);
	if (r < 0) {
		(void)close(sv[1]);
		return err_errno(e, r, "make a vsock device");
	}
	if (c.result < 0)
		return c.result;
	*ret = c.made;
	*ret_vmm_fd = TAKE_FD(vmm_fd);
	return 0;
}

void vhost_vsock_free(struct vhost_vsock *d)
{
	if (!d)
		return;
	/* Without the memory to tell the loop, the device stays: its loop may be using it. */
	(void)on_loop(d->loop, destroy, d);
}

int vhost_vsock_connect(struct vhost_vsock *d, uint32_t port, uint64_t deadline_ms, struct err *e)
{
	return vsock_connect(d->vsock, port, deadline_ms, e);
}

struct vsock *vhost_vsock_device(struct vhost_vsock *d)
{
	return d->vsock;
}
