/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory that host and guest share by virtio-fs, and the daemon that serves it.
 *
 *	/run/kata-containers/shared/sandboxes/<sid>/rw/passthrough/<cid>/rootfs   mounts go here
 *	/run/kata-containers/shared/sandboxes/<sid>/ro                            the guest sees
 *this
 *
 * `ro` is a read-only bind mount of `rw` and receives what is mounted below `rw` later, each mount
 * with its own flags: the guest can write to its volumes, but never to the tree that holds them.
 * All of it lives in the shim's own mount namespace and vanishes with it; the directories are in
 * the journal.
 */
#pragma once

#include "base/err.h"
#include "io/child.h"
#include "persist/undo.h"

#include <stdbool.h>

struct hypervisor_config;
struct share_fs;

/* Where the guest mounts the share, and the tag it finds it by. */
#define SHARE_FS_TAG "kataShared"
#define SHARE_FS_HOST_DIR "/run/kata-containers/shared/sandboxes"
#define SHARE_FS_GUEST_DIR "/run/kata-containers/shared/containers/"
#define SHARE_FS_GUEST_PASSTHROUGH SHARE_FS_GUEST_DIR "passthrough"

struct share_fs_params {
	struct loop *loop;
	const struct hypervisor_config *config; /* borrowed during share_fs_new() */
	const char *sandbox_id;
	const char *run_dir; /* for the daemon's socket, which is gone when this returns */
	struct undo *undo;
	/** The daemon ended although nobody stopped it. Loop thread, once. */
	void (*on_exit)(void *arg, const char *reason);
	void *arg;
};

/**
 * Makes the directories and starts the daemon. *@ret_vmm_fd is the VMM's end of the vhost-user
 * connection, owned by the caller; it can be used at once, also before the daemon has come up.
 */
int share_fs_new(const struct share_fs_params *p, struct share_fs **ret, int *ret_vmm_fd,
		 struct err *e);
/** Stops the daemon. Worker, while the loop runs. Mounts and directories are undo's. */
void share_fs_stop(struct share_fs *s);
/** After share_fs_stop(), or never started. Loop thread or after it. NULL is fine. */
void share_fs_free(struct share_fs *s);

/** The host directory that becomes <SHARE_FS_GUEST_PASSTHROUGH> in the guest. */
const char *share_fs_host_dir(const struct share_fs *s);
/** Removes what a dead shim may have left of a sandbox' directory; nothing there: fine. */
int share_fs_cleanup(const char *sandbox_id);

/** The daemon's pid. */
pid_t share_fs_pid(const struct share_fs *s);
