/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/logging.h"

#include "base/buf.h"
#include "base/fd.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* Every byte of a message may become six: \u0000. */
#define RECORD_MAX (LOG_LINE_MAX * 6 + 512)

struct logging {
	pthread_mutex_t lock; /* guards backlog, dropped, waiting, posted */
	struct buf backlog;
	unsigned long dropped;
	bool waiting; /* records go to the backlog, not to standard output */
	bool posted;  /* a flush is on its way to the loop */

	/* loop thread only, but for the test of conn_io in the sink, which is under the lock */
	struct loop *loop;
	int listen_fd, conn;
	struct loop_io *listen_io, *conn_io;
};

static const char *level_word(enum log_level level)
{
	static const char *const words[] = {"ERRO", "WARN", "INFO", "DEBG", "TRCE"};
	return words[level];
}

static size_t put_json(char *dst, size_t room, const char *s)
{
	size_t n = 0;

	for (; *s && n + 7 < room; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '"' || c == '\\') {
			dst[n++] = '\\';
			dst[n++] = (char)c;
		} else if (c < ' ' || c == 0x7f) {
			n += (size_t)snprintf(dst + n, 7, "\\u%04x", c);
		} else {
			dst[n++] = (char)c;
		}
	}
	dst[n] = '\0';
	return n;
}

size_t logging_format(char *dst, size_t size, enum log_level level, const char *msg)
{
	struct timespec now;
	struct tm tm;
	char stamp[40], tail[256];

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	(void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
	int tail_len =
		snprintf(tail, sizeof tail,
			 "\",\"level\":\"%s\",\"ts\":\"%s.%09ldZ\",\"version\":\"%s\","
			 "\"subsystem\":\"root\",\"pid\":\"%d\",\"name\":\"kata-agent\","
			 "\"source\":\"agent\"}\n",
			 level_word(level), stamp, now.tv_nsec, AGENT_VERSION, (int)getpid());
	static const char head[] = "{\"msg\":\"";
	if (size < sizeof head + (size_t)tail_len + 8)
		return 0;
	memcpy(dst, head, sizeof head - 1);
	size_t n = sizeof head - 1;
	n += put_json(dst + n, size - n - (size_t)tail_len, msg);
	memcpy(dst + n, tail, (size_t)tail_len + 1);
	return n + (size_t)tail_len;
}

/* Drops the oldest whole lines until @len more bytes fit. Under the lock. */
static void make_room(struct logging *g, size_t len)
{
	size_t cut = 0;

	while (g->backlog.len - cut + len > LOGGING_BACKLOG_MAX && cut < g->backlog.len) {
		const char *nl = memchr(g->backlog.data + cut, '\n', g->backlog.len - cut);
		cut = nl ? (size_t)(nl - g->backlog.data) + 1 : g->backlog.len;
		g->dropped++;
	}
	if (cut)
		buf_consume(&g->backlog, cut);
}

static void flush(void *arg);

static void sink(void *ctx, enum log_level level, const char *msg)
{
	struct logging *g = ctx;
	char record[RECORD_MAX];
	size_t len = logging_format(record, sizeof record, level, msg);

	pthread_mutex_lock(&g->lock);
	if (!g->waiting) {
		ssize_t written = write(STDOUT_FILENO, record, len);
		(void)written;
	} else {
		make_room(g, len);
		buf_append(&g->backlog, record, len);
		g->backlog.failed = false;
		if (g->conn_io && !g->posted)
			g->posted = loop_post(g->loop, flush, g) == 0;
	}
	pthread_mutex_unlock(&g->lock);
}

int logging_new(struct logging **ret)
{
	struct logging *g = calloc(1, sizeof *g);
	if (!g)
		return -ENOMEM;
	pthread_mutex_init(&g->lock, NULL);
	g->listen_fd = g->conn = -EBADF;
	log_reset();
	log_add_sink(sink, g);
	*ret = g;
	return 0;
}

void logging_to_backlog(struct logging *g)
{
	pthread_mutex_lock(&g->lock);
	g->waiting = true;
	pthread_mutex_unlock(&g->lock);
}

static void drop_conn(struct logging *g)
{
	pthread_mutex_lock(&g->lock);
	loop_io_free(g->conn_io);
	g->conn_io = NULL;
	g->conn = close_fd(g->conn);
	pthread_mutex_unlock(&g->lock);
}

/* Sends what fits now. Returns false when the reader is gone. Under the lock. */
static bool send_backlog(struct logging *g)
{
	size_t sent = 0;

	if (g->dropped && g->backlog.len) {
		char msg[64], record[512];
		(void)snprintf(msg, sizeof msg, "%lu earlier records were dropped", g->dropped);
		size_t len = logging_format(record, sizeof record, LOG_WARN, msg);
		if (send(g->conn, record, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len)
			g->dropped = 0;
	}
	while (sent < g->backlog.len) {
		ssize_t n = send(g->conn, g->backlog.data + sent, g->backlog.len - sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return false;
		sent += (size_t)n;
	}
	if (sent)
		buf_consume(&g->backlog, sent);
	return true;
}

static void flush(void *arg)
{
	struct logging *g = arg;

	pthread_mutex_lock(&g->lock);
	g->posted = false;
	bool alive = true;
	if (g->conn_io) {
		alive = send_backlog(g);
		loop_io_set(g->conn_io, LOOP_READ | (g->backlog.len ? (unsigned)LOOP_WRITE : 0));
	}
	pthread_mutex_unlock(&g->lock);
	if (!alive)
		drop_conn(g);
}

static void on_conn(void *arg, unsigned events)
{
	struct logging *g = arg;
	char ignored[256];

	if (events & (LOOP_READ | LOOP_HANGUP)) {
		/* the runtime says nothing here; only its end matters */
		ssize_t n = recv(g->conn, ignored, sizeof ignored, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			drop_conn(g);
			return;
		}
	}
	if (events & LOOP_WRITE)
		flush(g);
}

static void on_listen(void *arg, unsigned events)
{
	struct logging *g = arg;

	int fd = accept4(g->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	drop_conn(g);
	pthread_mutex_lock(&g->lock);
	if (loop_io_new(g->loop, fd, LOOP_READ | LOOP_WRITE, on_conn, g, &g->conn_io) == 0)
		g->conn = TAKE_FD(fd);
	pthread_mutex_unlock(&g->lock);
	fd = close_fd(fd);
}

int logging_listen(struct logging *g, struct loop *loop, int fd)
{
	g->loop = loop;
	int r = loop_io_new(loop, fd, LOOP_READ, on_listen, g, &g->listen_io);
	if (r < 0)
		return r;
	g->listen_fd = fd;
	logging_to_backlog(g);
	return 0;
}

void logging_to_console(struct logging *g)
{
	pthread_mutex_lock(&g->lock);
	g->waiting = false;
	if (g->backlog.len)
		(void)fd_write_all(STDOUT_FILENO, g->backlog.data, g->backlog.len);
	buf_clear(&g->backlog);
	pthread_mutex_unlock(&g->lock);
}

void logging_free(struct logging *g)
{
	if (!g)
		return;
	log_reset();
	drop_conn(g);
	loop_io_free(g->listen_io);
	g->listen_fd = close_fd(g->listen_fd);
	buf_free(&g->backlog);
	pthread_mutex_destroy(&g->lock);
	free(g);
}
