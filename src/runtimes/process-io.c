/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls to the agent cannot be taken back, so each holds a reference: process_io_free() closes the
 * descriptors at once, and the memory goes with the last outstanding call.
 */
#include "runtimes/process-io.h"

#include "base/fd.h"
#include "base/log.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#define STDIN_CHUNK (64u << 10) /* what a FIFO holds */

struct out_stream {
	struct process_io *io;
	const char *method;
	int fd;	     /* -EBADF: drop the data */
	int keep_fd; /* the FIFO's read end */
	struct loop_io *watch;
	Grpc__ReadStreamResponse *data; /* being written; NULL while reading */
	size_t written;
	bool eof;
};

struct in_stream {
	int fd;
	int keep_fd; /* the FIFO's write end, from start until CloseIO */
	char *path;
	bool closed; /* CloseIO has come */
	struct loop_io *watch;
	uint8_t *data; /* being sent; NULL while reading */
	size_t len, sent;
};

struct process_io {
	struct process_io_params params;
	char *container_id, *exec_id;
	unsigned refs;
	bool closed, reported;
	struct in_stream in;
	struct out_stream out, errout;
};

static void unref(struct process_io *io)
{
	if (--io->refs > 0)
		return;
	free(io->container_id);
	free(io->exec_id);
	free(io->in.data);
	free(io->in.path);
	free(io);
}

bool process_io_is_drained(const struct process_io *io)
{
	return io->out.eof && io->errout.eof;
}

static void report_drained(struct process_io *io)
{
	if (io->reported || io->closed || !process_io_is_drained(io))
		return;
	io->reported = true;
	io->params.on_drained(io->params.arg);
}

/* ---- Output ------------------------------------------------------------------------------- */

static void read_more(struct out_stream *s);

static void close_out(struct out_stream *s)
{
	loop_io_free(TAKE_PTR(s->watch));
	s->fd = close_fd(s->fd);
	if (s->data)
		grpc__read_stream_response__free_unpacked(TAKE_PTR(s->data), NULL);
}

static void end_out(struct out_stream *s)
{
	close_out(s);
	s->eof = true;
	report_drained(s->io);
}

/* Writes what is at hand, then asks for more; waits for the FIFO where it is full. */
static void write_out(struct out_stream *s)
{
	while (s->fd >= 0 && s->written < s->data->data.len) {
		ssize_t n = write(s->fd, s->data->data.data + s->written,
				  s->data->data.len - s->written);
		if (n >= 0) {
			s->written += (size_t)n;
		} else if (errno == EAGAIN && s->watch) {
			loop_io_set(s->watch, LOOP_WRITE);
			return;
		} else if (errno != EINTR) {
			log_warn("output of %s is lost: %s", s->io->exec_id, strerror(errno));
			loop_io_free(TAKE_PTR(s->watch));
			s->fd = close_fd(s->fd);
		}
	}
	if (s->watch)
		loop_io_set(s->watch, 0);
	grpc__read_stream_response__free_unpacked(TAKE_PTR(s->data), NULL);
	read_more(s);
}

static void on_writable(void *arg, unsigned events)
{
	struct out_stream *s = arg;
	if (s->data)
		write_out(s);
}

static void on_read(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	struct out_stream *s = arg;
	struct process_io *io = s->io;
	Grpc__ReadStreamResponse *data = (Grpc__ReadStreamResponse *)response;

	if (io->closed) {
		if (data)
			grpc__read_stream_response__free_unpacked(data, NULL);
	} else if (r < 0 || data->data.len == 0) {
		/* NOT_FOUND is how an agent says that process and stream are gone. */
		if (r < 0 && e->status != STATUS_NOT_FOUND)
			log_debug("%s of %s: %s", s->method, io->exec_id, err_text(e, r));
		if (data)
			grpc__read_stream_response__free_unpacked(data, NULL);
		end_out(s);
	} else {
		s->data = data;
		s->written = 0;
		write_out(s);
	}
	unref(io);
}

static void read_more(struct out_stream *s)
{
	struct process_io *io = s->io;
	struct err e = ERR_INIT;
	Grpc__ReadStreamRequest req = GRPC__READ_STREAM_REQUEST__INIT;

	req.container_id = io->container_id;
	req.exec_id = io->exec_id;
	req.len = agent_features(io->params.agent)->bulk_io ? AGENT_BULK_BYTES : AGENT_PLAIN_BYTES;
	io->refs++;
	if (agent_start(io->params.agent, s->method, &req.base, 0, on_read, s, &e) < 0) {
		end_out(s);
		unref(io);
	}
}

/* ---- Input -------------------------------------------------------------------------------- */

static void close_in(struct in_stream *s)
{
	loop_io_free(TAKE_PTR(s->watch));
	s->fd = close_fd(s->fd);
	s->keep_fd = close_fd(s->keep_fd);
}

static void send_in(struct process_io *io);

static void on_sent(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	struct process_io *io = arg;
	struct in_stream *s = &io->in;
	size_t n = response ? ((Grpc__WriteStreamResponse *)response)->len : 0;
	size_t left = s->len - s->sent;

	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
	if (!io->closed && s->fd >= 0) {
		s->sent += n < left ? n : left;
		if (r < 0 || (n == 0 && left > 0)) {
			/* The process has closed its standard input, or is gone. */
			close_in(s);
		} else if (s->sent < s->len) {
			send_in(io);
		} else {
			free(TAKE_PTR(s->data));
			loop_io_set(s->watch, LOOP_READ);
		}
	}
	unref(io);
}

static void on_eof_sent(void *arg, int r, ProtobufCMessage *response, const struct err *e)
{
	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
	unref(arg);
}

static int write_stdin(struct process_io *io, const uint8_t *data, size_t len, rpc_done_fn done)
{
	struct err e = ERR_INIT;
	Grpc__WriteStreamRequest req = GRPC__WRITE_STREAM_REQUEST__INIT;

	req.container_id = io->container_id;
	req.exec_id = io->exec_id;
	req.data.data = (uint8_t *)data;
	req.data.len = len;
	io->refs++;
	int r = agent_start(io->params.agent, "WriteStdin", &req.base, 0, done, io, &e);
	if (r < 0) {
		close_in(&io->in);
		unref(io);
	}
	return r;
}

static void send_in(struct process_io *io)
{
	(void)write_stdin(io, io->in.data + io->in.sent, io->in.len - io->in.sent, on_sent);
}

static void on_readable(void *arg, unsigned events)
{
	struct process_io *io = arg;
	struct in_stream *s = &io->in;

	if (!s->data && !(s->data = malloc(STDIN_CHUNK)))
		return; /* asked again at the next turn */
	ssize_t n = read(s->fd, s->data, STDIN_CHUNK);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		loop_io_set(s->watch, 0);
		s->len = (size_t)n;
		s->sent = 0;
		send_in(io);
		return;
	}
	/* The end: an empty write is how the wire says it. On a terminal the end of the client's
	 * stream is not the end of the terminal, and an agent may take it for one. */
	free(TAKE_PTR(s->data));
	close_in(s);
	if (!io->params.terminal)
		(void)write_stdin(io, NULL, 0, on_eof_sent);
}

void process_io_close_stdin(struct process_io *io)
{
	io->in.closed = true;
	io->in.keep_fd = close_fd(io->in.keep_fd);
}

void process_io_stop_stdin(struct process_io *io)
{
	close_in(&io->in);
}

/* ---- Opening ------------------------------------------------------------------------------ */

/* The path in "path", "fifo://path", "file://path"; NULL for another scheme. */
static const char *path_of(const char *uri)
{
	const char *scheme = strstr(uri, "://");
	if (!scheme)
		return uri;
	if (strncmp(uri, "fifo://", 7) == 0 || strncmp(uri, "file://", 7) == 0)
		return scheme + 3;
	return NULL;
}

static int open_path(const char *what, const char *path, int flags, mode_t mode, struct err *e)
{
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK, mode);
	return fd >= 0 ? fd : err_errno(e, -errno, "open %s %s", what, path);
}

static bool is_fifo(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISFIFO(st.st_mode);
}

static int open_out(struct out_stream *s, const char *what, const char *uri, struct err *e)
{
	if (!uri[0])
		return 0;
	const char *path = path_of(uri);
	if (!path)
		return err_status(e, STATUS_UNIMPLEMENTED,
				  "%s \"%s\": only paths, fifo:// and file:// are supported", what,
				  uri);
	/* A FIFO opens for writing without a wait only while somebody can read it: we can. */
	bool fifo = is_fifo(path);
	if (fifo) {
		s->keep_fd = open_path(what, path, O_RDONLY, 0, e);
		if (s->keep_fd < 0)
			return s->keep_fd;
	}
	s->fd = open_path(what, path, fifo ? O_WRONLY : O_WRONLY | O_CREAT | O_APPEND, 0600, e);
	if (s->fd < 0)
		return s->fd;
	int r = loop_io_new(s->io->params.loop, s->fd, 0, on_writable, s, &s->watch);
	/* -EPERM: a regular file, which never blocks and cannot be watched */
	return r < 0 && r != -EPERM ? err_errno(e, r, "watch %s %s", what, path) : 0;
}

static int open_in(struct process_io *io, const char *uri, struct err *e)
{
	struct in_stream *s = &io->in;
	if (!uri[0])
		return 0;
	const char *path = path_of(uri);
	if (!path)
		return err_status(e, STATUS_UNIMPLEMENTED,
				  "stdin \"%s\": only paths and fifo:// are supported", uri);
	s->path = strdup(path);
	if (!s->path)
		return err_set(e, -ENOMEM, "out of memory");
	s->fd = open_path("stdin", path, O_RDONLY, 0, e);
	if (s->fd < 0)
		return s->fd;
	int r = loop_io_new(io->params.loop, s->fd, 0, on_readable, io, &s->watch);
	return r < 0 ? err_errno(e, r, "watch stdin %s", path) : 0;
}

int process_io_new(const struct process_io_params *p, struct process_io **ret, struct err *e)
{
	struct process_io *io = calloc(1, sizeof *io);
	if (!io)
		return err_set(e, -ENOMEM, "out of memory");
	io->refs = 1;
	io->params = *p;
	io->in.fd = io->in.keep_fd = -EBADF;
	io->out = (struct out_stream){io, "ReadStdout", .fd = -EBADF, .keep_fd = -EBADF};
	io->errout = (struct out_stream){io, "ReadStderr", .fd = -EBADF, .keep_fd = -EBADF};
	io->errout.eof = p->terminal;
	io->container_id = strdup(p->container_id);
	io->exec_id = strdup(p->exec_id);

	int r = io->container_id && io->exec_id ? 0 : err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = open_in(io, p->in, e);
	if (r == 0)
		r = open_out(&io->out, "stdout", p->out, e);
	if (r == 0 && !p->terminal)
		r = open_out(&io->errout, "stderr", p->errout, e);
	if (r < 0) {
		process_io_free(io);
		return r;
	}
	*ret = io;
	return 0;
}

/*
 * From its start on, the process' input ends only when CloseIO says so: a client that detaches must
 * not end it, so a write end of ours keeps it open. But a client that came, wrote and left before
 * the start had nothing to detach from: that was all of the input. (ctr 1.6 never sends CloseIO
 * then.) The kernel tells by POLLHUP: there was a writer since we opened, and there is none now.
 */
static void keep_stdin_open(struct in_stream *s)
{
	struct pollfd pfd = {.fd = s->fd, .events = POLLIN};

	if (s->closed || (poll(&pfd, 1, 0) > 0 && (pfd.revents & POLLHUP)))
		return;
	s->keep_fd = open(s->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
}

void process_io_start(struct process_io *io)
{
	if (io->in.fd >= 0)
		keep_stdin_open(&io->in);
	read_more(&io->out);
	if (!io->params.terminal)
		read_more(&io->errout);
	if (io->in.watch)
		loop_io_set(io->in.watch, LOOP_READ);
	else if (!io->params.terminal)
		/* no standard input was given: the process reads end of file, not for ever */
		(void)write_stdin(io, NULL, 0, on_eof_sent);
}

void process_io_free(struct process_io *io)
{
	if (!io)
		return;
	io->closed = true;
	close_in(&io->in);
	close_out(&io->out);
	close_out(&io->errout);
	io->out.keep_fd = close_fd(io->out.keep_fd);
	io->errout.keep_fd = close_fd(io->errout.keep_fd);
	unref(io);
}
