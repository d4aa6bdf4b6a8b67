/* SPDX-License-Identifier: Apache-2.0 */
/* What the drivers of storages share: options, mount points, mounts. */
#include "base/fd.h"
#include "guest/agent/storage-driver.h"
#include "sys/mountfd.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

static int parse_id(const char *text, int base, unsigned long max, unsigned long *ret)
{
	char *end;

	errno = 0;
	*ret = strtoul(text, &end, base);
	return *text < '0' || *text > '9' || *end || errno || *ret > max ? -EINVAL : 0;
}

int storage_split_options(const Grpc__Storage *s, bool with_mode, struct storage_own_options *own,
			  struct oci_strv *rest, struct err *e)
{
	unsigned long n;

	rest->v = calloc(s->n_options + 1, sizeof *rest->v);
	if (!rest->v)
		return err_set(e, -ENOMEM, "no memory for mount options");
	for (size_t i = 0; i < s->n_options; i++) {
		const char *o = s->options[i];
		if (strncmp(o, "fsgid=", 6) == 0) {
			if (parse_id(o + 6, 10, UINT32_MAX - 1, &n) < 0)
				return err_set(e, -EINVAL, "option %s: not a group id", o);
			own->has_gid = true;
			own->gid = (gid_t)n;
		} else if (with_mode && strncmp(o, "mode=", 5) == 0) {
			if (parse_id(o + 5, 8, 07777, &n) < 0)
				return err_set(e, -EINVAL, "option %s: not an octal mode", o);
			own->has_mode = true;
			own->mode = (mode_t)n;
		} else {
			rest->v[rest->n++] = s->options[i];
		}
	}
	return 0;
}

/* Group and mode go on by descriptor: the path may lie in a share that others write to. */
int storage_apply_own(int fd, const struct storage_own_options *own, const char *path,
		      struct err *e)
{
	struct stat st;

	if (own->has_mode && fchmod(fd, own->mode) < 0)
		return err_errno(e, -errno, "set mode %o on %s", own->mode, path);
	if (!own->has_gid)
		return 0;
	if (fchown(fd, (uid_t)-1, own->gid) < 0)
		return err_errno(e, -errno, "give %s to group %u", path, own->gid);
	if (fstat(fd, &st) < 0 || fchmod(fd, (st.st_mode & 07777) | S_ISGID) < 0)
		return err_errno(e, -errno, "set the group bit on %s", path);
	return 0;
}

int storage_make_mount_point(struct storage *to, bool file, struct err *e)
{
	_cleanup_free_ char *parent = strdup(to->mount_point);
	struct stat st;

	if (!parent)
		return err_set(e, -ENOMEM, "no memory for a path");
	if (lstat(to->mount_point, &st) == 0)
		return 0;
	*strrchr(parent, '/') = '\0';
	int r = *parent ? mkdir_parents(parent, 0755) : 0;
	if (r < 0)
		return err_errno(e, r, "make directory %s", parent);
	if (file) {
		int fd = open(to->mount_point, O_CREAT | O_EXCL | O_CLOEXEC | O_WRONLY, 0644);
		if (fd < 0)
			return err_errno(e, -errno, "make file %s", to->mount_point);
		(void)close(fd);
		return 0;
	}
	if (mkdir(to->mount_point, 0755) < 0 && errno != EEXIST)
		return err_errno(e, -errno, "make directory %s", to->mount_point);
	to->made_dir = true;
	return 0;
}

int storage_attach(int mount_fd, struct storage *to, const struct storage_own_options *own,
		   struct err *e)
{
	_cleanup_close_ int target = open(to->mount_point, O_PATH | O_CLOEXEC | O_NOFOLLOW);
	if (target < 0)
		return err_errno(e, -errno, "open mount point %s", to->mount_point);
	int r = mountfd_attach(mount_fd, target);
	if (r < 0)
		return err_errno(e, r, "mount on %s", to->mount_point);
	to->mounted = true;
	if (!own->has_gid && !own->has_mode)
		return 0;
	_cleanup_close_ int top = open(to->mount_point, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (top < 0)
		return err_errno(e, -errno, "open %s", to->mount_point);
	return storage_apply_own(top, own, to->mount_point, e);
}

int storage_mount_filesystem(const struct storage_env *env, const struct storage_request *q,
			     const char *fstype, const char *source, struct storage *to,
			     struct err *e)
{
	const Grpc__Storage *s = q->s;
	_cleanup_(engine_mount_options_free) struct engine_mount_options o =
		ENGINE_MOUNT_OPTIONS_INIT;
	_cleanup_(cleanup_strv_frame) struct oci_strv rest = {.v = NULL};
	struct storage_own_options own = {.has_gid = false};

	int r = storage_split_options(s, false, &own, &rest, e);
	if (r == 0)
		r = engine_mount_options_parse(&rest, &o, e);
	if (r == 0)
		r = storage_make_mount_point(to, false, e);
	/* the superblock too: a disk that cannot be written to is not opened for writing */
	if (r == 0 && source && o.attr_set & MOUNT_ATTR_RDONLY && o.n_data < MOUNT_OPTIONS_MAX)
		o.data[o.n_data++] = (struct mountfd_option){.key = "ro"};
	if (r < 0)
		return r;
	modules_for_filesystem(env->modules, fstype);
	_cleanup_close_ int fd =
		mountfd_new(fstype, source ? source : s->source, o.data, o.n_data, o.attr_set, e);
	if (fd < 0)
		return fd;
	return storage_attach(fd, to, &own, e);
}
