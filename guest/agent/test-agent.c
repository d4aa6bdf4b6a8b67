/* SPDX-License-Identifier: Apache-2.0 */
/* The agent as a whole, without a machine of its own: driven as a shim drives it. Needs root. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/test-client.h"
#include "rpc/listen.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct fixture f;
static const char *agent_program;

static void remove_ok(const char *id)
{
	assert_int_equal(remove_container(&f, id, 20), STATUS_OK);
}

/* Output of a process that has ended or will. */
static void expect_output(const char *id, const char *exec_id, bool errout, const char *expected)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	assert_int_equal(read_all(&f, id, exec_id, errout, &text), STATUS_OK);
	assert_string_equal(text.data ? text.data : "", expected);
}

/* ---- The services ------------------------------------------------------------------------- */

static void health_and_details(void **state)
{
	Grpc__HealthCheckResponse *health = NULL;
	Grpc__VersionCheckResponse *version = NULL;
	Grpc__GuestDetailsRequest q = GRPC__GUEST_DETAILS_REQUEST__INIT;
	Grpc__GuestDetailsResponse *details = NULL;
	bool early_wait = false, bulk_io = false;

	assert_int_equal(call_health(&f, "Check", &health), STATUS_OK);
	assert_int_equal(health->status, GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING);
	assert_int_equal(call_health(&f, "Version", &version), STATUS_OK);
	assert_string_equal(version->agent_version, AGENT_VERSION);
	assert_string_equal(version->grpc_version, "0.0.1");
	q.mem_block_size = q.mem_hotplug_probe = true;
	assert_int_equal(call(&f, "GetGuestDetails", &q.base, &details, NULL), STATUS_OK);
	assert_false(details->agent_details->init_daemon);
	for (size_t i = 0; i < details->agent_details->n_extra_features; i++) {
		const char *feature = details->agent_details->extra_features[i];
		early_wait |= strcmp(feature, "early-wait") == 0;
		bulk_io |= strcmp(feature, "bulk-io") == 0;
	}
	assert_true(early_wait && bulk_io);
	grpc__health_check_response__free_unpacked(health, NULL);
	grpc__version_check_response__free_unpacked(version, NULL);
	grpc__guest_details_response__free_unpacked(details, NULL);

	Grpc__GetMetricsRequest mq = GRPC__GET_METRICS_REQUEST__INIT;
	Grpc__Metrics *metrics = NULL;
	assert_int_equal(call(&f, "GetMetrics", &mq.base, &metrics, NULL), STATUS_OK);
	assert_non_null(strstr(metrics->metrics, "kata_agent_total_rss "));
	assert_non_null(strstr(metrics->metrics, "kata_guest_meminfo{item=\"mem_total\"} "));
	grpc__metrics__free_unpacked(metrics, NULL);
}

static void what_is_missing_is_said(void **state)
{
	Grpc__MemAgentCompactConfig compact = GRPC__MEM_AGENT_COMPACT_CONFIG__INIT;
	Grpc__ReseedRandomDevRequest seed = GRPC__RESEED_RANDOM_DEV_REQUEST__INIT;
	Grpc__SetGuestDateTimeRequest when = GRPC__SET_GUEST_DATE_TIME_REQUEST__INIT;
	struct container_options o = {.script = "true"};
	struct err e = ERR_INIT;

	assert_int_equal(call(&f, "MemAgentCompactSet", &compact.base, NULL, NULL),
			 STATUS_UNIMPLEMENTED);
	assert_int_equal(call(&f, "ReseedRandomDev", &seed.base, NULL, NULL),
			 STATUS_INVALID_ARGUMENT);
	when.usec = 1000000;
	assert_int_equal(call(&f, "SetGuestDateTime", &when.base, NULL, NULL),
			 STATUS_INVALID_ARGUMENT);

	static const char *const bad[] = {"", "x", "../x", "-a", "a/b", "a b"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(create(&f, bad[i], &o, &e), STATUS_INVALID_ARGUMENT);
	Grpc__CreateContainerRequest empty = GRPC__CREATE_CONTAINER_REQUEST__INIT;
	empty.container_id = (char *)"nospec";
	assert_int_equal(call(&f, "CreateContainer", &empty.base, NULL, &e),
			 STATUS_INVALID_ARGUMENT);

	assert_int_equal(start(&f, "nobody"), STATUS_NOT_FOUND);
	assert_int_equal(exec_sh(&f, "nobody", "e1", "true"), STATUS_NOT_FOUND);
	assert_int_equal(wait_process(&f, "nobody", ""), -STATUS_NOT_FOUND);
	assert_int_equal(kill_process(&f, "nobody", "", SIGKILL), STATUS_NOT_FOUND);
	assert_int_equal(kill_process(&f, "nobody", "", SIGTERM), STATUS_NOT_FOUND);
	assert_int_equal(remove_container(&f, "nobody", 0), STATUS_NOT_FOUND);
	size_t len;
	assert_int_equal(read_some(&f, "nobody", "", false, 100, NULL, &len), STATUS_NOT_FOUND);

	char *args[] = {(char *)"/bin/missing", NULL};
	o.args = args;
	assert_int_equal(create(&f, "missing", &o, &e), STATUS_NOT_FOUND);
	assert_non_null(strstr(e.text, "/bin/missing"));
	/* nothing of it is left, so the name is free */
	assert_int_equal(remove_container(&f, "missing", 0), STATUS_NOT_FOUND);
}

/* ---- Processes ---------------------------------------------------------------------------- */

/* As the original runtime goes about it: both streams to their ends, then Wait. */
static void read_then_wait(void **state)
{
	run(&f, "order", "echo out; echo err >&2; exit 42");
	expect_output("order", "", false, "out\n");
	expect_output("order", "", true, "err\n");
	assert_int_equal(wait_process(&f, "order", ""), 42);
	assert_int_equal(wait_process(&f, "order", ""), -STATUS_NOT_FOUND);
	assert_int_equal(kill_process(&f, "order", "", SIGTERM), STATUS_NOT_FOUND);
	/* everything of it may still be killed, and it is there until it is removed */
	assert_int_equal(kill_process(&f, "order", "", SIGKILL), STATUS_OK);
	assert_int_equal(create(&f, "order", &(struct container_options){.script = "true"}, NULL),
			 STATUS_ALREADY_EXISTS);
	remove_ok("order");
	assert_int_equal(wait_process(&f, "order", ""), -STATUS_NOT_FOUND);
}

static void processes_are_listed(void **state)
{
	Grpc__ListContainerProcessesRequest q = GRPC__LIST_CONTAINER_PROCESSES_REQUEST__INIT;
	Grpc__ListContainerProcessesResponse *list = NULL;
	unsigned execs = 0;

	q.container_id = (char *)"listed";
	assert_int_equal(call(&f, "ListContainerProcesses", &q.base, NULL, NULL), STATUS_NOT_FOUND);
	run(&f, "listed", "sleep 1000 & exec sleep 1000");
	assert_int_equal(exec_sh(&f, "listed", "e1", "exec sleep 1000"), STATUS_OK);
	/* the shell may not have come to its child yet */
	for (int i = 0; i < 100; i++) {
		assert_int_equal(call(&f, "ListContainerProcesses", &q.base, &list, NULL),
				 STATUS_OK);
		if (list->n_processes == 3)
			break;
		grpc__list_container_processes_response__free_unpacked(list, NULL);
		list = NULL;
		(void)usleep(20000);
	}
	assert_non_null(list);
	for (size_t i = 0; i < list->n_processes; i++) {
		assert_true(list->processes[i]->pid > 1);
		execs += strcmp(list->processes[i]->exec_id, "e1") == 0;
	}
	assert_int_equal(execs, 1);
	grpc__list_container_processes_response__free_unpacked(list, NULL);
	remove_ok("listed");
}

static void wait_then_read(void **state)
{
	Grpc__WaitProcessRequest q = GRPC__WAIT_PROCESS_REQUEST__INIT;
	struct async first;

	run(&f, "early", "cat; seq 1 20000; echo end >&2; exit 3");
	q.container_id = (char *)"early";
	call_async(&f, "WaitProcess", &q.base, &first);
	assert_false(async_wait(&first, 100));
	assert_int_equal(write_stdin(&f, "early", "", "hello\n", 6), STATUS_OK);
	assert_int_equal(write_stdin(&f, "early", "", "", 0), STATUS_OK);
	assert_true(async_wait(&first, 20000));
	assert_int_equal(((Grpc__WaitProcessResponse *)first.response)->status, 3);
	async_end(&first);
	/* the output is all there, and the code is told again */
	assert_int_equal(wait_process(&f, "early", ""), 3);
	_cleanup_buf_ struct buf text = BUF_INIT;
	assert_int_equal(read_all(&f, "early", "", false, &text), STATUS_OK);
	assert_memory_equal(text.data, "hello\n1\n2\n", 10);
	assert_string_equal(text.data + text.len - 7, "\n20000\n");
	assert_int_equal(wait_process(&f, "early", ""), 3);
	expect_output("early", "", true, "end\n");
	assert_int_equal(wait_process(&f, "early", ""), -STATUS_NOT_FOUND);
	remove_ok("early");
}

static void reconnect(void)
{
	fixture_disconnect(&f);
	int fd = rpc_connect_unix(f.socket, time_deadline(20000), NULL);
	assert_true(fd >= 0);
	fixture_connect(&f, fd);
}

static void calls_of_a_lost_connection_take_nothing_away(void **state)
{
	Grpc__ReadStreamRequest read = GRPC__READ_STREAM_REQUEST__INIT;
	Grpc__WaitProcessRequest wait = GRPC__WAIT_PROCESS_REQUEST__INIT;
	struct async lost_read, lost_wait;

	run(&f, "lost", "cat; exit 7");
	read.container_id = wait.container_id = (char *)"lost";
	read.len = 4096;
	call_async(&f, "ReadStdout", &read.base, &lost_read);
	call_async(&f, "WaitProcess", &wait.base, &lost_wait);
	assert_false(async_wait(&lost_read, 100));
	reconnect();
	assert_true(async_wait(&lost_read, 5000));
	assert_true(async_wait(&lost_wait, 5000));
	async_end(&lost_read);
	async_end(&lost_wait);
	assert_int_equal(write_stdin(&f, "lost", "", "hello\n", 6), STATUS_OK);
	assert_int_equal(write_stdin(&f, "lost", "", "", 0), STATUS_OK);
	expect_output("lost", "", false, "hello\n");
	expect_output("lost", "", true, "");
	assert_int_equal(wait_process(&f, "lost", ""), 7);
	remove_ok("lost");
}

static void signals_and_codes(void **state)
{
	run(&f, "sig", "sleep 1000");
	assert_int_equal(exec_sh(&f, "sig", "suicide", "kill -9 $$"), STATUS_OK);
	assert_int_equal(wait_process(&f, "sig", "suicide"), 137);
	assert_int_equal(exec_sh(&f, "sig", "term", "exec sleep 1000"), STATUS_OK);
	assert_int_equal(kill_process(&f, "sig", "term", SIGTERM), STATUS_OK);
	assert_int_equal(wait_process(&f, "sig", "term"), 143);
	assert_int_equal(kill_process(&f, "sig", "term", 65), STATUS_INVALID_ARGUMENT);
	assert_int_equal(kill_process(&f, "sig", "other", SIGTERM), STATUS_NOT_FOUND);
	/* an exited process that is not forgotten: there is nothing left to do */
	assert_int_equal(kill_process(&f, "sig", "term", SIGTERM), STATUS_OK);
	/* an init without a handler would not notice SIGTERM */
	assert_int_equal(kill_process(&f, "sig", "", SIGTERM), STATUS_OK);
	assert_int_equal(wait_process(&f, "sig", ""), 137);
	remove_ok("sig");

	run(&f, "trap", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done");
	_cleanup_buf_ struct buf text = BUF_INIT;
	size_t len;
	assert_int_equal(read_some(&f, "trap", "", false, 100, &text, &len), STATUS_OK);
	assert_string_equal(text.data, "ready\n");
	assert_int_equal(kill_process(&f, "trap", "", SIGTERM), STATUS_OK);
	assert_int_equal(wait_process(&f, "trap", ""), 7);
	remove_ok("trap");

	/* SIGKILL without an exec id: everything in it */
	run(&f, "all", "sleep 1000");
	assert_int_equal(exec_sh(&f, "all", "e1", "sleep 1000"), STATUS_OK);
	assert_int_equal(kill_process(&f, "all", "", SIGKILL), STATUS_OK);
	assert_int_equal(wait_process(&f, "all", ""), 137);
	assert_int_equal(wait_process(&f, "all", "e1"), 137);
	remove_ok("all");
}

static void standard_input(void **state)
{
	run(&f, "stdin", "sleep 1000");
	assert_int_equal(exec_sh(&f, "stdin", "cat", "cat; echo done"), STATUS_OK);
	assert_int_equal(write_stdin(&f, "stdin", "cat", "abc", 3), STATUS_OK);
	_cleanup_buf_ struct buf text = BUF_INIT;
	size_t len;
	assert_int_equal(read_some(&f, "stdin", "cat", false, 100, &text, &len), STATUS_OK);
	assert_string_equal(text.data, "abc");
	Grpc__CloseStdinRequest q = GRPC__CLOSE_STDIN_REQUEST__INIT;
	q.container_id = (char *)"stdin";
	q.exec_id = (char *)"cat";
	assert_int_equal(call(&f, "CloseStdin", &q.base, NULL, NULL), STATUS_OK);
	assert_int_equal(write_stdin(&f, "stdin", "cat", "late", 4), STATUS_FAILED_PRECONDITION);
	expect_output("stdin", "cat", false, "done\n");
	assert_int_equal(wait_process(&f, "stdin", "cat"), 0);

	/* a reader that is gone fails the write, and nothing else */
	assert_int_equal(exec_sh(&f, "stdin", "deaf", "exec <&-; sleep 1000"), STATUS_OK);
	(void)usleep(200 * 1000);
	static char big[512 * 1024];
	assert_int_equal(write_stdin(&f, "stdin", "deaf", big, sizeof big),
			 STATUS_FAILED_PRECONDITION);
	assert_int_equal(kill_process(&f, "stdin", "deaf", SIGKILL), STATUS_OK);
	assert_int_equal(wait_process(&f, "stdin", "deaf"), 137);

	/* a write that waits for its reader is answered when the container goes */
	assert_int_equal(exec_sh(&f, "stdin", "slow", "sleep 1000"), STATUS_OK);
	Grpc__WriteStreamRequest w = GRPC__WRITE_STREAM_REQUEST__INIT;
	static char huge[3 << 20];
	struct async waiting;
	w.container_id = (char *)"stdin";
	w.exec_id = (char *)"slow";
	w.data.data = (uint8_t *)huge;
	w.data.len = sizeof huge;
	call_async(&f, "WriteStdin", &w.base, &waiting);
	assert_false(async_wait(&waiting, 200));
	remove_ok("stdin");
	assert_true(async_wait(&waiting, 5000));
	assert_int_equal(waiting.status, STATUS_FAILED_PRECONDITION);
	async_end(&waiting);
}

static void a_background_child_does_not_hold_the_end(void **state)
{
	run(&f, "bg", "sleep 1000");
	assert_int_equal(exec_sh(&f, "bg", "daemon", "sleep 1000 & echo started"), STATUS_OK);
	uint64_t begin = time_now_ms();
	expect_output("bg", "daemon", false, "started\n");
	uint64_t took = time_now_ms() - begin;
	assert_true(took >= 400 && took < 5000);
	assert_int_equal(wait_process(&f, "bg", "daemon"), 0);
	remove_ok("bg");
}

static void terminals(void **state)
{
	static const char *const argv[] = {"/bin/sh", "-c",
					   "stty size; read x; stty size; cat; exit 5", NULL};
	_cleanup_buf_ struct buf text = BUF_INIT;
	size_t len;

	run(&f, "tty", "sleep 1000");
	assert_int_equal(exec(&f, "tty", "t1", true, argv, NULL), STATUS_OK);
	while (!text.data || !strchr(text.data, '\n'))
		assert_int_equal(read_some(&f, "tty", "t1", false, 100, &text, &len), STATUS_OK);
	Grpc__TtyWinResizeRequest q = GRPC__TTY_WIN_RESIZE_REQUEST__INIT;
	q.container_id = (char *)"tty";
	q.exec_id = (char *)"t1";
	q.row = 33;
	q.column = 99;
	assert_int_equal(call(&f, "TtyWinResize", &q.base, NULL, NULL), STATUS_OK);
	assert_int_equal(write_stdin(&f, "tty", "t1", "go\n", 3), STATUS_OK);
	while (!strstr(text.data, "33 99"))
		assert_int_equal(read_some(&f, "tty", "t1", false, 100, &text, &len), STATUS_OK);
	/* end of input is a character here, and the output goes on */
	assert_int_equal(write_stdin(&f, "tty", "t1", "line\n", 5), STATUS_OK);
	assert_int_equal(write_stdin(&f, "tty", "t1", "", 0), STATUS_OK);
	assert_int_equal(read_all(&f, "tty", "t1", false, &text), STATUS_OK);
	assert_non_null(strstr(text.data, "line\r\nline\r\n"));
	assert_int_equal(wait_process(&f, "tty", "t1"), 5);
	assert_int_equal(wait_process(&f, "tty", "t1"), -STATUS_NOT_FOUND);

	/* without a terminal there is nothing to resize */
	q.exec_id = (char *)"";
	assert_int_equal(call(&f, "TtyWinResize", &q.base, NULL, NULL), STATUS_UNAVAILABLE);
	q.row = 70000;
	assert_int_equal(call(&f, "TtyWinResize", &q.base, NULL, NULL), STATUS_UNAVAILABLE);
	remove_ok("tty");

	struct container_options o = {.script = "echo on $(readlink /proc/self/fd/0)",
				      .terminal = true};
	assert_int_equal(create(&f, "tty-init", &o, NULL), STATUS_OK);
	assert_int_equal(start(&f, "tty-init"), STATUS_OK);
	expect_output("tty-init", "", false, "on /dev/pts/0\r\n");
	assert_int_equal(wait_process(&f, "tty-init", ""), 0);
	remove_ok("tty-init");
}

/* ---- Volume and number -------------------------------------------------------------------- */

#define MANY (100u << 20)

static void a_hundred_mebibytes_out(void **state)
{
	size_t total = 0, len = 1;

	run(&f, "bulk", "sleep 1000");
	assert_int_equal(exec_sh(&f, "bulk", "out", "head -c 104857600 /dev/zero"), STATUS_OK);
	uint64_t begin = time_now_ms();
	while (len > 0) {
		assert_int_equal(read_some(&f, "bulk", "out", false, 1 << 20, NULL, &len),
				 STATUS_OK);
		total += len;
	}
	printf("# 100 MiB out: %llu ms\n", (unsigned long long)(time_now_ms() - begin));
	assert_int_equal(total, MANY);
	expect_output("bulk", "out", true, "");
	assert_int_equal(wait_process(&f, "bulk", "out"), 0);
	remove_ok("bulk");
}

static void a_hundred_mebibytes_in(void **state)
{
	static char chunk[1 << 20];

	run(&f, "bulk-in", "sleep 1000");
	assert_int_equal(exec_sh(&f, "bulk-in", "in", "wc -c"), STATUS_OK);
	uint64_t begin = time_now_ms();
	for (unsigned i = 0; i < MANY / sizeof chunk; i++)
		assert_int_equal(write_stdin(&f, "bulk-in", "in", chunk, sizeof chunk), STATUS_OK);
	assert_int_equal(write_stdin(&f, "bulk-in", "in", "", 0), STATUS_OK);
	expect_output("bulk-in", "in", false, "104857600\n");
	printf("# 100 MiB in: %llu ms\n", (unsigned long long)(time_now_ms() - begin));
	assert_int_equal(wait_process(&f, "bulk-in", "in"), 0);
	remove_ok("bulk-in");
}

struct exec_thread {
	pthread_t thread;
	int number, good;
};

/* cmocka's assertions are for the main thread only, so results are counted. */
static void *exec_main(void *arg)
{
	struct exec_thread *t = arg;

	for (int i = 0; i < 10; i++) {
		char id[32], script[96], expected[64];
		_cleanup_buf_ struct buf text = BUF_INIT;
		int code = (t->number * 10 + i) % 100;
		(void)snprintf(id, sizeof id, "e%d-%d", t->number, i);
		(void)snprintf(script, sizeof script, "echo %s; exit %d", id, code);
		(void)snprintf(expected, sizeof expected, "%s\n", id);
		bool good = exec_sh(&f, "many", id, script) == STATUS_OK;
		/* half of them wait first */
		if (i % 2)
			good = good && wait_process(&f, "many", id) == code;
		good = good && read_all(&f, "many", id, false, &text) == STATUS_OK && text.data &&
		       strcmp(text.data, expected) == 0;
		if (!(i % 2))
			good = good && wait_process(&f, "many", id) == code;
		t->good += good;
	}
	return NULL;
}

static void many_execs_at_once(void **state)
{
	struct exec_thread threads[16];

	run(&f, "many", "sleep 1000");
	uint64_t begin = time_now_ms();
	for (int i = 0; i < 16; i++) {
		threads[i] = (struct exec_thread){.number = i};
		assert_int_equal(pthread_create(&threads[i].thread, NULL, exec_main, &threads[i]),
				 0);
	}
	for (int i = 0; i < 16; i++) {
		pthread_join(threads[i].thread, NULL);
		assert_int_equal(threads[i].good, 10);
	}
	printf("# 160 execs by 16 clients: %llu ms\n", (unsigned long long)(time_now_ms() - begin));

	/* one name, two processes: only one can have it */
	Grpc__ExecProcessRequest q = GRPC__EXEC_PROCESS_REQUEST__INIT;
	assert_int_equal(exec_sh(&f, "many", "twice", "sleep 1000"), STATUS_OK);
	assert_int_equal(exec_sh(&f, "many", "twice", "sleep 1000"), STATUS_ALREADY_EXISTS);
	assert_int_equal(exec_sh(&f, "many", "", "true"), STATUS_INVALID_ARGUMENT);
	assert_int_equal(exec_sh(&f, "many", "a/b", "true"), STATUS_INVALID_ARGUMENT);
	q.container_id = (char *)"many";
	q.exec_id = (char *)"noprocess";
	assert_int_equal(call(&f, "ExecProcess", &q.base, NULL, NULL), STATUS_INVALID_ARGUMENT);
	static const char *const argv[] = {"no-such-command", NULL};
	struct err e = ERR_INIT;
	assert_int_equal(exec(&f, "many", "lost", false, argv, &e), STATUS_NOT_FOUND);
	assert_non_null(strstr(e.text, "no-such-command"));
	/* a failed exec leaves no record behind */
	assert_int_equal(wait_process(&f, "many", "lost"), -STATUS_NOT_FOUND);
	remove_ok("many");
}

static void reads_of_no_bytes_and_too_many(void **state)
{
	Grpc__ReadStreamRequest q = GRPC__READ_STREAM_REQUEST__INIT;
	struct async reads[17];
	size_t len;

	run(&f, "reads", "sleep 1000");
	assert_int_equal(read_some(&f, "reads", "", false, 0, NULL, &len), STATUS_INVALID_ARGUMENT);
	q.container_id = (char *)"reads";
	q.len = UINT32_MAX;
	for (int i = 0; i < 17; i++)
		call_async(&f, "ReadStdout", &q.base, &reads[i]);
	assert_true(async_wait(&reads[16], 5000));
	assert_int_equal(reads[16].status, STATUS_RESOURCE_EXHAUSTED);
	assert_false(async_wait(&reads[0], 100));
	remove_ok("reads");
	for (int i = 0; i < 17; i++)
		async_end(&reads[i]);
}

/* ---- Containers --------------------------------------------------------------------------- */

static void states(void **state)
{
	struct container_options o = {.script = "sleep 1000"};
	Grpc__PauseContainerRequest pause_q = GRPC__PAUSE_CONTAINER_REQUEST__INIT;
	Grpc__ResumeContainerRequest resume_q = GRPC__RESUME_CONTAINER_REQUEST__INIT;

	assert_int_equal(create(&f, "states", &o, NULL), STATUS_OK);
	/* a container that was not started has no processes to join */
	assert_int_equal(exec_sh(&f, "states", "e1", "true"), STATUS_FAILED_PRECONDITION);
	assert_int_equal(start(&f, "states"), STATUS_OK);
	assert_int_equal(start(&f, "states"), STATUS_FAILED_PRECONDITION);
	resume_q.container_id = pause_q.container_id = (char *)"states";
	assert_int_equal(call(&f, "ResumeContainer", &resume_q.base, NULL, NULL),
			 STATUS_FAILED_PRECONDITION);
	Grpc__StatsContainerRequest stats_q = GRPC__STATS_CONTAINER_REQUEST__INIT;
	Grpc__StatsContainerResponse *stats = NULL;
	stats_q.container_id = (char *)"states";
	assert_int_equal(call(&f, "StatsContainer", &stats_q.base, &stats, NULL), STATUS_OK);
	assert_non_null(stats->cgroup_stats);
	grpc__stats_container_response__free_unpacked(stats, NULL);
	remove_ok("states");
	assert_int_equal(remove_container(&f, "states", 0), STATUS_NOT_FOUND);

	/* removed before it was started, while somebody waits for it */
	Grpc__WaitProcessRequest q = GRPC__WAIT_PROCESS_REQUEST__INIT;
	struct async waiting;
	assert_int_equal(create(&f, "unstarted", &o, NULL), STATUS_OK);
	q.container_id = (char *)"unstarted";
	call_async(&f, "WaitProcess", &q.base, &waiting);
	remove_ok("unstarted");
	assert_true(async_wait(&waiting, 5000));
	assert_int_equal(waiting.status, STATUS_OK);
	assert_int_equal(((Grpc__WaitProcessResponse *)waiting.response)->status, 137);
	async_end(&waiting);

	/* started when its init is dead already */
	assert_int_equal(create(&f, "dead", &o, NULL), STATUS_OK);
	assert_int_equal(kill_process(&f, "dead", "", SIGKILL), STATUS_OK);
	assert_int_equal(wait_process(&f, "dead", ""), 137);
	assert_int_not_equal(start(&f, "dead"), STATUS_OK);
	remove_ok("dead");
}

static void one_removal_for_all_who_ask(void **state)
{
	Grpc__RemoveContainerRequest q = GRPC__REMOVE_CONTAINER_REQUEST__INIT;
	struct async removals[5];

	run(&f, "gone", "sleep 1000");
	q.container_id = (char *)"gone";
	for (int i = 0; i < 5; i++)
		call_async(&f, "RemoveContainer", &q.base, &removals[i]);
	int good = 0;
	for (int i = 0; i < 5; i++) {
		assert_true(async_wait(&removals[i], 20000));
		good += removals[i].status == STATUS_OK;
		async_end(&removals[i]);
	}
	assert_int_equal(good, 5);
	/* the name can be used at once */
	run(&f, "gone", "exit 1");
	assert_int_equal(wait_process(&f, "gone", ""), 1);
	remove_ok("gone");
}

/* Whether the agent's mount namespace has a mount on this path; its options in @options. */
static bool has_mount(const char *path, char *options, size_t size)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char file[64], needle[256];

	(void)snprintf(file, sizeof file, "/proc/%d/mounts", (int)f.agent);
	(void)snprintf(needle, sizeof needle, " %s ", path);
	assert_int_equal(file_read(AT_FDCWD, file, 1 << 20, &text), 0);
	const char *at = strstr(text.data, needle);
	if (at && options)
		(void)snprintf(options, size, "%.*s", (int)strcspn(at + strlen(needle), "\n"),
			       at + strlen(needle));
	return at != NULL;
}

static void storages(void **state)
{
	Grpc__Storage shm = GRPC__STORAGE__INIT, bad = GRPC__STORAGE__INIT,
		      local = GRPC__STORAGE__INIT, bind = GRPC__STORAGE__INIT;
	char shm_path[96], local_path[96], bind_path[96], options[256];
	char *shm_options[] = {(char *)"noexec", (char *)"nosuid", (char *)"nodev",
			       (char *)"mode=1777", (char *)"size=1048576"};
	char *local_options[] = {(char *)"mode=0770", (char *)"fsgid=1234"};
	char *bind_options[] = {(char *)"rbind", (char *)"ro"};
	struct err e = ERR_INIT;
	struct stat st;

	(void)snprintf(shm_path, sizeof shm_path, "%s/a/b/shm", f.dir);
	(void)snprintf(local_path, sizeof local_path, "%s/a/local", f.dir);
	(void)snprintf(bind_path, sizeof bind_path, "%s/a/bind", f.dir);
	shm.driver = (char *)"ephemeral";
	shm.source = (char *)"shm";
	shm.fstype = (char *)"tmpfs";
	shm.mount_point = shm_path;
	shm.options = shm_options;
	shm.n_options = ARRAY_SIZE(shm_options);
	local.driver = (char *)"local";
	local.mount_point = local_path;
	local.options = local_options;
	local.n_options = ARRAY_SIZE(local_options);
	bind.driver = (char *)"bind";
	bind.source = f.rootfs;
	bind.mount_point = bind_path;
	bind.options = bind_options;
	bind.n_options = ARRAY_SIZE(bind_options);
	bad.driver = (char *)"punched-cards";
	bad.mount_point = (char *)"/tmp/nowhere";

	/* one that fails takes down those before it */
	Grpc__Storage *v[] = {&shm, &local, &bind, &bad};
	struct container_options o = {.script = "sleep 1000", .storages = v, .n_storages = 4};
	assert_int_equal(create(&f, "store1", &o, &e), STATUS_UNIMPLEMENTED);
	assert_non_null(strstr(e.text, "punched-cards"));
	assert_false(has_mount(shm_path, NULL, 0));
	assert_false(has_mount(bind_path, NULL, 0));
	assert_int_equal(lstat(shm_path, &st), -1);
	static const char *const paths[] = {"/", "relative", "/a/../b", "/a/."};
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		bad.driver = (char *)"local";
		bad.mount_point = (char *)paths[i];
		assert_int_equal(create(&f, "store1", &o, &e), STATUS_INVALID_ARGUMENT);
	}

	/* two users, one mount; its options are honoured */
	o.n_storages = 3;
	assert_int_equal(create(&f, "store1", &o, &e), STATUS_OK);
	assert_int_equal(create(&f, "store2", &o, &e), STATUS_OK);
	assert_true(has_mount(shm_path, options, sizeof options));
	assert_non_null(strstr(options, "noexec"));
	assert_non_null(strstr(options, "nosuid"));
	assert_non_null(strstr(options, "size=1024k"));
	assert_true(has_mount(bind_path, options, sizeof options));
	assert_non_null(strstr(options, " ro"));
	assert_int_equal(stat(local_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 02770);
	assert_int_equal(st.st_gid, 1234);

	Grpc__UpdateEphemeralMountsRequest q = GRPC__UPDATE_EPHEMERAL_MOUNTS_REQUEST__INIT;
	shm_options[4] = (char *)"size=2097152";
	q.storages = v;
	q.n_storages = 1;
	assert_int_equal(call(&f, "UpdateEphemeralMounts", &q.base, NULL, NULL), STATUS_OK);
	assert_true(has_mount(shm_path, options, sizeof options));
	assert_non_null(strstr(options, "size=2048k"));
	assert_non_null(strstr(options, "noexec"));

	remove_ok("store1");
	assert_true(has_mount(shm_path, NULL, 0));
	remove_ok("store2");
	assert_false(has_mount(bind_path, NULL, 0));
	/* memory and a local directory are the pod's: they stay for the next container */
	assert_true(has_mount(shm_path, NULL, 0));
	assert_int_equal(stat(local_path, &st), 0);
}

/* ---- The sandbox -------------------------------------------------------------------------- */

static void sandbox(void **state)
{
	Grpc__CreateSandboxRequest q = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	Grpc__GetOOMEventRequest oom_q = GRPC__GET_OOMEVENT_REQUEST__INIT;
	Grpc__KernelModule module = GRPC__KERNEL_MODULE__INIT, *modules[] = {&module};
	struct async oom;
	struct err e = ERR_INIT;

	q.sandbox_id = (char *)"pod0";
	q.hostname = (char *)"pod-host";
	q.kernel_modules = modules;
	q.n_kernel_modules = 1;
	module.name = (char *)"no_such_module";
	assert_int_equal(call(&f, "CreateSandbox", &q.base, NULL, &e), STATUS_NOT_FOUND);
	assert_non_null(strstr(e.text, "no_such_module"));
	q.n_kernel_modules = 0;
	assert_int_equal(call(&f, "CreateSandbox", &q.base, NULL, &e), STATUS_OK);
	assert_int_equal(call(&f, "CreateSandbox", &q.base, NULL, &e), STATUS_ALREADY_EXISTS);

	/* nothing has run out of memory, so there is no answer */
	call_async(&f, "GetOOMEvent", &oom_q.base, &oom);
	assert_false(async_wait(&oom, 200));

	/* containers share the pod's name, and each has its own processes */
	run(&f, "pod0", "sleep 1000");
	assert_int_equal(exec_sh(&f, "pod0", "name", "hostname; echo /proc/[0-9]*"), STATUS_OK);
	_cleanup_buf_ struct buf text = BUF_INIT;
	assert_int_equal(read_all(&f, "pod0", "name", false, &text), STATUS_OK);
	assert_memory_equal(text.data, "pod-host\n/proc/1 ", 17);
	struct container_options o = {.script = "echo /proc/[0-9]*"};
	run(&f, "second", "exec ls /proc/1/exe");
	expect_output("second", "", false, "/proc/1/exe\n");
	assert_int_equal(wait_process(&f, "second", ""), 0);

	/* unless the pod shares them: then the first container's are the lower numbers */
	o.sandbox_pidns = true;
	o.script = "echo $$; while read line; do exit 0; done; hostname";
	assert_int_equal(create(&f, "third", &o, &e), STATUS_OK);
	assert_int_equal(start(&f, "third"), STATUS_OK);
	buf_clear(&text);
	size_t len;
	assert_int_equal(read_some(&f, "third", "", false, 100, &text, &len), STATUS_OK);
	assert_int_not_equal(atoi(text.data), 1);
	remove_ok("third");
	remove_ok("second");

	/* whose end is the end of the agent, after its answer */
	Grpc__DestroySandboxRequest end = GRPC__DESTROY_SANDBOX_REQUEST__INIT;
	int status = -1;
	assert_int_equal(call(&f, "DestroySandbox", &end.base, NULL, &e), STATUS_OK);
	assert_int_equal(waitpid(f.agent, &status, 0), f.agent);
	f.agent = 0;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_true(async_wait(&oom, 5000));
	async_end(&oom);
}

/* ---- No residue --------------------------------------------------------------------------- */

static int count_zombies(void)
{
	int zombies = 0;

	DIR *d = opendir("/proc");
	assert_non_null(d);
	for (struct dirent *de; (de = readdir(d));) {
		_cleanup_buf_ struct buf text = BUF_INIT;
		char path[300], c;
		int ppid;
		(void)snprintf(path, sizeof path, "/proc/%s/stat", de->d_name);
		if (file_read(AT_FDCWD, path, 4096, &text) < 0 || !text.data)
			continue;
		const char *at = strrchr(text.data, ')');
		if (at && sscanf(at + 1, " %c %d", &c, &ppid) == 2 && c == 'Z' && ppid == f.agent)
			zombies++;
	}
	closedir(d);
	return zombies;
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

static void nothing_stays_behind(void **state)
{
	run(&f, "warm", "true");
	assert_int_equal(wait_process(&f, "warm", ""), 0);
	remove_ok("warm");
	int before = INT_MAX;
	for (int i = 0; i < 20; i++) { /* the agent opens some for a moment, too */
		int now = count_fds();
		before = now < before ? now : before;
		(void)usleep(5000);
	}
	for (int i = 0; i < 10; i++) {
		run(&f, "clean", "sleep 1000");
		assert_int_equal(exec_sh(&f, "clean", "e1", "sleep 1000 & sleep 1000 &"),
				 STATUS_OK);
		remove_ok("clean");
	}
	for (int i = 0; count_fds() > before && i < 100; i++)
		(void)usleep(20 * 1000);
	assert_int_equal(count_fds(), before);
	for (int i = 0; count_zombies() > 0 && i < 100; i++)
		(void)usleep(100 * 1000);
	assert_int_equal(count_zombies(), 0);
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[64];
	(void)snprintf(path, sizeof path, "/proc/%d/status", (int)f.agent);
	assert_int_equal(file_read(AT_FDCWD, path, 65536, &text), 0);
	const char *rss = strstr(text.data, "VmRSS:");
	printf("# agent %.*s\n", (int)strcspn(rss, "\n"), rss);
}

static int setup(void **state)
{
	fixture_start(&f, agent_program);
	return 0;
}

static int teardown(void **state)
{
	return fixture_stop(&f) == -1 ? 0 : -1;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(health_and_details),
		cmocka_unit_test(what_is_missing_is_said),
		cmocka_unit_test(read_then_wait),
		cmocka_unit_test(processes_are_listed),
		cmocka_unit_test(wait_then_read),
		cmocka_unit_test(calls_of_a_lost_connection_take_nothing_away),
		cmocka_unit_test(signals_and_codes),
		cmocka_unit_test(standard_input),
		cmocka_unit_test(a_background_child_does_not_hold_the_end),
		cmocka_unit_test(terminals),
		cmocka_unit_test(a_hundred_mebibytes_out),
		cmocka_unit_test(a_hundred_mebibytes_in),
		cmocka_unit_test(many_execs_at_once),
		cmocka_unit_test(reads_of_no_bytes_and_too_many),
		cmocka_unit_test(states),
		cmocka_unit_test(one_removal_for_all_who_ask),
		cmocka_unit_test(storages),
		cmocka_unit_test(nothing_stays_behind),
		cmocka_unit_test(sandbox), /* last: it ends the agent */
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s AGENT\n", argv[0]);
		return 2;
	}
	agent_program = argv[1];
	return cmocka_run_group_tests(tests, setup, teardown);
}
