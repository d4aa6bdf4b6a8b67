/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CreateSandbox as a peer may send it: the first byte chooses what the rest is, a whole request,
 * the value of a PodSandboxConfig in one, or the bundle's config.json.
 */
#include "service/sandbox-options.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What has been read must hold in a file and in the guest. */
static void check(const struct sandbox_options *o)
{
	const struct oci_spec *s = o->spec;
	for (size_t i = 0; i < s->n_annotations; i++)
		if (!s->annotations[i].key || !s->annotations[i].value)
			abort();
	for (size_t i = 0; i < s->n_sysctl; i++)
		if (!s->sysctl[i].key || !s->sysctl[i].value)
			abort();
	for (size_t i = 0; i < s->n_namespaces; i++)
		if (s->namespaces[i].path[0] != '/')
			abort();
	if (s->hostname && (!s->hostname[0] || strpbrk(s->hostname, " /\n")))
		abort();
	size_t n = o->resolv_conf ? strlen(o->resolv_conf) : 0;
	if (n > 0 && o->resolv_conf[n - 1] != '\n')
		abort();
}

static void read_request(const Containerd__Runtime__Sandbox__V1__CreateSandboxRequest *req)
{
	struct sandbox_options o = SANDBOX_OPTIONS_INIT;
	struct err e = ERR_INIT;
	if (sandbox_options_read(req, &o, &e) == 0)
		check(&o);
	else if (!e.errnum)
		abort();
	sandbox_options_deinit(&o);
}

static void read_spec(const uint8_t *data, size_t size)
{
	const Containerd__Runtime__Sandbox__V1__CreateSandboxRequest req =
		CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__INIT;
	struct sandbox_options o = SANDBOX_OPTIONS_INIT;
	struct err e = ERR_INIT;
	if (sandbox_options_read(&req, &o, &e) == 0 &&
	    sandbox_options_add_spec(&o, (const char *)data, size, &e) == 0)
		check(&o);
	sandbox_options_deinit(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Containerd__Runtime__Sandbox__V1__CreateSandboxRequest req =
		CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;

	if (size == 0)
		return 0;
	if (data[0] == 'j') {
		read_spec(data + 1, size - 1);
	} else if (data[0] == 'p') {
		any.type_url = "runtime.v1.PodSandboxConfig";
		any.value.data = (uint8_t *)data + 1;
		any.value.len = size - 1;
		req.options = &any;
		read_request(&req);
	} else {
		Containerd__Runtime__Sandbox__V1__CreateSandboxRequest *whole =
			containerd__runtime__sandbox__v1__create_sandbox_request__unpack(
				NULL, size - 1, data + 1);
		if (whole) {
			read_request(whole);
			containerd__runtime__sandbox__v1__create_sandbox_request__free_unpacked(
				whole, NULL);
		}
	}
	return 0;
}
