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

/* Each setting needs its own namespace, and no other one helps. */
static void test_every_namespace(void **state)
{
	static const struct {
		const char *key;
		enum oci_ns_type type;
		const char *own;
	} settings[] = {
		{"kernel.msgmax", OCI_NS_IPC, "/proc/self/ns/ipc"},
		{"kernel.msgmnb", OCI_NS_IPC, "/proc/self/ns/ipc"},
		{"kernel.msgmni", OCI_NS_IPC, "/proc/self/ns/ipc"},
		{"kernel.sem", OCI_NS_IPC, "/proc/self/ns/ipc"},
		{"kernel.shmall", OCI_NS_IPC, "/proc/self/ns/ipc"},
		{"kernel.shmmax", OCI_NS_IPC, "/proc/self/ns/ipc"},
		{"kernel.shmmni", OCI_NS_IPC, "/proc/self/ns/ipc"},
		{"kernel.shm_rmid_forced", OCI_NS_IPC, "/proc/self/ns/ipc"},
		{"fs.mqueue.queues_max", OCI_NS_IPC, "/proc/self/ns/ipc"},
		{"net.ipv4.ip_forward", OCI_NS_NETWORK, "/proc/self/ns/net"},
		{"net/ipv6/conf/eth0.1/mtu", OCI_NS_NETWORK, "/proc/self/ns/net"},
		{"kernel.domainname", OCI_NS_UTS, "/proc/self/ns/uts"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		for (int type = OCI_NS_PID; type <= OCI_NS_TIME; type++) {
			struct oci_namespace ns = {.type = (enum oci_ns_type)type};
			const struct oci_spec s = {.namespaces = &ns, .n_namespaces = 1};
			int want = ns.type == settings[i].type ? 0 : -EINVAL;
			assert_int_equal(engine_sysctl_check(&s, settings[i].key, false, NULL),
					 want);
			/* another's, and the engine's own */
			ns.path = (char *)"/proc/1/ns/not-there";
			assert_int_equal(engine_sysctl_check(&s, settings[i].key, false, NULL),
					 want);
			ns.path = (char *)settings[i].own;
			if (want == 0)
				assert_int_equal(
					engine_sysctl_check(&s, settings[i].key, false, NULL),
					-EINVAL);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_every_namespace),
	};
	return RUN_TESTS();
}
