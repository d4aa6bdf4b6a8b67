/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/dm.h"

#include "base/fd.h"

#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define DIR_PATH "/dev/mapper"
#define CONTROL_PATH DIR_PATH "/control"
/* Two digests, a salt of 256 bytes and two paths in hex need half of it. */
#define PARAMS_MAX 4096

/* One call of the mapper, with room for what it is about. */
struct request {
	struct dm_ioctl head;
	struct dm_target_spec spec;
	char params[PARAMS_MAX];
};

/* ---- Nodes -------------------------------------------------------------------------------- */

/* Whether that path, links followed, is this device. */
static bool is_device(const char *path, mode_t type, dev_t dev)
{
	struct stat st;
	return stat(path, &st) == 0 && (st.st_mode & S_IFMT) == type && st.st_rdev == dev;
}

static int make_node(const char *path, mode_t type, dev_t dev)
{
	if (mkdir(DIR_PATH, 0755) < 0 && errno != EEXIST)
		return -errno;
	/* udev may be making the same one */
	for (int i = 0; i < 3; i++) {
		if (is_device(path, type, dev) || mknod(path, type | 0600, dev) == 0)
			return 0;
		if (errno != EEXIST)
			return -errno;
		if (unlink(path) < 0 && errno != ENOENT)
			return -errno;
	}
	return -EEXIST;
}

int dm_make_node(const char *name, dev_t dev, char *ret, size_t size, struct err *e)
{
	char path[sizeof DIR_PATH + DM_NAME_MAX + 2];

	int r = path_format(path, sizeof path, DIR_PATH "/%s", name);
	if (r == 0 && strlen(path) >= size)
		r = -ENAMETOOLONG;
	if (r == 0)
		r = make_node(path, S_IFBLK, dev);
	if (r < 0)
		return err_errno(e, r, "make the node of the mapped device %s", name);
	memcpy(ret, path, strlen(path) + 1);
	return 0;
}

void dm_remove_node(const char *name, dev_t dev)
{
	char path[sizeof DIR_PATH + DM_NAME_MAX + 2];

	if (path_format(path, sizeof path, DIR_PATH "/%s", name) == 0 &&
	    is_device(path, S_IFBLK, dev))
		(void)unlink(path);
}

/* The number is the kernel's to choose in principle; sysfs tells it. */
static int control_device(dev_t *ret)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	unsigned major_number, minor_number;

	int r = file_read(AT_FDCWD, "/sys/class/misc/device-mapper/dev", 64, &text);
	if (r < 0)
		return r;
	if (!text.data || sscanf(text.data, "%u:%u", &major_number, &minor_number) != 2)
		return -EINVAL;
	*ret = makedev(major_number, minor_number);
	return 0;
}

int dm_open(struct err *e)
{
	dev_t dev;

	int fd = open(CONTROL_PATH, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		if (control_device(&dev) < 0)
			return err_set(e, -ENODEV, "this kernel has no device-mapper");
		int r = make_node(CONTROL_PATH, S_IFCHR, dev);
		if (r < 0)
			return err_errno(e, r, "make " CONTROL_PATH);
		fd = open(CONTROL_PATH, O_RDWR | O_CLOEXEC);
	}
	/* devtmpfs may have the node while the module behind it is absent */
	if (fd < 0)
		return err_errno(e, errno == ENXIO ? -ENODEV : -errno, "open " CONTROL_PATH);
	return fd;
}

/* ---- Devices ------------------------------------------------------------------------------ */

static int prepare(struct request *q, const char *name, uint32_t flags, struct err *e)
{
	if (!name[0] || strlen(name) > DM_NAME_MAX || strchr(name, '/'))
		return err_set(e, -EINVAL, "mapped device \"%.140s\": not a name of 1 to %d bytes",
			       name, DM_NAME_MAX);
	memset(q, 0, sizeof *q);
	/* 4.27 knows deferred removal; a kernel that is older refuses the call */
	q->head.version[0] = DM_VERSION_MAJOR;
	q->head.version[1] = 27;
	q->head.data_size = sizeof *q;
	q->head.data_start = offsetof(struct request, spec);
	q->head.flags = flags;
	memcpy(q->head.name, name, strlen(name) + 1);
	return 0;
}

static int create_device(int fd, const char *name, struct request *q, struct err *e)
{
	int r = prepare(q, name, DM_READONLY_FLAG, e);
	if (r < 0)
		return r;
	if (ioctl(fd, DM_DEV_CREATE, q) == 0)
		return 0;
	if (errno == EBUSY)
		return err_set(e, -EEXIST, "there is a mapped device %s already", name);
	return err_errno(e, -errno, "make the mapped device %s", name);
}

static int load_table(int fd, const char *name, const struct dm_target *t, struct request *q,
		      struct err *e)
{
	int r = prepare(q, name, DM_READONLY_FLAG, e);
	if (r < 0)
		return r;
	if (strlen(t->params) >= sizeof q->params || strlen(t->type) >= sizeof q->spec.target_type)
		return err_set(e, -E2BIG, "mapped device %s: its table is too long", name);
	q->head.target_count = 1;
	q->spec.length = t->sectors;
	memcpy(q->spec.target_type, t->type, strlen(t->type) + 1);
	memcpy(q->params, t->params, strlen(t->params) + 1);
	if (ioctl(fd, DM_TABLE_LOAD, q) < 0)
		return err_errno(e, -errno,
				 "the kernel refuses the %s table of the mapped device %s", t->type,
				 name);
	return 0;
}

/* Without DM_SUSPEND_FLAG this is how a device begins to work. */
static int resume(int fd, const char *name, struct request *q, struct err *e)
{
	int r = prepare(q, name, DM_READONLY_FLAG, e);
	if (r == 0 && ioctl(fd, DM_DEV_SUSPEND, q) < 0)
		r = err_errno(e, -errno, "start the mapped device %s", name);
	return r;
}

int dm_make(int control_fd, const char *name, const struct dm_target *t, dev_t *ret, struct err *e)
{
	struct request q;

	int r = create_device(control_fd, name, &q, e);
	if (r < 0)
		return r;
	r = load_table(control_fd, name, t, &q, e);
	if (r == 0)
		r = resume(control_fd, name, &q, e);
	if (r < 0) {
		(void)dm_remove(control_fd, name, NULL);
		return r;
	}
	/* the kernel's encoding (linux/kdev_t.h: huge_encode_dev), which is not the C library's */
	*ret = makedev((q.head.dev & 0xfff00) >> 8,
		       (q.head.dev & 0xff) | ((q.head.dev >> 12) & 0xfff00));
	return 0;
}

int dm_remove(int control_fd, const char *name, struct err *e)
{
	struct request q;

	int r = prepare(&q, name, DM_DEFERRED_REMOVE, e);
	if (r < 0)
		return r;
	if (ioctl(control_fd, DM_DEV_REMOVE, &q) < 0)
		return errno == ENXIO ? 0
				      : err_errno(e, -errno, "remove the mapped device %s", name);
	return q.head.flags & DM_DEFERRED_REMOVE ? 1 : 0;
}
