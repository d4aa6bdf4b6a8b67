/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules for devices as the device controller of cgroup version 1 keeps them: all is allowed or all
 * is refused, but for a list of exceptions, no two of which are for the same device. A rule that
 * agrees with the default takes its accesses from the exception for exactly that device.
 */
#pragma once

#include "oci/spec.h"

struct engine_device_rules {
	bool allow_all;
	size_t n;
	struct oci_device_rule v[]; /* access is one of constant strings */
};

/** The devices that every container has: to make any node, null, zero, full, random, tty, pts. */
extern const struct oci_device_rule engine_device_defaults[];
extern const size_t engine_device_n_defaults;

#define ENGINE_ACCESS_ALL 7
/** Bits for "rwm": 1, 2, 4. */
unsigned engine_access_bits(const char *access);

/** What a spec's rules come to, with the defaults after them. *@ret is malloc'ed; -ENOMEM, -E2BIG,
 * -EOPNOTSUPP: a rule is for a part of what an exception is for, which the kernel cannot express.
 */
int engine_device_rules_effective(const struct oci_device_rule *rules, size_t n,
				  struct engine_device_rules **ret);
/** Reads the kernel's devices.list. *@ret is malloc'ed; -EBADMSG. */
int engine_device_rules_parse(const char *text, struct engine_device_rules **ret);
/** Whether a rule just like that, or with more accesses, is among the exceptions. */
bool engine_device_rules_have(const struct engine_device_rules *s, const struct oci_device_rule *r);
/** "c 1:3 rwm", as devices.allow takes it. */
void engine_device_rule_text(const struct oci_device_rule *r, char *ret, size_t size);
