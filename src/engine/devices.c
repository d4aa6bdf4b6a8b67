/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/devices.h"

#include "base/fd.h"
#include "sys/inroot.h"
#include "sys/mountfd.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define PTMX_MAJOR 5
#define PTMX_MINOR 2

#define DEFAULT(p, maj, min)                                                      \
	{                                                                         \
		.path = (char *)(p), .type = 'c', .major = (maj), .minor = (min), \
		.has_mode = true, .has_uid = true, .has_gid = true, .mode = 0666  \
	}

const struct oci_device engine_default_devices[ENGINE_DEFAULT_DEVICES] = {
	DEFAULT("/dev/null", 1, 3),   DEFAULT("/dev/zero", 1, 5),    DEFAULT("/dev/full", 1, 7),
	DEFAULT("/dev/random", 1, 8), DEFAULT("/dev/urandom", 1, 9), DEFAULT("/dev/tty", 5, 0),
};

static const struct {
	const char *path, *target;
	const char *needs; /* only if this exists outside */
} links[] = {
	{"/dev/fd", "/proc/self/fd", NULL},	     {"/dev/stdin", "/proc/self/fd/0", NULL},
	{"/dev/stdout", "/proc/self/fd/1", NULL},    {"/dev/stderr", "/proc/self/fd/2", NULL},
	{"/dev/core", "/proc/kcore", "/proc/kcore"},
};

static mode_t file_type(char type)
{
	switch (type) {
	case 'c':
	case 'u':
		return S_IFCHR;
	case 'b':
		return S_IFBLK;
	case 'p':
		return S_IFIFO;
	default:
		return 0;
	}
}

static bool is_device(const struct stat *st, mode_t type, dev_t rdev)
{
	return (st->st_mode & S_IFMT) == type && (type == S_IFIFO || st->st_rdev == rdev);
}

/* An existing node is kept if it is that device. */
static int make_node(int dir, const char *name, const struct oci_device *d)
{
	mode_t type = file_type(d->type);
	mode_t mode = d->has_mode ? d->mode & 07777 : 0666;
	dev_t rdev = type == S_IFIFO ? 0 : makedev((unsigned)d->major, (unsigned)d->minor);
	if (mknodat(dir, name, type | mode, rdev) < 0) {
		struct stat st;
		if (errno != EEXIST)
			return -errno;
		if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		if (!is_device(&st, type, rdev))
			return -EEXIST;
		if (fchmodat(dir, name, mode, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
	}
	if (fchownat(dir, name, d->has_uid ? d->uid : 0, d->has_gid ? d->gid : 0,
		     AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

/* The outer node of that path, if it is what the spec means. */
static int open_outer(const char *path, const struct oci_device *d)
{
	struct stat st;
	_cleanup_close_ int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!is_device(&st, file_type(d->type), makedev((unsigned)d->major, (unsigned)d->minor)))
		return -ENODEV;
	return TAKE_FD(fd);
}

/* The container may call it by another name than the kernel, which tells its own in sysfs. */
static int open_by_number(const struct oci_device *d)
{
	char path[PATH_MAX];
	_cleanup_buf_ struct buf b = BUF_INIT;
	(void)snprintf(path, sizeof path, "/sys/dev/%s/%u:%u/uevent",
		       file_type(d->type) == S_IFBLK ? "block" : "char", (unsigned)d->major,
		       (unsigned)d->minor);
	int r = file_read(AT_FDCWD, path, 4096, &b);
	const char *name = r == 0 && b.len ? strstr(b.data, "DEVNAME=") : NULL;
	if (!name)
		return -ENODEV;
	name += strlen("DEVNAME=");
	r = path_format(path, sizeof path, "/dev/%.*s", (int)strcspn(name, "\n"), name);
	return r < 0 ? r : open_outer(path, d);
}

static int bind_node(int root_fd, const struct oci_device *d)
{
	_cleanup_close_ int outer = open_outer(d->path, d);
	if (outer < 0)
		outer = open_by_number(d);
	if (outer < 0)
		return outer;
	_cleanup_close_ int mount = mountfd_clone(outer, "", false);
	if (mount < 0)
		return mount;
	/* Nothing that happens to the engine's own /dev is to show. */
	int r = mountfd_set_attr(mount, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0, false);
	if (r == 0)
		r = mountfd_set_propagation(mount, MS_PRIVATE, false);
	if (r < 0)
		return r;
	_cleanup_close_ int target = inroot_mkfile(root_fd, d->path, 0666);
	return target < 0 ? target : mountfd_attach(mount, target);
}

static int make_device(int root_fd, const struct oci_device *d, bool user_ns, struct err *e)
{
	char name[NAME_MAX + 1];
	if (!file_type(d->type))
		return err_set(e, -EINVAL, "device %s: type %c is none of c, b, u, p", d->path,
			       d->type);
	if (d->type != 'p' &&
	    (d->major < 0 || d->minor < 0 || d->major > 0xfff || d->minor > 0xfffff))
		return err_set(e, -EINVAL, "device %s: %lld:%lld is no device number", d->path,
			       (long long)d->major, (long long)d->minor);
	int r;
	if (user_ns && d->type != 'p') {
		r = bind_node(root_fd, d);
	} else {
		_cleanup_close_ int dir = inroot_parent(root_fd, d->path, name);
		r = dir < 0 ? dir : make_node(dir, name, d);
	}
	return r < 0 ? err_errno(e, r, "device %s", d->path) : 0;
}

/* What the image has at that name already stays. */
static int make_links(int root_fd, struct err *e)
{
	char name[NAME_MAX + 1];
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		if (links[i].needs && access(links[i].needs, F_OK) < 0)
			continue;
		_cleanup_close_ int dir = inroot_parent(root_fd, links[i].path, name);
		int r = dir < 0 ? dir : 0;
		if (r == 0 && symlinkat(links[i].target, dir, name) < 0 && errno != EEXIST)
			r = -errno;
		if (r < 0)
			return err_errno(e, r, "link %s", links[i].path);
	}
	return 0;
}

/* The container's own terminals, never the ones of a node that an image brings. */
static int make_ptmx(int root_fd, struct err *e)
{
	char name[NAME_MAX + 1];
	_cleanup_close_ int dir = inroot_parent(root_fd, "/dev/ptmx", name);
	if (dir < 0)
		return err_errno(e, dir, "link /dev/ptmx");
	if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
		return err_errno(e, -errno, "replace /dev/ptmx");
	if (symlinkat("pts/ptmx", dir, name) < 0)
		return err_errno(e, -errno, "link /dev/ptmx");
	return 0;
}

bool engine_devices_wanted(const struct oci_spec *spec)
{
	for (size_t i = 0; i < spec->n_mounts; i++) {
		const struct oci_mount *m = &spec->mounts[i];
		if (strcmp(m->destination, "/dev") != 0 && strcmp(m->destination, "/dev/") != 0)
			continue;
		if (m->type && strcmp(m->type, "bind") == 0)
			return false;
		for (size_t j = 0; j < m->options.n; j++)
			if (strcmp(m->options.v[j], "bind") == 0 ||
			    strcmp(m->options.v[j], "rbind") == 0)
				return false;
	}
	return true;
}

static bool is_engines(const char *path)
{
	return strcmp(path, "/dev/ptmx") == 0 || strcmp(path, "/dev/console") == 0;
}

static bool is_in_spec(const struct oci_spec *spec, const char *path)
{
	for (size_t i = 0; i < spec->n_devices; i++)
		if (strcmp(spec->devices[i].path, path) == 0)
			return true;
	return false;
}

int engine_devices_make(int root_fd, const struct oci_spec *spec, bool user_ns, struct err *e)
{
	for (size_t i = 0; i < ENGINE_DEFAULT_DEVICES; i++) {
		/* The spec may want other owners and rights of them. */
		if (is_in_spec(spec, engine_default_devices[i].path))
			continue;
		int r = make_device(root_fd, &engine_default_devices[i], user_ns, e);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < spec->n_devices; i++) {
		if (is_engines(spec->devices[i].path))
			continue;
		int r = make_device(root_fd, &spec->devices[i], user_ns, e);
		if (r < 0)
			return r;
	}
	int r = make_links(root_fd, e);
	return r < 0 ? r : make_ptmx(root_fd, e);
}

/* A multiplexer of a devpts instance, and nothing that only carries the name. */
static bool is_ptmx(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && is_device(&st, S_IFCHR, makedev(PTMX_MAJOR, PTMX_MINOR)) &&
	       mountfd_is_fs(fd, DEVPTS_SUPER_MAGIC);
}

static int open_pair(int root_fd, int *ret_master, int *ret_slave)
{
	/* Looked at before it is opened for reading: to open a wrong device can have effects. */
	_cleanup_close_ int path = inroot_open(root_fd, "/dev/pts/ptmx", O_PATH | O_NOFOLLOW);
	if (path < 0)
		return path;
	if (!is_ptmx(path))
		return -ENOTTY;
	_cleanup_close_ int master =
		inroot_open(root_fd, "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW);
	if (master < 0)
		return master;
	int unlock = 0;
	if (!is_ptmx(master) || ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return -ENOTTY;
	int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -errno;
	*ret_master = TAKE_FD(master);
	*ret_slave = slave;
	return 0;
}

int engine_terminal_open(int root_fd, const struct oci_process *p, int *ret_master, int *ret_slave,
			 struct err *e)
{
	int r = open_pair(root_fd, ret_master, ret_slave);
	if (r < 0)
		return err_errno(e, r, "open a terminal at the container's /dev/pts/ptmx");
	if (p->console_height || p->console_width) {
		struct winsize w = {.ws_row = (unsigned short)p->console_height,
				    .ws_col = (unsigned short)p->console_width};
		(void)ioctl(*ret_master, TIOCSWINSZ, &w);
	}
	/* Group as devpts gave it (its gid= option): tty. */
	if (fchown(*ret_slave, p->user.uid, (gid_t)-1) < 0 && errno != EPERM && errno != EINVAL)
		return err_errno(e, -errno, "give the terminal to user %u", p->user.uid);
	return 0;
}

/*
 * The file of that name in the container's /dev, and nothing that it leads to: a link there is
 * replaced. What an image has at /dev could lead into a procfs, where a terminal would hide what
 * shows there.
 */
static int open_console(int root_fd)
{
	char name[NAME_MAX + 1];
	struct stat st;
	_cleanup_close_ int dir = inroot_parent(root_fd, "/dev/console", name);
	if (dir < 0)
		return dir;
	if (mountfd_is_fs(dir, PROC_SUPER_MAGIC) || mountfd_is_fs(dir, SYSFS_MAGIC))
		return -EPERM;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode) &&
	    unlinkat(dir, name, 0) < 0)
		return -errno;
	int made = openat(dir, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (made < 0 && errno != EEXIST)
		return -errno;
	(void)close_fd(made);
	_cleanup_close_ int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return S_ISLNK(st.st_mode) ? -ELOOP : TAKE_FD(fd);
}

int engine_terminal_console(int root_fd, int slave, struct err *e)
{
	_cleanup_close_ int target = open_console(root_fd);
	if (target < 0)
		return err_errno(e, target, "make /dev/console");
	_cleanup_close_ int mount = mountfd_clone(slave, "", false);
	int r = mount < 0 ? mount : mountfd_attach(mount, target);
	return r < 0 ? err_errno(e, r, "bind the terminal to /dev/console") : 0;
}
