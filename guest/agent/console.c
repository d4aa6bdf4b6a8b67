/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/console.h"

#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "guest/agent/flow.h"
#include "guest/agent/host.h"
#include "io/child.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

#define CONSOLE "/dev/console"
/* Before the next shell on the console, and before the next attempt to accept. */
#define PAUSE_MS 1000

struct console {
	struct loop *loop;
	const char *shell;
	int fd; /* the listener, or -EBADF: the shell is on the machine's console */
	struct loop_io *io;
	struct loop_timer *again;
	struct list sessions;
	unsigned n_sessions;
	struct child child; /* on the machine's console */
	struct loop_io *child_io;
};

struct session {
	struct list link;
	struct console *console;
	struct child child;
	struct stream_out from; /* the terminal's master */
	struct stream_in to;	/* the same, by another descriptor */
	struct flow_out *out;
	struct flow_in *in;
	struct loop_timer *retype;
};

/* The first that is there; the one of the field's development extension is preferred. */
static const char *find_shell(void)
{
	static const char *const shells[] = {"/run/kata-extensions/devkit/bin/devkit-sh",
					     "/bin/bash", "/bin/sh"};

	for (size_t i = 0; i < ARRAY_SIZE(shells); i++)
		if (access(shells[i], X_OK) == 0)
			return shells[i];
	return NULL;
}

static int start_shell(const struct console *c, int tty, struct child *ret, struct err *e)
{
	const char *argv[] = {c->shell, "-i", NULL};
	const char *envp[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			      "TERM=linux", "HOME=/", NULL};
	struct child_spec spec = CHILD_SPEC_INIT;

	spec.argv = argv;
	spec.envp = envp;
	spec.in = spec.out = spec.errout = tty;
	spec.cwd = "/";
	spec.new_session = spec.terminal = true;
	return child_spawn(&spec, ret, e);
}

/* ---- A connection --------------------------------------------------------------------------- */

static void listen_again(struct console *c)
{
	loop_io_set(c->io, c->n_sessions < CONSOLE_SESSIONS_MAX ? LOOP_READ : 0);
}

static void session_free(struct session *s)
{
	struct console *c = s->console;

	list_del(&s->link);
	c->n_sessions--;
	flow_out_free(s->out);
	flow_in_free(s->in);
	loop_timer_free(s->retype);
	stream_out_close(&s->from);
	stream_in_close(&s->to);
	child_destroy(&s->child);
	free(s);
	listen_again(c);
}

/* The shell has ended, or the client is gone. */
static void on_out_end(void *arg, int r)
{
	session_free(arg);
}

static void on_retype(void *arg)
{
	struct session *s = arg;

	stream_in_end(&s->to);
	loop_timer_start(s->retype, PAUSE_MS);
}

/*
 * A client may have no more to say and still read: the shell was told, by an end-of-file character.
 * One that is just setting up its terminal throws that away, so it is typed until the shell ends.
 */
static void on_in_end(void *arg, int r)
{
	struct session *s = arg;

	flow_in_free(TAKE_PTR(s->in));
	loop_timer_start(s->retype, PAUSE_MS);
}

/* Opens a terminal: its master, and the end for the shell. */
static int open_terminal(int *ret_master, int *ret_slave, struct err *e)
{
	const struct winsize size = {.ws_row = 24, .ws_col = 80};
	int unlock = 0;

	_cleanup_close_ int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return err_errno(e, -errno, "open a terminal");
	int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return err_errno(e, -errno, "open a terminal");
	(void)ioctl(master, TIOCSWINSZ, &size);
	*ret_master = TAKE_FD(master);
	*ret_slave = slave;
	return 0;
}

/* Consumes @fd. */
static int session_start(struct session *s, int connection, struct err *e)
{
	struct loop *loop = s->console->loop;
	_cleanup_close_ int fd = connection;
	_cleanup_close_ int master = -EBADF;
	_cleanup_close_ int slave = -EBADF;

	int r = loop_timer_new(loop, on_retype, s, &s->retype);
	if (r < 0)
		return err_errno(e, r, "start a shell");
	r = open_terminal(&master, &slave, e);
	if (r == 0)
		r = start_shell(s->console, slave, &s->child, e);
	if (r < 0)
		return r;
	/* the loop watches a descriptor once: each direction needs its own */
	_cleanup_close_ int in = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	_cleanup_close_ int writer = fcntl(master, F_DUPFD_CLOEXEC, 3);
	r = in < 0 || writer < 0 ? -errno : stream_in_init(&s->to, loop, writer, true);
	if (r == 0) {
		(void)TAKE_FD(writer);
		r = stream_out_init(&s->from, loop, master);
	}
	if (r == 0) {
		(void)TAKE_FD(master);
		r = flow_in_new(loop, in, &s->to, on_in_end, s, &s->in);
	}
	if (r == 0) {
		(void)TAKE_FD(in);
		r = flow_out_new(loop, fd, &s->from, on_out_end, s, &s->out);
	}
	if (r < 0)
		return err_errno(e, r, "connect a shell");
	(void)TAKE_FD(fd);
	return 0;
}

static void add_session(struct console *c, int fd)
{
	struct err e = ERR_INIT;

	struct session *s = calloc(1, sizeof *s);
	if (!s) {
		(void)close_fd(fd);
		return;
	}
	s->console = c;
	s->child = CHILD_INIT;
	(void)stream_out_init(&s->from, c->loop, -EBADF);
	(void)stream_in_init(&s->to, c->loop, -EBADF, true);
	list_add_tail(&c->sessions, &s->link);
	c->n_sessions++;
	int r = session_start(s, fd, &e);
	if (r < 0) {
		log_error("debug console: %s", err_text(&e, r));
		session_free(s);
	}
}

static void on_listener(void *arg, unsigned events)
{
	struct console *c = arg;

	int fd = host_accept(c->fd, "debug console", NULL);
	if (fd >= 0) {
		add_session(c, fd);
		listen_again(c);
	} else if (fd == -ENFILE) {
		loop_io_set(c->io, 0);
		loop_timer_start(c->again, PAUSE_MS);
	}
}

/* ---- The machine's console ------------------------------------------------------------------ */

static void on_shell_end(void *arg, unsigned events)
{
	struct console *c = arg;

	loop_io_free(TAKE_PTR(c->child_io));
	child_destroy(&c->child);
	loop_timer_start(c->again, PAUSE_MS);
}

static int start_on_machine(struct console *c, struct err *e)
{
	_cleanup_close_ int tty = open(CONSOLE, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (tty < 0)
		return err_errno(e, -errno, "open " CONSOLE);
	int r = start_shell(c, tty, &c->child, e);
	if (r == 0)
		r = loop_io_new(c->loop, c->child.pidfd, LOOP_READ, on_shell_end, c, &c->child_io);
	return r;
}

static void on_again(void *arg)
{
	struct console *c = arg;
	struct err e = ERR_INIT;

	if (c->io) {
		listen_again(c);
		return;
	}
	int r = start_on_machine(c, &e);
	if (r < 0)
		log_error("debug console: %s", err_text(&e, r));
}

/* ---- Both ----------------------------------------------------------------------------------- */

static int console_new(struct loop *loop, struct console **ret, struct err *e)
{
	const char *shell = find_shell();
	if (!shell)
		return err_set(e, -ENOENT, "debug console: this image has no shell");
	struct console *c = calloc(1, sizeof *c);
	if (!c)
		return err_set(e, -ENOMEM, "no memory for the debug console");
	c->loop = loop;
	c->shell = shell;
	c->fd = -EBADF;
	c->child = CHILD_INIT;
	list_init(&c->sessions);
	int r = loop_timer_new(loop, on_again, c, &c->again);
	if (r < 0) {
		console_free(c);
		return err_errno(e, r, "start the debug console");
	}
	*ret = c;
	return 0;
}

int console_listen(struct loop *loop, int fd, struct console **ret, struct err *e)
{
	struct console *c = NULL;

	int r = console_new(loop, &c, e);
	if (r < 0)
		return r;
	r = loop_io_new(loop, fd, LOOP_READ, on_listener, c, &c->io);
	if (r < 0) {
		console_free(c);
		return err_errno(e, r, "serve the debug console");
	}
	c->fd = fd;
	*ret = c;
	return 0;
}

int console_on_machine(struct loop *loop, struct console **ret, struct err *e)
{
	struct console *c = NULL;

	int r = console_new(loop, &c, e);
	if (r == 0)
		r = start_on_machine(c, e);
	if (r < 0) {
		console_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void console_free(struct console *c)
{
	if (!c)
		return;
	while (!list_empty(&c->sessions))
		session_free(list_first(&c->sessions, struct session, link));
	loop_io_free(c->child_io);
	child_destroy(&c->child);
	loop_timer_free(c->again);
	loop_io_free(c->io);
	c->fd = close_fd(c->fd);
	free(c);
}
