/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the annotations of Kubernetes' runtimes say about a container's place in its pod.
 *
 * CRI-O, containerd's CRI and dockershim have a key each; they are looked at in this order, and a
 * value that is none of the known words counts as absent.
 */
#pragma once

#include "oci/spec.h"

enum oci_container_type {
	OCI_CONTAINER_SINGLE,  /* on its own: ctr, nerdctl, Docker */
	OCI_CONTAINER_SANDBOX, /* the first of a pod */
	OCI_CONTAINER_POD,     /* a further one */
};

struct oci_pod_identity {
	enum oci_container_type type;
	char sandbox_id[256]; /* of a further container; "" where it is not told */
};

enum oci_container_type oci_container_type(const struct oci_spec *s);
/** The sandbox that a further container belongs to, or NULL where none is named. */
const char *oci_sandbox_id(const struct oci_spec *s);
/** The word that guests know a type by: "pod_sandbox", "pod_container", "single_container". */
const char *oci_container_type_name(enum oci_container_type t);

/**
 * Reads only the annotations of <bundle>/config.json: `start` needs no more, and runs often.
 * Returns a negative errno, and leaves @ret unchanged, where the file cannot be read as JSON, or
 * the id is too long (-ENAMETOOLONG: a cut one would name another sandbox).
 */
int oci_pod_identity_load(const char *bundle, struct oci_pod_identity *ret);
