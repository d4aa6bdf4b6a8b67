/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/mounts.h"

#include "base/fd.h"
#include "engine/kernel.h"
#include "engine/rootfs.h"
#include "sys/cgroup.h"
#include "sys/inroot.h"
#include "sys/mountfd.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>

/* The flags that are for the tree come after those for its top, and after the attachment does
 * the propagation. */
static int finish(const struct engine_mount *j, int mount_fd, int target, struct err *e)
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

#define PROC_ROOT_INO 1 /* linux/proc_fs.h */

/* Of what kind is the file that will be seen? */
static enum engine_mount_kind kind_of(int mount_fd, const struct stat *st)
{
	if (!S_ISDIR(st->st_mode))
		return ENGINE_MOUNT_FILE;
	return mountfd_is_fs(mount_fd, PROC_SUPER_MAGIC) && st->st_ino == PROC_ROOT_INO
		       ? ENGINE_MOUNT_PROC
		       : ENGINE_MOUNT_DIRECTORY;
}

static int bind(const struct engine_mount *j, const char *source, struct err *e)
{
	const struct engine_mount_options *o = &j->options;
	struct stat st;
	_cleanup_close_ int own =
		j->tree < 0 ? engine_trees_source(j->job->bundle, source, o->recursive) : -EBADF;
	int mount_fd = j->tree < 0 ? own : j->tree;
	if (mount_fd < 0)
		return err_errno(e, mount_fd, "mount %s: source %s", j->m->destination, source);
	if (fstat(mount_fd, &st) < 0)
		return err_errno(e, -errno, "mount %s: source %s", j->m->destination, source);
	/* A bind is never looser than its source: "rw" and "exec" are not taken back here, only
	 * the access time is a matter of taste. */
	int r = mountfd_set_attr(mount_fd, o->attr_set, o->attr_clear & MOUNT_ATTR__ATIME, false);
	if (r < 0)
		return err_errno(e, r, "mount %s: set flags", j->m->destination);
	_cleanup_close_ int target = engine_mount_target(j, kind_of(mount_fd, &st), e);
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

/* The kernel labels proc and sysfs itself, and what is there once for all has its label already.
 * The queues' folder is such a one, too, but each namespace has its own: label_queues(). Options of
 * the mount itself count more. */
static const char *label_of(const struct engine_mount *j)
{
	const struct engine_mount_options *o = &j->options;
	const char *label = j->job->spec.mount_label;
	if (!label || !label[0] || (is_singleton(j->type) && strcmp(j->type, "devpts") != 0))
		return NULL;
	for (size_t i = 0; i < o->n_data; i++) {
		size_t n = strlen(o->data[i].key);
		if (n >= 7 && strcmp(o->data[i].key + n - 7, "context") == 0)
			return NULL;
	}
	return label;
}

static bool has_labelled_queues(const struct engine_mount *j)
{
	const char *label = j->job->spec.mount_label;
	return label && label[0] && strcmp(j->type, "mqueue") == 0;
}

static int label_queues(const struct engine_mount *j, int mount_fd, struct err *e)
{
	const char *label = j->job->spec.mount_label;
	char path[64];
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", mount_fd);
	if (setxattr(path, "security.selinux", label, strlen(label) + 1, 0) < 0)
		return err_errno(e, -errno, "mount %s: label it %s", j->m->destination, label);
	return 0;
}

/* mount(2) takes a page of options where fsconfig(2) takes 255 bytes of each. */
static int mount_long(const struct engine_mount *j, int target, struct err *e)
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
	if (o->copy_up)
		return err_set(e, -EINVAL, "mount %s: tmpcopyup with an option that is too long",
			       j->m->destination);
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
	/* copy_mount_options() of fs/namespace.c takes a page, and cuts what is longer. */
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	_cleanup_free_ char *all = malloc(page);
	int labelled = !all ? -ENOMEM : engine_mount_label_data(data.data, label_of(j), all, page);
	if (labelled == -ENAMETOOLONG)
		return err_set(e, -E2BIG, "mount %s: the options have %zu bytes: at most %zu",
			       j->m->destination, data.len, page - 1);
	if (labelled < 0)
		return err_errno(e, labelled, "mount %s: mountLabel", j->m->destination);
	if (mount(j->m->source ? j->m->source : j->type, path, j->type, f, all) < 0)
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
static int bind_sysfs(struct engine_mount *j, struct err *e)
{
	j->options.recursive = true;
	j->options.attr_set |= MOUNT_ATTR_RDONLY;
	j->options.rec_set |= MOUNT_ATTR_RDONLY;
	return bind(j, "/sys", e);
}

/* Devices, links and mounts come into it before it may be read-only. */
static bool is_for_devices(const struct oci_mount *m)
{
	return strcmp(m->destination, "/dev") == 0 || strcmp(m->destination, "/dev/") == 0;
}

/* Is something written to the new filesystem? It is read-only only afterwards. */
static bool is_changed(const struct engine_mount *j)
{
	return j->options.copy_up || has_labelled_queues(j) || is_for_devices(j->m);
}

static bool has_option(const struct engine_mount_options *o, const char *key)
{
	for (size_t i = 0; i < o->n_data; i++)
		if (strcmp(o->data[i].key, key) == 0)
			return true;
	return false;
}

/* "tmpcopyup": it begins with what it hides; but what the options say of its top counts. */
static int copy_up(const struct engine_mount *j, int mount_fd, int target, struct err *e)
{
	const struct engine_mount_options *o = &j->options;
	struct stat st;
	if (fstat(mount_fd, &st) < 0)
		return err_errno(e, -errno, "look at it");
	int r = engine_copy_up(target, mount_fd, e);
	if (r < 0)
		return r;
	if (fchownat(mount_fd, ".", has_option(o, "uid") ? st.st_uid : (uid_t)-1,
		     has_option(o, "gid") ? st.st_gid : (gid_t)-1, 0) < 0)
		return err_errno(e, -errno, "set the owner");
	if (has_option(o, "mode") && fchmodat(mount_fd, ".", st.st_mode & 07777, 0) < 0)
		return err_errno(e, -errno, "set the mode");
	return 0;
}

static int change(const struct engine_mount *j, int mount_fd, int target, struct err *e)
{
	int r = has_labelled_queues(j) ? label_queues(j, mount_fd, e) : 0;
	if (r < 0)
		return r;
	r = j->options.copy_up ? copy_up(j, mount_fd, target, e) : 0;
	if (r < 0)
		return err_wrap(e, r, "mount %s: tmpcopyup", j->m->destination);
	if (is_for_devices(j->m))
		return 0; /* see engine_rootfs_finish() */
	r = mountfd_set_attr(mount_fd, j->options.attr_set & MOUNT_ATTR_RDONLY, 0, false);
	return r < 0 ? err_errno(e, r, "mount %s: make it read-only", j->m->destination) : 0;
}

/* It shows a namespace that may belong to another user namespace than the container's. */
static bool is_of_namespace(const struct engine_mount *j)
{
	return j->job->user_ns && (strcmp(j->type, "proc") == 0 || strcmp(j->type, "mqueue") == 0 ||
				   strcmp(j->type, "cgroup2") == 0);
}

static int make_by_engine(const struct engine_mount *j, int fs_fd, uint64_t attr, struct err *e)
{
	_cleanup_close_ int fd = engine_trees_ask(j->trees, fs_fd);
	int r = fd < 0 ? fd : mountfd_set_attr(fd, attr, 0, false);
	return r < 0 ? err_errno(e, r, "%s of another user namespace", j->type) : TAKE_FD(fd);
}

/* Made, with all but the flags for the tree. Returns the detached mount. */
static int make_new(const struct engine_mount *j, struct err *e)
{
	const struct engine_mount_options *o = &j->options;
	struct mountfd_option data[MOUNT_OPTIONS_MAX + 2];
	const char *label = label_of(j);
	size_t n = o->n_data;
	uint64_t attr = o->attr_set;
	if (n)
		memcpy(data, o->data, n * sizeof data[0]);
	if (is_changed(j))
		attr &= ~(uint64_t)MOUNT_ATTR_RDONLY;
	else if (attr & MOUNT_ATTR_RDONLY && !is_singleton(j->type))
		data[n++] = (struct mountfd_option){.key = "ro"};
	if (label) /* without quotes, as no comma ends a value of fsconfig(2) */
		data[n++] = (struct mountfd_option){.key = "context", .value = label};
	const char *source = j->m->source ? j->m->source : j->type;
	int fd = mountfd_new(j->type, source, data, n, attr, e);
	if (fd != -EPERM || !is_of_namespace(j))
		return fd;
	_cleanup_close_ int fs_fd = mountfd_open(j->type, source, data, n, e);
	return fs_fd < 0 ? fs_fd : make_by_engine(j, fs_fd, attr, e);
}

static int mount_new(struct engine_mount *j, struct err *e)
{
	struct engine_mount_options *o = &j->options;
	bool system = strcmp(j->type, "proc") == 0 || strcmp(j->type, "sysfs") == 0;
	if (o->copy_up && strcmp(j->type, "tmpfs") != 0)
		return err_set(e, -EINVAL, "mount %s: tmpcopyup is for tmpfs, not for %s",
			       j->m->destination, j->type);
	_cleanup_close_ int target =
		engine_mount_target(j, system ? ENGINE_MOUNT_SYSTEM : ENGINE_MOUNT_DIRECTORY, e);
	if (target < 0)
		return target;
	/* strndup_user(value, 256) in fs/fsopen.c */
	if (o->data_too_long || (label_of(j) && strlen(label_of(j)) > 255))
		return mount_long(j, target, e);

	_cleanup_close_ int mount_fd = make_new(j, e);
	if (mount_fd == -EPERM && j->job->user_ns && strcmp(j->type, "sysfs") == 0)
		return bind_sysfs(j, e);
	if (mount_fd < 0)
		return err_wrap(e, mount_fd, "mount %s", j->m->destination);
	int r = is_changed(j) ? change(j, mount_fd, target, e) : 0;
	return r < 0 ? r : finish(j, mount_fd, target, e);
}

static int bind_hierarchy(const struct engine_mount *j, const struct cgroup *g, const char *name,
			  struct err *e)
{
	char dir[PATH_MAX], path[PATH_MAX];
	struct oci_mount m = *j->m;
	struct engine_mount one = *j;
	int r = cgroup_dir(g, name, dir, sizeof dir);
	if (r == 0)
		r = path_format(path, sizeof path, "%s/%s", j->m->destination, name);
	if (r < 0)
		return err_errno(e, r, "mount %s", j->m->destination);
	m.destination = path;
	one.m = &m;
	return access(dir, F_OK) == 0 ? bind(&one, dir, e) : 0;
}

/* Version 1: a directory with the container's own part of each hierarchy. */
static int mount_hierarchies(struct engine_mount *j, const struct cgroup *g, struct err *e)
{
	static const struct mountfd_option mode = {.key = "mode", .value = "755"};
	bool readonly = j->options.attr_set & MOUNT_ATTR_RDONLY;
	struct engine_mount top = *j;
	top.type = "tmpfs";
	top.options.attr_set &= ~(uint64_t)MOUNT_ATTR_RDONLY;
	top.options.data[0] = mode;
	top.options.n_data = 1;
	int r = mount_new(&top, e);
	for (size_t i = 0; r == 0 && cgroup1_hierarchies[i]; i++)
		r = bind_hierarchy(j, g, cgroup1_hierarchies[i], e);
	if (r < 0 || !readonly)
		return r;
	_cleanup_close_ int fd = inroot_open(j->root_fd, j->m->destination, O_PATH);
	r = fd < 0 ? fd : mountfd_set_attr(fd, MOUNT_ATTR_RDONLY, 0, false);
	return r < 0 ? err_errno(e, r, "mount %s: make it read-only", j->m->destination) : 0;
}

/* The container's own part of the hierarchy: by its namespace, or by a bind of its directory.
 * Without a hierarchy an empty directory, so that no other one shows through. */
static int mount_cgroup(struct engine_mount *j, struct err *e)
{
	const struct engine_job *job = j->job;
	const struct cgroup g = {.version = job->cgroup_v1 ? 1 : 2,
				 .root = job->cgroup_root,
				 .relative = job->cgroup_relative};
	char dir[PATH_MAX];
	j->options.n_data = 0; /* options of version 1 */
	j->options.data_too_long = false;
	if (!job->cgroup_root) {
		j->type = "tmpfs";
		j->options.attr_set |= MOUNT_ATTR_RDONLY;
		return mount_new(j, e);
	}
	if (g.version == 1)
		return mount_hierarchies(j, &g, e);
	if (!job->cgroup_ns) {
		int r = cgroup_dir(&g, "", dir, sizeof dir);
		return r < 0 ? err_errno(e, r, "mount %s", j->m->destination) : bind(j, dir, e);
	}
	j->type = "cgroup2";
	return mount_new(j, e);
}

static int remount(const struct engine_mount *j, struct err *e)
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

static int mount_by_type(struct engine_mount *j, struct err *e)
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

int engine_rootfs_mounts(int root_fd, const struct engine_job *job,
			 const struct engine_trees *trees, struct err *e)
{
	for (size_t i = 0; i < job->spec.n_mounts; i++) {
		const struct oci_mount *m = &job->spec.mounts[i];
		struct engine_mount j = {.root_fd = root_fd,
					 .job = job,
					 .m = m,
					 .type = m->type ? m->type : "",
					 .trees = trees,
					 .tree = i < trees->n ? trees->mounts[i] : -EBADF};
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

int engine_rootfs_finish(int root_fd, const struct engine_job *job, struct err *e)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < job->spec.n_mounts; i++) {
		const struct oci_mount *m = &job->spec.mounts[i];
		struct engine_mount_options o;
		if (!is_for_devices(m))
			continue;
		r = engine_mount_options_parse(&m->options, &o, e);
		if (r < 0)
			return r;
		bool seal = o.attr_set & MOUNT_ATTR_RDONLY && !engine_mount_is_bind(m, &o);
		engine_mount_options_free(&o);
		_cleanup_close_ int fd =
			seal ? inroot_open(root_fd, m->destination, O_PATH) : -EBADF;
		if (seal)
			r = fd < 0 ? fd : mountfd_set_attr(fd, MOUNT_ATTR_RDONLY, 0, false);
		if (r < 0)
			err_errno(e, r, "mount %s: make it read-only", m->destination);
	}
	return r;
}
