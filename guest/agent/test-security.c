/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest is kept from, and what is run beside its containers: policy and guest hooks. Each
 * test has an agent of its own, without a machine. Needs root. */
#include "base/buf.h"
#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/test-client.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define HEAD "package agent_policy\n"
/* All that the tests themselves need. */
#define COMMON                                                               \
	HEAD "CreateContainerRequest := true\nStartContainerRequest := true" \
	     "\nRemoveContainerRequest := true\nWaitProcessRequest := true\n"

static struct fixture f;
static const char *agent_program;

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

/* ---- Policy ------------------------------------------------------------------------------- */

static int set_policy(const char *text, struct err *e)
{
	Grpc__SetPolicyRequest q = GRPC__SET_POLICY_REQUEST__INIT;

	q.policy = (char *)text;
	return call(&f, "SetPolicy", &q.base, NULL, e);
}

static int details(struct err *e)
{
	Grpc__GuestDetailsRequest q = GRPC__GUEST_DETAILS_REQUEST__INIT;
	return call(&f, "GetGuestDetails", &q.base, NULL, e);
}

static void what_a_policy_denies_is_not_done(void **state)
{
	struct err e = ERR_INIT;

	assert_int_equal(details(NULL), STATUS_OK);
	assert_int_equal(set_policy(COMMON "SetPolicyRequest := true\n"
					   "default ExecProcessRequest := false\n",
				    NULL),
			 STATUS_OK);
	assert_int_equal(details(&e), STATUS_PERMISSION_DENIED);
	assert_string_equal(e.text, "GuestDetailsRequest is blocked by policy");
	run(&f, "pod", "sleep 1000");
	assert_int_equal(exec_sh(&f, "pod", "e1", "true"), STATUS_PERMISSION_DENIED);
	assert_int_equal(kill_process(&f, "pod", "", SIGKILL), STATUS_PERMISSION_DENIED);
	/* it is of the agent's API, and the agent can always be asked whether it lives */
	assert_int_equal(call_health(&f, "Check", NULL), STATUS_OK);

	/* one that is not understood leaves the other in force */
	assert_int_equal(
		set_policy(HEAD "ExecProcessRequest {\n\tinput.exec_id == \"e1\"\n}\n", &e),
		STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(e.text, "line 3: \"input\" is not understood"));
	assert_int_equal(exec_sh(&f, "pod", "e1", "true"), STATUS_PERMISSION_DENIED);

	assert_int_equal(set_policy(HEAD "default AllowRequestsFailingPolicy := true\n", NULL),
			 STATUS_OK);
	assert_int_equal(exec_sh(&f, "pod", "e1", "exit 3"), STATUS_OK);
	assert_int_equal(wait_process(&f, "pod", "e1"), 3);

	/* a policy can make itself the last */
	assert_int_equal(set_policy(COMMON, NULL), STATUS_OK);
	assert_int_equal(set_policy(COMMON "SetPolicyRequest := true\n", &e),
			 STATUS_PERMISSION_DENIED);
	assert_int_equal(remove_container(&f, "pod", 20), STATUS_OK);
}

/* The process must not feel it: more output than a pipe holds, and then its end. */
static void output_that_may_not_be_read_is_empty(void **state)
{
	_cleanup_buf_ struct buf out = BUF_INIT, errout = BUF_INIT;

	assert_int_equal(set_policy(COMMON "ReadStreamRequest := false\n", NULL), STATUS_OK);
	run(&f, "quiet", "dd if=/dev/zero bs=65536 count=100; echo secret >&2; exit 7");
	assert_int_equal(read_all(&f, "quiet", "", false, &out), STATUS_OK);
	assert_int_equal(out.len, 0);
	assert_int_equal(read_all(&f, "quiet", "", true, &errout), STATUS_OK);
	assert_int_equal(errout.len, 0);
	assert_int_equal(wait_process(&f, "quiet", ""), 7);
	size_t len;
	assert_int_equal(read_some(&f, "nobody", "", false, 100, NULL, &len), STATUS_NOT_FOUND);
	assert_int_equal(remove_container(&f, "quiet", 20), STATUS_OK);
}

/* A stream that the host opens is a way around the requests, so what they may not, it may not. */
static void streams_are_no_way_around(void **state)
{
	Grpc__ExecProcessRequest q = GRPC__EXEC_PROCESS_REQUEST__INIT;
	Grpc__Process p = GRPC__PROCESS__INIT;
	char *args[] = {(char *)"/bin/true"};
	struct err e = ERR_INIT;

	assert_int_equal(set_policy(COMMON "ExecProcessRequest := true\n"
					   "WriteStreamRequest := true\n",
				    NULL),
			 STATUS_OK);
	run(&f, "pod", "sleep 1000");
	p.args = args;
	p.n_args = 1;
	p.cwd = (char *)"/";
	q.container_id = (char *)"pod";
	q.exec_id = (char *)"e1";
	q.process = &p;
	q.stdout_port = 5000;
	assert_int_equal(call(&f, "ExecProcess", &q.base, NULL, &e), STATUS_PERMISSION_DENIED);
	assert_string_equal(e.text, "stdio by port 5000: ReadStreamRequest is blocked by policy");
	/* this one fails as it would without a policy */
	q.stdout_port = 0;
	q.stdin_port = 5000;
	assert_int_equal(call(&f, "ExecProcess", &q.base, NULL, &e), STATUS_INVALID_ARGUMENT);
	assert_int_equal(remove_container(&f, "pod", 20), STATUS_OK);
}

static void write_policy(char *path, const char *text)
{
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	(void)close(fd);
	(void)setenv("KATA_AGENT_POLICY_FILE", path, 1);
}

static void a_policy_of_the_image_is_there_from_the_start(void **state)
{
	char path[] = "/tmp/test-security-XXXXXX";

	write_policy(path, HEAD "GuestDetailsRequest := false\n");
	fixture_start(&f, agent_program);
	assert_int_equal(details(NULL), STATUS_PERMISSION_DENIED);
	(void)fixture_stop(&f);
	(void)unsetenv("KATA_AGENT_POLICY_FILE");
	(void)unlink(path);
}

/* Runs the agent to its end, with what it says on stderr. */
static int run_agent(char *said, size_t size)
{
	int fds[2];
	size_t len = 0;

	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		(void)dup2(fds[1], 2);
		(void)dup2(fds[1], 1);
		(void)setenv("KATA_AGENT_SERVER_ADDR", "unix://@test-security-none", 1);
		(void)setenv("KATA_AGENT_STATE_DIR", "/tmp/test-security-state", 1);
		execl(agent_program, "kata-agent", (char *)NULL);
		_exit(127);
	}
	(void)close(fds[1]);
	for (ssize_t n; len < size - 1 && (n = read(fds[0], said + len, size - 1 - len)) > 0;)
		len += (size_t)n;
	said[len] = '\0';
	(void)close(fds[0]);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void an_agent_without_its_policy_does_not_serve(void **state)
{
	char path[] = "/tmp/test-security-XXXXXX", said[4096];

	write_policy(path, HEAD "\nExecProcessRequest := input.ok\n");
	assert_int_equal(run_agent(said, sizeof said), 1 << 8);
	if (!strstr(said, "line 3: \"input\" is not understood"))
		fail_msg("it says: %s", said);
	(void)unlink(path);
	assert_int_equal(run_agent(said, sizeof said), 1 << 8);
	assert_non_null(strstr(said, path));
	(void)unsetenv("KATA_AGENT_POLICY_FILE");
	(void)remove_tree("/tmp/test-security-state");
}

/* ---- Guest hooks -------------------------------------------------------------------------- */

static void write_hook(const char *name, const char *script, mode_t mode)
{
	char path[256];

	(void)snprintf(path, sizeof path, "%s/hooks/%s", f.dir, name);
	*strrchr(path, '/') = '\0';
	assert_int_equal(mkdir_parents(path, 0755), 0);
	(void)snprintf(path, sizeof path, "%s/hooks/%s", f.dir, name);
	assert_int_equal(file_replace(path, script, strlen(script), mode), 0);
}

static int create_sandbox(const char *hooks)
{
	Grpc__CreateSandboxRequest q = GRPC__CREATE_SANDBOX_REQUEST__INIT;

	q.sandbox_id = (char *)"hooked";
	q.guest_hook_path = (char *)hooks;
	return call(&f, "CreateSandbox", &q.base, NULL, NULL);
}

/* It ends the agent. */
static void destroy_sandbox(void)
{
	Grpc__DestroySandboxRequest q = GRPC__DESTROY_SANDBOX_REQUEST__INIT;
	assert_int_equal(call(&f, "DestroySandbox", &q.base, NULL, NULL), STATUS_OK);
}

/* The next line of the log, without its end. */
static char *next_line(char **at)
{
	char *line = *at, *end = line ? strchr(line, '\n') : NULL;

	assert_non_null(end);
	*end = '\0';
	*at = end + 1;
	return line;
}

static void expect_hook(char **at, const char *name, const char *kind, const char *status)
{
	char start[64], state[64];
	const char *line = next_line(at);

	(void)snprintf(start, sizeof start, "%s %s {", name, kind);
	(void)snprintf(state, sizeof state, "\"status\":\"%s\"", status);
	if (strncmp(line, start, strlen(start)) != 0 || !strstr(line, state) ||
	    !strstr(line, "\"id\":\"hooked\""))
		fail_msg("%s%s: %s", start, state, line);
}

static void hooks_of_the_image_run_for_every_container(void **state)
{
	char script[256], dir[128], log[128], path[256];
	_cleanup_buf_ struct buf b = BUF_INIT;

	(void)snprintf(dir, sizeof dir, "%s/hooks", f.dir);
	(void)snprintf(log, sizeof log, "%s/hooks.log", f.dir);
	(void)snprintf(script, sizeof script,
		       "#!/bin/sh\nread -r state\necho \"${0##*/} $1 $state\" >>%s\n", log);
	write_hook("prestart/20-second", script, 0755);
	write_hook("prestart/10-first", script, 0700);
	write_hook("prestart/30-plain-file", script, 0644);
	write_hook("poststart/after", script, 0755);
	write_hook("poststop/end", script, 0755);
	write_hook("elsewhere/never", script, 0755);
	write_hook("prestart/40-directory/never", script, 0755);
	(void)snprintf(path, sizeof path, "%s/prestart/50-link", dir);
	assert_int_equal(symlink("10-first", path), 0);

	assert_int_equal(create_sandbox(dir), STATUS_OK);
	run(&f, "hooked", "sleep 1000");
	assert_int_equal(remove_container(&f, "hooked", 20), STATUS_OK);
	assert_int_equal(file_read(AT_FDCWD, log, 1 << 20, &b), 0);
	char *at = b.data;
	expect_hook(&at, "10-first", "prestart", "creating");
	expect_hook(&at, "20-second", "prestart", "creating");
	expect_hook(&at, "after", "poststart", "running");
	expect_hook(&at, "end", "poststop", "stopped");
	assert_string_equal(at, "");
	destroy_sandbox();
}

static void a_hook_of_the_image_can_refuse_a_container(void **state)
{
	struct err e = ERR_INIT;
	char dir[128];

	(void)snprintf(dir, sizeof dir, "%s/hooks", f.dir);
	write_hook("prestart/no", "#!/bin/sh\necho not here >&2; exit 4\n", 0755);
	assert_int_equal(create_sandbox(dir), STATUS_OK);
	assert_int_not_equal(
		create(&f, "refused", &(struct container_options){.script = "true"}, &e),
		STATUS_OK);
	assert_non_null(strstr(e.text, "prestart/no failed with exit code 4: not here"));
	assert_int_equal(remove_container(&f, "refused", 20), STATUS_NOT_FOUND);
	destroy_sandbox();
}

static void a_sandbox_does_without_hooks_that_are_not_there(void **state)
{
	assert_int_equal(create_sandbox("/nonexistent/hooks"), STATUS_OK);
	run(&f, "plain", "exit 5");
	assert_int_equal(wait_process(&f, "plain", ""), 5);
	assert_int_equal(remove_container(&f, "plain", 20), STATUS_OK);
	destroy_sandbox();
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_a_policy_denies_is_not_done, setup, teardown),
		cmocka_unit_test_setup_teardown(output_that_may_not_be_read_is_empty, setup,
						teardown),
		cmocka_unit_test_setup_teardown(streams_are_no_way_around, setup, teardown),
		cmocka_unit_test(a_policy_of_the_image_is_there_from_the_start),
		cmocka_unit_test(an_agent_without_its_policy_does_not_serve),
		cmocka_unit_test_setup_teardown(hooks_of_the_image_run_for_every_container, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_hook_of_the_image_can_refuse_a_container, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_sandbox_does_without_hooks_that_are_not_there,
						setup, teardown),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s AGENT\n", argv[0]);
		return 2;
	}
	agent_program = argv[1];
	return RUN_TESTS();
}
