/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/sysctl.h"

#include "base/fd.h"
#include "engine/namespaces.h"

#include <string.h>

static const struct {
	const char *prefix; /* of the path; ending in '/': whatever follows, else exact */
	enum oci_ns_type ns;
} allowed[] = {
	{"kernel/msgmax", OCI_NS_IPC},	   {"kernel/msgmnb", OCI_NS_IPC},
	{"kernel/msgmni", OCI_NS_IPC},	   {"kernel/sem", OCI_NS_IPC},
	{"kernel/shmall", OCI_NS_IPC},	   {"kernel/shmmax", OCI_NS_IPC},
	{"kernel/shmmni", OCI_NS_IPC},	   {"kernel/shm_rmid_forced", OCI_NS_IPC},
	{"fs/mqueue/", OCI_NS_IPC},	   {"net/", OCI_NS_NETWORK},
	{"kernel/domainname", OCI_NS_UTS},
};

int engine_sysctl_path(const char *key, char *ret, size_t size)
{
	int r = path_format(ret, size, "%s", key);
	if (r < 0)
		return r;
	/* As sysctl(8): the separator that comes first is the separator, the other a plain letter
	 * ("net.ipv4.conf.eth0/1.forwarding" is about the interface eth0.1). */
	const char *first = strpbrk(ret, "./");
	if (first && *first == '.')
		for (char *p = ret; *p; p++)
			*p = *p == '.' ? '/' : *p == '/' ? '.' : *p;

	if (!ret[0] || ret[0] == '/')
		return -EINVAL;
	for (const char *p = ret; p; p = strchr(p, '/')) {
		p += *p == '/';
		size_t n = strcspn(p, "/");
		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return -EINVAL;
	}
	return 0;
}

static bool matches(const char *path, const char *prefix)
{
	size_t n = strlen(prefix);
	if (prefix[n - 1] == '/')
		return strncmp(path, prefix, n) == 0 && path[n];
	return strcmp(path, prefix) == 0;
}

/* One that is joined may be the engine's own, whose settings are not the container's. */
static bool is_apart(const struct oci_spec *spec, enum oci_ns_type type)
{
	const struct oci_namespace *ns = oci_spec_namespace(spec, type);
	return ns && !(ns->path && ns->path[0] && engine_namespace_is_own(type, ns->path));
}

int engine_sysctl_check(const struct oci_spec *spec, const char *key, bool network_is_pods,
			struct err *e)
{
	char path[256];
	if (engine_sysctl_path(key, path, sizeof path) < 0)
		return err_set(e, -EINVAL, "sysctl %.200s is not a name", key);

	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
		if (!matches(path, allowed[i].prefix))
			continue;
		if (is_apart(spec, allowed[i].ns) ||
		    (allowed[i].ns == OCI_NS_NETWORK && network_is_pods))
			return 0;
		return err_set(e, -EINVAL, "sysctl %s needs a namespace of its own (%s)", key,
			       engine_namespace_name(allowed[i].ns));
	}
	return err_set(e, -EINVAL, "sysctl %s belongs to no namespace of a container", key);
}
