/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lets go of the files of containers that are removed.
 *
 * The guest's kernel keeps what it has looked up of a shared directory, and for each such file the
 * file server on the host keeps a descriptor, and the descriptor its file system: a container that
 * is restarted for ever would eat up both. The runtime takes the files away once we have answered
 * RemoveContainer; nobody tells the guest. A look at the path afterwards makes its kernel ask the
 * server (fs/fuse/dir.c: fuse_dentry_revalidate), learn that it is gone, and drop all below it.
 */
#include "guest/agent/agent.h"

#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

/* An answer of the server counts for a second; and the runtime has to unmount. */
#define LOOK_MS 2000
/* A host that has not removed it by then does not mean to. */
#define LOOKS_MAX 8
/* Containers have a handful of mounts; what is beyond stays until memory is short. */
#define PATHS_MAX 1024

struct forgotten {
	struct list link;
	unsigned looks;
	bool gone;
	char path[];
};

static void drop(struct forgotten *f)
{
	list_del(&f->link);
	free(f);
}

static void look_work(struct job *j)
{
	struct list *l, *paths = j->result;
	struct statfs fs;

	list_for_each (l, paths) {
		struct forgotten *f = list_entry(l, struct forgotten, link);
		bool there = statfs(f->path, &fs) == 0 && fs.f_type == FUSE_SUPER_MAGIC;
		f->gone = !there || ++f->looks >= LOOKS_MAX;
	}
}

static void look_done(struct job *j)
{
	struct agent *a = j->agent;
	struct list *l, *next, *paths = j->result;

	list_for_each_safe (l, next, paths) {
		struct forgotten *f = list_entry(l, struct forgotten, link);
		if (f->gone) {
			drop(f);
			a->n_forgotten--;
		} else {
			list_del(&f->link);
			list_add_tail(&a->forgotten, &f->link);
		}
	}
	free(paths);
	a->looking = false;
	if (!list_empty(&a->forgotten))
		loop_timer_start(a->look, LOOK_MS);
}

static void on_look(void *arg)
{
	struct agent *a = arg;
	struct list *l, *next, *paths = malloc(sizeof *paths);
	struct job *j = paths ? job_new(a, NULL, NULL) : NULL;

	if (!j) {
		free(paths);
		return; /* logged; the next removal looks again */
	}
	list_init(paths);
	list_for_each_safe (l, next, &a->forgotten) {
		list_del(l);
		list_add_tail(paths, l);
	}
	j->result = paths;
	a->looking = true;
	job_start(j, look_work, look_done);
}

static void forget_path(struct agent *a, const char *path)
{
	size_t n = strlen(path) + 1;
	struct forgotten *f = a->n_forgotten < PATHS_MAX ? calloc(1, sizeof *f + n) : NULL;

	if (!f)
		return; /* it costs memory, no more */
	memcpy(f->path, path, n);
	list_add_tail(&a->forgotten, &f->link);
	a->n_forgotten++;
}

void forget_files(struct agent *a, const struct oci_spec *s)
{
	if (!s || !a->look)
		return;
	forget_path(a, s->root_path);
	for (size_t i = 0; i < s->n_mounts; i++)
		if (s->mounts[i].source && s->mounts[i].source[0] == '/')
			forget_path(a, s->mounts[i].source);
	if (!a->looking)
		loop_timer_start(a->look, LOOK_MS);
}

int forget_start(struct agent *a)
{
	return loop_timer_new(a->loop, on_look, a, &a->look);
}

void forget_stop(struct agent *a)
{
	loop_timer_free(TAKE_PTR(a->look));
	while (!list_empty(&a->forgotten))
		drop(list_first(&a->forgotten, struct forgotten, link));
}
