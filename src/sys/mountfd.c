/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/mountfd.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* The first line of the context's log, without its class letter ("e ", "w ", "i "). */
static void read_log(int fs_fd, char *ret, size_t size)
{
	ret[0] = '\0';
	ssize_t n = read(fs_fd, ret, size - 1);
	if (n <= 2) {
		ret[0] = '\0';
		return;
	}
	ret[n] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	memmove(ret, ret + 2, strlen(ret + 2) + 1);
}

static int fail(int fs_fd, int r, struct err *e, const char *fstype, const char *what,
		const char *detail)
{
	char log[256];
	read_log(fs_fd, log, sizeof log);
	err_errno(e, r, "%s: %s %s", fstype, what, detail ? detail : "");
	return log[0] ? err_wrap(e, r, "%s", log) : r;
}

static int configure(int fs_fd, const char *fstype, const struct mountfd_option *o, struct err *e)
{
	int r = o->value ? fsconfig(fs_fd, FSCONFIG_SET_STRING, o->key, o->value, 0)
			 : fsconfig(fs_fd, FSCONFIG_SET_FLAG, o->key, NULL, 0);
	return r < 0 ? fail(fs_fd, -errno, e, fstype, "option", o->key) : 0;
}

int mountfd_open(const char *fstype, const char *source, const struct mountfd_option *options,
		 size_t n_options, struct err *e)
{
	_cleanup_close_ int fs_fd = fsopen(fstype, FSOPEN_CLOEXEC);
	if (fs_fd < 0)
		return err_errno(e, -errno, "filesystem type %s", fstype);
	if (source && fsconfig(fs_fd, FSCONFIG_SET_STRING, "source", source, 0) < 0)
		return fail(fs_fd, -errno, e, fstype, "source", source);
	for (size_t i = 0; i < n_options; i++) {
		int r = configure(fs_fd, fstype, &options[i], e);
		if (r < 0)
			return r;
	}
	return TAKE_FD(fs_fd);
}

int mountfd_make(int fs_fd, const char *fstype, uint64_t attr, struct err *e)
{
	if (fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return fail(fs_fd, -errno, e, fstype, "make", "an instance");
	int fd = fsmount(fs_fd, FSMOUNT_CLOEXEC, (unsigned)attr);
	return fd < 0 ? fail(fs_fd, -errno, e, fstype, "mount", "") : fd;
}

int mountfd_new(const char *fstype, const char *source, const struct mountfd_option *options,
		size_t n_options, uint64_t attr, struct err *e)
{
	_cleanup_close_ int fs_fd = mountfd_open(fstype, source, options, n_options, e);
	return fs_fd < 0 ? fs_fd : mountfd_make(fs_fd, fstype, attr, e);
}

int mountfd_clone(int dir_fd, const char *path, bool recursive)
{
	unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
	if (!path[0])
		flags |= AT_EMPTY_PATH;
	if (recursive)
		flags |= AT_RECURSIVE;
	int fd = open_tree(dir_fd, path, flags);
	return fd < 0 ? -errno : fd;
}

int mountfd_set_attr(int mount_fd, uint64_t set, uint64_t clear, bool recursive)
{
	if (!set && !clear)
		return 0;
	/* The access-time setting is a number, not a bit: to set one is to clear the old one. */
	if (set & MOUNT_ATTR__ATIME || clear & MOUNT_ATTR__ATIME)
		clear |= MOUNT_ATTR__ATIME;
	struct mount_attr attr = {.attr_set = set, .attr_clr = clear};
	unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
	return mount_setattr(mount_fd, "", flags, &attr, sizeof attr) < 0 ? -errno : 0;
}

int mountfd_set_idmap(int mount_fd, int userns_fd, bool recursive)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd};
	unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
	return mount_setattr(mount_fd, "", flags, &attr, sizeof attr) < 0 ? -errno : 0;
}

int mountfd_set_propagation(int mount_fd, unsigned long propagation, bool recursive)
{
	struct mount_attr attr = {.propagation = propagation};
	unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
	return mount_setattr(mount_fd, "", flags, &attr, sizeof attr) < 0 ? -errno : 0;
}

int mountfd_attach(int mount_fd, int target_fd)
{
	return move_mount(mount_fd, "", target_fd, "",
			  MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0
		       ? -errno
		       : 0;
}

bool mountfd_is_fs(int fd, unsigned long magic)
{
	struct statfs st;
	return fstatfs(fd, &st) == 0 && (unsigned long)st.f_type == magic;
}
