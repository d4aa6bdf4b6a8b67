/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent under load: many processes and containers at a time, and nothing of them stays. Needs
 * root.
 *
 *	test-guest-load [--long] [--seed N] AGENT
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/test-client.h"

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* Not a measure: what hangs, hangs for good. */
#define WAIT_MS 60000
/* At a time; with their container's init fewer than PROCESSES_PER_CONTAINER_MAX. */
#define EXECS 1000
#define CONTAINERS 100
#define CREATORS 8
/* The pages of a heap are not the same each time; 1000 records of a leaked 300 bytes are seen. */
#define MEMORY_SLACK_KIB 256
/* What it comes down to after a burst, a second or so later. */
#define REST_KIB 1024

static struct fixture f;
static const char *agent_program;
static char passfd_path[96];
static unsigned rounds = 1;
static unsigned seed = 1;

/* ---- What the agent has -------------------------------------------------------------------- */

static size_t private_kib(void)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[64];

	(void)snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)f.agent);
	assert_int_equal(file_read(AT_FDCWD, path, 65536, &text), 0);
	const char *at = strstr(text.data, "Private_Dirty:");
	assert_non_null(at);
	return strtoul(at + strlen("Private_Dirty:"), NULL, 10);
}

static int count_fds(void)
{
	char path[64];
	int n = 0;

	(void)snprintf(path, sizeof path, "/proc/%d/fd", (int)f.agent);
	DIR *d = opendir(path);
	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* It opens some for a moment, too: the fewest that are seen. */
static int fewest_fds(void)
{
	int fewest = INT_MAX;

	for (int i = 0; i < 20; i++) {
		int now = count_fds();
		fewest = now < fewest ? now : fewest;
		(void)usleep(5000);
	}
	return fewest;
}

/* Whether /proc/NAME is a child of @parent, and its state. */
static bool is_child(const char *name, pid_t parent, char *ret_state)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[300];
	int ppid;

	(void)snprintf(path, sizeof path, "/proc/%s/stat", name);
	if (name[0] < '0' || name[0] > '9' || file_read(AT_FDCWD, path, 4096, &text) < 0 ||
	    !text.data)
		return false;
	const char *at = strrchr(text.data, ')');
	return at && sscanf(at + 1, " %c %d", ret_state, &ppid) == 2 && ppid == parent;
}

/* Those of the agent and of its children: the engine's launcher is one of them. */
static unsigned count_zombies(pid_t parent, unsigned depth)
{
	unsigned zombies = 0;
	char state;

	DIR *d = opendir("/proc");
	assert_non_null(d);
	for (struct dirent *de; (de = readdir(d));) {
		if (!is_child(de->d_name, parent, &state))
			continue;
		if (state == 'Z')
			zombies++;
		else if (depth > 0)
			zombies += count_zombies((pid_t)atoi(de->d_name), depth - 1);
	}
	closedir(d);
	return zombies;
}

static void expect_no_zombies(void)
{
	uint64_t deadline = time_deadline(WAIT_MS);

	while (count_zombies(f.agent, 1) > 0) {
		if (time_left_ms(deadline) == 0)
			fail_msg("%u zombies are left", count_zombies(f.agent, 1));
		(void)usleep(100 * 1000);
	}
}

static void expect_fds(int before)
{
	uint64_t deadline = time_deadline(WAIT_MS);

	while (count_fds() > before && time_left_ms(deadline) > 0)
		(void)usleep(20 * 1000);
	assert_int_equal(fewest_fds(), before);
}

static void remove_ok(const char *id)
{
	assert_int_equal(remove_container(&f, id, 60), STATUS_OK);
}

/* Once the agent has had time to give back what it no longer needs. */
static size_t private_kib_at_rest(size_t most)
{
	uint64_t deadline = time_deadline(10000);
	size_t now = private_kib();

	while (now > most && time_left_ms(deadline) > 0) {
		(void)usleep(100 * 1000);
		now = private_kib();
	}
	return now;
}

/* ---- A thousand processes at a time --------------------------------------------------------- */

enum fate {
	EXITS,	      /* with a code of its own, when its input ends */
	KILLED_EARLY, /* as soon as it is there, while others are being made */
	KILLED,	      /* when all are there */
	RACES,	      /* is killed when it wants to exit: either may win */
	FATES,
};

struct victim {
	char id[16];
	enum fate fate;
	int code;
	struct async made, end, blow;
	bool hit;
};

static void exec_async(struct victim *v)
{
	char script[96];
	char *argv[] = {(char *)"/bin/sh", (char *)"-c", script};
	char *env[] = {(char *)"PATH=/bin"};
	Grpc__ExecProcessRequest q = GRPC__EXEC_PROCESS_REQUEST__INIT;
	Grpc__Process process = GRPC__PROCESS__INIT;
	Grpc__User user = GRPC__USER__INIT;

	(void)snprintf(script, sizeof script, "read x; echo %s; exit %d", v->id, v->code);
	process.user = &user;
	process.args = argv;
	process.n_args = ARRAY_SIZE(argv);
	process.env = env;
	process.n_env = ARRAY_SIZE(env);
	process.cwd = (char *)"/";
	q.container_id = (char *)"load";
	q.exec_id = v->id;
	q.process = &process;
	call_async(&f, "ExecProcess", &q.base, &v->made);
}

static void wait_async(struct victim *v)
{
	Grpc__WaitProcessRequest q = GRPC__WAIT_PROCESS_REQUEST__INIT;

	q.container_id = (char *)"load";
	q.exec_id = v->id;
	call_async(&f, "WaitProcess", &q.base, &v->end);
}

static void kill_async(struct victim *v)
{
	Grpc__SignalProcessRequest q = GRPC__SIGNAL_PROCESS_REQUEST__INIT;

	q.container_id = (char *)"load";
	q.exec_id = v->id;
	q.signal = SIGKILL;
	call_async(&f, "SignalProcess", &q.base, &v->blow);
	v->hit = true;
}

static void release(struct victim *v)
{
	Grpc__CloseStdinRequest q = GRPC__CLOSE_STDIN_REQUEST__INIT;

	q.container_id = (char *)"load";
	q.exec_id = v->id;
	assert_int_equal(call(&f, "CloseStdin", &q.base, NULL, NULL), STATUS_OK);
}

static void make_all(struct victim *v)
{
	for (size_t i = 0; i < EXECS; i++) {
		memset(&v[i], 0, sizeof v[i]);
		(void)snprintf(v[i].id, sizeof v[i].id, "e%zu", i);
		v[i].fate = (enum fate)(random() % FATES);
		v[i].code = (int)(i % 256);
		exec_async(&v[i]);
	}
	for (size_t i = 0; i < EXECS; i++) {
		assert_true(async_wait(&v[i].made, WAIT_MS));
		assert_int_equal(v[i].made.status, STATUS_OK);
		async_end(&v[i].made);
		wait_async(&v[i]);
		if (v[i].fate == KILLED_EARLY)
			kill_async(&v[i]);
	}
}

static void shuffle(size_t *order)
{
	for (size_t i = 0; i < EXECS; i++)
		order[i] = i;
	for (size_t i = EXECS - 1; i > 0; i--) {
		size_t k = (size_t)random() % (i + 1), t = order[i];
		order[i] = order[k];
		order[k] = t;
	}
}

/* In an order that has nothing to do with that of their start. */
static void end_all(struct victim *v)
{
	static size_t order[EXECS];

	shuffle(order);
	for (size_t i = 0; i < EXECS; i++) {
		struct victim *one = &v[order[i]];
		if (one->fate == EXITS || one->fate == RACES)
			release(one);
		if (one->fate == KILLED || one->fate == RACES)
			kill_async(one);
	}
}

static void check_end(struct victim *v)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	assert_true(async_wait(&v->end, WAIT_MS));
	assert_int_equal(v->end.status, STATUS_OK);
	int code = ((Grpc__WaitProcessResponse *)v->end.response)->status;
	bool killed = v->fate == KILLED || v->fate == KILLED_EARLY ||
		      (v->fate == RACES && code == 128 + SIGKILL);
	assert_int_equal(code, killed ? 128 + SIGKILL : v->code);
	async_end(&v->end);
	if (v->hit) {
		async_end(&v->blow);
		if (v->fate != RACES)
			assert_int_equal(v->blow.status, STATUS_OK);
	}
	/* which also lets the agent forget it */
	assert_int_equal(read_all(&f, "load", v->id, false, &text), STATUS_OK);
	if (!killed) {
		assert_int_equal(text.len, strlen(v->id) + 1);
		assert_memory_equal(text.data, v->id, strlen(v->id));
	}
	buf_clear(&text);
	assert_int_equal(read_all(&f, "load", v->id, true, &text), STATUS_OK);
	assert_int_equal(text.len, 0);
}

/* Returns what the agent has of its own afterwards: no more than @limit, in KiB. */
static size_t one_round(size_t limit)
{
	static struct victim victims[EXECS];

	uint64_t begin = time_now_ms();
	make_all(victims);
	uint64_t made = time_now_ms();
	size_t most = private_kib();
	end_all(victims);
	for (size_t i = 0; i < EXECS; i++)
		check_end(&victims[i]);
	expect_no_zombies();
	size_t after = private_kib_at_rest(limit);
	printf("# %d execs made in %llu ms, ended in %llu ms; private %zu KiB with them, %zu KiB "
	       "without\n",
	       EXECS, (unsigned long long)(made - begin),
	       (unsigned long long)(time_now_ms() - made), most, after);
	assert_in_range(after, 0, limit);
	return after;
}

static void a_thousand_execs_with_random_kills(void **state)
{
	srandom(seed);
	run(&f, "load", "exec sleep 100000");
	int fds = fewest_fds();
	printf("# private %zu KiB before\n", private_kib());
	size_t before = one_round(REST_KIB);
	for (unsigned i = 0; i < rounds; i++)
		(void)one_round(before + MEMORY_SLACK_KIB);
	expect_fds(fds);
	/* the container is as it was */
	assert_int_equal(exec_sh(&f, "load", "last", "exit 7"), STATUS_OK);
	assert_int_equal(wait_process(&f, "load", "last"), 7);
	remove_ok("load");
}

/* ---- Daemons that keep their parents' output open ------------------------------------------- */

#define DAEMONS 40

/* What a runtime does all the time: each is answered, though nothing else in the guest moves. */
static void everything_answers(const char *id)
{
	Grpc__HealthCheckResponse *health = NULL;
	_cleanup_buf_ struct buf text = BUF_INIT;

	assert_int_equal(call_health(&f, "Check", &health), STATUS_OK);
	protobuf_c_message_free_unpacked(&health->base, NULL);
	assert_int_equal(exec_sh(&f, id, "asked", "echo answer; exit 3"), STATUS_OK);
	assert_int_equal(read_all(&f, id, "asked", false, &text), STATUS_OK);
	assert_string_equal(text.data, "answer\n");
	assert_int_equal(read_all(&f, id, "asked", true, &text), STATUS_OK);
	assert_int_equal(wait_process(&f, id, "asked"), 3);
	run(&f, "beside", "exit 4");
	assert_int_equal(wait_process(&f, "beside", ""), 4);
	remove_ok("beside");
}

static void read_async(const char *id, const char *exec_id, struct async *a)
{
	Grpc__ReadStreamRequest q = GRPC__READ_STREAM_REQUEST__INIT;

	q.container_id = (char *)id;
	q.exec_id = (char *)exec_id;
	q.len = 8192;
	call_async(&f, "ReadStdout", &q.base, a);
}

static void daemons_with_reads(void **state)
{
	static struct async reads[DAEMONS];
	char exec_id[16];

	int fds = fewest_fds();
	run(&f, "daemons", "exec sleep 100000");
	for (int i = 0; i < DAEMONS; i++) {
		(void)snprintf(exec_id, sizeof exec_id, "d%d", i);
		assert_int_equal(exec_sh(&f, "daemons", exec_id, "sleep 90000 & exit 5"),
				 STATUS_OK);
		read_async("daemons", exec_id, &reads[i]);
	}
	everything_answers("daemons");
	for (int i = 0; i < DAEMONS; i++) {
		(void)snprintf(exec_id, sizeof exec_id, "d%d", i);
		assert_int_equal(wait_process(&f, "daemons", exec_id), 5);
	}
	everything_answers("daemons");
	remove_ok("daemons");
	for (int i = 0; i < DAEMONS; i++)
		async_end(&reads[i]);
	expect_no_zombies();
	expect_fds(fds);
}

static void daemons_with_streams(void **state)
{
	static int streams[DAEMONS];
	char exec_id[16];

	int fds = fewest_fds();
	run(&f, "daemons", "exec sleep 100000");
	for (int i = 0; i < DAEMONS; i++) {
		(void)snprintf(exec_id, sizeof exec_id, "d%d", i);
		streams[i] = stream_open(passfd_path, 1000 + (uint32_t)i);
		f.ports[1] = 1000 + (uint32_t)i;
		/* more than the socket takes, of which nobody reads a byte */
		assert_int_equal(
			exec_sh(&f, "daemons", exec_id, "(while :; do echo $$; done) & exit 6"),
			STATUS_OK);
		f.ports[1] = 0;
	}
	everything_answers("daemons");
	remove_ok("daemons");
	run(&f, "daemons", "exec sleep 100000");
	everything_answers("daemons");
	remove_ok("daemons");
	for (int i = 0; i < DAEMONS; i++)
		(void)close(streams[i]);
	expect_no_zombies();
	expect_fds(fds);
}

/* ---- A hundred containers ------------------------------------------------------------------- */

static void containers_one_after_another(void **state)
{
	run(&f, "warm", "true");
	assert_int_equal(wait_process(&f, "warm", ""), 0);
	remove_ok("warm");
	int fds = fewest_fds();
	size_t before = private_kib();
	uint64_t begin = time_now_ms();
	for (unsigned i = 0; i < CONTAINERS * rounds; i++) {
		run(&f, "again", "exit 9");
		assert_int_equal(wait_process(&f, "again", ""), 9);
		remove_ok("again");
	}
	uint64_t ms = time_now_ms() - begin;
	size_t after = private_kib_at_rest(before + MEMORY_SLACK_KIB);
	printf("# %u containers one after another: %llu ms; private %zu KiB before, %zu KiB "
	       "after\n",
	       CONTAINERS * rounds, (unsigned long long)ms, before, after);
	assert_in_range(after, 0, before + MEMORY_SLACK_KIB);
	expect_no_zombies();
	expect_fds(fds);
}

struct creator {
	pthread_t thread;
	int number;
	int good;
};

static void name_of(char id[16], int i)
{
	(void)snprintf(id, 16, "c%d", i);
}

/* No assertions: they belong to the main thread. */
static void *create_some(void *arg)
{
	const struct container_options o = {.script = "exec sleep 100000"};
	struct creator *t = arg;
	char id[16];

	for (int i = t->number; i < CONTAINERS; i += CREATORS) {
		name_of(id, i);
		t->good += create(&f, id, &o, NULL) == STATUS_OK && start(&f, id) == STATUS_OK;
	}
	return NULL;
}

static void *remove_some(void *arg)
{
	struct creator *t = arg;
	char id[16];

	for (int i = t->number; i < CONTAINERS; i += CREATORS) {
		name_of(id, i);
		t->good += remove_container(&f, id, 60) == STATUS_OK;
	}
	return NULL;
}

static void with_creators(void *(*main)(void *arg))
{
	struct creator threads[CREATORS];
	int good = 0;

	for (int i = 0; i < CREATORS; i++) {
		threads[i] = (struct creator){.number = i};
		assert_int_equal(pthread_create(&threads[i].thread, NULL, main, &threads[i]), 0);
	}
	for (int i = 0; i < CREATORS; i++) {
		pthread_join(threads[i].thread, NULL);
		good += threads[i].good;
	}
	assert_int_equal(good, CONTAINERS);
}

/* Returns what the agent has of its own when they are gone: no more than @limit, in KiB. */
static size_t hundred_alive(size_t limit)
{
	char id[16];

	uint64_t begin = time_now_ms();
	with_creators(create_some);
	uint64_t made = time_now_ms();
	size_t most = private_kib();
	for (int i = 0; i < CONTAINERS; i++) {
		name_of(id, i);
		assert_int_equal(exec_sh(&f, id, "e", "exit 8"), STATUS_OK);
		assert_int_equal(wait_process(&f, id, "e"), 8);
	}
	with_creators(remove_some);
	size_t after = private_kib_at_rest(limit);
	printf("# %d containers made in %llu ms; private %zu KiB with them, %zu KiB without\n",
	       CONTAINERS, (unsigned long long)(made - begin), most, after);
	assert_in_range(after, 0, limit);
	return after;
}

static void containers_all_at_once(void **state)
{
	int fds = fewest_fds();
	size_t before = hundred_alive(REST_KIB);
	for (unsigned i = 0; i < rounds; i++)
		(void)hundred_alive(before + MEMORY_SLACK_KIB);
	expect_no_zombies();
	expect_fds(fds);
}

/* --------------------------------------------------------------------------------------------- */

static int setup(void **state)
{
	struct rlimit files = {.rlim_cur = 20000, .rlim_max = 20000};
	char address[128];

	/* as PID 1 has them; a thousand processes have four descriptors each */
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		return -1;
	(void)snprintf(passfd_path, sizeof passfd_path, "/tmp/runtime-c-test-load-%d",
		       (int)getpid());
	(void)snprintf(address, sizeof address, "unix://%s", passfd_path);
	(void)setenv("KATA_AGENT_PASSFD_ADDR", address, 1);
	fixture_start(&f, agent_program);
	return 0;
}

static int teardown(void **state)
{
	int status = fixture_stop(&f);

	(void)unlink(passfd_path);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"long", no_argument, NULL, 'l'}, {"seed", required_argument, NULL, 's'}, {}};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thousand_execs_with_random_kills),
		cmocka_unit_test(daemons_with_reads),
		cmocka_unit_test(daemons_with_streams),
		cmocka_unit_test(containers_one_after_another),
		cmocka_unit_test(containers_all_at_once),
	};

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'l')
			rounds = 10;
		else if (c == 's')
			seed = (unsigned)strtoul(optarg, NULL, 10);
		else
			return 2;
	}
	if (optind + 1 != argc) {
		fprintf(stderr, "usage: %s [--long] [--seed N] AGENT\n", argv[0]);
		return 2;
	}
	agent_program = argv[optind];
	printf("# seed %u\n", seed);
	return cmocka_run_group_tests(tests, setup, teardown);
}
