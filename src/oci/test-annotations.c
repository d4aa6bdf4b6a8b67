/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/annotations.h"

#include "base/fd.h"
#include "base/testing.h"

#include <string.h>

static enum oci_container_type type_of(const char *key, const char *value)
{
	struct oci_kv kv = {(char *)key, (char *)value};
	struct oci_spec s = {.annotations = &kv, .n_annotations = 1};
	return oci_container_type(&s);
}

static void every_runtime_has_its_key(void **state)
{
	static const char *const keys[] = {"io.kubernetes.cri-o.ContainerType",
					   "io.kubernetes.cri.container-type",
					   "io.kubernetes.docker.type"};
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		assert_int_equal(type_of(keys[i], "sandbox"), OCI_CONTAINER_SANDBOX);
		assert_int_equal(type_of(keys[i], "podsandbox"), OCI_CONTAINER_SANDBOX);
		assert_int_equal(type_of(keys[i], "pod_sandbox"), OCI_CONTAINER_SANDBOX);
		assert_int_equal(type_of(keys[i], "container"), OCI_CONTAINER_POD);
		assert_int_equal(type_of(keys[i], "pod_container"), OCI_CONTAINER_POD);
		assert_int_equal(type_of(keys[i], "single_container"), OCI_CONTAINER_SINGLE);
		assert_int_equal(type_of(keys[i], "Sandbox"), OCI_CONTAINER_SINGLE);
		assert_int_equal(type_of(keys[i], ""), OCI_CONTAINER_SINGLE);
	}
	assert_int_equal(type_of("other", "sandbox"), OCI_CONTAINER_SINGLE);
}

static void keys_have_an_order(void **state)
{
	struct oci_kv kv[] = {
		{(char *)"io.kubernetes.docker.type", (char *)"sandbox"},
		{(char *)"io.kubernetes.cri.container-type", (char *)"container"},
		{(char *)"io.kubernetes.sandbox.id", (char *)"docker"},
		{(char *)"io.kubernetes.cri.sandbox-id", (char *)"cri"},
		{(char *)"io.kubernetes.cri-o.ContainerType", (char *)"???"},
	};
	struct oci_spec s = {.annotations = kv, .n_annotations = ARRAY_SIZE(kv)};

	/* CRI-O's word is unknown, so CRI's counts */
	assert_int_equal(oci_container_type(&s), OCI_CONTAINER_POD);
	assert_string_equal(oci_sandbox_id(&s), "cri");
	kv[3].key = (char *)"io.kubernetes.cri-o.SandboxID";
	assert_string_equal(oci_sandbox_id(&s), "cri");
	s.n_annotations = 3;
	assert_string_equal(oci_sandbox_id(&s), "docker");
	s.n_annotations = 0;
	assert_null(oci_sandbox_id(&s));
	assert_int_equal(oci_container_type(&s), OCI_CONTAINER_SINGLE);
}

static void names_are_read_back(void **state)
{
	for (int t = OCI_CONTAINER_SINGLE; t <= OCI_CONTAINER_POD; t++)
		assert_int_equal(type_of("io.kubernetes.docker.type",
					 oci_container_type_name((enum oci_container_type)t)),
				 t);
	assert_string_equal(oci_container_type_name(OCI_CONTAINER_POD), "pod_container");
}

static int load(const char *dir, const char *text, struct oci_pod_identity *ret)
{
	char path[64];
	(void)snprintf(path, sizeof path, "%s/config.json", dir);
	assert_int_equal(file_replace(path, text, strlen(text), 0600), 0);
	return oci_pod_identity_load(dir, ret);
}

static void a_bundle_tells_its_pod(void **state)
{
	char dir[] = "/tmp/test-annotations-XXXXXX", text[512];
	struct oci_pod_identity id = {.type = OCI_CONTAINER_SANDBOX, .sandbox_id = "as it was"};

	assert_non_null(mkdtemp(dir));
	assert_int_equal(oci_pod_identity_load(dir, &id), -ENOENT);
	assert_int_equal(load(dir, "", &id), -EINVAL);
	assert_int_equal(load(dir, "{", &id), -EINVAL);
	assert_int_equal(id.type, OCI_CONTAINER_SANDBOX);
	assert_string_equal(id.sandbox_id, "as it was");

	/* the rest of the document may be wrong */
	assert_int_equal(load(dir,
			      "{\"process\": 5, \"annotations\": {"
			      "\"io.kubernetes.cri.container-type\": \"container\","
			      "\"io.kubernetes.cri-o.SandboxID\": 5,"
			      "\"io.kubernetes.cri.sandbox-id\": \"abc\"}}",
			      &id),
			 0);
	assert_int_equal(id.type, OCI_CONTAINER_POD);
	assert_string_equal(id.sandbox_id, "abc");

	(void)snprintf(text, sizeof text,
		       "{\"annotations\": {\"io.kubernetes.cri.sandbox-id\": \"%0256d\"}}", 0);
	assert_int_equal(load(dir, text, &id), -ENAMETOOLONG);
	assert_int_equal(load(dir, "{\"annotations\": []}", &id), 0);
	assert_int_equal(id.type, OCI_CONTAINER_SINGLE);
	assert_string_equal(id.sandbox_id, "");
	assert_int_equal(load(dir, "[]", &id), 0);
	assert_int_equal(remove_tree(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_runtime_has_its_key),
		cmocka_unit_test(keys_have_an_order),
		cmocka_unit_test(names_are_read_back),
		cmocka_unit_test(a_bundle_tells_its_pod),
	};
	return RUN_TESTS();
}
