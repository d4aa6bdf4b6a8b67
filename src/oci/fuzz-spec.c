/* SPDX-License-Identifier: Apache-2.0 */
/* Text becomes a spec, a process or resources, or a sentence says why not. */
#include "oci/arena.h"
#include "oci/fuzz-wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = size ? (const char *)data : "";
	struct err e = ERR_INIT;
	struct oci_spec *s = NULL;
	struct oci_process *p = NULL;
	struct oci_resources *r = NULL;
	_cleanup_arena_ struct oci_arena *pa = NULL, *ra = NULL;

	if (oci_spec_parse(text, size, &s, &e) == 0)
		check_spec(s);
	else
		must(!s && e.text[0]);
	oci_spec_free(s);

	e = ERR_INIT;
	if (oci_process_parse(text, size, &p, &pa, &e) == 0) {
		Grpc__Process *m = NULL;
		must(oci_process_to_proto(p, &m, &e) == 0);
		grpc__process__free_unpacked(m, NULL);
	} else {
		must(!pa && e.text[0]);
	}

	e = ERR_INIT;
	if (oci_resources_parse(text, size, &r, &ra, &e) == 0) {
		Grpc__LinuxResources *m = NULL;
		must(oci_resources_to_proto(r, &m, &e) == 0);
		grpc__linux_resources__free_unpacked(m, NULL);
	} else {
		must(!ra && e.text[0]);
	}
	return 0;
}
