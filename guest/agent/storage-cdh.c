/* SPDX-License-Identifier: Apache-2.0 */
/* Storages that the Confidential Data Hub makes: images that the guest pulls, encrypted disks. */
#include "base/fd.h"
#include "fmt/json.h"
#include "guest/agent/cdh.h"
#include "guest/agent/pause.h"
#include "guest/agent/storage-driver.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define OPTION "image_guest_pull="
/* As storage-block.c has them for disks that are not encrypted. */
#define MKFS_OPTIONS "-O ^has_journal -m 0 -i 163840 -I 128"

/* All annotations of a container are in it; what a request may carry is less than this. */
static const struct json_limits limits = {.bytes = 1u << 20, .depth = 8, .values = 4096};

/* ---- Encrypted disks ---------------------------------------------------------------------- */

int storage_make_encrypted(const struct storage_env *env, const struct storage_request *q,
			   dev_t device, struct storage *to, struct err *e)
{
	int r = storage_make_mount_point(to, false, e);
	if (r == 0)
		r = cdh_mount_ephemeral(env->cdh, device, to->mount_point, MKFS_OPTIONS, e);
	to->mounted = r == 0;
	return r < 0 ? err_wrap(e, r, "storage %s", q->s->mount_point) : 0;
}

/* ---- Images ------------------------------------------------------------------------------- */

int storage_pull_is_sandbox(const char *text, bool *ret, struct err *e)
{
	static const char *const keys[] = {"io.kubernetes.cri.container-type",
					   "io.kubernetes.cri-o.ContainerType"};
	struct json_reader jr = {.e = e};
	struct json_at root, metadata;
	json_t *doc;

	int r = json_text_parse(text, strlen(text), &limits, &doc, e);
	if (r < 0)
		return r;
	*ret = false;
	root = json_at_root(doc, "image_guest_pull");
	if (json_value_is_object(&jr, &root) && json_read_object(&jr, &root, "metadata", &metadata))
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
			*ret |= strcmp(json_read_string(&jr, &metadata, keys[i], ""), "sandbox") ==
				0;
	json_decref(doc);
	return jr.r;
}

static int read_option(const Grpc__Storage *s, bool *ret_sandbox, struct err *e)
{
	for (size_t i = 0; i < s->n_driver_options; i++) {
		const char *o = s->driver_options[i];
		if (strncmp(o, OPTION, sizeof OPTION - 1) == 0)
			return storage_pull_is_sandbox(o + sizeof OPTION - 1, ret_sandbox, e);
	}
	return err_set(e, -EINVAL, "there is no driver option " OPTION "...");
}

/* <state>/ID, whose directory "rootfs" must be the mount point. */
static int bundle_path(const struct storage_env *env, const struct storage_request *q,
		       char ret[PATH_MAX], struct err *e)
{
	char rootfs[PATH_MAX];

	if (!q->container)
		return err_set(e, -EINVAL, "an image is for a container, not for the sandbox");
	int r = path_format(ret, PATH_MAX, "%s/%s", env->state_dir, q->container);
	if (r == 0)
		r = path_format(rootfs, sizeof rootfs, "%s/rootfs", ret);
	if (r < 0 || strcmp(rootfs, q->s->mount_point) != 0)
		return err_set(e, -EINVAL, "the image of container %s belongs to %s/%s/rootfs",
			       q->container, env->state_dir, q->container);
	return 0;
}

/* The root, and what the hub or we have put beside it. */
static void remove_bundle(struct storage *s)
{
	char path[PATH_MAX];

	(void)remove_tree(s->mount_point);
	if (path_format(path, sizeof path, "%.*s/config.json",
			(int)(strrchr(s->mount_point, '/') - s->mount_point), s->mount_point) < 0)
		return;
	(void)unlink(path);
	*strrchr(path, '/') = '\0';
	(void)rmdir(path); /* unless somebody else has something there */
}

static bool is_mount_root(const char *path)
{
	struct statx st;

	return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &st) == 0 &&
	       st.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

static int pull(const struct storage_env *env, const char *image, const char *bundle,
		struct storage *to, struct err *e)
{
	struct stat st;

	if (!*image)
		return err_set(e, -EINVAL, "no image is named");
	int r = cdh_pull_image(env->cdh, image, bundle, e);
	to->mounted = is_mount_root(to->mount_point); /* also after a failure */
	if (r == 0 && (lstat(to->mount_point, &st) < 0 || !S_ISDIR(st.st_mode)))
		r = err_status(e, STATUS_INTERNAL,
			       "the Confidential Data Hub has left no directory %s",
			       to->mount_point);
	return r;
}

int storage_make_pulled(const struct storage_env *env, const struct storage_request *q,
			struct storage *to, struct err *e)
{
	char bundle[PATH_MAX];
	bool sandbox;

	int r = read_option(q->s, &sandbox, e);
	if (r == 0)
		r = bundle_path(env, q, bundle, e);
	if (r < 0)
		return err_wrap(e, r, "image storage %s", q->s->mount_point);
	r = mkdir_parents(bundle, 0755);
	if (r < 0)
		return err_errno(e, r, "make directory %s", bundle);
	to->undo = remove_bundle;
	r = sandbox ? pause_copy(env->pause_bundle, bundle, e)
		    : pull(env, q->s->source, bundle, to, e);
	return r < 0 ? err_wrap(e, r, "image storage %s", q->s->mount_point) : 0;
}
