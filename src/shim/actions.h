/* SPDX-License-Identifier: Apache-2.0 */
/* The shim's actions. Each returns 0 or a negative errno with a sentence; main.c reports it. */
#pragma once

#include "shim/cli.h"

/* The inherited, listening socket's number, for the daemon that `start` runs. */
#define BIND_FD_ENV "KATA_RUNTIME_BIND_FD"
/* A pipe's end: `start` writes a byte when containerd has the address, or dies before. */
#define READY_FD_ENV "KATA_RUNTIME_READY_FD"
/* The inherited file's number with the runtime's options that `start` was given, packed
 * (runtimeoptions.v1.Options); unset: none. */
#define OPTIONS_FD_ENV "KATA_RUNTIME_OPTIONS_FD"

#define SHIM_RUNTIME_NAME "io.containerd.kata.v2"
/* The version of the field's runtime whose contract this is; clients compare it. */
#define SHIM_COMPAT_VERSION "4.1.0"

/** Finds or starts the pod's shim and prints its address to stdout. */
int shim_start(const struct cli *c, struct err *e);
/** Serves a pod until Shutdown. */
int shim_run(const struct cli *c, struct err *e);
/** Undoes what a dead shim left, and prints a DeleteResponse to stdout. */
int shim_delete(const struct cli *c, struct err *e);
/** Prints a RuntimeInfo message to stdout. */
int shim_info(struct err *e);
