/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container engine: OCI specs become isolated processes. A library, used by the guest agent and
 * by a test tool; it logs nothing, owns no loop, and never calls exit.
 *
 * A launcher process is forked before any thread exists. It is handed each container and exec over
 * a SOCK_SEQPACKET, makes the process with clone3(CLONE_PARENT | CLONE_PIDFD), so that it becomes
 * the child of the engine's own process, and passes back the pidfd. The child sets itself up and
 * reports in shared memory how far it came and why it failed; the end of file on its close-on-exec
 * socket means that exec succeeded (engine/wire.h).
 *
 * Functions block and are for workers. Two calls on one container must not overlap (the caller's
 * per-container lock); different containers are independent.
 *
 * The processes that are returned are reaped by the caller, best by their pidfd (P_PIDFD): a
 * process can end before the call that made it has returned. The engine reaps those that it does
 * not return: helpers that enter namespaces, and processes of failed calls. A caller that reaps
 * everything with waitpid(-1) may be faster, which does no harm: it must expect to meet children
 * that it does not know.
 */
#pragma once

#include "base/err.h"
#include "oci/spec.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct cgroup; /* sys/cgroup.h */
struct engine;
struct engine_container;

struct engine_options {
	const char *state_dir; /* holds a directory per container; made if missing; or NULL */
	/* What the engine may use of control groups: a mount of version 2, or the directory that
	 * has the mounts of version 1, one for each controller; or NULL: none. */
	const char *cgroup_root;
	/* The engine's own network namespace is the pod's, as in a VM: a spec without a network
	 * namespace may set net.* sysctls. */
	bool network_is_pods;
	/* A spec's AppArmor profile may be of a host, and not loaded here, or this kernel may be
	 * without the module: then leave it out, rather than refuse. See engine_unconfined(). */
	bool apparmor_optional;
};

/** Forks the launcher. Call while the process has one thread. */
int engine_new(const struct engine_options *o, struct engine **ret, struct err *e);
void engine_free(struct engine *g);
/** The launcher's pid, so that the reaper can tell its end (a fatal event). */
pid_t engine_launcher_pid(const struct engine *g);

/** A process' stdio: the ends for the process; borrowed. With a terminal: only `terminal`. */
struct engine_stdio {
	int in, out, errout; /* -1: /dev/null */
	bool terminal;	     /* the engine makes a pty and returns its master */
};

struct engine_process {
	pid_t pid; /* in the engine's pid namespace */
	int pidfd; /* owned */
	int pty;   /* master, owned; -EBADF without a terminal */
};

#define ENGINE_PROCESS_INIT ((struct engine_process){.pidfd = -EBADF, .pty = -EBADF})

/**
 * Makes a container: namespaces, cgroup, rootfs, mounts, devices, masks, credentials, seccomp; its
 * init waits, fully set up, for engine_start(). @spec is borrowed and must outlive the container
 * (execs need it). @rootfs is an absolute path of this process' mount namespace; its directory is
 * the bundle, for hooks and for sources of binds that are relative. Undoes everything
 * on failure. The hooks prestart and createRuntime run here in the engine's own namespaces,
 * createContainer in the container's; one that fails is the failure, after which the poststop hooks
 * run. A command that does not exist
 * is found here, as ENOENT: "exec: \"foo\": executable file not found in $PATH".
 */
int engine_create(struct engine *g, const char *id, const struct oci_spec *spec, const char *rootfs,
		  const struct engine_stdio *io, struct engine_container **ret,
		  struct engine_process *ret_init, struct err *e);
/**
 * Lets init exec, and returns when it has, or with the reason why not (init then ends): also a
 * startContainer hook. -ESRCH if it is dead already. ENGINE_E_HOOK: it runs, but a poststart hook
 * failed, which @e tells for the log.
 */
#define ENGINE_E_HOOK 1
int engine_start(struct engine_container *c, struct err *e);
/** Runs a further process. Returns when it has exec'ed, or with the reason why not. */
int engine_exec(struct engine_container *c, const struct oci_process *p,
		const struct engine_stdio *io, struct engine_process *ret, struct err *e);
/** Kills every process of the container (cgroup.kill, else by walking), until none is left. */
int engine_kill_all(struct engine_container *c, int signum, struct err *e);
/** Pauses, resumes: the cgroup freezer. -EOPNOTSUPP without a cgroup. */
int engine_freeze(struct engine_container *c, bool frozen, struct err *e);
/** Applies limits; absent values stay. */
int engine_update(struct engine_container *c, const struct oci_resources *r, struct err *e);
/** The pids in it, as the engine's namespace numbers them. *@ret is malloc'ed. */
int engine_pids(struct engine_container *c, pid_t **ret, size_t *ret_n, struct err *e);
enum engine_devices {
	ENGINE_DEVICES_UNFILTERED,  /* no cgroup, or the kernel or our rights allow no program */
	ENGINE_DEVICES_FILTERED,    /* what no rule allows is refused */
	ENGINE_DEVICES_ALL_ALLOWED, /* by the spec's rules */
};
/** What holds the container back from the machine's devices; worth a word in the log. */
enum engine_devices engine_devices(const struct engine_container *c);
/** Whether the AppArmor profile of its init was left out; worth a word in the log. */
bool engine_unconfined(const struct engine_container *c);
/** The container's cgroup, or NULL. For statistics and OOM events. */
const struct cgroup *engine_cgroup(const struct engine_container *c);
/**
 * Kills what is left, removes the cgroup (the mounts went with the processes), runs the poststop
 * hooks. Init must have been reaped. Frees @c; on failure @c stays, to be tried again.
 * ENGINE_E_HOOK: it is deleted, but a poststop hook failed, which @e tells for the log.
 */
int engine_delete(struct engine_container *c, struct err *e);
