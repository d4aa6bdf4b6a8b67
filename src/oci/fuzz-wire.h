/* SPDX-License-Identifier: Apache-2.0 */
/* For the fuzzers of this directory: what must hold of every spec that was accepted. */
#pragma once

#include "fmt/json.h"
#include "oci/spec-proto.h"

#include <stdlib.h>
#include <string.h>

static inline void must(bool holds)
{
	if (!holds)
		abort();
}

/* A spec, as it comes out at the other end of the wire. */
static inline struct oci_spec *over_the_wire(const struct oci_spec *s)
{
	struct err e = ERR_INIT;
	Grpc__Spec *m = NULL;
	struct oci_spec *ret = NULL;

	must(oci_spec_to_proto(s, &m, &e) == 0);
	size_t len = grpc__spec__get_packed_size(m);
	uint8_t *bytes = malloc(len ? len : 1);
	must(bytes && grpc__spec__pack(m, bytes) == len);
	grpc__spec__free_unpacked(m, NULL);
	m = grpc__spec__unpack(NULL, len, bytes);
	must(m && oci_spec_from_proto(m, &ret, &e) == 0);
	grpc__spec__free_unpacked(m, NULL);
	free(bytes);
	return ret;
}

static inline void must_equal(const struct oci_spec *a, const struct oci_spec *b)
{
	json_t *ja = oci_spec_to_json(a), *jb = oci_spec_to_json(b);
	must(ja && jb && json_equal(ja, jb));
	json_decref(ja);
	json_decref(jb);
}

/* It can be written and read; it can be sent; and what was sent once is sent without loss. */
static inline void check_spec(const struct oci_spec *s)
{
	struct oci_spec *again = NULL;
	json_t *j = oci_spec_to_json(s);
	must(j);
	char *text = json_text_dump(j, 0);
	must(text && oci_spec_parse(text, strlen(text), &again, NULL) == 0);
	must_equal(s, again);
	oci_spec_free(again);
	free(text);
	json_decref(j);

	struct oci_spec *once = over_the_wire(s), *twice = over_the_wire(once);
	must_equal(once, twice);
	oci_spec_free(once);
	oci_spec_free(twice);
}
