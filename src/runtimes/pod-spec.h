/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the containers of a sandbox have from it.
 *
 * A pod that containerd starts as a sandbox has no container of its own, whose spec would say what
 * the pod is. Its sandbox keeps such a spec all the same: host name, annotations, network
 * namespace, kernel settings, and the files that every container shall see.
 */
#pragma once

#include "oci/spec.h"

/**
 * Adds to a container's spec those mounts and kernel settings of the pod's that it does not have
 * itself. -ENOMEM.
 */
int pod_spec_inherit(struct oci_spec *to, const struct oci_spec *pod, struct err *e);
