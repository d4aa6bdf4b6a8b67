/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's statistics as the metrics message that containerd on this host expects. */
#pragma once

#include "base/buf.h"

#include "proto/agent.pb-c.h"

#include <stdbool.h>

/** Whether this host's containerd reads cgroup v2 metrics: by its /sys/fs/cgroup. */
bool stats_host_is_v2(void);
/** Packs io.containerd.cgroups.v1.Metrics or v2.Metrics; returns its type URL, NULL on ENOMEM. */
const char *stats_pack(const Grpc__StatsContainerResponse *stats, bool v2, struct buf *ret);
