/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every TCP connection over a network namespace's loopback, on whatever port, to one socket: a BPF
 * program that the kernel asks where a connection shall go, before it looks for who listens
 * (BPF_PROG_TYPE_SK_LOOKUP, Linux 5.9).
 *
 * Taken are connections from and to 127.0.0.0/8, or from and to ::1; what has another address, is
 * established already, or is no TCP, goes its way. Who listens on such a port himself is not asked
 * any more: a program of this type cannot see him.
 */
#pragma once

#include "base/err.h"

#include <linux/bpf.h>

/** The instructions, for a map of sockets @map_fd: 0 takes IPv4, 1 IPv6. Returns their number. */
#define SK_LOOKUP_INSNS_MAX 48
size_t sk_lookup_program(int map_fd, struct bpf_insn insns[static SK_LOOKUP_INSNS_MAX]);

/**
 * Steers the loopback connections of the namespace @netns_fd to the listening sockets @listen4 and
 * @listen6 (-1: none of that family), which must be of that namespace. Returns a descriptor; as
 * soon as its last copy is closed, however that comes about, the steering ends, and nothing is
 * left. -EOPNOTSUPP: this kernel or our rights do not allow it.
 */
int sk_lookup_attach(int netns_fd, int listen4, int listen6, struct err *e);
