/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/pod-spec.h"

#include "oci/arena.h"

#include <string.h>

static bool has_mount(const struct oci_spec *s, const char *destination)
{
	for (size_t i = 0; i < s->n_mounts; i++)
		if (strcmp(s->mounts[i].destination, destination) == 0)
			return true;
	return false;
}

static bool has_sysctl(const struct oci_spec *s, const char *key)
{
	for (size_t i = 0; i < s->n_sysctl; i++)
		if (strcmp(s->sysctl[i].key, key) == 0)
			return true;
	return false;
}

static int copy_mount(struct oci_arena *a, const struct oci_mount *from, struct oci_mount *to)
{
	*to = (struct oci_mount){.destination = oci_arena_strdup(a, from->destination)};
	if (!to->destination || oci_arena_strv(a, from->options.n, &to->options) < 0)
		return -ENOMEM;
	if (from->source && !(to->source = oci_arena_strdup(a, from->source)))
		return -ENOMEM;
	if (from->type && !(to->type = oci_arena_strdup(a, from->type)))
		return -ENOMEM;
	for (size_t i = 0; i < from->options.n; i++)
		if (!(to->options.v[i] = oci_arena_strdup(a, from->options.v[i])))
			return -ENOMEM;
	return 0;
}

static int inherit_mounts(struct oci_spec *to, const struct oci_spec *pod)
{
	struct oci_mount *v = oci_arena_array(to->arena, to->n_mounts + pod->n_mounts, sizeof *v);
	size_t n = to->n_mounts;

	if (!v)
		return -ENOMEM;
	if (n > 0)
		memcpy(v, to->mounts, n * sizeof *v);
	for (size_t i = 0; i < pod->n_mounts; i++)
		if (!has_mount(to, pod->mounts[i].destination) &&
		    copy_mount(to->arena, &pod->mounts[i], &v[n++]) < 0)
			return -ENOMEM;
	to->mounts = v;
	to->n_mounts = n;
	return 0;
}

static int inherit_sysctl(struct oci_spec *to, const struct oci_spec *pod)
{
	struct oci_kv *v = oci_arena_array(to->arena, to->n_sysctl + pod->n_sysctl, sizeof *v);
	size_t n = to->n_sysctl;

	if (!v)
		return -ENOMEM;
	if (n > 0)
		memcpy(v, to->sysctl, n * sizeof *v);
	for (size_t i = 0; i < pod->n_sysctl; i++) {
		if (has_sysctl(to, pod->sysctl[i].key))
			continue;
		v[n].key = oci_arena_strdup(to->arena, pod->sysctl[i].key);
		v[n].value = oci_arena_strdup(to->arena, pod->sysctl[i].value);
		if (!v[n].key || !v[n].value)
			return -ENOMEM;
		n++;
	}
	to->sysctl = v;
	to->n_sysctl = n;
	return 0;
}

int pod_spec_inherit(struct oci_spec *to, const struct oci_spec *pod, struct err *e)
{
	if (inherit_mounts(to, pod) < 0 || inherit_sysctl(to, pod) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	return 0;
}
