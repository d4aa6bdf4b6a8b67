/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CopyFile: files of the host, for guests that share no directory with it. They come in pieces, in
 * order; a file is written under a name of its own beside its place, and takes the place when it is
 * whole. Directories and links come as one request each.
 *
 * Containers may write to these volumes, and so put links where we are about to write. A volume is
 * found without following any; inside of it links are followed as a process with the volume as its
 * root would, so none leads out of it. What replaces an entry never goes through it.
 *
 * Requests run one after the other, on a strand of their own. The table belongs to that.
 */
#include "guest/agent/agent.h"

#include "base/clock.h"
#include "base/fd.h"
#include "sys/inroot.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

/* Files on their way; each costs two descriptors. */
#define UPLOADS_MAX 64
/* A sender that was lost sends no more; one that is slow does, within this. */
#define IDLE_MS 60000
#define TMP_NAME_MAX 40

struct upload {
	struct list link;
	char *path;
	int dir, fd;
	char tmp[TMP_NAME_MAX];
	int64_t size, written;
	uint64_t used_ms; /* when the last piece came */
};

struct copier {
	struct agent *agent;
	struct strand *strand;
	struct loop_timer *timer; /* armed while files are on their way; loop thread */
	struct list uploads;	  /* strand */
	unsigned n_uploads;	  /* strand */
};

/* Where an entry is, or will be. */
struct place {
	int dir;
	char name[NAME_MAX + 1];
};

/* ---- Places ------------------------------------------------------------------------------- */

static int make_one_dir(int dir, const char *name, mode_t mode, uid_t uid, gid_t gid)
{
	if (mkdirat(dir, name, mode & 0700) < 0)
		return errno == EEXIST ? 0 : -errno;
	_cleanup_close_ int fd = openat(dir, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fchown(fd, uid, gid) < 0 || fchmod(fd, mode) < 0)
		return -errno;
	return 0;
}

/* mkdir -p without following links; what it makes is the requester's. */
static int make_dirs(int base, const char *path, const Grpc__CopyFileRequest *q)
{
	mode_t mode = q->dir_mode & 0777 ? q->dir_mode & 0777 : 0755;
	char copy[PATH_MAX], *save = NULL;

	_cleanup_close_ int fd = fcntl(base, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	int r = path_format(copy, sizeof copy, "%s", path);
	for (char *name = strtok_r(copy, "/", &save); r == 0 && name;
	     name = strtok_r(NULL, "/", &save)) {
		r = make_one_dir(fd, name, mode, (uid_t)q->uid, (gid_t)q->gid);
		if (r < 0)
			break;
		int next = openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			return -errno;
		(void)close(fd);
		fd = next;
	}
	return r < 0 ? r : TAKE_FD(fd);
}

/* The end of the part of a path that names a volume: its first word, or the first two where the
 * first says that the host passes it through. */
static size_t volume_length(const char *path)
{
	static const char prefix[] = "passthrough/";
	size_t n = strncmp(path, prefix, sizeof prefix - 1) == 0 ? sizeof prefix - 1 : 0;

	return n + strcspn(path + n, "/");
}

/* @path is below the share, without "." and "..". */
static int find_place(int share, char *path, const Grpc__CopyFileRequest *q, struct place *ret)
{
	char resolved[PATH_MAX];
	size_t volume = volume_length(path);
	char *slash = strrchr(path, '/');

	int r = path_format(ret->name, sizeof ret->name, "%s", slash ? slash + 1 : path);
	if (r < 0)
		return r;
	if (slash)
		*slash = '\0';
	if (!slash || (size_t)(slash - path) < volume) {
		ret->dir = make_dirs(share, slash ? path : "", q);
	} else {
		const char *rest = path[volume] ? path + volume + 1 : "";
		path[volume] = '\0';
		_cleanup_close_ int top = make_dirs(share, path, q);
		if (top < 0)
			return top;
		r = inroot_resolve(top, rest, resolved);
		if (r < 0)
			return r;
		ret->dir = make_dirs(top, resolved, q);
	}
	return ret->dir < 0 ? ret->dir : 0;
}

static int share_path(const struct agent *a, char *dst, size_t size)
{
	return path_format(dst, size, "%s/shared/containers", a->options.state_dir);
}

/* The way from the share to what a request names, without slashes at its ends. */
static int path_in_share(const struct agent *a, const Grpc__CopyFileRequest *q, char ret[PATH_MAX],
			 struct err *e)
{
	char share[160];

	int r = share_path(a, share, sizeof share);
	size_t n = strlen(share);
	if (r < 0 || !storage_mount_point_valid(q->path) || strncmp(q->path, share, n) != 0 ||
	    q->path[n] != '/')
		return err_set(e, -EINVAL,
			       "copy of \"%.300s\": not a path below %s without . and ..", q->path,
			       share);
	r = path_format(ret, PATH_MAX, "%s", q->path + n + strspn(q->path + n, "/"));
	for (size_t len = r < 0 ? 0 : strlen(ret); len > 0 && ret[len - 1] == '/';)
		ret[--len] = '\0';
	if (r < 0 || !ret[0])
		return err_set(e, -EINVAL, "copy of \"%.300s\": no name", q->path);
	return 0;
}

static int open_place(const struct agent *a, const Grpc__CopyFileRequest *q, struct place *ret,
		      struct err *e)
{
	char path[PATH_MAX], share[160];

	int r = path_in_share(a, q, path, e);
	if (r < 0)
		return r;
	(void)share_path(a, share, sizeof share);
	r = mkdir_parents(share, 0755);
	if (r < 0)
		return err_errno(e, r, "make %s", share);
	_cleanup_close_ int fd = open(share, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? -errno : find_place(fd, path, q, ret);
	return r < 0 ? err_errno(e, r, "make the directory of %.300s", q->path) : 0;
}

static void place_close(struct place *p)
{
	p->dir = close_fd(p->dir);
}

static int new_name(char ret[TMP_NAME_MAX])
{
	uint64_t n;

	if (getrandom(&n, sizeof n, 0) != sizeof n)
		return -EIO;
	(void)snprintf(ret, TMP_NAME_MAX, ".kata-copy-%016" PRIx64, n);
	return 0;
}

/* Puts a finished entry into its place, whatever is there. */
static int put(int dir, const char *tmp, const char *name)
{
	if (renameat(dir, tmp, dir, name) == 0)
		return 0;
	if (errno != EISDIR)
		return -errno;
	int r = remove_tree_at(dir, name);
	if (r == 0 && renameat(dir, tmp, dir, name) < 0)
		r = -errno;
	return r;
}

/* ---- Directories and links ---------------------------------------------------------------- */

static int open_dir(const struct place *p)
{
	int fd = openat(p->dir, p->name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* One that is there stays, with all that is in it. */
static int copy_dir(const struct place *p, const Grpc__CopyFileRequest *q)
{
	_cleanup_close_ int fd = open_dir(p);
	if (fd == -ENOTDIR || fd == -ELOOP) {
		if (unlinkat(p->dir, p->name, 0) < 0 && errno != ENOENT)
			return -errno;
		fd = -ENOENT;
	}
	if (fd == -ENOENT) {
		if (mkdirat(p->dir, p->name, 0700) < 0 && errno != EEXIST)
			return -errno;
		fd = open_dir(p);
	}
	if (fd < 0)
		return fd;
	if (fchown(fd, (uid_t)q->uid, (gid_t)q->gid) < 0 || fchmod(fd, q->file_mode & 07777) < 0)
		return -errno;
	return 0;
}

static int copy_link(const struct place *p, const Grpc__CopyFileRequest *q)
{
	char target[PATH_MAX], tmp[TMP_NAME_MAX];

	if (q->data.len == 0 || q->data.len >= sizeof target ||
	    memchr(q->data.data, '\0', q->data.len))
		return -EINVAL;
	memcpy(target, q->data.data, q->data.len);
	target[q->data.len] = '\0';
	int r = new_name(tmp);
	if (r < 0)
		return r;
	if (symlinkat(target, p->dir, tmp) < 0)
		return -errno;
	if (fchownat(p->dir, tmp, (uid_t)q->uid, (gid_t)q->gid, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	if (r == 0)
		r = put(p->dir, tmp, p->name);
	if (r < 0)
		(void)unlinkat(p->dir, tmp, 0);
	return r;
}

/* ---- Files -------------------------------------------------------------------------------- */

static void upload_drop(struct copier *c, struct upload *u)
{
	if (u->tmp[0])
		(void)unlinkat(u->dir, u->tmp, 0);
	list_del(&u->link);
	c->n_uploads--;
	(void)close_fd(u->fd);
	(void)close_fd(u->dir);
	free(u->path);
	free(u);
}

static struct upload *upload_find(struct copier *c, const char *path)
{
	struct list *l;

	list_for_each (l, &c->uploads) {
		struct upload *u = list_entry(l, struct upload, link);
		if (strcmp(u->path, path) == 0)
			return u;
	}
	return NULL;
}

static int upload_new(struct copier *c, const Grpc__CopyFileRequest *q, struct place *p,
		      struct upload **ret, struct err *e)
{
	if (c->n_uploads >= UPLOADS_MAX)
		return err_status(e, STATUS_RESOURCE_EXHAUSTED,
				  "copy of %.300s: %d files are on their way already", q->path,
				  UPLOADS_MAX);
	struct upload *u = calloc(1, sizeof *u);
	char *path = strdup(q->path);
	if (!u || !path) {
		free(u);
		free(path);
		return err_set(e, -ENOMEM, "no memory for a copy");
	}
	*u = (struct upload){
		.path = path, .dir = TAKE_FD(p->dir), .fd = -EBADF, .size = q->file_size};
	list_add_tail(&c->uploads, &u->link);
	c->n_uploads++;
	int r = new_name(u->tmp);
	if (r == 0) {
		u->fd = openat(u->dir, u->tmp, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC,
			       0600);
		r = u->fd < 0 ? -errno : 0;
	}
	if (r < 0) {
		u->tmp[0] = '\0';
		upload_drop(c, u);
		return err_errno(e, r, "make a file for %.300s", q->path);
	}
	*ret = u;
	return 0;
}

/* The owner before the mode: a change of owner takes set-id bits away. */
static int upload_finish(struct upload *u, const Grpc__CopyFileRequest *q)
{
	if (fchown(u->fd, (uid_t)q->uid, (gid_t)q->gid) < 0 ||
	    fchmod(u->fd, q->file_mode & 07777) < 0)
		return -errno;
	int r = put(u->dir, u->tmp, strrchr(u->path, '/') + 1);
	if (r == 0)
		u->tmp[0] = '\0';
	return r;
}

static int copy_piece(struct copier *c, struct upload *u, const Grpc__CopyFileRequest *q,
		      struct err *e)
{
	int r = fd_write_all(u->fd, q->data.data, q->data.len);
	if (r < 0)
		return err_errno(e, r, "write %.300s", q->path);
	u->written += (int64_t)q->data.len;
	u->used_ms = time_now_ms();
	if (u->written < u->size)
		return 0;
	r = upload_finish(u, q);
	if (r < 0)
		return err_errno(e, r, "finish %.300s", q->path);
	upload_drop(c, u);
	return 0;
}

static int check_piece(const Grpc__CopyFileRequest *q, struct err *e)
{
	if (q->file_size < 0 || q->offset < 0 || q->offset > q->file_size ||
	    q->data.len > (uint64_t)(q->file_size - q->offset))
		return err_set(e, -EINVAL,
			       "copy of %.300s: %zu bytes at %" PRId64
			       " are not in a file of %" PRId64,
			       q->path, q->data.len, q->offset, q->file_size);
	if (q->data.len == 0 && q->file_size > 0)
		return err_set(e, -EINVAL, "copy of %.300s: a piece of no bytes", q->path);
	return 0;
}

static int copy_regular(struct copier *c, const Grpc__CopyFileRequest *q, struct err *e)
{
	struct upload *u = upload_find(c, q->path);
	struct place place = {.dir = -EBADF};

	int r = check_piece(q, e);
	if (r < 0)
		return r;
	if (q->offset == 0) {
		if (u)
			upload_drop(c, u);
		r = open_place(c->agent, q, &place, e);
		if (r == 0)
			r = upload_new(c, q, &place, &u, e);
		place_close(&place);
		if (r < 0)
			return r;
	} else if (!u || u->size != q->file_size || u->written != q->offset) {
		return err_set(e, -EINVAL,
			       "copy of %.300s: the piece at %" PRId64 " of %" PRId64
			       " does not follow what came before (%" PRId64 " of %" PRId64 ")",
			       q->path, q->offset, q->file_size, u ? u->written : 0,
			       u ? u->size : 0);
	}
	r = copy_piece(c, u, q, e);
	if (r < 0)
		upload_drop(c, u);
	return r;
}

/* ---- Requests ----------------------------------------------------------------------------- */

static int copy_entry(struct copier *c, const Grpc__CopyFileRequest *q, struct err *e)
{
	struct place place = {.dir = -EBADF};
	struct upload *u = upload_find(c, q->path);

	if (u)
		upload_drop(c, u); /* whoever was copying a file there has changed its mind */
	int r = open_place(c->agent, q, &place, e);
	if (r < 0)
		return r;
	r = S_ISDIR(q->file_mode) ? copy_dir(&place, q) : copy_link(&place, q);
	place_close(&place);
	return r < 0 ? err_errno(e, r, "make %s %.300s",
				 S_ISDIR(q->file_mode) ? "directory" : "link", q->path)
		     : 0;
}

static void copy_work(struct job *j)
{
	const Grpc__CopyFileRequest *q = (const void *)rpc_call_request(j->call);
	struct copier *c = j->agent->copier;
	char path[PATH_MAX];

	j->r = path_in_share(j->agent, q, path, &j->e);
	if (j->r < 0)
		return;
	switch (q->file_mode & S_IFMT) {
	case 0: /* some senders tell permissions only */
	case S_IFREG:
		/* no slash at the end of a file's name; doubled ones are harmless */
		j->r = q->path[strlen(q->path) - 1] == '/'
			       ? err_set(&j->e, -EINVAL, "copy of %.300s: not a directory", q->path)
			       : copy_regular(c, q, &j->e);
		break;
	case S_IFDIR:
	case S_IFLNK:
		j->r = copy_entry(c, q, &j->e);
		break;
	default:
		j->r = err_set(&j->e, -EINVAL,
			       "copy of %.300s: mode %o is of no file, directory or link", q->path,
			       q->file_mode);
	}
	j->number = (int)c->n_uploads;
}

static void expire_work(struct job *j)
{
	struct copier *c = j->agent->copier;
	uint64_t now = time_now_ms();
	struct list *l, *next;

	list_for_each_safe (l, next, &c->uploads) {
		struct upload *u = list_entry(l, struct upload, link);
		if (now - u->used_ms >= IDLE_MS) {
			log_warn("copy of %s: nothing came for %d s, it is given up", u->path,
				 IDLE_MS / 1000);
			upload_drop(c, u);
		}
	}
	j->number = (int)c->n_uploads;
}

static void expire_done(struct job *j)
{
	struct copier *c = j->agent->copier;

	if (j->number > 0)
		loop_timer_start(c->timer, IDLE_MS);
}

static void copy_done(struct job *j)
{
	expire_done(j);
	job_reply_empty(j);
}

static void on_timer(void *arg)
{
	struct copier *c = arg;
	struct job *j = job_new(c->agent, NULL, NULL);

	if (!j)
		return; /* logged; the next file arms the timer again */
	j->strand = c->strand;
	job_start(j, expire_work, expire_done);
}

void copy_file(void *ctx, struct rpc_call *call)
{
	struct agent *a = ctx;
	struct job *j = job_new(a, call, NULL);

	if (!j)
		return;
	j->strand = a->copier->strand;
	job_start(j, copy_work, copy_done);
}

int copier_start(struct agent *a)
{
	struct copier *c = calloc(1, sizeof *c);
	if (!c)
		return -ENOMEM;
	c->agent = a;
	list_init(&c->uploads);
	int r = strand_new(a->pool, &c->strand);
	if (r == 0)
		r = loop_timer_new(a->loop, on_timer, c, &c->timer);
	if (r < 0) {
		strand_release(c->strand);
		free(c);
		return r;
	}
	a->copier = c;
	return 0;
}

void copier_stop(struct copier *c)
{
	if (!c)
		return;
	while (!list_empty(&c->uploads))
		upload_drop(c, list_first(&c->uploads, struct upload, link));
	loop_timer_free(c->timer);
	strand_release(c->strand);
	free(c);
}
