/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's calls that control groups answer, with the controllers of this machine, be they of
 * version 1 or 2: updates, statistics, pausing, and the events of a lack of memory.
 */
#include "guest/agent/test-client.h"

#include "base/fd.h"
#include "base/testing.h"
#include "sys/cgroup.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define ROOT "/sys/fs/cgroup"
#define MIB (1 << 20)

static const char *program;
static struct fixture f;
static char one[32], two[32]; /* ids, which name groups of the whole machine */

static int setup(void **state)
{
	unsigned n;
	assert_int_equal(getentropy(&n, sizeof n), 0);
	(void)snprintf(one, sizeof one, "one-%x", n);
	(void)snprintf(two, sizeof two, "two-%x", n);
	assert_true(cgroup_version(ROOT) > 0);
	(void)setenv("KATA_AGENT_CGROUP_ROOT", ROOT, 1);
	fixture_start(&f, program);
	return 0;
}

static int teardown(void **state)
{
	int status = fixture_stop(&f);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static void remove_ok(const char *id)
{
	char relative[64];
	(void)snprintf(relative, sizeof relative, "/%s", id);
	const struct cgroup own = {
		.version = cgroup_version(ROOT), .root = (char *)ROOT, .relative = relative};
	assert_int_equal(cgroup_exists(&own), 0);
	assert_int_equal(remove_container(&f, id, 20), STATUS_OK);
	assert_int_equal(cgroup_exists(&own), -ENOENT);
}

static void create_limited(const char *id, const char *script, int64_t memory)
{
	Grpc__LinuxResources r = GRPC__LINUX_RESOURCES__INIT;
	Grpc__LinuxMemory m = GRPC__LINUX_MEMORY__INIT;
	struct err e = ERR_INIT;
	m.limit = m.swap = memory;
	r.memory = &m;
	const struct container_options o = {.script = script, .resources = &r};
	if (create(&f, id, &o, &e) != STATUS_OK)
		fail_msg("%s", e.text);
	assert_int_equal(start(&f, id), STATUS_OK);
}

static void ask(struct async *a)
{
	Grpc__GetOOMEventRequest q = GRPC__GET_OOMEVENT_REQUEST__INIT;
	call_async(&f, "GetOOMEvent", &q.base, a);
}

static void expect_event(struct async *a, const char *id)
{
	assert_true(async_wait(a, 20000));
	assert_int_equal(a->status, STATUS_OK);
	assert_string_equal(((Grpc__OOMEvent *)a->response)->container_id, id);
	async_end(a);
}

static void each_lack_of_memory_is_told(void **state)
{
	static const char hungry[] = "dd if=/dev/zero of=/dev/null bs=100M count=1";
	struct async event;

	create_limited(one, "while sleep 1; do :; done", 32 * MIB);
	create_limited(two, "while sleep 1; do :; done", 32 * MIB);
	ask(&event);
	assert_false(async_wait(&event, 200));
	/* its children, which nobody waits for but the container itself */
	for (int i = 0; i < 3; i++) {
		char exec_id[8];
		(void)snprintf(exec_id, sizeof exec_id, "e%d", i);
		assert_int_equal(exec_sh(&f, one, exec_id, hungry), STATUS_OK);
		expect_event(&event, one);
		(void)wait_process(&f, one, exec_id);
		ask(&event);
		assert_false(async_wait(&event, 100));
	}
	assert_int_equal(exec_sh(&f, two, "e", hungry), STATUS_OK);
	expect_event(&event, two);
	(void)wait_process(&f, two, "e");

	/* nobody asks; then somebody does */
	assert_int_equal(exec_sh(&f, one, "late", hungry), STATUS_OK);
	assert_int_not_equal(wait_process(&f, one, "late"), 0);
	ask(&event);
	expect_event(&event, one);

	remove_ok(one);
	remove_ok(two);
	/* whose end was its init's */
	create_limited(one, "exec dd if=/dev/zero of=/dev/null bs=100M count=1", 32 * MIB);
	ask(&event);
	expect_event(&event, one);
	assert_int_equal(wait_process(&f, one, ""), 128 + SIGKILL);
	remove_ok(one);
}

static Grpc__StatsContainerResponse *get_stats(const char *id)
{
	Grpc__StatsContainerRequest q = GRPC__STATS_CONTAINER_REQUEST__INIT;
	Grpc__StatsContainerResponse *m = NULL;
	q.container_id = (char *)id;
	assert_int_equal(call(&f, "StatsContainer", &q.base, &m, NULL), STATUS_OK);
	return m;
}

static uint64_t stat_of(const Grpc__MemoryStats *m, const char *key)
{
	for (size_t i = 0; i < m->n_stats; i++)
		if (strcmp(m->stats[i]->key, key) == 0)
			return m->stats[i]->value;
	fail_msg("no %s", key);
	return 0;
}

static void update(const char *id, Grpc__LinuxResources *r)
{
	Grpc__UpdateContainerRequest q = GRPC__UPDATE_CONTAINER_REQUEST__INIT;
	struct err e = ERR_INIT;
	q.container_id = (char *)id;
	q.resources = r;
	if (call(&f, "UpdateContainer", &q.base, NULL, &e) != STATUS_OK)
		fail_msg("%s", e.text);
}

static void statistics_follow_what_is_done(void **state)
{
	Grpc__LinuxResources r = GRPC__LINUX_RESOURCES__INIT;
	Grpc__LinuxCPU cpu = GRPC__LINUX_CPU__INIT;
	Grpc__LinuxMemory memory = GRPC__LINUX_MEMORY__INIT;
	Grpc__LinuxPids pids = GRPC__LINUX_PIDS__INIT;

	/* 8 MiB in a file that is read once, so that they can be had back */
	create_limited(one,
		       "dd if=/dev/zero of=/tmp/big bs=1M count=8 2>/dev/null; echo up; "
		       "i=0; while test $i -lt 20000; do i=$((i+1)); done; echo; sleep 1000",
		       64 * MIB);
	_cleanup_buf_ struct buf text = BUF_INIT;
	size_t len;
	assert_int_equal(read_some(&f, one, "", false, 100, &text, &len), STATUS_OK);
	assert_int_equal(read_some(&f, one, "", false, 100, &text, &len), STATUS_OK);
	Grpc__StatsContainerResponse *m = get_stats(one);
	const Grpc__CgroupStats *c = m->cgroup_stats;
	assert_true(c->cpu_stats->cpu_usage->total_usage > 1000000);
	assert_int_equal(c->memory_stats->usage->limit, 64 * MIB);
	assert_true(c->memory_stats->usage->usage > 0);
	assert_true(c->memory_stats->swap_usage->usage >= c->memory_stats->usage->usage ||
		    c->memory_stats->swap_usage->usage == 0);
	assert_true(stat_of(c->memory_stats, "total_cache") >= 8 * MIB);
	assert_true(stat_of(c->memory_stats, "total_inactive_file") <=
		    c->memory_stats->usage->usage);
	assert_true(c->memory_stats->cache >= 8 * MIB);
	assert_true(c->pids_stats->current >= 1);
	assert_int_equal(c->pids_stats->limit, 0);
	grpc__stats_container_response__free_unpacked(m, NULL);

	/* a tenth of a processor, and few processes */
	cpu.quota = 10000;
	cpu.period = 100000;
	pids.limit = 17;
	r.cpu = &cpu;
	r.pids = &pids;
	update(one, &r);
	assert_int_equal(
		exec_sh(&f, one, "busy", "i=0; while test $i -lt 20000; do i=$((i+1)); done"),
		STATUS_OK);
	assert_int_equal(wait_process(&f, one, "busy"), 0);
	m = get_stats(one);
	assert_true(m->cgroup_stats->cpu_stats->throttling_data->throttled_periods > 0);
	assert_true(m->cgroup_stats->cpu_stats->throttling_data->throttled_time > 1000000);
	assert_int_equal(m->cgroup_stats->pids_stats->limit, 17);
	grpc__stats_container_response__free_unpacked(m, NULL);

	/* without resources, or with the zeroes of those who have none: as it was */
	update(one, NULL);
	cpu = (Grpc__LinuxCPU)GRPC__LINUX_CPU__INIT;
	r.pids = NULL;
	r.memory = &memory;
	update(one, &r);
	m = get_stats(one);
	assert_int_equal(m->cgroup_stats->memory_stats->usage->limit, 64 * MIB);
	assert_int_equal(m->cgroup_stats->pids_stats->limit, 17);
	grpc__stats_container_response__free_unpacked(m, NULL);

	/* none at all */
	memory.limit = pids.limit = cpu.quota = -1;
	r.pids = &pids;
	update(one, &r);
	m = get_stats(one);
	assert_true(m->cgroup_stats->memory_stats->usage->limit > INT64_MAX / 2);
	assert_int_equal(m->cgroup_stats->pids_stats->limit, 0);
	grpc__stats_container_response__free_unpacked(m, NULL);

	/* what cannot be */
	Grpc__UpdateContainerRequest q = GRPC__UPDATE_CONTAINER_REQUEST__INIT;
	struct err e = ERR_INIT;
	q.container_id = one;
	q.resources = &r;
	memory.limit = 4096;
	memory.checkbeforeupdate = true;
	assert_int_equal(call(&f, "UpdateContainer", &q.base, NULL, &e),
			 STATUS_FAILED_PRECONDITION);
	assert_non_null(strstr(e.text, "memory.limit 4096 is less than what is in use"));
	q.container_id = (char *)"nobody";
	assert_int_not_equal(call(&f, "UpdateContainer", &q.base, NULL, &e), STATUS_OK);
	remove_ok(one);
}

static void a_paused_container_stands_still(void **state)
{
	Grpc__PauseContainerRequest pause_q = GRPC__PAUSE_CONTAINER_REQUEST__INIT;
	Grpc__ResumeContainerRequest resume_q = GRPC__RESUME_CONTAINER_REQUEST__INIT;
	Grpc__ReadStreamRequest read_q = GRPC__READ_STREAM_REQUEST__INIT;
	struct async reading;

	create_limited(one, "read line; echo $line; sleep 1000", 64 * MIB);
	pause_q.container_id = resume_q.container_id = read_q.container_id = one;
	assert_int_equal(call(&f, "PauseContainer", &pause_q.base, NULL, NULL), STATUS_OK);
	assert_int_equal(exec_sh(&f, one, "e", "true"), STATUS_FAILED_PRECONDITION);
	assert_int_equal(write_stdin(&f, one, "", "hello\n", 6), STATUS_OK);
	read_q.len = 100;
	call_async(&f, "ReadStdout", &read_q.base, &reading);
	assert_false(async_wait(&reading, 300));
	assert_int_equal(call(&f, "ResumeContainer", &resume_q.base, NULL, NULL), STATUS_OK);
	assert_true(async_wait(&reading, 20000));
	assert_int_equal(((Grpc__ReadStreamResponse *)reading.response)->data.len, 6);
	async_end(&reading);
	/* removed while it is paused */
	assert_int_equal(call(&f, "PauseContainer", &pause_q.base, NULL, NULL), STATUS_OK);
	remove_ok(one);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_lack_of_memory_is_told),
		cmocka_unit_test(statistics_follow_what_is_done),
		cmocka_unit_test(a_paused_container_stands_still),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s KATA_AGENT\n", argv[0]);
		return 2;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, setup, teardown);
}
