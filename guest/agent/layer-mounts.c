/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/layer-mounts.h"

#include "base/fd.h"

#include <pthread.h>
#include <string.h>

struct layer_mounts {
	pthread_mutex_t lock; /* guards what follows, and each layer's refs and ready */
	pthread_cond_t changed;
	struct list layers;
	unsigned long long next; /* names mount points */
	char *dir;
	struct layer_mount_ops ops;
};

int layer_mounts_new(const char *dir, const struct layer_mount_ops *ops, struct layer_mounts **ret)
{
	struct layer_mounts *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	t->dir = strdup(dir);
	if (!t->dir) {
		free(t);
		return -ENOMEM;
	}
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	list_init(&t->layers);
	t->ops = *ops;
	*ret = t;
	return 0;
}

void layer_mounts_free(struct layer_mounts *t)
{
	if (!t)
		return;
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t->dir);
	free(t);
}

static struct layer_mount *find(struct layer_mounts *t, const char *key)
{
	struct list *l;

	list_for_each (l, &t->layers) {
		struct layer_mount *m = list_entry(l, struct layer_mount, link);
		if (strcmp(m->key, key) == 0)
			return m;
	}
	return NULL;
}

static struct layer_mount *add(struct layer_mounts *t, const char *key)
{
	struct layer_mount *m = calloc(1, sizeof *m);
	if (!m)
		return NULL;
	m->key = strdup(key);
	if (!m->key || path_format(m->path, sizeof m->path, "%s/%llu", t->dir, t->next) < 0) {
		free(m->key);
		free(m);
		return NULL;
	}
	t->next++;
	list_add_tail(&t->layers, &m->link);
	return m;
}

/* One that is there, or a new one that the caller has to mount (*ret_new). */
static struct layer_mount *find_or_add(struct layer_mounts *t, const char *key, bool *ret_new)
{
	struct layer_mount *m;

	pthread_mutex_lock(&t->lock);
	while ((m = find(t, key)) && !m->ready)
		pthread_cond_wait(&t->changed, &t->lock);
	*ret_new = !m;
	if (!m)
		m = add(t, key);
	if (m)
		m->refs++;
	pthread_mutex_unlock(&t->lock);
	return m;
}

static void forget(struct layer_mounts *t, struct layer_mount *m)
{
	pthread_mutex_lock(&t->lock);
	list_del(&m->link);
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
	free(m->key);
	free(m);
}

/* Unmounts and forgets; meanwhile who wants this layer waits. */
static void end(struct layer_mounts *t, struct layer_mount *m)
{
	t->ops.unmount(m);
	rmdir_parents(m->path, t->dir);
	(void)rmdir(t->dir); /* if it was the last */
	forget(t, m);
}

int layer_mounts_get(struct layer_mounts *t, const char *key, const void *what,
		     struct layer_mount **ret, struct err *e)
{
	bool new;

	struct layer_mount *m = find_or_add(t, key, &new);
	if (!m)
		return err_set(e, -ENOMEM, "no memory for a layer");
	if (new) {
		int r = mkdir_parents(m->path, 0700);
		r = r < 0 ? err_errno(e, r, "make %s", m->path) : t->ops.mount(m, what, e);
		if (r < 0) {
			end(t, m);
			return r;
		}
		pthread_mutex_lock(&t->lock);
		m->ready = true;
		pthread_cond_broadcast(&t->changed);
		pthread_mutex_unlock(&t->lock);
	}
	*ret = m;
	return 0;
}

void layer_mounts_put(struct layer_mounts *t, struct layer_mount *m)
{
	pthread_mutex_lock(&t->lock);
	bool last = --m->refs == 0;
	if (last)
		m->ready = false;
	pthread_mutex_unlock(&t->lock);
	if (last)
		end(t, m);
}
