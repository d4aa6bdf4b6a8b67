/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/storage.h"

#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "engine/mount-options.h"
#include "sys/mountfd.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* In the kernel's own terms (struct path): a longer one cannot be mounted on. */
#define MOUNT_POINT_MAX 4095

enum state {
	STORAGE_MAKING,
	STORAGE_READY,
	STORAGE_REMOVING,
};

struct storage {
	struct list link; /* in the order made */
	char *mount_point;
	unsigned refs;
	enum state state;
	bool shared;  /* outlives its users */
	bool mounted; /* we did, and undo it */
	bool made_dir;
};

struct storage_table {
	pthread_mutex_t lock; /* guards the list and every storage's refs and state */
	pthread_cond_t changed;
	struct list storages;
	struct modules *modules;
};

/* Options that are for us, not for the kernel. */
struct own_options {
	bool has_gid, has_mode;
	gid_t gid;
	mode_t mode;
};

struct driver {
	const char *name;
	int (*make)(struct storage_table *t, const Grpc__Storage *s, struct storage *to,
		    struct err *e);
};

bool storage_mount_point_valid(const char *path)
{
	if (path[0] != '/' || !path[1] || strlen(path) > MOUNT_POINT_MAX)
		return false;
	for (const char *p = path; *p;) {
		size_t slash = strspn(p, "/"), len = strcspn(p + slash, "/");
		p += slash;
		if ((len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += len;
	}
	return true;
}

static int parse_id(const char *text, int base, unsigned long max, unsigned long *ret)
{
	char *end;

	errno = 0;
	*ret = strtoul(text, &end, base);
	return *text < '0' || *text > '9' || *end || errno || *ret > max ? -EINVAL : 0;
}

/*
 * Splits a storage's options: ours into @own, the rest into @rest (whose strings are borrowed).
 * @with_mode: there is no file system of its own that would take "mode=".
 */
static int split_options(const Grpc__Storage *s, bool with_mode, struct own_options *own,
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

static void cleanup_strv_frame(struct oci_strv *v)
{
	free(v->v);
}

/* Group and mode go on by descriptor: the path may lie in a share that others write to. */
static int apply_own(int fd, const struct own_options *own, const char *path, struct err *e)
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

/* The directory (or file, if that is what gets bound on it) that will be mounted on. */
static int make_mount_point(struct storage *to, bool file, struct err *e)
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

/* Attaches a mount that is ready, and applies what is ours to it. */
static int attach(int mount_fd, struct storage *to, const struct own_options *own, struct err *e)
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
	return apply_own(top, own, to->mount_point, e);
}

static int mount_filesystem(struct storage_table *t, const Grpc__Storage *s, const char *fstype,
			    struct storage *to, struct err *e)
{
	_cleanup_(engine_mount_options_free) struct engine_mount_options o =
		ENGINE_MOUNT_OPTIONS_INIT;
	_cleanup_(cleanup_strv_frame) struct oci_strv rest = {.v = NULL};
	struct own_options own = {.has_gid = false};

	int r = split_options(s, false, &own, &rest, e);
	if (r == 0)
		r = engine_mount_options_parse(&rest, &o, e);
	if (r == 0)
		r = make_mount_point(to, false, e);
	if (r < 0)
		return r;
	modules_for_filesystem(t->modules, fstype);
	_cleanup_close_ int fd = mountfd_new(fstype, s->source, o.data, o.n_data, o.attr_set, e);
	if (fd < 0)
		return fd;
	return attach(fd, to, &own, e);
}

/* ---- Drivers ------------------------------------------------------------------------------ */

static int make_virtio_fs(struct storage_table *t, const Grpc__Storage *s, struct storage *to,
			  struct err *e)
{
	if (!*s->source)
		return err_set(e, -EINVAL, "virtio-fs storage %s has no tag", s->mount_point);
	return mount_filesystem(t, s, "virtiofs", to, e);
}

/* Memory: the pod's /dev/shm, an emptyDir of medium Memory. Its options are honoured in full. */
static int make_ephemeral(struct storage_table *t, const Grpc__Storage *s, struct storage *to,
			  struct err *e)
{
	if (*s->fstype && strcmp(s->fstype, "tmpfs") != 0)
		return err_status(
			e, STATUS_UNIMPLEMENTED,
			"ephemeral storage %s: file system %s is not supported, only tmpfs",
			s->mount_point, s->fstype);
	return mount_filesystem(t, s, "tmpfs", to, e);
}

/* A directory of the guest's own: an emptyDir. */
static int make_local(struct storage_table *t, const Grpc__Storage *s, struct storage *to,
		      struct err *e)
{
	_cleanup_(cleanup_strv_frame) struct oci_strv rest = {.v = NULL};
	struct own_options own = {.has_gid = false};

	int r = split_options(s, true, &own, &rest, e);
	if (r == 0 && rest.n > 0)
		r = err_set(e, -EINVAL, "local storage %s: unknown option %s", s->mount_point,
			    rest.v[0]);
	if (r == 0)
		r = make_mount_point(to, false, e);
	if (r < 0)
		return r;
	_cleanup_close_ int fd = open(to->mount_point, O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_errno(e, -errno, "open %s", to->mount_point);
	/* what is in it belongs to the pod, so it is left for the end of the machine */
	to->made_dir = false;
	return apply_own(fd, &own, to->mount_point, e);
}

static int make_bind(struct storage_table *t, const Grpc__Storage *s, struct storage *to,
		     struct err *e)
{
	_cleanup_(engine_mount_options_free) struct engine_mount_options o =
		ENGINE_MOUNT_OPTIONS_INIT;
	_cleanup_(cleanup_strv_frame) struct oci_strv rest = {.v = NULL};
	struct own_options own = {.has_gid = false};
	struct stat st;

	if (s->source[0] != '/')
		return err_set(e, -EINVAL, "bind storage %s: source %s is not absolute",
			       s->mount_point, s->source);
	int r = split_options(s, false, &own, &rest, e);
	if (r == 0)
		r = engine_mount_options_parse(&rest, &o, e);
	if (r == 0 && o.n_data > 0)
		r = err_set(e, -EINVAL, "bind storage %s: unknown option %s", s->mount_point,
			    o.data[0].key);
	if (r < 0)
		return r;
	if (stat(s->source, &st) < 0)
		return err_errno(e, -errno, "bind storage %s: source %s", s->mount_point,
				 s->source);
	r = make_mount_point(to, !S_ISDIR(st.st_mode), e);
	if (r < 0)
		return r;
	_cleanup_close_ int fd = mountfd_clone(AT_FDCWD, s->source, o.recursive);
	if (fd < 0)
		return err_errno(e, fd, "clone the mount of %s", s->source);
	r = mountfd_set_attr(fd, o.attr_set, o.attr_clear, false);
	if (r == 0 && (o.rec_set || o.rec_clear))
		r = mountfd_set_attr(fd, o.rec_set, o.rec_clear, true);
	if (r == 0 && o.propagation)
		r = mountfd_set_propagation(fd, o.propagation, o.propagation_recursive);
	if (r < 0)
		return err_errno(e, r, "set the options of %s", s->mount_point);
	return attach(fd, to, &own, e);
}

static const struct driver drivers[] = {
	{"virtio-fs", make_virtio_fs},
	{"ephemeral", make_ephemeral},
	{"local", make_local},
	{"bind", make_bind},
};

const char *const storage_drivers[] = {"bind", "ephemeral", "local", "virtio-fs", NULL};

/* ---- The table ---------------------------------------------------------------------------- */

int storage_table_new(struct modules *modules, struct storage_table **ret)
{
	struct storage_table *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	list_init(&t->storages);
	t->modules = modules;
	*ret = t;
	return 0;
}

static void storage_free(struct storage *s)
{
	free(s->mount_point);
	free(s);
}

static int make(struct storage_table *t, const Grpc__Storage *s, struct storage *to, struct err *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
		if (strcmp(drivers[i].name, s->driver) == 0) {
			if (s->fs_group)
				return err_status(e, STATUS_UNIMPLEMENTED,
						  "storage %s: fs_group is not supported",
						  s->mount_point);
			return drivers[i].make(t, s, to, e);
		}
	}
	return err_status(e, STATUS_UNIMPLEMENTED, "storage %s: this agent has no driver \"%s\"",
			  s->mount_point, s->driver);
}

/* A file system in use by a process that is being killed can be busy for a moment longer. */
static int unmount(const char *path)
{
	for (int i = 0; i < 10; i++) {
		if (umount2(path, UMOUNT_NOFOLLOW) == 0 || errno == EINVAL || errno == ENOENT)
			return 0;
		if (errno != EBUSY)
			return -errno;
		(void)usleep(10 * 1000);
	}
	log_warn("storage %s is busy: detached", path);
	return umount2(path, UMOUNT_NOFOLLOW | MNT_DETACH) < 0 ? -errno : 0;
}

static void unmake(struct storage *s)
{
	int r = s->mounted ? unmount(s->mount_point) : 0;
	if (r < 0)
		log_error("unmount storage %s: %s", s->mount_point, strerror(-r));
	/* rmdir() takes an empty directory only: it can never cost data */
	else if (s->made_dir && rmdir(s->mount_point) < 0 && errno != ENOENT)
		log_warn("remove directory %s: %s", s->mount_point, strerror(errno));
}

static struct storage *find(struct storage_table *t, const char *mount_point)
{
	struct list *l;

	list_for_each (l, &t->storages) {
		struct storage *s = list_entry(l, struct storage, link);
		if (strcmp(s->mount_point, mount_point) == 0)
			return s;
	}
	return NULL;
}

/* Finds a storage that is ready, or adds one in the state "making" for the caller to make. */
static struct storage *find_or_add(struct storage_table *t, const char *mount_point, bool *ret_new)
{
	struct storage *s;

	pthread_mutex_lock(&t->lock);
	while ((s = find(t, mount_point)) && s->state != STORAGE_READY)
		pthread_cond_wait(&t->changed, &t->lock);
	*ret_new = !s;
	if (!s && (s = calloc(1, sizeof *s))) {
		s->mount_point = strdup(mount_point);
		s->state = STORAGE_MAKING;
		if (s->mount_point) {
			list_add_tail(&t->storages, &s->link);
		} else {
			free(s);
			s = NULL;
		}
	}
	if (s)
		s->refs++;
	pthread_mutex_unlock(&t->lock);
	return s;
}

static void set_state(struct storage_table *t, struct storage *s, enum state state)
{
	pthread_mutex_lock(&t->lock);
	s->state = state;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

static void forget(struct storage_table *t, struct storage *s)
{
	pthread_mutex_lock(&t->lock);
	list_del(&s->link);
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
	storage_free(s);
}

static int add_one(struct storage_table *t, const Grpc__Storage *s, struct storage **ret,
		   struct err *e)
{
	bool new;

	if (!storage_mount_point_valid(s->mount_point))
		return err_set(e, -EINVAL,
			       "storage mount point \"%s\": not an absolute path without . and ..",
			       s->mount_point);
	struct storage *to = find_or_add(t, s->mount_point, &new);
	if (!to)
		return err_set(e, -ENOMEM, "no memory for storage %s", s->mount_point);
	if (new) {
		to->shared = s->shared;
		int r = make(t, s, to, e);
		if (r < 0) {
			unmake(to);
			forget(t, to);
			return r;
		}
		set_state(t, to, STORAGE_READY);
	}
	*ret = to;
	return 0;
}

static void release_one(struct storage_table *t, struct storage *s)
{
	pthread_mutex_lock(&t->lock);
	bool last = --s->refs == 0 && !s->shared;
	if (last)
		s->state = STORAGE_REMOVING;
	pthread_mutex_unlock(&t->lock);
	if (!last)
		return;
	unmake(s);
	forget(t, s);
}

int storages_add(struct storage_table *t, Grpc__Storage *const *v, size_t n,
		 struct storage_set *ret, struct err *e)
{
	int r = 0;

	*ret = (struct storage_set){.v = NULL};
	if (n > STORAGES_PER_REQUEST_MAX)
		return err_set(e, -E2BIG, "%zu storages: more than %d", n,
			       STORAGES_PER_REQUEST_MAX);
	ret->v = calloc(n ? n : 1, sizeof *ret->v);
	if (!ret->v)
		return err_set(e, -ENOMEM, "no memory for %zu storages", n);
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = add_one(t, v[i], &ret->v[ret->n], e);
		if (r == 0)
			ret->n++;
	}
	if (r < 0)
		storages_release(t, ret);
	return r;
}

void storages_release(struct storage_table *t, struct storage_set *set)
{
	while (set->n > 0)
		release_one(t, set->v[--set->n]);
	free(set->v);
	set->v = NULL;
}

/* By the superblock alone: mount(2) with MS_REMOUNT would also reset nosuid and its like. */
static int reconfigure(const Grpc__Storage *s, struct err *e)
{
	_cleanup_(engine_mount_options_free) struct engine_mount_options o =
		ENGINE_MOUNT_OPTIONS_INIT;
	_cleanup_(cleanup_strv_frame) struct oci_strv rest = {.v = NULL};
	struct own_options own = {.has_gid = false};

	int r = split_options(s, false, &own, &rest, e);
	if (r == 0)
		r = engine_mount_options_parse(&rest, &o, e);
	if (r < 0)
		return r;
	_cleanup_close_ int fd = fspick(AT_FDCWD, s->mount_point, FSPICK_CLOEXEC);
	if (fd < 0)
		return err_errno(e, -errno, "reconfigure %s", s->mount_point);
	for (size_t i = 0; i < o.n_data; i++) {
		const struct mountfd_option *d = &o.data[i];
		if (fsconfig(fd, d->value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, d->key,
			     d->value, 0) < 0)
			return err_errno(e, -errno, "storage %s: option %s=%s", s->mount_point,
					 d->key, d->value ? d->value : "");
	}
	if (fsconfig(fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		return err_errno(e, -errno, "reconfigure %s", s->mount_point);
	return 0;
}

int storages_remount(struct storage_table *t, const Grpc__Storage *s, struct err *e)
{
	if (strcmp(s->driver, "ephemeral") != 0)
		return err_set(e, -EINVAL, "storage %s: only ephemeral ones can be changed, not %s",
			       s->mount_point, s->driver);
	pthread_mutex_lock(&t->lock);
	struct storage *found = find(t, s->mount_point);
	bool ready = found && found->state == STORAGE_READY;
	pthread_mutex_unlock(&t->lock);
	if (!ready)
		return err_set(e, -ENOENT, "no such storage: %s", s->mount_point);
	return reconfigure(s, e);
}

void storage_table_free(struct storage_table *t)
{
	if (!t)
		return;
	while (!list_empty(&t->storages)) {
		struct storage *s = list_entry(t->storages.prev, struct storage, link);
		list_del(&s->link);
		unmake(s);
		storage_free(s);
	}
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
