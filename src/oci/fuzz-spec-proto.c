/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of the wire become a spec, a process or resources, or a sentence says why not. */
#include "oci/arena.h"
#include "oci/fuzz-wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_spec(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct oci_spec *s = NULL;
	Grpc__Spec *m = grpc__spec__unpack(NULL, size, data);

	if (!m)
		return;
	if (oci_spec_from_proto(m, &s, &e) == 0)
		check_spec(s);
	else
		must(!s && e.text[0] && e.status == STATUS_INVALID_ARGUMENT);
	oci_spec_free(s);
	grpc__spec__free_unpacked(m, NULL);
}

static void try_process(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct oci_process *p = NULL;
	_cleanup_arena_ struct oci_arena *a = NULL;
	Grpc__Process *m = grpc__process__unpack(NULL, size, data);

	if (!m)
		return;
	if (oci_process_from_proto(m, &p, &a, &e) < 0)
		must(!a && e.text[0]);
	grpc__process__free_unpacked(m, NULL);
}

static void try_resources(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct oci_resources *r = NULL;
	_cleanup_arena_ struct oci_arena *a = NULL;
	Grpc__LinuxResources *m = grpc__linux_resources__unpack(NULL, size, data);

	if (!m)
		return;
	if (oci_resources_from_proto(m, &r, &a, &e) < 0)
		must(!a && e.text[0]);
	grpc__linux_resources__free_unpacked(m, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_spec(data, size);
	try_process(data, size);
	try_resources(data, size);
	return 0;
}
