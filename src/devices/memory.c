/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: the one place that turns a guest's address into a pointer. Every comparison is
 * written as a subtraction from a value known to be larger, so that no sum can wrap around.
 */
#include "devices/virtio.h"

static bool range_in(uint64_t start, uint64_t size, uint64_t addr, uint64_t len)
{
	return addr >= start && addr - start < size && len <= size - (addr - start);
}

void *guest_memory_at(const struct guest_memory *m, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct guest_region *r = &m->regions[i];
		if (range_in(r->gpa, r->size, gpa, len))
			return r->hva + (gpa - r->gpa);
	}
	return NULL;
}

void *guest_memory_at_user(const struct guest_memory *m, uint64_t addr, uint64_t len)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct guest_region *r = &m->regions[i];
		if (range_in(r->user_addr, r->size, addr, len))
			return r->hva + (addr - r->user_addr);
	}
	return NULL;
}

void *guest_memory_span(const struct guest_memory *m, uint64_t gpa, uint64_t len, uint64_t *ret_len)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct guest_region *r = &m->regions[i];
		if (!range_in(r->gpa, r->size, gpa, 1))
			continue;
		uint64_t left = r->size - (gpa - r->gpa);
		*ret_len = len < left ? len : left;
		return r->hva + (gpa - r->gpa);
	}
	return NULL;
}

/* Both ranges are known not to wrap around. */
static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b ? b - a < a_size : a - b < b_size;
}

int guest_memory_add(struct guest_memory *m, const struct guest_region *r)
{
	if (r->size == 0 || r->gpa > UINT64_MAX - r->size || r->user_addr > UINT64_MAX - r->size)
		return -EINVAL;
	for (unsigned i = 0; i < m->n; i++) {
		const struct guest_region *o = &m->regions[i];
		if (overlap(o->gpa, o->size, r->gpa, r->size))
			return -EINVAL;
		if (overlap(o->user_addr, o->size, r->user_addr, r->size))
			return -EINVAL;
	}
	if (m->n == GUEST_REGIONS_MAX)
		return -ENOSPC;
	m->regions[m->n++] = *r;
	return 0;
}
