/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/forward.h"

#include "base/list.h"
#include "base/log.h"
#include "guest/agent/host.h"
#include "io/relay.h"
#include "rpc/forward.h"

#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

/* How long to leave the listener alone when the process is out of descriptors. */
#define ACCEPT_PAUSE_MS 100

struct forward {
	struct loop *loop;
	int fd;
	struct loop_io *io;
	struct loop_timer *resume;
	struct list conns;
	unsigned n_conns;
};

/* Its life: the request is read, the server is dialled, then the relay has both sockets. */
struct conn {
	struct list link;
	struct forward *forward;
	int host, server;   /* -EBADF once the relay has them */
	struct loop_io *io; /* of the one that is waited for */
	struct loop_timer *deadline;
	char line[FORWARD_REQUEST_MAX];
	size_t len;
	union forward_address address;
	bool second; /* the address is the second choice */
	struct relay *relay;
};

static void listen_again(struct forward *f)
{
	loop_io_set(f->io, f->n_conns < FORWARD_CONNS_MAX ? LOOP_READ : 0);
}

static void conn_free(struct conn *c)
{
	struct forward *f = c->forward;

	list_del(&c->link);
	f->n_conns--;
	loop_io_free(c->io);
	loop_timer_free(c->deadline);
	relay_free(c->relay);
	c->host = close_fd(c->host);
	c->server = close_fd(c->server);
	free(c);
	listen_again(f);
}

/* The host learns why; the answer fits a fresh socket. */
static void refuse(struct conn *c, const char *sentence)
{
	char line[FORWARD_ANSWER_MAX];
	int n = snprintf(line, sizeof line - 1, "ERR %s", sentence);
	if (n > (int)sizeof line - 2)
		n = (int)sizeof line - 2;
	line[n] = '\n';
	(void)send(c->host, line, (size_t)n + 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	conn_free(c);
}

/* ---- The server ----------------------------------------------------------------------------- */

static void on_relay_end(void *arg, bool reset)
{
	conn_free(arg);
}

static void begin_relay(struct conn *c)
{
	const int one = 1;

	loop_io_free(TAKE_PTR(c->io)); /* one watch a descriptor, and the next is the relay's */
	loop_timer_free(TAKE_PTR(c->deadline));
	(void)setsockopt(c->server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	ssize_t n = send(c->host, FORWARD_OK, strlen(FORWARD_OK), MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n != (ssize_t)strlen(FORWARD_OK) ||
	    relay_new(c->forward->loop, c->host, c->server, on_relay_end, c, &c->relay) < 0) {
		conn_free(c);
		return;
	}
	c->host = c->server = -EBADF;
}

/* The same port at the other family's loopback address. */
static void take_other_address(union forward_address *a)
{
	if (a->any.sa_family == AF_INET) {
		in_port_t port = a->in.sin_port;
		*a = (union forward_address){.in6 = {.sin6_family = AF_INET6,
						     .sin6_port = port,
						     .sin6_addr = IN6ADDR_LOOPBACK_INIT}};
	} else {
		in_port_t port = a->in6.sin6_port;
		*a = (union forward_address){.in = {.sin_family = AF_INET,
						    .sin_port = port,
						    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
	}
}

static unsigned port_of(const union forward_address *a)
{
	return ntohs(a->any.sa_family == AF_INET ? a->in.sin_port : a->in6.sin6_port);
}

static int dial(struct conn *c);

static void dial_other(struct conn *c, int r)
{
	char sentence[128];

	loop_io_free(TAKE_PTR(c->io));
	c->server = close_fd(c->server);
	if (!c->second) {
		c->second = true;
		take_other_address(&c->address);
		int other = dial(c);
		if (other == 0)
			return;
		/* a kernel without IPv6 says so at once; what was said of IPv4 counts */
	}
	(void)snprintf(sentence, sizeof sentence, "connect to port %u of the pod: %s",
		       port_of(&c->address), strerror(-r));
	refuse(c, sentence);
}

static void on_server(void *arg, unsigned events)
{
	struct conn *c = arg;
	int error = 0;
	socklen_t size = sizeof error;

	if (getsockopt(c->server, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		error = errno;
	if (error)
		dial_other(c, -error);
	else
		begin_relay(c);
}

/* Begins to connect. After a failure nothing was begun. */
static int dial(struct conn *c)
{
	_cleanup_close_ int fd =
		socket(c->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, &c->address.any, forward_address_len(&c->address)) < 0 &&
	    errno != EINPROGRESS)
		return -errno;
	int r = loop_io_new(c->forward->loop, fd, LOOP_WRITE, on_server, c, &c->io);
	if (r == 0)
		c->server = TAKE_FD(fd);
	return r;
}

/* ---- The request ---------------------------------------------------------------------------- */

/* 1: it is whole, 0: not yet, or a negative errno. */
static int read_request(struct conn *c)
{
	ssize_t n = recv(c->host, c->line + c->len, sizeof c->line - c->len, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	c->len += (size_t)n;
	if (memchr(c->line, '\n', c->len))
		return 1;
	return c->len < sizeof c->line ? 0 : 1;
}

static void on_host(void *arg, unsigned events)
{
	struct conn *c = arg;
	struct err e = ERR_INIT;

	int r = read_request(c);
	if (r == 0)
		return;
	if (r < 0) {
		conn_free(c);
		return;
	}
	/* also what comes after the newline is wrong: nothing precedes the answer */
	r = forward_parse(c->line, c->len, &c->address, &e);
	if (r < 0) {
		refuse(c, e.text);
		return;
	}
	loop_io_free(TAKE_PTR(c->io));
	r = dial(c);
	if (r < 0)
		dial_other(c, r);
}

static void on_deadline(void *arg)
{
	struct conn *c = arg;
	refuse(c, c->server >= 0 ? "the pod's port does not answer" : "no request came");
}

static void add_conn(struct forward *f, int fd)
{
	struct conn *c = calloc(1, sizeof *c);
	if (!c) {
		(void)close_fd(fd);
		return;
	}
	c->forward = f;
	c->host = fd;
	c->server = -EBADF;
	list_add_tail(&f->conns, &c->link);
	f->n_conns++;
	if (loop_timer_new(f->loop, on_deadline, c, &c->deadline) < 0 ||
	    loop_io_new(f->loop, fd, LOOP_READ, on_host, c, &c->io) < 0) {
		conn_free(c);
		return;
	}
	loop_timer_start(c->deadline, FORWARD_TIMEOUT_MS);
}

/* ---- The listener --------------------------------------------------------------------------- */

static void on_listener(void *arg, unsigned events)
{
	struct forward *f = arg;

	int fd = host_accept(f->fd, "port-forward", NULL);
	if (fd >= 0) {
		add_conn(f, fd);
		listen_again(f);
	} else if (fd == -ENFILE) {
		loop_io_set(f->io, 0);
		loop_timer_start(f->resume, ACCEPT_PAUSE_MS);
	}
}

static void on_resume(void *arg)
{
	listen_again(arg);
}

int forward_new(struct loop *loop, int fd, struct forward **ret)
{
	struct forward *f = calloc(1, sizeof *f);
	if (!f)
		return -ENOMEM;
	f->loop = loop;
	f->fd = -EBADF;
	list_init(&f->conns);
	int r = loop_timer_new(loop, on_resume, f, &f->resume);
	if (r == 0)
		r = loop_io_new(loop, fd, LOOP_READ, on_listener, f, &f->io);
	if (r < 0) {
		forward_free(f);
		return r;
	}
	f->fd = fd;
	*ret = f;
	return 0;
}

void forward_free(struct forward *f)
{
	if (!f)
		return;
	while (!list_empty(&f->conns))
		conn_free(list_first(&f->conns, struct conn, link));
	loop_timer_free(f->resume);
	loop_io_free(f->io);
	f->fd = close_fd(f->fd);
	free(f);
}
