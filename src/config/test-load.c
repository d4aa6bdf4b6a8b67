/* SPDX-License-Identifier: Apache-2.0 */
/* What a file's keys become, and what is said about those that are wrong. */
#include "config/testing.h"

#include <string.h>

static void the_shortest_configuration_has_the_code_defaults(void **state)
{
	_cleanup_config_ struct kata_config *c = config_test_loads(config_test_fake, "", NULL);
	config_test_no_warning();
	assert_string_equal(c->file, "ConfigBody");
	assert_string_equal(c->runtime.name, "virt_container");
	assert_string_equal(c->runtime.hypervisor_name, "fake");
	assert_string_equal(c->runtime.agent_name, "kata");
	assert_string_equal(c->runtime.internetworking_model, "tcfilter");
	assert_string_equal(c->runtime.log_level, "info");
	assert_false(c->runtime.sandbox_cgroup_only);
	assert_string_equal(c->hypervisor.name, "fake");
	assert_string_equal(c->hypervisor.path, "");
	assert_string_equal(c->hypervisor.kernel, "");
	assert_string_equal(c->hypervisor.accelerator, "auto");
	assert_true(c->hypervisor.default_vcpus == 1);
	assert_int_equal(c->hypervisor.default_maxvcpus, 4);
	assert_int_equal(c->hypervisor.default_memory, 128);
	assert_int_equal(c->hypervisor.default_maxmemory, 8192);
	assert_int_equal(c->hypervisor.memory_slots, 128);
	assert_string_equal(c->hypervisor.shared_fs, "none");
	assert_string_equal(c->hypervisor.virtio_fs_cache, "never");
	assert_int_equal(c->hypervisor.enable_annotations.n, 0);
	assert_int_equal(c->agent.server_port, 1024);
	assert_int_equal(c->agent.log_port, 1025);
	assert_int_equal(c->agent.dial_timeout_ms, 10);
	assert_int_equal(c->agent.reconnect_timeout_ms, 3000);
	assert_int_equal(c->agent.create_container_timeout, 30);
	assert_int_equal(c->agent.health_check_request_timeout_ms, 90000);
	assert_int_equal(c->agent.kernel_modules.n, 0);
}

static void every_acted_on_type_is_stored(void **state)
{
	_cleanup_config_ struct kata_config *c =
		config_test_loads(config_test_qemu,
				  "default_vcpus = 1.5\n"
				  "default_memory = 2048\n"
				  "default_maxmemory = 4096\n"
				  "memory_slots = 10\n"
				  "enable_debug = true\n"
				  "disable_vhost_vsock = true\n"
				  "shared_fs = \"virtio-fs\"\n"
				  "virtio_fs_daemon = \"@@/virtiofsd\"\n"
				  "virtio_fs_extra_args = [\"--a\", \"--b\", \"c\"]\n"
				  "virtio_fs_cache = \"auto\"\n"
				  "virtio_fs_queue_size = 1024\n"
				  "accelerator = \"tcg\"\n"
				  "firmware = \"@@/firmware\"\n"
				  "cpu_features = \" pmu=off , vmx=off,a b\"\n"
				  "[agent.x]\nunused = 1\n",
				  NULL);
	assert_true(c->hypervisor.default_vcpus == 1.5);
	assert_int_equal(c->hypervisor.default_memory, 2048);
	assert_int_equal(c->hypervisor.default_maxmemory, 4096);
	assert_int_equal(c->hypervisor.memory_slots, 10);
	assert_true(c->hypervisor.enable_debug);
	assert_true(c->hypervisor.disable_vhost_vsock);
	assert_string_equal(c->hypervisor.accelerator, "tcg");
	assert_string_equal(c->hypervisor.machine_type, "q35");
	assert_string_equal(c->hypervisor.cpu_features, "pmu=off,vmx=off,a b");
	assert_int_equal(c->hypervisor.virtio_fs_extra_args.n, 3);
	assert_string_equal(c->hypervisor.virtio_fs_extra_args.v[2], "c");
	assert_int_equal(c->hypervisor.virtio_fs_queue_size, 1024);
	assert_non_null(strstr(c->hypervisor.virtio_fs_daemon, "/virtiofsd"));
	assert_int_equal(c->agent.reconnect_timeout_ms, 10000);
}

static void wrong_types_name_key_place_value_and_rule(void **state)
{
	config_test_fails(config_test_qemu, "default_vcpus = \"two\"\n", NULL,
			  "default_vcpus in [hypervisor.qemu] at ConfigBody:10 is \"two\": "
			  "must be a number");
	config_test_fails(config_test_qemu, "enable_debug = 1\n", NULL,
			  "is 1: must be true or false");
	config_test_fails(config_test_qemu, "kernel_params = [\"a\"]\n", NULL,
			  "is an array: must be a string");
	config_test_fails(config_test_qemu, "enable_annotations = [\"a\", 2]\n", NULL,
			  "is an array: must be an array of strings");
	config_test_fails(config_test_qemu, "enable_annotations = \"a\"\n", NULL,
			  "is \"a\": must be an array of strings");
	config_test_fails(config_test_qemu, "default_memory = -1\n", NULL,
			  "is -1: must be a whole number from 0 to 4294967295");
	config_test_fails(config_test_qemu, "default_memory = 2048.0\n", NULL,
			  "is 2048: must be a whole number");
	config_test_fails(config_test_qemu, "default_memory = 4294967296\n", NULL,
			  "must be a whole number from 0 to 4294967295");
	config_test_fails(config_test_qemu, "default_vcpus = nan\n", NULL, "a finite number");
	config_test_fails(config_test_qemu, "factory = 1\n", NULL,
			  "factory in [hypervisor.qemu] at ConfigBody:10 is 1: must be a table");
	config_test_fails(config_test_qemu, "[hypervisor.qemu.factory]\nenable_template = 1\n",
			  NULL, "enable_template in [hypervisor.qemu.factory] at ConfigBody:11");
	config_test_fails(config_test_qemu, "guest_extension_images = [1]\n", NULL,
			  "must be an array of tables");
	config_test_fails(config_test_qemu, "[[hypervisor.qemu.guest_extension_images]]\nname=1\n",
			  NULL, "is 1: must be a string");
	config_test_fails(config_test_qemu, "rootless_user = {groups = [\"x\"]}\n", NULL,
			  "groups in [hypervisor.qemu.rootless_user] at ConfigBody:10");
	config_test_fails(config_test_qemu, "kernel_params = 1979-05-27\n", NULL,
			  "is a date or time: must be a string");
	config_test_fails("runtime = 1\n", "", NULL,
			  "runtime at ConfigBody:1 is 1: must be a table");
}

static void the_values_of_other_hypervisors_do_not_matter(void **state)
{
	_cleanup_config_ struct kata_config *c = config_test_loads(
		config_test_fake,
		"[hypervisor.clh]\ndefault_vcpus = \"two\"\nfactory = 1\n"
		"block_device_driver = \"?\"\n[hypervisor.remote]\n"
		"remote_hypervisor_socket = \"/x\"\n[agent.other]\nserver_port = 0\n",
		NULL);
	config_test_no_warning();
	assert_true(c->hypervisor.default_vcpus == 1);
}

static void a_hypervisor_without_a_driver_loads(void **state)
{
	_cleanup_config_ struct kata_config *c = config_test_loads(
		"[runtime]\nname=\"virt_container\"\nhypervisor_name=\"clh\"\nagent_name=\"kata\"\n"
		"[agent.kata]\n[hypervisor.clh]\npath = \"@@/qemu\"\n",
		"", NULL);
	assert_string_equal(c->hypervisor.name, "clh");
}

static void unknown_keys_are_warned_about_with_a_guess(void **state)
{
	config_free(config_test_loads(config_test_fake,
				      "default_vcpu = 1\n"
				      "internetworking_model = \"none\"\n"
				      "zzz = 1\n"
				      "hot_plug_vfio = \"x\"\n"
				      "mem_agent_enable = true\n"
				      "[hypervisor.clh]\n"
				      "defualt_memory = 1\n"
				      "[hypervisor.fake.factory]\n"
				      "enable_templat = true\n"
				      "[agent.kata.mem_agent]\n"
				      "memcg_swapp = true\n"
				      "[image]\n"
				      "a = 1\n",
				      NULL));
	config_test_warned(
		"unknown key \"default_vcpu\" in [hypervisor.fake] at ConfigBody:7; did you "
		"mean \"default_vcpus\"?\n");
	config_test_warned(
		"unknown key \"internetworking_model\" in [hypervisor.fake] at ConfigBody:8 "
		"is ignored; it belongs in [runtime]\n");
	config_test_warned("unknown key \"zzz\" in [hypervisor.fake] at ConfigBody:9 is ignored\n");
	config_test_warned(
		"key \"hot_plug_vfio\" in [hypervisor.fake] at ConfigBody:10 is one of the "
		"Go runtime's configuration");
	config_test_warned("it belongs in [agent.<name>.mem_agent]\n");
	config_test_warned(
		"unknown key \"defualt_memory\" in [hypervisor.clh] at ConfigBody:13; did "
		"you mean \"default_memory\"?\n");
	config_test_warned("did you mean \"enable_template\"?\n");
	config_test_warned("did you mean \"memcg_swap\"?\n");
	config_test_warned("unknown table \"image\" at ConfigBody:18 is ignored\n");
}

static void misplaced_keys_are_warned_about(void **state)
{
	config_free(config_test_loads("default_memory = 1\nx = 1\n", config_test_fake, NULL));
	config_test_warned(
		"unknown key \"default_memory\" at ConfigBody:1 is ignored; it belongs in "
		"[hypervisor.<name>]\n");
	config_test_warned("unknown key \"x\" at ConfigBody:2 is ignored\n");
	config_free(config_test_loads(config_test_fake, "[hypervisor]\ndefault_vcpus = 2\n", NULL));
	config_test_warned(
		"unknown key \"default_vcpus\" in [hypervisor] at ConfigBody:8 is ignored; "
		"it belongs in [hypervisor.<name>]\n");
}

static void names_from_a_file_cannot_forge_a_line_of_log(void **state)
{
	config_free(config_test_loads(config_test_fake,
				      "\"a\\nlevel=error\" = 1\n[hypervisor.\"b\\nc\"]\nq = 1\n",
				      NULL));
	config_test_warned("unknown key \"a\\nlevel=error\" in");
	config_test_warned("in [hypervisor.\"b\\nc\"] at");
}

static void a_flood_of_warnings_is_cut(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	for (int i = 0; i < 100; i++)
		buf_printf(&b, "zzzz%d = 1\n", i);
	config_free(config_test_loads(config_test_fake, b.data, NULL));
	config_test_warned("68 further warnings about the configuration are left out");
	size_t lines = 0;
	for (const char *p = config_test_warnings.data; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, CONFIG_WARNINGS_MAX + 1);
}

static void names_must_name_tables(void **state)
{
	config_test_fails(
		"[runtime]\nhypervisor_name = \"qemuu\"\n[hypervisor.qemu]\n[hypervisor.clh]\n", "",
		NULL,
		"hypervisor_name in [runtime] at ConfigBody:2 is \"qemuu\": must name a "
		"table [hypervisor.<name>] of the configuration; there is \"clh\", \"qemu\"");
	config_test_fails("\n", "", NULL,
			  "hypervisor_name in [runtime] is not set: must name a table");
	config_test_fails("[runtime]\nhypervisor_name = \"fake\"\nagent_name = \"kata\"\n"
			  "[hypervisor.fake]\n",
			  "", NULL,
			  "agent_name in [runtime] at ConfigBody:3 is \"kata\": must name");
	config_test_fails("[runtime]\nhypervisor_name = \"fake\"\nagent_name = \"kata\"\n"
			  "[hypervisor.fake]\n[agent.kata]\n",
			  "", NULL, "name in [runtime] is not set: must be \"virt_container\"");
	config_test_fails(
		"[runtime]\nname = \"x\"\nhypervisor_name = \"fake\"\nagent_name = \"kata\"\n"
		"[hypervisor.fake]\n[agent.kata]\n",
		"", NULL, "name in [runtime] at ConfigBody:2 is \"x\": must be");
	config_test_fails(
		"hypervisor = 1\n[runtime]\nhypervisor_name = \"x\"\n", "", NULL,
		"must name a table [hypervisor.<name>] of the configuration; there is none");
}

static void a_syntax_error_names_the_place(void **state)
{
	config_test_fails(config_test_fake, "a = \n", NULL, "ConfigBody:7:5: ");
}

static void the_dump_reads_back_as_the_same_configuration(void **state)
{
	const char *annotations[] = {"io.katacontainers.config.hypervisor.default_vcpus", "2",
				     NULL};
	_cleanup_config_ struct kata_config *c = config_test_loads(
		config_test_qemu,
		"enable_annotations = [\"default_vcpus\"]\nkernel_params = \"a=\\\"b c\\\" "
		"\\u00e9\\\\\"\n"
		"block_device_aio = \"native\"\n"
		"[agent.kata.mem_agent]\nenable = true\nmemcg_swap = false\ncompact_sec_max = -1\n",
		annotations);
	_cleanup_free_ char *text = NULL, *again = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	assert_non_null(f);
	assert_int_equal(config_dump(c, f), 0);
	fclose(f);
	assert_non_null(
		strstr(text, "default_vcpus = 2 # annotation io.katacontainers.config.hyperv"));
	assert_non_null(strstr(text, "default_memory = 128 # default\n"));
	assert_non_null(strstr(text, "/kernel\" # ConfigBody:8\n"));
	assert_non_null(strstr(text, "# block_device_aio (ConfigBody:12) is not acted on yet\n"));

	_cleanup_config_ struct kata_config *same = config_test_loads(text, "", NULL);
	config_test_no_warning();
	f = open_memstream(&again, &size);
	assert_non_null(f);
	assert_int_equal(config_dump(same, f), 0);
	fclose(f);
	assert_string_equal(same->hypervisor.kernel_params, "a=\"b c\" \xc3\xa9\\");
	assert_int_equal(same->agent.mem_agent.n, 3);
	assert_true(same->hypervisor.default_vcpus == 2);
}

static void every_key_has_a_sound_entry(void **state)
{
	struct config_load *l = calloc(1, sizeof *l);
	assert_non_null(l);
	for (size_t i = 0; i < config_keys_count; i++) {
		const struct config_key *k = &config_keys[i];
		struct config_value v;
		assert_non_null(k->name);
		assert_ptr_equal(config_key_find(k->section, k->name), k);
		if (k->alias)
			assert_ptr_equal(config_key_find(k->section, k->alias), k);
		if (k->annotation)
			assert_ptr_equal(config_key_by_annotation(k->annotation), k);
		if (k->preset)
			assert_int_equal(config_value_from_text(l, k, k->preset, &v), 0);
		if (k->patterns)
			assert_non_null(config_key_find(k->section, k->patterns));
		assert_int_equal(k->how == HOW_PATH, k->patterns != NULL);
		if (k->flags & (KEY_FILE | KEY_PROGRAM))
			assert_int_equal(k->type, TYPE_STRING);
	}
	config_arena_free(&l->arena);
	free(l);
}

static void nothing_given_and_nothing_warned_is_fine(void **state)
{
	config_free(NULL);
	struct kata_config *c = NULL;
	const struct config_source src = {.body = config_test_fake};
	assert_int_equal(config_load(&src, NULL, NULL, &c, NULL), 0);
	assert_true(c->hypervisor.default_maxvcpus >= 1);
	config_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_shortest_configuration_has_the_code_defaults),
		cmocka_unit_test(every_acted_on_type_is_stored),
		cmocka_unit_test(wrong_types_name_key_place_value_and_rule),
		cmocka_unit_test(the_values_of_other_hypervisors_do_not_matter),
		cmocka_unit_test(a_hypervisor_without_a_driver_loads),
		cmocka_unit_test(unknown_keys_are_warned_about_with_a_guess),
		cmocka_unit_test(misplaced_keys_are_warned_about),
		cmocka_unit_test(names_from_a_file_cannot_forge_a_line_of_log),
		cmocka_unit_test(a_flood_of_warnings_is_cut),
		cmocka_unit_test(names_must_name_tables),
		cmocka_unit_test(a_syntax_error_names_the_place),
		cmocka_unit_test(the_dump_reads_back_as_the_same_configuration),
		cmocka_unit_test(every_key_has_a_sound_entry),
		cmocka_unit_test(nothing_given_and_nothing_warned_is_fine),
	};
	return cmocka_run_group_tests(tests, config_test_setup, config_test_teardown);
}
