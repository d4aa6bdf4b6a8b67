/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/trees.h"

#include "base/fd.h"
#include "engine/container.h"
#include "sys/mountfd.h"
#include "sys/scm.h"
#include "sys/userns.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>

#define INDEX_ROOT (-1)
#define MQUEUE_MAGIC 0x19800202 /* ipc/mqueue.c */

bool engine_mount_is_bind(const struct oci_mount *m, const struct engine_mount_options *o)
{
	return !o->remount && (o->bind || (m->type && strcmp(m->type, "bind") == 0));
}

bool engine_mount_is_mapped(const struct oci_mount *m, const struct engine_mount_options *o)
{
	return o->idmap || m->n_uid_mappings || m->n_gid_mappings;
}

static int check(const struct oci_spec *spec, const struct oci_mount *m,
		 const struct engine_mount_options *o, struct err *e)
{
	if (!engine_mount_is_mapped(m, o))
		return 0;
	if (!engine_mount_is_bind(m, o))
		return err_set(e, -EINVAL, "mount %s: only a bind can have id mappings",
			       m->destination);
	if (!m->n_uid_mappings != !m->n_gid_mappings)
		return err_set(e, -EINVAL, "mount %s: uidMappings and gidMappings go together",
			       m->destination);
	if (!m->n_uid_mappings && !oci_spec_namespace(spec, OCI_NS_USER))
		return err_set(
			e, -EINVAL,
			"mount %s: %s needs uidMappings and gidMappings, or a user namespace",
			m->destination, o->idmap_recursive ? "ridmap" : "idmap");
	return 0;
}

int engine_trees_check(const struct oci_spec *spec, struct err *e)
{
	for (size_t i = 0; i < spec->n_mounts; i++) {
		struct engine_mount_options o;
		int r = engine_mount_options_parse(&spec->mounts[i].options, &o, e);
		if (r < 0)
			return err_wrap(e, r, "mount %s", spec->mounts[i].destination);
		r = check(spec, &spec->mounts[i], &o, e);
		engine_mount_options_free(&o);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The namespace whose maps a mount takes: of its own, or the container's. */
static int open_maps(const struct engine_launch *l, const struct oci_mount *m, struct err *e)
{
	if (!m->n_uid_mappings) {
		int fd = openat(l->proc_fd, "ns/user", O_RDONLY | O_CLOEXEC);
		return fd < 0 ? err_errno(e, -errno, "open the container's user namespace") : fd;
	}
	_cleanup_buf_ struct buf uids = BUF_INIT, gids = BUF_INIT;
	engine_format_map(m->uid_mappings, m->n_uid_mappings, &uids);
	engine_format_map(m->gid_mappings, m->n_gid_mappings, &gids);
	if (buf_failed(&uids) || buf_failed(&gids))
		return err_errno(e, -ENOMEM, "id mappings");
	return userns_new(uids.data, gids.data, e);
}

static int map_ids(const struct engine_launch *l, const struct oci_mount *m,
		   const struct engine_mount_options *o, int tree, struct err *e)
{
	_cleanup_close_ int maps = open_maps(l, m, e);
	if (maps < 0)
		return err_wrap(e, maps, "mount %s", m->destination);
	int r = mountfd_set_idmap(tree, maps, o->idmap_recursive);
	if (r == -EINVAL || r == -EOPNOTSUPP)
		return err_set(e, r, "mount %s: the filesystem of %s cannot map ids",
			       m->destination, m->source);
	return r < 0 ? err_errno(e, r, "mount %s: map ids", m->destination) : 0;
}

/*
 * As if the child had copied it: see the propagation that engine_rootfs_open() sets. Out of a user
 * namespace nothing may go, as the kernel has it for namespaces that are copied (CL_SHARED_TO_SLAVE
 * of fs/namespace.c).
 */
static int separate(int tree, const struct oci_spec *spec)
{
	const char *propagation = spec->rootfs_propagation;
	if (propagation && strstr(propagation, "shared") && !oci_spec_namespace(spec, OCI_NS_USER))
		return 0;
	bool alone = propagation && strstr(propagation, "private");
	return mountfd_set_propagation(tree, alone ? MS_PRIVATE : MS_SLAVE, true);
}

static int send_tree(const struct engine_launch *l, const struct oci_spec *spec, int tree,
		     int index, struct err *e)
{
	struct engine_msg m = {.type = ENGINE_MSG_TREE, .pid = index};
	int r = separate(tree, spec);
	/* What is mounted in the root is nobody's but the container's, whatever it is to become. */
	if (r == 0 && index == INDEX_ROOT)
		r = mountfd_set_propagation(tree, MS_PRIVATE, false);
	if (r == 0)
		r = scm_send(l->conn, &m, sizeof m, &tree, 1);
	if (r == -EPIPE || r == -ECONNRESET)
		return 0; /* it has ended; the GO that follows finds out why */
	return r < 0 ? err_errno(e, r, "hand a mount to the container's process") : 0;
}

int engine_trees_source(const char *bundle, const char *source, bool recursive)
{
	char path[PATH_MAX];
	int r = source[0] == '/' ? path_format(path, sizeof path, "%s", source)
				 : path_format(path, sizeof path, "%s/%s", bundle, source);
	return r < 0 ? r : mountfd_clone(AT_FDCWD, path, recursive);
}

static int send_mount(const struct engine_launch *l, const struct oci_spec *spec, size_t i,
		      const char *bundle, const struct engine_mount_options *o, struct err *e)
{
	const struct oci_mount *m = &spec->mounts[i];
	bool mapped = engine_mount_is_mapped(m, o);
	if (!engine_mount_is_bind(m, o) || !m->source ||
	    (!mapped && !oci_spec_namespace(spec, OCI_NS_USER)))
		return 0;
	_cleanup_close_ int tree = engine_trees_source(bundle, m->source, o->recursive);
	if (tree < 0)
		return err_errno(e, tree, "mount %s: source %s", m->destination, m->source);
	int r = mapped ? map_ids(l, m, o, tree, e) : 0;
	return r < 0 ? r : send_tree(l, spec, tree, (int)i, e);
}

static int send_root(const struct engine_launch *l, const struct oci_spec *spec, const char *rootfs,
		     struct err *e)
{
	_cleanup_close_ int tree = mountfd_clone(AT_FDCWD, rootfs, true);
	return tree < 0 ? err_errno(e, tree, "rootfs %s", rootfs)
			: send_tree(l, spec, tree, INDEX_ROOT, e);
}

int engine_trees_send(const struct engine_launch *l, const struct oci_spec *spec,
		      const char *rootfs, const char *bundle, struct err *e)
{
	int r = oci_spec_namespace(spec, OCI_NS_USER) ? send_root(l, spec, rootfs, e) : 0;
	for (size_t i = 0; r == 0 && i < spec->n_mounts; i++) {
		struct engine_mount_options o;
		r = engine_mount_options_parse(&spec->mounts[i].options, &o, e);
		if (r < 0)
			return err_wrap(e, r, "mount %s", spec->mounts[i].destination);
		r = send_mount(l, spec, i, bundle, &o, e);
		engine_mount_options_free(&o);
	}
	return r;
}

static int *place_of(struct engine_trees *t, size_t n_mounts, int index)
{
	if (index == INDEX_ROOT)
		return &t->root;
	if (index < 0 || (size_t)index >= n_mounts)
		return NULL;
	if (!t->mounts) {
		t->mounts = malloc(n_mounts * sizeof *t->mounts);
		t->n = t->mounts ? n_mounts : 0;
		for (size_t i = 0; i < t->n; i++)
			t->mounts[i] = -EBADF;
	}
	return t->mounts ? &t->mounts[index] : NULL;
}

int engine_trees_keep(struct engine_trees *t, size_t n_mounts, int index, int fd)
{
	int *place = place_of(t, n_mounts, index);
	if (!place || *place >= 0) {
		(void)close_fd(fd);
		return -EBADMSG;
	}
	*place = fd;
	return 0;
}

int engine_trees_ask(const struct engine_trees *t, int fs_fd)
{
	struct engine_msg m = {.type = ENGINE_MSG_FILESYSTEM};
	int mount_fd = -EBADF;
	size_t n_fds = 1;
	int r = scm_send(t->conn, &m, sizeof m, &fs_fd, 1);
	if (r < 0)
		return r;
	ssize_t n = scm_recv(t->conn, &m, sizeof m, &mount_fd, &n_fds, -1);
	if (n == sizeof m && m.type == ENGINE_MSG_TREE && n_fds)
		return mount_fd;
	if (n_fds)
		(void)close_fd(mount_fd);
	return n == sizeof m && m.type == ENGINE_MSG_TREE && m.pid < 0 ? m.pid : -ECANCELED;
}

/* All of these show what the child is in already; others might be somebody else's. */
static int make_filesystem(int fs_fd)
{
	_cleanup_close_ int fd = mountfd_make(fs_fd, "", 0, NULL);
	if (fd < 0)
		return fd;
	return mountfd_is_fs(fd, PROC_SUPER_MAGIC) || mountfd_is_fs(fd, MQUEUE_MAGIC) ||
			       mountfd_is_fs(fd, CGROUP2_SUPER_MAGIC)
		       ? TAKE_FD(fd)
		       : -EPERM;
}

int engine_trees_answer(const struct engine_launch *l, int fs_fd, struct err *e)
{
	_cleanup_close_ int mount_fd = make_filesystem(fs_fd);
	struct engine_msg m = {.type = ENGINE_MSG_TREE, .pid = mount_fd < 0 ? mount_fd : 0};
	int r = scm_send(l->conn, &m, sizeof m, &mount_fd, mount_fd >= 0);
	if (r == -EPIPE || r == -ECONNRESET)
		return 0; /* it has ended; whoever waits for it finds out why */
	return r < 0 ? err_errno(e, r, "hand a mount to the container's process") : 0;
}
