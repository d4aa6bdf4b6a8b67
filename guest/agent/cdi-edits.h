/* SPDX-License-Identifier: Apache-2.0 */
/* "containerEdits" of the Container Device Interface, applied to a spec. Private to cdi.c. */
#pragma once

#include "guest/agent/yaml.h"
#include "oci/spec.h"

/** NULL edits nothing. A member that is unknown, or that nothing here can do, is refused. */
int cdi_edit(struct oci_spec *s, const struct yaml_node *edits, struct err *e);
