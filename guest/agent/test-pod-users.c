/* SPDX-License-Identifier: Apache-2.0 */
/* Pods whose users are not the guest's. Needs root. */
#include "base/buf.h"
#include "base/testing.h"
#include "guest/agent/test-client.h"

#include <string.h>
#include <sys/wait.h>

static struct fixture f;
static const char *agent_program;

static Grpc__LinuxIDMapping map_v[2], *maps[2];

static void set_maps(uint32_t first)
{
	for (int i = 0; i < 2; i++) {
		grpc__linux_idmapping__init(&map_v[i]);
		maps[i] = &map_v[i];
		map_v[i].containerid = i ? 1000 : 0;
		map_v[i].hostid = first + (i ? 5000 : 0);
		map_v[i].size = 100;
	}
}

/* Creates and starts it; its first process writes what @script does, and ends by itself or not. */
static void run_mapped(const char *id, bool shared_pids, const char *script)
{
	struct err e = ERR_INIT;
	const struct container_options o = {
		.script = script, .mappings = maps, .n_mappings = 2, .sandbox_pidns = shared_pids};
	if (create(&f, id, &o, &e) != STATUS_OK)
		fail_msg("create %s: %s", id, e.text);
	assert_int_equal(start(&f, id), STATUS_OK);
}

static void output(const char *id, const char *exec_id, const char *script, struct buf *text)
{
	assert_int_equal(exec_sh(&f, id, exec_id, script), STATUS_OK);
	assert_int_equal(read_all(&f, id, exec_id, false, text), STATUS_OK);
	buf_append(text, "", 1);
	assert_int_equal(wait_process(&f, id, exec_id), 0);
}

static void remove_ok(const char *id)
{
	assert_int_equal(remove_container(&f, id, 20), STATUS_OK);
}

/* user, ipc and uts; and what it is to be root there */
static const char show[] = "for n in user ipc uts; do readlink /proc/self/ns/$n; done; hostname; "
			   "id -u; read a b c < /proc/self/uid_map; echo $b";

static void containers_with_the_same_maps_share_a_namespace(void **state)
{
	_cleanup_buf_ struct buf a = BUF_INIT, b = BUF_INIT, other = BUF_INIT, plain = BUF_INIT;
	Grpc__CreateSandboxRequest q = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	q.sandbox_id = (char *)"pod0";
	q.hostname = (char *)"pod-host";
	assert_int_equal(call(&f, "CreateSandbox", &q.base, NULL, NULL), STATUS_OK);

	set_maps(100000);
	run_mapped("pod0", false, "sleep 1000");
	output("pod0", "x", show, &a);
	assert_non_null(strstr(a.data, "\npod-host\n0\n100000\n"));
	run_mapped("same", false, "sleep 1000");
	output("same", "x", show, &b);
	assert_string_equal(a.data, b.data);

	/* others have their own, and so has one without */
	set_maps(300000);
	run_mapped("other", false, "sleep 1000");
	output("other", "x", show, &other);
	assert_non_null(strstr(other.data, "\npod-host\n0\n300000\n"));
	assert_int_not_equal(strncmp(other.data, a.data, strcspn(a.data, "\n")), 0);
	run(&f, "plain", "sleep 1000");
	output("plain", "x", show, &plain);
	assert_non_null(strstr(plain.data, "\npod-host\n0\n0\n"));
	remove_ok("plain");
	remove_ok("other");
	remove_ok("same");
}

/* The pod's namespaces outlive the container that made them, as long as there is a sandbox. */
static void a_shared_pid_namespace_is_theirs_too(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT, first = BUF_INIT, again = BUF_INIT;
	set_maps(100000);
	run_mapped("shares", true, "sleep 2000");
	output("shares", "x", "cat /proc/1/cmdline | tr '\\0' ' '", &text);
	assert_non_null(strstr(text.data, "sleep 1000"));
	output("pod0", "y", show, &first);
	remove_ok("shares");
	remove_ok("pod0");
	run_mapped("later", false, "sleep 1000");
	output("later", "x", show, &again);
	assert_string_equal(first.data, again.data);
	remove_ok("later");
}

static void the_end_of_the_sandbox_takes_them(void **state)
{
	Grpc__DestroySandboxRequest end = GRPC__DESTROY_SANDBOX_REQUEST__INIT;
	int status = -1;
	set_maps(100000);
	run_mapped("last", false, "sleep 1000");
	assert_int_equal(call(&f, "DestroySandbox", &end.base, NULL, NULL), STATUS_OK);
	assert_int_equal(waitpid(f.agent, &status, 0), f.agent);
	f.agent = 0;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int setup(void **state)
{
	fixture_start(&f, agent_program);
	return 0;
}

static int teardown(void **state)
{
	(void)fixture_stop(&f);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(containers_with_the_same_maps_share_a_namespace),
		cmocka_unit_test(a_shared_pid_namespace_is_theirs_too),
		cmocka_unit_test(the_end_of_the_sandbox_takes_them),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s AGENT\n", argv[0]);
		return 2;
	}
	agent_program = argv[1];
	return cmocka_run_group_tests(tests, setup, teardown);
}
