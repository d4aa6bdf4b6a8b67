/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stdio costs by requests and by streams (passfd.h), interleaved, in a guest that QEMU
 * emulates:
 *
 *	bench-stdio IMAGE_DIR VSOCK_PROXY [ROUNDS [MIB]]
 *
 *	out	a process writes MIB of zeroes, a pipe at the host gets them
 *	in	a process reads MIB of zeroes, a pipe at the host has them
 *	echo	a line goes to cat and back, ECHOES times
 *	start	a process starts, says a word and ends, STARTS times; its streams are opened before
 *
 * The host's end is what the shim does: one request outstanding in each direction, reads of 1 MiB,
 * writes of 256 KiB. Each line of JSON is a run: wall time, and the CPU time of the thread that
 * copies, of the vsock device, of the machine and of the agent in it, all in ms. Needs root.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/test-client.h"
#include "guest/agent/test-machine.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define STREAM_PORT 1027
#define READ_BYTES (1u << 20)
#define PIPE_BYTES (64u << 10)
#define WRITE_BYTES (256u << 10)
#define ECHOES 200
#define STARTS 20

static struct fixture f;
static struct machine vm = MACHINE_INIT;
static pid_t proxy_pid, vmm_pid;
static char exec_id[16]; /* of the process that is measured */
static unsigned mib = 200;

static void expect(bool ok, const char *what)
{
	if (ok)
		return;
	(void)fprintf(stderr, "bench-stdio: %s failed\n", what);
	exit(1);
}

/* ---- Clocks -------------------------------------------------------------------------------- */

static double clock_ms(clockid_t clock)
{
	struct timespec t;
	expect(clock_gettime(clock, &t) == 0, "reading a clock");
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double process_ms(pid_t pid)
{
	clockid_t clock;
	expect(clock_getcpuclockid(pid, &clock) == 0, "finding a clock");
	return clock_ms(clock);
}

static double agent_ms(void)
{
	Grpc__GetMetricsRequest q = GRPC__GET_METRICS_REQUEST__INIT;
	Grpc__Metrics *metrics = NULL;

	expect(call(&f, "GetMetrics", &q.base, &metrics, NULL) == STATUS_OK, "GetMetrics");
	const char *at = strstr(metrics->metrics, "\nkata_agent_total_time ");
	expect(at, "kata_agent_total_time");
	double s = strtod(strchr(at, ' '), NULL);
	grpc__metrics__free_unpacked(metrics, NULL);
	return s * 1e3;
}

static pid_t child_of(pid_t pid)
{
	char path[64], text[64] = "";

	(void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
	FILE *file = fopen(path, "re");
	expect(file && fgets(text, sizeof text, file), path);
	(void)fclose(file);
	return (pid_t)strtol(text, NULL, 10);
}

/* ---- The pipe's other side ----------------------------------------------------------------- */

static void *empty(void *arg)
{
	static char data[PIPE_BYTES];
	while (read(*(int *)arg, data, sizeof data) > 0)
		;
	return NULL;
}

static void *fill(void *arg)
{
	static const char data[PIPE_BYTES];
	for (size_t left = (size_t)mib << 20; left > 0; left -= sizeof data)
		expect(fd_write_all(*(int *)arg, data, sizeof data) == 0, "filling a pipe");
	(void)close(*(int *)arg);
	return NULL;
}

/* ---- Requests ------------------------------------------------------------------------------ */

struct copy {
	int pipe;
	size_t total;
	double cpu;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool done;
};

static void tell_done(struct copy *c)
{
	c->cpu += clock_ms(CLOCK_THREAD_CPUTIME_ID);
	pthread_mutex_lock(&c->lock);
	c->done = true;
	pthread_cond_signal(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

static void start_request(const char *method, const ProtobufCMessage *m, rpc_done_fn done,
			  void *arg)
{
	const struct rpc_request req = {
		.service = &grpc__agent_service__descriptor, .method = method, .message = m};
	expect(rpc_client_start(f.client, &req, done, arg, NULL) == 0, method);
}

static void on_read(void *arg, int r, ProtobufCMessage *m, const struct err *e);

static void read_more(void *arg)
{
	Grpc__ReadStreamRequest q = GRPC__READ_STREAM_REQUEST__INIT;

	q.container_id = (char *)"bench";
	q.exec_id = exec_id;
	q.len = READ_BYTES;
	start_request("ReadStdout", &q.base, on_read, arg);
}

static void on_read(void *arg, int r, ProtobufCMessage *m, const struct err *e)
{
	struct copy *c = arg;
	const Grpc__ReadStreamResponse *response = (Grpc__ReadStreamResponse *)m;
	size_t len = r == 0 ? response->data.len : 0;

	if (len > 0)
		expect(fd_write_all(c->pipe, response->data.data, len) == 0, "writing to a pipe");
	c->total += len;
	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
	if (len > 0)
		read_more(c);
	else
		tell_done(c);
}

static void on_written(void *arg, int r, ProtobufCMessage *m, const struct err *e);

static void write_more(void *arg)
{
	static uint8_t data[WRITE_BYTES];
	struct copy *c = arg;
	Grpc__WriteStreamRequest q = GRPC__WRITE_STREAM_REQUEST__INIT;

	ssize_t n = read(c->pipe, data, sizeof data);
	expect(n >= 0, "reading a pipe");
	c->total += (size_t)n;
	c->done = n == 0;
	q.container_id = (char *)"bench";
	q.exec_id = exec_id;
	q.data.data = data;
	q.data.len = (size_t)n;
	start_request("WriteStdin", &q.base, on_written, arg);
}

static void on_written(void *arg, int r, ProtobufCMessage *m, const struct err *e)
{
	struct copy *c = arg;

	expect(r == 0, "WriteStdin");
	protobuf_c_message_free_unpacked(m, NULL);
	if (c->done)
		tell_done(c);
	else
		write_more(c);
}

static void begin_out(void *arg)
{
	((struct copy *)arg)->cpu = -clock_ms(CLOCK_THREAD_CPUTIME_ID);
	read_more(arg);
}

static void begin_in(void *arg)
{
	((struct copy *)arg)->cpu = -clock_ms(CLOCK_THREAD_CPUTIME_ID);
	write_more(arg);
}

static void by_requests(struct copy *c, bool out)
{
	expect(loop_post(f.loop, out ? begin_out : begin_in, c) == 0, "loop_post");
	pthread_mutex_lock(&c->lock);
	while (!c->done || c->cpu < 0)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

/* ---- Streams ------------------------------------------------------------------------------- */

/* Waits as the loop does. */
static ssize_t read_soon(int fd, void *data, size_t size)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	expect(poll(&p, 1, 60000) == 1, "waiting for a stream");
	ssize_t n = read(fd, data, size);
	expect(n >= 0, "reading");
	return n;
}

static void by_stream(struct copy *c, int from, int to)
{
	static char data[PIPE_BYTES];
	ssize_t n;

	c->cpu = -clock_ms(CLOCK_THREAD_CPUTIME_ID);
	while ((n = read_soon(from, data, sizeof data)) > 0) {
		expect(fd_write_all(to, data, (size_t)n) == 0, "writing");
		c->total += (size_t)n;
	}
	c->cpu += clock_ms(CLOCK_THREAD_CPUTIME_ID);
}

/* ---- What is measured ---------------------------------------------------------------------- */

struct streams {
	int in, out;
};

static struct streams begin_process(bool stream, const char *script)
{
	static unsigned n;
	const char *argv[] = {"/bin/sh", "-c", script, NULL};
	struct streams s = {-EBADF, -EBADF};

	(void)snprintf(exec_id, sizeof exec_id, "e%u", n++);
	if (stream) {
		s.in = machine_connect_from(&vm, STREAM_PORT, &f.ports[0]);
		s.out = machine_connect_from(&vm, STREAM_PORT, &f.ports[1]);
		expect(s.in >= 0 && s.out >= 0, "opening a stream");
	}
	expect(exec(&f, "bench", exec_id, false, argv, NULL) == STATUS_OK, "ExecProcess");
	memset(f.ports, 0, sizeof f.ports);
	return s;
}

static void end_process(struct streams *s)
{
	expect(wait_process(&f, "bench", exec_id) == 0, "WaitProcess");
	s->in = close_fd(s->in);
	s->out = close_fd(s->out);
}

static double copy_bytes(bool stream, bool out)
{
	struct copy c = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	char script[96];
	int fds[2];
	pthread_t other;

	(void)snprintf(script, sizeof script,
		       out ? "dd if=/dev/zero bs=1M count=%u 2>/dev/null"
			   : "dd of=/dev/null bs=1M 2>/dev/null # %u",
		       mib);
	struct streams s = begin_process(stream, script);
	expect(pipe2(fds, O_CLOEXEC) == 0, "pipe2");
	if (!out)
		(void)fcntl(fds[0], F_SETPIPE_SZ, (int)WRITE_BYTES);
	c.pipe = fds[out ? 1 : 0];
	expect(pthread_create(&other, NULL, out ? empty : fill, &fds[out ? 0 : 1]) == 0,
	       "a thread");
	if (!stream)
		by_requests(&c, out);
	else if (out)
		by_stream(&c, s.out, c.pipe);
	else
		by_stream(&c, c.pipe, s.in);
	if (s.in >= 0)
		(void)shutdown(s.in, SHUT_WR);
	expect(c.total == (size_t)mib << 20, "copying all");
	end_process(&s);
	(void)close(c.pipe);
	pthread_join(other, NULL);
	if (out)
		(void)close(fds[0]);
	return c.cpu;
}

static double measure_out(bool stream)
{
	return copy_bytes(stream, true);
}

static double measure_in(bool stream)
{
	return copy_bytes(stream, false);
}

static double measure_echo(bool stream)
{
	static const char line[] = "a line as it is typed at a terminal\n";
	char answer[sizeof line];
	struct streams s = begin_process(stream, "cat");
	size_t len = 0;

	for (unsigned i = 0; i < ECHOES; i++) {
		if (stream) {
			expect(fd_write_all(s.in, line, sizeof line) == 0, "writing");
			len = (size_t)read_soon(s.out, answer, sizeof answer);
		} else {
			expect(write_stdin(&f, "bench", exec_id, line, sizeof line) == STATUS_OK &&
				       read_some(&f, "bench", exec_id, false, READ_BYTES, NULL,
						 &len) == STATUS_OK,
			       "a request");
		}
		expect(len == sizeof line, "an echo");
	}
	if (stream)
		(void)shutdown(s.in, SHUT_WR);
	else
		expect(write_stdin(&f, "bench", exec_id, "", 0) == STATUS_OK, "WriteStdin");
	end_process(&s);
	return 0;
}

static double measure_start(bool stream)
{
	char word[8];
	size_t len;

	for (unsigned i = 0; i < STARTS; i++) {
		struct streams s = begin_process(stream, "echo word");
		if (stream)
			len = (size_t)read_soon(s.out, word, sizeof word);
		else
			expect(read_some(&f, "bench", exec_id, false, READ_BYTES, NULL, &len) ==
				       STATUS_OK,
			       "ReadStdout");
		expect(len == 5, "a word");
		end_process(&s);
	}
	return 0;
}

static const struct measure {
	const char *name;
	double (*run)(bool stream); /* returns the copying thread's CPU time, if that is told */
} measures[] = {
	{"out", measure_out}, {"in", measure_in}, {"echo", measure_echo}, {"start", measure_start}};

static void run_once(const struct measure *m, bool stream)
{
	double agent = agent_ms(), proxy = process_ms(proxy_pid), vmm = process_ms(vmm_pid);
	double wall = clock_ms(CLOCK_MONOTONIC);
	double copy = m->run(stream);

	wall = clock_ms(CLOCK_MONOTONIC) - wall;
	proxy = process_ms(proxy_pid) - proxy;
	vmm = process_ms(vmm_pid) - vmm;
	agent = agent_ms() - agent;
	(void)printf("{\"what\": \"%s\", \"by\": \"%s\", \"wall\": %.0f, \"copy\": %.0f, "
		     "\"vsock\": %.0f, "
		     "\"machine\": %.0f, \"agent\": %.0f}\n",
		     m->name, stream ? "streams" : "requests", wall, copy, proxy, vmm, agent);
	(void)fflush(stdout);
}

/* ---- The guest ----------------------------------------------------------------------------- */

static void mount_share(void)
{
	Grpc__CreateSandboxRequest q = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	Grpc__Storage share = GRPC__STORAGE__INIT, *v[] = {&share};

	share.driver = (char *)"virtio-fs";
	share.source = (char *)"kataShared";
	share.fstype = (char *)"virtiofs";
	share.mount_point = (char *)MACHINE_SHARE;
	q.sandbox_id = (char *)"bench";
	q.storages = v;
	q.n_storages = 1;
	expect(call(&f, "CreateSandbox", &q.base, NULL, NULL) == STATUS_OK, "CreateSandbox");
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		(void)fprintf(stderr, "usage: bench-stdio IMAGE_DIR VSOCK_PROXY [ROUNDS [MIB]]\n");
		return 2;
	}
	unsigned long rounds = argc > 3 ? strtoul(argv[3], NULL, 10) : 5;
	if (argc > 4)
		mib = (unsigned)strtoul(argv[4], NULL, 10);

	fixture_files(&f);
	const struct machine_options o = {.image_dir = argv[1],
					  .proxy = argv[2],
					  .dir = f.dir,
					  .share = f.rootfs,
					  .cmdline = "agent.passfd_listener_port=1027"};
	fixture_connect(&f, machine_boot(&vm, &o));
	(void)snprintf(f.rootfs, sizeof f.rootfs, MACHINE_SHARE);
	proxy_pid = vm.vmm.pid;
	vmm_pid = child_of(proxy_pid);
	mount_share();
	run(&f, "bench", "sleep 100000");
	for (unsigned long i = 0; i < rounds; i++)
		for (size_t m = 0; m < ARRAY_SIZE(measures); m++) {
			run_once(&measures[m], false);
			run_once(&measures[m], true);
		}
	fixture_disconnect(&f);
	(void)child_kill(&vm.vmm, SIGTERM);
	(void)machine_end(&vm);
	return remove_tree(f.dir) < 0;
}
