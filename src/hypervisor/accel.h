/* SPDX-License-Identifier: Apache-2.0 */
/* The accelerator ladder with its look at the host made replaceable, for tests. The face that the
 * drivers use is accel_choose() in hypervisor/hypervisor.h. */
#pragma once

#include "hypervisor/hypervisor.h"

struct accel_host {
	const char *cpuinfo_path; /* /proc/cpuinfo */
	/** The KVM API version, or a negative errno from opening /dev/kvm or asking it. */
	int (*kvm_api_version)(void);
	bool cpu_flag_needed; /* x86: without vmx or svm, KVM emulates and cannot boot a kernel */
};

int accel_choose_on(const struct accel_host *host, const char *wanted, enum accel *ret,
		    char *reason, size_t reason_size, struct err *e);

bool accel_is_slow_on(const struct accel_host *host, enum accel accel);
