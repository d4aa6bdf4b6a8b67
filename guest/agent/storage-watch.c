/* SPDX-License-Identifier: Apache-2.0 */
/* Storages of the kind "watchable-bind". */
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "guest/agent/mirror.h"
#include "guest/agent/storage-driver.h"
#include "guest/agent/watch.h"
#include "sys/mountfd.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define PERIOD_MS 2000

/* What is larger is no ConfigMap (1 MiB, as Kubernetes limits one), and is bound instead. */
static const struct mirror_limits at_first = {.files = 16, .bytes = 1u << 20};
/* It may grow afterwards: a container that runs cannot be given another mount. */
static const struct mirror_limits later = {.files = 64, .bytes = 4u << 20};
/* Of the file system that holds all copies, if all of them grow. */
#define TMPFS_SIZE "64m"

struct watch {
	struct list link;
	struct watches *owner;
	struct mirror *mirror;
	char *path;
	bool complained;
};

/* A directory "watchable" on which the file system of the copies is mounted. */
struct base {
	struct list link;
	char path[];
};

struct watches {
	struct loop *loop;
	struct worker_pool *pool;
	pthread_mutex_t lock; /* guards the lists; held while copies are updated */
	struct list watches, bases;

	/* loop thread */
	struct loop_timer *timer; /* NULL while there is nothing to watch */
	bool updating;
};

/* ---- The clock ---------------------------------------------------------------------------- */

static void complain(struct watch *v, int r, const struct err *e)
{
	if (r >= 0)
		v->complained = false;
	else if (!v->complained) {
		log_warn("storage %s is not up to date: %s", v->path, err_text(e, r));
		v->complained = true;
	}
}

static bool is_empty(struct watches *w)
{
	pthread_mutex_lock(&w->lock);
	bool empty = list_empty(&w->watches);
	pthread_mutex_unlock(&w->lock);
	return empty;
}

static void on_timer(void *arg);

/* On the loop: there is a new storage, or an update has come to its end. */
static void arm(void *arg)
{
	struct watches *w = arg;

	if (w->updating)
		return;
	if (is_empty(w)) {
		loop_timer_free(TAKE_PTR(w->timer));
		return;
	}
	if (!w->timer && loop_timer_new(w->loop, on_timer, w, &w->timer) < 0) {
		log_error("no memory to watch storages: they are not kept up to date");
		return;
	}
	loop_timer_start(w->timer, PERIOD_MS);
}

static void updated(void *arg)
{
	struct watches *w = arg;

	w->updating = false;
	arm(w);
}

static void update_work(void *arg)
{
	struct watches *w = arg;
	struct list *l;

	pthread_mutex_lock(&w->lock);
	list_for_each (l, &w->watches) {
		struct watch *v = list_entry(l, struct watch, link);
		struct err e = ERR_INIT;
		int r = mirror_update(v->mirror, &later, &e);
		if (r > 0)
			log_debug("storage %s has changed", v->path);
		complain(v, r, &e);
	}
	pthread_mutex_unlock(&w->lock);
	while (loop_post(w->loop, updated, w) < 0)
		(void)usleep(10 * 1000);
}

static void on_timer(void *arg)
{
	struct watches *w = arg;

	w->updating = worker_pool_run(w->pool, update_work, w) == 0;
	if (!w->updating)
		loop_timer_start(w->timer, PERIOD_MS);
}

int watches_new(struct loop *loop, struct worker_pool *pool, struct watches **ret)
{
	struct watches *w = calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	w->loop = loop;
	w->pool = pool;
	pthread_mutex_init(&w->lock, NULL);
	list_init(&w->watches);
	list_init(&w->bases);
	*ret = w;
	return 0;
}

static void watch_free(struct watch *v)
{
	mirror_free(v->mirror);
	free(v->path);
	free(v);
}

void watches_free(struct watches *w)
{
	if (!w)
		return;
	while (!list_empty(&w->bases)) {
		struct base *b = list_first(&w->bases, struct base, link);
		list_del(&b->link);
		if (umount2(b->path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			log_warn("unmount %s: %s", b->path, strerror(errno));
		free(b);
	}
	loop_timer_free(w->timer);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* ---- Where copies are --------------------------------------------------------------------- */

/* <state>/shared/containers/[passthrough/]watchable/NAME: cut before NAME. */
static int base_path(const struct storage_env *env, const char *mount_point, char ret[PATH_MAX],
		     struct err *e)
{
	static const char *const below[] = {"watchable", "passthrough/watchable"};
	size_t n = strrchr(mount_point, '/') - mount_point;

	for (size_t i = 0; i < ARRAY_SIZE(below); i++) {
		int r = path_format(ret, PATH_MAX, "%s/shared/containers/%s", env->state_dir,
				    below[i]);
		if (r == 0 && strlen(ret) == n && strncmp(ret, mount_point, n) == 0 &&
		    mount_point[n + 1])
			return 0;
	}
	return err_set(e, -EINVAL,
		       "watchable storage %s: not directly in %s/shared/containers/watchable or "
		       "passthrough/watchable there",
		       mount_point, env->state_dir);
}

static bool has_base(const struct watches *w, const char *path)
{
	const struct list *l;

	list_for_each (l, &w->bases) {
		if (strcmp(list_entry(l, struct base, link)->path, path) == 0)
			return true;
	}
	return false;
}

static int mount_base(const char *path, struct err *e)
{
	static const struct mountfd_option options[] = {{"size", TMPFS_SIZE}, {"mode", "0755"}};

	int r = mkdir_parents(path, 0755);
	if (r < 0)
		return err_errno(e, r, "make directory %s", path);
	_cleanup_close_ int target = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (target < 0)
		return err_errno(e, -errno, "open %s", path);
	_cleanup_close_ int fd = mountfd_new("tmpfs", "watchable", options, ARRAY_SIZE(options),
					     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, e);
	if (fd < 0)
		return fd;
	r = mountfd_attach(fd, target);
	return r < 0 ? err_errno(e, r, "mount on %s", path) : 0;
}

/* The share cannot be written to by the guest, so the copies are in memory mounted there. */
static int make_base(struct watches *w, const char *path, struct err *e)
{
	int r = 0;

	pthread_mutex_lock(&w->lock);
	if (!has_base(w, path)) {
		size_t n = strlen(path) + 1;
		struct base *b = calloc(1, sizeof *b + n);
		r = b ? mount_base(path, e) : err_set(e, -ENOMEM, "no memory for %s", path);
		if (r == 0) {
			memcpy(b->path, path, n);
			list_add_tail(&w->bases, &b->link);
		} else {
			free(b);
		}
	}
	pthread_mutex_unlock(&w->lock);
	return r;
}

/* ---- The driver --------------------------------------------------------------------------- */

static void unwatch(struct storage *s)
{
	struct watch *v = s->driver_data;

	if (v) {
		pthread_mutex_lock(&v->owner->lock);
		list_del(&v->link);
		pthread_mutex_unlock(&v->owner->lock);
		watch_free(v);
	}
	s->driver_data = NULL;
	int r = remove_tree(s->mount_point);
	if (r < 0)
		log_warn("remove %s: %s", s->mount_point, strerror(-r));
}

static int watch_add(struct watches *w, struct mirror *m, struct storage *to, struct err *e)
{
	struct watch *v = calloc(1, sizeof *v);
	char *path = strdup(to->mount_point);

	if (!v || !path) {
		free(v);
		free(path);
		return err_set(e, -ENOMEM, "no memory to watch %s", to->mount_point);
	}
	*v = (struct watch){.owner = w, .mirror = m, .path = path};
	pthread_mutex_lock(&w->lock);
	int r = loop_post(w->loop, arm, w); /* which looks at the list when we are done */
	if (r == 0)
		list_add_tail(&w->watches, &v->link);
	pthread_mutex_unlock(&w->lock);
	if (r < 0) {
		free(v);
		free(path);
		return err_set(e, r, "no memory to watch %s", to->mount_point);
	}
	to->driver_data = v;
	return 0;
}

/* 1: it is too large for that. */
static int make_copy(const struct storage_env *env, const struct storage_request *q,
		     struct storage *to, struct err *e)
{
	struct mirror *m = NULL;

	int r = mirror_new(q->s->source, to->mount_point, &m, e);
	if (r < 0)
		return r;
	r = mirror_update(m, &at_first, e);
	if (r >= 0)
		r = watch_add(env->watches, m, to, e);
	if (r == 0)
		return 0;
	mirror_free(m);
	return r == -E2BIG ? 1 : r;
}

int storage_make_watchable(const struct storage_env *env, const struct storage_request *q,
			   struct storage *to, struct err *e)
{
	const Grpc__Storage *s = q->s;
	char base[PATH_MAX];
	struct stat st;

	int r = base_path(env, to->mount_point, base, e);
	if (r < 0)
		return r;
	if (s->source[0] != '/')
		return err_set(e, -EINVAL, "watchable storage %s: source %s is not absolute",
			       s->mount_point, s->source);
	if (stat(s->source, &st) < 0)
		return err_errno(e, -errno, "watchable storage %s: source %s", s->mount_point,
				 s->source);
	r = make_base(env->watches, base, e);
	if (r < 0 || !S_ISDIR(st.st_mode))
		return r < 0 ? r : storage_make_bind(env, q, to, e);
	r = storage_make_mount_point(to, false, e);
	if (r < 0)
		return r;
	to->made_dir = false;
	to->undo = unwatch;
	r = make_copy(env, q, to, e);
	if (r <= 0)
		return r;
	log_info("storage %s is large: it is bound, and not watched", s->mount_point);
	return storage_make_bind(env, q, to, e);
}
