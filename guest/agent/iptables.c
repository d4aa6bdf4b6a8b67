/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GetIPTables and SetIPTables: the guest's own tools do it. They may wait for each other and for
 * the kernel, so they have a strand of their own: the sandbox does not wait for them.
 */
#include "guest/agent/agent.h"
#include "guest/agent/network.h"

#include "base/clock.h"
#include "base/fd.h"
#include "io/child.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>

/* The tool waits 5 s for its lock; then it has to do its work. */
#define TOOL_TIMEOUT_MS 10000
#define TOOL_WAIT "--wait=5"
/* What fits an answer, with room for its head. */
#define TOOL_OUTPUT_MAX (RPC_DATA_MAX - 4096)
/* Of a complaint, as much as people read. */
#define TOOL_COMPLAINT_MAX 512

/* ---- One run of a tool -------------------------------------------------------------------- */

struct tool {
	struct child child;
	int in, out, errout; /* our ends; closed when done with */
	const uint8_t *input;
	size_t input_len;
	struct buf output;
	char complaint[TOOL_COMPLAINT_MAX];
	size_t complaint_len;
	bool too_much;
};

static void tool_deinit(struct tool *t)
{
	child_destroy(&t->child);
	(void)close_fd(t->in);
	(void)close_fd(t->out);
	(void)close_fd(t->errout);
	buf_free(&t->output);
}

/* The tool of that kind, "save" or "restore", by the first name that it has here. */
static int find_tool(bool ipv6, const char *kind, char *ret, size_t size, struct err *e)
{
	static const char *const dirs[] = {"/usr/sbin", "/sbin"};
	static const char *const variants[] = {"", "nft-", "legacy-"};
	const char *family = ipv6 ? "ip6tables" : "iptables";

	for (size_t v = 0; v < ARRAY_SIZE(variants); v++)
		for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
			if (path_format(ret, size, "%s/%s-%s%s", dirs[i], family, variants[v],
					kind) == 0 &&
			    access(ret, X_OK) == 0)
				return 0;
	return err_status(e, STATUS_UNIMPLEMENTED, "this guest has no %s-%s", family, kind);
}

/* A pipe: its end for the tool, and ours, which does not block. */
static int make_pipe(bool to_tool, int *ret_theirs, int *ret_ours, struct err *e)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, -errno, "make a pipe");
	*ret_theirs = fds[to_tool ? 0 : 1];
	*ret_ours = fds[to_tool ? 1 : 0];
	int r = fd_set_nonblock(*ret_ours, true);
	return r < 0 ? err_errno(e, r, "prepare a pipe") : 0;
}

static int spawn(struct tool *t, const char *path, bool restore, struct err *e)
{
	const char *argv[] = {path, restore ? TOOL_WAIT : NULL, NULL};
	_cleanup_close_ int in = -EBADF, out = -EBADF, errout = -EBADF;
	struct child_spec spec = CHILD_SPEC_INIT;

	int r = make_pipe(true, &in, &t->in, e);
	if (r == 0)
		r = make_pipe(false, &out, &t->out, e);
	if (r == 0)
		r = make_pipe(false, &errout, &t->errout, e);
	if (r < 0)
		return r;
	spec.argv = argv;
	spec.in = in;
	spec.out = out;
	spec.errout = errout;
	return child_spawn(&spec, &t->child, e);
}

static void feed(struct tool *t)
{
	ssize_t n = t->input_len ? write(t->in, t->input, t->input_len) : 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		t->input += n;
		t->input_len -= (size_t)n;
	}
	/* all is said, or nobody listens: how it ends will tell why */
	if (n < 0 || t->input_len == 0)
		t->in = close_fd(t->in);
}

static void take_output(struct tool *t)
{
	size_t room = TOOL_OUTPUT_MAX - t->output.len;
	char chunk[16384];

	ssize_t n = read(t->out, chunk, sizeof chunk);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	t->too_much |= n > 0 && (size_t)n > room;
	if (n <= 0 || t->too_much)
		t->out = close_fd(t->out);
	else
		buf_append(&t->output, chunk, (size_t)n);
}

static void take_complaint(struct tool *t)
{
	size_t room = sizeof t->complaint - 1 - t->complaint_len;
	char chunk[1024];

	ssize_t n = read(t->errout, chunk, sizeof chunk);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		t->errout = close_fd(t->errout);
		return;
	}
	if ((size_t)n < room)
		room = (size_t)n;
	memcpy(t->complaint + t->complaint_len, chunk, room);
	t->complaint_len += room;
}

/* Moves bytes until it has closed its ends. */
static int converse(struct tool *t, uint64_t deadline, struct err *e)
{
	while (t->out >= 0 || t->errout >= 0) {
		struct pollfd p[3] = {{.fd = t->in, .events = POLLOUT},
				      {.fd = t->out, .events = POLLIN},
				      {.fd = t->errout, .events = POLLIN}};
		int r = poll(p, 3, time_left_ms(deadline));
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? err_errno(e, -errno, "wait for it") : -ETIMEDOUT;
		if (p[0].revents)
			feed(t);
		if (p[1].revents)
			take_output(t);
		if (p[2].revents)
			take_complaint(t);
	}
	return 0;
}

/* The complaint as one line. */
static const char *complaint(struct tool *t)
{
	char *end = t->complaint + t->complaint_len;

	while (end > t->complaint && (end[-1] == '\n' || end[-1] == ' '))
		end--;
	*end = '\0';
	for (char *c = t->complaint; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	return t->complaint;
}

static int finish(struct tool *t, uint64_t deadline, struct err *e)
{
	int status = 0, r = converse(t, deadline, e);

	if (r == 0)
		r = child_wait(&t->child, deadline, &status);
	if (r == -ETIMEDOUT)
		return err_set(e, r, "it did not end within %d ms", TOOL_TIMEOUT_MS);
	if (r < 0)
		return r;
	if (t->too_much)
		return err_set(e, -EMSGSIZE, "it says more than %u bytes", TOOL_OUTPUT_MAX);
	if (buf_failed(&t->output))
		return err_set(e, -ENOMEM, "no memory for what it says");
	if (status)
		return err_status(e, STATUS_INTERNAL, "it failed with status %d: %s", status,
				  complaint(t));
	return 0;
}

/* Runs "save" or "restore"; what it printed is @ret's. */
static int run_tool(bool ipv6, bool restore, const ProtobufCBinaryData *input, struct buf *ret,
		    struct err *e)
{
	struct tool t = {.child = CHILD_INIT, .in = -EBADF, .out = -EBADF, .errout = -EBADF};
	uint64_t deadline = time_deadline(TOOL_TIMEOUT_MS);
	char path[64];

	int r = find_tool(ipv6, restore ? "restore" : "save", path, sizeof path, e);
	if (r < 0)
		return r;
	if (input) {
		t.input = input->data;
		t.input_len = input->len;
	}
	r = spawn(&t, path, restore, e);
	if (r == 0)
		r = finish(&t, deadline, e);
	if (r == 0) {
		*ret = t.output;
		t.output = BUF_INIT;
	}
	tool_deinit(&t);
	return r < 0 ? err_wrap(e, r, "%s", path) : 0;
}

/* ---- The calls ---------------------------------------------------------------------------- */

static void start(struct agent *a, struct rpc_call *call, void (*work)(struct job *),
		  void (*done)(struct job *))
{
	int r = a->filter_strand ? 0 : strand_new(a->pool, &a->filter_strand);
	struct job *j = r == 0 ? job_new(a, call, NULL) : NULL;

	if (r < 0)
		rpc_call_failf(call, STATUS_RESOURCE_EXHAUSTED, "no memory for the request");
	if (!j)
		return;
	j->strand = a->filter_strand;
	job_start(j, work, done);
}

/* What a tool printed, kept in the job; NULL is as good as nothing. */
static void keep(struct job *j, struct buf *output)
{
	j->number = (int)output->len;
	j->result = output->data;
	*output = BUF_INIT;
}

static void get_work(struct job *j)
{
	const Grpc__GetIPTablesRequest *q = (const void *)rpc_call_request(j->call);
	_cleanup_buf_ struct buf output = BUF_INIT;

	j->r = run_tool(q->is_ipv6, false, NULL, &output, &j->e);
	keep(j, &output);
}

static void set_work(struct job *j)
{
	const Grpc__SetIPTablesRequest *q = (const void *)rpc_call_request(j->call);
	_cleanup_buf_ struct buf output = BUF_INIT;

	j->r = run_tool(q->is_ipv6, true, &q->data, &output, &j->e);
	keep(j, &output);
}

static void reply(struct job *j, ProtobufCMessage *m)
{
	if (j->r < 0) {
		log_error("%s: %s", rpc_call_method(j->call), err_text(&j->e, j->r));
		rpc_call_fail(j->call, &j->e);
	} else {
		rpc_call_reply(j->call, m);
	}
	free(j->result);
}

static void get_done(struct job *j)
{
	Grpc__GetIPTablesResponse response = GRPC__GET_IPTABLES_RESPONSE__INIT;

	response.data.data = j->result;
	response.data.len = (size_t)j->number;
	reply(j, &response.base);
}

static void set_done(struct job *j)
{
	Grpc__SetIPTablesResponse response = GRPC__SET_IPTABLES_RESPONSE__INIT;

	response.data.data = j->result;
	response.data.len = (size_t)j->number;
	reply(j, &response.base);
}

void network_get_iptables(void *ctx, struct rpc_call *call)
{
	start(ctx, call, get_work, get_done);
}

void network_set_iptables(void *ctx, struct rpc_call *call)
{
	start(ctx, call, set_work, set_done);
}
