/* SPDX-License-Identifier: Apache-2.0 */
/* Devices in a sysfs that the test makes; a disk's node is a link to a device that exists. */
#include "guest/agent/device-request.h"

#include "base/fd.h"
#include "base/testing.h"
#include "oci/arena.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define PCI "devices/pci0000:00/"

static char dir[] = "/tmp/test-device.XXXXXX";
static char sysfs[64], dev[64];
static struct devices *devices;

static void make_dir(const char *path)
{
	char full[512];
	(void)snprintf(full, sizeof full, "%s/%s", dir, path);
	assert_int_equal(mkdir_parents(full, 0755), 0);
}

static void make_file(const char *path, const char *text)
{
	char full[512];
	(void)snprintf(full, sizeof full, "%s/%s", dir, path);
	assert_int_equal(file_replace(full, text, strlen(text), 0644), 0);
}

static void make_link(const char *path, const char *target)
{
	char full[512];
	(void)snprintf(full, sizeof full, "%s/%s", dir, path);
	assert_int_equal(symlink(target, full), 0);
}

/* A disk is known by what it has in "block", with the number in "dev". */
static void make_disk(const char *at, const char *name, const char *number)
{
	char path[256];
	(void)snprintf(path, sizeof path, "sys/%s/block/%s", at, name);
	make_dir(path);
	(void)snprintf(path, sizeof path, "sys/%s/block/%s/dev", at, name);
	make_file(path, number);
}

static int setup(void **state)
{
	struct err e = ERR_INIT;

	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(sysfs, sizeof sysfs, "%s/sys", dir);
	(void)snprintf(dev, sizeof dev, "%s/dev", dir);
	make_dir("dev/infiniband");
	make_dir("dev/vfio");
	make_link("dev/vda", "/dev/null");
	make_link("dev/vdb", "/dev/zero");
	make_link("dev/sda", "/dev/full");
	make_link("dev/vfio/7", "/dev/urandom");
	make_link("dev/infiniband/uverbs0", "/dev/tty");
	make_disk(PCI "0000:00:02.0/virtio1", "vda", "1:3\n");
	make_disk(PCI "0000:00:03.0/virtio2", "vdb", "1:99\n");
	make_dir("sys/" PCI "0000:00:04.0");
	make_dir("sys/" PCI "0000:00:05.0/net/eth7");
	make_dir("sys/" PCI "0000:00:06.0/virtio4/net/eth8");
	make_dir("sys/bus/scsi/devices");
	make_disk("devices/host/2:0:1:5", "sda", "1:7\n");
	make_link("sys/bus/scsi/devices/2:0:1:5", "../../../devices/host/2:0:1:5");
	make_dir("sys/class/scsi_host/host2");
	make_file("sys/class/scsi_host/host2/scan", "");
	/* with vfio-pci already, and without any driver */
	make_dir("sys/" PCI "0000:00:08.0");
	make_link("sys/" PCI "0000:00:08.0/iommu_group", "../../../kernel/iommu_groups/7");
	make_link("sys/" PCI "0000:00:08.0/driver", "../../../bus/pci/drivers/vfio-pci");
	make_dir("sys/bus/pci");
	make_file("sys/bus/pci/drivers_probe", "");
	make_dir("sys/" PCI "0000:00:09.0");
	make_file("sys/" PCI "0000:00:09.0/driver_override", "");
	make_link("sys/" PCI "0000:00:09.0/iommu_group", "../../../kernel/iommu_groups/9");
	const struct devices_options o = {.sysfs = sysfs, .dev = dev};
	return devices_new(&o, &devices, &e);
}

static int teardown(void **state)
{
	devices_free(devices);
	return remove_tree(dir);
}

static const char *look(const char *driver, const char *source)
{
	static char text[ERR_TEXT_MAX + 16];
	struct device_block found;
	struct err e = ERR_INIT;

	int r = devices_look_block(devices, driver, source, &found, &e);
	if (r == 0)
		(void)snprintf(text, sizeof text, "%s", found.path + strlen(dir));
	else
		(void)snprintf(text, sizeof text, "%s: %s", r == -EAGAIN ? "later" : "no", e.text);
	return text;
}

static void disks_are_found_by_their_place(void **state)
{
	struct device_block found;
	struct err e = ERR_INIT;

	assert_string_equal(look("blk", "02"), "/dev/vda");
	assert_string_equal(look("scsi", "1:5"), "/dev/sda");
	assert_int_equal(devices_find_block(devices, "blk", "02", &found, &e), 0);
	assert_int_equal(found.rdev, makedev(1, 3));
}

static void what_is_not_there_may_come(void **state)
{
	struct device_block found;
	struct err e = ERR_INIT;

	assert_string_equal(look("blk", "07"),
			    "later: PCI path 07: there is no PCI device 0000:00:07.0");
	assert_string_equal(look("blk", "04"),
			    "later: PCI path 04: device 0000:00:04.0 has no disk");
	/* the node is still another's */
	assert_string_equal(look("blk", "03"),
			    "later: PCI path 03: device 0000:00:03.0 has no disk");
	assert_string_equal(look("scsi", "1:6"), "later: there is no SCSI disk 1:6");
	assert_string_equal(look("mmioblk", "/dev/no-such-disk"),
			    "later: there is no device /dev/no-such-disk");
	assert_int_equal(devices_find_block(devices, "blk", "07", &found, &e), -ENODEV);
}

static void absent_scsi_disks_are_scanned_for(void **state)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[128];

	(void)look("scsi", "3:16383");
	(void)snprintf(path, sizeof path, "%s/class/scsi_host/host2/scan", sysfs);
	assert_int_equal(file_read(AT_FDCWD, path, 64, &text), 0);
	assert_string_equal(text.data, "0 3 16383");
}

static void ambiguous_scsi_disks_are_refused(void **state)
{
	char path[128];

	make_link("sys/bus/scsi/devices/3:0:1:5", "../../../devices/host/2:0:1:5");
	const char *said = look("scsi", "1:5");
	assert_memory_equal(said, "no: SCSI device 1:5 is ambiguous", 32);
	(void)snprintf(path, sizeof path, "%s/bus/scsi/devices/3:0:1:5", sysfs);
	assert_int_equal(unlink(path), 0);
}

static void sources_of_another_form_are_refused(void **state)
{
	static const char *const bad[][2] = {
		{"blk", ""},
		{"blk", "../x"},
		{"blk", "/etc/passwd"},
		{"blk", "/dev/null"},
		{"blk", "/dev/../etc/passwd"},
		{"mmioblk", "02"},
		{"nvdimm", "pmem0"},
		{"scsi", "1"},
		{"scsi", "1:2:3"},
		{"scsi", "-1:2"},
		{"scsi", "256:0"},
		{"scsi", "0:16384"},
		{"scsi", "0:0 "},
		{"scsi", "99999999999:0"},
		{"floppy", "02"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (strncmp(look(bad[i][0], bad[i][1]), "no: ", 4) != 0)
			fail_msg("%s %s is accepted", bad[i][0], bad[i][1]);
}

static void network_cards_are_found(void **state)
{
	char name[64];
	struct err e = ERR_INIT;

	assert_int_equal(devices_look_net(devices, "05", name, &e), 0);
	assert_string_equal(name, "eth7");
	assert_int_equal(devices_look_net(devices, "06", name, &e), 0);
	assert_string_equal(name, "eth8");
	assert_int_equal(devices_look_net(devices, "04", name, &e), -EAGAIN);
}

/* ---- Requests ----------------------------------------------------------------------------- */

static struct oci_spec *spec_new(void)
{
	static const char text[] =
		"{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"/r\"},"
		"\"process\":{\"cwd\":\"/\",\"args\":[\"x\"],\"user\":{\"uid\":0,\"gid\":0},"
		"\"env\":[\"PCIDEVICE_A=0000:06:00.1\",\"PCIDEVICE_B=0000:06:00.2\"]},"
		"\"linux\":{\"devices\":["
		"{\"path\":\"/dev/xda\",\"type\":\"b\",\"major\":8,\"minor\":16},"
		"{\"path\":\"/dev/xdb\",\"type\":\"b\",\"major\":1,\"minor\":3},"
		"{\"path\":\"/dev/xdc\",\"type\":\"b\",\"major\":8,\"minor\":16},"
		"{\"path\":\"/dev/vfio/40\",\"type\":\"c\",\"major\":240,\"minor\":0}],"
		"\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"},"
		"{\"allow\":true,\"type\":\"b\",\"major\":8,\"minor\":16,\"access\":\"r\"}]}}}";
	struct oci_spec *s = NULL;
	struct err e = ERR_INIT;

	if (oci_spec_parse(text, strlen(text), &s, &e) < 0)
		fail_msg("%s", e.text);
	return s;
}

static Grpc__Device device(const char *type, const char *id, const char *path)
{
	Grpc__Device m = GRPC__DEVICE__INIT;
	m.type = (char *)type;
	m.id = (char *)id;
	m.container_path = (char *)path;
	return m;
}

static int apply(Grpc__Device *a, Grpc__Device *b, struct oci_spec *s, struct err *e)
{
	Grpc__Device *v[] = {a, b};
	const struct device_request q = {.devices = v, .n_devices = b ? 2 : 1};
	struct pci_map *map = NULL;

	int r = device_request_apply(devices, &q, s, &map, e);
	pci_map_free(map);
	return r;
}

/* As the engine sees the last rule. */
static void assert_rule(const struct oci_spec *s, size_t i, char type, int64_t major, int64_t minor,
			const char *access)
{
	const struct oci_device_rule *rule = &s->resources.devices[i];
	assert_true(rule->allow);
	assert_int_equal(rule->type, type);
	assert_int_equal(rule->major, major);
	assert_int_equal(rule->minor, minor);
	assert_string_equal(rule->access, access);
}

static void the_spec_gets_the_guests_numbers(void **state)
{
	struct oci_spec *s = spec_new();
	struct err e = ERR_INIT;
	/* the second has on the host the number that the first has here: that is no chain */
	Grpc__Device a = device("blk", "02", "/dev/xda"), b = device("scsi", "1:5", "/dev/xdb");

	if (apply(&a, &b, s, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(s->devices[0].major, 1);
	assert_int_equal(s->devices[0].minor, 3);
	assert_int_equal(s->devices[1].minor, 7);
	assert_int_equal(s->resources.n_devices, 3);
	/* what the spec allows less stays less */
	assert_rule(s, 1, 'b', 1, 3, "r");
	assert_rule(s, 2, 'b', 1, 7, "rwm");
	oci_spec_free(s);
}

static void what_the_spec_has_not_is_refused(void **state)
{
	struct oci_spec *s = spec_new();
	struct err e = ERR_INIT;
	Grpc__Device a = device("blk", "02", "/dev/other");

	assert_int_equal(apply(&a, NULL, s, &e), -EINVAL);
	assert_string_equal(e.text, "device /dev/other is not in the container's spec");
	a = device("blk", "07", "/dev/xda");
	assert_int_equal(apply(&a, NULL, s, &e), -ENODEV);
	a = device("", "02", "/dev/xda");
	assert_int_equal(apply(&a, NULL, s, &e), -EINVAL);
	a = device("blk", "", "/dev/xda");
	assert_int_equal(apply(&a, NULL, s, &e), -EINVAL);
	a = device("blk", "02", "");
	assert_int_equal(apply(&a, NULL, s, &e), -EINVAL);
	a = device("blk-ccw", "0.0.0001", "/dev/xda");
	assert_int_equal(apply(&a, NULL, s, &e), -EOPNOTSUPP);
	assert_int_equal(e.status, STATUS_UNIMPLEMENTED);
	oci_spec_free(s);
}

static void one_device_is_not_two(void **state)
{
	struct oci_spec *s = spec_new();
	struct err e = ERR_INIT;
	Grpc__Device a = device("blk", "02", "/dev/xda"), b = device("scsi", "1:5", "/dev/xdc");

	assert_int_equal(apply(&a, &b, s, &e), -EINVAL);
	assert_string_equal(e.text,
			    "devices /dev/xda and /dev/xdc are one on the host, and two here");
	b = device("scsi", "1:5", "/dev/xda");
	assert_int_equal(apply(&a, &b, s, &e), -EINVAL);
	/* the same by two names is fine */
	b = device("blk", "02", "/dev/xdc");
	assert_int_equal(apply(&a, &b, s, &e), 0);
	oci_spec_free(s);
}

static void vfio_devices_come_as_their_group(void **state)
{
	struct oci_spec *s = spec_new();
	struct err e = ERR_INIT;
	char *pass[] = {(char *)"0000:06:00.1=08"},
	     *keep[] = {(char *)"0000:06:00.2=05", (char *)"0000:06:00.3="};
	Grpc__Device a = device("vfio-pci", "40", "/dev/vfio/40"),
		     b = device("vfio-pci-gk", "41", "/dev/vfio/41");

	a.options = pass;
	a.n_options = 1;
	b.options = keep;
	b.n_options = 2;
	if (apply(&a, &b, s, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(s->devices[3].type, 'c');
	assert_int_equal(s->devices[3].major, 1);
	assert_int_equal(s->devices[3].minor, 9);
	assert_int_equal(s->n_devices, 5);
	assert_string_equal(s->devices[4].path, "/dev/infiniband/uverbs0");
	assert_int_equal(s->devices[4].major, 5);
	assert_rule(s, 2, 'c', 1, 9, "rwm");
	assert_rule(s, 3, 'c', 5, 0, "rwm");
	/* of both devices */
	assert_string_equal(s->process.env.v[0], "PCIDEVICE_A=0000:00:08.0");
	assert_string_equal(s->process.env.v[1], "PCIDEVICE_B=0000:00:05.0");
	oci_spec_free(s);
}

static void vfio_needs_a_driver_that_takes_the_device(void **state)
{
	struct oci_spec *s = spec_new();
	struct err e = ERR_INIT;
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[256];
	char *none[] = {(char *)"0000:06:00.1=04"}, *other[] = {(char *)"0000:06:00.1=09"},
	     *bad[] = {(char *)"06:00=04"}, *empty[] = {(char *)"0000:06:00.1="};
	Grpc__Device a = device("vfio-pci", "40", "/dev/vfio/40");

	assert_int_equal(apply(&a, NULL, s, &e), -EINVAL); /* without options */
	a.n_options = 1;
	a.options = none;
	assert_int_not_equal(apply(&a, NULL, s, &e), 0);
	assert_non_null(strstr(e.text, "0000:00:04.0 is in no IOMMU group"));
	a.options = other;
	assert_int_equal(apply(&a, NULL, s, &e), -ENODEV);
	assert_non_null(strstr(e.text, "0000:00:09.0 cannot be bound to vfio-pci"));
	(void)snprintf(path, sizeof path, "%s/" PCI "0000:00:09.0/driver_override", sysfs);
	assert_int_equal(file_read(AT_FDCWD, path, 64, &text), 0);
	assert_string_equal(text.data, "vfio-pci");
	a.options = bad;
	assert_int_equal(apply(&a, NULL, s, &e), -EINVAL);
	a.options = empty;
	assert_int_equal(apply(&a, NULL, s, &e), -EINVAL);
	oci_spec_free(s);
}

static void requests_say_what_they_wait_for(void **state)
{
	Grpc__Storage share = GRPC__STORAGE__INIT, disk = GRPC__STORAGE__INIT;
	Grpc__Storage *v[] = {&share, &disk};
	struct device_request q = {.storages = v, .n_storages = 1};
	struct err e = ERR_INIT;

	share.driver = (char *)"virtio-fs";
	disk.driver = (char *)"blk";
	disk.source = (char *)"07";
	assert_false(device_request_waits(&q));
	q.n_storages = 2;
	assert_true(device_request_waits(&q));
	assert_int_equal(device_request_look(devices, &q, &e), -EAGAIN);
	disk.source = (char *)"02";
	assert_int_equal(device_request_look(devices, &q, &e), 0);
	disk.source = (char *)"nonsense";
	assert_int_equal(device_request_look(devices, &q, &e), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(disks_are_found_by_their_place),
		cmocka_unit_test(what_is_not_there_may_come),
		cmocka_unit_test(absent_scsi_disks_are_scanned_for),
		cmocka_unit_test(ambiguous_scsi_disks_are_refused),
		cmocka_unit_test(sources_of_another_form_are_refused),
		cmocka_unit_test(network_cards_are_found),
		cmocka_unit_test(the_spec_gets_the_guests_numbers),
		cmocka_unit_test(what_the_spec_has_not_is_refused),
		cmocka_unit_test(one_device_is_not_two),
		cmocka_unit_test(vfio_devices_come_as_their_group),
		cmocka_unit_test(vfio_needs_a_driver_that_takes_the_device),
		cmocka_unit_test(requests_say_what_they_wait_for),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
