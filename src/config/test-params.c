/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel parameters. */
#include "config/testing.h"

static void merges_to(const char *base, const char *params, const char *expected)
{
	_cleanup_free_ char *merged = config_merge_kernel_params(base, params);
	assert_string_equal(merged, expected);
}

static void parameters_of_the_same_name_are_replaced(void **state)
{
	merges_to("", "", "");
	merges_to("a=1 b", "", "a=1 b");
	merges_to("", "a=1  b ", "a=1 b");
	merges_to("a=1 b=2 a=3 c", "a=4 d", "b=2 c a=4 d");
	merges_to("quiet x=", "quiet", "x= quiet");
	merges_to("a=1=2", "a", "a");
	merges_to("dm-mod.create=\"x, y z=1\" b", "z=2 dm-mod.create=\"new one\"",
		  "b z=2 dm-mod.create=\"new one\"");
	merges_to("a=\"open b", "c", "a=\"open b c");
}

static void agent_says(const char *keys, const char *expected)
{
	_cleanup_config_ struct kata_config *c =
		config_test_loads("[runtime]\nname=\"virt_container\"\nhypervisor_name="
				  "\"fake\"\nagent_name=\"kata\"\n"
				  "[hypervisor.fake]\n[agent.kata]\n",
				  keys, NULL);
	_cleanup_free_ char *params = config_agent_kernel_params(c);
	assert_string_equal(params, expected);
}

static void the_agent_gets_its_parameters_sorted(void **state)
{
	agent_says("", "agent.cdh_api_timeout=50");
	agent_says("cdh_api_timeout_ms = 0\n", "");
	agent_says("cdh_api_timeout_ms = 0\nenable_debug = true\n", "agent.log=debug");
	agent_says("cdh_api_timeout_ms = 0\nlog_level = \"warn\"\n", "agent.log=warn");
	agent_says("cdh_api_timeout_ms = 0\nlog_level = \"trace\"\nenable_debug = true\n",
		   "agent.log=trace");
	agent_says("enable_debug = true\nenable_tracing = true\ncontainer_pipe_size = 4096\n"
		   "launch_process_timeout = 6\ndebug_console_enabled = true\n"
		   "visible_cdi_devices = true\n",
		   "agent.cdh_api_timeout=50 agent.container_pipe_size=4096 agent.debug_console "
		   "agent.debug_console_vport=1026 agent.launch_process_timeout=6 agent.log=debug "
		   "agent.trace=true agent.visible_cdi_devices=true");
}

static void the_memory_agent_gets_what_is_set(void **state)
{
	agent_says("cdh_api_timeout_ms = 0\n[agent.kata.mem_agent]\nmemcg_swap = true\n", "");
	agent_says("cdh_api_timeout_ms = 0\n[agent.kata.mem_agent]\nmem_agent_enable = true\n"
		   "memcg_swap = false\ncompact_order = 9\ncompact_sec_max = -1\n"
		   "compact_force_times = 9223372036854775807\n",
		   "agent.mem_agent_compact_force_times=9223372036854775807 "
		   "agent.mem_agent_compact_order=9 agent.mem_agent_compact_sec_max=-1 "
		   "agent.mem_agent_enable=1 agent.mem_agent_memcg_swap=false psi=1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parameters_of_the_same_name_are_replaced),
		cmocka_unit_test(the_agent_gets_its_parameters_sorted),
		cmocka_unit_test(the_memory_agent_gets_what_is_set),
	};
	return cmocka_run_group_tests(tests, config_test_setup, config_test_teardown);
}
