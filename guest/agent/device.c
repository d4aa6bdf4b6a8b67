/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/device.h"

#include "base/fd.h"
#include "guest/agent/modules.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* struct scsi_lun's flat addressing; a target's number is 8 bits in virtio-scsi. */
#define SCSI_ID_MAX 255
#define SCSI_LUN_MAX 16383

struct devices {
	struct modules *modules;
	const char *sysfs, *dev;
};

int devices_new(const struct devices_options *o, struct devices **ret, struct err *e)
{
	struct devices *d = calloc(1, sizeof *d);
	if (!d)
		return err_set(e, -ENOMEM, "no memory for devices");
	d->modules = o->modules;
	d->sysfs = o->sysfs ? o->sysfs : "/sys";
	d->dev = o->dev ? o->dev : "/dev";
	*ret = d;
	return 0;
}

void devices_free(struct devices *d)
{
	free(d);
}

const char *devices_dev(const struct devices *d)
{
	return d->dev;
}

/* ---- sysfs -------------------------------------------------------------------------------- */

/* The first entry of a directory whose name begins with @prefix. */
static int first_entry(const char *dir, const char *prefix, char *ret, size_t size)
{
	int r = -ENOENT;

	DIR *d = opendir(dir);
	if (!d)
		return -errno;
	for (struct dirent *de; r < 0 && (de = readdir(d));) {
		if (de->d_name[0] == '.' || strncmp(de->d_name, prefix, strlen(prefix)) != 0 ||
		    strlen(de->d_name) >= size)
			continue;
		memcpy(ret, de->d_name, strlen(de->d_name) + 1);
		r = 0;
	}
	(void)closedir(d);
	return r;
}

/* <dir>/<prefix>*: the path of that entry. */
static int first_below(const char *dir, const char *prefix, char *ret, size_t size)
{
	char name[NAME_MAX + 1];

	int r = first_entry(dir, prefix, name, sizeof name);
	return r < 0 ? r : path_format(ret, size, "%s/%s", dir, name);
}

/* A disk's node is there a moment before the disk can be opened (block/genhd.c: the device is
 * added, then the disk; its uevent comes last). Other failures to open it are told by who needs it.
 */
static bool is_about_to_come(const char *node)
{
	_cleanup_close_ int fd = open(node, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 && errno == ENXIO;
}

/* A device that is there, by its directory's file dev ("254:16"), must have a node of that number.
 */
static int check_node(const struct devices *d, const char *dir, const char *name,
		      struct device_block *ret)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[PATH_MAX], node[DEVICE_PATH_MAX];
	unsigned major, minor;
	struct stat st;

	if (path_format(path, sizeof path, "%s/dev", dir) < 0 ||
	    path_format(node, sizeof node, "%s/%s", d->dev, name) < 0)
		return -ENAMETOOLONG;
	int r = file_read(AT_FDCWD, path, 32, &text);
	if (r < 0 || !text.data || sscanf(text.data, "%u:%u", &major, &minor) != 2)
		return -ENOENT;
	if (stat(node, &st) < 0)
		return -errno;
	if (st.st_rdev != makedev(major, minor) || is_about_to_come(node))
		return -ENOENT;
	ret->rdev = st.st_rdev;
	memcpy(ret->path, node, sizeof node);
	return 0;
}

/* The disk of the device in @dir: its only entry in "block". */
static int disk_of(const struct devices *d, const char *dir, struct device_block *ret)
{
	char block[PATH_MAX], disk[PATH_MAX];

	if (path_format(block, sizeof block, "%s/block", dir) < 0 ||
	    first_below(block, "", disk, sizeof disk) < 0)
		return -ENOENT;
	return check_node(d, disk, strrchr(disk, '/') + 1, ret);
}

/* ---- Block devices ------------------------------------------------------------------------ */

/* "/dev/vda": whatever is there, or will be. */
static int look_node(struct devices *d, const char *source, struct device_block *ret, struct err *e)
{
	struct stat st;

	if (strncmp(source, "/dev/", 5) != 0 || strstr(source, "/.."))
		return err_set(e, -EINVAL, "block device \"%.80s\": not a path in /dev", source);
	if (strlen(source) >= sizeof ret->path)
		return err_set(e, -EINVAL, "block device %.80s...: the path is too long", source);
	if (stat(source, &st) < 0) {
		if (errno == ENOENT)
			return err_set(e, -EAGAIN, "there is no device %s", source);
		return err_errno(e, -errno, "block device %s", source);
	}
	if (!S_ISBLK(st.st_mode))
		return err_set(e, -EINVAL, "%s is not a block device", source);
	if (is_about_to_come(source))
		return err_set(e, -EAGAIN, "device %s cannot be opened", source);
	ret->rdev = st.st_rdev;
	(void)snprintf(ret->path, sizeof ret->path, "%s", source);
	return 0;
}

int devices_look_pci(struct devices *d, const char *path, char ret_dir[PCI_DIR_MAX], struct err *e)
{
	struct pci_path p;

	int r = pci_path_parse(path, &p, e);
	if (r < 0)
		return r;
	r = pci_find(d->sysfs, &p, ret_dir, e);
	return r == -ENOENT ? err_wrap(e, -EAGAIN, "PCI path %s", path) : r;
}

static int look_pci_disk(struct devices *d, const char *source, struct device_block *ret,
			 struct err *e)
{
	char dir[PCI_DIR_MAX], virtio[PATH_MAX];

	if (source[0] == '/')
		return look_node(d, source, ret, e);
	int r = devices_look_pci(d, source, dir, e);
	if (r < 0)
		return r;
	if (first_below(dir, "virtio", virtio, sizeof virtio) < 0 || disk_of(d, virtio, ret) < 0)
		return err_set(e, -EAGAIN, "PCI path %s: device %s has no disk", source,
			       pci_dir_address(dir));
	return 0;
}

/* "ID:LUN", decimal. */
static int parse_scsi(const char *source, unsigned *id, unsigned *lun, struct err *e)
{
	char end;

	if (!isdigit((unsigned char)source[0]) || strspn(source, "0123456789:") > 9 ||
	    sscanf(source, "%u:%u%c", id, lun, &end) != 2 || *id > SCSI_ID_MAX ||
	    *lun > SCSI_LUN_MAX)
		return err_set(e, -EINVAL, "SCSI device \"%.40s\": not ID:LUN, to %d:%d", source,
			       SCSI_ID_MAX, SCSI_LUN_MAX);
	return 0;
}

/* Which host it is on is not said, and there is one as a rule. */
static int find_scsi(struct devices *d, unsigned id, unsigned lun, struct device_block *ret,
		     struct err *e)
{
	char path[PATH_MAX];
	struct device_block other;
	unsigned host, channel, i, l, found = 0;
	char end;

	(void)snprintf(path, sizeof path, "%s/bus/scsi/devices", d->sysfs);
	DIR *dir = opendir(path);
	if (!dir)
		return -EAGAIN;
	for (struct dirent *de; (de = readdir(dir));) {
		if (sscanf(de->d_name, "%u:%u:%u:%u%c", &host, &channel, &i, &l, &end) != 4 ||
		    channel != 0 || i != id || l != lun ||
		    path_format(path, sizeof path, "%s/bus/scsi/devices/%s", d->sysfs, de->d_name) <
			    0)
			continue;
		if (disk_of(d, path, found ? &other : ret) == 0)
			found++;
	}
	(void)closedir(dir);
	if (found > 1)
		return err_set(e, -EBUSY, "SCSI device %u:%u is ambiguous: %s and %s", id, lun,
			       ret->path, other.path);
	return found ? 0 : -EAGAIN;
}

/* Some hosts do not tell by themselves what was plugged into them. */
static void scan_scsi(struct devices *d, unsigned id, unsigned lun)
{
	char path[PATH_MAX], text[32];

	(void)snprintf(path, sizeof path, "%s/class/scsi_host", d->sysfs);
	(void)snprintf(text, sizeof text, "0 %u %u", id, lun);
	DIR *dir = opendir(path);
	if (!dir)
		return;
	for (struct dirent *de; (de = readdir(dir));) {
		if (de->d_name[0] != '.' &&
		    path_format(path, sizeof path, "%s/scan", de->d_name) == 0)
			(void)file_write(dirfd(dir), path, text);
	}
	(void)closedir(dir);
}

static int look_scsi(struct devices *d, const char *source, struct device_block *ret, struct err *e)
{
	unsigned id, lun;

	int r = parse_scsi(source, &id, &lun, e);
	if (r < 0)
		return r;
	r = find_scsi(d, id, lun, ret, e);
	if (r == -EAGAIN) {
		scan_scsi(d, id, lun);
		r = find_scsi(d, id, lun, ret, e);
	}
	return r == -EAGAIN ? err_set(e, r, "there is no SCSI disk %s", source) : r;
}

static const struct block_driver {
	const char *name;
	const char *modules[4];
	int (*look)(struct devices *d, const char *source, struct device_block *ret, struct err *e);
} drivers[] = {
	{"blk", {"virtio_blk"}, look_pci_disk},
	{"mmioblk", {"virtio_blk"}, look_node},
	{"scsi", {"virtio_scsi", "sd_mod"}, look_scsi},
	{"nvdimm", {"nfit", "virtio_pmem", "nd_pmem"}, look_node},
};

static const struct block_driver *find_driver(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		if (strcmp(drivers[i].name, name) == 0)
			return &drivers[i];
	return NULL;
}

bool devices_is_block_driver(const char *driver)
{
	return find_driver(driver) != NULL;
}

/* Those that the image has: a kernel of its own may have them built in. */
static int load_modules(struct devices *d, const char *const *names, size_t n, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n && names[i]; i++)
		if (d->modules && modules_has(d->modules, names[i]))
			r = modules_load(d->modules, names[i], NULL, e);
	return r;
}

int devices_look_block(struct devices *d, const char *driver, const char *source,
		       struct device_block *ret, struct err *e)
{
	const struct block_driver *b = find_driver(driver);
	struct device_block found;

	if (!b)
		return err_set(e, -EINVAL, "device %.80s: \"%.40s\" is no kind of block device",
			       source, driver);
	int r = load_modules(d, b->modules, ARRAY_SIZE(b->modules), e);
	if (r == 0)
		r = b->look(d, source, &found, e);
	if (r == 0)
		*ret = found;
	return r;
}

int devices_find_block(struct devices *d, const char *driver, const char *source,
		       struct device_block *ret, struct err *e)
{
	int r = devices_look_block(d, driver, source, ret, e);
	return r == -EAGAIN ? err_wrap(e, -ENODEV, "%s device", driver) : r;
}

/* ---- Network cards ------------------------------------------------------------------------ */

int devices_look_net(struct devices *d, const char *path, char *ret_name, struct err *e)
{
	char dir[PCI_DIR_MAX], virtio[PATH_MAX], net[PATH_MAX];
	const char *const modules[] = {"virtio_net"};

	int r = load_modules(d, modules, ARRAY_SIZE(modules), e);
	if (r == 0)
		r = devices_look_pci(d, path, dir, e);
	if (r < 0)
		return r;
	/* a card of virtio has one step more than a real one */
	bool deep = first_below(dir, "virtio", virtio, sizeof virtio) == 0;
	if (path_format(net, sizeof net, "%s/net", deep ? virtio : dir) < 0 ||
	    first_entry(net, "", ret_name, IFNAMSIZ) < 0)
		return err_set(e, -EAGAIN, "PCI path %s: device %s has no network interface", path,
			       pci_dir_address(dir));
	return 0;
}

/* ---- vfio --------------------------------------------------------------------------------- */

/* The last part of where a link leads; "" if there is none. */
static void link_name(const char *dir, const char *link, char ret[NAME_MAX + 1])
{
	char path[PATH_MAX], target[PATH_MAX];

	ret[0] = '\0';
	if (path_format(path, sizeof path, "%s/%s", dir, link) < 0)
		return;
	ssize_t n = readlink(path, target, sizeof target - 1);
	if (n <= 0)
		return;
	target[n] = '\0';
	const char *slash = strrchr(target, '/');
	(void)snprintf(ret, NAME_MAX + 1, "%.*s", NAME_MAX, slash ? slash + 1 : target);
}

static int write_attribute(const char *dir, const char *name, const char *text, struct err *e)
{
	char path[PATH_MAX];

	int r = path_format(path, sizeof path, "%s/%s", dir, name);
	if (r == 0)
		r = file_write(AT_FDCWD, path, text);
	return r < 0 ? err_errno(e, r, "write %s to %s/%s", text, dir, name) : 0;
}

/* kernel: Documentation/ABI/testing/sysfs-bus-pci, driver_override */
static int set_driver(struct devices *d, const char *dir, const char *driver, struct err *e)
{
	char bus[PATH_MAX], unbind[PATH_MAX], now[NAME_MAX + 1];
	const char *address = pci_dir_address(dir);

	link_name(dir, "driver", now);
	if (strcmp(now, driver) == 0)
		return 0;
	(void)snprintf(bus, sizeof bus, "%s/bus/pci", d->sysfs);
	(void)snprintf(unbind, sizeof unbind, "%s/driver", dir);
	int r = write_attribute(dir, "driver_override", driver, e);
	if (r == 0 && now[0])
		r = write_attribute(unbind, "unbind", address, e);
	if (r == 0)
		r = write_attribute(bus, "drivers_probe", address, e);
	if (r < 0)
		return r;
	link_name(dir, "driver", now);
	if (strcmp(now, driver) != 0)
		return err_set(e, -ENODEV, "PCI device %s cannot be bound to %s: it is %s%s",
			       address, driver, now[0] ? "with " : "without a driver", now);
	return 0;
}

int devices_vfio_bind(struct devices *d, const char *dir, struct device_block *ret, struct err *e)
{
	const char *const modules[] = {"vfio_iommu_type1", "vfio_pci"};
	char group[NAME_MAX + 1], node[DEVICE_PATH_MAX];
	struct stat st;

	int r = load_modules(d, modules, ARRAY_SIZE(modules), e);
	if (r < 0)
		return r;
	link_name(dir, "iommu_group", group);
	if (!group[0])
		return err_status(e, STATUS_FAILED_PRECONDITION,
				  "PCI device %s is in no IOMMU group: the guest has no IOMMU",
				  pci_dir_address(dir));
	r = set_driver(d, dir, "vfio-pci", e);
	if (r < 0)
		return r;
	if (path_format(node, sizeof node, "%s/vfio/%s", d->dev, group) < 0)
		return err_set(e, -EINVAL, "IOMMU group %.40s: the name is too long", group);
	if (stat(node, &st) < 0 || !S_ISCHR(st.st_mode))
		return err_set(e, -EAGAIN, "there is no device %s", node);
	ret->rdev = st.st_rdev;
	memcpy(ret->path, node, sizeof node);
	return 0;
}
