/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/mirror.h"

#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* Directories within each other: kubelet makes two, a projected path some more. */
#define DEPTH_MAX 8
/* Directories and links beside each allowed file: kubelet makes a link for each, and a few. */
#define ENTRIES_PER_FILE 4
#define TMP_NAME ".kata-mirror"

struct item {
	char *path;   /* below the top */
	char *target; /* of a link */
	struct stat st;
	bool settled; /* has been found unchanged, later than it was copied */
	bool stale;   /* its copy differs, though nothing tells so from outside */
};

struct items {
	struct item *v;
	size_t n, files;
	uint64_t bytes;
};

struct mirror {
	char *source;
	int target;
	struct items known; /* what the copy was made from, sorted */
	bool dirty;	    /* an update failed: do everything again */
};

static void items_free(struct items *list)
{
	for (size_t i = 0; i < list->n; i++) {
		free(list->v[i].path);
		free(list->v[i].target);
	}
	free(list->v);
	*list = (struct items){.v = NULL};
}

static int open_below(int dir, const char *path, int flags)
{
	const struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC | O_NOFOLLOW),
				     .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	int fd = (int)syscall(SYS_openat2, dir, *path ? path : ".", &how, sizeof how);

	return fd < 0 ? -errno : fd;
}

/* ---- Looking at the original -------------------------------------------------------------- */

static int scan_dir(int fd, const char *path, unsigned depth, const struct mirror_limits *limits,
		    struct items *ret);

static int count(struct items *list, const struct stat *st, const struct mirror_limits *limits)
{
	if (S_ISREG(st->st_mode)) {
		list->files++;
		list->bytes += (uint64_t)st->st_size;
	}
	return list->files > limits->files || list->bytes > limits->bytes ||
			       list->n >= limits->files * ENTRIES_PER_FILE
		       ? -E2BIG
		       : 0;
}

static int read_link(int dir, const char *name, char **ret)
{
	char target[PATH_MAX];

	ssize_t n = readlinkat(dir, name, target, sizeof target);
	if (n < 0)
		return -errno;
	if ((size_t)n == sizeof target)
		return -ENAMETOOLONG;
	*ret = strndup(target, (size_t)n);
	return *ret ? 0 : -ENOMEM;
}

static int add(int dir, const char *name, const char *path, const struct stat *st,
	       struct items *list)
{
	struct item *v = reallocarray(list->v, list->n + 1, sizeof *v);

	if (!v)
		return -ENOMEM;
	list->v = v;
	struct item *x = &v[list->n];
	*x = (struct item){.path = strdup(path), .st = *st};
	if (!x->path)
		return -ENOMEM;
	list->n++;
	return S_ISLNK(st->st_mode) ? read_link(dir, name, &x->target) : 0;
}

static int scan_entry(int dir, const char *name, const char *parent, unsigned depth,
		      const struct mirror_limits *limits, struct items *ret)
{
	char path[PATH_MAX];
	struct stat st;

	int r = path_format(path, sizeof path, "%s%s%s", parent, *parent ? "/" : "", name);
	if (r < 0)
		return r;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode))
		return 0; /* nothing that a ConfigMap could hold */
	r = count(ret, &st, limits);
	if (r == 0)
		r = add(dir, name, path, &st, ret);
	if (r < 0 || !S_ISDIR(st.st_mode))
		return r;
	int fd = open_below(dir, name, O_RDONLY | O_DIRECTORY);
	return fd < 0 ? fd : scan_dir(fd, path, depth + 1, limits, ret);
}

/* Consumes @fd. */
static int scan_dir(int fd, const char *path, unsigned depth, const struct mirror_limits *limits,
		    struct items *ret)
{
	DIR *dir = depth < DEPTH_MAX ? fdopendir(fd) : NULL;
	struct dirent *d;
	int r = 0;

	if (!dir) {
		r = depth < DEPTH_MAX ? -errno : -E2BIG;
		(void)close(fd);
		return r;
	}
	while (r == 0 && (d = readdir(dir)))
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			r = scan_entry(dirfd(dir), d->d_name, path, depth, limits, ret);
	(void)closedir(dir);
	return r;
}

static int by_path(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	return strcmp(x->path, y->path);
}

static const struct item *find(const struct items *list, const char *path)
{
	const struct item key = {.path = (char *)path};

	return list->n ? bsearch(&key, list->v, list->n, sizeof key, by_path) : NULL;
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same(const struct item *a, const struct item *b)
{
	const struct stat *x = &a->st, *y = &b->st;

	if (x->st_mode != y->st_mode || x->st_uid != y->st_uid || x->st_gid != y->st_gid)
		return false;
	if (S_ISDIR(x->st_mode))
		return true; /* its entries are looked at themselves */
	return x->st_ino == y->st_ino && x->st_dev == y->st_dev && x->st_size == y->st_size &&
	       same_time(x->st_mtim, y->st_mtim) && same_time(x->st_ctim, y->st_ctim) &&
	       (!a->target || strcmp(a->target, b->target) == 0);
}

/* Whether the copy of this one is up to date. */
static bool is_known(const struct mirror *m, const struct item *x)
{
	const struct item *old = m->dirty ? NULL : find(&m->known, x->path);
	return old && same(old, x) && !x->stale;
}

static int read_file(int dir, const char *path, uint64_t max, struct buf *ret)
{
	_cleanup_close_ int fd = open_below(dir, path, O_RDONLY | O_NONBLOCK);
	return fd < 0 ? fd : fd_read_all(fd, max, ret);
}

/*
 * The kernel's clock stands still for some milliseconds (CONFIG_HZ): what is written within these
 * looks the same as before. So a file that was copied is compared once more when it is next looked
 * at, which is later than that.
 */
static void settle(const struct mirror *m, int source, struct items *list,
		   const struct mirror_limits *limits)
{
	for (size_t i = 0; i < list->n; i++) {
		_cleanup_buf_ struct buf a = BUF_INIT, b = BUF_INIT;
		struct item *x = &list->v[i];
		const struct item *old = find(&m->known, x->path);
		if (!old || !S_ISREG(x->st.st_mode) || !is_known(m, x))
			continue;
		x->settled = old->settled ||
			     (read_file(source, x->path, limits->bytes, &a) == 0 &&
			      read_file(m->target, x->path, limits->bytes, &b) == 0 &&
			      a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0));
		x->stale = !x->settled;
	}
}

/* ---- Writing the copy --------------------------------------------------------------------- */

/* The directory of the copy that an entry is in, and the entry's name there. */
static int open_parent(const struct mirror *m, const char *path, const char **ret_name)
{
	char parent[PATH_MAX];
	const char *slash = strrchr(path, '/');

	int r = path_format(parent, sizeof parent, "%.*s", slash ? (int)(slash - path) : 0, path);
	*ret_name = slash ? slash + 1 : path;
	return r < 0 ? r : open_below(m->target, parent, O_PATH | O_DIRECTORY);
}

static int put(int dir, const char *name)
{
	if (renameat(dir, TMP_NAME, dir, name) == 0)
		return 0;
	int r = errno == EISDIR ? remove_tree_at(dir, name) : -errno;
	if (r == 0 && renameat(dir, TMP_NAME, dir, name) < 0)
		r = -errno;
	return r;
}

static int make_dir(const struct mirror *m, const struct item *x)
{
	const char *name;

	_cleanup_close_ int dir = open_parent(m, x->path, &name);
	if (dir < 0)
		return dir;
	_cleanup_close_ int fd = open_below(dir, name, O_RDONLY | O_DIRECTORY);
	if (fd == -ENOTDIR || fd == -ELOOP) {
		int r = remove_tree_at(dir, name);
		if (r < 0)
			return r;
	}
	if (fd < 0) {
		if (mkdirat(dir, name, 0700) < 0)
			return -errno;
		fd = open_below(dir, name, O_RDONLY | O_DIRECTORY);
	}
	if (fd < 0)
		return fd;
	if (fchown(fd, x->st.st_uid, x->st.st_gid) < 0 || fchmod(fd, x->st.st_mode & 07777) < 0)
		return -errno;
	return 0;
}

static int copy_data(int from, int to, uint64_t max)
{
	char data[8192];
	uint64_t done = 0;

	for (;;) {
		ssize_t n = read(from, data, sizeof data);
		if (n <= 0)
			return n < 0 ? -errno : 0;
		done += (uint64_t)n;
		if (done > max)
			return -E2BIG;
		int r = fd_write_all(to, data, (size_t)n);
		if (r < 0)
			return r;
	}
}

/* What the file is like is noted before it is read: one that changes under our hands differs from
 * the note, and is copied again. */
static int copy_file_from(const struct mirror *m, int source, struct item *x, int dir,
			  const struct mirror_limits *limits)
{
	_cleanup_close_ int from = open_below(source, x->path, O_RDONLY | O_NONBLOCK);
	if (from < 0)
		return from;
	if (fstat(from, &x->st) < 0)
		return -errno;
	if (!S_ISREG(x->st.st_mode))
		return -ESTALE;
	(void)unlinkat(dir, TMP_NAME, 0);
	_cleanup_close_ int to =
		openat(dir, TMP_NAME, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0)
		return -errno;
	int r = copy_data(from, to, limits->bytes);
	if (r == 0 &&
	    (fchown(to, x->st.st_uid, x->st.st_gid) < 0 || fchmod(to, x->st.st_mode & 07777) < 0))
		r = -errno;
	return r;
}

static int make_file(const struct mirror *m, int source, struct item *x,
		     const struct mirror_limits *limits)
{
	const char *name;

	_cleanup_close_ int dir = open_parent(m, x->path, &name);
	if (dir < 0)
		return dir;
	int r = copy_file_from(m, source, x, dir, limits);
	if (r == 0)
		r = put(dir, name);
	if (r < 0)
		(void)unlinkat(dir, TMP_NAME, 0);
	return r;
}

static int make_link(const struct mirror *m, const struct item *x)
{
	const char *name;

	_cleanup_close_ int dir = open_parent(m, x->path, &name);
	if (dir < 0)
		return dir;
	(void)unlinkat(dir, TMP_NAME, 0);
	if (symlinkat(x->target, dir, TMP_NAME) < 0)
		return -errno;
	int r = 0;
	if (fchownat(dir, TMP_NAME, x->st.st_uid, x->st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	if (r == 0)
		r = put(dir, name);
	if (r < 0)
		(void)unlinkat(dir, TMP_NAME, 0);
	return r;
}

static int prune_entry(int dir, const char *name, const char *parent, const struct items *keep);

/* Consumes @fd. Removes what is not among @keep. */
static int prune(int fd, const char *path, const struct items *keep)
{
	DIR *dir = fdopendir(fd);
	struct dirent *d;
	int r = 0;

	if (!dir) {
		r = -errno;
		(void)close(fd);
		return r;
	}
	while (r == 0 && (d = readdir(dir)))
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			r = prune_entry(dirfd(dir), d->d_name, path, keep);
	(void)closedir(dir);
	return r;
}

/* Goes no deeper than what is kept, which is bounded. */
static int prune_entry(int dir, const char *name, const char *parent, const struct items *keep)
{
	char path[PATH_MAX];

	int r = path_format(path, sizeof path, "%s%s%s", parent, *parent ? "/" : "", name);
	if (r < 0)
		return r;
	const struct item *x = find(keep, path);
	if (!x)
		return remove_tree_at(dir, name);
	if (!S_ISDIR(x->st.st_mode))
		return 0;
	int fd = open_below(dir, name, O_RDONLY | O_DIRECTORY);
	return fd < 0 ? fd : prune(fd, path, keep);
}

static bool is_data_link(const struct item *x)
{
	const char *slash = strrchr(x->path, '/');
	return strcmp(slash ? slash + 1 : x->path, "..data") == 0;
}

enum step { DIRECTORIES, FILES, DATA_LINKS, LINKS };

static bool belongs(const struct item *x, enum step step)
{
	switch (step) {
	case DIRECTORIES:
		return S_ISDIR(x->st.st_mode);
	case FILES:
		return S_ISREG(x->st.st_mode);
	case DATA_LINKS:
		return S_ISLNK(x->st.st_mode) && is_data_link(x);
	case LINKS:
		return S_ISLNK(x->st.st_mode) && !is_data_link(x);
	}
	return false;
}

static int apply(const struct mirror *m, int source, struct items *list,
		 const struct mirror_limits *limits)
{
	int r = 0, top;

	/* as kubelet's own order is: what links lead to, the swap, the links to it, the old */
	for (enum step step = DIRECTORIES; r == 0 && step <= LINKS; step++)
		for (size_t i = 0; r == 0 && i < list->n; i++) {
			struct item *x = &list->v[i];
			if (!belongs(x, step) || is_known(m, x))
				continue;
			r = step == DIRECTORIES ? make_dir(m, x)
			    : step == FILES	? make_file(m, source, x, limits)
						: make_link(m, x);
		}
	if (r < 0)
		return r;
	top = open_below(m->target, "", O_RDONLY | O_DIRECTORY);
	return top < 0 ? top : prune(top, "", list);
}

/* ---- The whole ---------------------------------------------------------------------------- */

static bool has_changed(const struct mirror *m, const struct items *list)
{
	if (m->dirty || list->n != m->known.n)
		return true;
	for (size_t i = 0; i < list->n; i++)
		if (!is_known(m, &list->v[i]))
			return true;
	return false;
}

static int apply_top(const struct mirror *m, int source)
{
	struct stat st, own;

	if (fstat(source, &st) < 0 || fstat(m->target, &own) < 0)
		return -errno;
	if (st.st_uid == own.st_uid && st.st_gid == own.st_gid &&
	    (st.st_mode & 07777) == (own.st_mode & 07777))
		return 0;
	if (fchown(m->target, st.st_uid, st.st_gid) < 0 ||
	    fchmod(m->target, st.st_mode & 07777) < 0)
		return -errno;
	return 1;
}

static int update(struct mirror *m, const struct mirror_limits *limits, struct items *list)
{
	_cleanup_close_ int source = open(m->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (source < 0)
		return -errno;
	int fd = open_below(source, "", O_RDONLY | O_DIRECTORY);
	int r = fd < 0 ? fd : scan_dir(fd, "", 0, limits, list);
	if (r < 0)
		return r;
	if (list->n)
		qsort(list->v, list->n, sizeof *list->v, by_path);
	settle(m, source, list, limits);
	bool changed = has_changed(m, list);
	if (changed) {
		r = apply(m, source, list, limits);
		m->dirty = r < 0;
	}
	if (r == 0)
		r = apply_top(m, source);
	return r < 0 ? r : r || changed;
}

int mirror_new(const char *source, const char *target, struct mirror **ret, struct err *e)
{
	struct mirror *m = calloc(1, sizeof *m);

	if (!m || !(m->source = strdup(source))) {
		free(m);
		return err_set(e, -ENOMEM, "no memory to copy %s", source);
	}
	m->dirty = true;
	m->target = open(target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (m->target < 0) {
		int r = err_errno(e, -errno, "open %s", target);
		mirror_free(m);
		return r;
	}
	*ret = m;
	return 0;
}

void mirror_free(struct mirror *m)
{
	if (!m)
		return;
	items_free(&m->known);
	(void)close_fd(m->target);
	free(m->source);
	free(m);
}

int mirror_update(struct mirror *m, const struct mirror_limits *limits, struct err *e)
{
	struct items list = {.v = NULL};

	int r = update(m, limits, &list);
	if (r < 0) {
		items_free(&list);
		if (r == -E2BIG)
			return err_set(e, r, "%s has more than %zu files or %llu bytes", m->source,
				       limits->files, (unsigned long long)limits->bytes);
		return err_errno(e, r, "copy %s", m->source);
	}
	items_free(&m->known);
	m->known = list;
	return r;
}
