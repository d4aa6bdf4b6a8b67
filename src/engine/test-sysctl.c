/* SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"

#include "engine/sysctl.h"

static void test_path(void **state)
{
	char path[64];
	assert_int_equal(engine_sysctl_path("net.ipv4.conf.eth0/1.forwarding", path, 64), 0);
	assert_string_equal(path, "net/ipv4/conf/eth0.1/forwarding");
	assert_int_equal(engine_sysctl_path("net/ipv4/conf/eth0.1/forwarding", path, 64), 0);
	assert_string_equal(path, "net/ipv4/conf/eth0.1/forwarding");
	assert_int_equal(engine_sysctl_path("kernel.msgmax", path, 64), 0);
	assert_string_equal(path, "kernel/msgmax");

	static const char *const bad[] = {"",	     "/net/x", "net/../../etc", ".net", "net..x",
					  "net/./x", "net/",   "net.x.",	".."};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(engine_sysctl_path(bad[i], path, 64), -EINVAL);
	assert_int_equal(engine_sysctl_path("kernel.msgmax", path, 8), -ENAMETOOLONG);
}

static void test_check(void **state)
{
	struct oci_namespace ipc = {.type = OCI_NS_IPC};
	struct oci_spec none = {.n_namespaces = 0};
	struct oci_spec with = {.namespaces = &ipc, .n_namespaces = 1};
	struct err e = ERR_INIT;

	assert_int_equal(engine_sysctl_check(&with, "kernel.shm_rmid_forced", false, NULL), 0);
	assert_int_equal(engine_sysctl_check(&with, "fs.mqueue.msg_max", false, NULL), 0);
	assert_int_equal(engine_sysctl_check(&none, "kernel.sem", false, &e), -EINVAL);
	assert_string_equal(e.text, "sysctl kernel.sem needs a namespace of its own (ipc)");
	assert_int_equal(engine_sysctl_check(&with, "kernel.domainname", false, NULL), -EINVAL);

	assert_int_equal(engine_sysctl_check(&none, "net.core.somaxconn", false, NULL), -EINVAL);
	assert_int_equal(engine_sysctl_check(&none, "net.core.somaxconn", true, NULL), 0);

	assert_int_equal(engine_sysctl_check(&with, "kernel.core_pattern", true, &e), -EINVAL);
	assert_string_equal(e.text,
			    "sysctl kernel.core_pattern belongs to no namespace of a container");
	assert_int_equal(engine_sysctl_check(&with, "kernel.semx", true, NULL), -EINVAL);
	assert_int_equal(engine_sysctl_check(&with, "net/../kernel/core_pattern", true, NULL),
			 -EINVAL);
	assert_int_equal(engine_sysctl_check(&with, "fs.mqueue", true, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_check),
	};
	return RUN_TESTS();
}
