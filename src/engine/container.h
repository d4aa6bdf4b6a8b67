/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine keeps. Private to engine/. */
#pragma once

#include "engine/engine.h"
#include "engine/launch.h"
#include "engine/namespaces.h"
#include "engine/procs.h"
#include "engine/rdt.h"
#include "sys/cgroup.h"

struct engine {
	pid_t launcher;
	int sock; /* requests; sending is one system call, so threads need no lock */
	char *state_dir, *cgroup_root; /* or NULL */
	bool network_is_pods, apparmor_optional;
};

struct engine_container {
	struct engine *engine;
	char *id;
	const struct oci_spec *spec; /* borrowed */
	char *state_dir;	     /* or NULL */
	struct cgroup *cgroup;	     /* or NULL */
	struct engine_rdt rdt;
	int device_fd; /* the program on the cgroup */
	enum engine_devices devices;
	struct engine_bpf bpf;
	char *bundle;		   /* for hooks: what the spec's root is below */
	struct engine_launch init; /* its connection is open until it is started */
	int init_pidfd;		   /* our own copy */
	pid_t init_pid;
	uint64_t ns_flags; /* CLONE_NEW* to join for an exec */
	struct engine_owned owned;
	bool frozen;
	bool hook_failed; /* one of creation */
	bool unconfined;
};

/** Refuses what cannot be or must not be done, before anything is done. */
int engine_check_spec(const struct engine *g, const char *id, const struct oci_spec *spec,
		      const char *rootfs, struct err *e);

/** The lines of a uid_map or gid_map. */
void engine_format_map(const struct oci_id_mapping *m, size_t n, struct buf *out);

/** Writes the id maps of a new user namespace, for the process at @proc_pid_fd; those of a joined
 * one must be the spec's, if that has any. */
int engine_write_maps(int proc_pid_fd, const struct oci_spec *spec, struct err *e);

/** In a user namespace of the spec's maps: gives stdio to the user, which the child could not. */
void engine_give_stdio(const struct oci_spec *spec, const struct oci_user *u,
		       const struct engine_stdio *io);

/**
 * Where an exec runs: while it enters the container, as far as its cgroup allows that; and then.
 */
void engine_affinity_begin(pid_t pid, const struct oci_cpu_affinity *a);
int engine_affinity_end(pid_t pid, const struct oci_cpu_affinity *a, struct err *e);

/** What is set on a process from outside: resource limits, OOM score, priorities. */
int engine_apply_limits(const struct engine_launch *l, const struct oci_process *p, struct err *e);
