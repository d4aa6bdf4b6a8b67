/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/guest-spec.h"

#include "base/testing.h"

#include <string.h>

static char shared[512];

static int share(void *arg, const char *source, bool recursive, bool read_only, char *ret,
		 size_t size, struct err *e)
{
	size_t n = strlen(shared);
	(void)snprintf(shared + n, sizeof shared - n, "%s%s%s;", source, recursive ? ",r" : "",
		       read_only ? ",ro" : "");
	if (strcmp(source, "/no/such") == 0)
		return err_set(e, -ENOENT, "no such source");
	(void)snprintf(ret, size, "/guest%s", source);
	return 0;
}

static const struct guest_spec_params params = {
	.container_type = "single_container",
	.bundle = "/bundle",
	.guest_root = "/guest/root",
	.disable_seccomp = true,
	.share = share,
};

static struct oci_spec *parse(const char *mounts, const char *linux_part)
{
	char json[4096];
	struct oci_spec *s = NULL;
	struct err e = ERR_INIT;
	int n = snprintf(json, sizeof json,
			 "{\"ociVersion\":\"1.0.2\",\"process\":{\"user\":{\"uid\":0,\"gid\":0},"
			 "\"args\":[\"sh\"],\"cwd\":\"/\",\"apparmorProfile\":\"host\"},"
			 "\"root\":{\"path\":\"rootfs\"},\"mounts\":[%s],\"linux\":{%s}}",
			 mounts, linux_part);
	if (oci_spec_parse(json, (size_t)n, &s, &e) < 0)
		fail_msg("%s", e.text);
	shared[0] = '\0';
	return s;
}

static void host_files_are_shared_and_the_guests_own_are_not(void **state)
{
	struct err e = ERR_INIT;
	bool pidns;
	struct oci_spec *s =
		parse("{\"destination\":\"/data\",\"type\":\"bind\",\"source\":\"/srv/x\","
		      "\"options\":[\"rbind\",\"ro\"]},"
		      "{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
		      "{\"destination\":\"/t\",\"type\":\"bind\",\"source\":\"/dev/null\"},"
		      "{\"destination\":\"/u\",\"type\":\"bind\",\"source\":\"/devices/x\"},"
		      "{\"destination\":\"/dev/shm\",\"type\":\"tmpfs\",\"source\":\"shm\"}",
		      "");
	assert_int_equal(guest_spec_edit(s, &params, &pidns, &e), 0);
	assert_string_equal(shared, "/srv/x,r,ro;/devices/x;");
	assert_string_equal(s->mounts[0].source, "/guest/srv/x");
	assert_string_equal(s->mounts[1].source, "proc");
	assert_string_equal(s->mounts[2].source, "/dev/null");
	assert_string_equal(s->mounts[4].source, "/run/kata-containers/sandbox/shm");
	assert_string_equal(s->mounts[4].type, "bind");
	assert_string_equal(s->mounts[4].options.v[0], "rbind");
	assert_string_equal(s->root_path, "/guest/root");
	assert_null(s->process.apparmor_profile);
	oci_spec_free(s);
}

static void host_namespaces_do_not_reach_the_guest(void **state)
{
	struct err e = ERR_INIT;
	bool pidns = false;
	struct oci_spec *s = parse("", "\"namespaces\":[{\"type\":\"pid\",\"path\":\"/proc/1/ns/"
				       "pid\"},{\"type\":\"network\",\"path\":\"/n\"},{\"type\":"
				       "\"ipc\",\"path\":\"/i\"},{\"type\":\"mount\"}],"
				       "\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\"}");
	assert_int_equal(guest_spec_edit(s, &params, &pidns, &e), 0);
	assert_true(pidns);
	assert_int_equal(s->n_namespaces, 2);
	assert_int_equal(s->namespaces[0].type, OCI_NS_IPC);
	assert_null(s->namespaces[0].path);
	assert_int_equal(s->namespaces[1].type, OCI_NS_MOUNT);
	assert_false(s->has_seccomp);
	assert_string_equal(oci_spec_annotation(s, "io.katacontainers.pkg.oci.container_type"),
			    "single_container");
	assert_string_equal(oci_spec_annotation(s, "io.katacontainers.pkg.oci.bundle_path"),
			    "/bundle");
	oci_spec_free(s);
}

static void a_time_namespace_comes_with_its_offsets(void **state)
{
	struct err e = ERR_INIT;
	bool pidns;
	struct oci_spec *s = parse("", "\"namespaces\":[{\"type\":\"time\"}]");
	assert_int_equal(guest_spec_edit(s, &params, &pidns, &e), 0);
	assert_int_equal(s->n_namespaces, 0);
	oci_spec_free(s);
	s = parse("", "\"namespaces\":[{\"type\":\"time\"}],"
		      "\"timeOffsets\":{\"boottime\":{\"secs\":5}}");
	assert_int_equal(guest_spec_edit(s, &params, &pidns, &e), 0);
	assert_int_equal(s->n_namespaces, 1);
	assert_int_equal(s->namespaces[0].type, OCI_NS_TIME);
	oci_spec_free(s);
}

static void a_mount_that_cannot_be_shared_is_named(void **state)
{
	struct err e = ERR_INIT;
	bool pidns;
	struct oci_spec *s = parse("{\"destination\":\"/data\",\"type\":\"bind\",\"source\":"
				   "\"/no/such\"}",
				   "");
	assert_int_equal(guest_spec_edit(s, &params, &pidns, &e), -ENOENT);
	assert_string_equal(e.text, "mount at /data: no such source");
	oci_spec_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_files_are_shared_and_the_guests_own_are_not),
		cmocka_unit_test(host_namespaces_do_not_reach_the_guest),
		cmocka_unit_test(a_time_namespace_comes_with_its_offsets),
		cmocka_unit_test(a_mount_that_cannot_be_shared_is_named),
	};
	return RUN_TESTS();
}
