/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process' streams between real FIFOs, files and logging binaries on one side, and the fake agent
 * on the other. The loop runs on a thread of its own; the test is containerd and its clients.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "io/testing.h"
#include "rpc/any.h"
#include "rpc/listen.h"
#include "runtimes/process-io.h"
#include "runtimes/stdio-stream.h"
#include "tests/fakes/agent.h"

#include "proto/streaming.pb-c.h"
#include "proto/transfer.pb-c.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/testing.h"

#define PATIENCE_MS 60000
#define EXECS 4

struct stream {
	struct fixture *f;
	struct process_io *io;
	struct process_io_params params;
	sem_t opened, drained, ended;
	int r;
	struct err e;
};

struct fixture {
	char dir[64], socket[96];
	struct loop *loop;
	pthread_t thread;
	struct worker_pool *workers;
	struct fake_agent *fake;
	struct agent *agent;
	struct stream s[EXECS];

	char ours[96], theirs[96]; /* sockets with a streaming service */
	struct stdio_streams *streams;
	struct rpc_server *server, *their_server;
	struct rpc_service service, their_service;
	struct tap *incoming; /* what a stream to `theirs` becomes */
};

/* ---- Fixture --------------------------------------------------------------------------------- */

static int dial(void *arg, uint32_t port, uint64_t timeout_ms, struct err *e)
{
	struct fixture *f = arg;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(a.sun_path, sizeof a.sun_path, "%s", f->socket);
	if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

static bool no_pause(void *arg, unsigned ms)
{
	return true;
}

static void on_close(void *arg)
{
}

static void on_our_stream(void *ctx, struct rpc_stream *s)
{
	struct fixture *f = ctx;
	stdio_streams_take(f->streams, s);
}

static void on_their_stream(void *ctx, struct rpc_stream *s);

static const struct rpc_method our_methods[] = {{"Stream", NULL, on_our_stream}, {NULL}};
static const struct rpc_method their_methods[] = {{"Stream", NULL, on_their_stream}, {NULL}};

static void serve_streams(struct fixture *f, const char *path, const struct rpc_method *methods,
			  struct rpc_service *service, struct rpc_server **ret)
{
	struct err e = ERR_INIT;

	*service = (struct rpc_service){
		.name = "containerd.services.streaming.v1.Streaming",
		.desc = &containerd__services__streaming__v1__streaming__descriptor,
		.methods = methods,
		.ctx = f};
	assert_int_equal(rpc_server_new(f->loop, ret), 0);
	assert_int_equal(rpc_server_add(*ret, service), 0);
	int fd = rpc_listen_unix(path, RPC_LISTEN_REPLACE_STALE, &e);
	assert_true(fd >= 0);
	assert_int_equal(rpc_server_listen(*ret, fd), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct err e = ERR_INIT;

	*state = f;
	(void)signal(SIGPIPE, SIG_IGN);
	(void)snprintf(f->dir, sizeof f->dir, "/tmp/test-io.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->socket, sizeof f->socket, "%s/agent.sock", f->dir);
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(worker_pool_new(1, 0, &f->workers), 0);
	assert_int_equal(fake_agent_new(f->loop, f->socket, true, &f->fake), 0);
	(void)snprintf(f->ours, sizeof f->ours, "%s/shim.sock", f->dir);
	(void)snprintf(f->theirs, sizeof f->theirs, "%s/other.sock", f->dir);
	assert_int_equal(stdio_streams_new(f->loop, f->ours, &f->streams), 0);
	serve_streams(f, f->ours, our_methods, &f->service, &f->server);
	serve_streams(f, f->theirs, their_methods, &f->their_service, &f->their_server);
	assert_int_equal(testing_loop_start(f->loop, &f->thread), 0);
	const struct agent_params params = {.loop = f->loop,
					    .dial = dial,
					    .pause = no_pause,
					    .on_close = on_close,
					    .arg = f,
					    .connect_timeout_ms = PATIENCE_MS,
					    .call_timeout_ms = PATIENCE_MS};
	assert_int_equal(agent_connect(&params, &f->agent, &e), 0);
	assert_int_equal(agent_get_features(f->agent, &e), 0);
	return 0;
}

struct posted {
	void (*fn)(void *arg);
	void *arg;
	sem_t done;
};

static void run_posted(void *arg)
{
	struct posted *p = arg;
	p->fn(p->arg);
	(void)sem_post(&p->done);
}

/* Runs fn(arg) on the loop thread and waits for it. */
static void on_loop(struct fixture *f, void (*fn)(void *arg), void *arg)
{
	struct posted p = {.fn = fn, .arg = arg};

	assert_int_equal(sem_init(&p.done, 0, 0), 0);
	assert_int_equal(loop_post(f->loop, run_posted, &p), 0);
	while (sem_wait(&p.done) < 0)
		;
	(void)sem_destroy(&p.done);
}

static void free_stream(void *arg)
{
	struct stream *s = arg;
	process_io_free(TAKE_PTR(s->io));
}

static void free_agent(void *arg)
{
	struct fixture *f = arg;
	agent_free(f->agent);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < EXECS; i++)
		on_loop(f, free_stream, &f->s[i]);
	on_loop(f, free_agent, f);
	loop_stop(f->loop);
	pthread_join(f->thread, NULL);
	worker_pool_free(f->workers);
	fake_agent_free(f->fake);
	rpc_server_free(f->server);
	rpc_server_free(f->their_server);
	stdio_streams_free(f->streams);
	loop_free(f->loop);
	assert_int_equal(remove_tree(f->dir), 0);
	free(f);
	return 0;
}

static bool comes(sem_t *sem, unsigned ms)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	int r;
	while ((r = sem_timedwait(sem, &until)) < 0 && errno == EINTR)
		;
	return r == 0;
}

/* ---- A process and its streams -----------------------------------------------------------------
 */

static void call(struct fixture *f, const char *method, const void *message)
{
	struct err e = ERR_INIT;
	if (agent_call(f->agent, method, message, NULL, &e) < 0)
		fail_msg("%s: %s", method, e.text);
}

/* The guest's half: exec @id of container c does @what. It begins before anybody reads. */
static void run_in_guest(struct fixture *f, const char *id, const char *what, const char *word)
{
	Grpc__ExecProcessRequest req = GRPC__EXEC_PROCESS_REQUEST__INIT;
	Grpc__Process process = GRPC__PROCESS__INIT;
	char *args[] = {(char *)what, (char *)word};

	req.container_id = "c1";
	req.exec_id = (char *)id;
	process.args = args;
	process.n_args = 2;
	req.process = &process;
	call(f, "ExecProcess", &req);
}

static void on_drained(void *arg)
{
	struct stream *s = arg;
	(void)sem_post(&s->drained);
}

static void on_opened(void *arg, int r, const struct err *e)
{
	struct stream *s = arg;

	s->r = r;
	if (r < 0)
		s->e = *e;
	(void)sem_post(&s->opened);
}

static void open_stream(void *arg)
{
	struct stream *s = arg;

	s->e = ERR_INIT;
	s->r = process_io_new(&s->params, &s->io, &s->e);
	if (s->r < 0)
		(void)sem_post(&s->opened);
	else
		process_io_open(s->io, on_opened, s);
}

static void start_stream(void *arg)
{
	struct stream *s = arg;
	process_io_start(s->io, s->f->agent);
}

static void on_ended(void *arg)
{
	struct stream *s = arg;
	(void)sem_post(&s->ended);
}

static void end_stream(void *arg)
{
	struct stream *s = arg;
	process_io_end(s->io, on_ended, s);
}

static void close_stdin(void *arg)
{
	struct stream *s = arg;
	process_io_close_stdin(s->io);
}

/* Returns what opening said. */
static int open_io(struct fixture *f, unsigned i, const char *in, const char *out,
		   const char *errout)
{
	static const char *const ids[EXECS] = {"e0", "e1", "e2", "e3"};
	struct stream *s = &f->s[i];

	s->f = f;
	s->params = (struct process_io_params){.loop = f->loop,
					       .terminal = s->params.terminal,
					       .workers = f->workers,
					       .streams = f->streams,
					       .container_id = "c1",
					       .exec_id = ids[i],
					       .namespace = "ns1",
					       .in = in,
					       .out = out,
					       .errout = errout,
					       .on_drained = on_drained,
					       .arg = s};
	(void)sem_init(&s->opened, 0, 0);
	(void)sem_init(&s->drained, 0, 0);
	(void)sem_init(&s->ended, 0, 0);
	on_loop(f, open_stream, s);
	assert_true(comes(&s->opened, PATIENCE_MS));
	return s->r;
}

static void start(struct fixture *f, unsigned i, const char *what, const char *word)
{
	run_in_guest(f, f->s[i].params.exec_id, what, word);
	on_loop(f, start_stream, &f->s[i]);
}

static void end(struct fixture *f, unsigned i)
{
	on_loop(f, end_stream, &f->s[i]);
	assert_true(comes(&f->s[i].ended, PATIENCE_MS));
}

struct fifo {
	char path[128];
};

static struct fifo make_fifo(struct fixture *f, const char *name)
{
	struct fifo o;
	(void)snprintf(o.path, sizeof o.path, "%s/%s", f->dir, name);
	assert_int_equal(mkfifo(o.path, 0600), 0);
	return o;
}

static int open_fifo(const struct fifo *o, int flags)
{
	int fd = open(o->path, flags | O_NONBLOCK | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fd_set_nonblock(fd, false), 0);
	return fd;
}

/* Reads at most @max bytes of a flood that has come to *@at, until its end. */
static void read_flood(int fd, size_t *at, size_t max)
{
	unsigned char buf[16384];

	while (max > 0) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
		ssize_t n = read(fd, buf, max < sizeof buf ? max : sizeof buf);
		assert_true(n >= 0);
		if (n == 0)
			return;
		for (ssize_t i = 0; i < n; i++, (*at)++)
			if (buf[i] != fake_agent_byte(*at))
				fail_msg("byte %zu is wrong", *at);
		max -= (size_t)n;
	}
}

static void write_all(int fd, size_t from, size_t len)
{
	unsigned char buf[16384];

	while (len > 0) {
		size_t n = len < sizeof buf ? len : sizeof buf;
		for (size_t i = 0; i < n; i++)
			buf[i] = fake_agent_byte(from + i);
		assert_int_equal(fd_write_all(fd, buf, n), 0);
		from += n;
		len -= n;
	}
}

/* ---- FIFOs: output --------------------------------------------------------------------------- */

#define MIB (1u << 20)

static void output_waits_for_a_reader_that_comes_late(void **state)
{
	struct fixture *f = *state;
	struct fifo o = make_fifo(f, "out");
	size_t at = 0;

	assert_int_equal(open_io(f, 0, "", o.path, ""), 0);
	start(f, 0, "flood", "3145728");
	assert_false(comes(&f->s[0].drained, 200));
	int fd = open_fifo(&o, O_RDONLY);
	read_flood(fd, &at, SIZE_MAX);
	assert_int_equal(at, 3 * MIB);
	close(fd);
	assert_true(comes(&f->s[0].drained, PATIENCE_MS));
	end(f, 0);
}

static void a_reader_may_go_and_come_back(void **state)
{
	struct fixture *f = *state;
	struct fifo o = make_fifo(f, "out");
	size_t at = 0;

	assert_int_equal(open_io(f, 0, "", o.path, ""), 0);
	start(f, 0, "flood", "3145728");
	for (unsigned i = 0; i < 5; i++) {
		int fd = open_fifo(&o, O_RDONLY);
		read_flood(fd, &at, 300001);
		close(fd);
	}
	assert_int_equal(at, 5 * 300001);
	int fd = open_fifo(&o, O_RDONLY);
	read_flood(fd, &at, SIZE_MAX);
	assert_int_equal(at, 3 * MIB);
	close(fd);
	end(f, 0);
}

static void a_short_output_outlives_its_writer(void **state)
{
	struct fixture *f = *state;
	struct fifo o = make_fifo(f, "out");
	char text[32];

	assert_int_equal(open_io(f, 0, "", o.path, ""), 0);
	start(f, 0, "print", "the last byte");
	assert_true(comes(&f->s[0].drained, PATIENCE_MS));
	int fd = open_fifo(&o, O_RDONLY); /* the first reader, after the end, before the deletion */
	assert_int_equal(read(fd, text, sizeof text), 13);
	assert_memory_equal(text, "the last byte", 13);
	assert_int_equal(read(fd, text, sizeof text), 0);
	close(fd);
	end(f, 0);
}

static void a_reader_that_never_comes_delays_only_the_deletion(void **state)
{
	struct fixture *f = *state;
	struct fifo o = make_fifo(f, "out");

	assert_int_equal(open_io(f, 0, "", o.path, ""), 0);
	start(f, 0, "flood", "3145728");
	uint64_t before = time_now_ms();
	end(f, 0);
	assert_true(time_now_ms() - before < 30000);
	/* one reply was held, and nothing more was asked for */
	assert_int_equal(fake_agent_calls(f->fake, "ReadStdout"), 1);
}

static void a_slow_reader_is_waited_for_while_it_reads(void **state)
{
	struct fixture *f = *state;
	struct fifo o = make_fifo(f, "out");
	size_t at = 0;

	assert_int_equal(open_io(f, 0, "", o.path, ""), 0);
	start(f, 0, "flood", "2097152");
	int fd = open_fifo(&o, O_RDONLY);
	on_loop(f, end_stream, &f->s[0]);
	/* longer in total than it may pause once */
	for (unsigned i = 0; i < 3; i++) {
		assert_false(comes(&f->s[0].ended, 900));
		read_flood(fd, &at, 400000);
	}
	read_flood(fd, &at, SIZE_MAX);
	assert_int_equal(at, 2 * MIB);
	assert_true(comes(&f->s[0].ended, PATIENCE_MS));
	close(fd);
}

static void full_pipes_stop_only_their_own_process(void **state)
{
	struct fixture *f = *state;
	struct fifo o[EXECS];
	char name[8];
	size_t at = 0;

	for (unsigned i = 0; i < EXECS; i++) {
		(void)snprintf(name, sizeof name, "o%u", i);
		o[i] = make_fifo(f, name);
		assert_int_equal(open_io(f, i, "", o[i].path, ""), 0);
		start(f, i, "flood", "3145728");
	}
	int fd = open_fifo(&o[EXECS - 1], O_RDONLY);
	read_flood(fd, &at, SIZE_MAX);
	assert_int_equal(at, 3 * MIB);
	close(fd);
	assert_true(comes(&f->s[EXECS - 1].drained, PATIENCE_MS));
	for (unsigned i = 0; i + 1 < EXECS; i++)
		assert_false(comes(&f->s[i].drained, 10));
	/* and the others are whole, later */
	at = 0;
	fd = open_fifo(&o[0], O_RDONLY);
	read_flood(fd, &at, SIZE_MAX);
	assert_int_equal(at, 3 * MIB);
	close(fd);
}

static void a_stream_that_never_ends_does_not_stop_a_deletion(void **state)
{
	struct fixture *f = *state;
	struct fifo o = make_fifo(f, "out");
	char text[32];
	int fd = open_fifo(&o, O_RDONLY);

	assert_int_equal(open_io(f, 0, "", o.path, ""), 0);
	start(f, 0, "hold", "written before");
	assert_int_equal(read(fd, text, sizeof text), 14);
	end(f, 0);
	assert_int_equal(read(fd, text, sizeof text), 0); /* the reader learns of the end */
	close(fd);
}

/* ---- FIFOs: input ------------------------------------------------------------------------------
 */

static void input_from_a_writer_that_comes_late(void **state)
{
	struct fixture *f = *state;
	struct fifo in = make_fifo(f, "in"), o = make_fifo(f, "out");
	char text[32];
	int out = open_fifo(&o, O_RDONLY);

	assert_int_equal(open_io(f, 0, in.path, o.path, ""), 0);
	start(f, 0, "cat", "");
	assert_false(comes(&f->s[0].drained, 100)); /* no writer is not the end */
	for (unsigned i = 0; i < 2; i++) {
		int fd = open_fifo(&in, O_WRONLY);
		assert_int_equal(write(fd, "hello", 5), 5);
		close(fd); /* neither is one that leaves */
		assert_int_equal(read(out, text, sizeof text), 5);
	}
	on_loop(f, close_stdin, &f->s[0]);
	assert_true(comes(&f->s[0].drained, PATIENCE_MS));
	assert_int_equal(read(out, text, sizeof text), 0);
	close(out);
}

static void close_io_before_the_start_keeps_what_was_written(void **state)
{
	struct fixture *f = *state;
	struct fifo in = make_fifo(f, "in"), o = make_fifo(f, "out");
	char text[32];
	int out = open_fifo(&o, O_RDONLY);

	assert_int_equal(open_io(f, 0, in.path, o.path, ""), 0);
	int fd = open_fifo(&in, O_WRONLY);
	assert_int_equal(write(fd, "hello", 5), 5);
	on_loop(f, close_stdin, &f->s[0]);
	start(f, 0, "cat", "");
	assert_int_equal(read(out, text, sizeof text), 5);
	assert_int_equal(write(fd, "more", 4), 4); /* who still writes is still heard */
	assert_int_equal(read(out, text, sizeof text), 4);
	close(fd);
	assert_true(comes(&f->s[0].drained, PATIENCE_MS));
	close(out);
}

static void close_io_without_a_writer_is_the_end(void **state)
{
	struct fixture *f = *state;
	struct fifo in = make_fifo(f, "in");

	assert_int_equal(open_io(f, 0, in.path, "", ""), 0);
	on_loop(f, close_stdin, &f->s[0]);
	start(f, 0, "cat", "");
	assert_true(comes(&f->s[0].drained, PATIENCE_MS));
}

static void a_client_that_was_there_before_the_start_has_said_all(void **state)
{
	struct fixture *f = *state;
	struct fifo in = make_fifo(f, "in"), o = make_fifo(f, "out");
	char text[32];
	int out = open_fifo(&o, O_RDONLY);

	assert_int_equal(open_io(f, 0, in.path, o.path, ""), 0);
	int fd = open_fifo(&in, O_WRONLY);
	assert_int_equal(write(fd, "hello", 5), 5);
	close(fd);
	start(f, 0, "cat", "");
	assert_int_equal(read(out, text, sizeof text), 5);
	assert_true(comes(&f->s[0].drained, PATIENCE_MS));
	close(out);
}

struct writing {
	const struct fifo *to;
	size_t len;
};

static void *write_on_thread(void *arg)
{
	struct writing *w = arg;
	int fd = open_fifo(w->to, O_WRONLY);
	write_all(fd, 0, w->len);
	close(fd);
	return NULL;
}

static void much_input_comes_through_whole(void **state)
{
	struct fixture *f = *state;
	struct fifo in = make_fifo(f, "in"), o = make_fifo(f, "out");
	struct writing w = {&in, 8 * MIB};
	pthread_t thread;
	size_t at = 0;
	int out = open_fifo(&o, O_RDONLY);

	assert_int_equal(open_io(f, 0, in.path, o.path, ""), 0);
	start(f, 0, "cat", "");
	assert_int_equal(pthread_create(&thread, NULL, write_on_thread, &w), 0);
	read_flood(out, &at, 8 * MIB);
	pthread_join(thread, NULL);
	on_loop(f, close_stdin, &f->s[0]);
	read_flood(out, &at, SIZE_MAX);
	assert_int_equal(at, 8 * MIB);
	close(out);
}

/* Each request to the agent is a round trip: what waits goes in one. */
static void input_that_waits_goes_at_once(void **state)
{
	struct fixture *f = *state;
	struct fifo in = make_fifo(f, "in"), o = make_fifo(f, "out");
	size_t at = 0, len = 256 << 10;
	int out = open_fifo(&o, O_RDONLY);

	assert_int_equal(open_io(f, 0, in.path, o.path, ""), 0);
	int fd = open_fifo(&in, O_WRONLY);
	write_all(fd, 0, len); /* before anybody reads: the FIFO holds it */
	start(f, 0, "cat", "");
	read_flood(out, &at, len);
	assert_int_equal(at, len);
	assert_int_equal(fake_agent_calls(f->fake, "WriteStdin"), 1);
	close(fd);
	end(f, 0);
	close(out);
}

static void a_terminal_has_one_output_and_no_end_of_input(void **state)
{
	struct fixture *f = *state;
	struct fifo in = make_fifo(f, "in"), o = make_fifo(f, "out");
	char text[32];
	int out = open_fifo(&o, O_RDONLY);

	f->s[0].params.terminal = true;
	assert_int_equal(open_io(f, 0, in.path, o.path, "/not/opened"), 0);
	start(f, 0, "cat", "");
	int fd = open_fifo(&in, O_WRONLY);
	assert_int_equal(write(fd, "hello", 5), 5);
	assert_int_equal(read(out, text, sizeof text), 5);
	on_loop(f, close_stdin, &f->s[0]);
	close(fd); /* the client hangs up: the terminal does not */
	assert_false(comes(&f->s[0].drained, 200));
	assert_int_equal(fake_agent_calls(f->fake, "WriteStdin"), 1);
	assert_int_equal(fake_agent_calls(f->fake, "ReadStderr"), 0);
	end(f, 0);
	close(out);
}

/* ---- Files and logging binaries ----------------------------------------------------------------
 */

static void assert_content(const char *path, const char *want)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &b), 0);
	assert_string_equal(b.data, want);
}

static void a_file_is_made_and_appended_to(void **state)
{
	struct fixture *f = *state;
	char uri[160], path[160];
	struct stat st;
	mode_t mask = umask(022);

	(void)snprintf(uri, sizeof uri, "file://%s/a%%20b/c/log", f->dir);
	(void)snprintf(path, sizeof path, "%s/a b/c/log", f->dir);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(open_io(f, i, "", uri, uri), 0);
		start(f, i, "print", "line\n");
		assert_true(comes(&f->s[i].drained, PATIENCE_MS));
		end(f, i);
	}
	assert_content(path, "line\nline\n");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	umask(mask);
}

static void a_path_that_is_missing_is_refused(void **state)
{
	struct fixture *f = *state;
	char path[160];

	(void)snprintf(path, sizeof path, "%s/nope", f->dir);
	assert_int_equal(open_io(f, 0, "", path, ""), -ENOENT);
	assert_non_null(strstr(f->s[0].e.text, "stdout"));
	assert_non_null(strstr(f->s[0].e.text, path));
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(open_io(f, 1, path, "", ""), -ENOENT);
	assert_int_equal(open_io(f, 2, "", "gopher://x", ""), -EOPNOTSUPP);
	assert_int_equal(open_io(f, 3, "", "", "binary:///bin/true"), -EINVAL);
}

static const char *make_logger(struct fixture *f, const char *script, char *uri, size_t size)
{
	char path[128], text[512];

	(void)snprintf(path, sizeof path, "%s/logger", f->dir);
	int n = snprintf(text, sizeof text, "#!/bin/sh\ncd %s\n%s\n", f->dir, script);
	assert_int_equal(file_replace(path, text, (size_t)n, 0755), 0);
	(void)snprintf(uri, size, "binary://%s?k=v", path);
	return uri;
}

static void a_logging_binary_gets_all_and_is_waited_for(void **state)
{
	struct fixture *f = *state;
	char uri[160], path[160];

	make_logger(f,
		    "exec 5>&-\necho \"$1 $2 $CONTAINER_ID $CONTAINER_NAMESPACE\" >log\n"
		    "cat <&3 >>log\nsleep 0.3\necho . >>log",
		    uri, sizeof uri);
	assert_int_equal(open_io(f, 0, "", uri, uri), 0);
	start(f, 0, "print", "output");
	assert_true(comes(&f->s[0].drained, PATIENCE_MS));
	end(f, 0);
	(void)snprintf(path, sizeof path, "%s/log", f->dir);
	assert_content(path, "k v e0 ns1\noutput.\n");
}

static void a_logging_binary_takes_input_from_elsewhere(void **state)
{
	struct fixture *f = *state;
	struct fifo in = make_fifo(f, "in");
	char uri[160], path[160];

	make_logger(f, "exec 5>&-\ncat <&3 >log", uri, sizeof uri);
	assert_int_equal(open_io(f, 0, in.path, uri, ""), 0);
	int fd = open_fifo(&in, O_WRONLY);
	assert_int_equal(write(fd, "hello", 5), 5);
	close(fd);
	start(f, 0, "cat", "");
	assert_true(comes(&f->s[0].drained, PATIENCE_MS));
	end(f, 0);
	(void)snprintf(path, sizeof path, "%s/log", f->dir);
	assert_content(path, "hello");
}

static void a_logging_binary_that_fails_is_told_at_the_opening(void **state)
{
	struct fixture *f = *state;
	char uri[160];

	make_logger(f, "exit 3", uri, sizeof uri);
	assert_true(open_io(f, 0, "", uri, uri) < 0);
	assert_non_null(strstr(f->s[0].e.text, "ended with 3 before it was ready"));
	assert_int_equal(open_io(f, 1, "", "binary:///no/such/logger", ""), -ENOENT);
	assert_non_null(strstr(f->s[1].e.text, "/no/such/logger"));
}

static void a_logging_binary_that_dies_stops_no_process(void **state)
{
	struct fixture *f = *state;
	char uri[160];

	make_logger(f, "exec 5>&-\nexit 0", uri, sizeof uri);
	int r = open_io(f, 0, "", uri, uri);
	if (r < 0) /* its end was seen first */
		return;
	start(f, 0, "flood", "3145728");
	assert_true(comes(&f->s[0].drained, PATIENCE_MS));
	end(f, 0);
}

/* ---- Streams -----------------------------------------------------------------------------------
 */

/* containerd's end of a stream; all of it is the loop's. */
struct tap {
	struct fixture *f;
	const char *id;
	struct rpc_client *client; /* NULL: it came to `theirs` */
	struct rpc_stream *s;
	bool accepts;  /* acknowledges; else refuses */
	bool told;     /* acknowledged, or named */
	bool generous; /* grants whatever is sent */
	int64_t granted, credit;
	size_t got;
	bool wrong;
	unsigned ends;
	int status;
	char text[256];
};

static void tap_send(struct tap *t, const ProtobufCMessage *m)
{
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	assert_int_equal(rpc_any_pack(&any, m, NULL), 0);
	(void)rpc_stream_send(t->s, &any.base);
	rpc_any_clear(&any);
}

static void tap_grant(struct tap *t, int32_t n)
{
	Containerd__Types__Transfer__WindowUpdate m =
		CONTAINERD__TYPES__TRANSFER__WINDOW_UPDATE__INIT;
	m.update = n;
	t->granted += n;
	tap_send(t, &m.base);
}

static void tap_told(struct tap *t)
{
	t->told = true;
	if (t->generous)
		tap_grant(t, 65536);
}

static void tap_took(struct tap *t, const ProtobufCBinaryData *d)
{
	for (size_t i = 0; i < d->len; i++)
		t->wrong |= d->data[i] != fake_agent_byte(t->got + i);
	t->got += d->len;
	t->wrong |= (int64_t)d->len > t->granted;
	t->granted -= (int64_t)d->len;
	if (t->generous && t->granted < 65536)
		tap_grant(t, 65536);
}

static void tap_message(void *arg, const ProtobufCMessage *m)
{
	struct tap *t = arg;
	const Google__Protobuf__Any *any = (const void *)m;
	ProtobufCMessage *body;
	const Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;

	if (!t->told) {
		if (!t->client && !t->accepts) {
			rpc_stream_fail(t->s, STATUS_NOT_FOUND, "no such stream here");
			return;
		}
		if (!t->client)
			tap_send(t, &empty.base);
		tap_told(t);
	} else if ((body = rpc_any_unpack(
			    any, &containerd__types__transfer__window_update__descriptor))) {
		t->credit += ((Containerd__Types__Transfer__WindowUpdate *)body)->update;
		protobuf_c_message_free_unpacked(body, NULL);
	} else if ((body = rpc_any_unpack(any, &containerd__types__transfer__data__descriptor))) {
		tap_took(t, &((Containerd__Types__Transfer__Data *)body)->data);
		protobuf_c_message_free_unpacked(body, NULL);
	}
}

static void tap_ended(void *arg, int r, const struct err *e)
{
	struct tap *t = arg;
	t->ends++;
	t->status = r < 0 ? e->status : STATUS_OK;
	if (r < 0)
		(void)snprintf(t->text, sizeof t->text, "%.255s", e->text);
}

static const struct rpc_stream_ops tap_ops = {tap_message, tap_ended, NULL};

static void on_their_stream(void *ctx, struct rpc_stream *s)
{
	struct fixture *f = ctx;
	assert_non_null(f->incoming);
	f->incoming->s = s;
	rpc_stream_accept(s, &tap_ops, f->incoming);
}

static void tap_open(void *arg)
{
	struct tap *t = arg;
	struct err e = ERR_INIT;
	const struct rpc_request req = {
		.service = &containerd__services__streaming__v1__streaming__descriptor,
		.method = "Stream"};
	Containerd__Services__Streaming__V1__StreamInit init =
		CONTAINERD__SERVICES__STREAMING__V1__STREAM_INIT__INIT;
	int fd = rpc_connect_unix(t->f->ours, 0, &e);

	t->told = false;
	t->ends = 0;
	t->granted = t->credit = 0;
	assert_true(fd >= 0);
	assert_int_equal(rpc_client_new(t->f->loop, fd, NULL, NULL, &t->client), 0);
	assert_int_equal(rpc_client_open(t->client, &req, &tap_ops, t, &t->s, &e), 0);
	init.id = (char *)t->id;
	tap_send(t, &init.base);
}

static void tap_drop(void *arg)
{
	struct tap *t = arg;
	rpc_stream_free(TAKE_PTR(t->s));
	rpc_client_free(TAKE_PTR(t->client));
}

/* As a containerd that dies: no word about the stream. */
static void tap_break(void *arg)
{
	struct tap *t = arg;
	rpc_client_free(TAKE_PTR(t->client));
	rpc_stream_free(TAKE_PTR(t->s));
}

static void tap_grant_some(void *arg)
{
	tap_grant(arg, 100000);
}

struct tap_bytes {
	struct tap *t;
	size_t len;
};

static void tap_write(void *arg)
{
	const struct tap_bytes *w = arg;
	Containerd__Types__Transfer__Data m = CONTAINERD__TYPES__TRANSFER__DATA__INIT;

	m.data.data = malloc(w->len);
	for (size_t i = 0; i < w->len; i++)
		m.data.data[i] = fake_agent_byte(i);
	m.data.len = w->len;
	w->t->credit -= (int64_t)w->len;
	tap_send(w->t, &m.base);
	free(m.data.data);
}

static void tap_close(void *arg)
{
	const struct tap *t = arg;
	rpc_stream_close(t->s);
}

struct tap_look {
	const struct tap *t;
	struct tap seen;
};

static void tap_copy(void *arg)
{
	struct tap_look *l = arg;
	l->seen = *l->t;
}

static struct tap look(const struct tap *t)
{
	struct tap_look l = {.t = t};
	on_loop(t->f, tap_copy, &l);
	return l.seen;
}

#define UNTIL(t, condition)                                                     \
	do {                                                                    \
		uint64_t until_ = time_deadline(PATIENCE_MS);                   \
		for (struct tap seen = look(t); !(condition); seen = look(t)) { \
			assert_true(time_left_ms(until_) > 0);                  \
			(void)poll(NULL, 0, 5);                                 \
		}                                                               \
	} while (0)

static const char *stream_uri(const char *socket, const char *id, char *uri, size_t size)
{
	(void)snprintf(uri, size, "ttrpc+unix://%s?streaming_id=%s", socket, id);
	return uri;
}

static void a_stream_takes_the_output_and_its_end(void **state)
{
	struct fixture *f = *state;
	struct tap t = {.f = f, .id = "e0-stdout", .generous = true};
	char uri[256];

	on_loop(f, tap_open, &t);
	UNTIL(&t, seen.told);
	assert_int_equal(open_io(f, 0, "", stream_uri(f->ours, t.id, uri, sizeof uri), ""), 0);
	start(f, 0, "flood", "3145728");
	UNTIL(&t, seen.ends);
	assert_int_equal(t.got, 3 * MIB);
	assert_false(t.wrong);
	assert_int_equal(t.status, STATUS_OK);
	on_loop(f, tap_drop, &t);
	end(f, 0);
}

static void a_stream_that_is_opened_again_goes_on_where_it_was(void **state)
{
	struct fixture *f = *state;
	struct tap t = {.f = f, .id = "e0-stdout"};
	char uri[256];

	assert_int_equal(open_io(f, 0, "", stream_uri(f->ours, t.id, uri, sizeof uri), ""), 0);
	start(f, 0, "flood", "3145728");
	for (size_t i = 1; i <= 5; i++) {
		on_loop(f, tap_open, &t);
		UNTIL(&t, seen.told);
		on_loop(f, tap_grant_some, &t);
		UNTIL(&t, seen.got == i * 100000);
		on_loop(f, i % 2 ? tap_break : tap_drop, &t);
	}
	assert_false(comes(&f->s[0].drained, 50));
	t.generous = true;
	on_loop(f, tap_open, &t);
	UNTIL(&t, seen.ends);
	assert_int_equal(t.got, 3 * MIB);
	assert_false(t.wrong);
	on_loop(f, tap_drop, &t);
}

static void the_latest_stream_of_an_id_is_the_one(void **state)
{
	struct fixture *f = *state;
	struct tap first = {.f = f, .id = "e0-stdout"}, second = first;
	char uri[256];

	assert_int_equal(open_io(f, 0, "", stream_uri(f->ours, "e0-stdout", uri, sizeof uri), ""),
			 0);
	on_loop(f, tap_open, &first);
	UNTIL(&first, seen.told);
	second.generous = true;
	on_loop(f, tap_open, &second);
	UNTIL(&first, seen.ends);
	assert_int_equal(first.status, STATUS_ABORTED);
	start(f, 0, "flood", "100000");
	UNTIL(&second, seen.ends);
	assert_int_equal(second.got, 100000);
	on_loop(f, tap_drop, &first);
	on_loop(f, tap_drop, &second);
	/* and a second process cannot have it */
	assert_int_equal(open_io(f, 1, "", uri, ""), -EEXIST);
}

static void a_stream_that_nobody_reads_does_not_stop_a_deletion(void **state)
{
	struct fixture *f = *state;
	char uri[256];

	assert_int_equal(open_io(f, 0, "", stream_uri(f->ours, "e0-stdout", uri, sizeof uri), ""),
			 0);
	start(f, 0, "flood", "3145728");
	end(f, 0);
	assert_int_equal(fake_agent_calls(f->fake, "ReadStdout"), 1);
}

static void a_stream_gives_input_within_its_window(void **state)
{
	struct fixture *f = *state;
	struct tap t = {.f = f, .id = "e0-stdin"};
	struct tap_bytes w = {&t, 40000};
	struct fifo o = make_fifo(f, "out");
	int out = open_fifo(&o, O_RDONLY);
	char uri[256];
	unsigned char buf[40000];

	on_loop(f, tap_open, &t);
	UNTIL(&t, seen.told);
	assert_int_equal(look(&t).credit, 0); /* nobody has asked for it yet */
	assert_int_equal(open_io(f, 0, stream_uri(f->ours, t.id, uri, sizeof uri), o.path, ""), 0);
	UNTIL(&t, seen.credit == STDIO_WINDOW);
	start(f, 0, "cat", "");
	for (unsigned i = 0; i < 20; i++) {
		UNTIL(&t, seen.credit >= 40000);
		on_loop(f, tap_write, &w);
		for (size_t n = 0; n < sizeof buf;) {
			ssize_t got = read(out, buf + n, sizeof buf - n);
			assert_true(got > 0);
			n += (size_t)got;
		}
		for (size_t k = 0; k < sizeof buf; k++)
			assert_int_equal(buf[k], fake_agent_byte(k));
	}
	on_loop(f, tap_break, &t); /* lost is not ended */
	assert_false(comes(&f->s[0].drained, 100));
	on_loop(f, tap_open, &t);
	UNTIL(&t, seen.credit == STDIO_WINDOW);
	w.len = 7;
	on_loop(f, tap_write, &w);
	on_loop(f, close_stdin, &f->s[0]); /* who is there may still write */
	on_loop(f, tap_write, &w);
	on_loop(f, tap_close, &t);
	assert_true(comes(&f->s[0].drained, PATIENCE_MS));
	assert_int_equal(read(out, buf, sizeof buf), 14);
	on_loop(f, tap_drop, &t);
	close(out);
}

static void close_io_ends_the_input_that_no_stream_gives(void **state)
{
	struct fixture *f = *state;
	char uri[256];

	assert_int_equal(open_io(f, 0, stream_uri(f->ours, "e0-stdin", uri, sizeof uri), "", ""),
			 0);
	start(f, 0, "cat", "");
	assert_false(comes(&f->s[0].drained, 100));
	on_loop(f, close_stdin, &f->s[0]);
	assert_true(comes(&f->s[0].drained, PATIENCE_MS));
}

static void what_was_not_granted_is_refused(void **state)
{
	struct fixture *f = *state;
	struct tap t = {.f = f, .id = "e0-stdin"};
	struct tap_bytes w = {&t, STDIO_WINDOW + 1};
	char uri[256];

	on_loop(f, tap_open, &t);
	UNTIL(&t, seen.told);
	on_loop(f, tap_write, &w); /* before anybody asked */
	UNTIL(&t, seen.ends);
	assert_int_equal(t.status, STATUS_RESOURCE_EXHAUSTED);
	on_loop(f, tap_drop, &t);
	assert_int_equal(open_io(f, 0, stream_uri(f->ours, t.id, uri, sizeof uri), "", ""), 0);
	on_loop(f, tap_open, &t);
	UNTIL(&t, seen.credit == STDIO_WINDOW);
	on_loop(f, tap_write, &w);
	UNTIL(&t, seen.ends);
	assert_int_equal(t.status, STATUS_RESOURCE_EXHAUSTED);
	on_loop(f, tap_drop, &t);
	/* the next one is as good as ever */
	on_loop(f, tap_open, &t);
	UNTIL(&t, seen.credit == STDIO_WINDOW);
	on_loop(f, tap_drop, &t);
	t.id = "";
	on_loop(f, tap_open, &t);
	UNTIL(&t, seen.ends);
	assert_int_equal(t.status, STATUS_INVALID_ARGUMENT);
	on_loop(f, tap_drop, &t);
}

static void a_stream_at_another_socket_is_opened_there(void **state)
{
	struct fixture *f = *state;
	struct tap t = {.f = f, .accepts = true, .generous = true};
	char uri[256];

	f->incoming = &t;
	assert_int_equal(open_io(f, 0, "", stream_uri(f->theirs, "x", uri, sizeof uri), ""), 0);
	start(f, 0, "flood", "3145728");
	UNTIL(&t, seen.ends);
	assert_int_equal(t.got, 3 * MIB);
	assert_false(t.wrong);
	assert_int_equal(t.status, STATUS_OK);
	on_loop(f, tap_drop, &t);
	end(f, 0);
}

static void a_stream_that_another_refuses_fails_the_opening(void **state)
{
	struct fixture *f = *state;
	struct tap t = {.f = f};
	char uri[256];

	f->incoming = &t;
	assert_int_equal(open_io(f, 0, "", stream_uri(f->theirs, "x", uri, sizeof uri), ""),
			 -ENOENT);
	assert_non_null(strstr(f->s[0].e.text, "no such stream here"));
	on_loop(f, tap_drop, &t);
	assert_int_equal(open_io(f, 1, "", stream_uri("/no/socket", "x", uri, sizeof uri), ""),
			 -ENOENT);
	assert_non_null(strstr(f->s[1].e.text, "/no/socket"));
}

static void a_lost_stream_at_another_socket_stops_no_process(void **state)
{
	struct fixture *f = *state;
	struct tap t = {.f = f, .accepts = true};
	char uri[256];

	f->incoming = &t;
	assert_int_equal(open_io(f, 0, "", stream_uri(f->theirs, "x", uri, sizeof uri), ""), 0);
	start(f, 0, "flood", "3145728");
	on_loop(f, tap_drop, &t);
	assert_true(comes(&f->s[0].drained, PATIENCE_MS));
	end(f, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(output_waits_for_a_reader_that_comes_late),
		TEST(a_reader_may_go_and_come_back),
		TEST(a_short_output_outlives_its_writer),
		TEST(a_reader_that_never_comes_delays_only_the_deletion),
		TEST(a_slow_reader_is_waited_for_while_it_reads),
		TEST(full_pipes_stop_only_their_own_process),
		TEST(a_stream_that_never_ends_does_not_stop_a_deletion),
		TEST(input_from_a_writer_that_comes_late),
		TEST(close_io_before_the_start_keeps_what_was_written),
		TEST(close_io_without_a_writer_is_the_end),
		TEST(a_client_that_was_there_before_the_start_has_said_all),
		TEST(much_input_comes_through_whole),
		TEST(input_that_waits_goes_at_once),
		TEST(a_terminal_has_one_output_and_no_end_of_input),
		TEST(a_file_is_made_and_appended_to),
		TEST(a_path_that_is_missing_is_refused),
		TEST(a_logging_binary_gets_all_and_is_waited_for),
		TEST(a_logging_binary_takes_input_from_elsewhere),
		TEST(a_logging_binary_that_fails_is_told_at_the_opening),
		TEST(a_logging_binary_that_dies_stops_no_process),
		TEST(a_stream_takes_the_output_and_its_end),
		TEST(a_stream_that_is_opened_again_goes_on_where_it_was),
		TEST(the_latest_stream_of_an_id_is_the_one),
		TEST(a_stream_that_nobody_reads_does_not_stop_a_deletion),
		TEST(a_stream_gives_input_within_its_window),
		TEST(close_io_ends_the_input_that_no_stream_gives),
		TEST(what_was_not_granted_is_refused),
		TEST(a_stream_at_another_socket_is_opened_there),
		TEST(a_stream_that_another_refuses_fails_the_opening),
		TEST(a_lost_stream_at_another_socket_stops_no_process),
	};
	log_set_level(LOG_ERROR);
	return RUN_TESTS();
}
