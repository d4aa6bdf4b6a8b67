/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which requests the agent answers at all. A policy is Rego (openpolicyagent.org, "Policy
 * Language") of the package agent_policy; of that language, what needs no evaluation is understood:
 *
 *	package agent_policy
 *	import rego.v1				(also future.keywords, which change nothing here)
 *	default CreateContainerRequest := true
 *	ExecProcessRequest := false
 *	ReadStreamRequest { true }
 *	WriteStreamRequest if { true }
 *
 * Rules are named as the protobuf messages of the requests. Anything else is refused when it is
 * loaded: a policy that is understood in part would be none. The text is a peer's, or the image's.
 *
 * Loop thread, or before the loop runs.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define POLICY_FILE "/etc/kata-opa/default-policy.rego"

/* The longest that a request can carry. Generated policies are some 100 KiB. */
#define POLICY_BYTES_MAX (4u << 20)
/* The API has some 50 requests. */
#define POLICY_RULES_MAX 1024u
#define POLICY_NAME_MAX 128u

struct policy;

enum policy_answer {
	POLICY_ALLOWED,
	POLICY_DENIED,
	/* Denied, or without a rule; but AllowRequestsFailingPolicy is true. Worth a warning. */
	POLICY_TOLERATED,
};

/** One that is not loaded: everything is allowed. */
int policy_new(struct policy **ret);
void policy_free(struct policy *p);

/**
 * Replaces the policy as a whole. What is not understood is refused with -EINVAL, by its line; then
 * the one before stays in force. @text need not end in a NUL.
 */
int policy_load(struct policy *p, const char *text, size_t len, struct err *e);
/** Loads a file. -ENOENT: there is none. */
int policy_load_file(struct policy *p, const char *path, struct err *e);

/** What the policy says of a request, by the name of its message: "ExecProcessRequest". */
enum policy_answer policy_ask(const struct policy *p, const char *request);
