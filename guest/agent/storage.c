/* SPDX-License-Identifier: Apache-2.0 */
/* The table of storages: who uses which, made once, taken down with the last user. */
#include "guest/agent/storage.h"

#include "base/fd.h"
#include "base/log.h"
#include "guest/agent/fs-group.h"
#include "guest/agent/layer-mounts.h"
#include "guest/agent/layer.h"
#include "guest/agent/pause.h"
#include "guest/agent/storage-driver.h"
#include "oci/annotations.h"
#include "sys/mountfd.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mount.h>

/* In the kernel's own terms (struct path): a longer one cannot be mounted on. */
#define MOUNT_POINT_MAX 4095

struct storage_table {
	pthread_mutex_t lock; /* guards the list and every storage's refs and state */
	pthread_cond_t changed;
	struct list storages;
	struct storage_env env;
};

/* Of all that have its options, whatever driver they name for their disk. */
#define LAYERS "erofs.multi-layer"

static const struct storage_driver drivers[] = {
	{"virtio-fs", storage_make_virtio_fs},
	{"ephemeral", storage_make_ephemeral},
	{"local", storage_make_local},
	{"bind", storage_make_bind},
	{"blk", storage_make_block},
	{"mmioblk", storage_make_block},
	{"nvdimm", storage_make_block},
	{"scsi", storage_make_block},
	{"overlayfs", storage_make_overlay},
	{LAYERS, storage_make_layers},
	{"watchable-bind", storage_make_watchable, .owns_files = true},
	{"image_guest_pull", storage_make_pulled, .owns_files = true},
};

const char *const storage_drivers[] = {
	"bind",	  "blk",       LAYERS, "ephemeral", "image_guest_pull", "local", "mmioblk",
	"nvdimm", "overlayfs", "scsi", "virtio-fs", "watchable-bind",	NULL};

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

/* ---- The table ---------------------------------------------------------------------------- */

static int new_layers(struct storage_env *env)
{
	char dir[128];

	int r = path_format(dir, sizeof dir, "%s/layers", env->state_dir);
	return r < 0 ? r : layer_mounts_new(dir, &storage_layer_ops, &env->layers);
}

int storage_table_new(const struct storage_env *env, struct storage_table **ret)
{
	struct storage_table *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	list_init(&t->storages);
	t->env = *env;
	int r = new_layers(&t->env);
	if (r < 0) {
		storage_table_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

static void storage_free(struct storage *s)
{
	free(s->mount_point);
	free(s->what);
	free(s);
}

static bool has_option(const Grpc__Storage *s, const char *word)
{
	for (size_t i = 0; i < s->n_options; i++)
		if (strcmp(s->options[i], word) == 0)
			return true;
	return false;
}

/*
 * Gives the volume to its group. It may be mounted read-only, so this goes by a mount of its own
 * that nobody sees; where even the file system cannot be written to, its owners are what they are.
 */
static int apply_fs_group(const Grpc__Storage *s, struct err *e)
{
	const struct fs_group g = {
		.gid = s->fs_group->group_id,
		.on_root_mismatch = s->fs_group->group_change_policy ==
				    TYPES__FSGROUP_CHANGE_POLICY__OnRootMismatch,
		.read_only = has_option(s, "ro"),
	};

	if (g.gid == (gid_t)-1)
		return err_set(e, -EINVAL, "storage %s: fs_group %u is not a group id",
			       s->mount_point, g.gid);
	_cleanup_close_ int fd = mountfd_clone(AT_FDCWD, s->mount_point, false);
	if (fd < 0)
		return err_errno(e, fd, "clone the mount of %s", s->mount_point);
	int r = mountfd_set_attr(fd, 0, MOUNT_ATTR_RDONLY, false);
	if (r < 0)
		return err_errno(e, r, "make a writable mount of %s", s->mount_point);
	r = fs_group_apply(fd, &g, s->mount_point, e);
	if (r != -EROFS)
		return r;
	log_warn("storage %s cannot be written to: its files keep their group", s->mount_point);
	return 0;
}

static int make(struct storage_table *t, const struct storage_request *q, struct storage *to,
		struct err *e)
{
	const Grpc__Storage *s = q->s;
	const char *name = layer_is_one(s) ? LAYERS : s->driver;

	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
		if (strcmp(drivers[i].name, name) == 0) {
			if (s->fs_group && drivers[i].owns_files)
				return err_set(e, -EINVAL,
					       "storage %s: fs_group has no meaning for driver %s",
					       s->mount_point, name);
			int r = drivers[i].make(&t->env, q, to, e);
			return r == 0 && s->fs_group ? apply_fs_group(s, e) : r;
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
	if (s->undo)
		s->undo(s);
	s->undo = NULL;
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

static struct storage *storage_new(const char *mount_point, const char *what)
{
	struct storage *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->mount_point = strdup(mount_point);
	s->what = strdup(what);
	if (!s->mount_point || !s->what) {
		storage_free(s);
		return NULL;
	}
	s->state = STORAGE_MAKING;
	return s;
}

/* Finds a storage that is ready, or adds one in the state "making" for the caller to make. */
static int find_or_add(struct storage_table *t, const char *mount_point, const char *what,
		       struct storage **ret, bool *ret_new, struct err *e)
{
	struct storage *s;
	int r = 0;

	pthread_mutex_lock(&t->lock);
	while ((s = find(t, mount_point)) && s->state != STORAGE_READY)
		pthread_cond_wait(&t->changed, &t->lock);
	*ret_new = !s;
	if (!s && (s = storage_new(mount_point, what)))
		list_add_tail(&t->storages, &s->link);
	if (!s)
		r = err_set(e, -ENOMEM, "no memory for storage %s", mount_point);
	else if (strcmp(s->what, what) != 0)
		r = err_set(e, -EEXIST, "storage %s is %s, and cannot be %s as well", mount_point,
			    s->what, what);
	else
		s->refs++;
	pthread_mutex_unlock(&t->lock);
	*ret = s;
	return r;
}

static void set_state(struct storage_table *t, struct storage *s, enum storage_state state)
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

static int add_one(struct storage_table *t, const struct storage_request *q, struct storage **ret,
		   struct err *e)
{
	const Grpc__Storage *s = q->s;
	_cleanup_free_ char *what = NULL;
	struct storage *to;
	bool new;

	if (!storage_mount_point_valid(s->mount_point))
		return err_set(e, -EINVAL,
			       "storage mount point \"%s\": not an absolute path without . and ..",
			       s->mount_point);
	if (asprintf(&what, "%s storage (%s) of \"%s\"", s->driver, s->fstype, s->source) < 0) {
		what = NULL;
		return err_set(e, -ENOMEM, "no memory for storage %s", s->mount_point);
	}
	int r = find_or_add(t, s->mount_point, what, &to, &new, e);
	if (r < 0)
		return r;
	if (new) {
		to->shared = s->shared;
		r = make(t, q, to, e);
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
	bool last = --s->refs == 0 && !(s->shared && s->kept);
	if (last)
		s->state = STORAGE_REMOVING;
	pthread_mutex_unlock(&t->lock);
	if (!last)
		return;
	unmake(s);
	forget(t, s);
}

int storages_add(struct storage_table *t, const char *container, Grpc__Storage *const *v, size_t n,
		 struct storage_set *ret, struct err *e)
{
	bool has_layers = false;
	int r = 0;

	*ret = (struct storage_set){.v = NULL};
	if (n > STORAGES_PER_REQUEST_MAX)
		return err_set(e, -E2BIG, "%zu storages: more than %d", n,
			       STORAGES_PER_REQUEST_MAX);
	ret->v = calloc(n ? n : 1, sizeof *ret->v);
	if (!ret->v)
		return err_set(e, -ENOMEM, "no memory for %zu storages", n);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct storage_request q = {
			.s = v[i], .container = container, .all = v, .n_all = n};
		if (layer_is_one(v[i])) {
			if (has_layers) /* they are one storage, and made already */
				continue;
			has_layers = true;
			r = storage_layers_target(v, n, &q.s, e);
		}
		if (r == 0)
			r = add_one(t, &q, &ret->v[ret->n], e);
		if (r == 0)
			ret->n++;
	}
	if (r < 0)
		storages_release(t, ret);
	return r;
}

void storages_keep(struct storage_table *t, const struct storage_set *set)
{
	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < set->n; i++)
		set->v[i]->kept = true;
	pthread_mutex_unlock(&t->lock);
}

int storages_set_process(struct storage_table *t, Grpc__Storage *const *v, size_t n,
			 struct oci_spec *s, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(v[i]->driver, "image_guest_pull") == 0 &&
		    oci_container_type(s) == OCI_CONTAINER_SANDBOX)
			return pause_set_process(t->env.pause_bundle, s, e);
	return 0;
}

void storages_release(struct storage_table *t, struct storage_set *set)
{
	while (set->n > 0)
		release_one(t, set->v[--set->n]);
	free(set->v);
	set->v = NULL;
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
	return storage_reconfigure(s, e);
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
	layer_mounts_free(t->env.layers);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
