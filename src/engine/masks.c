/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/rootfs.h"

#include "sys/inroot.h"
#include "sys/mountfd.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* What is attached over masked paths. */
struct covers {
	const char *label; /* for directories; or NULL */
	int null;	   /* the engine's own device: one of the container's could be anything */
	int empty;	   /* a directory, once there has been one to mask; owned */
};

/* One filesystem for all. A detached mount cannot be copied, but one that is attached can. */
static int copy_empty(const struct covers *c, struct err *e)
{
	const struct mountfd_option options[] = {
		{"nr_blocks", "1"}, {"nr_inodes", "1"}, {"context", c->label}};
	if (c->empty < 0)
		return mountfd_new("tmpfs", "tmpfs", options, c->label ? 3 : 2, MOUNT_ATTR_RDONLY,
				   e);
	_cleanup_close_ int fd = mountfd_clone(c->empty, "", false);
	int r = fd < 0 ? fd : mountfd_set_propagation(fd, MS_PRIVATE, false);
	return r < 0 ? err_errno(e, r, "copy an empty directory") : TAKE_FD(fd);
}

static int mask_directory(struct covers *c, int target, struct err *e)
{
	_cleanup_close_ int fd = copy_empty(c, e);
	if (fd < 0)
		return fd;
	int r = mountfd_attach(fd, target);
	if (r < 0)
		return err_errno(e, r, "attach an empty directory");
	if (c->empty < 0)
		c->empty = TAKE_FD(fd);
	return 0;
}

static int mask_file(int null_fd, int target, struct err *e)
{
	_cleanup_close_ int fd = mountfd_clone(null_fd, "", false);
	int r = fd < 0 ? fd : mountfd_set_attr(fd, MOUNT_ATTR_RDONLY, 0, false);
	if (r == 0) /* not a slave of the engine's /dev */
		r = mountfd_set_propagation(fd, MS_PRIVATE, false);
	if (r == 0)
		r = mountfd_attach(fd, target);
	return r < 0 ? err_errno(e, r, "attach /dev/null") : 0;
}

/* What is not there needs no mask. */
static int mask(int root_fd, struct covers *c, const char *path, struct err *e)
{
	struct stat st;
	_cleanup_close_ int target = inroot_open(root_fd, path, O_PATH);
	if (target == -ENOENT || target == -ENOTDIR)
		return 0;
	if (target < 0 || fstat(target, &st) < 0)
		return err_errno(e, target < 0 ? target : -errno, "mask %s", path);
	int r = S_ISDIR(st.st_mode) ? mask_directory(c, target, e) : mask_file(c->null, target, e);
	return r < 0 ? err_wrap(e, r, "mask %s", path) : 0;
}

static int make_readonly(int root_fd, const char *path, struct err *e)
{
	_cleanup_close_ int target = inroot_open(root_fd, path, O_PATH);
	if (target == -ENOENT || target == -ENOTDIR)
		return 0;
	_cleanup_close_ int fd = target < 0 ? target : mountfd_clone(target, "", true);
	int r = fd < 0 ? fd : mountfd_set_attr(fd, MOUNT_ATTR_RDONLY, 0, true);
	if (r == 0)
		r = mountfd_attach(fd, target);
	return r < 0 ? err_errno(e, r, "make %s read-only", path) : 0;
}

static int open_null(struct err *e)
{
	struct stat st;
	_cleanup_close_ int fd = open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, -errno, "open /dev/null");
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		return err_set(e, -ENODEV, "/dev/null is not the null device");
	return TAKE_FD(fd);
}

int engine_rootfs_mask(int root_fd, const struct engine_job *job, struct err *e)
{
	_cleanup_close_ int null = open_null(e);
	const char *label = job->spec.mount_label;
	struct covers c = {
		.label = label && label[0] ? label : NULL, .null = null, .empty = -EBADF};
	int r = null < 0 ? null : 0;
	for (size_t i = 0; r == 0 && i < job->spec.readonly_paths.n; i++)
		r = make_readonly(root_fd, job->spec.readonly_paths.v[i], e);
	for (size_t i = 0; r == 0 && i < job->spec.masked_paths.n; i++)
		r = mask(root_fd, &c, job->spec.masked_paths.v[i], e);
	(void)close_fd(c.empty);
	return r;
}
