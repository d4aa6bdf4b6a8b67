/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What containerd says about a pod when it makes a sandbox, in the terms of the OCI specification:
 * as the spec of the pod's own container would say it, which a sandbox has not.
 *
 * The options of the request are Kubernetes' runtime.v1.PodSandboxConfig, or the runtime's own
 * (runtimeoptions.v1.Options), or none: then what a client gave as the sandbox' spec is in the
 * bundle's config.json, of which host name, annotations and network namespace count.
 */
#pragma once

#include "oci/spec.h"

#include "proto/sandbox_service.pb-c.h"

/* More than any resolver reads. */
#define SANDBOX_DNS_WORDS_MAX 32u
#define SANDBOX_ENTRIES_MAX 1024u /* of annotations or of kernel settings */

struct sandbox_options {
	struct oci_spec *spec;		 /* owned */
	char *config_file, *config_body; /* owned, or NULL */
	char *resolv_conf;		 /* owned; the text of the pod's file; NULL: not told */
	bool wants_host_dns;		 /* a pod of Kubernetes that told nothing: as the host */
};

#define SANDBOX_OPTIONS_INIT ((struct sandbox_options){.spec = NULL})

/**
 * Reads a request; -EINVAL names the field that is wrong. No effects, and no file is read: the
 * caller adds config.json with sandbox_options_add_spec().
 */
int sandbox_options_read(const Containerd__Runtime__Sandbox__V1__CreateSandboxRequest *req,
			 struct sandbox_options *ret, struct err *e);
/** Adds what the text of a config.json tells, where the request told nothing. */
int sandbox_options_add_spec(struct sandbox_options *o, const char *json, size_t len,
			     struct err *e);
/** Every container of the pod shall see the host's file @source at @destination. */
int sandbox_options_add_file(struct sandbox_options *o, const char *destination,
			     const char *source);
void sandbox_options_deinit(struct sandbox_options *o);
