/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which components of a confidential guest are to be started, and how: by the manifest of the
 * extension image "coco" (etc/kata-extensions/components.toml) if it is mounted, else the three
 * that an image may have in /usr/local/bin.
 *
 * Specification: Kata Containers, docs/design/composable-vm-images.md. The manifest is the image's,
 * but whatever it says has bounds. Any thread.
 */
#pragma once

#include "base/err.h"
#include "guest/agent/extension.h"
#include "oci/arena.h"
#include "oci/spec.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define COMPONENTS_EXTENSION EXTENSIONS_DIR "/coco"
#define COMPONENTS_RUN "/run/confidential-containers"
#define COMPONENTS_MANIFEST "etc/kata-extensions/components.toml"
#define COMPONENTS_MANIFEST_MAX (64u << 10)
#define COMPONENTS_MAX 16
#define COMPONENT_STRINGS_MAX 64 /* arguments of one; the same of variables */

/* What each needs is below it. */
enum component_level {
	COMPONENTS_NONE,
	COMPONENTS_ATTESTATION_AGENT,
	COMPONENTS_DATA_HUB,
	COMPONENTS_REST,
	COMPONENTS_DEFAULT, /* nobody has asked: all, if the image has them */
};

struct component_settings {
	enum component_level level;
	const char *rest_api; /* "all", "attestation", "resource" */
	const char *variant;  /* of the attester; NULL: the default */
	uint32_t timeout_s;   /* for each to come up */
	bool initdata;	      /* there is one */

	/* where things are; others in tests */
	const char *extension; /* COMPONENTS_EXTENSION */
	const char *programs;  /* "/usr/local/bin" */
	const char *run;       /* COMPONENTS_RUN */
	const char *parser;    /* kata-agent-parse */
};

struct component {
	const char *id, *path;
	struct oci_strv args;	 /* without argv[0] */
	struct oci_strv env;	 /* "KEY=value", besides the agent's own */
	const char *config;	 /* passed by -c if it exists; or NULL */
	const char *wait_socket; /* it is up when this exists; or NULL */
	uint64_t timeout_ms;	 /* 0: it is not waited for */
};

struct component_plan {
	struct oci_arena *arena; /* of all strings */
	struct component v[COMPONENTS_MAX];
	size_t n;
	bool extension;		  /* else the image's own programs */
	const char *pause_bundle; /* of the extension, or NULL */
};

/** Makes the plan. A manifest that is missing or not understood is a failure. Runs the parser. */
int component_plan_make(const struct component_settings *s, struct component_plan *ret,
			struct err *e);
/** The same of a manifest. Pure. */
int component_plan_manifest(const struct component_settings *s, const json_t *manifest,
			    struct component_plan *ret, struct err *e);
void component_plan_free(struct component_plan *p);
