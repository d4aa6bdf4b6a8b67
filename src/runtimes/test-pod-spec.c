/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/pod-spec.h"

#include "base/testing.h"

#include <string.h>

static const char json[] =
	"{\"ociVersion\":\"1.0.2\",\"process\":{\"user\":{\"uid\":0,\"gid\":0},\"args\":[\"x\"],"
	"\"cwd\":\"/\"},\"root\":{\"path\":\"r\"},\"mounts\":[{\"destination\":\"/etc/hostname\","
	"\"type\":\"bind\",\"source\":\"/own\",\"options\":[\"bind\"]}],"
	"\"linux\":{\"sysctl\":{\"net.a\":\"own\"}}}";

static void what_a_container_lacks_is_added_and_what_it_has_is_kept(void **state)
{
	struct err e = ERR_INIT;
	struct oci_spec *s = NULL;
	char *options[] = {"rbind", "ro", NULL};
	struct oci_mount mounts[] = {
		{.destination = "/etc/hostname", .source = "/pods"},
		{.destination = "/etc/resolv.conf",
		 .type = "bind",
		 .source = "/run/x",
		 .options = {.v = options, .n = 2}},
	};
	struct oci_kv sysctl[] = {{"net.a", "pod"}, {"kernel.shmmax", "1"}};
	const struct oci_spec pod = {
		.mounts = mounts, .n_mounts = 2, .sysctl = sysctl, .n_sysctl = 2};
	assert_int_equal(oci_spec_parse(json, strlen(json), &s, &e), 0);
	assert_int_equal(pod_spec_inherit(s, &pod, &e), 0);
	assert_int_equal(s->n_mounts, 2);
	assert_string_equal(s->mounts[0].source, "/own");
	assert_string_equal(s->mounts[1].destination, "/etc/resolv.conf");
	assert_string_equal(s->mounts[1].source, "/run/x");
	assert_string_equal(s->mounts[1].type, "bind");
	assert_int_equal(s->mounts[1].options.n, 2);
	assert_string_equal(s->mounts[1].options.v[1], "ro");
	assert_int_equal(s->n_sysctl, 2);
	assert_string_equal(s->sysctl[0].value, "own");
	assert_string_equal(s->sysctl[1].key, "kernel.shmmax");
	/* again: nothing is added twice */
	assert_int_equal(pod_spec_inherit(s, &pod, &e), 0);
	assert_int_equal(s->n_mounts, 2);
	assert_int_equal(s->n_sysctl, 2);
	oci_spec_free(s);
}

static void a_pod_without_any_changes_nothing(void **state)
{
	struct err e = ERR_INIT;
	struct oci_spec *s = NULL, pod = {.hostname = NULL};
	assert_int_equal(oci_spec_parse(json, strlen(json), &s, &e), 0);
	assert_int_equal(pod_spec_inherit(s, &pod, &e), 0);
	assert_int_equal(s->n_mounts, 1);
	assert_int_equal(s->n_sysctl, 1);
	oci_spec_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_container_lacks_is_added_and_what_it_has_is_kept),
		cmocka_unit_test(a_pod_without_any_changes_nothing),
	};
	return RUN_TESTS();
}
