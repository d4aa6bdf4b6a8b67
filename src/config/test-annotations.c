/* SPDX-License-Identifier: Apache-2.0 */
/* What a pod may change, and what happens where it may not. */
#include "config/testing.h"

#include <string.h>

#define HYPERVISOR "io.katacontainers.config.hypervisor."
#define RUNTIME "io.katacontainers.config.runtime."
#define AGENT "io.katacontainers.config.agent."

#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void enabled_annotations_win(void **state)
{
	_cleanup_config_ struct kata_config *c = config_test_loads(
		config_test_qemu,
		"enable_annotations = [\".*\"]\ndefault_vcpus = 3\n"
		"valid_hypervisor_paths = [\"@@/q*\"]\nkernel_params = \"a=1 quiet b=2\"\n"
		"virtio_fs_extra_args = [\"-x\"]\n",
		PAIRS(HYPERVISOR "default_vcpus", " 2 ", HYPERVISOR "default_max_vcpus", "3",
		      HYPERVISOR "default_memory", "1 GiB", HYPERVISOR "memory_slots", "5",
		      HYPERVISOR "kernel_params", "b=3 c", HYPERVISOR "enable_mem_prealloc", "true",
		      HYPERVISOR "machine_type", "pc", HYPERVISOR "machine_accelerators", "nosmm",
		      HYPERVISOR "cpu_features", "pmu=off", HYPERVISOR "shared_fs", "none",
		      HYPERVISOR "virtio_fs_cache", "always", HYPERVISOR "virtio_fs_extra_args",
		      "-y, -z,"));
	config_test_no_warning();
	assert_true(c->hypervisor.default_vcpus == 2);
	assert_int_equal(c->hypervisor.default_maxvcpus, 3);
	assert_int_equal(c->hypervisor.default_memory, 1024);
	assert_int_equal(c->hypervisor.memory_slots, 5);
	assert_string_equal(c->hypervisor.kernel_params, "a=1 quiet b=3 c");
	assert_true(c->hypervisor.enable_mem_prealloc);
	assert_string_equal(c->hypervisor.machine_type, "pc");
	assert_string_equal(c->hypervisor.machine_accelerators, "nosmm");
	assert_string_equal(c->hypervisor.cpu_features, "pmu=off");
	assert_string_equal(c->hypervisor.shared_fs, "none");
	assert_string_equal(c->hypervisor.virtio_fs_cache, "always");
	assert_int_equal(c->hypervisor.virtio_fs_extra_args.n, 3);
	assert_string_equal(c->hypervisor.virtio_fs_extra_args.v[1], "-y");
	assert_string_equal(c->hypervisor.virtio_fs_extra_args.v[2], "-z");
}

static void runtime_and_agent_annotations_need_no_leave(void **state)
{
	_cleanup_config_ struct kata_config *c = config_test_loads(
		config_test_qemu, "[hypervisor.fake]\n",
		PAIRS(RUNTIME "disable_guest_seccomp", "true", RUNTIME "sandbox_cgroup_only",
		      " true", RUNTIME "disable_new_netns", "true", RUNTIME "internetworking_model",
		      "macvtap", RUNTIME "create_container_timeout", "77", RUNTIME "name",
		      "virt-container", RUNTIME "hypervisor_name", "fake", AGENT "kernel_modules",
		      "e1000e EEE=1; i915 ;", AGENT "container_pipe_size", "4096",
		      AGENT "enable_tracing", "true", AGENT "cdh_api_timeout_ms", "9000"));
	config_test_no_warning();
	assert_true(c->runtime.disable_guest_seccomp);
	assert_true(c->runtime.sandbox_cgroup_only);
	assert_true(c->runtime.disable_new_netns);
	assert_string_equal(c->runtime.internetworking_model, "macvtap");
	assert_string_equal(c->runtime.name, "virt_container");
	assert_string_equal(c->runtime.hypervisor_name, "fake");
	assert_string_equal(c->hypervisor.name, "fake");
	assert_int_equal(c->agent.create_container_timeout, 77);
	assert_int_equal(c->agent.kernel_modules.n, 2);
	assert_string_equal(c->agent.kernel_modules.v[0], "e1000e EEE=1");
	assert_string_equal(c->agent.kernel_modules.v[1], "i915");
	assert_int_equal(c->agent.container_pipe_size, 4096);
	assert_true(c->agent.enable_tracing);
	assert_int_equal(c->agent.cdh_api_timeout_ms, 9000);
}

static void what_is_not_enabled_is_ignored_with_a_warning(void **state)
{
	_cleanup_config_ struct kata_config *c = config_test_loads(
		config_test_qemu, "enable_annotations = [\"default_vcpus\"]\n",
		PAIRS(HYPERVISOR "default_memory", "nonsense", HYPERVISOR "kernel_hash", "x",
		      HYPERVISOR "default_vcpu", "1", "unrelated", "x", "io.katacontainers.pkg.x",
		      "y", RUNTIME "sandbox_bind_mounts", "[\"/etc\"]", RUNTIME "hypervisor_name",
		      "clh", AGENT "policy", "x", AGENT "a\nlevel=error", "x"));
	assert_int_equal(c->hypervisor.default_memory, 128);
	config_test_warned("annotation \"" HYPERVISOR "default_memory\" is not enabled by "
			   "enable_annotations, and is ignored\n");
	config_test_warned("annotation \"" HYPERVISOR "kernel_hash\" is not known, and is ignored");
	config_test_warned(HYPERVISOR "default_vcpu\" is not known, and is ignored; did you mean "
				      "\"" HYPERVISOR "default_vcpus\"?\n");
	config_test_warned("sandbox_bind_mounts\" is for the administrator's configuration only");
	config_test_warned("hypervisor_name\" names a table that is not there, and is ignored");
	config_test_warned(AGENT "policy\" is not known");
	config_test_warned(AGENT "a\\nlevel=error\" is not known");
	assert_null(strstr(config_test_warnings.data, "unrelated"));
	assert_null(strstr(config_test_warnings.data, "pkg"));
}

static void expressions_match_the_whole_name(void **state)
{
	const char *const path[] = {HYPERVISOR "jailer_path", "/x", HYPERVISOR "default_vcpus", "2",
				    NULL};
	config_free(config_test_loads(config_test_qemu,
				      "enable_annotations = [\"path\", \"default\"]\n", path));
	config_test_warned("jailer_path\" is not enabled");
	config_test_warned("default_vcpus\" is not enabled");
	_cleanup_config_ struct kata_config *c = config_test_loads(
		config_test_qemu, "enable_annotations = [\"a|default_[a-z]+|b\"]\n",
		PAIRS(HYPERVISOR "default_vcpus", "2"));
	config_test_no_warning();
	assert_true(c->hypervisor.default_vcpus == 2);
}

static void a_wrong_expression_enables_nothing(void **state)
{
	_cleanup_config_ struct kata_config *c = config_test_loads(
		config_test_qemu,
		"enable_annotations = [\"(\", \"a)|(.*\", '(a){2}', '(d)\\1', \"default_vcpus\"]\n",
		PAIRS(HYPERVISOR "default_vcpus", "2", HYPERVISOR "kernel", "/x"));
	assert_true(c->hypervisor.default_vcpus == 2);
	config_test_warned("\"(\" of enable_annotations in [hypervisor.qemu] is not a regular "
			   "expression, and enables nothing\n");
	config_test_warned(
		"\"a)|(.*\" of enable_annotations in [hypervisor.qemu] is not a regular");
	config_test_warned("has a repetition count");
	config_test_warned("has a back reference");
	config_test_warned("hypervisor.kernel\" is not enabled");
}

static void paths_must_match_a_pattern(void **state)
{
	const char *keys =
		"enable_annotations = [\"path\"]\nvalid_hypervisor_paths = [\"@@/q*\"]\n";
	char inside[300], above[300];
	snprintf(inside, sizeof inside, "%s/qemu", config_test_dir);
	snprintf(above, sizeof above, "%s/../qemu", config_test_dir);
	config_free(config_test_loads(config_test_qemu, keys, PAIRS(HYPERVISOR "path", inside)));
	config_test_fails(config_test_qemu, keys, PAIRS(HYPERVISOR "path", "/bin/sh"),
			  "annotation " HYPERVISOR "path is \"/bin/sh\": must be an absolute path "
			  "that matches one of valid_hypervisor_paths");
	config_test_fails(config_test_qemu, keys, PAIRS(HYPERVISOR "path", above),
			  "must be an abs");
	config_test_fails(config_test_qemu, "enable_annotations = [\"path\"]\n",
			  PAIRS(HYPERVISOR "path", inside), "must be an absolute path");
}

static void globs_are_those_of_the_shell(void **state)
{
	char *v[] = {(char[]){"/opt/*/bin/q?mu"}, (char[]){"/a/[bc]"}};
	const struct config_strv s = {v, 2};
	assert_true(config_path_allowed(&s, "/opt/kata/bin/qemu"));
	assert_true(config_path_allowed(&s, "/a/b"));
	assert_false(config_path_allowed(&s, "/a/d"));
	assert_false(config_path_allowed(&s, "/opt/a/b/bin/qemu"));
	assert_false(config_path_allowed(&s, "/opt/../bin/qemu"));
	assert_false(config_path_allowed(&s, "/opt/.x/bin/qemu"));
	assert_false(config_path_allowed(&s, "a/b"));
	assert_false(config_path_allowed(&s, ""));
	assert_false(config_path_allowed(&s, "/a/.."));
}

static void a_malformed_value_names_annotation_value_and_rule(void **state)
{
	static const struct {
		const char *name, *value, *sentence;
	} cases[] = {
		{HYPERVISOR "default_vcpus", "two", "is \"two\": must be a number"},
		{HYPERVISOR "default_vcpus", "nan", "is \"nan\": must be a number"},
		{HYPERVISOR "default_vcpus", "300", "is 300: must be at most 256 with qemu"},
		{HYPERVISOR "default_vcpus", "1e999", "must be a number"},
		{HYPERVISOR "memory_slots", "-1", "must be a whole number from 0"},
		{HYPERVISOR "memory_slots", "1.5", "must be a whole number"},
		{HYPERVISOR "memory_slots", "", "must be a whole number"},
		{HYPERVISOR "memory_slots", "0x10", "must be a whole number"},
		{HYPERVISOR "memory_slots", "99999999999999999999", "must be a whole number"},
		{HYPERVISOR "enable_mem_prealloc", "yes", "must be true or false"},
		{HYPERVISOR "enable_mem_prealloc", "True", "must be true or false"},
		{HYPERVISOR "default_memory", "2048 bananas", "must be a size in MiB"},
		{HYPERVISOR "default_memory", "GiB", "must be a size in MiB"},
		{HYPERVISOR "default_memory", "-5", "must be a size in MiB"},
		{HYPERVISOR "default_memory", "99999 TiB", "must be a size in MiB"},
		{HYPERVISOR "default_memory", "32", "is 32: must be at least 64 (MiB) with qemu"},
		{HYPERVISOR "kernel", "/nonexistent", "is \"/nonexistent\": the file must exist"},
		{HYPERVISOR "shared_fs", "9p", "is \"9p\": must be \"virtio-fs\", "},
		{HYPERVISOR "virtio_fs_cache", "sometimes", "must be \"never\", \"auto\", "},
		{HYPERVISOR "pcie_root_port", "17", "must be a whole number from 0 to 16"},
		{HYPERVISOR "block_device_driver", "nvme", "is \"nvme\": must be "},
		{HYPERVISOR "kernel_verity_params", "x", "must have root_hash= and salt="},
		{HYPERVISOR "kernel_hash", "x", "is enabled, and is not implemented"},
		{HYPERVISOR "cc_init_data", "x", "is enabled, and is not implemented"},
		{RUNTIME "internetworking_model", "x",
		 "is \"x\": must be \"tcfilter\", \"macvtap\""},
		{RUNTIME "create_container_timeout", "4294968", "must be a whole number from 1 to"},
		{RUNTIME "name", "chroot", "is \"chroot\": must be \"virt_container\""},
		{AGENT "container_pipe_size", "big", "is \"big\": must be a whole number"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char sentence[512];
		snprintf(sentence, sizeof sentence, "annotation %s", cases[i].name);
		const char *const pairs[] = {cases[i].name, cases[i].value, NULL};
		config_test_fails(config_test_qemu, "enable_annotations = [\".*\"]\n", pairs,
				  sentence);
		config_test_fails(config_test_qemu, "enable_annotations = [\".*\"]\n", pairs,
				  cases[i].sentence);
	}
}

static void an_unknown_one_that_is_enabled_is_refused(void **state)
{
	config_test_fails(config_test_qemu, "enable_annotations = [\".*\"]\n",
			  PAIRS(HYPERVISOR "no_such", "x"),
			  "annotation \"" HYPERVISOR "no_such\" is enabled, and is not known");
}

static void sizes_have_units(void **state)
{
	static const struct {
		const char *text;
		uint32_t mib;
	} cases[] = {
		{"2048", 2048},	    {"2 GiB", 2048},  {"2Gi", 2048},	 {"1.5 GiB", 1536},
		{"512MiB", 512},    {"512 mib", 512}, {"1 GB", 953},	 {"1g", 953},
		{"67108864 b", 64}, {"65536K", 62},   {"65536 KiB", 64}, {"0", 128},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_config_ struct kata_config *c = NULL;
		const char *const pairs[] = {HYPERVISOR "default_memory", cases[i].text, NULL};
		/* `fake` has the same least as qemu: 62 MiB would be refused. */
		if (cases[i].mib < 64) {
			config_test_fails(config_test_qemu, "enable_annotations = [\".*\"]\n",
					  pairs, "is 62: must be at least 64");
			continue;
		}
		c = config_test_loads(config_test_qemu, "enable_annotations = [\".*\"]\n", pairs);
		assert_int_equal(c->hypervisor.default_memory, cases[i].mib);
	}
}

static void the_first_failure_does_not_depend_on_the_order(void **state)
{
	const char *keys = "enable_annotations = [\".*\"]\n";
	config_test_fails(config_test_qemu, keys,
			  PAIRS(HYPERVISOR "memory_slots", "x", HYPERVISOR "default_vcpus", "y"),
			  "default_vcpus is \"y\"");
	config_test_fails(config_test_qemu, keys,
			  PAIRS(HYPERVISOR "default_vcpus", "y", HYPERVISOR "memory_slots", "x"),
			  "default_vcpus is \"y\"");
}

static void what_is_known_and_not_acted_on_is_said(void **state)
{
	config_free(config_test_loads(config_test_qemu, "enable_annotations = [\"enable_iommu\"]\n",
				      PAIRS(HYPERVISOR "enable_iommu", "true")));
	config_test_warned("annotation " HYPERVISOR
			   "enable_iommu sets enable_iommu, which is not acted "
			   "on yet\n");
}

static void text_must_be_utf_8(void **state)
{
	config_test_fails(config_test_qemu, "enable_annotations = [\".*\"]\n",
			  PAIRS(HYPERVISOR "machine_type", "q\xff"),
			  "is \"q\\xff\": must be UTF-8");
}

static void huge_values_are_refused(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	for (int i = 0; i < 5000; i++)
		buf_puts(&b, "0123456789 ABCDEF");
	config_test_fails(config_test_qemu, "enable_annotations = [\".*\"]\n",
			  PAIRS(HYPERVISOR "machine_type", b.data), "at most 65536 bytes");
	b.data[5000] = '\0';
	config_test_fails(config_test_qemu, "enable_annotations = [\".*\"]\n",
			  PAIRS(HYPERVISOR "kernel_params", b.data), "fewer than 4096 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(enabled_annotations_win),
		cmocka_unit_test(runtime_and_agent_annotations_need_no_leave),
		cmocka_unit_test(what_is_not_enabled_is_ignored_with_a_warning),
		cmocka_unit_test(expressions_match_the_whole_name),
		cmocka_unit_test(a_wrong_expression_enables_nothing),
		cmocka_unit_test(paths_must_match_a_pattern),
		cmocka_unit_test(globs_are_those_of_the_shell),
		cmocka_unit_test(a_malformed_value_names_annotation_value_and_rule),
		cmocka_unit_test(an_unknown_one_that_is_enabled_is_refused),
		cmocka_unit_test(sizes_have_units),
		cmocka_unit_test(the_first_failure_does_not_depend_on_the_order),
		cmocka_unit_test(what_is_known_and_not_acted_on_is_said),
		cmocka_unit_test(text_must_be_utf_8),
		cmocka_unit_test(huge_values_are_refused),
	};
	return cmocka_run_group_tests(tests, config_test_setup, config_test_teardown);
}
