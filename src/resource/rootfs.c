/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount(2) takes at most one page of options. An overlay of many layers needs more than that, so
 * its paths are then made relative to their common directory, and the call is made by a child
 * whose working directory that is: the daemon's own is shared by all of its threads.
 */
#include "resource/rootfs.h"

#include "base/fd.h"
#include "sys/mount-options.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define MOUNT_DATA_MAX 4095

/* ---- Overlay options that do not fit a page ------------------------------------------------- */

/* The longest directory prefix, with its '/', of @path and the first @len bytes of @prefix. */
static size_t common_prefix(const char *prefix, size_t len, const char *path)
{
	size_t same = 0, slash = 0;
	while (same < len && path[same] && path[same] == prefix[same]) {
		same++;
		if (path[same - 1] == '/')
			slash = same;
	}
	return slash;
}

/* Calls fn for each path in the options lowerdir=a:b, upperdir=c, workdir=d. */
static void each_path(const char *data, void (*fn)(void *arg, const char *path), void *arg)
{
	for (const char *p = data; p && *p; p = strchr(p, ','), p = p ? p + 1 : NULL) {
		size_t key = strcspn(p, "=,");
		if (p[key] != '=' || (strncmp(p, "lowerdir", key) && strncmp(p, "upperdir", key) &&
				      strncmp(p, "workdir", key)))
			continue;
		for (const char *path = p + key + 1;; path++) {
			fn(arg, path);
			path += strcspn(path, ":,");
			if (*path != ':')
				break;
		}
	}
}

struct shorten {
	const char *prefix;
	size_t len;
};

static void narrow_prefix(void *arg, const char *path)
{
	struct shorten *s = arg;
	if (!s->prefix) {
		s->prefix = path;
		s->len = strcspn(path, ":,");
	}
	s->len = common_prefix(s->prefix, s->len, path);
}

/* Returns the common directory (with its '/') and the options relative to it, or -E2BIG. */
static int shorten_overlay(const char *data, char **ret_dir, char **ret_data)
{
	struct shorten s = {.prefix = NULL};
	_cleanup_buf_ struct buf out = BUF_INIT;

	each_path(data, narrow_prefix, &s);
	if (!s.prefix || s.len <= 1)
		return -E2BIG;
	for (const char *p = data; *p;) {
		/* a path begins after '=' or ':' */
		if (p > data && (p[-1] == '=' || p[-1] == ':') && !strncmp(p, s.prefix, s.len))
			p += s.len;
		buf_append(&out, p, 1);
		p++;
	}
	if (out.len > MOUNT_DATA_MAX)
		return -E2BIG;
	*ret_dir = strndup(s.prefix, s.len);
	*ret_data = buf_take(&out);
	if (*ret_dir && *ret_data)
		return 0;
	free(*ret_dir);
	free(*ret_data);
	return -ENOMEM;
}

/* Only async-signal-safe calls in the child: other threads may hold any lock. */
static int mount_from(const char *dir, const struct rootfs_mount *m, const char *target,
		      unsigned long flags, const char *data)
{
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		if (chdir(dir) < 0 || mount(m->source, target, m->type, flags, data) < 0)
			_exit(errno);
		_exit(0);
	}
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

static int mount_long(const struct rootfs_mount *m, const char *target, unsigned long flags,
		      const char *data)
{
	_cleanup_free_ char *dir = NULL, *shorter = NULL;
	int r = shorten_overlay(data, &dir, &shorter);
	return r < 0 ? r : mount_from(dir, m, target, flags, shorter);
}

/* ---- One mount ------------------------------------------------------------------------------ */

static int mount_one(const struct rootfs_mount *m, const char *target, struct err *e)
{
	struct mount_options o = MOUNT_OPTIONS_INIT;
	int r = mount_options_parse(m->options, m->n_options, &o, e);
	if (r < 0)
		return r;
	const char *data = o.data.data ? o.data.data : "";
	bool bind = o.flags & MS_BIND;
	/* A bind mount takes its flags only from a second call. */
	unsigned long flags = bind ? o.flags & (MS_BIND | MS_REC) : o.flags;

	if (strlen(data) > MOUNT_DATA_MAX)
		r = mount_long(m, target, flags, data);
	else if (mount(m->source, target, bind ? NULL : m->type, flags, data) < 0)
		r = -errno;
	if (r == 0 && bind && (o.flags & ~(unsigned long)(MS_BIND | MS_REC)) &&
	    mount(NULL, target, NULL, MS_REMOUNT | o.flags, NULL) < 0)
		r = -errno;
	mount_options_free(&o);
	if (r < 0)
		return err_errno(e, r, "mount the root file system: %s %s at %s", m->type,
				 m->source, target);
	return 0;
}

/* containerd's Mount.target is relative to the root; it must stay below it. */
static int make_sub_target(const char *target, const char *sub, char *ret, size_t size,
			   struct err *e)
{
	int r = path_format(ret, size, "%s%s%s", target, sub[0] && sub[0] != '/' ? "/" : "", sub);
	if (r < 0)
		return err_set(e, r, "root file system mount target \"%s\" is too long", sub);
	if (!sub[0])
		return 0;
	if (strstr(sub, ".."))
		return err_set(e, -EINVAL,
			       "root file system mount target \"%s\" must not hold \"..\"", sub);
	r = mkdir_parents(ret, 0755);
	return r < 0 ? err_errno(e, r, "make directory %s", ret) : 0;
}

int rootfs_mount_all(const struct rootfs_mount *mounts, size_t n, const char *target, struct err *e)
{
	char sub[4096];

	for (size_t i = 0; i < n; i++) {
		int r = make_sub_target(target, mounts[i].target, sub, sizeof sub, e);
		if (r == 0)
			r = mount_one(&mounts[i], sub, e);
		if (r < 0) {
			if (i > 0)
				(void)umount2(target, MNT_DETACH);
			return r;
		}
	}
	return 0;
}

static int make_bind_target(const char *source, const char *target, struct err *e)
{
	struct stat st;
	if (stat(source, &st) < 0)
		return err_errno(e, -errno, "bind mount source %s", source);
	if (S_ISDIR(st.st_mode)) {
		int r = mkdir_parents(target, 0755);
		return r < 0 ? err_errno(e, r, "make directory %s", target) : 0;
	}
	_cleanup_close_ int fd = open(target, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	return fd < 0 ? err_errno(e, -errno, "make file %s", target) : 0;
}

int rootfs_bind(const char *source, const char *target, bool recursive, bool read_only,
		struct err *e)
{
	unsigned long rec = recursive ? MS_REC : 0;
	int r = make_bind_target(source, target, e);
	if (r < 0)
		return r;
	if (mount(source, target, NULL, MS_BIND | rec, NULL) < 0)
		return err_errno(e, -errno, "bind mount %s at %s", source, target);
	if (read_only && mount(NULL, target, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0) {
		r = -errno;
		(void)umount2(target, MNT_DETACH);
		return err_errno(e, r, "make the bind mount of %s read-only", source);
	}
	return 0;
}
