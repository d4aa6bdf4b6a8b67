/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storages: what must be mounted in the guest before a container can be made.
 *
 * The runtime names each by its mount point. Several containers may name the same one: it is made
 * once, counted, and taken down with its last user. One that the runtime calls shared stays until
 * the sandbox ends, and so does what holds data of the pod (memory, directories of the guest): a
 * container that is restarted finds it again. Making and taking down may block, so both are for
 * workers; who needs a storage that another worker is making waits for it.
 */
#pragma once

#include "base/err.h"
#include "guest/agent/modules.h"
#include "oci/spec.h"
#include "proto/agent.pb-c.h"

/* A container of Kubernetes has a handful; this bounds what one request can make us mount. */
#define STORAGES_PER_REQUEST_MAX 256

struct storage;
struct storage_table;
struct layer_mounts;

/** What one owner holds, in the order made. */
struct storage_set {
	struct storage **v;
	size_t n;
};

/** What storages are made with; borrowed. */
struct storage_env {
	struct modules *modules;     /* file systems may need one */
	struct devices *devices;     /* where block devices are found */
	const char *state_dir;	     /* the agent's: a directory for each container is in it */
	struct layer_mounts *layers; /* the table's own: storage_table_new() makes it */
	struct watches *watches;     /* for watchable storages */
	struct cdh *cdh;	     /* pulls images, encrypts disks */
	const char *pause_bundle;    /* the pause image of the guest (pause.h) */
};

int storage_table_new(const struct storage_env *env, struct storage_table **ret);
/** Takes down what is still there, in reverse order. */
void storage_table_free(struct storage_table *t);

/**
 * Makes all of them, or none: what was made is taken down in reverse order. @container is the id of
 * the one that asks, NULL for the sandbox.
 */
int storages_add(struct storage_table *t, const char *container, Grpc__Storage *const *v, size_t n,
		 struct storage_set *ret, struct err *e);
/** Their owner is there for good: from now on those that are shared outlive it. */
void storages_keep(struct storage_table *t, const struct storage_set *set);
/**
 * A pod's own container that has the guest's pause image runs what that image says. Nothing for
 * others.
 */
int storages_set_process(struct storage_table *t, Grpc__Storage *const *v, size_t n,
			 struct oci_spec *s, struct err *e);
/** Gives them back in reverse order. What cannot be taken down is logged. Empties the set. */
void storages_release(struct storage_table *t, struct storage_set *set);

/** Applies new options (a size) to a mounted tmpfs. -ENOENT if the table has no such storage. */
int storages_remount(struct storage_table *t, const Grpc__Storage *s, struct err *e);

/** The names of the drivers, NULL-terminated, for GetGuestDetails. */
extern const char *const storage_drivers[];

/** Whether a mount point is one that we may use: absolute, not the root, no "." or "..". */
bool storage_mount_point_valid(const char *path);
