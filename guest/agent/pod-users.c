/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/pod-users.h"

#include "base/fd.h"

#include <fcntl.h>
#include <string.h>

enum { USER, IPC, UTS, KINDS };

struct maps {
	struct oci_id_mapping *v;
	size_t n;
};

struct pod_users {
	int fd[KINDS];
	struct maps uids, gids;
};

static int copy_maps(const struct oci_id_mapping *v, size_t n, struct maps *ret)
{
	if (n == 0)
		return 0;
	ret->v = malloc(n * sizeof *v);
	if (!ret->v)
		return -ENOMEM;
	memcpy(ret->v, v, n * sizeof *v);
	ret->n = n;
	return 0;
}

static bool same_maps(const struct maps *m, const struct oci_id_mapping *v, size_t n)
{
	if (m->n != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (m->v[i].container_id != v[i].container_id || m->v[i].host_id != v[i].host_id ||
		    m->v[i].size != v[i].size)
			return false;
	return true;
}

struct pod_users *pod_users_new(const struct oci_spec *spec, pid_t pid)
{
	static const char *const names[KINDS] = {"user", "ipc", "uts"};
	struct pod_users *u = calloc(1, sizeof *u);
	char path[64];
	if (!u)
		return NULL;
	bool ok = copy_maps(spec->uid_mappings, spec->n_uid_mappings, &u->uids) == 0 &&
		  copy_maps(spec->gid_mappings, spec->n_gid_mappings, &u->gids) == 0;
	for (int i = 0; i < KINDS; i++) {
		(void)snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, names[i]);
		u->fd[i] = open(path, O_RDONLY | O_CLOEXEC);
		ok = ok && u->fd[i] >= 0;
	}
	if (ok)
		return u;
	pod_users_free(u);
	return NULL;
}

void pod_users_free(struct pod_users *u)
{
	if (!u)
		return;
	for (int i = 0; i < KINDS; i++)
		(void)close_fd(u->fd[i]);
	free(u->uids.v);
	free(u->gids.v);
	free(u);
}

bool pod_users_match(const struct pod_users *u, const struct oci_spec *spec)
{
	return u && same_maps(&u->uids, spec->uid_mappings, spec->n_uid_mappings) &&
	       same_maps(&u->gids, spec->gid_mappings, spec->n_gid_mappings);
}

const char *pod_users_path(const struct pod_users *u, enum oci_ns_type type, char *dst)
{
	int kind = type == OCI_NS_USER ? USER : type == OCI_NS_IPC ? IPC : UTS;
	(void)snprintf(dst, 64, "/proc/%d/fd/%d", (int)getpid(), u->fd[kind]);
	return dst;
}
