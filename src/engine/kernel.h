/* SPDX-License-Identifier: Apache-2.0 */
/* Things of the kernel that a process gets besides its mounts: names, settings, labels, keys.
 * For the child; @proc_fd is the engine's own /proc. */
#pragma once

#include "engine/job.h"

/** Host and domain name, sysctls: what belongs to new namespaces. */
int engine_kernel_settings(int proc_fd, const struct engine_job *job, struct err *e);
/** The AppArmor profile and SELinux label for the next exec, where those modules are on. */
int engine_kernel_labels(int proc_fd, const struct oci_process *p, struct err *e);
/** A session keyring of the container's own, so that nobody's keys are inherited. */
int engine_kernel_keyring(const char *id, struct err *e);
