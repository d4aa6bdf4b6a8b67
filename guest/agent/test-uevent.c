/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/uevent.h"

#include "base/testing.h"

#include <string.h>

static int parse(const char *text, size_t size, struct uevent *u)
{
	return uevent_parse(text, size, u);
}
#define PARSE(literal, u) parse(literal, sizeof(literal), u)

static void a_disks_event_is_read(void **state)
{
	struct uevent u;

	assert_int_equal(PARSE("add@/devices/pci0000:00/0000:00:02.0/virtio1/block/vda\0"
			       "ACTION=add\0DEVPATH=/devices/pci0000:00/x/block/vda\0"
			       "SUBSYSTEM=block\0MAJOR=254\0MINOR=0\0DEVNAME=vda\0SEQNUM=900",
			       &u),
			 0);
	assert_string_equal(u.action, "add");
	assert_string_equal(u.devpath, "/devices/pci0000:00/x/block/vda");
	assert_string_equal(u.subsystem, "block");
	assert_int_equal(u.kind, UEVENT_BLOCK);
}

static void kinds_follow_from_the_subsystem(void **state)
{
	struct uevent u;

	assert_int_equal(PARSE("add@/x\0ACTION=add\0DEVPATH=/x\0SUBSYSTEM=scsi_host", &u), 0);
	assert_int_equal(u.kind, UEVENT_SCSI);
	assert_int_equal(PARSE("add@/x\0ACTION=add\0DEVPATH=/x\0SUBSYSTEM=cpu", &u), 0);
	assert_int_equal(u.kind, UEVENT_CPU);
	assert_int_equal(PARSE("add@/x\0ACTION=add\0DEVPATH=/x\0SUBSYSTEM=blocks", &u), 0);
	assert_int_equal(u.kind, 0);
}

static void what_is_no_event_is_refused(void **state)
{
	struct uevent u = {.kind = 77};
	static char big[UEVENT_BYTES_MAX + 1] = "add@/x";

	assert_int_equal(uevent_parse("", 0, &u), -EINVAL);
	assert_int_equal(PARSE("libudev", &u), -EINVAL);
	assert_int_equal(PARSE("add@/x", &u), -EINVAL);
	assert_int_equal(PARSE("add@/x\0ACTION=add\0SUBSYSTEM=block", &u), -EINVAL);
	assert_int_equal(PARSE("add@/x\0ACTIONX=add\0DEVPATH=/x\0SUBSYSTEM=block", &u), -EINVAL);
	/* cut off */
	assert_int_equal(uevent_parse("add@/x\0ACTION=add", 18 - 1, &u), -EINVAL);
	assert_int_equal(uevent_parse(big, sizeof big, &u), -EINVAL);
	assert_int_equal(u.kind, 77);
}

static void ignore(void *arg, unsigned kinds)
{
	*(unsigned *)arg |= kinds;
}

static void listening_costs_a_socket(void **state)
{
	struct loop *l = NULL;
	struct uevents *u = NULL;
	unsigned seen = 0;
	struct err e = ERR_INIT;

	assert_int_equal(loop_new(&l), 0);
	assert_int_equal(uevents_new(l, ignore, &seen, &u, &e), 0);
	uevents_free(u);
	uevents_free(NULL);
	loop_free(l);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_disks_event_is_read),
		cmocka_unit_test(kinds_follow_from_the_subsystem),
		cmocka_unit_test(what_is_no_event_is_refused),
		cmocka_unit_test(listening_costs_a_socket),
	};
	return RUN_TESTS();
}
