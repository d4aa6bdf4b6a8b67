/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/guest-spec.h"

#include "oci/arena.h"

#include <string.h>

#define GUEST_SHM "/run/kata-containers/sandbox/shm"

static int oom(struct err *e)
{
	return err_set(e, -ENOMEM, "out of memory");
}

/* ---- Mounts --------------------------------------------------------------------------------- */

static bool has_option(const struct oci_mount *m, const char *word)
{
	for (size_t i = 0; i < m->options.n; i++)
		if (strcmp(m->options.v[i], word) == 0)
			return true;
	return false;
}

static bool is_bind(const struct oci_mount *m)
{
	return (m->type && strcmp(m->type, "bind") == 0) || has_option(m, "bind") ||
	       has_option(m, "rbind");
}

static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* Kernel file systems and device nodes mean the guest's own, not the host's. */
static bool is_guests_own(const char *source)
{
	return is_below(source, "/proc") || is_below(source, "/sys") || is_below(source, "/dev");
}

/* Every container of the pod sees the sandbox's one /dev/shm. */
static int use_guest_shm(struct oci_mount *m, struct oci_arena *a, struct err *e)
{
	m->type = oci_arena_strdup(a, "bind");
	m->source = oci_arena_strdup(a, GUEST_SHM);
	if (!m->type || !m->source || oci_arena_strv(a, 1, &m->options) < 0)
		return oom(e);
	m->options.v[0] = oci_arena_strdup(a, "rbind");
	return m->options.v[0] ? 0 : oom(e);
}

static int share_mount(struct oci_mount *m, const struct guest_spec_params *p, struct oci_arena *a,
		       struct err *e)
{
	char guest_path[512];
	int r = p->share(p->share_arg, m->source, has_option(m, "rbind"), has_option(m, "ro"),
			 guest_path, sizeof guest_path, e);
	if (r < 0)
		return err_wrap(e, r, "mount at %s", m->destination);
	m->source = oci_arena_strdup(a, guest_path);
	return m->source ? 0 : oom(e);
}

static int edit_mounts(struct oci_spec *s, const struct guest_spec_params *p, struct err *e)
{
	for (size_t i = 0; i < s->n_mounts; i++) {
		struct oci_mount *m = &s->mounts[i];
		int r = 0;
		if (strcmp(m->destination, "/dev/shm") == 0)
			r = use_guest_shm(m, s->arena, e);
		else if (is_bind(m) && m->source && !is_guests_own(m->source))
			r = share_mount(m, p, s->arena, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- The rest ------------------------------------------------------------------------------- */

/* A time namespace without offsets shows the guest's own clocks: there is nothing to ask for. */
static bool is_for_guest(const struct oci_spec *s, enum oci_ns_type type)
{
	return type == OCI_NS_TIME ? s->monotonic.present || s->boottime.present
				   : type != OCI_NS_NETWORK && type != OCI_NS_PID;
}

static bool edit_namespaces(struct oci_spec *s)
{
	bool shared_pidns = false;
	size_t kept = 0;

	for (size_t i = 0; i < s->n_namespaces; i++) {
		struct oci_namespace ns = s->namespaces[i];
		if (ns.type == OCI_NS_PID && ns.path)
			shared_pidns = true;
		ns.path = NULL;
		if (is_for_guest(s, ns.type))
			s->namespaces[kept++] = ns;
	}
	s->n_namespaces = kept;
	return shared_pidns;
}

static int add_annotations(struct oci_spec *s, const struct guest_spec_params *p, struct err *e)
{
	const char *prefix = "io.katacontainers.pkg.oci.";
	const struct oci_kv added[] = {
		{"container_type", (char *)p->container_type},
		{"bundle_path", (char *)p->bundle},
	};
	for (size_t i = 0; i < ARRAY_SIZE(added); i++) {
		char key[64];
		(void)snprintf(key, sizeof key, "%s%s", prefix, added[i].key);
		if (oci_spec_set_annotation(s, key, added[i].value) < 0)
			return oom(e);
	}
	return 0;
}

static void keep_guest_hooks(struct oci_hooks *h)
{
	*h = (struct oci_hooks){.start_container = h->start_container};
}

int guest_spec_edit(struct oci_spec *s, const struct guest_spec_params *p, bool *ret_pidns,
		    struct err *e)
{
	int r = edit_mounts(s, p, e);
	if (r == 0)
		r = add_annotations(s, p, e);
	if (r < 0)
		return r;

	s->root_path = oci_arena_strdup(s->arena, p->guest_root);
	if (!s->root_path)
		return oom(e);
	*ret_pidns = edit_namespaces(s);
	keep_guest_hooks(&s->hooks);
	if (p->disable_seccomp)
		s->has_seccomp = false;
	s->resources.n_devices = 0;
	s->process.apparmor_profile = NULL;
	s->process.selinux_label = NULL;
	s->mount_label = NULL;
	s->rootfs_propagation = NULL;
	return 0;
}
