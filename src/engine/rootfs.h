/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's tree of mounts. For the child, in its new mount namespace, while "/" is still
 * the engine's: sources are paths of the engine's tree, destinations are confined to the root.
 */
#pragma once

#include "engine/job.h"
#include "engine/trees.h"

/** Binds the root onto itself and returns it (O_PATH). Nothing propagates out from here on. */
int engine_rootfs_open(const struct engine_job *job, const struct engine_trees *trees,
		       struct err *e);
/** The spec's mounts, in order. */
int engine_rootfs_mounts(int root_fd, const struct engine_job *job,
			 const struct engine_trees *trees, struct err *e);
/** After devices and hooks: what is read-only only then, a /dev that is to be so. */
int engine_rootfs_finish(int root_fd, const struct engine_job *job, struct err *e);
/** Masked and read-only paths. */
int engine_rootfs_mask(int root_fd, const struct engine_job *job, struct err *e);
/** Makes it the root of the namespace, and lets go of the engine's tree. */
int engine_rootfs_pivot(int root_fd, const struct engine_job *job, struct err *e);
