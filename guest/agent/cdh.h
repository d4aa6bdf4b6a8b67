/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of the Confidential Data Hub, a service of confidential guests (ttrpc on a unix
 * socket): it pulls images, opens encrypted disks and unseals secrets, so that the host sees none
 * of them.
 *
 * It may start later than we do, or never. Nothing is opened until something is asked; each call
 * has a connection of its own. All calls block, at most for their timeout, and are for workers; the
 * loop must run. Without the service they fail with UNAVAILABLE: nothing is done in its place.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "io/loop.h"
#include "oci/spec.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CDH_SOCKET "/run/confidential-containers/cdh.sock"

struct cdh_options {
	const char *socket; /* borrowed */
	uint64_t api_timeout_ms, pull_timeout_ms;
	bool integrity;	       /* encrypted disks are also checked for changes */
	const char *state_dir; /* borrowed: the agent's */
};

struct cdh;

/** @loop and what @o points to are borrowed. */
int cdh_new(struct loop *loop, const struct cdh_options *o, struct cdh **ret);
/** When no workers run any more. NULL is fine. */
void cdh_free(struct cdh *c);
/** Whether the service's socket is there. */
bool cdh_is_there(const struct cdh *c);

/** Pulls @image to the existing directory @bundle, which then has a "rootfs". */
int cdh_pull_image(struct cdh *c, const char *image, const char *bundle, struct err *e);
/**
 * Encrypts a block device with a key that nobody keeps, makes ext4 on it with mkfs' @mkfs_options,
 * and mounts it on @mount_point, which is made if it is missing. Fails unless something is mounted
 * there afterwards.
 */
int cdh_mount_ephemeral(struct cdh *c, dev_t device, const char *mount_point,
			const char *mkfs_options, struct err *e);
/** Appends what is sealed in @secret to @ret. */
int cdh_unseal(struct cdh *c, const void *secret, size_t len, struct buf *ret, struct err *e);
/** Appends a resource of the key broker to @ret. */
int cdh_get_resource(struct cdh *c, const char *path, struct buf *ret, struct err *e);

/**
 * The disk of a container's spec at /dev/trusted_store is where images are kept: mounts it, once
 * for all containers. Nothing without such a device. Before images are pulled.
 */
int cdh_prepare_image_store(struct cdh *c, const struct oci_spec *s, struct err *e);

/**
 * Unseals the secrets of a container: values of its environment, and files of its volumes below the
 * share, that begin with "sealed.". What cannot be unsealed stays as it is, and is told to the log:
 * it is no secret that way. Nothing without the service.
 */
void cdh_unseal_secrets(struct cdh *c, struct oci_spec *s);
