/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/rootfs.h"

#include "base/fd.h"
#include "engine/mount-options.h"
#include "sys/inroot.h"
#include "sys/mountfd.h"

#include <fcntl.h>
#include <libgen.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

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

int engine_rootfs_open(const struct engine_job *job, struct err *e)
{
	unsigned long propagation;
	if (parse_propagation(job->spec.rootfs_propagation, &propagation) < 0)
		return err_set(e, -EINVAL, "rootfsPropagation %s is unknown",
			       job->spec.rootfs_propagation);
	/* Slave unless told otherwise: what the engine mounts later may come in, nothing goes out.
	 * Shared is for containers that are to mount for others. */
	if (mount(NULL, "/", NULL, propagation ? propagation : MS_SLAVE | MS_REC, NULL) < 0)
		return err_errno(e, -errno, "set the propagation of /");
	int r = make_parent_private(job->rootfs);
	if (r < 0)
		return err_errno(e, r, "make the mount of %s private", job->rootfs);
	if (mount(job->rootfs, job->rootfs, NULL, MS_BIND | MS_REC, NULL) < 0)
		return err_errno(e, -errno, "bind rootfs %s", job->rootfs);
	int fd = open(job->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_errno(e, -errno, "open rootfs %s", job->rootfs) : fd;
}

/* ---- one mount */

struct mount_job {
	int root_fd;
	const struct engine_job *job;
	const struct oci_mount *m;
	const char *type;
	struct engine_mount_options options;
};

/* What may be bound over single files of /proc: those that tools like lxcfs provide. */
static bool proc_file_allowed(const char *path)
{
	static const char *const allowed[] = {
		"proc/cpuinfo",
		"proc/diskstats",
		"proc/meminfo",
		"proc/stat",
		"proc/swaps",
		"proc/uptime",
		"proc/loadavg",
		"proc/slabinfo",
		"proc/net/dev",
		"proc/sys/kernel/ns_last_pid",
		"proc/sys/crypto/fips_enabled",
	};
	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++)
		if (strcmp(path, allowed[i]) == 0)
			return true;
	return false;
}

/*
 * The destination, made if missing. Mounts that hide parts of /proc could undo masks, or fake what
 * the process writes there, so only the allowed files can be one. The test is of the file that was
 * opened: a link that somebody changes meanwhile gains nothing.
 */
static int open_in_proc(const struct mount_job *j, struct err *e)
{
	char path[PATH_MAX];
	int r = inroot_resolve(j->root_fd, j->m->destination, path);
	if (r < 0)
		return err_errno(e, r, "mount %s", j->m->destination);
	if (!proc_file_allowed(path))
		return err_set(e, -EPERM, "mount %s: nothing may be mounted inside /proc",
			       j->m->destination);
	r = inroot_open(j->root_fd, path, O_PATH | O_NOFOLLOW);
	return r < 0 ? err_errno(e, r, "mount %s", j->m->destination) : r;
}

#define PROC_ROOT_INO 1 /* linux/proc_fs.h */

static int open_target(const struct mount_job *j, bool directory, struct err *e)
{
	const char *path = j->m->destination;
	_cleanup_close_ int fd = inroot_open(j->root_fd, path, O_PATH);
	if (fd == -ENOENT || fd == -ENOTDIR)
		fd = directory ? inroot_mkdir(j->root_fd, path, 0755)
			       : inroot_mkfile(j->root_fd, path, 0644);
	struct stat st, root;
	if (fd < 0 || fstat(fd, &st) < 0 || fstat(j->root_fd, &root) < 0)
		return err_errno(e, fd < 0 ? fd : -errno, "mount %s: make the destination", path);
	if (mountfd_is_fs(fd, PROC_SUPER_MAGIC) && st.st_ino != PROC_ROOT_INO)
		return open_in_proc(j, e);
	if (st.st_dev == root.st_dev && st.st_ino == root.st_ino)
		return err_set(e, -EINVAL, "mount %s: the root itself cannot be a destination",
			       path);
	return TAKE_FD(fd);
}

/* The flags that are for the tree come after those for its top, and after the attachment does
 * the propagation. */
static int finish(const struct mount_job *j, int mount_fd, int target, struct err *e)
{
	const struct engine_mount_options *o = &j->options;
	int r = mountfd_set_attr(mount_fd, o->rec_set, o->rec_clear, true);
	if (r < 0)
		return err_errno(e, r, "mount %s: set recursive flags", j->m->destination);
	r = mountfd_attach(mount_fd, target);
	if (r < 0)
		return err_errno(e, r, "mount %s", j->m->destination);
	if (o->propagation)
		r = mountfd_set_propagation(mount_fd, o->propagation, o->propagation_recursive);
	if (r < 0)
		return err_errno(e, r, "mount %s: set the propagation", j->m->destination);
	return 0;
}

static int bind(const struct mount_job *j, const char *source, struct err *e)
{
	const struct engine_mount_options *o = &j->options;
	struct stat st;
	if (source[0] != '/')
		return err_set(e, -EINVAL, "mount %s: source %s is not an absolute path",
			       j->m->destination, source);
	_cleanup_close_ int mount_fd = mountfd_clone(AT_FDCWD, source, o->recursive);
	if (mount_fd < 0)
		return err_errno(e, mount_fd, "mount %s: source %s", j->m->destination, source);
	if (fstat(mount_fd, &st) < 0)
		return err_errno(e, -errno, "mount %s: source %s", j->m->destination, source);
	/* A bind is never looser than its source: "rw" and "exec" are not taken back here, only
	 * the access time is a matter of taste. */
	int r = mountfd_set_attr(mount_fd, o->attr_set, o->attr_clear & MOUNT_ATTR__ATIME, false);
	if (r < 0)
		return err_errno(e, r, "mount %s: set flags", j->m->destination);
	_cleanup_close_ int target = open_target(j, S_ISDIR(st.st_mode), e);
	return target < 0 ? target : finish(j, mount_fd, target, e);
}

/* These have one instance for all of a namespace, which a read-only mount must not make so. */
static bool is_singleton(const char *type)
{
	static const char *const types[] = {"proc",   "sysfs",	 "cgroup2", "mqueue",
					    "devpts", "debugfs", "tracefs", "securityfs"};
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (strcmp(types[i], type) == 0)
			return true;
	return false;
}

/* mount(2) takes a page of options where fsconfig(2) takes 255 bytes of each. */
static int mount_long(const struct mount_job *j, int target, struct err *e)
{
	static const struct {
		uint64_t attr;
		unsigned long flag;
	} flags[] = {
		{MOUNT_ATTR_RDONLY, MS_RDONLY},		{MOUNT_ATTR_NOSUID, MS_NOSUID},
		{MOUNT_ATTR_NODEV, MS_NODEV},		{MOUNT_ATTR_NOEXEC, MS_NOEXEC},
		{MOUNT_ATTR_NOATIME, MS_NOATIME},	{MOUNT_ATTR_STRICTATIME, MS_STRICTATIME},
		{MOUNT_ATTR_NODIRATIME, MS_NODIRATIME},
	};
	const struct engine_mount_options *o = &j->options;
	_cleanup_buf_ struct buf data = BUF_INIT;
	for (size_t i = 0; i < o->n_data; i++)
		buf_printf(&data, "%s%s%s%s", i ? "," : "", o->data[i].key,
			   o->data[i].value ? "=" : "", o->data[i].value ? o->data[i].value : "");
	unsigned long f = 0;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (o->attr_set & flags[i].attr)
			f |= flags[i].flag;
	char path[64];
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", target);
	if (buf_failed(&data))
		return err_errno(e, -ENOMEM, "mount %s", j->m->destination);
	if (mount(j->m->source ? j->m->source : j->type, path, j->type, f, data.data) < 0)
		return err_errno(e, -errno, "mount %s: %s", j->m->destination, j->type);
	_cleanup_close_ int mounted = inroot_open(j->root_fd, j->m->destination, O_PATH);
	if (mounted < 0)
		return err_errno(e, mounted, "mount %s", j->m->destination);
	int r = o->propagation
			? mountfd_set_propagation(mounted, o->propagation, o->propagation_recursive)
			: 0;
	return r < 0 ? err_errno(e, r, "mount %s: set the propagation", j->m->destination) : 0;
}

/* In a user namespace without the network's owner sysfs cannot be made, but shown. */
static int bind_sysfs(struct mount_job *j, struct err *e)
{
	j->options.recursive = true;
	j->options.attr_set |= MOUNT_ATTR_RDONLY;
	j->options.rec_set |= MOUNT_ATTR_RDONLY;
	return bind(j, "/sys", e);
}

static int mount_new(struct mount_job *j, struct err *e)
{
	struct engine_mount_options *o = &j->options;
	_cleanup_close_ int target = open_target(j, true, e);
	if (target < 0)
		return target;
	if (o->data_too_long)
		return mount_long(j, target, e);

	struct mountfd_option data[MOUNT_OPTIONS_MAX + 1];
	size_t n = o->n_data;
	if (n)
		memcpy(data, o->data, n * sizeof data[0]);
	if (o->attr_set & MOUNT_ATTR_RDONLY && !is_singleton(j->type))
		data[n++] = (struct mountfd_option){.key = "ro"};
	_cleanup_close_ int mount_fd = mountfd_new(j->type, j->m->source ? j->m->source : j->type,
						   data, n, o->attr_set, e);
	if (mount_fd == -EPERM && j->job->user_ns && strcmp(j->type, "sysfs") == 0)
		return bind_sysfs(j, e);
	if (mount_fd < 0)
		return err_wrap(e, mount_fd, "mount %s", j->m->destination);
	return finish(j, mount_fd, target, e);
}

/* The container's own part of the hierarchy: by its namespace, or by a bind of its directory.
 * Without a hierarchy an empty directory, so that no other one shows through. */
static int mount_cgroup(struct mount_job *j, struct err *e)
{
	j->options.n_data = 0; /* options of version 1 */
	j->options.data_too_long = false;
	if (!j->job->cgroup_dir) {
		j->type = "tmpfs";
		j->options.attr_set |= MOUNT_ATTR_RDONLY;
		return mount_new(j, e);
	}
	if (!j->job->new_cgroup_ns)
		return bind(j, j->job->cgroup_dir, e);
	j->type = "cgroup2";
	return mount_new(j, e);
}

static int remount(const struct mount_job *j, struct err *e)
{
	const struct engine_mount_options *o = &j->options;
	_cleanup_close_ int fd = inroot_open(j->root_fd, j->m->destination, O_PATH);
	int r = fd < 0 ? fd : mountfd_set_attr(fd, o->attr_set, o->attr_clear, false);
	if (r == 0)
		r = mountfd_set_attr(fd, o->rec_set, o->rec_clear, true);
	if (r == 0 && o->propagation)
		r = mountfd_set_propagation(fd, o->propagation, o->propagation_recursive);
	return r < 0 ? err_errno(e, r, "remount %s", j->m->destination) : 0;
}

static int mount_by_type(struct mount_job *j, struct err *e)
{
	if (j->options.remount)
		return remount(j, e);
	if (j->options.bind || strcmp(j->type, "bind") == 0) {
		if (!j->m->source)
			return err_set(e, -EINVAL, "mount %s: a bind needs a source",
				       j->m->destination);
		return bind(j, j->m->source, e);
	}
	if (strcmp(j->type, "cgroup") == 0 || strcmp(j->type, "cgroup2") == 0)
		return mount_cgroup(j, e);
	if (!j->type[0])
		return err_set(e, -EINVAL, "mount %s: neither a type nor a bind",
			       j->m->destination);
	return mount_new(j, e);
}

int engine_rootfs_mounts(int root_fd, const struct engine_job *job, struct err *e)
{
	for (size_t i = 0; i < job->spec.n_mounts; i++) {
		const struct oci_mount *m = &job->spec.mounts[i];
		struct mount_job j = {
			.root_fd = root_fd, .job = job, .m = m, .type = m->type ? m->type : ""};
		int r = engine_mount_options_parse(&m->options, &j.options, e);
		if (r < 0)
			return err_wrap(e, r, "mount %s", m->destination);
		r = mount_by_type(&j, e);
		engine_mount_options_free(&j.options);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- masks */

static int mask_directory(int target, struct err *e)
{
	static const struct mountfd_option options[] = {{"nr_blocks", "1"}, {"nr_inodes", "1"}};
	_cleanup_close_ int fd =
		mountfd_new("tmpfs", "tmpfs", options, ARRAY_SIZE(options), MOUNT_ATTR_RDONLY, e);
	if (fd < 0)
		return fd;
	int r = mountfd_attach(fd, target);
	return r < 0 ? err_errno(e, r, "attach an empty directory") : 0;
}

static int mask_file(int null_fd, int target, struct err *e)
{
	_cleanup_close_ int fd = mountfd_clone(null_fd, "", false);
	int r = fd < 0 ? fd : mountfd_attach(fd, target);
	return r < 0 ? err_errno(e, r, "attach /dev/null") : 0;
}

/* What is not there needs no mask. */
static int mask(int root_fd, int null_fd, const char *path, struct err *e)
{
	struct stat st;
	_cleanup_close_ int target = inroot_open(root_fd, path, O_PATH);
	if (target == -ENOENT || target == -ENOTDIR)
		return 0;
	if (target < 0 || fstat(target, &st) < 0)
		return err_errno(e, target < 0 ? target : -errno, "mask %s", path);
	int r = S_ISDIR(st.st_mode) ? mask_directory(target, e) : mask_file(null_fd, target, e);
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

int engine_rootfs_mask(int root_fd, const struct engine_job *job, struct err *e)
{
	/* The engine's own device: one of the container's could be anything. */
	struct stat st;
	_cleanup_close_ int null_fd = open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (null_fd < 0 || fstat(null_fd, &st) < 0)
		return err_errno(e, -errno, "open /dev/null");
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		return err_set(e, -ENODEV, "/dev/null is not the null device");

	int r = 0;
	for (size_t i = 0; r == 0 && i < job->spec.readonly_paths.n; i++)
		r = make_readonly(root_fd, job->spec.readonly_paths.v[i], e);
	for (size_t i = 0; r == 0 && i < job->spec.masked_paths.n; i++)
		r = mask(root_fd, null_fd, job->spec.masked_paths.v[i], e);
	return r;
}

/* ---- pivot */

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
