/* SPDX-License-Identifier: Apache-2.0 */
/* Defaults, adjustments, and every rule. */
#include "config/testing.h"

#include <string.h>

struct refusal {
	const char *keys, *sentence;
};

static void refuses_all(const struct refusal *r, size_t n)
{
	for (size_t i = 0; i < n; i++)
		config_test_fails(config_test_qemu, r[i].keys, NULL, r[i].sentence);
}

static void values_that_break_a_rule_are_refused(void **state)
{
	static const struct refusal cases[] = {
		{"image = \"@@/image\"\n", "image in [hypervisor.qemu] at ConfigBody:10 is "
					   "\"@@/image\": must not be set together "
					   "with initrd (ConfigBody:9)"},
		{"default_memory = 63\n", "is 63: must be at least 64 (MiB) with qemu"},
		{"accelerator = \"hvf\"\n", "is \"hvf\": must be \"auto\", \"kvm\" or \"tcg\""},
		{"firmware = \"/nonexistent\"\n", "firmware in [hypervisor.qemu] at ConfigBody:10 "
						  "is \"/nonexistent\": the file must "
						  "exist (No such file or directory)"},
		{"firmware = \"@@\"\n", "must be a file, and is a directory"},
		{"block_device_driver = \"virtio-blk-mmio\"\n", "qemu has no virtio-blk-mmio"},
		{"block_device_driver = \"ide\"\n", "is \"ide\": must be \"virtio-blk-pci\", "},
		{"block_device_aio = \"x\"\n", "must be \"io_uring\", \"native\" or \"threads\""},
		{"block_device_logical_sector_size = 600\n", "must be 0 or a power of 2 from 512"},
		{"block_device_physical_sector_size = 131072\n", "must be 0 or a power of 2"},
		{"block_device_logical_sector_size = 4096\nblock_device_physical_sector_size = "
		 "512\n",
		 "is 4096: must not be larger than block_device_physical_sector_size, which is "
		 "512"},
		{"rootfs_type = \"btrfs\"\n", "must be \"ext4\", \"xfs\" or \"erofs\""},
		{"vm_rootfs_driver = \"x\"\n", "must be \"virtio-blk-pci\""},
		{"vm_rootfs_driver = \"virtio-blk-mmio\"\nconfidential_guest = true\n",
		 "a confidential guest must not use virtio-blk-mmio"},
		{"kernel_verity_params = \"root_hash=a,salt=\"\n",
		 "must have root_hash= and salt="},
		{"kernel_verity_params = \"root_hash=a,salt=b,data_blocks=0\"\n",
		 "data_blocks= must be"},
		{"kernel_verity_params = "
		 "\"root_hash=a,salt=b,data_blocks=1,data_block_size=100\"\n",
		 "data_block_size= must be a multiple of 512 above 0"},
		{"kernel_verity_params = "
		 "\"root_hash=a,salt=b,data_blocks=1,data_block_size=512,hash_block_size=x\"\n",
		 "hash_block_size= must be a multiple of 512 above 0"},
		{"extra_monitor_socket = \"x\"\n", "must be \"hmp\", \"qmp\" or \"qmp-pretty\""},
		{"dbg_monitor_socket = \"x\"\n", "extra_monitor_socket in [hypervisor.qemu] at"},
		{"cold_plug_vfio = \"bridge-port\"\n", "must be \"no-port\" or \"root-port\""},
		{"pcie_root_port = 17\n", "must be a whole number from 0 to 16"},
		{"pcie_root_port = 1\npcie_switch_port = 1\n",
		 "must be 0 where pcie_switch_port is set"},
		{"hugepage_type = \"x\"\n", "must be \"hugetlbfs\" or \"thp\""},
		{"enable_guest_swap = true\n", "must be false: qemu does not support it"},
		{"jailer_path = \"/x\"\n", "must be empty: qemu has no jailer"},
		{"valid_jailer_paths = [\"/x\"]\n",
		 "is [\"/x\"]: must be empty: qemu has no jailer"},
		{"shared_fs = \"9p\"\n", "is \"9p\": must be \"virtio-fs\", \"inline-virtio-fs\""},
		{"shared_fs = \"virtio-fs-nydus\"\n",
		 "must be \"virtio-fs\" or \"none\" with qemu"},
		{"shared_fs = \"inline-virtio-fs\"\n",
		 "must be \"virtio-fs\" or \"none\" with qemu"},
		{"shared_fs = \"virtio-fs\"\n",
		 "virtio_fs_daemon in [hypervisor.qemu] is not set: must be the virtio-fs server"},
		{"shared_fs = \"\"\n", "virtio_fs_daemon in [hypervisor.qemu] is not set"},
		{"shared_fs = \"virtio-fs\"\nvirtio_fs_daemon = \"/nonexistent\"\n",
		 "virtio_fs_daemon in [hypervisor.qemu] at ConfigBody:11 is \"/nonexistent\": the "
		 "file"},
		{"shared_fs = \"virtio-fs\"\nvirtio_fs_daemon = \"@@/kernel\"\n",
		 "must be executable"},
		{"virtio_fs_cache = \"x\"\n",
		 "must be \"never\", \"auto\", \"always\" or \"none\""},
		{"log_level = \"loud\"\n", "is \"loud\": must be \"trace\", "},
		{"hypervisor_timeout = 3000000000\n", "must be a whole number from -2147483648 to"},
		{"[agent.kata]\n", "ConfigBody:10:"}, /* a table twice */
	};
	refuses_all(cases, ARRAY_SIZE(cases));
}

/* The same, for keys outside of [hypervisor.qemu]: the tables are members of the first line. */
static void other_sections_have_rules_too(void **state)
{
	static const struct refusal agent[] = {
		{"dial_timeout_ms = 0\n", "must be a whole number from 1 to 4294967295"},
		{"dial_timeout_ms = 5000\nreconnect_timeout_ms = 4000\n",
		 "reconnect_timeout_ms in [agent.kata] at ConfigBody:8 is 4000: must be at least "
		 "dial_timeout_ms, which is 5000"},
		{"create_container_timeout = 0\n", "must be a whole number from 1 to 4294967"},
		{"server_port = 4294967295\n", "must be a whole number from 1 to 4294967294"},
		{"log_level = \"x\"\n", "log_level in [agent.kata] at ConfigBody:7 is \"x\""},
		{"mem_agent = {memcg_swappiness_max = 256}\n",
		 "memcg_swappiness_max in [agent.kata.mem_agent] at ConfigBody:7 is 256: must be a "
		 "whole number from 0 to 255"},
	};
	static const struct refusal runtime[] = {
		{"internetworking_model = \"bridged\"\n",
		 "internetworking_model in [runtime] at ConfigBody:7 is \"bridged\": must be "
		 "\"tcfilter\", \"macvtap\", \"l3forwarding\" or \"none\""},
		{"vfio_mode = \"x\"\n", "must be \"vfio\" or \"guest-kernel\""},
		{"emptydir_mode = \"x\"\n", "must be \"shared-fs\", "},
		{"log_level = \"x\"\n", "log_level in [runtime] at"},
		{"[[runtime.shared_mounts]]\nname = 1\n", "name in [runtime.shared_mounts] at"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(agent); i++)
		config_test_fails("[runtime]\nname=\"virt_container\"\nhypervisor_name=\"fake\"\n"
				  "agent_name=\"kata\"\n[hypervisor.fake]\n[agent.kata]\n",
				  agent[i].keys, NULL, agent[i].sentence);
	for (size_t i = 0; i < ARRAY_SIZE(runtime); i++)
		config_test_fails(
			"[hypervisor.fake]\n[agent.kata]\n[runtime]\nname=\"virt_container\"\n"
			"hypervisor_name=\"fake\"\nagent_name=\"kata\"\n",
			runtime[i].keys, NULL, runtime[i].sentence);
}

static void qemu_needs_what_it_boots(void **state)
{
	const char *head = "[runtime]\nname=\"virt_container\"\nhypervisor_name=\"qemu\"\n"
			   "agent_name=\"kata\"\n[agent.kata]\n[hypervisor.qemu]\n";
	config_test_fails(
		head, "path = \"@@/none\"\n", NULL,
		"path in [hypervisor.qemu] at ConfigBody:7 is \"@@/none\": the file must exist");
	config_test_fails(head, "path = \"@@/kernel\"\n", NULL, "must be executable");
	config_test_fails(head, "path = \"@@/qemu\"\n", NULL,
			  "kernel in [hypervisor.qemu] is not set: must be the guest's kernel");
	config_test_fails(head, "path = \"@@/qemu\"\nkernel = \"\"\n", NULL,
			  "kernel in [hypervisor.qemu] at ConfigBody:8 is empty: must be");
	config_test_fails(head, "path = \"@@/qemu\"\nkernel = \"@@/kernel\"\n", NULL,
			  "one of initrd and image must be set");
	_cleanup_config_ struct kata_config *c = config_test_loads(
		head, "path = \"@@/qemu\"\nkernel = \"@@/kernel\"\nimage = \"@@/image\"\n", NULL);
	assert_non_null(strstr(c->hypervisor.image, "/image"));
	assert_string_equal(c->hypervisor.initrd, "");
}

static void processors_fit_the_host(void **state)
{
	static const struct {
		const char *keys;
		double vcpus;
		uint32_t max;
	} cases[] = {
		{"default_vcpus = 0\n", 1, 4},
		{"default_vcpus = -1\n", 4, 4},
		{"default_vcpus = 9\n", 4, 4},
		{"default_vcpus = 2.5\n", 2.5, 4},
		{"default_vcpus = 3\ndefault_maxvcpus = 2\n", 2, 2},
		{"default_maxvcpus = 240\n", 1, 4},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_config_ struct kata_config *c =
			config_test_loads(config_test_qemu, cases[i].keys, NULL);
		assert_true(c->hypervisor.default_vcpus == cases[i].vcpus);
		assert_int_equal(c->hypervisor.default_maxvcpus, cases[i].max);
	}
	config_test_host.cpus = 1000;
	_cleanup_config_ struct kata_config *c = config_test_loads(config_test_qemu, "", NULL);
	config_test_host.cpus = 4;
	assert_int_equal(c->hypervisor.default_maxvcpus, 256);
}

static void memory_fits_the_host(void **state)
{
	static const struct {
		const char *keys;
		uint64_t memory, max;
	} cases[] = {
		{"default_memory = 0\n", 128, 8192},
		{"default_memory = 4096\ndefault_maxmemory = 2048\n", 4096, 4096},
		{"default_maxmemory = 100000\n", 128, 8192},
		{"default_maxmemory = 1024\n", 128, 1024},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_config_ struct kata_config *c =
			config_test_loads(config_test_qemu, cases[i].keys, NULL);
		assert_int_equal(c->hypervisor.default_memory, cases[i].memory);
		assert_int_equal(c->hypervisor.default_maxmemory, cases[i].max);
	}
	config_test_fails(config_test_qemu, "default_memory = 9000\n", NULL,
			  "must be at most this machine's memory, 8192 (MiB)");
}

static void what_is_odd_is_adjusted_with_a_warning(void **state)
{
	_cleanup_config_ struct kata_config *c = config_test_loads(
		config_test_qemu,
		"virtio_fs_queue_size = 1000\nvirtio_fs_cache = \"none\"\nmemory_slots = 0\n"
		"machine_type = \"\"\nshared_fs = \"none\"\nvirtio_fs_daemon = \"/nonexistent\"\n",
		NULL);
	assert_int_equal(c->hypervisor.virtio_fs_queue_size, 0);
	assert_string_equal(c->hypervisor.virtio_fs_cache, "never");
	assert_int_equal(c->hypervisor.memory_slots, 128);
	assert_string_equal(c->hypervisor.machine_type, "q35");
	config_test_warned("virtio_fs_queue_size is 1000: it must be a power of 2 up to 1024");
	config_test_warned("virtio_fs_cache = \"none\" is an old name of \"never\"\n");
}

static void an_empty_shared_fs_is_virtio_fs(void **state)
{
	_cleanup_config_ struct kata_config *c = config_test_loads(
		config_test_qemu, "shared_fs = \"\"\nvirtio_fs_daemon = \"@@/virtiofsd\"\n", NULL);
	assert_string_equal(c->hypervisor.shared_fs, "virtio-fs");
}

static void good_verity_parameters_are_taken(void **state)
{
	config_free(
		config_test_loads(config_test_qemu,
				  "kernel_verity_params = \"root_hash=ab, salt=cd,data_blocks=8,"
				  "data_block_size=4096,hash_block_size=512\"\n",
				  NULL));
	config_free(config_test_loads(config_test_qemu, "kernel_verity_params = \"  \"\n", NULL));
}

static void links_are_resolved(void **state)
{
	char link[300];
	snprintf(link, sizeof link, "%s/current", config_test_dir);
	assert_int_equal(symlink("firmware", link), 0);
	_cleanup_config_ struct kata_config *c =
		config_test_loads(config_test_qemu, "firmware = \"@@/current\"\n", NULL);
	assert_non_null(strstr(c->hypervisor.firmware, "/firmware"));
	assert_int_equal(unlink(link), 0);
}

static void slips_are_counted(void **state)
{
	assert_int_equal(config_slips("kernel", "kernel"), 0);
	assert_int_equal(config_slips("kernel", "kernle"), 1);
	assert_int_equal(config_slips("default_vcpus", "default_cpus"), 1);
	assert_int_equal(config_slips("default_vcpus", "defalt_vcpu"), 2);
	assert_int_equal(config_slips("path", "host"), -1);
	assert_int_equal(config_slips("", "a"), -1);
	assert_int_equal(
		config_slips("a", "a234567890123456789012345678901234567890123456789012345678901"
				  "234567890"),
		-1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_that_break_a_rule_are_refused),
		cmocka_unit_test(other_sections_have_rules_too),
		cmocka_unit_test(qemu_needs_what_it_boots),
		cmocka_unit_test(processors_fit_the_host),
		cmocka_unit_test(memory_fits_the_host),
		cmocka_unit_test(what_is_odd_is_adjusted_with_a_warning),
		cmocka_unit_test(an_empty_shared_fs_is_virtio_fs),
		cmocka_unit_test(good_verity_parameters_are_taken),
		cmocka_unit_test(links_are_resolved),
		cmocka_unit_test(slips_are_counted),
	};
	return cmocka_run_group_tests(tests, config_test_setup, config_test_teardown);
}
