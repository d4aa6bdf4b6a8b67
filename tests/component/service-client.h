/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of the services share: a client's call, and a look at what a pod has left. */
#pragma once

#include "base/err.h"
#include "rpc/rpc.h"

/**
 * One call; 0 or the negative status code, with why in @e. *@ret_response (a message of the
 * method's output type, or ret_response NULL) is the caller's. With TEST_CALLS in the environment
 * failures are printed.
 */
int service_call(struct rpc_client *client, const struct rpc_request *req, void *ret_response,
		 struct err *e);
/** Fails the test if the pod has directories or mounts left. */
void assert_pod_gone(const char *sid);
