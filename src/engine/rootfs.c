/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/rootfs.h"

#include "base/fd.h"
#include "sys/mountfd.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>

static const struct {
	const char *name;
	unsigned long flags;
} propagations[] = {
	{"private", MS_PRIVATE},       {"rprivate", MS_PRIVATE | MS_REC},
	{"slave", MS_SLAVE},	       {"rslave", MS_SLAVE | MS_REC},
	{"shared", MS_SHARED},	       {"rshared", MS_SHARED | MS_REC},
	{"unbindable", MS_UNBINDABLE}, {"runbindable", MS_UNBINDABLE | MS_REC},
};

static int parse_propagation(const char *name, unsigned long *ret)
{
	*ret = 0;
	if (!name || !name[0])
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(propagations); i++)
		if (strcmp(propagations[i].name, name) == 0) {
			*ret = propagations[i].flags;
			return 0;
		}
	return -EINVAL;
}

/* pivot_root(2) refuses a root whose parent mount is shared, and a bind there would show outside.
 * The mount that a path is on is found by going up until something is a mount point. */
static int make_parent_private(const char *path)
{
	char copy[PATH_MAX];
	int r = path_format(copy, sizeof copy, "%s", path);
	if (r < 0)
		return r;
	for (char *p = copy;; p = dirname(p)) {
		if (mount(NULL, p, NULL, MS_PRIVATE, NULL) == 0)
			return 0;
		if (errno != EINVAL || strcmp(p, "/") == 0)
			return -errno;
	}
}

/*
 * Where the root is attached: where it is, as hooks expect it. In a user namespace the way there
 * may be closed; then on top of "/", where nobody looks before the pivot.
 */
static int open_place(const struct engine_job *job, struct err *e)
{
	int r = make_parent_private(job->rootfs);
	int fd = r == 0 ? open(job->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC) : -EBADF;
	if (r == 0 && fd < 0)
		r = -errno;
	if (r == -EACCES && job->user_ns) {
		r = mount(NULL, "/", NULL, MS_PRIVATE, NULL) < 0 ? -errno : 0;
		fd = r == 0 ? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) : -EBADF;
		if (r == 0 && fd < 0)
			r = -errno;
	}
	return r < 0 ? err_errno(e, r, "open rootfs %s", job->rootfs) : fd;
}

int engine_rootfs_open(const struct engine_job *job, const struct engine_trees *trees,
		       struct err *e)
{
	unsigned long propagation;
	if (parse_propagation(job->spec.rootfs_propagation, &propagation) < 0)
		return err_set(e, -EINVAL, "rootfsPropagation %s is unknown",
			       job->spec.rootfs_propagation);
	/* Slave unless told otherwise: what the engine mounts later may come in, nothing goes out.
	 * Shared is for containers that are to mount for others. */
	if (mount(NULL, "/", NULL, propagation ? propagation : MS_SLAVE | MS_REC, NULL) < 0)
		return err_errno(e, -errno, "set the propagation of /");
	_cleanup_close_ int place = open_place(job, e);
	if (place < 0)
		return place;
	_cleanup_close_ int tree = trees->root < 0 ? mountfd_clone(place, "", true)
						   : fcntl(trees->root, F_DUPFD_CLOEXEC, 3);
	int r = tree < 0 ? tree : mountfd_attach(tree, place);
	return r < 0 ? err_errno(e, r, "bind rootfs %s", job->rootfs) : TAKE_FD(tree);
}

int engine_rootfs_pivot(int root_fd, const struct engine_job *job, struct err *e)
{
	_cleanup_close_ int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (old < 0)
		return err_errno(e, -errno, "open /");
	if (fchdir(root_fd) < 0)
		return err_errno(e, -errno, "enter rootfs %s", job->rootfs);
	/* The old root ends up on top of the new one, so no directory is needed for it. */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return err_errno(e, -errno, "pivot_root to %s", job->rootfs);
	if (fchdir(old) < 0)
		return err_errno(e, -errno, "enter the old root");
	/* Not to take the engine's own mounts away with it. */
	if (mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		return err_errno(e, -errno, "make the old root a slave");
	if (umount2(".", MNT_DETACH) < 0)
		return err_errno(e, -errno, "detach the old root");
	if (chdir("/") < 0)
		return err_errno(e, -errno, "enter /");

	unsigned long propagation;
	if (parse_propagation(job->spec.rootfs_propagation, &propagation) == 0 && propagation &&
	    mount(NULL, "/", NULL, propagation, NULL) < 0)
		return err_errno(e, -errno, "set the propagation of the rootfs");
	if (!job->spec.root_readonly)
		return 0;
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	if (mount_setattr(AT_FDCWD, "/", 0, &attr, sizeof attr) < 0)
		return err_errno(e, -errno, "make the rootfs read-only");
	return 0;
}
