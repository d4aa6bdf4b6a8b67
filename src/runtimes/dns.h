/* SPDX-License-Identifier: Apache-2.0 */
/* The pod's resolver as the agent's CreateSandbox takes it: the lines of a resolv.conf. */
#pragma once

#include "base/buf.h"
#include "oci/spec.h"

#define RESOLV_CONF "/etc/resolv.conf"
/* A resolver reads three servers and one line each of the rest; guests take no more than this. */
#define DNS_LINES_MAX 64
#define DNS_BYTES_MAX (64u << 10)

struct dns {
	struct buf text; /* what the lines point into */
	char *lines[DNS_LINES_MAX];
	size_t n;
};

#define DNS_INIT ((struct dns){.n = 0})

/** Splits a text (changed, and kept in @ret) into lines; leaves out comments and empty ones. Lines
 * beyond DNS_LINES_MAX are dropped with a warning. */
void dns_parse(struct dns *ret);
/**
 * Reads the file that the spec mounts as /etc/resolv.conf. No such mount: no lines. A file that
 * cannot be read is left to the mount itself to fail on, with a warning here.
 */
void dns_load(const struct oci_spec *spec, struct dns *ret);
void dns_deinit(struct dns *d);
