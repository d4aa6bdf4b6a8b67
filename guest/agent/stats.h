/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's statistics, told in the words of control groups' version 1 that the runtime and
 * containerd's metrics expect, whichever version the machine has. Reads files, so: for workers.
 */
#pragma once

#include "base/err.h"
#include "proto/agent.pb-c.h"
#include "sys/cgroup.h"

/**
 * Fills a message. Free it with stats_free(). @g may be NULL: without a control group only
 * the network is known. A file that is missing (its controller is off) leaves its values at 0.
 */
int stats_collect(const struct cgroup *g, Grpc__StatsContainerResponse **ret, struct err *e);
void stats_free(Grpc__StatsContainerResponse *m);

/* Pure, for tests: each adds what one file says. 0 or -ENOMEM. */
int stats_parse_memory(Grpc__MemoryStats *m, const char *memory_stat);
int stats_parse_io(Grpc__BlkioStats *b, const char *io_stat);
int stats_parse_net_dev(Grpc__StatsContainerResponse *m, const char *net_dev);
void stats_parse_cpu(Grpc__CpuStats *c, const char *cpu_stat);
int stats_parse_memory_v1(Grpc__MemoryStats *m, const char *memory_stat);
int stats_parse_io_v1(Grpc__BlkioStatsEntry ***v, size_t *n, const char *file);
int stats_parse_percpu(Grpc__CpuUsage *c, const char *usage_percpu);

/** What v1 reports where there is no limit: PAGE_COUNTER_MAX in bytes (mm/page_counter). */
#define STATS_UNLIMITED 9223372036854771712ull
