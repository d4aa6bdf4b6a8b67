/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/pci.h"

#include "base/fd.h"
#include "base/testing.h"
#include "guest/agent/pci-map.h"

#include <string.h>

static char dir[] = "/tmp/test-pci.XXXXXX";

static void make(const char *path)
{
	char full[512];
	(void)snprintf(full, sizeof full, "%s/devices/%s", dir, path);
	assert_int_equal(mkdir_parents(full, 0755), 0);
}

/* Two root buses; a port with a switch behind it, a bridge with nothing behind it. */
static int setup(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	make("pci0000:00/0000:00:02.0/pci_bus/0000:01");
	make("pci0000:00/0000:00:02.0/0000:01:00.0/pci_bus/0000:02");
	make("pci0000:00/0000:00:02.0/0000:01:00.0/0000:02:1f.7");
	make("pci0000:00/0000:00:03.0");
	make("pci0000:20/0000:20:00.0/pci_bus/0000:21");
	make("pci0000:20/0000:20:00.0/0000:21:00.0");
	make("platform/4010000000.pcie/pci0000:30/0000:30:01.0");
	return 0;
}

static int teardown(void **state)
{
	return remove_tree(dir);
}

static const char *found(const char *path)
{
	static char at[ERR_TEXT_MAX];
	struct pci_path p;
	struct err e = ERR_INIT;

	if (pci_path_parse(path, &p, &e) < 0 || pci_find(dir, &p, at, &e) < 0)
		(void)snprintf(at, sizeof at, "%s", e.text);
	return pci_dir_address(at);
}

static void devices_are_found_behind_bridges(void **state)
{
	assert_string_equal(found("03"), "0000:00:03.0");
	assert_string_equal(found("2"), "0000:00:02.0");
	assert_string_equal(found("02/00"), "0000:01:00.0");
	assert_string_equal(found("02/00.0/1F.7"), "0000:02:1f.7");
}

static void other_root_buses_are_found(void **state)
{
	assert_string_equal(found("20/00/00"), "0000:21:00.0");
	assert_string_equal(found("20/00"), "0000:20:00.0");
	assert_string_equal(found("30/01"), "0000:30:01.0");
	assert_string_equal(found("21/00/00"), "there is no PCI root bus 21");
}

static void what_is_missing_is_named(void **state)
{
	assert_string_equal(found("04"), "there is no PCI device 0000:00:04.0");
	assert_string_equal(found("03/00"), "there is no bus behind PCI device 0000:00:03.0");
	assert_string_equal(found("02/01"), "there is no PCI device 0000:01:01.0");
}

static void paths_are_strict(void **state)
{
	static const char *const bad[] = {
		"",    "/",    "02/",	     "/02",   "02//03",	  "g",	      "020",
		"20",  "1f.8", "1f.",	     "02.77", "02/20",	  "02/../03", " 02",
		"02 ", "0x2",  "20.0/00/00", "-1",    "20/20/00", "02\n",     "1/2/3/4/5/6/7/8/9",
	};
	struct pci_path p = {.n = 77};
	struct err e = ERR_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (pci_path_parse(bad[i], &p, &e) != -EINVAL)
			fail_msg("\"%s\" is accepted", bad[i]);
		assert_int_equal(p.n, 77);
	}
	assert_int_equal(pci_path_parse("1/2/3/4/5/6/7/8", &p, &e), 0);
	assert_int_equal(p.n, 8);
	assert_int_equal(pci_path_parse("ff/1/2/3/4/5/6/7/8", &p, &e), 0);
	assert_int_equal(p.root_bus, 0xff);
}

static void slots_make_a_path(void **state)
{
	static const uint32_t slots[] = {2, 31}, big[] = {2, 32}, huge[] = {1u << 31};
	struct pci_path p;
	struct err e = ERR_INIT;

	assert_int_equal(pci_path_from_slots(slots, 2, &p, &e), 0);
	assert_int_equal(p.n, 2);
	assert_int_equal(p.v[1].slot, 31);
	assert_int_equal(pci_path_from_slots(big, 2, &p, &e), -EINVAL);
	assert_int_equal(pci_path_from_slots(huge, 1, &p, &e), -EINVAL);
	assert_int_equal(pci_path_from_slots(NULL, 0, &p, &e), -EINVAL);
}

static void addresses_have_one_form(void **state)
{
	char a[PCI_ADDRESS_MAX];

	assert_int_equal(pci_address_parse("0A:1f.7", a), 0);
	assert_string_equal(a, "0000:0a:1f.7");
	assert_int_equal(pci_address_parse("ABCD:01:00.0", a), 0);
	assert_string_equal(a, "abcd:01:00.0");
	static const char *const bad[] = {"",
					  "01:20.0",
					  "01:00.8",
					  "1:00.0",
					  "0000:01:00.00",
					  "0000-01:00.0",
					  "0000:01:00:0",
					  "zzzz:01:00.0"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(pci_address_parse(bad[i], a), -EINVAL);
}

/* The environment of a container with two devices, rewritten. */
static int rewrite(const char *variable, char ret[512], struct err *e)
{
	struct oci_arena *arena = oci_arena_new();
	struct pci_map *m = pci_map_new();
	char *v[] = {(char *)variable, NULL};
	struct oci_strv env = {.v = v, .n = 1};

	assert_int_equal(pci_map_add(m, "0000:06:00.1", "0000:01:00.0", e), 0);
	assert_int_equal(pci_map_add(m, "06:00.2", "0000:02:00.0", e), 0);
	assert_int_equal(pci_map_add(m, "0000:06:00.2", "0000:02:00.0", e), 0);
	assert_int_equal(pci_map_add(m, "0000:06:00.2", "0000:03:00.0", e), -EINVAL);
	int r = pci_map_environment(m, arena, &env, e);
	(void)snprintf(ret, 512, "%s", v[0]);
	pci_map_free(m);
	oci_arena_free(arena);
	return r;
}

static void plugins_variables_name_the_guests_devices(void **state)
{
	char to[512];
	struct err e = ERR_INIT;

	assert_int_equal(rewrite("PCIDEVICE_INTEL_VF=0000:06:00.2,0000:06:00.1", to, &e), 0);
	assert_string_equal(to, "PCIDEVICE_INTEL_VF=0000:02:00.0,0000:01:00.0");
	assert_int_equal(rewrite("PCIDEVICE_VF_INFO={\"0000:06:00.1\":{\"deviceID\":\"0000:06:00.1"
				 "\",\"pf\":\"0000:05:00.0\",\"x\":\"10000:06:00.1\"}}",
				 to, &e),
			 0);
	assert_string_equal(to, "PCIDEVICE_VF_INFO={\"0000:01:00.0\":{\"deviceID\":\"0000:01:00.0"
				"\",\"pf\":\"0000:05:00.0\",\"x\":\"10000:06:00.1\"}}");
	assert_int_equal(rewrite("OTHER=0000:06:00.2", to, &e), 0);
	assert_string_equal(to, "OTHER=0000:06:00.2");
	assert_int_equal(rewrite("PCIDEVICE_X=", to, &e), 0);
	assert_string_equal(to, "PCIDEVICE_X=");
	assert_int_equal(rewrite("PCIDEVICE_X=0000:06:00.1,0000:07:00.0", to, &e), -EINVAL);
	assert_string_equal(e.text, "environment variable PCIDEVICE_X: the guest has no device "
				    "that would be the host's \"0000:07:00.0\"");
	assert_int_equal(rewrite("PCIDEVICE_X=nonsense", to, &e), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(devices_are_found_behind_bridges),
		cmocka_unit_test(other_root_buses_are_found),
		cmocka_unit_test(what_is_missing_is_named),
		cmocka_unit_test(paths_are_strict),
		cmocka_unit_test(slots_make_a_path),
		cmocka_unit_test(addresses_have_one_form),
		cmocka_unit_test(plugins_variables_name_the_guests_devices),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
