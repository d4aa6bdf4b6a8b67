/* SPDX-License-Identifier: Apache-2.0 */
/* Overlays of directories that are there already: what the runtime mounted or shared before. */
#include "base/fd.h"
#include "guest/agent/storage-driver.h"
#include "sys/mount-options.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define WRITABLE "io.katacontainers.fs-opt.overlay-rw"
#define CREATE_DIRECTORY "io.katacontainers.volume.overlayfs.create_directory="
/* mount(2) takes a page (kernel: copy_mount_options). */
#define DATA_MAX 4095

/* A directory of the container's own, removed with it. */
struct overlay {
	char dir[192]; /* <state>/<container>/overlay-..., or "" */
	char stop[160];
};

static void undo(struct storage *s)
{
	struct overlay *o = s->driver_data;

	if (o->dir[0]) {
		(void)remove_tree(o->dir);
		*strrchr(o->dir, '/') = '\0';
		rmdir_parents(o->dir, o->stop);
	}
	free(o);
	s->driver_data = NULL;
}

/* A writable layer on top: two directories of the container's, in the guest's memory. */
static int add_writable(const struct storage_env *env, const struct storage_request *q,
			struct storage *to, struct buf *data, struct err *e)
{
	char upper[224], work[224];

	if (!q->container)
		return err_set(e, -EINVAL,
			       "option " WRITABLE ": only a container has such a layer");
	struct overlay *o = calloc(1, sizeof *o);
	if (!o)
		return err_set(e, -ENOMEM, "no memory for an overlay");
	int r = path_format(o->stop, sizeof o->stop, "%s", env->state_dir);
	if (r == 0)
		r = path_format(o->dir, sizeof o->dir, "%s/%s/overlay.XXXXXX", env->state_dir,
				q->container);
	if (r < 0) {
		free(o);
		return err_set(e, r, "the path of the writable layer is too long");
	}
	char *slash = strrchr(o->dir, '/');
	*slash = '\0';
	r = mkdir_parents(o->dir, 0755);
	*slash = '/';
	/* a container may have several */
	if (r == 0 && !mkdtemp(o->dir))
		r = -errno;
	if (r < 0) {
		free(o);
		return err_errno(e, r, "make a directory for the writable layer");
	}
	to->driver_data = o;
	to->undo = undo;
	(void)snprintf(upper, sizeof upper, "%s/upper", o->dir);
	(void)snprintf(work, sizeof work, "%s/work", o->dir);
	if (mkdir(upper, 0755) < 0 || mkdir(work, 0700) < 0)
		return err_errno(e, -errno, "make directories in %s", o->dir);
	buf_printf(data, "%supperdir=%s,workdir=%s", data->len ? "," : "", upper, work);
	return 0;
}

static int create_directories(const Grpc__Storage *s, struct err *e)
{
	struct stat st;

	for (size_t i = 0; i < s->n_driver_options; i++) {
		const char *o = s->driver_options[i];
		if (strncmp(o, CREATE_DIRECTORY, strlen(CREATE_DIRECTORY)) != 0)
			return err_set(e, -EINVAL, "overlay %s: unknown driver option %.200s",
				       s->mount_point, o);
		const char *path = o + strlen(CREATE_DIRECTORY);
		if (!storage_mount_point_valid(path))
			return err_set(
				e, -EINVAL,
				"driver option %.300s: not an absolute path without . and ..", o);
		int r = mkdir_parents(path, 0755);
		/* a file system that cannot make directories may have it all the same */
		if (r < 0 && !(stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
			return err_errno(e, r, "make directory %s", path);
	}
	return 0;
}

/* The storage's options for the kernel, without ours. */
static int kernel_options(const Grpc__Storage *s, struct mount_options *ret, bool *ret_writable,
			  struct err *e)
{
	_cleanup_free_ char **words = calloc(s->n_options + 1, sizeof *words);
	size_t n = 0;

	if (!words)
		return err_set(e, -ENOMEM, "no memory for mount options");
	for (size_t i = 0; i < s->n_options; i++) {
		if (strcmp(s->options[i], WRITABLE) == 0)
			*ret_writable = true;
		else
			words[n++] = s->options[i];
	}
	return mount_options_parse(words, n, ret, e);
}

static int mount_it(const struct mount_options *o, struct storage *to, struct err *e)
{
	char self[32];

	if (o->data.len > DATA_MAX)
		return err_set(e, -E2BIG, "overlay %s: its options are over %d bytes",
			       to->mount_point, DATA_MAX);
	_cleanup_close_ int at =
		open(to->mount_point, O_PATH | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY);
	if (at < 0)
		return err_errno(e, -errno, "open mount point %s", to->mount_point);
	(void)snprintf(self, sizeof self, "/proc/self/fd/%d", at);
	if (mount("overlay", self, "overlay", o->flags, o->data.len ? o->data.data : NULL) < 0)
		return err_errno(e, -errno, "mount overlay %s (%.300s)", to->mount_point,
				 o->data.len ? o->data.data : "no options");
	to->mounted = true;
	return 0;
}

int storage_make_overlay(const struct storage_env *env, const struct storage_request *q,
			 struct storage *to, struct err *e)
{
	_cleanup_(mount_options_free) struct mount_options o = MOUNT_OPTIONS_INIT;
	bool writable = false;

	int r = kernel_options(q->s, &o, &writable, e);
	if (r == 0 && (o.flags & (MS_BIND | MS_REMOUNT | MS_MOVE) || o.propagation))
		r = err_set(e, -EINVAL,
			    "overlay %s: bind, remount and propagation are no options of it",
			    to->mount_point);
	if (r == 0 && writable)
		r = add_writable(env, q, to, &o.data, e);
	if (r == 0)
		r = create_directories(q->s, e);
	if (r == 0 && buf_failed(&o.data))
		r = err_set(e, -ENOMEM, "no memory for mount options");
	if (r == 0)
		r = storage_make_mount_point(to, false, e);
	if (r < 0)
		return r;
	modules_for_filesystem(env->modules, "overlay");
	return mount_it(&o, to, e);
}
