/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/stdio-stream.h"

#include "base/buf.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "rpc/any.h"
#include "rpc/listen.h"

#include "proto/streaming.pb-c.h"
#include "proto/transfer.pb-c.h"

#include <string.h>
#include <sys/stat.h>

/* What one message carries; containerd reads and writes no larger ones. */
#define CHUNK_MAX (32u << 10)
/* How long another's streaming service may take to acknowledge. */
#define OPEN_MS 10000

/* One stream on the wire. It belongs to the end that it is attached to, else to the table. */
struct link {
	struct list link; /* table->waiting while no end has it */
	struct stdio_streams *table;
	struct rpc_stream *stream;
	struct rpc_client *client; /* NULL: it is the peer's that came to us */
	char *id;		   /* NULL: its StreamInit has not come */
	struct end *end;
	bool acknowledged;
	uint32_t credit; /* bytes that the peer takes */
};

struct end {
	struct list list; /* table->ends */
	struct stdio_streams *table;
	struct link *link; /* NULL: nobody is there (again) */
	char *id;
	bool is_input, remote;
	struct loop_timer *timer;
	void (*opened)(void *arg, int r, const struct err *e);
	void *opened_arg;

	/* an output */
	struct stdio_out out;
	bool wants_room; /* a write was refused */
	bool finished;	 /* end() has come */
	bool broken;

	/* an input */
	struct stdio_in in;
	struct buf data;
	uint32_t window; /* bytes that the peer may still send */
	bool watching, at_end, closing;
};

struct stdio_streams {
	struct loop *loop;
	char *socket_path;
	struct list waiting; /* links */
	struct list ends;
	unsigned n_waiting;
};

/* ---- Messages -------------------------------------------------------------------------------- */

static int send_any(struct link *l, const ProtobufCMessage *m)
{
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	int r = rpc_any_pack(&any, m, NULL);

	if (r == 0)
		r = rpc_stream_send(l->stream, &any.base);
	rpc_any_clear(&any);
	return r;
}

static void grant(struct end *end, uint32_t n)
{
	Containerd__Types__Transfer__WindowUpdate m =
		CONTAINERD__TYPES__TRANSFER__WINDOW_UPDATE__INIT;

	m.update = (int32_t)n;
	if (n > 0 && send_any(end->link, &m.base) == 0)
		end->window += n;
}

/* What may be on its way and what is kept never exceed the window together. */
static void grant_rest(struct end *end)
{
	grant(end, STDIO_WINDOW - end->window - (uint32_t)end->data.len);
}

/* ---- Links ----------------------------------------------------------------------------------- */

static void link_free(struct link *l)
{
	if (!l)
		return;
	if (!list_empty(&l->link)) {
		list_del(&l->link);
		l->table->n_waiting--;
	}
	rpc_stream_free(l->stream);
	rpc_client_free(l->client);
	free(l->id);
	free(l);
}

static void end_lost(struct end *end, int r);

static void refuse(struct link *l, int status, const char *text)
{
	struct end *end = l->end;

	log_debug("a stream of stdio was refused: %s", text);
	rpc_stream_fail(l->stream, status, text);
	link_free(l);
	if (end && end->link == l) {
		end->link = NULL;
		end_lost(end, -EPROTO);
	}
}

static void room(struct end *end)
{
	if (!end->wants_room)
		return;
	end->wants_room = false;
	end->out.ready(end->out.arg);
}

static void tell_input(struct end *end)
{
	if (!end->watching)
		return;
	end->watching = false;
	end->in.ready(end->in.arg);
}

static void opened(struct end *end, int r, const struct err *e)
{
	void (*fn)(void *arg, int r, const struct err *err) = TAKE_PTR(end->opened);

	if (end->timer)
		loop_timer_stop(end->timer);
	if (fn)
		fn(end->opened_arg, r, e); /* may free it */
}

/* Brings them together, and lets flow what can. */
static void attach(struct end *end, struct link *l)
{
	struct link *old = end->link;

	if (!list_empty(&l->link)) {
		list_del(&l->link);
		l->table->n_waiting--;
	}
	end->link = l;
	l->end = end;
	if (old)
		refuse(old, STATUS_ABORTED, "the stream was opened again");
	if (end->is_input) {
		end->window = 0;
		grant_rest(end);
	} else if (end->finished) {
		rpc_stream_close(l->stream);
	} else if (l->credit > 0) {
		room(end);
	}
}

static struct end *find_end(struct stdio_streams *t, const char *id)
{
	struct list *n;

	list_for_each (n, &t->ends) {
		struct end *end = list_entry(n, struct end, list);
		if (!end->remote && strcmp(end->id, id) == 0)
			return end;
	}
	return NULL;
}

static struct link *find_waiting(struct stdio_streams *t, const char *id)
{
	struct list *n;

	list_for_each (n, &t->waiting) {
		struct link *l = list_entry(n, struct link, link);
		if (l->id && strcmp(l->id, id) == 0)
			return l;
	}
	return NULL;
}

/* ---- What comes ------------------------------------------------------------------------------ */

static void on_init(struct link *l, const Google__Protobuf__Any *any)
{
	const Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	struct stdio_streams *t = l->table;
	Containerd__Services__Streaming__V1__StreamInit *m = (void *)rpc_any_unpack(
		any, &containerd__services__streaming__v1__stream_init__descriptor);

	if (m && m->id[0] && strlen(m->id) <= STDIO_STREAM_ID_MAX)
		l->id = strdup(m->id);
	if (m)
		protobuf_c_message_free_unpacked(&m->base, NULL);
	if (!l->id) {
		refuse(l, STATUS_INVALID_ARGUMENT,
		       "the first message must be a StreamInit with an id of 1 to 512 bytes");
		return;
	}
	struct link *older = find_waiting(t, l->id);
	if (older && older != l)
		refuse(older, STATUS_ABORTED, "the stream was opened again");
	if (send_any(l, &empty.base) < 0) {
		refuse(l, STATUS_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	l->acknowledged = true;
	struct end *end = find_end(t, l->id);
	if (end)
		attach(end, l);
}

static void on_acknowledged(struct link *l)
{
	struct end *end = l->end;

	l->acknowledged = true;
	if (end->is_input)
		grant(end, STDIO_WINDOW);
	opened(end, 0, NULL);
}

static void on_window(struct link *l, int32_t update)
{
	if (update < 0) {
		refuse(l, STATUS_INVALID_ARGUMENT, "a WindowUpdate is negative");
		return;
	}
	uint32_t most = INT32_MAX;
	l->credit = most - l->credit < (uint32_t)update ? most : l->credit + (uint32_t)update;
	if (l->end && !l->end->is_input && l->credit > 0)
		room(l->end);
}

static void on_bytes(struct link *l, const ProtobufCBinaryData *data)
{
	struct end *end = l->end;

	if (!end || !end->is_input || data->len > end->window) {
		refuse(l, STATUS_RESOURCE_EXHAUSTED, "more data than were granted");
		return;
	}
	end->window -= (uint32_t)data->len;
	buf_append(&end->data, data->data, data->len);
	if (data->len > 0)
		tell_input(end);
}

static void on_message(void *arg, const ProtobufCMessage *m)
{
	struct link *l = arg;
	const Google__Protobuf__Any *any = (const Google__Protobuf__Any *)m;
	ProtobufCMessage *body;

	if (!l->acknowledged) {
		if (l->client)
			on_acknowledged(l);
		else
			on_init(l, any);
	} else if ((body = rpc_any_unpack(
			    any, &containerd__types__transfer__window_update__descriptor))) {
		int32_t n = ((Containerd__Types__Transfer__WindowUpdate *)body)->update;
		protobuf_c_message_free_unpacked(body, NULL);
		on_window(l, n);
	} else if ((body = rpc_any_unpack(any, &containerd__types__transfer__data__descriptor))) {
		on_bytes(l, &((Containerd__Types__Transfer__Data *)body)->data);
		protobuf_c_message_free_unpacked(body, NULL);
	} else {
		/* as containerd's own ends do, for the sake of what is to come */
		log_debug("a stream of stdio has a message of type \"%.64s\"", any->type_url);
	}
}

/* Its other side is gone: for a while (another stream comes with the same id), or for good. */
static void end_lost(struct end *end, int r)
{
	if (end->is_input) {
		/* an orderly end of a client's stream is the end of the input */
		if (r == 0 || end->closing || end->remote)
			end->at_end = true;
		if (end->at_end)
			tell_input(end);
	} else if (end->remote) {
		end->broken = true;
		room(end);
	}
}

static void on_ended(void *arg, int r, const struct err *e)
{
	struct link *l = arg;
	struct end *end = l->end;
	struct err lost = e ? *e : ERR_INIT;

	/* the client must not be freed from inside of its last words: it was told to close */
	if (end)
		end->link = NULL;
	bool acknowledged = l->acknowledged;
	link_free(l);
	if (!end)
		return;
	if (!acknowledged) {
		if (r == 0)
			r = err_status(&lost, STATUS_UNAVAILABLE,
				       "the stream \"%s\" ended before it was acknowledged",
				       end->id);
		else
			(void)err_wrap(&lost, r, "open the stream \"%s\"", end->id);
		opened(end, r, &lost);
	} else {
		end_lost(end, r);
	}
}

static void on_writable(void *arg)
{
	struct link *l = arg;

	if (l->end && !l->end->is_input)
		room(l->end);
	else if (l->end && l->acknowledged)
		grant_rest(l->end);
}

static const struct rpc_stream_ops link_ops = {on_message, on_ended, on_writable};

void stdio_streams_take(struct stdio_streams *t, struct rpc_stream *s)
{
	struct link *l = t->n_waiting < STDIO_STREAMS_MAX ? calloc(1, sizeof *l) : NULL;

	if (!l) {
		rpc_stream_fail(s, STATUS_RESOURCE_EXHAUSTED,
				"too many streams wait for their processes");
		rpc_stream_free(s);
		return;
	}
	l->table = t;
	l->stream = s;
	rpc_stream_accept(s, &link_ops, l);
	list_add_tail(&t->waiting, &l->link);
	t->n_waiting++;
}

/* ---- An output ------------------------------------------------------------------------------- */

#define END_OF_OUT(o) list_entry(o, struct end, out)

static ssize_t out_write(struct stdio_out *o, const void *data, size_t len)
{
	struct end *end = END_OF_OUT(o);
	struct link *l = end->link;
	Containerd__Types__Transfer__Data m = CONTAINERD__TYPES__TRANSFER__DATA__INIT;

	if (end->broken)
		return -EPIPE;
	end->wants_room = true;
	if (!l || l->credit == 0)
		return -EAGAIN;
	len = len < CHUNK_MAX ? len : CHUNK_MAX;
	len = len < l->credit ? len : l->credit;
	m.data.data = (uint8_t *)data;
	m.data.len = len;
	int r = send_any(l, &m.base);
	if (r == -EPIPE && !end->remote)
		return -EAGAIN; /* another stream comes */
	if (r < 0)
		return r;
	end->wants_room = false;
	l->credit -= (uint32_t)len;
	return (ssize_t)len;
}

static void out_end(struct stdio_out *o)
{
	struct end *end = END_OF_OUT(o);

	end->finished = true;
	if (end->link)
		rpc_stream_close(end->link->stream);
}

static void end_free(struct end *end)
{
	list_del(&end->list);
	end->opened = NULL;
	if (end->link) {
		rpc_stream_close(end->link->stream);
		end->link->end = NULL;
		link_free(TAKE_PTR(end->link));
	}
	loop_timer_free(end->timer);
	buf_free(&end->data);
	free(end->id);
	free(end);
}

static void out_free(struct stdio_out *o)
{
	end_free(END_OF_OUT(o));
}

static const struct stdio_out_ops out_ops = {out_write, out_end, out_free};

/* ---- An input -------------------------------------------------------------------------------- */

#define END_OF_IN(i) list_entry(i, struct end, in)

static void in_watch(struct stdio_in *i)
{
	struct end *end = END_OF_IN(i);

	end->watching = true;
	if (end->data.len > 0 || end->at_end)
		tell_input(end);
}

static ssize_t in_read(struct stdio_in *i, void *data, size_t size)
{
	struct end *end = END_OF_IN(i);
	size_t n = end->data.len < size ? end->data.len : size;

	if (buf_failed(&end->data))
		return -ENOMEM;
	if (n == 0)
		return end->at_end ? 0 : -EAGAIN;
	memcpy(data, end->data.data, n);
	buf_consume(&end->data, n);
	if (end->link)
		grant_rest(end);
	return (ssize_t)n;
}

static void in_start(struct stdio_in *i)
{
}

/* Who still writes is heard to the end of its stream, as with a FIFO. */
static void in_close(struct stdio_in *i)
{
	struct end *end = END_OF_IN(i);

	end->closing = true;
	if (end->link)
		return;
	end->at_end = true;
	tell_input(end);
}

static void in_free(struct stdio_in *i)
{
	end_free(END_OF_IN(i));
}

static const struct stdio_in_ops in_ops = {in_watch, in_read, in_start, in_close, in_free};

/* ---- Opening --------------------------------------------------------------------------------- */

static bool is_ours(const struct stdio_streams *t, const char *path)
{
	struct stat a, b;

	return strcmp(path, t->socket_path) == 0 ||
	       (stat(path, &a) == 0 && stat(t->socket_path, &b) == 0 && a.st_dev == b.st_dev &&
		a.st_ino == b.st_ino);
}

static void on_timeout(void *arg)
{
	struct end *end = arg;
	struct err e = ERR_INIT;
	int r = err_status(&e, STATUS_DEADLINE_EXCEEDED,
			   "the stream \"%s\" was not acknowledged within %d ms", end->id, OPEN_MS);
	opened(end, r, &e);
}

/* Opens the stream at another's socket, and names it. */
static int dial(struct end *end, struct link *l, const char *path, struct err *e)
{
	const struct rpc_request req = {
		.service = &containerd__services__streaming__v1__streaming__descriptor,
		.method = "Stream"};
	Containerd__Services__Streaming__V1__StreamInit init =
		CONTAINERD__SERVICES__STREAMING__V1__STREAM_INIT__INIT;
	struct loop *loop = end->table->loop;

	int fd = rpc_connect_unix(path, 0, e);
	if (fd < 0)
		return fd;
	int r = rpc_client_new(loop, fd, NULL, NULL, &l->client);
	if (r < 0) {
		(void)close_fd(fd);
		return err_errno(e, r, "talk to %s", path);
	}
	r = rpc_client_open(l->client, &req, &link_ops, l, &l->stream, e);
	if (r < 0)
		return r;
	init.id = end->id;
	r = send_any(l, &init.base);
	if (r == 0)
		r = loop_timer_new(loop, on_timeout, end, &end->timer);
	if (r < 0)
		return err_errno(e, r, "name the stream \"%s\"", end->id);
	loop_timer_start(end->timer, OPEN_MS);
	return 0;
}

static int open_remote(struct end *end, const char *path, struct err *e)
{
	struct link *l = calloc(1, sizeof *l);
	if (!l)
		return err_set(e, -ENOMEM, "out of memory");
	list_init(&l->link);
	l->table = end->table;
	end->remote = true;
	int r = dial(end, l, path, e);
	if (r < 0) {
		link_free(l);
		return r;
	}
	l->end = end;
	end->link = l;
	return 0;
}

static int end_new(struct stdio_streams *t, const struct stdio_uri *uri, bool is_input,
		   void (*fn)(void *arg, int r, const struct err *e), void *arg, struct end **ret,
		   struct err *e)
{
	struct end *end = calloc(1, sizeof *end);
	if (!end)
		return err_set(e, -ENOMEM, "out of memory");
	end->table = t;
	end->is_input = is_input;
	end->data = BUF_INIT;
	end->opened = fn;
	end->opened_arg = arg;
	list_init(&end->list);
	end->id = strdup(uri->stream_id);
	int r = end->id ? 0 : err_set(e, -ENOMEM, "out of memory");
	bool ours = is_ours(t, uri->path);
	if (r == 0 && ours && find_end(t, end->id))
		r = err_status(e, STATUS_ALREADY_EXISTS,
			       "the stream \"%s\" belongs to another process", end->id);
	if (r == 0 && !ours)
		r = open_remote(end, uri->path, e);
	if (r < 0) {
		end_free(end);
		return r;
	}
	list_add_tail(&t->ends, &end->list);
	*ret = end;
	return 0;
}

/* One of ours is open at once: who reads or writes it is there, or will come. */
static void begin(struct end *end)
{
	if (end->remote)
		return;
	struct link *l = find_waiting(end->table, end->id);
	if (l)
		attach(end, l);
	opened(end, 0, NULL);
}

int stdio_out_open_stream(struct stdio_streams *t, const struct stdio_uri *uri,
			  void (*fn)(void *arg, int r, const struct err *e), void *arg,
			  struct stdio_out **ret, struct err *e)
{
	struct end *end;
	int r = end_new(t, uri, false, fn, arg, &end, e);

	if (r < 0)
		return r;
	end->out.ops = &out_ops;
	*ret = &end->out;
	begin(end);
	return 0;
}

int stdio_in_open_stream(struct stdio_streams *t, const struct stdio_uri *uri,
			 void (*fn)(void *arg, int r, const struct err *e), void *arg,
			 struct stdio_in **ret, struct err *e)
{
	struct end *end;
	int r = end_new(t, uri, true, fn, arg, &end, e);

	if (r < 0)
		return r;
	end->in.ops = &in_ops;
	*ret = &end->in;
	begin(end);
	return 0;
}

/* ---- The table ------------------------------------------------------------------------------- */

int stdio_streams_new(struct loop *loop, const char *socket_path, struct stdio_streams **ret)
{
	struct stdio_streams *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	t->loop = loop;
	list_init(&t->waiting);
	list_init(&t->ends);
	t->socket_path = strdup(socket_path);
	if (!t->socket_path) {
		free(t);
		return -ENOMEM;
	}
	*ret = t;
	return 0;
}

void stdio_streams_free(struct stdio_streams *t)
{
	if (!t)
		return;
	while (!list_empty(&t->waiting))
		link_free(list_first(&t->waiting, struct link, link));
	free(t->socket_path);
	free(t);
}
