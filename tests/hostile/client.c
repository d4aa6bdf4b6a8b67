/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile-client AGENT ROOTFS SECONDS SEED: starts an agent that serves a unix socket, and sends it
 * for so long what no decent client would: every call of its API with any value, frames that are
 * none, connections that end in the middle. The agent must live, answer a health check all the
 * while, and end well afterwards, without having kept processes, descriptors or mounts.
 *
 * Run by tests/hostile/run, which takes away what such an agent could do to the machine. The random
 * numbers follow from the seed; which call meets which is the scheduler's.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "io/loop.h"
#include "proto/agent.pb-c.h"
#include "proto/health.pb-c.h"
#include "rpc/listen.h"
#include "rpc/rpc.h"
#include "tests/hostile/message.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define CLIENTS 6
#define CALL_MS 300
/* Long, since sanitizers and busy machines are slow; what hangs does so for ever. */
#define HEALTH_MS 60000
/* What an agent may hold more than at the beginning: a module, a file, a worker's pipe. */
#define SPARE_FDS 8

static const char *const container_ids[] = {"h-1", "h-2", "h-3", "h-4"};
static const char *const exec_ids[] = {"e-1", "e-2", "e-3"};

static char dir[64], socket_path[96], rootfs[128];
static const char *agent_program;
static pid_t agent_pid;
static struct loop *loop;
static pthread_t loop_thread;
static atomic_bool over;
static atomic_ullong n_calls, n_answers, n_good, n_frames;
static uint64_t seed;

static const char *words[32];
static size_t n_words;

_Noreturn static void give_up(const char *what)
{
	fprintf(stderr, "hostile-client: %s (seed %" PRIu64 ", after %llu calls)\n", what, seed,
		(unsigned long long)n_calls);
	if (agent_pid > 0)
		(void)kill(agent_pid,
			   SIGABRT); /* a sanitizer's report, or a core, tells where it is */
	exit(1);
}

/* ---- The agent ------------------------------------------------------------------------------ */

static void start_agent(void)
{
	char address[128], state[96];

	(void)snprintf(address, sizeof address, "unix://%s", socket_path);
	(void)snprintf(state, sizeof state, "%s/state", dir);
	agent_pid = fork();
	if (agent_pid == 0) {
		(void)setenv("KATA_AGENT_SERVER_ADDR", address, 1);
		(void)setenv("KATA_AGENT_STATE_DIR", state, 1);
		(void)setenv("KATA_AGENT_LOG_LEVEL", "critical", 1);
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		(void)dup2(null, STDOUT_FILENO);
		execl(agent_program, "kata-agent", (char *)NULL);
		_exit(127);
	}
}

static int dial(void)
{
	uint64_t deadline = time_deadline(HEALTH_MS);
	int fd = -ENOENT;

	while (fd < 0 && time_left_ms(deadline) > 0) {
		fd = rpc_connect_unix(socket_path, deadline, NULL);
		if (fd < 0)
			(void)usleep(5000);
		if (waitpid(agent_pid, NULL, WNOHANG) != 0)
			give_up("the agent has ended");
	}
	if (fd < 0)
		give_up("the agent takes no connection");
	return fd;
}

static struct rpc_client *connect_client(void)
{
	struct rpc_client *c = NULL;
	int fd = dial();

	if (rpc_client_new(loop, fd, NULL, NULL, &c) < 0)
		give_up("no memory");
	return c;
}

static void free_posted(void *arg)
{
	rpc_client_free(arg);
}

static int call(struct rpc_client *c, const char *method, const ProtobufCMessage *m,
		uint64_t timeout_ms, struct err *e)
{
	const struct rpc_request q = {.service = &grpc__agent_service__descriptor,
				      .method = method,
				      .message = m,
				      .timeout_ms = timeout_ms};
	int r = rpc_client_call(c, &q, NULL, e);
	return r;
}

static unsigned count_entries(const char *path)
{
	unsigned n = 0;
	DIR *d = opendir(path);

	if (!d)
		return 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static unsigned agent_fds(void)
{
	char path[64];

	(void)snprintf(path, sizeof path, "/proc/%d/fd", (int)agent_pid);
	return count_entries(path);
}

/* ---- Requests that mean something, to be spoiled -------------------------------------------- */

static char *copy(const char *s)
{
	char *c = strdup(s);
	if (!c)
		abort();
	return c;
}

static void add_string(char ***v, size_t *n, const char *s)
{
	*v = realloc(*v, (*n + 1) * sizeof **v);
	if (!*v)
		abort();
	(*v)[(*n)++] = copy(s);
}

static Grpc__Process *good_process(struct hostile *h)
{
	static const char *const scripts[] = {"true",
					      "sleep 0.05",
					      "cat",
					      "echo a; echo b >&2; exit 3",
					      "sleep 100 & exit 0",
					      "head -c 300000 /dev/zero"};
	Grpc__Process *p = calloc(1, sizeof *p);
	Grpc__User *u = calloc(1, sizeof *u);

	if (!p || !u)
		abort();
	grpc__process__init(p);
	grpc__user__init(u);
	p->user = u;
	p->cwd = copy("/");
	p->terminal = hostile_below(h, 5) == 0;
	add_string(&p->args, &p->n_args, "/bin/sh");
	add_string(&p->args, &p->n_args, "-c");
	add_string(&p->args, &p->n_args, scripts[hostile_below(h, ARRAY_SIZE(scripts))]);
	add_string(&p->env, &p->n_env, "PATH=/bin");
	return p;
}

static Grpc__Spec *good_spec(struct hostile *h)
{
	static const char *const types[] = {"mnt", "ipc", "uts"};
	Grpc__Spec *s = calloc(1, sizeof *s);
	Grpc__Root *root = calloc(1, sizeof *root);
	Grpc__Linux *lin = calloc(1, sizeof *lin);
	Grpc__Mount *proc = calloc(1, sizeof *proc);

	if (!s || !root || !lin || !proc)
		abort();
	grpc__spec__init(s);
	grpc__root__init(root);
	grpc__linux__init(lin);
	grpc__mount__init(proc);
	s->version = copy("1.0.2");
	s->process = good_process(h);
	s->root = root;
	root->path = copy(rootfs);
	s->linux = lin;
	lin->namespaces = calloc(ARRAY_SIZE(types), sizeof *lin->namespaces);
	for (; lin->namespaces && lin->n_namespaces < ARRAY_SIZE(types); lin->n_namespaces++) {
		Grpc__LinuxNamespace *ns = calloc(1, sizeof *ns);
		if (!ns)
			abort();
		grpc__linux_namespace__init(ns);
		ns->type = copy(types[lin->n_namespaces]);
		lin->namespaces[lin->n_namespaces] = ns;
	}
	s->mounts = calloc(1, sizeof *s->mounts);
	if (!s->mounts)
		abort();
	s->n_mounts = 1;
	s->mounts[0] = proc;
	proc->source = copy("proc");
	proc->type = copy("proc");
	proc->destination = copy("/proc");
	return s;
}

static ProtobufCMessage *good_create(struct hostile *h)
{
	Grpc__CreateContainerRequest *q = calloc(1, sizeof *q);
	if (!q)
		abort();
	grpc__create_container_request__init(q);
	q->container_id = copy(container_ids[hostile_below(h, ARRAY_SIZE(container_ids))]);
	q->oci = good_spec(h);
	return &q->base;
}

static ProtobufCMessage *good_exec(struct hostile *h)
{
	Grpc__ExecProcessRequest *q = calloc(1, sizeof *q);
	if (!q)
		abort();
	grpc__exec_process_request__init(q);
	q->container_id = copy(container_ids[hostile_below(h, ARRAY_SIZE(container_ids))]);
	q->exec_id = copy(exec_ids[hostile_below(h, ARRAY_SIZE(exec_ids))]);
	q->process = good_process(h);
	return &q->base;
}

/* ---- One client ----------------------------------------------------------------------------- */

struct client {
	pthread_t thread;
	struct hostile h;
	struct rpc_client *rpc;
};

/* Its end is the end of the test: at the end, not on the way. */
static bool is_left_out(const char *method)
{
	return strcmp(method, "DestroySandbox") == 0;
}

/* Not too often, or every further call is refused. */
static bool is_rare(const char *method)
{
	return strcmp(method, "SetPolicy") == 0;
}

static ProtobufCMessage *make_request(struct hostile *h, const ProtobufCMethodDescriptor *m)
{
	ProtobufCMessage *q = NULL;
	bool spoil = hostile_below(h, 3) > 0;

	if (strcmp(m->name, "CreateContainer") == 0 && hostile_below(h, 3) > 0)
		q = good_create(h);
	else if (strcmp(m->name, "ExecProcess") == 0 && hostile_below(h, 3) > 0)
		q = good_exec(h);
	else
		spoil = false;
	if (!q)
		q = hostile_message(h, m->input);
	if (spoil)
		hostile_spoil(h, q);
	return q;
}

static void send_request(struct client *c)
{
	const ProtobufCServiceDescriptor *d = &grpc__agent_service__descriptor;
	const ProtobufCMethodDescriptor *m = &d->methods[hostile_below(&c->h, d->n_methods)];
	/* what makes and ends containers is what other calls need */
	static const char *const often[] = {"CreateContainer", "StartContainer", "ExecProcess",
					    "SignalProcess", "RemoveContainer"};

	if (hostile_below(&c->h, 2) == 0) {
		const char *name = often[hostile_below(&c->h, ARRAY_SIZE(often))];
		for (unsigned i = 0; i < d->n_methods; i++)
			if (strcmp(d->methods[i].name, name) == 0)
				m = &d->methods[i];
	}
	if (is_left_out(m->name) || (is_rare(m->name) && hostile_below(&c->h, 50) > 0))
		return;
	ProtobufCMessage *q = make_request(&c->h, m);
	struct err e = ERR_INIT;
	int r = call(c->rpc, m->name, q, CALL_MS, &e);
	n_calls++;
	n_answers += r != -ETIMEDOUT;
	n_good += r == 0;
	protobuf_c_message_free_unpacked(q, NULL);
}

/* Bytes that are no protocol, or break off in the middle of it. */
static void send_frames(struct client *c)
{
	uint8_t data[512];
	size_t n = 1 + (size_t)hostile_below(&c->h, sizeof data);

	for (size_t i = 0; i < n; i++)
		data[i] = (uint8_t)hostile_below(&c->h, 256);
	if (n > 10 && hostile_below(&c->h, 2)) { /* a plausible head: length, stream, type, flags */
		memset(data, 0, 10);
		data[3] = (uint8_t)(n - 10);
		data[7] = 1 + 2 * (uint8_t)hostile_below(&c->h, 3);
		data[8] = (uint8_t)hostile_below(&c->h, 5);
	}
	_cleanup_close_ int fd = dial();
	(void)send(fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	n_frames++;
}

static void *client_main(void *arg)
{
	struct client *c = arg;

	c->rpc = connect_client();
	while (!over) {
		if (hostile_below(&c->h, 40) == 0)
			send_frames(c);
		if (hostile_below(&c->h, 60) == 0 || !rpc_client_alive(c->rpc)) {
			(void)loop_post(loop, free_posted, c->rpc);
			c->rpc = connect_client();
		}
		send_request(c);
	}
	(void)loop_post(loop, free_posted, c->rpc);
	return NULL;
}

/* ---- The whole ------------------------------------------------------------------------------ */

static void check_health(struct rpc_client *c)
{
	Grpc__CheckRequest q = GRPC__CHECK_REQUEST__INIT;
	const struct rpc_request request = {.service = &grpc__health__descriptor,
					    .method = "Check",
					    .message = &q.base,
					    .timeout_ms = HEALTH_MS};
	struct err e = ERR_INIT;

	if (waitpid(agent_pid, NULL, WNOHANG) != 0)
		give_up("the agent has ended");
	if (rpc_client_call(c, &request, NULL, &e) < 0)
		give_up(e.text);
}

/* Whatever the policy says by now, everything is allowed again. One that forbids that too would
 * make the rest of the run worthless, so no message has the words for one. */
static void allow_all(struct rpc_client *c)
{
	Grpc__SetPolicyRequest q = GRPC__SET_POLICY_REQUEST__INIT;
	struct err e = ERR_INIT;

	q.policy = (char *)"package agent_policy\ndefault AllowRequestsFailingPolicy := true\n";
	if (call(c, "SetPolicy", &q.base, HEALTH_MS, &e) < 0)
		give_up(e.text);
}

static void *loop_main(void *arg)
{
	loop_run(loop);
	return NULL;
}

static void add_word(const char *w)
{
	if (n_words < ARRAY_SIZE(words))
		words[n_words++] = copy(w);
}

static void make_words(void)
{
	static const char *const names[] = {"file", "dir", "dir/below", "link"};
	char path[192];

	for (size_t i = 0; i < ARRAY_SIZE(container_ids); i++)
		add_word(container_ids[i]);
	for (size_t i = 0; i < ARRAY_SIZE(exec_ids); i++)
		add_word(exec_ids[i]);
	add_word(rootfs);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		(void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		add_word(path);
		(void)snprintf(path, sizeof path, "/run/kata-containers/shared/containers/%s",
			       names[i]);
		add_word(path);
	}
}

/* The sandbox is destroyed: the agent ends, and everything that it has made with it. */
static void finish(struct rpc_client *c, unsigned fds_before)
{
	Grpc__DestroySandboxRequest q = GRPC__DESTROY_SANDBOX_REQUEST__INIT;
	uint64_t deadline = time_deadline(HEALTH_MS);
	struct err e = ERR_INIT;
	int status = 0;

	allow_all(c);
	for (size_t i = 0; i < ARRAY_SIZE(container_ids); i++) {
		Grpc__RemoveContainerRequest r = GRPC__REMOVE_CONTAINER_REQUEST__INIT;
		r.container_id = (char *)container_ids[i];
		r.timeout = 20;
		(void)call(c, "RemoveContainer", &r.base, HEALTH_MS, &e);
	}
	while (agent_fds() > fds_before + SPARE_FDS && time_left_ms(deadline) > 0)
		(void)usleep(100 * 1000);
	unsigned fds = agent_fds();
	if (call(c, "DestroySandbox", &q.base, HEALTH_MS, &e) < 0)
		give_up(e.text);
	while (waitpid(agent_pid, &status, WNOHANG) == 0)
		if (time_left_ms(deadline) == 0)
			give_up("the agent does not end");
		else
			(void)usleep(20 * 1000);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		agent_pid = 0;
		give_up("the agent did not end well");
	}
	printf("%llu calls, %llu answered in time, %llu without an error, %llu broken frames; "
	       "descriptors %u, then %u\n",
	       (unsigned long long)n_calls, (unsigned long long)n_answers,
	       (unsigned long long)n_good, (unsigned long long)n_frames, fds_before, fds);
	agent_pid = 0;
	if (fds > fds_before + SPARE_FDS)
		give_up("the agent keeps descriptors");
}

int main(int argc, char **argv)
{
	struct client clients[CLIENTS] = {0};

	if (argc != 5) {
		fprintf(stderr, "usage: %s AGENT ROOTFS SECONDS SEED\n", argv[0]);
		return 2;
	}
	agent_program = argv[1];
	(void)snprintf(rootfs, sizeof rootfs, "%s", argv[2]);
	uint64_t end = time_deadline(strtoull(argv[3], NULL, 10) * 1000);
	seed = strtoull(argv[4], NULL, 10);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)snprintf(dir, sizeof dir, "/tmp/hostile.XXXXXX");
	if (!mkdtemp(dir) || loop_new(&loop) < 0 ||
	    pthread_create(&loop_thread, NULL, loop_main, NULL) != 0)
		give_up("no memory");
	(void)snprintf(socket_path, sizeof socket_path, "%s/agent.sock", dir);
	make_words();
	start_agent();
	struct rpc_client *observer = connect_client();
	check_health(observer);
	unsigned fds = agent_fds();

	for (size_t i = 0; i < CLIENTS; i++) {
		clients[i].h = (struct hostile){
			.state = seed * 1000003 + i + 1, .words = words, .n_words = n_words};
		if (pthread_create(&clients[i].thread, NULL, client_main, &clients[i]) != 0)
			give_up("no memory");
	}
	while (time_left_ms(end) > 0) {
		check_health(observer);
		allow_all(observer);
		(void)usleep(200 * 1000);
	}
	over = true;
	for (size_t i = 0; i < CLIENTS; i++)
		pthread_join(clients[i].thread, NULL);
	finish(observer, fds);
	(void)fflush(stdout);
	_exit(0);
}
