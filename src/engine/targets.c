/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/mounts.h"

#include "sys/inroot.h"
#include "sys/mountfd.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>

#define PROC_ROOT_INO 1 /* linux/proc_fs.h */

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
 * Mounts that hide parts of /proc could undo masks, or fake what the process writes there, so only
 * the allowed files can be one. The test is of the file that was opened: a link that somebody
 * changes meanwhile gains nothing.
 */
static int open_in_proc(const struct engine_mount *j, struct err *e)
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

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whatever leads there, "." and links included. */
static bool is_proc_directory(const struct engine_mount *j, const struct stat *target)
{
	struct stat st;
	_cleanup_close_ int proc = inroot_open(j->root_fd, "/proc", O_PATH);
	return proc >= 0 && fstat(proc, &st) == 0 && same_file(&st, target);
}

static int open_or_make(const struct engine_mount *j, enum engine_mount_kind kind)
{
	const char *path = j->m->destination;
	if (kind == ENGINE_MOUNT_SYSTEM)
		return inroot_mkdir_plain(j->root_fd, path, 0755);
	int fd = inroot_open(j->root_fd, path, O_PATH);
	if (fd != -ENOENT && fd != -ENOTDIR)
		return fd;
	return kind == ENGINE_MOUNT_FILE ? inroot_mkfile(j->root_fd, path, 0644)
					 : inroot_mkdir(j->root_fd, path, 0755);
}

int engine_mount_target(const struct engine_mount *j, enum engine_mount_kind kind, struct err *e)
{
	const char *path = j->m->destination;
	_cleanup_close_ int fd = open_or_make(j, kind);
	struct stat st, root;
	if (fd == -ELOOP && kind == ENGINE_MOUNT_SYSTEM)
		return err_set(e, -EPERM, "mount %s: %s is not mounted through a link", path,
			       j->type);
	if (fd < 0 || fstat(fd, &st) < 0 || fstat(j->root_fd, &root) < 0)
		return err_errno(e, fd < 0 ? fd : -errno, "mount %s: make the destination", path);
	if (mountfd_is_fs(fd, PROC_SUPER_MAGIC) && st.st_ino != PROC_ROOT_INO)
		return open_in_proc(j, e);
	if (same_file(&st, &root))
		return err_set(e, -EINVAL, "mount %s: the root itself cannot be a destination",
			       path);
	if (!S_ISDIR(st.st_mode) != (kind == ENGINE_MOUNT_FILE))
		return err_set(e, S_ISDIR(st.st_mode) ? -EISDIR : -ENOTDIR,
			       "mount %s: a %s cannot be mounted on a %s", path,
			       kind == ENGINE_MOUNT_FILE ? "file" : "directory",
			       S_ISDIR(st.st_mode) ? "directory" : "file");
	/* A file system of somebody's own there could play any part of /proc. */
	bool proc = kind == ENGINE_MOUNT_PROC || strcmp(j->type, "proc") == 0;
	if (!proc && is_proc_directory(j, &st))
		return err_set(e, -EPERM, "mount %s: only a procfs may be mounted there", path);
	return TAKE_FD(fd);
}
