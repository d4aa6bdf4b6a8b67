/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/partition.h"

#include "base/fd.h"
#include "sys/gpt.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* What the kernel knows of a partition, from sysfs. Places are in sectors of 512 bytes. */
struct known {
	char name[48];
	unsigned number;
	uint64_t start, sectors;
	dev_t dev;
};

static int read_number(int dir_fd, const char *name, uint64_t *ret)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char *end;

	int r = file_read(dir_fd, name, 64, &text);
	if (r < 0)
		return r;
	if (text.len == 0)
		return -EINVAL;
	errno = 0;
	*ret = strtoull(text.data, &end, 10);
	return errno || (*end && *end != '\n') ? -EINVAL : 0;
}

static int read_dev(int dir_fd, dev_t *ret)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	unsigned major_number, minor_number;

	int r = file_read(dir_fd, "dev", 64, &text);
	if (r < 0)
		return r;
	if (text.len == 0 || sscanf(text.data, "%u:%u", &major_number, &minor_number) != 2)
		return -EINVAL;
	*ret = makedev(major_number, minor_number);
	return 0;
}

/* Reads one entry of a disk's directory; 0 if it is that partition. */
static int read_known(int disk_dir, const char *name, unsigned number, struct known *ret)
{
	uint64_t n;

	if (name[0] == '.' || strlen(name) >= sizeof ret->name)
		return -ENOENT;
	_cleanup_close_ int dir = openat(disk_dir, name, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (dir < 0 || read_number(dir, "partition", &n) < 0 || n != number)
		return -ENOENT;
	int r = read_number(dir, "start", &ret->start);
	if (r == 0)
		r = read_number(dir, "size", &ret->sectors);
	if (r == 0)
		r = read_dev(dir, &ret->dev);
	if (r == 0) {
		ret->number = number;
		memcpy(ret->name, name, strlen(name) + 1);
	}
	return r;
}

/* -ENOENT: the kernel knows no such partition. */
static int look_up(dev_t disk, unsigned number, struct known *ret)
{
	char path[64];
	int r = -ENOENT;

	(void)snprintf(path, sizeof path, "/sys/dev/block/%u:%u", major(disk), minor(disk));
	DIR *d = opendir(path);
	if (!d)
		return -errno;
	for (struct dirent *de; r == -ENOENT && (de = readdir(d));)
		r = read_known(dirfd(d), de->d_name, number, ret);
	(void)closedir(d);
	return r;
}

static int add_partition(int disk_fd, unsigned number, uint64_t start, uint64_t bytes)
{
	struct blkpg_partition p = {
		.start = (long long)start, .length = (long long)bytes, .pno = (int)number};
	struct blkpg_ioctl_arg a = {
		.op = BLKPG_ADD_PARTITION, .datalen = sizeof p, .data = (void *)&p};
	return ioctl(disk_fd, BLKPG, &a) < 0 ? -errno : 0;
}

/*
 * Tells the kernel of a partition that it does not know. Not BLKRRPART: where the kernel cannot
 * read such tables, another look would take away what it has been told before.
 */
static int make_known(int disk_fd, dev_t disk, unsigned number, uint64_t start, uint64_t bytes,
		      struct known *ret)
{
	int r = look_up(disk, number, ret);
	if (r != -ENOENT)
		return r;
	r = add_partition(disk_fd, number, start, bytes);
	if (r < 0 && r != -EBUSY) /* EBUSY: its own look has found it meanwhile */
		return r;
	return look_up(disk, number, ret);
}

static int read_table(int disk_fd, unsigned number, uint64_t *ret_start, uint64_t *ret_bytes,
		      struct err *e)
{
	int sector_bytes;
	uint64_t bytes;
	struct gpt_partition p;

	if (ioctl(disk_fd, BLKSSZGET, &sector_bytes) < 0 || sector_bytes <= 0 ||
	    ioctl(disk_fd, BLKGETSIZE64, &bytes) < 0)
		return err_errno(e, -errno, "ask for the disk's size");
	int r = gpt_read(disk_fd, (unsigned)sector_bytes, bytes / (unsigned)sector_bytes, number,
			 &p, e);
	if (r < 0)
		return r;
	*ret_start = p.lba * (unsigned)sector_bytes;
	*ret_bytes = p.sectors * (unsigned)sector_bytes;
	return 0;
}

static int set_path(const struct known *k, struct partition *ret)
{
	struct stat st;

	int r = path_format(ret->path, sizeof ret->path, "/dev/%s", k->name);
	if (r < 0)
		return r;
	ret->dev = k->dev;
	if (stat(ret->path, &st) < 0)
		return -errno;
	return S_ISBLK(st.st_mode) && st.st_rdev == k->dev ? 0 : -ENOTBLK;
}

int partition_find(const char *disk, unsigned number, struct partition *ret, struct err *e)
{
	struct stat st;
	struct known k;
	uint64_t start = 0, bytes = 0;

	_cleanup_close_ int fd = open(disk, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, -errno, "open disk %s", disk);
	if (!S_ISBLK(st.st_mode))
		return err_set(e, -ENOTBLK, "disk %s is no block device", disk);
	int r = read_table(fd, number, &start, &bytes, e);
	if (r < 0)
		return err_wrap(e, r == -ENOENT ? -ENODEV : r, "disk %s", disk);
	r = make_known(fd, st.st_rdev, number, start, bytes, &k);
	if (r < 0)
		return err_errno(e, r == -ENOENT ? -ENODEV : r,
				 "disk %s: the kernel does not find partition %u", disk, number);
	if (k.start * 512 != start || k.sectors * 512 != bytes)
		return err_set(
			e, -EINVAL,
			"disk %s: the kernel has partition %u in another place than its table",
			disk, number);
	r = set_path(&k, ret);
	return r < 0 ? err_errno(e, r, "the node of partition %u of disk %s", number, disk) : 0;
}

int partition_known(const char *disk, unsigned number, struct partition *ret, struct err *e)
{
	struct stat st;
	struct known k;

	/* opening waits for the kernel, where it is looking for partitions just now */
	_cleanup_close_ int fd = open(disk, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, -errno, "open disk %s", disk);
	if (!S_ISBLK(st.st_mode))
		return err_set(e, -ENOTBLK, "disk %s is no block device", disk);
	int r = look_up(st.st_rdev, number, &k);
	if (r == -ENOENT)
		return err_set(e, -ENODEV, "disk %s has no partition %u", disk, number);
	if (r == 0)
		r = set_path(&k, ret);
	return r < 0 ? err_errno(e, r, "partition %u of disk %s", number, disk) : 0;
}
