/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's blocking halves: making its rootfs, volumes and guest container, and undoing them.
 * Both run on a worker, on a struct that nobody else touches meanwhile.
 */
#pragma once

#include "oci/spec.h"
#include "persist/undo.h"
#include "resource/rootfs.h"
#include "runtimes/sandbox.h"

struct container_resources {
	char *id, *bundle;	/* owned */
	struct oci_spec *spec;	/* owned; as the guest has it after container_make(), NULL once
				   nothing of it is needed any more */
	struct oci_hooks hooks; /* the host's; what they point to is the spec's */
	struct undo *undo;
	bool in_guest;	   /* the agent knows it */
	unsigned n_shared; /* mounts shared so far: part of their names */
	struct sandbox *sandbox;
	const struct oci_spec *pod; /* what it has from its sandbox, or NULL */
};

/** Loads the bundle's spec. */
int container_load(struct container_resources *c, struct err *e);
/** Mounts, shares, and has the agent create it. Undoes all of it on failure. */
int container_make(struct container_resources *c, const struct rootfs_mount *rootfs, size_t n,
		   struct err *e);
/**
 * Runs the hooks that follow its start; a failure is only logged. Worker. Most containers have
 * none: container_has_poststart() says.
 */
void container_poststart(struct container_resources *c);
bool container_has_poststart(const struct container_resources *c);
/** Removes it from the guest (if the machine still lives) and from the host. */
int container_remove(struct container_resources *c, bool machine_lives, struct err *e);
/** Frees what the struct owns; undoes nothing. */
void container_resources_free(struct container_resources *c);
