/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/arena.h"

#include <stdalign.h>
#include <string.h>

/* A spec of containerd takes about 30 KiB: a few chunks. */
#define CHUNK_SIZE ((size_t)8 << 10)
#define ALIGN alignof(max_align_t)

struct chunk {
	struct chunk *next;
	size_t used, size; /* of data */
	alignas(max_align_t) char data[];
};

struct oci_arena {
	struct chunk *chunks; /* the first has room left */
	size_t total;
};

struct oci_arena *oci_arena_new(void)
{
	return calloc(1, sizeof(struct oci_arena));
}

void oci_arena_free(struct oci_arena *a)
{
	if (!a)
		return;
	for (struct chunk *c = a->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(a);
}

static struct chunk *chunk_new(struct oci_arena *a, size_t size)
{
	struct chunk *c;

	if (size > OCI_ARENA_MAX - a->total)
		return NULL;
	c = calloc(1, sizeof *c + size);
	if (!c)
		return NULL;
	c->size = size;
	a->total += size;
	return c;
}

static void *take(struct oci_arena *a, size_t size, size_t align)
{
	struct chunk *c = a->chunks;

	if (size > OCI_ARENA_MAX)
		return NULL;
	size = size == 0 ? 1 : size;
	if (c) /* chunks begin aligned, and are a multiple of it unless they are full at once */
		c->used = (c->used + align - 1) / align * align;
	if (!c || c->used > c->size || c->size - c->used < size) {
		bool large = size > CHUNK_SIZE / 4;
		c = chunk_new(a, large ? size : CHUNK_SIZE);
		if (!c)
			return NULL;
		if (large && a->chunks) { /* full at once: the first keeps its room */
			c->next = a->chunks->next;
			a->chunks->next = c;
		} else {
			c->next = a->chunks;
			a->chunks = c;
		}
	}
	void *p = c->data + c->used;
	c->used += size;
	return p;
}

void *oci_arena_alloc(struct oci_arena *a, size_t size)
{
	return take(a, size, ALIGN);
}

void *oci_arena_array(struct oci_arena *a, size_t n, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(n, size, &bytes))
		return NULL;
	return oci_arena_alloc(a, bytes);
}

char *oci_arena_strdup(struct oci_arena *a, const char *s)
{
	if (!s)
		return NULL;
	size_t n = strlen(s) + 1;
	char *p = take(a, n, 1);
	return p ? memcpy(p, s, n) : NULL;
}

int oci_arena_strv(struct oci_arena *a, size_t n, struct oci_strv *ret)
{
	if (n == SIZE_MAX)
		return -ENOMEM;
	char **v = oci_arena_array(a, n + 1, sizeof *v);
	if (!v)
		return -ENOMEM;
	*ret = (struct oci_strv){.v = v, .n = n};
	return 0;
}

char *oci_mount_destination(struct oci_arena *a, const char *path)
{
	if (path[0] == '/' || path[0] == '\0')
		return oci_arena_strdup(a, path);
	size_t n = strlen(path) + 1;
	char *p = take(a, n + 1, 1);
	if (!p)
		return NULL;
	p[0] = '/';
	memcpy(p + 1, path, n);
	return p;
}
