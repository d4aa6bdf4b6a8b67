/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every key that the field's configuration.toml may hold, as data. A key without `.offset` is known
 * and checked, but nothing acts on it yet. Keep the order of the field's reference within a
 * section: config_dump() prints in this order.
 */
#include "config/keys.h"

#include "base/cleanup.h"
#include "config/config.h"

#include <string.h>

#define ACTS_ON(field) .offset = offsetof(struct kata_config, field)
#define HYP SECTION_HYPERVISOR
#define BLOCK_DRIVERS "virtio-blk-pci|virtio-blk-ccw|virtio-blk-mmio|virtio-scsi|virtio-pmem"
#define LOG_LEVELS "trace|debug|info|warn|warning|error|critical"

/* The field's limits: PCI express ports share 64 KiB of I/O space, 4 KiB each. */
#define PCIE_PORTS_MAX 16

const struct config_key config_keys[] = {
	/* ---- [runtime] ---- */
	{SECTION_RUNTIME, "name", .type = TYPE_STRING, ACTS_ON(runtime.name),
	 .annotation = "runtime.name"},
	{SECTION_RUNTIME, "hypervisor_name", .type = TYPE_STRING, ACTS_ON(runtime.hypervisor_name),
	 .annotation = "runtime.hypervisor_name", .how = HOW_SWITCH},
	{SECTION_RUNTIME, "agent_name", .type = TYPE_STRING, ACTS_ON(runtime.agent_name),
	 .annotation = "runtime.agent_name", .how = HOW_SWITCH},
	{SECTION_RUNTIME, "enable_debug", .type = TYPE_BOOL, ACTS_ON(runtime.enable_debug)},
	{SECTION_RUNTIME, "log_level", .type = TYPE_STRING, ACTS_ON(runtime.log_level),
	 .preset = "info", .choices = LOG_LEVELS},
	{SECTION_RUNTIME, "internetworking_model", .type = TYPE_STRING,
	 ACTS_ON(runtime.internetworking_model), .preset = "tcfilter",
	 .choices = "tcfilter|macvtap|l3forwarding|none",
	 .annotation = "runtime.internetworking_model"},
	{SECTION_RUNTIME, "disable_new_netns", .type = TYPE_BOOL,
	 ACTS_ON(runtime.disable_new_netns), .annotation = "runtime.disable_new_netns"},
	{SECTION_RUNTIME, "sandbox_cgroup_only", .type = TYPE_BOOL,
	 ACTS_ON(runtime.sandbox_cgroup_only), .annotation = "runtime.sandbox_cgroup_only"},
	{SECTION_RUNTIME, "static_sandbox_resource_mgmt", .type = TYPE_BOOL,
	 ACTS_ON(runtime.static_sandbox_resource_mgmt)},
	{SECTION_RUNTIME, "disable_guest_seccomp", .type = TYPE_BOOL,
	 ACTS_ON(runtime.disable_guest_seccomp), .annotation = "runtime.disable_guest_seccomp"},
	{SECTION_RUNTIME, "keep_abnormal", .type = TYPE_BOOL, ACTS_ON(runtime.keep_abnormal)},
	{SECTION_RUNTIME, "enable_vcpus_pinning", .type = TYPE_BOOL,
	 .annotation = "runtime.enable_vcpus_pinning"},
	{SECTION_RUNTIME, "use_passfd_io", .type = TYPE_BOOL},
	{SECTION_RUNTIME, "passfd_listener_port", .type = TYPE_U32, .preset = "1027"},
	{SECTION_RUNTIME, "experimental", .type = TYPE_STRINGS,
	 .annotation = "runtime.experimental", .how = HOW_COMMAS},
	{SECTION_RUNTIME, "sandbox_bind_mounts", .type = TYPE_STRINGS,
	 .annotation = "runtime.sandbox_bind_mounts", .how = HOW_REFUSED},
	{SECTION_RUNTIME, "enable_tracing", .type = TYPE_BOOL},
	{SECTION_RUNTIME, "jaeger_endpoint", .type = TYPE_STRING},
	{SECTION_RUNTIME, "jaeger_user", .type = TYPE_STRING},
	{SECTION_RUNTIME, "jaeger_password", .type = TYPE_STRING},
	{SECTION_RUNTIME, "enable_pprof", .type = TYPE_BOOL, .annotation = "runtime.enable_pprof"},
	{SECTION_RUNTIME, "emptydir_mode", .type = TYPE_STRING, .preset = "shared-fs",
	 .choices = "shared-fs|block-encrypted|block-plain"},
	{SECTION_RUNTIME, "vfio_mode", .type = TYPE_STRING, .preset = "guest-kernel",
	 .choices = "vfio|guest-kernel", .annotation = "runtime.vfio_mode"},
	{SECTION_RUNTIME, "dan_conf", .type = TYPE_STRING},
	{SECTION_RUNTIME, "pod_resource_api_sock", .type = TYPE_STRING},
	{SECTION_RUNTIME, "kubelet_root_dir", .type = TYPE_STRING},
	{SECTION_RUNTIME, "shared_mounts", .type = TYPE_TABLES, .sub = SECTION_SHARED_MOUNT},
	{SECTION_SHARED_MOUNT, "name", .type = TYPE_STRING},
	{SECTION_SHARED_MOUNT, "src_ctr", .type = TYPE_STRING},
	{SECTION_SHARED_MOUNT, "src_path", .type = TYPE_STRING},
	{SECTION_SHARED_MOUNT, "dst_ctr", .type = TYPE_STRING},
	{SECTION_SHARED_MOUNT, "dst_path", .type = TYPE_STRING},

	/* ---- [hypervisor.<name>]: the monitor and how it boots ---- */
	{HYP, "path", .type = TYPE_STRING, .flags = KEY_PROGRAM, ACTS_ON(hypervisor.path),
	 .annotation = "hypervisor.path", .how = HOW_PATH, .patterns = "valid_hypervisor_paths"},
	{HYP, "valid_hypervisor_paths", .type = TYPE_STRINGS,
	 ACTS_ON(hypervisor.valid_hypervisor_paths)},
	{HYP, "accelerator", .type = TYPE_STRING, ACTS_ON(hypervisor.accelerator), .preset = "auto",
	 .choices = "auto|kvm|tcg"},
	{HYP, "kernel", .type = TYPE_STRING, .flags = KEY_FILE, ACTS_ON(hypervisor.kernel),
	 .annotation = "hypervisor.kernel"},
	{HYP, "initrd", .type = TYPE_STRING, .flags = KEY_FILE, ACTS_ON(hypervisor.initrd),
	 .annotation = "hypervisor.initrd"},
	{HYP, "image", .type = TYPE_STRING, .flags = KEY_FILE, ACTS_ON(hypervisor.image),
	 .annotation = "hypervisor.image"},
	{HYP, "firmware", .type = TYPE_STRING, .flags = KEY_FILE, ACTS_ON(hypervisor.firmware),
	 .annotation = "hypervisor.firmware"},
	{HYP, "kernel_params", .type = TYPE_STRING, ACTS_ON(hypervisor.kernel_params),
	 .annotation = "hypervisor.kernel_params", .how = HOW_KERNEL_PARAMS},
	{HYP, "kernel_verity_params", .type = TYPE_STRING,
	 .annotation = "hypervisor.kernel_verity_params"},
	{HYP, "machine_type", .type = TYPE_STRING, ACTS_ON(hypervisor.machine_type),
	 .annotation = "hypervisor.machine_type"},
	{HYP, "machine_accelerators", .type = TYPE_STRING, ACTS_ON(hypervisor.machine_accelerators),
	 .annotation = "hypervisor.machine_accelerators"},
	{HYP, "cpu_features", .type = TYPE_STRING, ACTS_ON(hypervisor.cpu_features),
	 .annotation = "hypervisor.cpu_features"},
	{HYP, "default_vcpus", .type = TYPE_NUMBER, .flags = KEY_ZERO,
	 ACTS_ON(hypervisor.default_vcpus), .preset = "1",
	 .annotation = "hypervisor.default_vcpus"},
	{HYP, "default_maxvcpus", .type = TYPE_U32, ACTS_ON(hypervisor.default_maxvcpus),
	 .annotation = "hypervisor.default_max_vcpus"},
	{HYP, "default_memory", .type = TYPE_U32, .flags = KEY_ZERO,
	 ACTS_ON(hypervisor.default_memory), .preset = "128",
	 .annotation = "hypervisor.default_memory", .how = HOW_MEMORY},
	{HYP, "default_maxmemory", .type = TYPE_U64, ACTS_ON(hypervisor.default_maxmemory)},
	{HYP, "memory_slots", .type = TYPE_U32, .flags = KEY_ZERO, ACTS_ON(hypervisor.memory_slots),
	 .preset = "128", .annotation = "hypervisor.memory_slots"},
	{HYP, "enable_mem_prealloc", .type = TYPE_BOOL, ACTS_ON(hypervisor.enable_mem_prealloc),
	 .annotation = "hypervisor.enable_mem_prealloc"},
	{HYP, "reclaim_guest_freed_memory", .type = TYPE_BOOL,
	 ACTS_ON(hypervisor.reclaim_guest_freed_memory)},
	{HYP, "seccomp_sandbox", .type = TYPE_STRING, ACTS_ON(hypervisor.seccomp_sandbox)},
	{HYP, "enable_debug", .type = TYPE_BOOL, ACTS_ON(hypervisor.enable_debug)},
	{HYP, "disable_vhost_vsock", .type = TYPE_BOOL, ACTS_ON(hypervisor.disable_vhost_vsock)},

	/* ---- [hypervisor.<name>]: the shared file system ---- */
	{HYP, "shared_fs", .type = TYPE_STRING, ACTS_ON(hypervisor.shared_fs),
	 .choices = "virtio-fs|inline-virtio-fs|virtio-fs-nydus|none",
	 .annotation = "hypervisor.shared_fs"},
	{HYP, "virtio_fs_daemon", .type = TYPE_STRING, .flags = KEY_PROGRAM,
	 ACTS_ON(hypervisor.virtio_fs_daemon), .annotation = "hypervisor.virtio_fs_daemon",
	 .how = HOW_PATH, .patterns = "valid_virtio_fs_daemon_paths"},
	{HYP, "valid_virtio_fs_daemon_paths", .type = TYPE_STRINGS,
	 ACTS_ON(hypervisor.valid_virtio_fs_daemon_paths)},
	{HYP, "virtio_fs_extra_args", .type = TYPE_STRINGS,
	 ACTS_ON(hypervisor.virtio_fs_extra_args), .annotation = "hypervisor.virtio_fs_extra_args",
	 .how = HOW_COMMAS},
	{HYP, "virtio_fs_cache", .type = TYPE_STRING, ACTS_ON(hypervisor.virtio_fs_cache),
	 .preset = "never", .choices = "never|auto|always|none",
	 .annotation = "hypervisor.virtio_fs_cache"},
	{HYP, "virtio_fs_queue_size", .type = TYPE_U32, ACTS_ON(hypervisor.virtio_fs_queue_size)},
	{HYP, "virtio_fs_cache_size", .type = TYPE_U32,
	 .annotation = "hypervisor.virtio_fs_cache_size"},
	{HYP, "virtio_fs_is_dax", .type = TYPE_BOOL},

	/* ---- [hypervisor.<name>]: what a pod may change, and tests ---- */
	{HYP, "enable_annotations", .type = TYPE_STRINGS, ACTS_ON(hypervisor.enable_annotations)},
	{HYP, "fake_script", .type = TYPE_STRING, ACTS_ON(hypervisor.fake_script)},
	{HYP, "fake_agent_socket", .type = TYPE_STRING, ACTS_ON(hypervisor.fake_agent_socket)},

	/* ---- [hypervisor.<name>]: known, and not acted on yet ---- */
	{HYP, "ctlpath", .type = TYPE_STRING},
	{HYP, "valid_ctlpaths", .type = TYPE_STRINGS},
	{HYP, "jailer_path", .type = TYPE_STRING, .annotation = "hypervisor.jailer_path",
	 .how = HOW_PATH, .patterns = "valid_jailer_paths"},
	{HYP, "valid_jailer_paths", .type = TYPE_STRINGS},
	{HYP, "disable_nesting_checks", .type = TYPE_BOOL},
	{HYP, "enable_iothreads", .type = TYPE_BOOL, .annotation = "hypervisor.enable_iothreads"},
	{HYP, "indep_iothreads", .type = TYPE_U32, .annotation = "hypervisor.indep_iothreads"},
	{HYP, "disable_block_device_use", .type = TYPE_BOOL,
	 .annotation = "hypervisor.disable_block_device_use"},
	{HYP, "block_device_driver", .type = TYPE_STRING, .preset = "virtio-blk-pci",
	 .choices = BLOCK_DRIVERS, .annotation = "hypervisor.block_device_driver"},
	{HYP, "block_device_aio", .type = TYPE_STRING, .preset = "io_uring",
	 .choices = "io_uring|native|threads"},
	{HYP, "block_device_cache_set", .type = TYPE_BOOL,
	 .annotation = "hypervisor.block_device_cache_set"},
	{HYP, "block_device_cache_direct", .type = TYPE_BOOL,
	 .annotation = "hypervisor.block_device_cache_direct"},
	{HYP, "block_device_cache_noflush", .type = TYPE_BOOL,
	 .annotation = "hypervisor.block_device_cache_noflush"},
	{HYP, "block_device_logical_sector_size", .type = TYPE_U32,
	 .annotation = "hypervisor.blk_logical_sector_size"},
	{HYP, "block_device_physical_sector_size", .type = TYPE_U32,
	 .annotation = "hypervisor.blk_physical_sector_size"},
	{HYP, "queue_size", .type = TYPE_U32, .flags = KEY_ZERO, .preset = "128",
	 .annotation = "hypervisor.block_device_queue_size"},
	{HYP, "num_queues", .type = TYPE_U32, .flags = KEY_ZERO, .preset = "1",
	 .annotation = "hypervisor.block_device_num_queues"},
	{HYP, "disable_image_nvdimm", .type = TYPE_BOOL,
	 .annotation = "hypervisor.disable_image_nvdimm"},
	{HYP, "memory_offset", .type = TYPE_U64, .annotation = "hypervisor.memory_offset"},
	{HYP, "enable_vhost_user_store", .type = TYPE_BOOL,
	 .annotation = "hypervisor.enable_vhost_user_store"},
	{HYP, "vhost_user_store_path", .type = TYPE_STRING,
	 .annotation = "hypervisor.vhost_user_store_path", .how = HOW_PATH,
	 .patterns = "valid_vhost_user_store_paths"},
	{HYP, "valid_vhost_user_store_paths", .type = TYPE_STRINGS},
	{HYP, "vhost_user_reconnect_timeout_sec", .type = TYPE_U32},
	{HYP, "disk_rate_limiter_bw_max_rate", .type = TYPE_U64},
	{HYP, "disk_rate_limiter_bw_one_time_burst", .type = TYPE_U64},
	{HYP, "disk_rate_limiter_ops_max_rate", .type = TYPE_U64},
	{HYP, "disk_rate_limiter_ops_one_time_burst", .type = TYPE_U64},
	{HYP, "rootfs_type", .type = TYPE_STRING, .preset = "ext4", .choices = "ext4|xfs|erofs"},
	{HYP, "firmware_volume", .type = TYPE_STRING},
	{HYP, "vm_rootfs_driver", .type = TYPE_STRING, .preset = "virtio-blk-pci",
	 .choices = BLOCK_DRIVERS},
	{HYP, "overhead_vcpus", .type = TYPE_NUMBER},
	{HYP, "overhead_memory", .type = TYPE_U32},
	{HYP, "disable_nested_virtualization", .type = TYPE_BOOL},
	{HYP, "log_level", .type = TYPE_STRING, .preset = "info", .choices = LOG_LEVELS},
	{HYP, "guest_memory_dump_path", .type = TYPE_STRING},
	{HYP, "guest_memory_dump_paging", .type = TYPE_BOOL},
	{HYP, "extra_monitor_socket", .alias = "dbg_monitor_socket", .type = TYPE_STRING,
	 .choices = "hmp|qmp|qmp-pretty"},
	{HYP, "default_bridges", .type = TYPE_U32, .flags = KEY_ZERO, .preset = "1"},
	{HYP, "cold_plug_vfio", .type = TYPE_STRING, .preset = "no-port",
	 .choices = "no-port|root-port"},
	{HYP, "pcie_root_port", .type = TYPE_U32, .max = PCIE_PORTS_MAX,
	 .annotation = "hypervisor.pcie_root_port"},
	{HYP, "pcie_switch_port", .type = TYPE_U32, .max = PCIE_PORTS_MAX,
	 .annotation = "hypervisor.pcie_switch_port"},
	{HYP, "enable_iommu", .type = TYPE_BOOL, .annotation = "hypervisor.enable_iommu"},
	{HYP, "enable_iommu_platform", .type = TYPE_BOOL,
	 .annotation = "hypervisor.enable_iommu_platform"},
	{HYP, "pflashes", .type = TYPE_STRINGS},
	{HYP, "entropy_source", .type = TYPE_STRING, .preset = "/dev/urandom",
	 .annotation = "hypervisor.entropy_source", .how = HOW_PATH,
	 .patterns = "valid_entropy_sources"},
	{HYP, "valid_entropy_sources", .type = TYPE_STRINGS},
	{HYP, "enable_hugepages", .type = TYPE_BOOL, .annotation = "hypervisor.enable_hugepages"},
	{HYP, "hugepage_type", .type = TYPE_STRING, .preset = "hugetlbfs",
	 .choices = "hugetlbfs|thp", .annotation = "hypervisor.hugepage_type"},
	{HYP, "enable_virtio_mem", .type = TYPE_BOOL, .annotation = "hypervisor.enable_virtio_mem"},
	{HYP, "enable_guest_swap", .type = TYPE_BOOL, .annotation = "hypervisor.enable_guest_swap"},
	{HYP, "guest_swap_path", .type = TYPE_STRING, .preset = "/run/kata-containers/swap"},
	{HYP, "guest_swap_size_percent", .type = TYPE_U64, .preset = "100"},
	{HYP, "guest_swap_create_threshold_secs", .type = TYPE_U64, .preset = "60"},
	{HYP, "disable_vhost_net", .type = TYPE_BOOL, .annotation = "hypervisor.disable_vhost_net"},
	{HYP, "rx_rate_limiter_max_rate", .type = TYPE_U64,
	 .annotation = "hypervisor.rx_rate_limiter_max_rate"},
	{HYP, "tx_rate_limiter_max_rate", .type = TYPE_U64,
	 .annotation = "hypervisor.tx_rate_limiter_max_rate"},
	{HYP, "network_queues", .type = TYPE_U32, .flags = KEY_ZERO, .preset = "1",
	 .annotation = "hypervisor.network_queues"},
	{HYP, "rootless", .type = TYPE_BOOL, .annotation = "hypervisor.rootless"},
	{HYP, "rootless_user", .type = TYPE_TABLE, .sub = SECTION_ROOTLESS_USER},
	{SECTION_ROOTLESS_USER, "uid", .type = TYPE_U32},
	{SECTION_ROOTLESS_USER, "gid", .type = TYPE_U32},
	{SECTION_ROOTLESS_USER, "groups", .type = TYPE_INTEGERS},
	{SECTION_ROOTLESS_USER, "user_name", .type = TYPE_STRING},
	{HYP, "disable_seccomp", .type = TYPE_BOOL},
	{HYP, "confidential_guest", .type = TYPE_BOOL},
	{HYP, "sev_snp_guest", .type = TYPE_BOOL},
	{HYP, "snp_id_block", .type = TYPE_STRING},
	{HYP, "snp_id_auth", .type = TYPE_STRING},
	{HYP, "snp_guest_policy", .type = TYPE_U32, .preset = "196608"},
	{HYP, "tdx_quote_generation_service_socket_port", .type = TYPE_U32, .preset = "4050"},
	{HYP, "guest_hook_path", .type = TYPE_STRING, ACTS_ON(hypervisor.guest_hook_path),
	 .annotation = "hypervisor.guest_hook_path"},
	{HYP, "initdata", .type = TYPE_STRING},
	{HYP, "selinux_label", .type = TYPE_STRING},
	{HYP, "disable_selinux", .type = TYPE_BOOL},
	{HYP, "disable_guest_selinux", .type = TYPE_BOOL, .preset = "true"},
	{HYP, "hypervisor_socket", .alias = "remote_hypervisor_socket", .type = TYPE_STRING,
	 .preset = "/run/peerpod/hypervisor.sock"},
	{HYP, "hypervisor_timeout", .alias = "remote_hypervisor_timeout", .type = TYPE_I64,
	 .min = INT32_MIN, .max = INT32_MAX, .preset = "600"},
	{HYP, "default_gpus", .type = TYPE_U32, .annotation = "hypervisor.default_gpus"},
	{HYP, "default_gpu_model", .type = TYPE_STRING,
	 .annotation = "hypervisor.default_gpu_model"},
	{HYP, "boot_to_be_template", .type = TYPE_BOOL},
	{HYP, "boot_from_template", .type = TYPE_BOOL},
	{HYP, "memory_path", .type = TYPE_STRING},
	{HYP, "device_state_path", .type = TYPE_STRING},
	{HYP, "prefetch_list_path", .type = TYPE_STRING,
	 .annotation = "hypervisor.prefetch_files.list"},
	{HYP, "use_legacy_serial", .type = TYPE_BOOL},
	{HYP, "kubelet_root_dir", .type = TYPE_STRING},
	{HYP, "factory", .type = TYPE_TABLE, .sub = SECTION_FACTORY},
	{SECTION_FACTORY, "enable_template", .type = TYPE_BOOL},
	{SECTION_FACTORY, "template_path", .type = TYPE_STRING, .preset = "/run/vc/vm/template"},
	{HYP, "guest_extension_images", .type = TYPE_TABLES, .sub = SECTION_EXTENSION_IMAGE},
	{SECTION_EXTENSION_IMAGE, "name", .type = TYPE_STRING},
	{SECTION_EXTENSION_IMAGE, "path", .type = TYPE_STRING},
	{SECTION_EXTENSION_IMAGE, "verity_params", .type = TYPE_STRING},

	/* ---- [hypervisor.<name>]: of the Go runtime only ---- */
	{HYP, "enable_numa", .flags = KEY_FOREIGN},
	{HYP, "numa_mapping", .flags = KEY_FOREIGN},
	{HYP, "measurement_algo", .flags = KEY_FOREIGN},
	{HYP, "hot_plug_vfio", .flags = KEY_FOREIGN},
	{HYP, "net_rate_limiter_bw_max_rate", .flags = KEY_FOREIGN},
	{HYP, "net_rate_limiter_bw_one_time_burst", .flags = KEY_FOREIGN},
	{HYP, "net_rate_limiter_ops_max_rate", .flags = KEY_FOREIGN},
	{HYP, "net_rate_limiter_ops_one_time_burst", .flags = KEY_FOREIGN},
	{SECTION_FACTORY, "vm_cache_number", .flags = KEY_FOREIGN},
	{SECTION_FACTORY, "vm_cache_endpoint", .flags = KEY_FOREIGN},

	/* ---- [agent.<name>] ---- */
	{SECTION_AGENT, "enable_debug", .type = TYPE_BOOL, ACTS_ON(agent.enable_debug)},
	{SECTION_AGENT, "log_level", .type = TYPE_STRING, ACTS_ON(agent.log_level),
	 .preset = "info", .choices = LOG_LEVELS},
	{SECTION_AGENT, "enable_tracing", .type = TYPE_BOOL, ACTS_ON(agent.enable_tracing),
	 .annotation = "agent.enable_tracing"},
	{SECTION_AGENT, "debug_console_enabled", .type = TYPE_BOOL,
	 ACTS_ON(agent.debug_console_enabled)},
	{SECTION_AGENT, "visible_cdi_devices", .type = TYPE_BOOL,
	 ACTS_ON(agent.visible_cdi_devices)},
	{SECTION_AGENT, "server_port", .type = TYPE_U32, ACTS_ON(agent.server_port),
	 .preset = "1024", .min = 1, .max = UINT32_MAX - 1},
	{SECTION_AGENT, "log_port", .type = TYPE_U32, ACTS_ON(agent.log_port), .preset = "1025",
	 .min = 1, .max = UINT32_MAX - 1},
	{SECTION_AGENT, "passfd_listener_port", .type = TYPE_U32, .preset = "1027"},
	{SECTION_AGENT, "dial_timeout_ms", .type = TYPE_U32, ACTS_ON(agent.dial_timeout_ms),
	 .preset = "10", .min = 1, .max = UINT32_MAX},
	{SECTION_AGENT, "reconnect_timeout_ms", .type = TYPE_U32,
	 ACTS_ON(agent.reconnect_timeout_ms), .preset = "3000"},
	{SECTION_AGENT, "create_container_timeout", .type = TYPE_U32,
	 ACTS_ON(agent.create_container_timeout), .preset = "30", .min = 1,
	 .max = UINT32_MAX / 1000, .annotation = "runtime.create_container_timeout"},
	{SECTION_AGENT, "health_check_request_timeout_ms", .type = TYPE_U32,
	 ACTS_ON(agent.health_check_request_timeout_ms), .preset = "90000", .min = 1,
	 .max = UINT32_MAX},
	{SECTION_AGENT, "cdh_api_timeout_ms", .type = TYPE_U32, ACTS_ON(agent.cdh_api_timeout_ms),
	 .preset = "50000", .annotation = "agent.cdh_api_timeout_ms"},
	{SECTION_AGENT, "kernel_modules", .type = TYPE_STRINGS, ACTS_ON(agent.kernel_modules),
	 .annotation = "agent.kernel_modules", .how = HOW_SEMICOLONS},
	{SECTION_AGENT, "container_pipe_size", .type = TYPE_U32, ACTS_ON(agent.container_pipe_size),
	 .annotation = "agent.container_pipe_size"},
	{SECTION_AGENT, "launch_process_timeout", .type = TYPE_U32,
	 ACTS_ON(agent.launch_process_timeout)},
	{SECTION_AGENT, "policy", .type = TYPE_STRING},
	{SECTION_AGENT, "mem_agent", .type = TYPE_TABLE, .sub = SECTION_MEM_AGENT},

	/* Those that are set become kernel parameters: see config_collect_mem_agent(). */
	{SECTION_MEM_AGENT, "mem_agent_enable", .alias = "enable", .type = TYPE_BOOL,
	 ACTS_ON(agent.mem_agent)},
	{SECTION_MEM_AGENT, "memcg_disable", .type = TYPE_BOOL, ACTS_ON(agent.mem_agent)},
	{SECTION_MEM_AGENT, "memcg_swap", .type = TYPE_BOOL, ACTS_ON(agent.mem_agent)},
	{SECTION_MEM_AGENT, "memcg_swappiness_max", .type = TYPE_U32, .max = UINT8_MAX,
	 ACTS_ON(agent.mem_agent)},
	{SECTION_MEM_AGENT, "memcg_period_secs", .type = TYPE_U64, ACTS_ON(agent.mem_agent)},
	{SECTION_MEM_AGENT, "memcg_period_psi_percent_limit", .type = TYPE_U32, .max = UINT8_MAX,
	 ACTS_ON(agent.mem_agent)},
	{SECTION_MEM_AGENT, "memcg_eviction_psi_percent_limit", .type = TYPE_U32, .max = UINT8_MAX,
	 ACTS_ON(agent.mem_agent)},
	{SECTION_MEM_AGENT, "memcg_eviction_run_aging_count_min", .type = TYPE_U64,
	 ACTS_ON(agent.mem_agent)},
	{SECTION_MEM_AGENT, "compact_disable", .type = TYPE_BOOL, ACTS_ON(agent.mem_agent)},
	{SECTION_MEM_AGENT, "compact_period_secs", .type = TYPE_U64, ACTS_ON(agent.mem_agent)},
	{SECTION_MEM_AGENT, "compact_period_psi_percent_limit", .type = TYPE_U32, .max = UINT8_MAX,
	 ACTS_ON(agent.mem_agent)},
	{SECTION_MEM_AGENT, "compact_psi_percent_limit", .type = TYPE_U32, .max = UINT8_MAX,
	 ACTS_ON(agent.mem_agent)},
	{SECTION_MEM_AGENT, "compact_sec_max", .type = TYPE_I64, ACTS_ON(agent.mem_agent)},
	{SECTION_MEM_AGENT, "compact_order", .type = TYPE_U32, .max = UINT8_MAX,
	 ACTS_ON(agent.mem_agent)},
	{SECTION_MEM_AGENT, "compact_threshold", .type = TYPE_U64, ACTS_ON(agent.mem_agent)},
	{SECTION_MEM_AGENT, "compact_force_times", .type = TYPE_U64, ACTS_ON(agent.mem_agent)},
};

const size_t config_keys_count = ARRAY_SIZE(config_keys);
_Static_assert(ARRAY_SIZE(config_keys) <= CONFIG_KEYS_MAX, "raise CONFIG_KEYS_MAX");

const char *config_section_title(enum config_section section)
{
	switch (section) {
	case SECTION_RUNTIME:
		return "runtime";
	case SECTION_HYPERVISOR:
		return "hypervisor.<name>";
	case SECTION_FACTORY:
		return "hypervisor.<name>.factory";
	case SECTION_ROOTLESS_USER:
		return "hypervisor.<name>.rootless_user";
	case SECTION_EXTENSION_IMAGE:
		return "hypervisor.<name>.guest_extension_images";
	case SECTION_AGENT:
		return "agent.<name>";
	case SECTION_MEM_AGENT:
		return "agent.<name>.mem_agent";
	case SECTION_SHARED_MOUNT:
		return "runtime.shared_mounts";
	}
	return "unknown";
}

const struct config_key *config_key_find(enum config_section section, const char *name)
{
	for (size_t i = 0; i < config_keys_count; i++) {
		const struct config_key *k = &config_keys[i];
		if (k->section == section &&
		    (strcmp(k->name, name) == 0 || (k->alias && strcmp(k->alias, name) == 0)))
			return k;
	}
	return NULL;
}

const struct config_key *config_key_by_annotation(const char *name)
{
	for (size_t i = 0; i < config_keys_count; i++)
		if (config_keys[i].annotation && strcmp(config_keys[i].annotation, name) == 0)
			return &config_keys[i];
	return NULL;
}
