/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Initdata: what the owner of a confidential pod hands to the guest through the host, on a disk of
 * its own that begins with the word "initdata": configuration files, and the policy. The host may
 * have written anything there; what vouches for the content is the attestation, not we.
 *
 * Specification: confidential-containers/trustee, kbs/docs/initdata.md. Before the loop runs.
 */
#pragma once

#include "base/err.h"

#include <stddef.h>

/* Reads gzip and TOML for us; images without it have no initdata. */
#define INITDATA_PARSER "/usr/libexec/kata-agent-parse"
#define INITDATA_DIR "/run/confidential-containers/initdata"
/* Packed; it holds a policy and a few files. */
#define INITDATA_PACKED_MAX (4u << 20)
/* Unpacked: as much as the TOML reader takes. */
#define INITDATA_BYTES_MAX (1u << 20)

struct initdata_places {
	const char *dev;    /* "/dev" */
	const char *parser; /* INITDATA_PARSER */
	const char *dir;    /* INITDATA_DIR */
};

struct policy;

/**
 * Looks for the disk; 0 if there is none. Writes its files (initdata.toml, aa.toml, cdh.toml) and
 * loads its policy. Any failure means that the guest must not serve: its owner's rules are unknown.
 */
int initdata_load(const struct initdata_places *p, struct policy *policy, struct err *e);
