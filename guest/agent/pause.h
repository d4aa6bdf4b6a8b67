/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pause container of a confidential guest: its image is not pulled, but part of the guest's
 * own, as a bundle of a config.json and a rootfs. Made by who made the guest, and trusted as that.
 * For workers.
 */
#pragma once

#include "base/err.h"
#include "oci/spec.h"

#define PAUSE_BUNDLE "/pause_bundle"

/** Copies the configuration and its program from the bundle @from to the directory @to. */
int pause_copy(const char *from, const char *to, struct err *e);
/** Sets program, environment, directory and user of @s to those of the bundle @from. */
int pause_set_process(const char *from, struct oci_spec *s, struct err *e);
