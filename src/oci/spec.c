/* SPDX-License-Identifier: Apache-2.0 */
/* What belongs to specs however they came about: making, freeing, loading, looking things up. */
#include "oci/spec.h"

#include "base/fd.h"
#include "oci/arena.h"
#include "oci/read.h"

#include <fcntl.h>
#include <string.h>

void oci_resources_init(struct oci_resources *r)
{
	*r = (struct oci_resources){
		.memory = {.limit = OCI_UNSET,
			   .reservation = OCI_UNSET,
			   .swap = OCI_UNSET,
			   .kernel = OCI_UNSET,
			   .kernel_tcp = OCI_UNSET,
			   .swappiness = OCI_UNSET},
		.cpu = {.shares = OCI_UNSET,
			.quota = OCI_UNSET,
			.period = OCI_UNSET,
			.realtime_runtime = OCI_UNSET,
			.realtime_period = OCI_UNSET,
			.burst = OCI_UNSET,
			.idle = OCI_UNSET},
		.pids_limit = OCI_UNSET,
		.block_io = {.weight = OCI_UNSET, .leaf_weight = OCI_UNSET},
	};
}

int oci_process_init(struct oci_arena *a, struct oci_process *p)
{
	*p = (struct oci_process){.cwd = oci_arena_strdup(a, "")};
	if (!p->cwd || oci_arena_strv(a, 0, &p->args) < 0 || oci_arena_strv(a, 0, &p->env) < 0 ||
	    oci_arena_strv(a, 0, &p->caps.unknown) < 0)
		return -ENOMEM;
	return 0;
}

struct oci_spec *oci_spec_new(void)
{
	_cleanup_arena_ struct oci_arena *a = oci_arena_new();
	if (!a)
		return NULL;
	struct oci_spec *s = oci_arena_alloc(a, sizeof *s);
	if (!s)
		return NULL;
	s->version = oci_arena_strdup(a, "");
	s->root_path = oci_arena_strdup(a, "");
	s->seccomp.default_action = oci_arena_strdup(a, "");
	if (!s->version || !s->root_path || !s->seccomp.default_action ||
	    oci_process_init(a, &s->process) < 0 || oci_arena_strv(a, 0, &s->masked_paths) < 0 ||
	    oci_arena_strv(a, 0, &s->readonly_paths) < 0 ||
	    oci_arena_strv(a, 0, &s->seccomp.architectures) < 0 ||
	    oci_arena_strv(a, 0, &s->seccomp.flags) < 0)
		return NULL;
	oci_resources_init(&s->resources);
	s->arena = TAKE_PTR(a);
	return s;
}

void oci_spec_free(struct oci_spec *s)
{
	if (s)
		oci_arena_free(s->arena); /* s too lies in it */
}

int oci_spec_load(const char *bundle, struct oci_spec **ret, struct err *e)
{
	_cleanup_close_ int dir = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_errno(e, -errno, "open bundle %s", bundle);

	_cleanup_buf_ struct buf b = BUF_INIT;
	int r = file_read(dir, "config.json", OCI_JSON_BYTES_MAX, &b);
	if (r < 0)
		return err_errno(e, r, "read %s/config.json", bundle);
	r = oci_spec_parse(b.data ? b.data : "", b.len, ret, e);
	return r < 0 ? err_wrap(e, r, "%s/config.json", bundle) : 0;
}

const char *oci_spec_annotation(const struct oci_spec *s, const char *key)
{
	for (size_t i = 0; i < s->n_annotations; i++)
		if (strcmp(s->annotations[i].key, key) == 0)
			return s->annotations[i].value;
	return NULL;
}

int oci_spec_set_annotation(struct oci_spec *s, const char *key, const char *value)
{
	char *copy = oci_arena_strdup(s->arena, value);
	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_annotations; i++)
		if (strcmp(s->annotations[i].key, key) == 0) {
			s->annotations[i].value = copy;
			return 0;
		}

	struct oci_kv *v = oci_arena_array(s->arena, s->n_annotations + 1, sizeof *v);
	char *key_copy = oci_arena_strdup(s->arena, key);
	if (!v || !key_copy)
		return -ENOMEM;
	if (s->n_annotations > 0)
		memcpy(v, s->annotations, s->n_annotations * sizeof *v);
	v[s->n_annotations++] = (struct oci_kv){key_copy, copy};
	s->annotations = v;
	return 0;
}

const struct oci_namespace *oci_spec_namespace(const struct oci_spec *s, enum oci_ns_type type)
{
	for (size_t i = 0; i < s->n_namespaces; i++)
		if (s->namespaces[i].type == type)
			return &s->namespaces[i];
	return NULL;
}
