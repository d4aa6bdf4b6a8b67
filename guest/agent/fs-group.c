/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/fs-group.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* Of one getdents64(2), for the whole walk. */
#define ENTRIES_BYTES (16 * 1024)

/* The kernel's (include/linux/dirent.h). */
struct entry {
	uint64_t ino;
	int64_t next;
	unsigned short len;
	unsigned char type;
	char name[];
};

struct level {
	int fd;	      /* of the directory, readable */
	int64_t next; /* where reading goes on after a directory in it */
};

struct walk {
	const struct fs_group *group;
	struct level *levels;
	size_t depth;
	char *entries;
};

/* ---- One file ----------------------------------------------------------------------------- */

static mode_t wanted_bits(const struct fs_group *g, mode_t mode)
{
	mode_t bits = g->read_only ? 0440 : 0660;

	return S_ISDIR(mode) ? bits | 0110 | S_ISGID : bits;
}

static int set_mode(int fd, mode_t mode)
{
	char path[32];

	/* fchmod(2) does not take O_PATH, and fchmodat2(2) is too new (Linux 6.6) */
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return chmod(path, mode & 07777) < 0 ? -errno : 0;
}

static int change(int fd, const struct fs_group *g)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_gid != g->gid) {
		if (fchownat(fd, "", (uid_t)-1, g->gid, AT_EMPTY_PATH) < 0)
			return -errno;
		/* that may have taken set-id bits, which then stay away */
		if (fstat(fd, &st) < 0)
			return -errno;
	}
	mode_t bits = wanted_bits(g, st.st_mode);
	return (st.st_mode & bits) == bits ? 0 : set_mode(fd, st.st_mode | bits);
}

static bool is_groups(const struct stat *st, const struct fs_group *g)
{
	mode_t bits = wanted_bits(g, st->st_mode);

	return st->st_gid == g->gid && (st->st_mode & bits) == bits;
}

/* ---- The walk ----------------------------------------------------------------------------- */

static void leave(struct walk *w)
{
	(void)close(w->levels[--w->depth].fd);
}

static int enter(struct walk *w, int path_fd)
{
	if (w->depth == FS_GROUP_DEPTH_MAX)
		return -ELOOP;
	int fd = openat(path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	w->levels[w->depth++] = (struct level){.fd = fd};
	return 0;
}

/* Opens what an entry names: -EXDEV where something is mounted on it. */
static int open_entry(int dir_fd, const char *name)
{
	const struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
				     .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV};
	int fd = (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof how);

	return fd < 0 ? -errno : fd;
}

/* 1: it is a directory, and the walk is in it now. */
static int visit(struct walk *w, const char *name)
{
	struct stat st;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return 0;
	_cleanup_close_ int fd = open_entry(w->levels[w->depth - 1].fd, name);
	if (fd == -ENOENT || fd == -EXDEV)
		return 0;
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode)) {
		int r = enter(w, fd);
		return r < 0 ? r : 1;
	}
	if (S_ISLNK(st.st_mode) || S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		return 0;
	return change(fd, w->group);
}

/* Goes on in the innermost directory. 1: it has been read to its end. */
static int read_on(struct walk *w)
{
	struct level *l = &w->levels[w->depth - 1];

	if (lseek(l->fd, l->next, SEEK_SET) < 0)
		return -errno;
	for (;;) {
		long n = syscall(SYS_getdents64, l->fd, w->entries, ENTRIES_BYTES);
		if (n < 0)
			return -errno;
		if (n == 0)
			return 1;
		for (long at = 0; at < n;) {
			const struct entry *d = (const void *)(w->entries + at);
			int r = visit(w, d->name);
			if (r != 0) {
				l->next = d->next;
				return r < 0 ? r : 0;
			}
			at += d->len;
		}
	}
}

static int walk(struct walk *w, int fd)
{
	int r = enter(w, fd);

	while (r >= 0 && w->depth > 0) {
		r = read_on(w);
		if (r == 1) {
			/* a directory after what is in it: see on_root_mismatch */
			r = change(w->levels[w->depth - 1].fd, w->group);
			leave(w);
		}
	}
	while (w->depth > 0)
		leave(w);
	return r;
}

int fs_group_apply(int fd, const struct fs_group *g, const char *path, struct err *e)
{
	struct walk w = {.group = g};
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(e, -errno, "look at %s", path);
	if (g->on_root_mismatch && is_groups(&st, g))
		return 0;
	if (!S_ISDIR(st.st_mode)) {
		int r = change(fd, g);
		return r < 0 ? err_errno(e, r, "give %s to group %u", path, g->gid) : 0;
	}
	w.levels = calloc(FS_GROUP_DEPTH_MAX, sizeof *w.levels);
	w.entries = malloc(ENTRIES_BYTES);
	int r = w.levels && w.entries ? walk(&w, fd) : -ENOMEM;
	free(w.levels);
	free(w.entries);
	if (r == -ELOOP)
		return err_set(e, r, "give %s to group %u: directories are more than %d deep", path,
			       g->gid, FS_GROUP_DEPTH_MAX);
	return r < 0 ? err_errno(e, r, "give all of %s to group %u", path, g->gid) : 0;
}
