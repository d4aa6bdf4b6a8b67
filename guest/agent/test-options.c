/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/options.h"

#include "base/testing.h"
#include "guest/agent/component-plan.h"

#include <string.h>

struct complaints {
	int n;
	char last[512];
};

static void on_warn(void *ctx, const char *text)
{
	struct complaints *c = ctx;
	c->n++;
	(void)snprintf(c->last, sizeof c->last, "%s", text);
}

static int parse(struct agent_options *o, struct complaints *c, const char *cmdline)
{
	memset(c, 0, sizeof *c);
	agent_options_default(o);
	agent_options_parse(o, cmdline, on_warn, c);
	return c->n;
}

static void good_values(void **state)
{
	struct agent_options o;
	struct complaints c;

	assert_int_equal(parse(&o, &c, ""), 0);
	assert_string_equal(o.server_addr, "vsock://-1:1024");
	assert_string_equal(agent_options_forward(&o), "vsock://-1:1028");
	assert_int_equal(o.log_level, LOG_INFO);
	assert_int_equal(parse(&o, &c,
			       "console=ttyS0 agent.log=debug\tagent.log_vport=1025 "
			       "agent.server_addr=unix:///x agent.container_pipe_size=65536 "
			       "cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1 reboot=k\n"),
			 0);
	assert_int_equal(o.log_level, LOG_DEBUG);
	assert_int_equal(o.log_vport, 1025);
	assert_string_equal(o.server_addr, "unix:///x");
	assert_null(agent_options_forward(&o));
	assert_int_equal(o.pipe_size, 65536);
	assert_true(o.cgroup_no_v1);
	assert_true(o.unified_cgroups);
	static const struct {
		const char *word;
		enum log_level level;
	} levels[] = {{"trace", LOG_TRACE},    {"debug", LOG_DEBUG},  {"info", LOG_INFO},
		      {"warn", LOG_WARN},      {"warning", LOG_WARN}, {"error", LOG_ERROR},
		      {"critical", LOG_ERROR}, {"fatal", LOG_ERROR},  {"panic", LOG_ERROR}};
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		char text[64];
		(void)snprintf(text, sizeof text, "agent.log=%s", levels[i].word);
		assert_int_equal(parse(&o, &c, text), 0);
		assert_int_equal(o.log_level, levels[i].level);
	}
	assert_int_equal(
		parse(&o, &c, "systemd.unified_cgroup_hierarchy=false cgroup_no_v1=memory"), 0);
	assert_false(o.unified_cgroups);
	assert_false(o.cgroup_no_v1);
}

static void bad_values_are_reported_and_ignored(void **state)
{
	static const char *const bad[] = {
		"agent.log",
		"agent.log=",
		"agent.log=loud",
		"agent.log_vport",
		"agent.log_vport=x",
		"agent.log_vport=-1",
		"agent.log_vport=99999999999",
		"agent.log_vport=1025x",
		"agent.log_vport= 5",
		"agent.server_addr",
		"agent.server_addr=",
		"agent.container_pipe_size=-5",
		"agent.container_pipe_size=1e3",
		"systemd.unified_cgroup_hierarchy=maybe",
	};
	struct agent_options o, expected;
	struct complaints c;

	agent_options_default(&expected);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(parse(&o, &c, bad[i]), 1);
		assert_memory_equal(&o, &expected, sizeof o);
	}
	/* 0 means "none" where a port is wanted: no complaint */
	assert_int_equal(parse(&o, &c, "agent.log_vport=0"), 0);
	assert_memory_equal(&o, &expected, sizeof o);

	char text[AGENT_CMDLINE_MAX * 2];
	memset(text, 'a', sizeof text);
	memcpy(text, "agent.server_addr=", 18);
	text[300] = '\0';
	assert_int_equal(parse(&o, &c, text), 1);
	assert_non_null(strstr(c.last, "127"));
	assert_string_equal(o.server_addr, "vsock://-1:1024");
	text[300] = ' ';
	text[sizeof text - 1] = '\0';
	assert_int_equal(parse(&o, &c, text), 2);
}

static void what_cannot_be_done_is_said(void **state)
{
	struct agent_options o;
	struct complaints c;

	assert_int_equal(parse(&o, &c, "agent.trace=true"), 1);
	assert_non_null(strstr(c.last, "agent.trace"));
	assert_int_equal(parse(&o, &c, "agent.debug_console=true"), 1);
	assert_false(o.debug_console);
	assert_int_equal(parse(&o, &c,
			       "agent.debug_console agent.debug_console_vport=1026 "
			       "agent.passfd_listener_port=1027"),
			 0);
	assert_true(o.debug_console);
	assert_int_equal(o.debug_console_vport, 1026);
	assert_int_equal(o.passfd_vport, 1027);
	assert_int_equal(parse(&o, &c, "agent.cdh_api_timeout=70 agent.hotplug_timeout=0"), 0);
	assert_int_equal(o.cdh_api_timeout_s, 70);
	assert_int_equal(o.hotplug_timeout_s, 3);
	assert_true(o.secure_storage_integrity);
	assert_int_equal(parse(&o, &c, "agent.secure_storage_integrity=false"), 0);
	assert_false(o.secure_storage_integrity);
}

static void components_are_chosen(void **state)
{
	struct agent_options o;
	struct complaints c;

	assert_int_equal(parse(&o, &c, ""), 0);
	assert_int_equal(o.components_level, COMPONENTS_DEFAULT);
	assert_string_equal(agent_rest_apis[o.rest_api], "resource");
	assert_int_equal(parse(&o, &c,
			       "agent.guest_components_procs=confidential-data-hub "
			       "agent.guest_components_rest_api=all agent.no_proxy=a,b "
			       "agent.https_proxy=http://proxy:81/"),
			 0);
	assert_int_equal(o.components_level, COMPONENTS_DATA_HUB);
	assert_string_equal(agent_rest_apis[o.rest_api], "all");
	assert_string_equal(o.https_proxy, "http://proxy:81/");
	assert_string_equal(o.no_proxy, "a,b");
	assert_int_equal(parse(&o, &c, "agent.guest_components_procs=none"), 0);
	assert_int_equal(o.components_level, COMPONENTS_NONE);
	assert_int_equal(parse(&o, &c, "agent.guest_components_procs=some"), 1);
	assert_int_equal(o.components_level, COMPONENTS_DEFAULT);
	assert_int_equal(parse(&o, &c, "agent.guest_components_rest_api"), 1);
	agent_options_set(&o, "guest_components_procs", "attestation-agent", NULL, NULL);
	assert_int_equal(o.components_level, COMPONENTS_ATTESTATION_AGENT);
}

static void the_environment_wins(void **state)
{
	struct agent_options o;
	struct complaints c;

	(void)parse(&o, &c, "agent.server_addr=unix:///a agent.log=error");
	assert_int_equal(setenv("KATA_AGENT_SERVER_ADDR", "unix://@b", 1), 0);
	assert_int_equal(setenv("KATA_AGENT_LOG_LEVEL", "nonsense", 1), 0);
	agent_options_environment(&o, on_warn, &c);
	assert_string_equal(o.server_addr, "unix://@b");
	assert_int_equal(o.log_level, LOG_ERROR);
	assert_int_equal(c.n, 1);
	assert_null(agent_options_forward(&o));
	assert_int_equal(setenv("KATA_AGENT_FORWARD_ADDR", "unix://@c", 1), 0);
	agent_options_environment(&o, NULL, NULL);
	assert_string_equal(agent_options_forward(&o), "unix://@c");
	(void)unsetenv("KATA_AGENT_FORWARD_ADDR");
	(void)unsetenv("KATA_AGENT_SERVER_ADDR");
	(void)unsetenv("KATA_AGENT_LOG_LEVEL");
}

/* Every parameter that there is, with a value that it takes; and words that nobody takes for one.
 */
static const struct {
	const char *word;
	size_t offset, size;
	const char *bad[4];
} rows[] = {
#define AT(member) offsetof(struct agent_options, member), sizeof((struct agent_options *)0)->member
	{"agent.log=debug", AT(log_level), {"agent.log=", "agent.log=debugs", "agent.log=7"}},
	{"agent.config_file=/etc/agent.toml", AT(config_file), {"agent.config_file="}},
	{"agent.server_addr=unix://@x", AT(server_addr), {"agent.server_addr="}},
	{"agent.log_vport=1025",
	 AT(log_vport),
	 {"agent.log_vport=-1", "agent.log_vport=2147483648", "agent.log_vport=0x10"}},
	{"agent.debug_console",
	 AT(debug_console),
	 {"agent.debug_console=", "agent.debug_console=1"}},
	{"agent.devmode", AT(devmode), {"agent.devmode=", "agent.devmode=true"}},
	{"agent.debug_console_vport=1026",
	 AT(debug_console_vport),
	 {"agent.debug_console_vport", "agent.debug_console_vport=+1"}},
	{"agent.passfd_listener_port=1027",
	 AT(passfd_vport),
	 {"agent.passfd_listener_port=", "agent.passfd_listener_port=1.5"}},
	{"agent.container_pipe_size=4096",
	 AT(pipe_size),
	 {"agent.container_pipe_size=4k", "agent.container_pipe_size=-1"}},
	{"agent.hotplug_timeout=4",
	 AT(hotplug_timeout_s),
	 {"agent.hotplug_timeout=", "agent.hotplug_timeout=-3", "agent.hotplug_timeout=3s"}},
	{"agent.cdh_api_timeout=51",
	 AT(cdh_api_timeout_s),
	 {"agent.cdh_api_timeout", "agent.cdh_api_timeout=99999999999999999999"}},
	{"agent.image_pull_timeout=1", AT(image_pull_timeout_s), {"agent.image_pull_timeout=x"}},
	{"agent.cdi_timeout=1", AT(cdi_timeout_s), {"agent.cdi_timeout=-"}},
	{"agent.launch_process_timeout=1",
	 AT(launch_process_timeout_s),
	 {"agent.launch_process_timeout=1,5"}},
	{"agent.secure_storage_integrity=0",
	 AT(secure_storage_integrity),
	 {"agent.secure_storage_integrity=", "agent.secure_storage_integrity=no",
	  "agent.secure_storage_integrity=True"}},
	{"systemd.unified_cgroup_hierarchy",
	 AT(unified_cgroups),
	 {"systemd.unified_cgroup_hierarchy=", "systemd.unified_cgroup_hierarchy=yes"}},
	{"cgroup_no_v1=all", AT(cgroup_no_v1), {NULL}},
	{"agent.guest_components_procs=none",
	 AT(components_level),
	 {"agent.guest_components_procs",
	  "agent.guest_components_procs=", "agent.guest_components_procs=all"}},
	{"agent.guest_components_rest_api=all",
	 AT(rest_api),
	 {"agent.guest_components_rest_api=", "agent.guest_components_rest_api=none"}},
	{"agent.https_proxy=http://proxy:81", AT(https_proxy), {"agent.https_proxy="}},
	{"agent.no_proxy=10.0.0.0/8,x", AT(no_proxy), {"agent.no_proxy"}},
#undef AT
};

static void each_parameter_sets_its_own_field(void **state)
{
	struct agent_options o, expected;
	struct complaints c;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(parse(&o, &c, rows[i].word), 0);
		agent_options_default(&expected);
		assert_memory_not_equal((char *)&o + rows[i].offset,
					(char *)&expected + rows[i].offset, rows[i].size);
		memcpy((char *)&expected + rows[i].offset, (char *)&o + rows[i].offset,
		       rows[i].size);
		assert_memory_equal(&o, &expected, sizeof o);
	}
}

/* Also after a good one, which stays; the complaint names the parameter. */
static void a_bad_value_never_changes_a_good_one(void **state)
{
	struct agent_options o, expected;
	struct complaints c;
	char text[256], name[64];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		(void)parse(&expected, &c, rows[i].word);
		for (const char *const *bad = rows[i].bad; *bad; bad++) {
			(void)snprintf(text, sizeof text, "%s %s", rows[i].word, *bad);
			if (parse(&o, &c, text) != 1)
				fail_msg("%s: %d complaints", *bad, c.n);
			assert_memory_equal(&o, &expected, sizeof o);
			(void)snprintf(name, sizeof name, "%.*s", (int)strcspn(*bad, "="), *bad);
			assert_non_null(strstr(c.last, name));
		}
	}
}

static void zero_is_the_default_for_ports_and_times(void **state)
{
	static const char *const words[] = {"agent.log_vport=0",
					    "agent.debug_console_vport=0",
					    "agent.passfd_listener_port=0",
					    "agent.container_pipe_size=0",
					    "agent.hotplug_timeout=0",
					    "agent.cdh_api_timeout=0",
					    "agent.image_pull_timeout=0",
					    "agent.cdi_timeout=0",
					    "agent.launch_process_timeout=0"};
	struct agent_options o, expected;
	struct complaints c;

	agent_options_default(&expected);
	assert_int_equal(expected.hotplug_timeout_s, 3);
	assert_int_equal(expected.cdh_api_timeout_s, 50);
	assert_int_equal(expected.image_pull_timeout_s, 1200);
	assert_int_equal(expected.cdi_timeout_s, 100);
	assert_int_equal(expected.launch_process_timeout_s, 6);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		assert_int_equal(parse(&o, &c, words[i]), 0);
		assert_memory_equal(&o, &expected, sizeof o);
	}
}

static void booleans(void **state)
{
	static const struct {
		const char *value;
		bool on;
	} words[] = {{"=true", true}, {"=false", false}, {"=1", true},
		     {"=0", false},   {"=2", true},	 {"", true}};
	struct agent_options o;
	struct complaints c;
	char text[64];

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		(void)snprintf(text, sizeof text, "systemd.unified_cgroup_hierarchy%s",
			       words[i].value);
		assert_int_equal(parse(&o, &c, text), 0);
		assert_int_equal(o.unified_cgroups, words[i].on);
		(void)snprintf(text, sizeof text, "agent.secure_storage_integrity%s",
			       words[i].value);
		assert_int_equal(parse(&o, &c, text), 0);
		assert_int_equal(o.secure_storage_integrity, words[i].on);
	}
}

/* What is not ours is passed over in silence; what we cannot do is refused, each by its name. */
static void the_others_are_known(void **state)
{
	static const char *const silent[] = {/* nobody's, or another's */
					     "agent",
					     "agent.",
					     "agent.unknown=1",
					     "agentx.log=debug",
					     "agent.log.x=debug",
					     "=",
					     "==",
					     "systemd.unit=kata-containers.target",
					     "cgroup_no_v1",
					     "cgroup_no_v1=memory",
					     "agent.mem_agent_memcg_swap=true"};
	static const char *const refused[] = {"agent.trace", "agent.visible_cdi_devices",
					      "agent.mem_agent_enable"};
	struct agent_options o, expected;
	struct complaints c;
	char text[96];

	agent_options_default(&expected);
	for (size_t i = 0; i < ARRAY_SIZE(silent); i++) {
		if (parse(&o, &c, silent[i]) != 0)
			fail_msg("%s: %s", silent[i], c.last);
		assert_memory_equal(&o, &expected, sizeof o);
	}
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		for (int bare = 0; bare < 2; bare++) {
			(void)snprintf(text, sizeof text, "%s%s", refused[i], bare ? "" : "=1");
			assert_int_equal(parse(&o, &c, text), 1);
			assert_non_null(strstr(c.last, refused[i]));
			assert_memory_equal(&o, &expected, sizeof o);
		}
	}
}

static void the_last_of_two_counts(void **state)
{
	struct agent_options o;
	struct complaints c;

	assert_int_equal(parse(&o, &c, "agent.log_vport=1 agent.log_vport=2"), 0);
	assert_int_equal(o.log_vport, 2);
	assert_int_equal(parse(&o, &c, "agent.log_vport=1 agent.log_vport=0"), 0);
	assert_int_equal(o.log_vport, 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_values),
		cmocka_unit_test(bad_values_are_reported_and_ignored),
		cmocka_unit_test(what_cannot_be_done_is_said),
		cmocka_unit_test(components_are_chosen),
		cmocka_unit_test(the_environment_wins),
		cmocka_unit_test(each_parameter_sets_its_own_field),
		cmocka_unit_test(a_bad_value_never_changes_a_good_one),
		cmocka_unit_test(zero_is_the_default_for_ports_and_times),
		cmocka_unit_test(booleans),
		cmocka_unit_test(the_others_are_known),
		cmocka_unit_test(the_last_of_two_counts),
	};
	return RUN_TESTS();
}
