/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/qemu/check.h"

#include "base/testing.h"
#include "hypervisor/qemu/vsock.h"

#include <math.h>
#include <string.h>

static struct hypervisor_config good(void)
{
	static char empty[] = "", file[] = "/etc/passwd";
	struct hypervisor_config c = {.default_memory = 2048, .default_vcpus = 1};
	c.path = (char *)"/bin/sh";
	c.kernel = c.initrd = file;
	c.image = c.firmware = c.machine_type = empty;
	return c;
}

static void expect(const struct hypervisor_config *c, int r, const char *text)
{
	struct err e = ERR_INIT;
	assert_int_equal(qemu_check_config(c, 4096, &e), r);
	if (strcmp(e.text, text) != 0)
		fail_msg("\"%s\" instead of \"%s\"", e.text, text);
}

static void a_good_one_passes(void **state)
{
	struct hypervisor_config c = good();
	expect(&c, 0, "");
	c.machine_type = (char *)"q35";
	c.firmware = c.kernel;
	c.default_memory = 4096;
	c.default_vcpus = 255;
	expect(&c, 0, "");
}

#define BAD(member, value, r, text)                        \
	do {                                               \
		struct hypervisor_config c = good();       \
		c.member = value;                          \
		expect(&c, r, "[hypervisor.qemu]: " text); \
	} while (0)

static void each_rule_names_key_value_and_rule(void **state)
{
	BAD(path, (char *)"", -EINVAL, "path is not set");
	BAD(path, (char *)"qemu", -EINVAL, "path = \"qemu\": must be an absolute path");
	BAD(path, (char *)"/no/qemu", -EBUSY, "path = \"/no/qemu\": No such file or directory");
	BAD(path, (char *)"/etc/passwd", -EBUSY, "path = \"/etc/passwd\": Permission denied");
	BAD(path, (char *)"/etc", -EINVAL, "path = \"/etc\": is not a regular file");
	BAD(kernel, (char *)"/no/k", -EBUSY, "kernel = \"/no/k\": No such file or directory");
	BAD(initrd, (char *)"/no/i", -EBUSY, "initrd = \"/no/i\": No such file or directory");
	BAD(initrd, (char *)"", -EINVAL, "initrd is not set");
	BAD(firmware, (char *)"/no/f", -EBUSY, "firmware = \"/no/f\": No such file or directory");
	BAD(image, (char *)"/i", -EINVAL,
	    "image and initrd are both set: the guest boots from one");
	BAD(machine_type, (char *)"microvm", -EINVAL,
	    "machine_type = \"microvm\": this driver knows \"q35\" and its versions "
	    "(\"pc-q35-...\")");
	BAD(machine_type, (char *)"pc-q35-7.2,evil=on", -EINVAL,
	    "machine_type = \"pc-q35-7.2,evil=on\": this driver knows \"q35\" and its versions "
	    "(\"pc-q35-...\")");
	BAD(default_memory, 63, -EINVAL, "default_memory = 63 MiB: must be at least 64 MiB");
	BAD(default_memory, 4097, -ENOMEM,
	    "default_memory = 4097 MiB: this host has only 4096 MiB of memory");
	BAD(default_vcpus, 256, -EINVAL, "default_vcpus = 256: must be at most 255");
	BAD(default_vcpus, (double)NAN, -EINVAL, "default_vcpus = nan: must be at most 255");
}

static void an_image_is_not_pretended_to_boot(void **state)
{
	struct hypervisor_config c = good();
	c.initrd = (char *)"";
	c.image = (char *)"/i.img";
	expect(&c, -EOPNOTSUPP,
	       "[hypervisor.qemu]: image = \"/i.img\": booting from a disk image is not "
	       "supported; set initrd");
}

static void cids_are_those_that_a_guest_may_have(void **state)
{
	uint32_t first = qemu_random_cid();
	int differs = 0;
	for (int i = 0; i < 1000; i++) {
		uint32_t cid = qemu_random_cid();
		assert_true(cid >= 3 && cid < UINT32_MAX);
		differs += cid != first;
	}
	assert_true(differs > 900);
}

static void the_host_has_memory(void **state)
{
	assert_true(qemu_host_memory_mib() > 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_one_passes),
		cmocka_unit_test(each_rule_names_key_value_and_rule),
		cmocka_unit_test(an_image_is_not_pretended_to_boot),
		cmocka_unit_test(cids_are_those_that_a_guest_may_have),
		cmocka_unit_test(the_host_has_memory),
	};
	return RUN_TESTS();
}
