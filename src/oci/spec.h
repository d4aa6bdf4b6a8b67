/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OCI runtime specification in memory, as far as a guest and its shim act on it.
 * Source: github.com/opencontainers/runtime-spec, version 1.2.
 *
 * One struct oci_spec owns everything that it points to (one arena): strings are never NULL unless
 * said, arrays come with a count. It is read from config.json (the shim, tools) or from the agent's
 * wire form (proto/oci.proto, the guest), and written to either.
 */
#pragma once

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct oci_arena; /* chunks freed together; see oci/arena.h */

struct oci_strv {
	char **v; /* n strings; v[n] is NULL, so it can be passed to exec */
	size_t n;
};

struct oci_kv {
	char *key, *value;
};

struct oci_user {
	uint32_t uid, gid;
	bool has_umask;
	uint32_t umask;
	uint32_t *additional_gids;
	size_t n_additional_gids;
	char *username; /* or NULL */
};

/* Bit n is capability number n of linux/capability.h. */
struct oci_capabilities {
	bool present; /* false in a process: the container's are meant */
	uint64_t bounding, effective, inheritable, permitted, ambient;
	/* Names that are no capability known here. The specification wants them ignored, with a
	 * warning; writing that is the caller's. May repeat. */
	struct oci_strv unknown;
};

struct oci_rlimit {
	int resource; /* RLIMIT_* */
	uint64_t soft, hard;
};

struct oci_io_priority {
	bool present;
	int class; /* IOPRIO_CLASS_* of linux/ioprio.h */
	int level; /* 0 (first) to 7 */
};

struct oci_scheduler {
	bool present;
	int policy;				     /* SCHED_* of linux/sched.h */
	int32_t nice;				     /* of SCHED_OTHER, SCHED_BATCH */
	int32_t priority;			     /* of SCHED_FIFO, SCHED_RR */
	uint64_t flags;				     /* SCHED_FLAG_* */
	uint64_t runtime_ns, deadline_ns, period_ns; /* of SCHED_DEADLINE */
};

/* Lists as those of cpusets, "0-3,7"; NULL: not changed. */
struct oci_cpu_affinity {
	char *initial; /* while the process enters the container */
	char *final;   /* of the program that it runs */
};

struct oci_process {
	bool terminal;
	uint32_t console_height, console_width; /* 0: unset */
	struct oci_user user;
	struct oci_strv args; /* at least one, or the spec is refused */
	struct oci_strv env;  /* "KEY=value" */
	char *cwd;	      /* absolute */
	struct oci_capabilities caps;
	struct oci_rlimit *rlimits;
	size_t n_rlimits;
	bool no_new_privileges;
	char *apparmor_profile; /* or NULL */
	char *selinux_label;	/* or NULL */
	bool has_oom_score_adj;
	int oom_score_adj; /* -1000 to 1000 */
	struct oci_io_priority io_priority;
	struct oci_scheduler scheduler;
	struct oci_cpu_affinity exec_cpu_affinity; /* of execs; the container's own is not for its
						      init */
};

struct oci_id_mapping {
	uint32_t container_id, host_id, size;
};

struct oci_mount {
	char *destination, *source /* or NULL */, *type /* or NULL */;
	struct oci_strv options;
	struct oci_id_mapping *uid_mappings, *gid_mappings; /* of an id-mapped mount */
	size_t n_uid_mappings, n_gid_mappings;
};

enum oci_ns_type {
	OCI_NS_PID,
	OCI_NS_NETWORK,
	OCI_NS_MOUNT,
	OCI_NS_IPC,
	OCI_NS_UTS,
	OCI_NS_USER,
	OCI_NS_CGROUP,
	OCI_NS_TIME,
};

struct oci_namespace {
	enum oci_ns_type type;
	char *path; /* or NULL: a new one */
};

struct oci_device {
	char *path;
	char type; /* 'c' 'b' 'u' 'p' */
	int64_t major, minor;
	bool has_mode, has_uid, has_gid;
	uint32_t mode, uid, gid; /* mode: the permission bits alone */
};

struct oci_device_rule {
	bool allow;
	char type;	      /* 'a' 'c' 'b' */
	int64_t major, minor; /* -1: any */
	char *access;	      /* of "rwm" */
};

struct oci_hugepage_limit {
	char *page_size;
	uint64_t limit;
};

struct oci_rdma {
	char *device;
	bool has_handles, has_objects;
	uint32_t handles, objects;
};

/*
 * An absent value is INT64_MIN for signed and 0 with has_=false for the others. A limit or weight
 * of 0, which the kernel has no use for, is read as absent; swappiness, burst and idle may be 0.
 */
#define OCI_UNSET INT64_MIN

struct oci_resources {
	struct oci_device_rule *devices;
	size_t n_devices;
	struct {
		int64_t limit, reservation, swap, kernel, kernel_tcp; /* bytes; -1 unlimited */
		int64_t swappiness;
		bool disable_oom_killer, check_before_update;
	} memory;
	struct {
		int64_t shares, quota, period, realtime_runtime, realtime_period, burst, idle;
		char *cpus, *mems; /* or NULL */
	} cpu;
	int64_t pids_limit; /* -1 unlimited */
	struct oci_hugepage_limit *hugepages;
	size_t n_hugepages;
	struct {
		int64_t weight, leaf_weight;
		struct oci_blkio_device {
			int64_t major, minor, weight, leaf_weight;
		} * weight_device;
		size_t n_weight_device;
		struct oci_throttle_device {
			int64_t major, minor;
			uint64_t rate;
		} * throttle_read_bps, *throttle_write_bps, *throttle_read_iops,
			*throttle_write_iops;
		size_t n_throttle_read_bps, n_throttle_write_bps, n_throttle_read_iops,
			n_throttle_write_iops;
	} block_io;
	struct oci_kv *unified;
	size_t n_unified;
	struct oci_rdma *rdma;
	size_t n_rdma;
	struct {
		uint32_t class_id; /* 0: none */
		struct oci_if_priority {
			char *name;
			uint32_t priority;
		} * priorities;
		size_t n_priorities;
	} network;
};

struct oci_seccomp_arg {
	uint32_t index;
	uint64_t value, value_two;
	char *op; /* SCMP_CMP_* */
};

struct oci_seccomp_rule {
	struct oci_strv names;
	char *action; /* SCMP_ACT_* */
	bool has_errno_ret;
	uint32_t errno_ret;
	struct oci_seccomp_arg *args;
	size_t n_args;
};

struct oci_seccomp {
	char *default_action;
	bool has_default_errno_ret;
	uint32_t default_errno_ret;
	struct oci_strv architectures; /* SCMP_ARCH_* */
	struct oci_strv flags;	       /* SECCOMP_FILTER_FLAG_* */
	struct oci_seccomp_rule *rules;
	size_t n_rules;
	char *listener_path, *listener_metadata; /* or NULL: for SCMP_ACT_NOTIFY */
};

struct oci_hook {
	char *path;
	struct oci_strv args, env;
	int timeout; /* seconds; 0: none given */
};

struct oci_hook_list {
	struct oci_hook *v;
	size_t n;
};

struct oci_hooks {
	struct oci_hook_list prestart, create_runtime, create_container, start_container, poststart,
		poststop;
};

/* What to add to a clock of a time namespace. */
struct oci_time_offset {
	bool present;
	int64_t secs;
	uint32_t nanosecs;
};

struct oci_intel_rdt {
	bool present;
	char *clos_id, *l3_cache_schema, *mem_bw_schema; /* or NULL */
	bool enable_cmt, enable_mbm;			 /* the agent API knows neither */
};

struct oci_spec {
	char *version;
	char *hostname;	  /* or NULL */
	char *domainname; /* or NULL */
	char *root_path;  /* as written: relative to the bundle, or absolute */
	bool root_readonly;
	bool has_process;
	struct oci_process process;
	struct oci_mount *mounts;
	size_t n_mounts;
	struct oci_kv *annotations;
	size_t n_annotations;
	struct oci_hooks hooks;
	struct oci_kv *sysctl;
	size_t n_sysctl;
	struct oci_namespace *namespaces;
	size_t n_namespaces;
	struct oci_id_mapping *uid_mappings, *gid_mappings;
	size_t n_uid_mappings, n_gid_mappings;
	struct oci_device *devices;
	size_t n_devices;
	char *cgroups_path; /* or NULL */
	struct oci_resources resources;
	bool has_seccomp;
	struct oci_seccomp seccomp;
	struct oci_strv masked_paths, readonly_paths;
	char *rootfs_propagation; /* or NULL */
	char *mount_label;	  /* or NULL */
	bool has_personality;
	unsigned long personality; /* PER_LINUX or PER_LINUX32 of sys/personality.h */
	struct oci_time_offset monotonic, boottime;
	struct oci_intel_rdt intel_rdt;

	struct oci_arena *arena; /* owns all of the above */
};

/*
 * Limits of what is read, apart from those that the kernel sets (paths, group lists, id maps).
 * A spec of a large pod has some 100 KiB, 3000 values and is 6 deep.
 */
#define OCI_JSON_BYTES_MAX (16u << 20)
#define OCI_JSON_DEPTH_MAX 32u
#define OCI_JSON_VALUES_MAX (128u << 10) /* two full group lists of NGROUPS_MAX */
#define OCI_ID_MAPPINGS_MAX 340u	 /* UID_GID_MAP_MAX_EXTENTS of kernel/user_namespace.c */
#define OCI_MOUNTS_MAX 4096u		 /* far above any pod, far below fs.mount-max */
#define OCI_DEVICES_MAX 4096u
#define OCI_HOOKS_MAX 256u /* per list; each is a process to run */

/**
 * Parses config.json's text, and validates it (oci/validate.h). A wrong field is refused with
 * -EINVAL by its path, its value and the rule. Fields that are not held here are ignored.
 */
int oci_spec_parse(const char *json, size_t len, struct oci_spec **ret, struct err *e);
/** Reads and parses <bundle>/config.json; at most OCI_JSON_BYTES_MAX. */
int oci_spec_load(const char *bundle, struct oci_spec **ret, struct err *e);
/** An empty spec with its arena: what an empty document would be. NULL: out of memory. */
struct oci_spec *oci_spec_new(void);
void oci_spec_free(struct oci_spec *s);

/** A process alone (an exec's spec). The process owns its arena through *ret_arena. */
int oci_process_parse(const char *json, size_t len, struct oci_process **ret,
		      struct oci_arena **ret_arena, struct err *e);
/** LinuxResources alone (Update). */
int oci_resources_parse(const char *json, size_t len, struct oci_resources **ret,
			struct oci_arena **ret_arena, struct err *e);

/** Resources that limit nothing: every value absent. */
void oci_resources_init(struct oci_resources *r);

/** The document that would be read as @s; absent and default members are left out. NULL: memory. */
json_t *oci_spec_to_json(const struct oci_spec *s);
json_t *oci_process_to_json(const struct oci_process *p);
json_t *oci_resources_to_json(const struct oci_resources *r);

/** The value of an annotation, or NULL. */
const char *oci_spec_annotation(const struct oci_spec *s, const char *key);
/** Sets an annotation, in place of one of the same key. Copies both. -ENOMEM. */
int oci_spec_set_annotation(struct oci_spec *s, const char *key, const char *value);
/** The first namespace of a type, or NULL. */
const struct oci_namespace *oci_spec_namespace(const struct oci_spec *s, enum oci_ns_type type);

/** Capability number by name: "CAP_CHOWN" or "CHOWN", any case, also JSON-quoted. -EINVAL. */
int oci_capability_parse(const char *name);
const char *oci_capability_name(int cap); /* "CAP_CHOWN"; NULL beyond the last */
