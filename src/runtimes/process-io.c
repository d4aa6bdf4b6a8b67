/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls to the agent cannot be taken back, so each holds a reference: process_io_free() closes the
 * ends at once, and the memory goes with the last outstanding call.
 */
#include "runtimes/process-io.h"

#include "base/clock.h"
#include "base/log.h"
#include "runtimes/logger.h"
#include "runtimes/stdio-stream.h"

#include <string.h>

/* How long a deletion waits for output that nobody takes, and for any at all. */
#define DRAIN_IDLE_MS 2000
#define DRAIN_TOTAL_MS 10000

struct out_stream {
	struct process_io *io;
	const char *method;
	struct stdio_uri uri;
	struct stdio_out *to;		/* NULL: drop the data */
	Grpc__ReadStreamResponse *data; /* being written; NULL while reading */
	size_t written;
	bool eof;
};

struct in_stream {
	struct stdio_uri uri;
	struct stdio_in *from;
	bool closed;   /* CloseIO has come */
	bool open;     /* the process may still be given something */
	uint8_t *data; /* being sent; NULL while reading */
	size_t len, sent;
};

struct process_io {
	struct process_io_params params;
	struct agent *agent; /* from start on */
	char *container_id, *exec_id, *namespace;
	unsigned refs;
	bool started, closed, reported;
	struct in_stream in;
	struct out_stream out, errout;
	struct logger *logger;

	void (*opened)(void *arg, int r, const struct err *e); /* while it is being opened */
	void *opened_arg;
	unsigned opening; /* ends that are not open yet */

	void (*ended)(void *arg); /* while it is being ended */
	void *ended_arg;
	struct loop_timer *drain_timer;
	uint64_t drain_deadline;
};

static void unref(struct process_io *io)
{
	if (--io->refs > 0)
		return;
	free(io->container_id);
	free(io->exec_id);
	free(io->namespace);
	free(io->in.data);
	free(io);
}

/* For people: which process this is. */
static const char *name_of(const struct process_io *io)
{
	return io->exec_id[0] ? io->exec_id : io->container_id;
}

bool process_io_is_drained(const struct process_io *io)
{
	return io->out.eof && io->errout.eof;
}

static void finish_drain(struct process_io *io);

static void report_drained(struct process_io *io)
{
	if (io->reported || io->closed || !process_io_is_drained(io))
		return;
	io->reported = true;
	io->refs++;
	io->params.on_drained(io->params.arg);
	if (!io->closed && io->ended)
		finish_drain(io);
	unref(io);
}

/* ---- Output ------------------------------------------------------------------------------- */

static void read_more(struct out_stream *s);

static void free_data(struct out_stream *s)
{
	if (s->data)
		grpc__read_stream_response__free_unpacked(TAKE_PTR(s->data), NULL);
}

static void end_out(struct out_stream *s)
{
	if (s->to)
		s->to->ops->end(s->to);
	free_data(s);
	s->eof = true;
	report_drained(s->io);
}

/* Some output went out: whoever waits for the rest may wait on, within bounds. */
static void note_progress(struct process_io *io)
{
	if (!io->ended || !io->drain_timer)
		return;
	uint64_t left = (uint64_t)time_left_ms(io->drain_deadline);
	loop_timer_start(io->drain_timer, left < DRAIN_IDLE_MS ? left : DRAIN_IDLE_MS);
}

/* Writes what is at hand, then asks for more; on_room() goes on where the reader is slow. */
static void write_out(struct out_stream *s)
{
	while (s->to && s->written < s->data->data.len) {
		ssize_t n = s->to->ops->write(s->to, s->data->data.data + s->written,
					      s->data->data.len - s->written);
		if (n >= 0) {
			s->written += (size_t)n;
			note_progress(s->io);
		} else if (n == -EAGAIN) {
			return;
		} else {
			log_warn("output of %s is lost from here on: %s", name_of(s->io),
				 strerror((int)-n));
			stdio_out_free(TAKE_PTR(s->to));
		}
	}
	free_data(s);
	read_more(s);
}

static void on_room(void *arg)
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

	if (io->closed || s->eof) {
		if (data)
			grpc__read_stream_response__free_unpacked(data, NULL);
	} else if (r < 0 || data->data.len == 0) {
		/* NOT_FOUND is how an agent says that process and stream are gone. */
		if (r < 0 && e->status != STATUS_NOT_FOUND)
			log_debug("%s of %s: %s", s->method, name_of(io), err_text(e, r));
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
	req.len = agent_features(io->agent)->bulk_io ? AGENT_BULK_BYTES : AGENT_PLAIN_BYTES;
	io->refs++;
	if (agent_start(io->agent, s->method, &req.base, 0, on_read, s, &e) < 0) {
		end_out(s);
		unref(io);
	}
}

/* ---- Input -------------------------------------------------------------------------------- */

void process_io_stop_stdin(struct process_io *io)
{
	stdio_in_free(TAKE_PTR(io->in.from));
	io->in.open = false;
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
	if (!io->closed && s->open) {
		s->sent += n < left ? n : left;
		if (r < 0 || (n == 0 && left > 0)) {
			/* The process has closed its standard input, or is gone. */
			process_io_stop_stdin(io);
		} else if (s->sent < s->len) {
			send_in(io);
		} else {
			free(TAKE_PTR(s->data));
			s->from->ops->watch(s->from);
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

static void write_stdin(struct process_io *io, const uint8_t *data, size_t len, rpc_done_fn done)
{
	struct err e = ERR_INIT;
	Grpc__WriteStreamRequest req = GRPC__WRITE_STREAM_REQUEST__INIT;

	req.container_id = io->container_id;
	req.exec_id = io->exec_id;
	req.data.data = (uint8_t *)data;
	req.data.len = len;
	io->refs++;
	if (agent_start(io->agent, "WriteStdin", &req.base, 0, done, io, &e) < 0) {
		process_io_stop_stdin(io);
		unref(io);
	}
}

static void send_in(struct process_io *io)
{
	write_stdin(io, io->in.data + io->in.sent, io->in.len - io->in.sent, on_sent);
}

/* The end: an empty write is how the wire says it. On a terminal the end of the client's stream is
 * not the end of the terminal, and an agent may take it for one. */
static void end_in(struct process_io *io)
{
	process_io_stop_stdin(io);
	if (!io->params.terminal)
		write_stdin(io, NULL, 0, on_eof_sent);
}

static void on_input(void *arg)
{
	struct process_io *io = arg;
	struct in_stream *s = &io->in;

	size_t size = agent_features(io->agent)->bulk_io ? STDIO_IN_BYTES : AGENT_PLAIN_BYTES;
	s->data = malloc(size);
	ssize_t n = s->data ? s->from->ops->read(s->from, s->data, size) : -ENOMEM;
	if (n > 0) {
		s->len = (size_t)n;
		s->sent = 0;
		send_in(io);
		return;
	}
	free(TAKE_PTR(s->data));
	if (n == -EAGAIN) {
		s->from->ops->watch(s->from);
		return;
	}
	if (n < 0)
		log_warn("input of %s ends early: %s", name_of(io), strerror((int)-n));
	end_in(io);
}

void process_io_close_stdin(struct process_io *io)
{
	io->in.closed = true;
	if (io->in.from)
		io->in.from->ops->close(io->in.from);
}

/* ---- Opening ------------------------------------------------------------------------------ */

/* One of the ends is open, or has failed: the first failure is told at once. */
static void end_opened(void *arg, int r, const struct err *e)
{
	struct process_io *io = arg;

	if (!io->opened || (r == 0 && --io->opening > 0))
		return;
	void (*opened)(void *arg, int r, const struct err *e) = TAKE_PTR(io->opened);
	if (r == 0 && io->in.closed && io->in.from)
		io->in.from->ops->close(io->in.from);
	opened(io->opened_arg, r, e); /* may free it */
}

static void adopt_out(struct out_stream *s)
{
	if (!s->to)
		return;
	s->to->ready = on_room;
	s->to->arg = s;
}

static void on_logger_ready(void *arg, int r, const struct err *e)
{
	struct process_io *io = arg;

	if (r == 0) {
		logger_take(io->logger, &io->out.to, &io->errout.to);
		adopt_out(&io->out);
		adopt_out(&io->errout);
	}
	end_opened(io, r, e);
}

static int open_logger(struct process_io *io, struct err *e)
{
	const struct logger_params p = {
		.loop = io->params.loop,
		.workers = io->params.workers,
		.uri = &io->out.uri,
		.id = name_of(io), /* an exec's logger is told of the exec, as by containerd's */
		.namespace = io->namespace,
		.on_ready = on_logger_ready,
		.arg = io,
	};
	io->opening++;
	return logger_new(&p, &io->logger, e);
}

static int no_streams(struct err *e)
{
	return err_status(e, STATUS_UNIMPLEMENTED, "there is no streaming service here");
}

static int open_out(struct out_stream *s, const char *what, struct err *e)
{
	struct loop *loop = s->io->params.loop;
	struct stdio_streams *streams = s->io->params.streams;
	int r = 0;

	switch (s->uri.kind) {
	case STDIO_PATH:
		r = stdio_out_open_path(loop, what, s->uri.path, &s->to, e);
		break;
	case STDIO_FILE:
		r = stdio_out_open_file(loop, what, s->uri.path, &s->to, e);
		break;
	case STDIO_STREAM:
		s->io->opening++;
		r = streams ? stdio_out_open_stream(streams, &s->uri, end_opened, s->io, &s->to, e)
			    : no_streams(e);
		break;
	case STDIO_NONE:
	case STDIO_BINARY:
		break;
	}
	adopt_out(s);
	return r;
}

static int open_in(struct process_io *io, struct err *e)
{
	struct in_stream *s = &io->in;
	struct stdio_streams *streams = io->params.streams;
	int r = 0;

	if (s->uri.kind == STDIO_PATH) {
		r = stdio_in_open_path(io->params.loop, s->uri.path, &s->from, e);
	} else if (s->uri.kind == STDIO_STREAM) {
		io->opening++;
		r = streams ? stdio_in_open_stream(streams, &s->uri, end_opened, io, &s->from, e)
			    : no_streams(e);
	}
	if (s->from) {
		s->from->ready = on_input;
		s->from->arg = io;
	}
	return r;
}

void process_io_open(struct process_io *io, void (*done)(void *arg, int r, const struct err *e),
		     void *arg)
{
	struct err e = ERR_INIT;
	bool logger = io->out.uri.kind == STDIO_BINARY;

	io->opened = done;
	io->opened_arg = arg;
	io->opening = 1; /* ours, so that nothing is told before all have begun */
	int r = open_in(io, &e);
	if (r == 0 && logger)
		r = open_logger(io, &e);
	if (r == 0 && !logger)
		r = open_out(&io->out, "stdout", &e);
	if (r == 0 && !logger)
		r = open_out(&io->errout, "stderr", &e);
	end_opened(io, r, &e);
}

/* ---- Making ------------------------------------------------------------------------------- */

/* A logging binary takes both streams, so both must name the same, or stderr nothing. */
static int check_binary(const struct process_io_params *p, const struct process_io *io,
			struct err *e)
{
	bool out = io->out.uri.kind == STDIO_BINARY, errout = io->errout.uri.kind == STDIO_BINARY;

	if (io->in.uri.kind == STDIO_BINARY || io->in.uri.kind == STDIO_FILE)
		return err_status(
			e, STATUS_UNIMPLEMENTED,
			"stdin \"%.256s\": only a path, fifo:// or ttrpc+unix:// can give "
			"input",
			p->in);
	if ((out || errout) && p->errout[0] && strcmp(p->out, p->errout) != 0)
		return err_set(e, -EINVAL,
			       "stderr \"%.256s\" must be empty or the same as stdout, because a "
			       "logging binary takes both",
			       p->errout);
	return 0;
}

static int parse_uris(const struct process_io_params *p, struct process_io *io, struct err *e)
{
	int r = stdio_uri_parse("stdin", p->in, &io->in.uri, e);
	if (r == 0)
		r = stdio_uri_parse("stdout", p->out, &io->out.uri, e);
	if (r == 0 && !p->terminal)
		r = stdio_uri_parse("stderr", p->errout, &io->errout.uri, e);
	return r < 0 ? r : check_binary(p, io, e);
}

int process_io_new(const struct process_io_params *p, struct process_io **ret, struct err *e)
{
	struct process_io *io = calloc(1, sizeof *io);
	if (!io)
		return err_set(e, -ENOMEM, "out of memory");
	io->refs = 1;
	io->params = *p;
	io->out = (struct out_stream){.io = io, .method = "ReadStdout"};
	io->errout = (struct out_stream){.io = io, .method = "ReadStderr"};
	io->errout.eof = p->terminal;
	io->container_id = strdup(p->container_id);
	io->exec_id = strdup(p->exec_id);
	io->namespace = strdup(p->namespace);

	int r = io->container_id && io->exec_id && io->namespace
			? 0
			: err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = parse_uris(p, io, e);
	if (r < 0) {
		process_io_free(io);
		return r;
	}
	*ret = io;
	return 0;
}

void process_io_start(struct process_io *io, struct agent *agent)
{
	io->agent = agent;
	io->started = true;
	io->in.open = true;
	if (io->in.from)
		io->in.from->ops->start(io->in.from);
	read_more(&io->out);
	if (!io->params.terminal)
		read_more(&io->errout);
	if (io->in.from)
		io->in.from->ops->watch(io->in.from);
	else
		end_in(io); /* no standard input was given: it reads end of file, not for ever */
}

/* ---- The end ------------------------------------------------------------------------------ */

static void free_ends(struct process_io *io)
{
	process_io_stop_stdin(io);
	stdio_out_free(TAKE_PTR(io->out.to));
	stdio_out_free(TAKE_PTR(io->errout.to));
	free_data(&io->out);
	free_data(&io->errout);
}

static void on_logger_ended(void *arg)
{
	struct process_io *io = arg;
	void (*ended)(void *arg) = TAKE_PTR(io->ended);

	ended(io->ended_arg); /* may free it */
}

static void finish_drain(struct process_io *io)
{
	if (io->drain_timer)
		loop_timer_stop(io->drain_timer);
	/* what still comes in is dropped */
	io->out.eof = io->errout.eof = io->reported = true;
	free_ends(io);
	if (io->logger)
		logger_end(io->logger, on_logger_ended, io);
	else
		on_logger_ended(io);
}

static void on_drain_timeout(void *arg)
{
	struct process_io *io = arg;

	if (io->out.data || io->errout.data)
		log_warn("output of %s was not taken by its reader and is lost", name_of(io));
	finish_drain(io);
}

void process_io_end(struct process_io *io, void (*done)(void *arg), void *arg)
{
	io->ended = done;
	io->ended_arg = arg;
	if (!io->started || process_io_is_drained(io) ||
	    loop_timer_new(io->params.loop, on_drain_timeout, io, &io->drain_timer) < 0) {
		finish_drain(io);
		return;
	}
	io->drain_deadline = time_deadline(DRAIN_TOTAL_MS);
	loop_timer_start(io->drain_timer, DRAIN_IDLE_MS);
}

void process_io_free(struct process_io *io)
{
	if (!io)
		return;
	io->closed = true;
	io->opened = NULL;
	io->ended = NULL;
	free_ends(io);
	logger_free(TAKE_PTR(io->logger));
	loop_timer_free(TAKE_PTR(io->drain_timer));
	stdio_uri_free(&io->in.uri);
	stdio_uri_free(&io->out.uri);
	stdio_uri_free(&io->errout.uri);
	unref(io);
}
