/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/container.h"

#include "base/fd.h"
#include "engine/sysctl.h"
#include "engine/trees.h"
#include "oci/validate.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Kubernetes names are at most 253 bytes, generated ids 64; the id becomes file names. */
#define ID_MAX 200

static int check_id(const char *id, struct err *e)
{
	size_t n = strlen(id);
	if (n == 0 || n > ID_MAX || id[0] == '.' || strchr(id, '/'))
		return err_set(e, -EINVAL,
			       "container id \"%.200s\": 1 to %d characters, no / and no leading .",
			       id, ID_MAX);
	return 0;
}

static int check_user_namespace(const struct oci_spec *s, struct err *e)
{
	const struct oci_namespace *u = oci_spec_namespace(s, OCI_NS_USER);
	bool maps = s->n_uid_mappings || s->n_gid_mappings;
	if (maps && !u)
		return err_set(e, -EINVAL, "id mappings need a user namespace");
	if (u && !(u->path && u->path[0]) && (!s->n_uid_mappings || !s->n_gid_mappings))
		return err_set(e, -EINVAL,
			       "a new user namespace needs uidMappings and gidMappings");
	return 0;
}

/* They are fixed as soon as somebody is in the namespace: time_namespaces(7). */
static int check_time_namespace(const struct oci_spec *s, struct err *e)
{
	const struct oci_namespace *t = oci_spec_namespace(s, OCI_NS_TIME);
	bool is_new = t && !(t->path && t->path[0]);
	if ((s->monotonic.present || s->boottime.present) && !is_new)
		return err_set(e, -EINVAL, "timeOffsets need a new time namespace");
	return 0;
}

static int check_rootfs(const char *rootfs, struct err *e)
{
	if (rootfs[0] != '/' || strlen(rootfs) >= PATH_MAX)
		return err_set(e, -EINVAL, "rootfs %.200s is not an absolute path", rootfs);
	if (rootfs[strspn(rootfs, "/")] == '\0')
		return err_set(e, -EINVAL, "rootfs / would be the engine's own root");
	_cleanup_close_ int fd = open(rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_errno(e, -errno, "rootfs %s", rootfs) : 0;
}

int engine_check_spec(const struct engine *g, const char *id, const struct oci_spec *spec,
		      const char *rootfs, struct err *e)
{
	int r = check_id(id, e);
	if (r == 0 && !spec->has_process)
		r = err_set(e, -EINVAL, "container %s: the spec has no process", id);
	if (r == 0)
		r = oci_spec_validate(spec, e);
	if (r == 0)
		r = check_rootfs(rootfs, e);
	if (r == 0)
		r = check_user_namespace(spec, e);
	if (r == 0)
		r = check_time_namespace(spec, e);
	if (r == 0)
		r = engine_trees_check(spec, e);
	for (size_t i = 0; r == 0 && i < spec->n_sysctl; i++)
		r = engine_sysctl_check(spec, spec->sysctl[i].key, g->network_is_pods, e);
	return r;
}

void engine_format_map(const struct oci_id_mapping *m, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++)
		buf_printf(out, "%u %u %u\n", m[i].container_id, m[i].host_id, m[i].size);
}

static int write_map(int proc_pid_fd, const char *file, const struct oci_id_mapping *m, size_t n,
		     struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	engine_format_map(m, n, &b);
	int r = buf_failed(&b) ? -ENOMEM : file_write(proc_pid_fd, file, b.data);
	return r < 0 ? err_errno(e, r, "write %s", file) : 0;
}

static bool has_range(const struct oci_id_mapping *m, size_t n, const unsigned range[3])
{
	for (size_t i = 0; i < n; i++)
		if (m[i].container_id == range[0] && m[i].host_id == range[1] &&
		    m[i].size == range[2])
			return true;
	return false;
}

/* The kernel sorts longer maps, so the order says nothing. */
static int compare_map(int proc_pid_fd, const char *file, const struct oci_id_mapping *m, size_t n,
		       struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	size_t lines = 0;
	bool same = true;
	int r = n ? file_read(proc_pid_fd, file, 65536, &b) : 0;
	if (r < 0)
		return err_errno(e, r, "read %s", file);
	for (const char *p = n ? b.data : NULL; p && *p; lines++) {
		unsigned range[3];
		same &= sscanf(p, "%u %u %u", &range[0], &range[1], &range[2]) == 3 &&
			has_range(m, n, range);
		p = strchr(p, '\n');
		p += p != NULL;
	}
	if (!same || lines != n)
		return err_set(e, -EINVAL,
			       "the joined user namespace has another %s than the spec's mappings",
			       file);
	return 0;
}

/* Whoever gives mappings along with a namespace that exists relies on them. */
static int compare_maps(int proc_pid_fd, const struct oci_spec *s, struct err *e)
{
	int r = compare_map(proc_pid_fd, "uid_map", s->uid_mappings, s->n_uid_mappings, e);
	return r < 0 ? r
		     : compare_map(proc_pid_fd, "gid_map", s->gid_mappings, s->n_gid_mappings, e);
}

int engine_write_maps(int proc_pid_fd, const struct oci_spec *spec, struct err *e)
{
	const struct oci_namespace *u = oci_spec_namespace(spec, OCI_NS_USER);
	if (!u)
		return 0;
	if (u->path && u->path[0])
		return compare_maps(proc_pid_fd, spec, e);
	int r = write_map(proc_pid_fd, "uid_map", spec->uid_mappings, spec->n_uid_mappings, e);
	return r < 0 ? r
		     : write_map(proc_pid_fd, "gid_map", spec->gid_mappings, spec->n_gid_mappings,
				 e);
}

static bool map_id(const struct oci_id_mapping *m, size_t n, uint32_t id, uint32_t *ret)
{
	for (size_t i = 0; i < n; i++)
		if (id >= m[i].container_id && id - m[i].container_id < m[i].size) {
			*ret = m[i].host_id + (id - m[i].container_id);
			return true;
		}
	return false;
}

/* Best effort: not everything can be given away, and the shared null device must not be. */
void engine_give_stdio(const struct oci_spec *spec, const struct oci_user *u,
		       const struct engine_stdio *io)
{
	const int fds[] = {io->in, io->out, io->errout};
	uint32_t uid;
	if (io->terminal || !oci_spec_namespace(spec, OCI_NS_USER) ||
	    !map_id(spec->uid_mappings, spec->n_uid_mappings, u->uid, &uid))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		struct stat st;
		if (fds[i] >= 0 && fstat(fds[i], &st) == 0 &&
		    !(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)))
			(void)!fchown(fds[i], uid, (gid_t)-1);
	}
}
