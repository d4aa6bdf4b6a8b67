/* SPDX-License-Identifier: Apache-2.0 */
/* Storages on block devices: volumes, and the disks that stand for an emptyDir. */
#include "base/fd.h"
#include "guest/agent/device.h"
#include "guest/agent/storage-driver.h"
#include "io/child.h"

#include <string.h>
#include <sys/stat.h>

#define MKFS "mkfs.ext4"
/* A disk as large as the host's file system, on a slow machine. */
#define MKFS_TIMEOUT_MS 120000

struct wishes {
	bool create_filesystem;
	bool encrypt;
};

/* Words of the field's runtimes; words for others are not for us to judge. */
static int read_driver_options(const Grpc__Storage *s, struct wishes *ret, struct err *e)
{
	for (size_t i = 0; i < s->n_driver_options; i++) {
		const char *o = s->driver_options[i];
		if (strcmp(o, "create_filesystem") == 0)
			ret->create_filesystem = true;
		else if (strcmp(o, "encryption_key=ephemeral") == 0)
			ret->encrypt = true;
		else if (strncmp(o, "encryption_key=", 15) == 0)
			return err_set(e, -EINVAL, "storage %s: driver option %.80s: only %s",
				       s->mount_point, o, "encryption_key=ephemeral is known");
	}
	if (ret->encrypt && !ret->create_filesystem)
		return err_set(e, -EINVAL,
			       "storage %s: encryption_key=ephemeral needs create_filesystem",
			       s->mount_point);
	if (ret->create_filesystem && strcmp(s->fstype, "ext4") != 0)
		return err_set(e, -EINVAL,
			       "storage %s: create_filesystem makes ext4, not \"%.40s\"",
			       s->mount_point, s->fstype);
	return 0;
}

/*
 * Nothing survives the pod, so there is no journal and nothing reserved for root; a large, mostly
 * empty disk wants few and small inodes.
 */
static int make_filesystem(const Grpc__Storage *s, const char *device, struct err *e)
{
	static const char *const path[] = {"/sbin/" MKFS, "/usr/sbin/" MKFS};
	const char *argv[] = {NULL, "-F",     "-q", "-O",  "^has_journal", "-m", "0",
			      "-i", "163840", "-I", "128", device,	   NULL};
	const char *envp[] = {"PATH=/sbin:/usr/sbin:/bin:/usr/bin", NULL};
	struct child_spec spec = CHILD_SPEC_INIT;

	for (size_t i = 0; !argv[0] && i < ARRAY_SIZE(path); i++)
		if (access(path[i], X_OK) == 0)
			argv[0] = path[i];
	if (!argv[0])
		return err_status(e, STATUS_FAILED_PRECONDITION,
				  "storage %s: a file system is to be made on %s, but this guest "
				  "image has no " MKFS,
				  s->mount_point, device);
	spec.argv = argv;
	spec.envp = envp;
	int r = child_run(&spec, MKFS_TIMEOUT_MS, e);
	if (r > 0)
		return err_set(e, -EIO, MKFS " on %s failed with exit code %d", device, r);
	return r < 0 ? err_wrap(e, r, "storage %s", s->mount_point) : 0;
}

int storage_make_block(const struct storage_env *env, const struct storage_request *q,
		       struct storage *to, struct err *e)
{
	const Grpc__Storage *s = q->s;
	struct wishes wishes = {.encrypt = false};
	struct device_block device;

	if (!*s->fstype)
		return err_set(e, -EINVAL, "storage %s on device %.80s has no file system type",
			       s->mount_point, s->source);
	int r = read_driver_options(s, &wishes, e);
	if (r == 0)
		r = devices_find_block(env->devices, s->driver, s->source, &device, e);
	if (r < 0)
		return r;
	if (strcmp(s->driver, "nvdimm") == 0 && wishes.create_filesystem)
		return err_set(e, -EINVAL,
			       "storage %s: create_filesystem is not for persistent memory",
			       s->mount_point);
	if (wishes.encrypt)
		return storage_make_encrypted(env, q, device.rdev, to, e);
	if (wishes.create_filesystem)
		r = make_filesystem(s, device.path, e);
	if (r < 0)
		return r;
	return storage_mount_filesystem(env, q, s->fstype, device.path, to, e);
}
