/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's life: accepted -> its line is read, never a byte past it (what follows belongs to the
 * stream) -> its socket goes to vsock_open() -> "OK" or the end. A slow client holds up nobody.
 */
#include "devices/vsock-hybrid.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* How long to leave the listener alone when the process is out of descriptors. */
#define ACCEPT_PAUSE_MS 100

struct vsock_hybrid {
	struct loop *loop;
	struct vsock *v;
	struct sockaddr_un addr;
	int fd;
	bool bound; /* the file at the path is ours */
	struct loop_io *io;
	struct loop_timer *resume;
	struct list clients; /* whose line is being read */
	struct list opening; /* whose stream is being opened */
	unsigned pending;    /* of both */
};

struct client {
	struct vsock_hybrid *h; /* NULL: the listener went away while it was opening */
	struct list link;
	char line[VSOCK_HYBRID_LINE_MAX];
	size_t len;
	int fd; /* owned until its line is read */
	struct loop_io *io;
	struct loop_timer *deadline;
};

int vsock_hybrid_parse(const char *line, size_t len, uint32_t *ret_port)
{
	static const char word[] = "CONNECT ";
	size_t i = sizeof word - 1;
	uint64_t port = 0;

	if (len > VSOCK_HYBRID_LINE_MAX || len <= i || strncasecmp(line, word, i) != 0)
		return -EPROTO;
	for (; i < len && line[i] >= '0' && line[i] <= '9'; i++) {
		port = port * 10 + (uint64_t)(line[i] - '0');
		if (port >= UINT32_MAX) /* VMADDR_PORT_ANY is no port */
			return -EPROTO;
	}
	if (i == sizeof word - 1 || i != len - 1 || line[i] != '\n')
		return -EPROTO;
	*ret_port = (uint32_t)port;
	return 0;
}

static void listen_again(struct vsock_hybrid *h)
{
	loop_io_set(h->io, h->pending < VSOCK_HYBRID_PENDING_MAX ? LOOP_READ : 0);
}

static void client_free(struct client *c)
{
	struct vsock_hybrid *h = c->h;

	list_del(&c->link);
	loop_io_free(c->io);
	loop_timer_free(c->deadline);
	c->fd = close_fd(c->fd);
	free(c);
	if (h) {
		h->pending--;
		listen_again(h);
	}
}

static void on_opened(void *arg, int r, uint32_t host_port, int fd)
{
	struct client *c = arg;
	char ok[32];

	if (r == 0) {
		/* A fresh socket has room for it. If not, the client finds a stream without its
		 * answer, and so does whoever broke the rule of sending nothing before it. */
		int n = snprintf(ok, sizeof ok, "OK %u\n", host_port);
		if (send(fd, ok, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n)
			(void)shutdown(fd, SHUT_RDWR);
	}
	client_free(c);
}

static void open_stream(struct client *c, uint32_t port)
{
	struct vsock_hybrid *h = c->h;
	uint64_t deadline = time_deadline(VSOCK_HYBRID_TIMEOUT_MS);

	loop_io_free(c->io); /* one watch a descriptor, and the next is the device's */
	c->io = NULL;
	loop_timer_stop(c->deadline);
	list_del(&c->link);
	list_add_tail(&h->opening, &c->link);
	if (vsock_open(h->v, port, TAKE_FD(c->fd), deadline, on_opened, c, NULL) < 0)
		client_free(c);
}

/* Takes what is there of the line, and not a byte more. 1: it is whole, 0: not yet, or errno. */
static int read_line(struct client *c)
{
	char *at = c->line + c->len;
	ssize_t n = recv(c->fd, at, sizeof c->line - c->len, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	const char *end = memchr(at, '\n', (size_t)n);
	size_t mine = end ? (size_t)(end - at) + 1 : (size_t)n;
	if (recv(c->fd, at, mine, MSG_DONTWAIT) != (ssize_t)mine)
		return -EPROTO;
	c->len += mine;
	if (end)
		return 1;
	return c->len < sizeof c->line ? 0 : -EPROTO;
}

static void on_client(void *arg, unsigned events)
{
	struct client *c = arg;
	uint32_t port = 0;

	int r = read_line(c);
	if (r == 0)
		return;
	if (r < 0 || vsock_hybrid_parse(c->line, c->len, &port) < 0)
		client_free(c);
	else
		open_stream(c, port);
}

static void on_deadline(void *arg)
{
	client_free(arg);
}

static void add_client(struct vsock_hybrid *h, int fd)
{
	struct client *c = calloc(1, sizeof *c);
	if (!c) {
		(void)close(fd);
		return;
	}
	c->h = h;
	c->fd = fd;
	list_add_tail(&h->clients, &c->link);
	h->pending++;
	if (loop_timer_new(h->loop, on_deadline, c, &c->deadline) < 0 ||
	    loop_io_new(h->loop, fd, LOOP_READ, on_client, c, &c->io) < 0) {
		client_free(c);
		return;
	}
	loop_timer_start(c->deadline, VSOCK_HYBRID_TIMEOUT_MS);
}

static void on_listener(void *arg, unsigned events)
{
	struct vsock_hybrid *h = arg;

	int fd = accept4(h->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		add_client(h, fd);
		listen_again(h);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
		log_warn("vsock: cannot accept at %s: %s", h->addr.sun_path, strerror(errno));
		loop_io_set(h->io, 0);
		loop_timer_start(h->resume, ACCEPT_PAUSE_MS);
	}
}

static void on_resume(void *arg)
{
	listen_again(arg);
}

/* From the guest: PATH_<port>. The connect of a unix socket is done at once or fails. */
static int accept_guest(void *arg, uint32_t host_port, uint32_t guest_port)
{
	const struct vsock_hybrid *h = arg;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -EBADF;

	int r = path_format(addr.sun_path, sizeof addr.sun_path, "%s_%u", h->addr.sun_path,
			    host_port);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof addr) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int bind_and_listen(struct vsock_hybrid *h)
{
	const struct sockaddr *addr = (const struct sockaddr *)&h->addr;
	struct stat st;

	h->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (h->fd < 0)
		return -errno;
	if (lstat(h->addr.sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(h->addr.sun_path);
	/* The mode that bind() gives to the file: never wider, not for an instant. */
	if (fchmod(h->fd, 0600) < 0 || bind(h->fd, addr, sizeof h->addr) < 0)
		return -errno;
	h->bound = true;
	if (chmod(h->addr.sun_path, 0600) < 0 || listen(h->fd, VSOCK_HYBRID_PENDING_MAX) < 0)
		return -errno;
	return 0;
}

int vsock_hybrid_new(struct loop *loop, struct vsock *v, const char *path,
		     struct vsock_hybrid **ret, struct err *e)
{
	struct vsock_hybrid *h = calloc(1, sizeof *h);
	if (!h)
		return err_errno(e, -ENOMEM, "listen at %s", path);
	h->loop = loop;
	h->v = v;
	h->fd = -EBADF;
	h->addr.sun_family = AF_UNIX;
	list_init(&h->clients);
	list_init(&h->opening);
	int r = path_format(h->addr.sun_path, sizeof h->addr.sun_path, "%s", path);
	if (r < 0) {
		free(h);
		return err_errno(e, r, "listen at %s", path);
	}
	r = bind_and_listen(h);
	if (r >= 0)
		r = loop_timer_new(loop, on_resume, h, &h->resume);
	if (r >= 0)
		r = loop_io_new(loop, h->fd, LOOP_READ, on_listener, h, &h->io);
	if (r >= 0)
		r = vsock_listen(v, VSOCK_PORT_ANY, accept_guest, h);
	if (r < 0) {
		vsock_hybrid_free(h);
		return err_errno(e, r, "listen at %s", path);
	}
	*ret = h;
	return 0;
}

void vsock_hybrid_free(struct vsock_hybrid *h)
{
	if (!h)
		return;
	vsock_unlisten(h->v, VSOCK_PORT_ANY);
	while (!list_empty(&h->clients)) {
		struct client *c = list_first(&h->clients, struct client, link);
		c->h = NULL;
		client_free(c);
	}
	while (!list_empty(&h->opening)) { /* each ends by its own deadline, or vsock_free() */
		struct client *c = list_first(&h->opening, struct client, link);
		c->h = NULL;
		list_del(&c->link);
	}
	loop_timer_free(h->resume);
	loop_io_free(h->io);
	if (h->bound)
		(void)unlink(h->addr.sun_path);
	h->fd = close_fd(h->fd);
	free(h);
}
