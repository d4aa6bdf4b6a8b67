/* SPDX-License-Identifier: Apache-2.0 */
#include "io/tool.h"

#include "base/clock.h"
#include "base/fd.h"
#include "io/child.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>

/* Of a complaint, as much as people read. */
#define COMPLAINT_MAX 512

struct tool {
	const struct tool_spec *spec;
	struct child child;
	int in, out, errout; /* our ends; closed when done with */
	const char *input;
	size_t input_len;
	struct buf *output;
	size_t room; /* bytes that it may still print */
	char complaint[COMPLAINT_MAX];
	size_t complaint_len;
	bool too_much;
};

static void tool_deinit(struct tool *t)
{
	child_destroy(&t->child);
	(void)close_fd(t->in);
	(void)close_fd(t->out);
	(void)close_fd(t->errout);
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

static int spawn(struct tool *t, struct err *e)
{
	_cleanup_close_ int in = -EBADF, out = -EBADF, errout = -EBADF;
	struct child_spec spec = CHILD_SPEC_INIT;

	int r = make_pipe(true, &in, &t->in, e);
	if (r == 0)
		r = make_pipe(false, &out, &t->out, e);
	if (r == 0)
		r = make_pipe(false, &errout, &t->errout, e);
	if (r < 0)
		return r;
	spec.argv = t->spec->argv;
	spec.envp = t->spec->envp;
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
	char chunk[16384];

	ssize_t n = read(t->out, chunk, sizeof chunk);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	t->too_much |= n > 0 && (size_t)n > t->room;
	if (n <= 0 || t->too_much) {
		t->out = close_fd(t->out);
		return;
	}
	t->room -= (size_t)n;
	buf_append(t->output, chunk, (size_t)n);
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
		return err_set(e, r, "it did not end within %llu ms",
			       (unsigned long long)t->spec->timeout_ms);
	if (r < 0)
		return r;
	if (t->too_much)
		return err_set(e, -EMSGSIZE, "it says more than %zu bytes", t->spec->output_max);
	if (buf_failed(t->output))
		return err_set(e, -ENOMEM, "no memory for what it says");
	if (status) {
		(void)err_status(e, STATUS_INTERNAL, "it failed with status %d: %s", status,
				 complaint(t));
		return -EIO;
	}
	return 0;
}

int tool_run(const struct tool_spec *spec, struct buf *ret, struct err *e)
{
	uint64_t deadline = time_deadline(spec->timeout_ms);
	struct tool t = {.spec = spec,
			 .child = CHILD_INIT,
			 .in = -EBADF,
			 .out = -EBADF,
			 .errout = -EBADF,
			 .input = spec->input,
			 .input_len = spec->input_len,
			 .output = ret,
			 .room = spec->output_max};

	int r = spawn(&t, e);
	if (r == 0)
		r = finish(&t, deadline, e);
	tool_deinit(&t);
	return r < 0 ? err_wrap(e, r, "%s", spec->argv[0]) : 0;
}
