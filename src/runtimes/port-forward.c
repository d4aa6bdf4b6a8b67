/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's life: accepted -> waits for its turn -> dialled on a worker -> the agent's answer ->
 * relayed. Its deadline runs until the answer.
 */
#include "runtimes/port-forward.h"

#include "base/list.h"
#include "base/log.h"
#include "io/relay.h"
#include "rpc/forward.h"
#include "sys/netns.h"
#include "sys/sk-lookup.h"

#include <malloc.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#define BACKLOG 128
/* How long to leave the listeners alone when the process is out of descriptors. */
#define ACCEPT_PAUSE_MS 100
/* Of one dial. The guest's kernel answers by itself, so a healthy one takes milliseconds. */
#define DIAL_MS 5000

enum { IPV4, IPV6, FAMILIES };

struct listener {
	struct port_forward *forward;
	int fd; /* -EBADF: there is no such family here */
	struct loop_io *io;
};

struct port_forward {
	struct port_forward_params params;
	struct listener listeners[FAMILIES];
	int link; /* the steering */

	/* loop thread */
	struct loop_timer *resume;
	struct list conns;   /* all of them */
	struct list waiting; /* whose turn to be dialled comes */
	unsigned n_conns;
	bool dialling;	      /* a worker has been asked */
	struct conn *dialled; /* for whom; NULL: he is gone */
	bool freed;	      /* the memory goes when the worker has answered */

	/* the worker's outcome, for the loop */
	int outcome;
	struct err e;

	pthread_mutex_t lock; /* guards what follows; taken alone */
	pthread_cond_t changed;
	bool stopped, in_dial;
};

struct conn {
	struct list link;    /* in conns */
	struct list waiting; /* in waiting, or by itself */
	struct port_forward *forward;
	int client, guest; /* -EBADF once the relay has them */
	struct loop_io *io;
	struct loop_timer *deadline;
	char answer[FORWARD_ANSWER_MAX];
	size_t len;
	struct relay *relay;
};

/* ---- A connection ---------------------------------------------------------------------------- */

static void listen_again(struct port_forward *f)
{
	for (int i = 0; i < FAMILIES; i++)
		if (f->listeners[i].io)
			loop_io_set(f->listeners[i].io,
				    f->n_conns < PORT_FORWARD_CONNS_MAX ? LOOP_READ : 0);
}

static void conn_free(struct conn *c)
{
	struct port_forward *f = c->forward;

	if (f->dialled == c)
		f->dialled = NULL;
	list_del(&c->waiting);
	list_del(&c->link);
	loop_io_free(c->io);
	loop_timer_free(c->deadline);
	relay_free(c->relay);
	c->client = close_fd(c->client);
	c->guest = close_fd(c->guest);
	free(c);
	if (--f->n_conns == 0)
		(void)malloc_trim(0); /* private memory counts once per pod */
	listen_again(f);
}

/* As if nobody had listened: as near to that as can be once the kernel has accepted for us. */
static void refuse(struct conn *c, const char *why)
{
	log_debug("port-forward: %s", why);
	relay_reset_on_close(c->client);
	conn_free(c);
}

static void on_relay_end(void *arg, bool reset)
{
	conn_free(arg);
}

static void begin_relay(struct conn *c)
{
	const int one = 1;

	loop_io_free(TAKE_PTR(c->io)); /* one watch a descriptor, and the next is the relay's */
	loop_timer_free(TAKE_PTR(c->deadline));
	(void)setsockopt(c->client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	int r = relay_new(c->forward->params.loop, c->client, c->guest, on_relay_end, c, &c->relay);
	if (r < 0) {
		refuse(c, strerror(-r));
		return;
	}
	c->client = c->guest = -EBADF;
}

/* Takes no byte beyond an OK: what follows it is the server's. */
static void on_answer(void *arg, unsigned events)
{
	struct conn *c = arg;
	struct err e = ERR_INIT;
	size_t ok = strlen(FORWARD_OK), end = c->len < ok ? ok : sizeof c->answer;

	ssize_t n = recv(c->guest, c->answer + c->len, end - c->len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		refuse(c, "the agent ended the stream instead of an answer");
		return;
	}
	c->len += (size_t)n;
	bool whole = memchr(c->answer, '\n', c->len) || c->len == sizeof c->answer;
	if (!whole)
		return;
	int r = forward_parse_answer(c->answer, c->len, &e);
	if (r < 0)
		refuse(c, err_text(&e, r));
	else
		begin_relay(c);
}

static int ask_agent(struct conn *c, struct err *e)
{
	union forward_address a;
	socklen_t size = sizeof a;
	char line[FORWARD_REQUEST_MAX];

	if (getsockname(c->client, &a.any, &size) < 0)
		return err_errno(e, -errno, "tell the port of a connection");
	int n = forward_request(&a, line);
	if (n < 0)
		return err_errno(e, n, "the address of a connection");
	/* a fresh socket has room for it */
	if (send(c->guest, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n)
		return err_set(e, -EPIPE, "the agent takes no request");
	int r = loop_io_new(c->forward->params.loop, c->guest, LOOP_READ, on_answer, c, &c->io);
	return r < 0 ? err_errno(e, r, "watch a stream") : 0;
}

/* ---- The way to the agent -------------------------------------------------------------------- */

static void destroy(struct port_forward *f)
{
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static void dial_next(struct port_forward *f);

/* @fd: the stream to the agent, or a negative errno and why. */
static void on_dialled(struct conn *c, int fd, struct err *e)
{
	int r = fd;

	if (fd >= 0) {
		c->guest = fd;
		r = ask_agent(c, e);
	}
	if (r < 0)
		refuse(c, err_text(e, r));
}

static void dial_done(void *arg)
{
	struct port_forward *f = arg;
	struct conn *c = TAKE_PTR(f->dialled);
	struct err e = f->e;

	f->dialling = false;
	if (c)
		on_dialled(c, f->outcome, &e);
	else
		(void)close_fd(f->outcome); /* nobody waits for it any more */
	if (f->freed)
		destroy(f);
	else
		dial_next(f);
}

static void dial_on_worker(void *arg)
{
	struct port_forward *f = arg;

	pthread_mutex_lock(&f->lock);
	bool go = f->in_dial = !f->stopped;
	pthread_mutex_unlock(&f->lock);
	f->e = ERR_INIT;
	f->outcome =
		go ? f->params.dial(f->params.arg, AGENT_FORWARD_PORT, DIAL_MS, &f->e) : -ECANCELED;
	pthread_mutex_lock(&f->lock);
	f->in_dial = false;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	if (loop_post(f->params.loop, dial_done, f) < 0)
		log_error("out of memory: no further port is forwarded");
}

static void dial_next(struct port_forward *f)
{
	while (!f->dialling && !list_empty(&f->waiting)) {
		struct conn *c = list_first(&f->waiting, struct conn, waiting);
		list_del(&c->waiting);
		f->dialling = true;
		f->dialled = c;
		if (worker_pool_run(f->params.workers, dial_on_worker, f) == 0)
			return;
		f->dialling = false;
		refuse(c, "out of memory");
	}
}

void port_forward_stop(struct port_forward *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	f->stopped = true;
	while (f->in_dial)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

/* ---- Clients --------------------------------------------------------------------------------- */

static void on_deadline(void *arg)
{
	refuse(arg, "the agent does not answer");
}

static void add_client(struct port_forward *f, int fd)
{
	struct conn *c = calloc(1, sizeof *c);
	if (!c) {
		relay_reset_on_close(fd);
		(void)close_fd(fd);
		return;
	}
	c->forward = f;
	c->client = fd;
	c->guest = -EBADF;
	list_add_tail(&f->conns, &c->link);
	list_add_tail(&f->waiting, &c->waiting);
	f->n_conns++;
	if (loop_timer_new(f->params.loop, on_deadline, c, &c->deadline) < 0) {
		refuse(c, "out of memory");
		return;
	}
	loop_timer_start(c->deadline, PORT_FORWARD_TIMEOUT_MS);
	listen_again(f);
	dial_next(f);
}

static void on_listener(void *arg, unsigned events)
{
	struct listener *l = arg;
	struct port_forward *f = l->forward;

	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		add_client(f, fd);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
		log_warn("port-forward: cannot accept: %s", strerror(errno));
		for (int i = 0; i < FAMILIES; i++)
			if (f->listeners[i].io)
				loop_io_set(f->listeners[i].io, 0);
		loop_timer_start(f->resume, ACCEPT_PAUSE_MS);
	}
}

static void on_resume(void *arg)
{
	listen_again(arg);
}

/* ---- Beginning and end ----------------------------------------------------------------------- */

/* Listens at the loopback address of a family. The address need not be there yet: the interface of
 * a namespace may come up later. */
static int listen_at(const union forward_address *a)
{
	const int one = 1;
	_cleanup_close_ int fd =
		socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* Connections inherit SO_REUSEADDR: their ports stay free for listeners of the namespace.
	 */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
	    setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof one) < 0 ||
	    bind(fd, &a->any, forward_address_len(a)) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int make_listeners(void *arg, struct err *e)
{
	struct port_forward *f = arg;
	const union forward_address ipv4 = {
		.in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
	const union forward_address ipv6 = {
		.in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT}};

	int r = listen_at(&ipv4);
	if (r < 0)
		return err_errno(e, r, "listen in the pod's network namespace");
	f->listeners[IPV4].fd = r;
	r = listen_at(&ipv6);
	if (r < 0)
		log_debug("port-forward: not for IPv6: %s", strerror(-r));
	else
		f->listeners[IPV6].fd = r;
	return 0;
}

/* What was begun here ends with the service; what fails leaves a service without this family. */
static void watch(void *arg)
{
	struct port_forward *f = arg;

	int r = loop_timer_new(f->params.loop, on_resume, f, &f->resume);
	for (int i = 0; r == 0 && i < FAMILIES; i++)
		if (f->listeners[i].fd >= 0)
			r = loop_io_new(f->params.loop, f->listeners[i].fd, LOOP_READ, on_listener,
					&f->listeners[i], &f->listeners[i].io);
	if (r < 0) {
		log_error("no port-forward: %s", strerror(-r));
		f->link = close_fd(f->link);
	}
}

static void close_all(struct port_forward *f)
{
	f->link = close_fd(f->link);
	for (int i = 0; i < FAMILIES; i++) {
		loop_io_free(TAKE_PTR(f->listeners[i].io));
		f->listeners[i].fd = close_fd(f->listeners[i].fd);
	}
}

static int begin(struct port_forward *f, struct err *e)
{
	int netns = f->params.netns_fd;

	if (netns_is_hosts(netns))
		return err_set(e, -EOPNOTSUPP, "the pod's network namespace is the host's");
	int r = netns_call(netns, make_listeners, f, e);
	if (r < 0)
		return r;
	r = sk_lookup_attach(netns, f->listeners[IPV4].fd, f->listeners[IPV6].fd, e);
	if (r < 0)
		return r;
	f->link = r;
	r = loop_post(f->params.loop, watch, f);
	return r < 0 ? err_errno(e, r, "watch the pod's ports") : 0;
}

int port_forward_new(const struct port_forward_params *p, struct port_forward **ret, struct err *e)
{
	struct port_forward *f = calloc(1, sizeof *f);
	if (!f)
		return err_set(e, -ENOMEM, "out of memory");
	f->params = *p;
	f->link = -EBADF;
	for (int i = 0; i < FAMILIES; i++)
		f->listeners[i] = (struct listener){.forward = f, .fd = -EBADF};
	list_init(&f->conns);
	list_init(&f->waiting);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	int r = begin(f, e);
	if (r < 0) {
		close_all(f);
		destroy(f);
		return r;
	}
	*ret = f;
	return 0;
}

void port_forward_free(struct port_forward *f)
{
	if (!f)
		return;
	close_all(f);
	while (!list_empty(&f->conns))
		conn_free(list_first(&f->conns, struct conn, link));
	loop_timer_free(TAKE_PTR(f->resume));
	f->freed = true;
	if (!f->dialling)
		destroy(f);
}
