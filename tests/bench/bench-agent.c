/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times the guest's agent, over its socket, beside crun and a bare copy, interleaved:
 * bench-agent ROUNDS AGENT BUNDLE CGROUP2-MOUNT|none
 *
 *	run, exec	`true`: CreateContainer to RemoveContainer, ExecProcess to WaitProcess
 *	crun run, exec	the same by crun
 *	listen		from the agent's start until it can be connected to
 *	raw, rpc, stream	ms for 64 MiB of output: through a pipe, by ReadStdout, by a stream
 *	private KiB	of the idle agent, with 100 containers, a few seconds after them
 *
 * Prints JSON, all samples in ms but the last.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "guest/agent/test-client.h"
#include "oci/spec-proto.h"
#include "rpc/listen.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define CRUN_ROOT "/run/bench-agent-crun"
#define OUTPUT_BYTES (64u << 20)
/* As the shim asks for it. */
#define READ_BYTES (256u << 10)
#define CONTAINERS 100

struct bench {
	struct fixture f;
	const char *agent, *bundle, *manager;
	char passfd_path[96];
	Grpc__Spec *spec, *idle;
	Grpc__Process *exec;
};

static double now_ms(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static _Noreturn void die(const char *what, const char *why)
{
	(void)fprintf(stderr, "bench-agent: %s: %s\n", what, why);
	exit(1);
}

static void must(const char *what, int status, const struct err *e)
{
	if (status != STATUS_OK)
		die(what, e ? e->text : "refused");
}

/* ---- The agent ------------------------------------------------------------------------------ */

static void begin(struct bench *b, const char *id, Grpc__Spec *spec)
{
	Grpc__CreateContainerRequest q = GRPC__CREATE_CONTAINER_REQUEST__INIT;
	struct err e = ERR_INIT;

	q.container_id = (char *)id;
	q.oci = spec;
	must("CreateContainer", call(&b->f, "CreateContainer", &q.base, NULL, &e), &e);
	must("StartContainer", start(&b->f, id), NULL);
}

static void run_ours(struct bench *b)
{
	begin(b, "bench", b->spec);
	if (wait_process(&b->f, "bench", "") != 0)
		die("container", "true failed");
	must("RemoveContainer", remove_container(&b->f, "bench", 20), NULL);
}

static void exec_ours(struct bench *b)
{
	static unsigned number;
	Grpc__ExecProcessRequest q = GRPC__EXEC_PROCESS_REQUEST__INIT;
	struct err e = ERR_INIT;
	char id[16];

	(void)snprintf(id, sizeof id, "e%u", number++);
	q.container_id = (char *)"idle";
	q.exec_id = id;
	q.process = b->exec;
	must("ExecProcess", call(&b->f, "ExecProcess", &q.base, NULL, &e), &e);
	if (wait_process(&b->f, "idle", id) != 0)
		die("exec", "true failed");
}

/* ---- crun ----------------------------------------------------------------------------------- */

static void spawn(char *const argv[])
{
	pid_t pid;
	int status = 0;
	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0 ||
	    waitpid(pid, &status, 0) < 0 || status != 0)
		die(argv[0], "failed");
}

static void run_crun(struct bench *b)
{
	spawn((char *[]){"crun", "--root", CRUN_ROOT, "--cgroup-manager", (char *)b->manager, "run",
			 "--bundle", (char *)b->bundle, "bench", NULL});
}

static void exec_crun(struct bench *b)
{
	spawn((char *[]){"crun", "--root", CRUN_ROOT, "--cgroup-manager", (char *)b->manager,
			 "exec", "--cwd", "/", "bench-idle", "/bin/true", NULL});
}

/* ---- Start ---------------------------------------------------------------------------------- */

/* A second agent, with a place of its own. */
static void listen_ours(struct bench *b)
{
	char socket[128], address[160], state[128];
	uint64_t deadline = time_deadline(20000);

	(void)snprintf(socket, sizeof socket, "%s/second.sock", b->f.dir);
	(void)snprintf(address, sizeof address, "unix://%s", socket);
	(void)snprintf(state, sizeof state, "%s/second", b->f.dir);
	pid_t pid = fork();
	if (pid == 0) {
		(void)setenv("KATA_AGENT_SERVER_ADDR", address, 1);
		(void)setenv("KATA_AGENT_STATE_DIR", state, 1);
		(void)unsetenv("KATA_AGENT_PASSFD_ADDR");
		(void)execl(b->agent, "kata-agent", (char *)NULL);
		_exit(127);
	}
	int fd;
	while ((fd = rpc_connect_unix(socket, deadline, NULL)) < 0) {
		if (time_left_ms(deadline) == 0)
			die("agent", "does not listen");
		(void)usleep(50);
	}
	(void)close(fd);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	(void)unlink(socket);
}

/* ---- Output --------------------------------------------------------------------------------- */

static char *const writer[] = {"/bin/busybox", "head", "-c", "67108864", "/dev/zero", NULL};

static void drain(int fd)
{
	static char data[READ_BYTES];
	size_t total = 0;

	for (ssize_t n; (n = read(fd, data, sizeof data)) > 0;)
		total += (size_t)n;
	(void)close(fd);
	if (total != OUTPUT_BYTES)
		die("output", "not all came");
}

static void output_raw(struct bench *b)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		die("pipe", strerror(errno));
	(void)fcntl(fds[1], F_SETPIPE_SZ, 1 << 20); /* as the agent's */
	pid_t pid = fork();
	if (pid == 0) {
		(void)dup2(fds[1], 1);
		(void)execv(writer[0], writer);
		_exit(127);
	}
	(void)close(fds[1]);
	drain(fds[0]);
	(void)waitpid(pid, NULL, 0);
}

static void output_rpc(struct bench *b)
{
	static unsigned number;
	struct err e = ERR_INIT;
	size_t total = 0, len = 1;
	char id[16];

	(void)snprintf(id, sizeof id, "r%u", number++);
	must("ExecProcess", exec(&b->f, "idle", id, false, (const char *const *)writer, &e), &e);
	for (; len > 0; total += len)
		must("ReadStdout", read_some(&b->f, "idle", id, false, READ_BYTES, NULL, &len),
		     NULL);
	if (total != OUTPUT_BYTES || wait_process(&b->f, "idle", id) != 0)
		die("output", "not all came");
}

static void output_stream(struct bench *b)
{
	static uint32_t port = 1000;
	struct err e = ERR_INIT;
	char id[16];

	int fd = stream_open(b->passfd_path, ++port);
	(void)snprintf(id, sizeof id, "s%u", port);
	b->f.ports[1] = port;
	must("ExecProcess", exec(&b->f, "idle", id, false, (const char *const *)writer, &e), &e);
	b->f.ports[1] = 0;
	drain(fd);
	if (wait_process(&b->f, "idle", id) != 0)
		die("output", "failed");
}

/* ---- Memory --------------------------------------------------------------------------------- */

static long private_kib(const struct bench *b)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[64];
	long kib = 0;

	(void)snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)b->f.agent);
	if (file_read(AT_FDCWD, path, 65536, &text) < 0)
		die(path, "cannot be read");
	const char *at = text.data;
	while ((at = strstr(at, "Private_"))) {
		if (strncmp(at, "Private_Hugetlb", 15) != 0)
			kib += strtol(strchr(at, ':') + 1, NULL, 10);
		at++;
	}
	return kib;
}

static void memory(struct bench *b, json_t *all)
{
	char id[16];

	for (int i = 0; i < CONTAINERS; i++) {
		(void)snprintf(id, sizeof id, "m%d", i);
		begin(b, id, b->idle);
	}
	(void)sleep(2);
	(void)json_object_set_new(all, "private KiB with 100", json_integer(private_kib(b)));
	for (int i = 0; i < CONTAINERS; i++) {
		(void)snprintf(id, sizeof id, "m%d", i);
		must("RemoveContainer", remove_container(&b->f, id, 20), NULL);
	}
	(void)sleep(3);
	(void)json_object_set_new(all, "private KiB after 100", json_integer(private_kib(b)));
}

/* ---- All of it ------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	void (*run)(struct bench *b);
	int every; /* so many rounds: some take long */
} measures[] = {
	{"run", run_ours, 1},	     {"crun run", run_crun, 1},	   {"exec", exec_ours, 1},
	{"crun exec", exec_crun, 1}, {"listen", listen_ours, 1},   {"raw", output_raw, 5},
	{"rpc", output_rpc, 5},	     {"stream", output_stream, 5},
};

static Grpc__Spec *load_spec(const char *dir)
{
	struct oci_spec *spec = NULL;
	Grpc__Spec *m = NULL;
	struct err e = ERR_INIT;

	int r = oci_spec_load(dir, &spec, &e);
	if (r == 0)
		r = oci_spec_to_proto(spec, &m, &e);
	if (r < 0)
		die(dir, err_text(&e, r));
	oci_spec_free(spec);
	return m;
}

static void load(struct bench *b)
{
	char idle[PATH_MAX], address[128];

	(void)snprintf(idle, sizeof idle, "%s/idle", b->bundle);
	b->spec = load_spec(b->bundle);
	b->idle = load_spec(idle);
	b->exec = b->spec->process;
	(void)snprintf(b->passfd_path, sizeof b->passfd_path, "/run/bench-agent-streams");
	(void)snprintf(address, sizeof address, "unix://%s", b->passfd_path);
	(void)setenv("KATA_AGENT_PASSFD_ADDR", address, 1);
	(void)setenv("KATA_AGENT_LOG_LEVEL", "error", 1);
	fixture_start(&b->f, b->agent);
	begin(b, "idle", b->idle);
	spawn((char *[]){"crun", "--root", CRUN_ROOT, "--cgroup-manager", (char *)b->manager, "run",
			 "--detach", "--bundle", idle, "bench-idle", NULL});
}

static void unload(struct bench *b)
{
	must("RemoveContainer", remove_container(&b->f, "idle", 20), NULL);
	spawn((char *[]){"crun", "--root", CRUN_ROOT, "--cgroup-manager", (char *)b->manager,
			 "delete", "--force", "bench-idle", NULL});
	(void)fixture_stop(&b->f);
	(void)unlink(b->passfd_path);
	grpc__spec__free_unpacked(b->spec, NULL);
	grpc__spec__free_unpacked(b->idle, NULL);
}

int main(int argc, char **argv)
{
	if (argc != 5)
		die("usage", "bench-agent ROUNDS AGENT BUNDLE CGROUP2-MOUNT|none");
	bool cgroups = strcmp(argv[4], "none") != 0;
	struct bench b = {
		.agent = argv[2], .bundle = argv[3], .manager = cgroups ? "cgroupfs" : "disabled"};
	if (cgroups)
		(void)setenv("KATA_AGENT_CGROUP_ROOT", argv[4], 1);
	/* what the agent and crun have to say is no result */
	FILE *results = fdopen(dup(STDOUT_FILENO), "w");
	if (!results || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		die("stdout", strerror(errno));
	load(&b);
	json_t *all = json_object();
	(void)json_object_set_new(all, "private KiB idle", json_integer(private_kib(&b)));
	for (int i = -1; i < atoi(argv[1]); i++) /* the first round warms up */
		for (size_t k = 0; k < ARRAY_SIZE(measures); k++) {
			if (i >= 0 && i % measures[k].every != 0)
				continue;
			double begun = now_ms();
			measures[k].run(&b);
			double ms = now_ms() - begun;
			if (!json_object_get(all, measures[k].name))
				(void)json_object_set_new(all, measures[k].name, json_array());
			if (i >= 0)
				(void)json_array_append_new(json_object_get(all, measures[k].name),
							    json_real(ms));
		}
	memory(&b, all);
	unload(&b);
	(void)json_dumpf(all, results, JSON_REAL_PRECISION(6));
	(void)fputc('\n', results);
	json_decref(all);
	return 0;
}
