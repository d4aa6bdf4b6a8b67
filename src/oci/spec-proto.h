/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Specs on the wire between shim and agent (proto/oci.proto).
 *
 * The wire cannot tell absent from zero, and has no place for what came late to the specification.
 * Most of that travels in fields of our own (those from 1001 on), which agents that do not know
 * them skip, and which are sent only where a value is given.
 *
 * What is sent is understood by every agent of the field: "CAP_X", "mnt" and "net", errno EPERM
 * where the specification implies it. What is accepted is what every shim of the field sends:
 * capabilities with and without "CAP_", also in JSON's quotes; "mnt" and "mount"; zero for absent.
 * A word that is none of the specification's is refused (capabilities: kept as unknown), as are
 * strings that are not UTF-8, and whatever oci/validate.h refuses.
 *
 * Decoded messages may hold anything; they are only read. No state; any thread.
 */
#pragma once

#include "oci/spec.h"
#include "proto/oci.pb-c.h"

/** Makes a message that the caller frees with grpc__spec__free_unpacked(), alone or as part of a
 * request. -ENOMEM. */
int oci_spec_to_proto(const struct oci_spec *s, Grpc__Spec **ret, struct err *e);
int oci_process_to_proto(const struct oci_process *p, Grpc__Process **ret, struct err *e);
int oci_resources_to_proto(const struct oci_resources *r, Grpc__LinuxResources **ret,
			   struct err *e);

/** Makes a validated spec of a message. Refusals are INVALID_ARGUMENT. */
int oci_spec_from_proto(const Grpc__Spec *m, struct oci_spec **ret, struct err *e);
/** The process owns its arena through *ret_arena. */
int oci_process_from_proto(const Grpc__Process *m, struct oci_process **ret,
			   struct oci_arena **ret_arena, struct err *e);
int oci_resources_from_proto(const Grpc__LinuxResources *m, struct oci_resources **ret,
			     struct oci_arena **ret_arena, struct err *e);
