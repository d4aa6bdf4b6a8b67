/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime's configuration: TOML file, drop-ins and annotations become one validated, immutable
 * struct kata_config. Names, types and defaults are those of the field's configuration.toml; the
 * table of keys in config/keys.c is the one place that lists them, and docs/configuration.md says
 * what each of them does.
 *
 * Any thread. Trusts no value: the files belong to the administrator but may be wrong, and
 * annotations come from whoever may create a pod.
 */
#pragma once

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct config_strv {
	char **v;
	size_t n;
};

/* [hypervisor.<name>] of the chosen hypervisor. Strings are never NULL; "" is unset. */
struct hypervisor_config {
	char *name; /* "qemu", "fake" */
	char *path;
	char *kernel, *initrd, *image, *firmware;
	char *kernel_params;
	char *accelerator; /* ours: "auto", "kvm", "tcg" */
	char *machine_type, *machine_accelerators;
	char *cpu_features;
	double default_vcpus;
	uint32_t default_maxvcpus;  /* 0: the host's */
	uint32_t default_memory;    /* MiB */
	uint64_t default_maxmemory; /* MiB; 0: the host's */
	uint32_t memory_slots;
	bool enable_debug;
	bool enable_mem_prealloc;
	bool reclaim_guest_freed_memory;
	char *seccomp_sandbox;
	char *guest_hook_path; /* a directory of the guest's image */
	char *shared_fs;       /* "virtio-fs", "none" */
	char *virtio_fs_daemon;
	struct config_strv virtio_fs_extra_args;
	char *virtio_fs_cache;	       /* "never", "auto", "always" */
	uint32_t virtio_fs_queue_size; /* 0: the driver's default */
	struct config_strv enable_annotations;
	struct config_strv valid_hypervisor_paths, valid_virtio_fs_daemon_paths;
	bool disable_vhost_vsock; /* ours: always use the user-space vsock */
	char *fake_script; /* ours, driver `fake` only: scripted failures, see hypervisor/fake */
	char *fake_agent_socket; /* ours, driver `fake` only: unix socket of the fake agent */
};

/* [agent.<name>] */
struct agent_config {
	bool enable_debug;
	char *log_level;
	bool debug_console_enabled;
	uint32_t server_port, log_port;
	uint32_t dial_timeout_ms;
	uint32_t reconnect_timeout_ms;	   /* at least 10000, as in the field; not so with `fake` */
	uint32_t create_container_timeout; /* seconds; the deadline of every bounded agent call */
	uint32_t health_check_request_timeout_ms;
	uint32_t container_pipe_size;
	struct config_strv kernel_modules; /* "name parameter=value ..." */
	/* For the guest's own use, by way of config_agent_kernel_params(). */
	bool enable_tracing, visible_cdi_devices;
	uint32_t launch_process_timeout; /* seconds; 0: the agent's default */
	uint32_t cdh_api_timeout_ms;
	struct config_strv mem_agent; /* "agent.mem_agent_<key>=<value>"; empty: not enabled */
};

/* [runtime] */
struct runtime_config {
	char *name; /* "virt_container"; "linux_container", "wasm_container" */
	char *hypervisor_name, *agent_name;
	bool enable_debug;
	char *log_level;
	bool disable_guest_seccomp;
	bool sandbox_cgroup_only;
	bool static_sandbox_resource_mgmt;
	bool disable_new_netns;
	char *internetworking_model;
	bool keep_abnormal;
};

struct kata_config {
	char *file; /* the canonical base file that was read */
	struct runtime_config runtime;
	struct hypervisor_config hypervisor;
	struct agent_config agent;

	void *arena; /* private: owns every string, and knows where each value came from */
};

struct config_source {
	const char *file; /* containerd's runtime options: ConfigPath; NULL or "": not given */
	const char *body; /* containerd's runtime options: ConfigBody; NULL or "": not given */
	/* Annotations as alternating key, value; NULL-terminated; may be NULL. Only
	 * io.katacontainers.config.* are looked at. */
	const char *const *annotations;
};

/**
 * Called for each thing that is odd but no error: an unknown key ("unknown key "default_vcpu" in
 * [hypervisor.qemu] at /etc/x.toml:12; did you mean "default_vcpus"?"), an annotation that is not
 * enabled. One sentence.
 */
typedef void (*config_warn_fn)(void *arg, const char *sentence);

/**
 * Finds, reads, merges and checks. Search order: ConfigBody, ConfigPath, $KATA_CONF_FILE (any
 * path), then /etc/kata-containers/runtime-rs/configuration.toml,
 * /usr/share/defaults/kata-containers/runtime-rs/configuration.toml,
 * /opt/kata/share/defaults/kata-containers/runtime-rs/configuration.toml, and what meson's prefix
 * adds. A given file that is missing is an error, not a reason to look further. Syntax errors name
 * file, line and column; a wrong value names the key, the value and the rule.
 *
 * Drop-ins: every config.d/(name).toml beside the base file (its links resolved), by name. None
 * with a ConfigBody.
 *
 * A hypervisor of the field that has no driver here loads; hypervisor_new() refuses it.
 */
int config_load(const struct config_source *src, config_warn_fn warn, void *warn_arg,
		struct kata_config **ret, struct err *e);
/** NULL is fine. */
void config_free(struct kata_config *c);

/**
 * The agent's part of the guest's kernel command line: "agent.log=debug agent.debug_console ...",
 * sorted by name. It goes before the user's kernel_params, so that those win. Owned by the caller;
 * NULL only if memory ran out. Empty if there is nothing to say.
 */
char *config_agent_kernel_params(const struct kata_config *c);

/**
 * Writes the effective configuration as TOML, with a comment for each key that says where its value
 * came from. @c is from config_load(). Returns 0 or -EIO.
 */
int config_dump(const struct kata_config *c, FILE *f);

/**
 * The chosen hypervisor's settings as one flat JSON object, by the names of the configuration file.
 * Owned by the caller; NULL, or with fewer members, if memory runs out.
 */
json_t *config_hypervisor_json(const struct kata_config *c);
