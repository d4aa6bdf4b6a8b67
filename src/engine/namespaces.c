/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/namespaces.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

static const struct {
	const char *name;
	uint64_t flag;
} types[ENGINE_NAMESPACES] = {
	[OCI_NS_PID] = {"pid", CLONE_NEWPID},	       [OCI_NS_NETWORK] = {"net", CLONE_NEWNET},
	[OCI_NS_MOUNT] = {"mnt", CLONE_NEWNS},	       [OCI_NS_IPC] = {"ipc", CLONE_NEWIPC},
	[OCI_NS_UTS] = {"uts", CLONE_NEWUTS},	       [OCI_NS_USER] = {"user", CLONE_NEWUSER},
	[OCI_NS_CGROUP] = {"cgroup", CLONE_NEWCGROUP}, [OCI_NS_TIME] = {"time", CLONE_NEWTIME},
};

const char *engine_namespace_name(enum oci_ns_type type)
{
	return types[type].name;
}

uint64_t engine_namespace_flag(enum oci_ns_type type)
{
	return types[type].flag;
}

bool engine_namespace_is_own(enum oci_ns_type type, const char *path)
{
	char ours[32];
	struct stat st, own;
	(void)snprintf(ours, sizeof ours, "/proc/self/ns/%s", types[type].name);
	return stat(path, &st) == 0 && stat(ours, &own) == 0 && st.st_dev == own.st_dev &&
	       st.st_ino == own.st_ino;
}

static int join(struct engine_namespaces *n, const struct oci_namespace *ns, struct err *e)
{
	uint64_t flag = types[ns->type].flag;
	_cleanup_close_ int fd = open(ns->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return err_errno(e, -errno, "%s namespace %s", types[ns->type].name, ns->path);
	int kind = ioctl(fd, NS_GET_NSTYPE);
	if (kind < 0 || (uint64_t)(unsigned)kind != flag)
		return err_set(e, -EINVAL, "%s is not a %s namespace", ns->path,
			       types[ns->type].name);
	/* setns(2) cannot enter it again; and who is told to be in one expects its maps. */
	if (ns->type == OCI_NS_USER && engine_namespace_is_own(ns->type, ns->path))
		return err_set(e, -EINVAL, "user namespace %s is the engine's own", ns->path);
	n->join |= flag;
	n->joined[n->n_joined].flag = flag;
	n->joined[n->n_joined].fd = TAKE_FD(fd);
	n->n_joined++;
	return 0;
}

static int add(struct engine_namespaces *n, const struct oci_namespace *ns, struct err *e)
{
	if ((unsigned)ns->type >= ENGINE_NAMESPACES)
		return err_set(e, -EINVAL, "namespace type %d is unknown", (int)ns->type);
	uint64_t flag = types[ns->type].flag;
	if ((n->create | n->join) & flag)
		return err_set(e, -EINVAL, "namespace %s is given twice", types[ns->type].name);
	if (ns->path && ns->path[0]) {
		/* Its mounts would be changed under the feet of those who are in it. */
		if (ns->type == OCI_NS_MOUNT)
			return err_set(e, -EOPNOTSUPP,
				       "mount namespace %s: a container gets its own", ns->path);
		return join(n, ns, e);
	}
	n->create |= flag;
	return 0;
}

/* A user namespace is entered first: it is what gives the rights over the others. */
static void user_first(struct engine_namespaces *n)
{
	for (size_t i = 1; i < n->n_joined; i++)
		if (n->joined[i].flag == CLONE_NEWUSER) {
			__auto_type first = n->joined[0];
			n->joined[0] = n->joined[i];
			n->joined[i] = first;
		}
}

int engine_namespaces_open(const struct oci_spec *s, struct engine_namespaces *ret, struct err *e)
{
	*ret = (struct engine_namespaces){.create = 0};
	for (size_t i = 0; i < s->n_namespaces; i++) {
		int r = add(ret, &s->namespaces[i], e);
		if (r < 0) {
			engine_namespaces_close(ret);
			return r;
		}
	}
	if (!((ret->create | ret->join) & CLONE_NEWNS))
		ret->create |= CLONE_NEWNS;
	user_first(ret);
	return 0;
}

void engine_namespaces_close(struct engine_namespaces *n)
{
	for (size_t i = 0; i < n->n_joined; i++)
		(void)close_fd(n->joined[i].fd);
	*n = (struct engine_namespaces){.create = 0};
}
