/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/cdi-watch.h"

#include <limits.h>
#include <stdalign.h>
#include <string.h>
#include <sys/inotify.h>

#define FILES (IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR)
#define PARENT (IN_CREATE | IN_MOVED_TO | IN_ONLYDIR)

struct cdi_watch {
	int fd;
	struct loop_io *io;
	const char *const *dirs;
	void (*fn)(void *arg);
	void *arg;
};

/* The directories that are there, and the parents of all, where they may come. What is watched
 * already stays so. */
static void watch_all(struct cdi_watch *w)
{
	char parent[PATH_MAX];

	for (size_t i = 0; w->dirs[i]; i++) {
		(void)snprintf(parent, sizeof parent, "%s", w->dirs[i]);
		char *slash = strrchr(parent, '/');
		if (slash && slash != parent) {
			*slash = '\0';
			(void)inotify_add_watch(w->fd, parent, PARENT);
		}
		(void)inotify_add_watch(w->fd, w->dirs[i], FILES);
	}
}

static void on_change(void *arg, unsigned events)
{
	struct cdi_watch *w = arg;
	alignas(struct inotify_event) char room[4096];

	(void)events;
	while (read(w->fd, room, sizeof room) > 0)
		;
	/* first the watch, then the look */
	watch_all(w);
	w->fn(w->arg);
}

int cdi_watch_new(struct loop *l, const char *const *dirs, void (*fn)(void *arg), void *arg,
		  struct cdi_watch **ret, struct err *e)
{
	struct cdi_watch *w = calloc(1, sizeof *w);
	if (!w)
		return err_set(e, -ENOMEM, "no memory to watch for files of CDI");
	*w = (struct cdi_watch){.dirs = dirs, .fn = fn, .arg = arg};
	w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	int r = w->fd < 0 ? -errno : loop_io_new(l, w->fd, LOOP_READ, on_change, w, &w->io);
	if (r < 0) {
		cdi_watch_free(w);
		return err_errno(e, r, "watch for files of CDI");
	}
	watch_all(w);
	*ret = w;
	return 0;
}

void cdi_watch_free(struct cdi_watch *w)
{
	if (!w)
		return;
	loop_io_free(w->io);
	(void)close_fd(w->fd);
	free(w);
}
