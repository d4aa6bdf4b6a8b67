/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The components of a confidential guest: processes beside the agent (attestation-agent,
 * confidential-data-hub, api-server-rest) that are started in order before anything is served, each
 * when the one before it is up. One that ends later is logged, not started again: what it knew of
 * the guest is gone.
 */
#pragma once

#include "base/err.h"
#include "guest/agent/component-plan.h"
#include "io/loop.h"

struct components;

/**
 * Starts what the plan says; NULL where there is nothing. Blocks; of the main thread, before the
 * loop runs. A failure ends those that are there already. Where the image itself has not all
 * of its programs none is started, which is said if @asked. The proxies are "" for none.
 */
int components_start(const struct component_plan *p, bool asked, const char *https_proxy,
		     const char *no_proxy, struct components **ret, struct err *e);
/** Watches for their ends. The loop thread. NULL is fine. */
int components_watch(struct components *c, struct loop *l);
/** Ends them. NULL is fine. */
void components_free(struct components *c);
