/* SPDX-License-Identifier: Apache-2.0 */
/* Storages without a device: shared directories, memory, the guest's own directories, binds. */
#include "base/fd.h"
#include "guest/agent/storage-driver.h"
#include "sys/mountfd.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

int storage_make_virtio_fs(const struct storage_env *env, const struct storage_request *q,
			   struct storage *to, struct err *e)
{
	const Grpc__Storage *s = q->s;
	if (!*s->source)
		return err_set(e, -EINVAL, "virtio-fs storage %s has no tag", s->mount_point);
	return storage_mount_filesystem(env, q, "virtiofs", NULL, to, e);
}

/* Memory: the pod's /dev/shm, an emptyDir of medium Memory. Its options are honoured in full. */
int storage_make_ephemeral(const struct storage_env *env, const struct storage_request *q,
			   struct storage *to, struct err *e)
{
	const Grpc__Storage *s = q->s;
	if (*s->fstype && strcmp(s->fstype, "tmpfs") != 0)
		return err_status(
			e, STATUS_UNIMPLEMENTED,
			"ephemeral storage %s: file system %s is not supported, only tmpfs",
			s->mount_point, s->fstype);
	return storage_mount_filesystem(env, q, "tmpfs", NULL, to, e);
}

/* A directory of the guest's own: an emptyDir. */
int storage_make_local(const struct storage_env *env, const struct storage_request *q,
		       struct storage *to, struct err *e)
{
	const Grpc__Storage *s = q->s;
	_cleanup_(cleanup_strv_frame) struct oci_strv rest = {.v = NULL};
	struct storage_own_options own = {.has_gid = false};

	int r = storage_split_options(s, true, &own, &rest, e);
	if (r == 0 && rest.n > 0)
		r = err_set(e, -EINVAL, "local storage %s: unknown option %s", s->mount_point,
			    rest.v[0]);
	if (r == 0)
		r = storage_make_mount_point(to, false, e);
	if (r < 0)
		return r;
	_cleanup_close_ int fd = open(to->mount_point, O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_errno(e, -errno, "open %s", to->mount_point);
	/* what is in it belongs to the pod, so it is left for the end of the machine */
	to->made_dir = false;
	return storage_apply_own(fd, &own, to->mount_point, e);
}

int storage_make_bind(const struct storage_env *env, const struct storage_request *q,
		      struct storage *to, struct err *e)
{
	const Grpc__Storage *s = q->s;
	_cleanup_(engine_mount_options_free) struct engine_mount_options o =
		ENGINE_MOUNT_OPTIONS_INIT;
	_cleanup_(cleanup_strv_frame) struct oci_strv rest = {.v = NULL};
	struct storage_own_options own = {.has_gid = false};
	struct stat st;

	if (s->source[0] != '/')
		return err_set(e, -EINVAL, "bind storage %s: source %s is not absolute",
			       s->mount_point, s->source);
	int r = storage_split_options(s, false, &own, &rest, e);
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
	r = storage_make_mount_point(to, !S_ISDIR(st.st_mode), e);
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
	return storage_attach(fd, to, &own, e);
}

/* By the superblock alone: mount(2) with MS_REMOUNT would also reset nosuid and its like. */
int storage_reconfigure(const Grpc__Storage *s, struct err *e)
{
	_cleanup_(engine_mount_options_free) struct engine_mount_options o =
		ENGINE_MOUNT_OPTIONS_INIT;
	_cleanup_(cleanup_strv_frame) struct oci_strv rest = {.v = NULL};
	struct storage_own_options own = {.has_gid = false};

	int r = storage_split_options(s, false, &own, &rest, e);
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
