/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/config-file.h"

#include "base/fd.h"
#include "base/testing.h"

#include <signal.h>
#include <string.h>

static const char *parser;
static char path[64];

struct complaints {
	int n;
	char last[512];
};

static void complain(void *ctx, const char *text)
{
	struct complaints *c = ctx;
	c->n++;
	(void)snprintf(c->last, sizeof c->last, "%s", text);
}

static int read_text(const char *toml, struct agent_options *o, struct complaints *c, struct err *e)
{
	memset(c, 0, sizeof *c);
	agent_options_default(o);
	assert_int_equal(file_replace(path, toml, strlen(toml), 0600), 0);
	int r = config_file_read(o, path, parser, complain, c, e);
	(void)unlink(path);
	return r;
}

static void the_fields_keys_are_read(void **state)
{
	struct agent_options o;
	struct complaints c;

	assert_int_equal(read_text("dev_mode = true\n"
				   "server_addr = 'vsock://-1:2048'\n"
				   "log_level = 'debug'\n"
				   "debug_console_vport = 1026\n"
				   "container_pipe_size = 2097152\n"
				   "hotplug_timeout = 10\n"
				   "tracing = false\n"
				   "policy_file = '/etc/p.rego'\n"
				   "[image_pull_timeout]\nsecs = 7\nnanos = 0\n",
				   &o, &c, NULL),
			 0);
	assert_string_equal(c.last, "");
	assert_true(o.devmode);
	assert_string_equal(o.server_addr, "vsock://-1:2048");
	assert_int_equal(o.log_level, LOG_DEBUG);
	assert_int_equal(o.debug_console_vport, 1026);
	assert_int_equal(o.pipe_size, 2097152);
	assert_int_equal(o.hotplug_timeout_s, 10);
	assert_int_equal(o.image_pull_timeout_s, 7);
	assert_int_equal(o.cdh_api_timeout_s, 50);
	assert_string_equal(o.policy_file, "/etc/p.rego");
}

static void what_is_wrong_is_said(void **state)
{
	struct agent_options o;
	struct complaints c;
	struct err e = ERR_INIT;

	assert_int_equal(read_text("colour = 'red'", &o, &c, NULL), 0);
	assert_int_equal(c.n, 1);
	assert_string_equal(c.last, "colour: unknown");
	assert_int_equal(read_text("debug_console = 'maybe'", &o, &c, NULL), 0);
	assert_int_equal(c.n, 1);
	assert_false(o.debug_console);
	assert_int_equal(read_text("tracing = true", &o, &c, NULL), 0);
	assert_int_equal(c.n, 1);
	assert_int_equal(read_text("hotplug_timeout = [1]", &o, &c, NULL), 0);
	assert_int_equal(c.n, 1);
	assert_int_equal(o.hotplug_timeout_s, 3);

	assert_true(read_text("a = ", &o, &c, &e) < 0);
	assert_non_null(strstr(e.text, "TOML:1:"));
	e = ERR_INIT;
	assert_int_equal(config_file_read(&o, "/nonexistent/c", parser, complain, &c, &e), -ENOENT);
	assert_non_null(strstr(e.text, "/nonexistent/c"));
}

static void without_the_parser_it_is_said(void **state)
{
	struct agent_options o;
	struct complaints c;
	struct err e = ERR_INIT;

	parser = "/nonexistent/parser";
	assert_int_equal(read_text("dev_mode = true", &o, &c, &e), -ENOENT);
	assert_non_null(strstr(e.text, "/nonexistent/parser"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_fields_keys_are_read), cmocka_unit_test(what_is_wrong_is_said),
		cmocka_unit_test(
			without_the_parser_it_is_said), /* last: it takes the parser away */
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s PARSER\n", argv[0]);
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	parser = argv[1];
	(void)snprintf(path, sizeof path, "/tmp/runtime-c-test-config-%d", (int)getpid());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
