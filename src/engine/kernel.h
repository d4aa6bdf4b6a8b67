/* SPDX-License-Identifier: Apache-2.0 */
/* Things of the kernel that a process gets besides its mounts: names, settings, labels, keys.
 * For the child; @proc_fd is the engine's own /proc. */
#pragma once

#include "engine/job.h"

/** Host and domain name, sysctls: what belongs to new namespaces. */
int engine_kernel_settings(int proc_fd, const struct engine_job *job, struct err *e);
/**
 * The AppArmor profile and SELinux label of the process for its next exec. -EOPNOTSUPP where one is
 * asked for and the kernel lacks its module; -ENOENT for a profile that is not
 * loaded. With apparmor_optional either is no failure for a profile: @ret_unconfined.
 */
int engine_kernel_labels(int proc_fd, const struct engine_job *job, bool *ret_unconfined,
			 struct err *e);
/** -EOPNOTSUPP where there is a label for mounts and the kernel has no SELinux. */
int engine_mount_label_check(int proc_fd, const char *label, struct err *e);
/**
 * A mount's data with the spec's mountLabel: data,context="label". @data and @label may be NULL.
 * -ENAMETOOLONG; -EINVAL: a label that cannot be quoted.
 */
int engine_mount_label_data(const char *data, const char *label, char *ret, size_t size);
/** A session keyring of the container's own, so that nobody's keys are inherited. */
int engine_kernel_keyring(const char *id, struct err *e);
