/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/job.h"

#include <string.h>

struct engine_job_chunk {
	struct engine_job_chunk *next;
	max_align_t data[];
};

/* Goes over a structure in either direction. The first error sticks; fields then stay as they are.
 */
struct codec {
	bool encoding;
	struct buf *out;
	const uint8_t *p, *end;
	struct engine_job_chunk *chunks;
	int error;
};

/* Elements are never smaller than this on the wire, so a count cannot ask for more memory than a
 * small multiple of the bytes that are there. */
#define ELEMENT_MIN 4

static void *allocate(struct codec *c, size_t size)
{
	struct engine_job_chunk *chunk = calloc(1, sizeof *chunk + size);
	if (!chunk) {
		c->error = -ENOMEM;
		return NULL;
	}
	chunk->next = c->chunks;
	c->chunks = chunk;
	return chunk->data;
}

static void x_raw(struct codec *c, void *data, size_t n)
{
	if (c->error || !n)
		return;
	if (c->encoding) {
		buf_append(c->out, data, n);
		return;
	}
	if ((size_t)(c->end - c->p) < n) {
		c->error = -EBADMSG;
		return;
	}
	memcpy(data, c->p, n);
	c->p += n;
}

static void x_u32(struct codec *c, uint32_t *v)
{
	x_raw(c, v, sizeof *v);
}

static void x_int(struct codec *c, int *v)
{
	x_raw(c, v, sizeof *v);
}

static void x_u64(struct codec *c, uint64_t *v)
{
	x_raw(c, v, sizeof *v);
}

static void x_i64(struct codec *c, int64_t *v)
{
	x_raw(c, v, sizeof *v);
}

/* A byte on the wire, since any other value in a bool is undefined behaviour. */
static void x_bool(struct codec *c, bool *v)
{
	uint8_t byte = *v;
	x_raw(c, &byte, 1);
	if (c->encoding || c->error)
		return;
	if (byte > 1)
		c->error = -EBADMSG;
	else
		*v = byte == 1;
}

/* A count of elements that follow. */
static size_t x_count(struct codec *c, size_t n, size_t element_min)
{
	uint32_t wire = (uint32_t)n;
	if (c->encoding && n > ENGINE_JOB_MAX)
		c->error = -E2BIG;
	x_u32(c, &wire);
	if (!c->encoding && !c->error && wire > (size_t)(c->end - c->p) / element_min)
		c->error = -EBADMSG;
	return c->error ? 0 : wire;
}

/* NULL is a length of 0; otherwise the length counts the NUL that ends it. */
static void x_str(struct codec *c, char **s)
{
	size_t n = x_count(c, *s ? strlen(*s) + 1 : 0, 1);
	if (c->encoding) {
		x_raw(c, *s, n);
		return;
	}
	*s = NULL;
	if (!n)
		return;
	char *copy = allocate(c, n);
	if (!copy)
		return;
	x_raw(c, copy, n);
	if (!c->error && strnlen(copy, n) != n - 1)
		c->error = -EBADMSG;
	if (!c->error)
		*s = copy;
}

/* A string that the rest relies on to be there. */
static void x_required(struct codec *c, char **s)
{
	x_str(c, s);
	if (!c->error && !*s)
		c->error = c->encoding ? -EINVAL : -EBADMSG;
}

static void x_bytes(struct codec *c, uint8_t **data, size_t *n)
{
	size_t count = x_count(c, *n, 1);
	if (!c->encoding) {
		*data = count ? allocate(c, count) : NULL;
		*n = *data ? count : 0;
	}
	if (!c->error)
		x_raw(c, *data, count);
}

typedef void codec_fn(struct codec *c, void *element);

/* Returns the array: the given one when encoding, a new one when decoding. */
static void *x_array(struct codec *c, void *v, size_t *n, size_t size, codec_fn *fn)
{
	size_t count = x_count(c, *n, ELEMENT_MIN);
	if (!c->encoding) {
		*n = 0;
		v = count ? allocate(c, count * size) : NULL;
		if (!v)
			return NULL;
	}
	for (size_t i = 0; !c->error && i < count; i++)
		fn(c, (char *)v + i * size);
	if (!c->encoding && !c->error)
		*n = count;
	return v;
}

#define X_ARRAY(c, v, n, fn) ((v) = x_array((c), (v), &(n), sizeof *(v), (fn)))

static void x_element_str(struct codec *c, void *p)
{
	x_required(c, p);
}

static void x_strv(struct codec *c, struct oci_strv *s)
{
	if (c->encoding) {
		(void)x_array(c, s->v, &s->n, sizeof *s->v, x_element_str);
		return;
	}
	/* One more than the count, for the NULL that exec wants. */
	size_t count = x_count(c, 0, ELEMENT_MIN);
	s->n = 0;
	s->v = allocate(c, (count + 1) * sizeof *s->v);
	for (size_t i = 0; s->v && !c->error && i < count; i++)
		x_required(c, &s->v[i]);
	if (!c->error)
		s->n = count;
}

static void x_element_u32(struct codec *c, void *p)
{
	x_u32(c, p);
}

static void x_user(struct codec *c, struct oci_user *u)
{
	x_u32(c, &u->uid);
	x_u32(c, &u->gid);
	x_bool(c, &u->has_umask);
	x_u32(c, &u->umask);
	X_ARRAY(c, u->additional_gids, u->n_additional_gids, x_element_u32);
}

static void x_caps(struct codec *c, struct oci_capabilities *caps)
{
	x_bool(c, &caps->present);
	x_u64(c, &caps->bounding);
	x_u64(c, &caps->effective);
	x_u64(c, &caps->inheritable);
	x_u64(c, &caps->permitted);
	x_u64(c, &caps->ambient);
}

static void x_process(struct codec *c, struct oci_process *p)
{
	x_bool(c, &p->terminal);
	x_u32(c, &p->console_height);
	x_u32(c, &p->console_width);
	x_user(c, &p->user);
	x_strv(c, &p->args);
	x_strv(c, &p->env);
	x_required(c, &p->cwd);
	x_caps(c, &p->caps);
	x_bool(c, &p->no_new_privileges);
	x_str(c, &p->apparmor_profile);
	x_str(c, &p->selinux_label);
	if (!c->error && p->args.n == 0)
		c->error = c->encoding ? -EINVAL : -EBADMSG;
}

static void x_mount(struct codec *c, void *element)
{
	struct oci_mount *m = element;
	x_required(c, &m->destination);
	x_str(c, &m->source);
	x_str(c, &m->type);
	x_strv(c, &m->options);
}

static void x_device(struct codec *c, void *element)
{
	struct oci_device *d = element;
	x_required(c, &d->path);
	x_raw(c, &d->type, 1);
	x_i64(c, &d->major);
	x_i64(c, &d->minor);
	x_bool(c, &d->has_mode);
	x_bool(c, &d->has_uid);
	x_bool(c, &d->has_gid);
	x_u32(c, &d->mode);
	x_u32(c, &d->uid);
	x_u32(c, &d->gid);
}

static void x_kv(struct codec *c, void *element)
{
	struct oci_kv *kv = element;
	x_required(c, &kv->key);
	x_required(c, &kv->value);
}

static void x_hook(struct codec *c, void *element)
{
	struct oci_hook *h = element;
	x_required(c, &h->path);
	x_strv(c, &h->args);
	x_strv(c, &h->env);
	x_int(c, &h->timeout);
}

static void x_spec(struct codec *c, struct oci_spec *s)
{
	x_process(c, &s->process);
	x_str(c, &s->hostname);
	x_str(c, &s->domainname);
	x_bool(c, &s->root_readonly);
	X_ARRAY(c, s->mounts, s->n_mounts, x_mount);
	X_ARRAY(c, s->devices, s->n_devices, x_device);
	X_ARRAY(c, s->sysctl, s->n_sysctl, x_kv);
	x_str(c, &s->version);
	X_ARRAY(c, s->annotations, s->n_annotations, x_kv);
	x_strv(c, &s->masked_paths);
	x_strv(c, &s->readonly_paths);
	x_str(c, &s->rootfs_propagation);
	x_str(c, &s->mount_label);
	x_bool(c, &s->has_personality);
	uint64_t personality = s->personality;
	x_u64(c, &personality);
	if (!c->encoding)
		s->personality = (unsigned long)personality;
	X_ARRAY(c, s->hooks.create_container.v, s->hooks.create_container.n, x_hook);
	X_ARRAY(c, s->hooks.start_container.v, s->hooks.start_container.n, x_hook);
}

static void x_job(struct codec *c, struct engine_job *j)
{
	x_u32(c, &j->kind);
	if (!c->error && j->kind != ENGINE_JOB_CREATE && j->kind != ENGINE_JOB_EXEC)
		c->error = c->encoding ? -EINVAL : -EBADMSG;
	x_required(c, &j->id);
	x_str(c, &j->rootfs);
	if (!c->error && j->kind == ENGINE_JOB_CREATE && !j->rootfs)
		c->error = c->encoding ? -EINVAL : -EBADMSG;
	x_str(c, &j->bundle);
	x_str(c, &j->cgroup_root);
	x_str(c, &j->cgroup_relative);
	if (!c->error && !j->cgroup_root != !j->cgroup_relative)
		c->error = c->encoding ? -EINVAL : -EBADMSG;
	x_bool(c, &j->cgroup_v1);
	x_bool(c, &j->uts_ns);
	x_bool(c, &j->cgroup_ns);
	x_bool(c, &j->user_ns);
	x_bool(c, &j->new_uts);
	x_bool(c, &j->new_cgroup_ns);
	x_bool(c, &j->apparmor_optional);
	x_bool(c, &j->sync_hooks);
	x_spec(c, &j->spec);
	x_bytes(c, &j->bpf.code, &j->bpf.n);
	x_u32(c, &j->bpf.flags);
}

int engine_job_encode(const struct engine_job *job, struct buf *out)
{
	/* The codec takes no const, but encoding only reads: the spec may be in use elsewhere. */
	struct engine_job copy = *job;
	struct codec c = {.encoding = true, .out = out};
	x_job(&c, &copy);
	if (c.error)
		return c.error;
	if (buf_failed(out))
		return -ENOMEM;
	return out->len > ENGINE_JOB_MAX ? -E2BIG : 0;
}

int engine_job_decode(const void *data, size_t len, struct engine_job *ret)
{
	memset(ret, 0, sizeof *ret);
	struct codec c = {.p = data, .end = (const uint8_t *)data + len};
	if (len > ENGINE_JOB_MAX)
		return -EBADMSG;
	x_job(&c, ret);
	if (!c.error && c.p != c.end)
		c.error = -EBADMSG;
	ret->chunks = c.chunks;
	if (c.error)
		engine_job_deinit(ret);
	return c.error;
}

void engine_job_deinit(struct engine_job *job)
{
	for (struct engine_job_chunk *chunk = job->chunks; chunk;) {
		struct engine_job_chunk *next = chunk->next;
		free(chunk);
		chunk = next;
	}
	memset(job, 0, sizeof *job);
}
