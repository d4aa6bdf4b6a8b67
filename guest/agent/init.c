/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/init.h"

#include "base/fd.h"
#include "base/log.h"
#include "sys/mountfd.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* What systemd gives its services; PID 1 itself starts with 4096, and containers inherit. */
#define NOFILE_LIMIT 1048576

/*
 * Our own program, and that of the engine's processes, is on the mount that lies below from now on.
 * Who comes by it as /proc/<pid>/exe, from a container, can neither write nor run it
 * (CVE-2019-5736). What the agent itself starts is found on the mount above.
 */
static int seal(int hidden, struct err *e)
{
	int r = mountfd_set_attr(hidden, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC, 0, false);
	return r < 0 ? err_errno(e, r, "seal the mount of the agent's program") : 0;
}

/*
 * The initramfs is the root mount of its namespace, which cannot be pivoted away from
 * (fs/namespace.c: pivot_root refuses a mount without a parent). A bind of it, moved on top of it,
 * can be; so containers get a true pivot_root, and nothing is copied.
 */
static int leave_rootfs(struct err *e)
{
	struct statfs fs;

	if (statfs("/", &fs) < 0)
		return err_errno(e, -errno, "look at the root file system");
	if (fs.f_type != RAMFS_MAGIC && fs.f_type != TMPFS_MAGIC)
		return 0;
	_cleanup_close_ int hidden = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (hidden < 0)
		return err_errno(e, -errno, "open /");
	if (mkdir("/mnt", 0755) < 0 && errno != EEXIST)
		return err_errno(e, -errno, "make /mnt");
	if (mount("/", "/mnt", NULL, MS_BIND, NULL) < 0)
		return err_errno(e, -errno, "bind / on /mnt");
	if (chdir("/mnt") < 0)
		return err_errno(e, -errno, "enter /mnt");
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0)
		return err_errno(e, -errno, "move /mnt to /");
	if (chroot(".") < 0 || chdir("/") < 0)
		return err_errno(e, -errno, "change the root to the moved mount");
	return seal(hidden, e);
}

static const struct {
	const char *type, *target;
	unsigned long flags;
	const char *data;
	bool optional;
} base_mounts[] = {
	{"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, false},
	{"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, false},
	{"devtmpfs", "/dev", MS_NOSUID, NULL, true},
	{"tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, NULL, false},
	{"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666", false},
	{"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755", false},
};

static int mount_base(struct err *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(base_mounts); i++) {
		int r = mkdir_parents(base_mounts[i].target, 0755);
		if (r < 0)
			return err_errno(e, r, "make %s", base_mounts[i].target);
		/* EBUSY: the kernel, or whoever made the image, has mounted it */
		if (mount(base_mounts[i].type, base_mounts[i].target, base_mounts[i].type,
			  base_mounts[i].flags, base_mounts[i].data) < 0 &&
		    errno != EBUSY && !base_mounts[i].optional)
			return err_errno(e, -errno, "mount %s on %s", base_mounts[i].type,
					 base_mounts[i].target);
	}
	/* /dev/ptmx must be that of /dev/pts, or terminals of containers do not work */
	(void)unlink("/dev/ptmx");
	if (symlink("/dev/pts/ptmx", "/dev/ptmx") < 0 && errno != EEXIST)
		return err_errno(e, -errno, "link /dev/ptmx");

	static const char *const links[][2] = {{"/proc/self/fd", "/dev/fd"},
					       {"/proc/self/fd/0", "/dev/stdin"},
					       {"/proc/self/fd/1", "/dev/stdout"},
					       {"/proc/self/fd/2", "/dev/stderr"}};
	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
			return err_errno(e, -errno, "link %s", links[i][1]);
	return 0;
}

/* Descriptors 0 to 2 must be open, or the next files that are opened would be taken for them. */
static void open_console(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	for (int i = 0; i <= 2; i++)
		if (fd != i && fcntl(i, F_GETFD) < 0)
			(void)dup2(fd, i);
	if (fd > 2)
		(void)close(fd);
	(void)setsid();
	(void)ioctl(0, TIOCSCTTY, 1);
}

int init_early(struct err *e)
{
	umask(022);
	int r = leave_rootfs(e);
	if (r < 0)
		return r;
	r = mount_base(e);
	if (r < 0)
		return r;
	open_console();
	(void)setenv("PATH", "/bin:/sbin/:/usr/bin/:/usr/sbin/", 1);
	return 0;
}

#define CGROUP_ROOT "/sys/fs/cgroup"
#define CGROUP_FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static int mount_unified(struct err *e)
{
	static const char *const controllers[] = {"+cpuset", "+cpu",	 "+io",	 "+memory",
						  "+pids",   "+hugetlb", "+rdma"};

	if (mount("cgroup2", CGROUP_ROOT, "cgroup2", CGROUP_FLAGS | MS_RELATIME, "nsdelegate") <
		    0 &&
	    errno != EBUSY)
		return err_errno(e, -errno, "mount cgroup2 on " CGROUP_ROOT);
	/* one by one: a kernel that lacks one still gets the others */
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
		int r = file_write(AT_FDCWD, CGROUP_ROOT "/cgroup.subtree_control", controllers[i]);
		if (r < 0)
			log_debug("cgroup controller %s: %s", controllers[i] + 1, strerror(-r));
	}
	return 0;
}

static int mount_controller(const char *path, const char *controller, const char *more)
{
	char options[64];

	int r = path_format(options, sizeof options, "%s%s", controller, more);
	if (r < 0)
		return r;
	return mount("cgroup", path, "cgroup", CGROUP_FLAGS | MS_RELATIME, options);
}

/* So that containers get processors that are plugged in later: since Linux 4.15. */
static const char *follows(const char *controller)
{
	return strcmp(controller, "cpuset") == 0 ? ",cpuset_v2_mode" : "";
}

static bool mount_hierarchy(const char *controller)
{
	char path[64];

	if (path_format(path, sizeof path, CGROUP_ROOT "/%s", controller) < 0)
		return false;
	if (mkdir(path, 0755) == 0 &&
	    (mount_controller(path, controller, follows(controller)) == 0 ||
	     mount_controller(path, controller, "") == 0))
		return true;
	log_debug("cgroup controller %s: %s", controller, strerror(errno));
	(void)rmdir(path);
	return false;
}

/* "NAME HIERARCHY GROUPS ENABLED" for each controller, after a line of titles. */
static unsigned mount_hierarchies(const char *proc_cgroups)
{
	unsigned n = 0;

	for (const char *l = proc_cgroups; l && *l;
	     l = strchr(l, '\n') ? strchr(l, '\n') + 1 : NULL) {
		char name[32];
		int enabled;
		if (sscanf(l, "%31s %*d %*d %d", name, &enabled) == 2 && enabled && name[0] != '#')
			n += mount_hierarchy(name);
	}
	return n;
}

static int mount_cgroups(bool unified, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;

	if (unified || file_read(AT_FDCWD, "/proc/cgroups", 16384, &text) < 0)
		return mount_unified(e);
	if (mount("tmpfs", CGROUP_ROOT, "tmpfs", CGROUP_FLAGS, "mode=755") < 0)
		return err_errno(e, -errno, "mount tmpfs on " CGROUP_ROOT);
	if (mount_hierarchies(text.data) == 0) {
		/* a kernel without version 1 */
		(void)umount(CGROUP_ROOT);
		return mount_unified(e);
	}
	/* since Linux 5.11 it cannot be off */
	(void)file_write(AT_FDCWD, CGROUP_ROOT "/memory/memory.use_hierarchy", "1");
	if (mount(NULL, CGROUP_ROOT, NULL, MS_REMOUNT | MS_RDONLY | CGROUP_FLAGS, "mode=755") < 0)
		return err_errno(e, -errno, "make " CGROUP_ROOT " read-only");
	return 0;
}

static int loopback_up(struct err *e)
{
	struct ifreq ifr = {.ifr_name = "lo"};

	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, -errno, "socket for the loopback interface");
	if (ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
		return err_errno(e, -errno, "read the loopback interface's flags");
	ifr.ifr_flags = (short)(ifr.ifr_flags | IFF_UP | IFF_RUNNING);
	if (ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
		return err_errno(e, -errno, "bring the loopback interface up");
	return 0;
}

static int raise_limits(struct err *e)
{
	const struct rlimit nofile = {.rlim_cur = NOFILE_LIMIT, .rlim_max = NOFILE_LIMIT};

	if (setrlimit(RLIMIT_NOFILE, &nofile) < 0)
		return err_errno(e, -errno, "raise RLIMIT_NOFILE to %d", NOFILE_LIMIT);
	return 0;
}

static int set_hostname(struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	const char *name = "localhost";

	if (file_read(AT_FDCWD, "/etc/hostname", 4096, &text) == 0 && text.len > 0) {
		text.data[strcspn(text.data, " \t\n")] = '\0';
		if (text.data[0])
			name = text.data;
	}
	if (sethostname(name, strlen(name)) < 0)
		return err_errno(e, -errno, "set the host name to %s", name);
	return 0;
}

/* Memory that is plugged in is used at once, without anybody asking for it. */
static int online_memory(struct err *e)
{
	int r = file_write(AT_FDCWD, "/sys/devices/system/memory/auto_online_blocks", "online");
	if (r < 0 && r != -ENOENT) /* a kernel without memory hotplug */
		return err_errno(e, r, "have new memory brought online");
	return 0;
}

static void complain(int r, const struct err *e)
{
	if (r < 0)
		log_error("%s", err_text(e, r));
}

void init_late(bool unified)
{
	static int (*const steps[])(struct err *) = {loopback_up, raise_limits, set_hostname,
						     online_memory};
	struct err e = ERR_INIT;
	complain(mount_cgroups(unified, &e), &e);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		e = ERR_INIT;
		complain(steps[i](&e), &e);
	}
}

void init_power_off(void)
{
	sync();
	(void)reboot(RB_POWER_OFF);
	/* a machine that cannot power off must not end in the kernel's panic over a lost init */
	for (;;)
		(void)pause();
}
