/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/annotations.h"

#include "base/fd.h"
#include "oci/arena.h"
#include "oci/read.h"

#include <fcntl.h>
#include <string.h>

/* In the order in which they are believed. */
static const char *const type_keys[] = {
	"io.kubernetes.cri-o.ContainerType",
	"io.kubernetes.cri.container-type",
	"io.kubernetes.docker.type",
};

static const char *const sandbox_keys[] = {
	"io.kubernetes.cri-o.SandboxID",
	"io.kubernetes.cri.sandbox-id",
	"io.kubernetes.sandbox.id",
};

/* The first word of a type is the one that is written. */
static const struct oci_word type_words[] = {
	{"pod_sandbox", OCI_CONTAINER_SANDBOX},
	{"sandbox", OCI_CONTAINER_SANDBOX},
	{"podsandbox", OCI_CONTAINER_SANDBOX},
	{"pod_container", OCI_CONTAINER_POD},
	{"container", OCI_CONTAINER_POD},
	{"single_container", OCI_CONTAINER_SINGLE},
	{0},
};

/* Annotations, wherever they are kept. */
typedef const char *(*lookup_fn)(const void *from, const char *key);

static const char *in_spec(const void *from, const char *key)
{
	return oci_spec_annotation(from, key);
}

static const char *in_json(const void *from, const char *key)
{
	return json_string_value(json_object_get(from, key));
}

static enum oci_container_type find_type(lookup_fn lookup, const void *from)
{
	for (size_t i = 0; i < ARRAY_SIZE(type_keys); i++) {
		const char *value = lookup(from, type_keys[i]);
		int64_t type;
		if (value && oci_word_find(type_words, value, &type))
			return (enum oci_container_type)type;
	}
	return OCI_CONTAINER_SINGLE;
}

static const char *find_sandbox(lookup_fn lookup, const void *from)
{
	for (size_t i = 0; i < ARRAY_SIZE(sandbox_keys); i++) {
		const char *value = lookup(from, sandbox_keys[i]);
		if (value && *value)
			return value;
	}
	return NULL;
}

enum oci_container_type oci_container_type(const struct oci_spec *s)
{
	return find_type(in_spec, s);
}

const char *oci_sandbox_id(const struct oci_spec *s)
{
	return find_sandbox(in_spec, s);
}

const char *oci_container_type_name(enum oci_container_type t)
{
	return oci_word_name(type_words, t);
}

int oci_pod_identity_load(const char *bundle, struct oci_pod_identity *ret)
{
	char path[4096];
	_cleanup_buf_ struct buf b = BUF_INIT;
	json_auto_t *doc = NULL;
	int r = path_format(path, sizeof path, "%s/config.json", bundle);

	if (r == 0)
		r = file_read(AT_FDCWD, path, OCI_JSON_BYTES_MAX, &b);
	if (r == 0)
		r = oci_read_text_parse(b.data ? b.data : "", b.len, &doc, NULL);
	if (r < 0)
		return r;

	const json_t *annotations = json_object_get(doc, "annotations");
	const char *id = find_sandbox(in_json, annotations);
	if (id && strlen(id) >= sizeof ret->sandbox_id)
		return -ENAMETOOLONG;
	ret->type = find_type(in_json, annotations);
	(void)snprintf(ret->sandbox_id, sizeof ret->sandbox_id, "%s", id ? id : "");
	return 0;
}
