/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first program of a guest whose root file system is a disk that dm-verity protects, for
 * kernels that have the drivers of that disk as modules. It runs from an initramfs, loads those
 * modules, maps and mounts the root that the kernel's command line describes, and becomes its
 * /sbin/init. Whatever is wrong ends the machine: with a reason here, with the kernel's panic where
 * a block of the root is not what its hash says.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "guest/agent/modules.h"
#include "guest/boot/root.h"
#include "sys/dm.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define NEW_ROOT "/newroot"
#define INIT "/sbin/init"
/* The disk is there before the machine starts; only its driver takes time. */
#define DISK_MS 20000

static int mount_kernels(struct err *e)
{
	static const char *const v[][2] = {
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}};

	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		(void)mkdir(v[i][1], 0755);
		if (mount(v[i][0], v[i][1], v[i][0], MS_NOSUID, NULL) < 0 && errno != EBUSY)
			return err_errno(e, -errno, "mount %s", v[i][1]);
	}
	return 0;
}

static int read_root(struct root *ret, struct err *e)
{
	_cleanup_buf_ struct buf cmdline = BUF_INIT;

	int r = file_read(AT_FDCWD, "/proc/cmdline", ROOT_CMDLINE_MAX, &cmdline);
	if (r < 0 || !cmdline.data)
		return err_errno(e, r < 0 ? r : -EIO, "read the kernel's command line");
	return root_parse(cmdline.data, ret, e);
}

static int load_modules(const char *fstype, struct err *e)
{
	struct modules *m;

	int r = modules_new("/lib/modules", &m, e);
	if (r < 0)
		return r;
	r = modules_load_present(m, NULL, e);
	if (r == 0 && modules_has(m, "dm-verity"))
		r = modules_load(m, "dm-verity", NULL, e);
	if (r == 0)
		modules_for_filesystem(m, fstype);
	modules_free(m);
	return r;
}

/* ---- The disk ----------------------------------------------------------------------------- */

/* The kernel's own news, after which it may be worth to look again. */
static int listen_to_kernel(struct err *e)
{
	const struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_groups = 1};

	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_KOBJECT_UEVENT);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof a) < 0) {
		(void)close_fd(fd);
		return err_errno(e, -errno, "listen for devices");
	}
	return fd;
}

static int wait_for_news(int fd, uint64_t deadline)
{
	char news[8192];
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (poll(&p, 1, time_left_ms(deadline)) <= 0)
		return -ETIMEDOUT;
	while (recv(fd, news, sizeof news, MSG_DONTWAIT) > 0)
		;
	return 0;
}

/* Opens a block device when it is there; what it is made of stays the same from then on. */
static int open_disk(int news, const char *path, uint64_t deadline, char *ret_number, size_t size,
		     uint64_t *ret_bytes, struct err *e)
{
	struct stat st;
	int fd;

	while ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0) {
		if (errno != ENOENT && errno != ENXIO)
			return err_errno(e, -errno, "open %s", path);
		if (wait_for_news(news, deadline) < 0)
			return err_set(e, -ENODEV, "there is no disk %s", path);
	}
	if (fstat(fd, &st) < 0 || !S_ISBLK(st.st_mode) || ioctl(fd, BLKGETSIZE64, ret_bytes) < 0) {
		(void)close_fd(fd);
		return err_set(e, -ENOTBLK, "%s is no disk", path);
	}
	(void)snprintf(ret_number, size, "%u:%u", major(st.st_rdev), minor(st.st_rdev));
	return fd;
}

static int map_table(const struct root *root, const char *data, const char *hash, char *ret_path,
		     size_t size, struct err *e)
{
	_cleanup_buf_ struct buf table = BUF_INIT;
	dev_t dev;

	if (verity_table(&root->verity, data, hash, root->options, &table) < 0)
		return err_set(e, -ENOMEM, "no memory for the verity table");
	_cleanup_close_ int control = dm_open(e);
	if (control < 0)
		return control;
	const struct dm_target t = {
		.type = "verity", .sectors = root->sectors, .params = table.data};
	int r = dm_make(control, root->name, &t, &dev, e);
	return r < 0 ? r : dm_make_node(root->name, dev, ret_path, size, e);
}

static int map_root(int news, const struct root *root, char *ret_path, size_t size, struct err *e)
{
	uint64_t deadline = time_deadline(DISK_MS), data_bytes = 0, hash_bytes = 0;
	char data_number[32], hash_number[32];

	_cleanup_close_ int data = open_disk(news, root->data_device, deadline, data_number,
					     sizeof data_number, &data_bytes, e);
	if (data < 0)
		return data;
	_cleanup_close_ int hash = open_disk(news, root->hash_device, deadline, hash_number,
					     sizeof hash_number, &hash_bytes, e);
	if (hash < 0)
		return hash;
	bool one = strcmp(data_number, hash_number) == 0;
	int r = verity_check(&root->verity, data_bytes, one ? 0 : hash_bytes, e);
	return r < 0 ? r : map_table(root, data_number, hash_number, ret_path, size, e);
}

/* ---- The change of roots ------------------------------------------------------------------ */

static int mount_root(const struct root *root, const char *device, struct err *e)
{
	if (mkdir(NEW_ROOT, 0755) < 0 && errno != EEXIST)
		return err_errno(e, -errno, "make " NEW_ROOT);
	if (mount(device, NEW_ROOT, root->fstype, MS_RDONLY, NULL) < 0)
		return err_errno(e, -errno, "mount the root file system (%s)", root->fstype);
	return 0;
}

/* The initramfs is memory, and would be for the machine's whole life. */
static void forget_initramfs(void)
{
	(void)remove_tree("/lib");
	(void)unlink("/init");
}

static int change_root(struct err *e)
{
	static const char *const v[] = {"/dev", "/sys", "/proc"};

	/* the agent mounts its own; an open console does not keep a mount that is detached */
	for (size_t i = 0; i < ARRAY_SIZE(v); i++)
		if (umount2(v[i], MNT_DETACH) < 0)
			return err_errno(e, -errno, "unmount %s", v[i]);
	forget_initramfs();
	if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		return err_errno(e, -errno, "change to the root file system");
	return 0;
}

static int boot(struct err *e)
{
	char device[128], init[] = INIT;
	char *argv[] = {init, NULL};
	struct root root;

	int r = mount_kernels(e);
	if (r == 0)
		r = read_root(&root, e);
	if (r < 0)
		return r;
	_cleanup_close_ int news = listen_to_kernel(e);
	if (news < 0)
		return news;
	r = load_modules(root.fstype, e);
	if (r == 0)
		r = map_root(news, &root, device, sizeof device, e);
	if (r == 0)
		r = mount_root(&root, device, e);
	if (r == 0)
		r = change_root(e);
	if (r < 0)
		return r;
	(void)execv(INIT, argv);
	return err_errno(e, -errno, "start " INIT);
}

static void complain(const char *text)
{
	char line[ERR_TEXT_MAX + 64];
	int n = snprintf(line, sizeof line, "boot: the machine cannot start: %s\n", text);

	(void)fd_write_all(STDERR_FILENO, line, (size_t)n);
}

int main(void)
{
	struct err e = ERR_INIT;

	int r = boot(&e);
	complain(err_text(&e, r));
	if (getpid() != 1)
		return 1;
	sync();
	(void)reboot(RB_POWER_OFF);
	for (;;)
		(void)pause();
}
