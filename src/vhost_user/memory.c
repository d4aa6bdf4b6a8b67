/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost_user/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* The mapping begins at the file's start, not at the region's: with huge pages the region may begin
 * in the middle of one. @align is that page's size. */
static int map_len(const struct vhost_user_region *r, const struct stat *st, size_t *ret)
{
	uint64_t end, align = st->st_blksize > 4096 ? (uint64_t)st->st_blksize : 4096;

	if (__builtin_add_overflow(r->mmap_offset, r->size, &end))
		return -EINVAL;
	if (st->st_size < 0 || end > (uint64_t)st->st_size)
		return -EINVAL;
	if (align & (align - 1))
		align = 4096;
	*ret = (end + align - 1) & ~(align - 1);
	return 0;
}

int vhost_user_memory_add(struct vhost_user_memory *m, const struct vhost_user_region *r, int fd,
			  struct err *e)
{
	struct guest_region region = {.gpa = r->gpa, .size = r->size, .user_addr = r->user_addr};
	struct stat st;
	size_t len = 0;

	(void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK); /* fails where it is sealed already */
	if (fstat(fd, &st) < 0)
		return err_errno(e, -errno, "look at a guest memory file");
	if (map_len(r, &st, &len) < 0)
		return err_set(e, -EINVAL,
			       "guest memory at %#llx: %#llx bytes at offset %#llx do not lie in "
			       "its file of %#llx bytes",
			       (unsigned long long)r->gpa, (unsigned long long)r->size,
			       (unsigned long long)r->mmap_offset, (unsigned long long)st.st_size);
	void *base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return err_errno(e, -errno, "map %zu bytes of guest memory", len);
	(void)madvise(base, len, MADV_DONTDUMP); /* a guest's secrets are not for our core files */
	region.hva = (uint8_t *)base + r->mmap_offset;
	unsigned i = m->guest.n;
	int rc = guest_memory_add(&m->guest, &region);
	if (rc < 0) {
		(void)munmap(base, len);
		return err_set(e, rc,
			       "guest memory at %#llx, %#llx bytes, is empty, wraps around, meets "
			       "another region, or is one of more than %d",
			       (unsigned long long)r->gpa, (unsigned long long)r->size,
			       GUEST_REGIONS_MAX);
	}
	m->maps[i].base = base;
	m->maps[i].len = len;
	return 0;
}

int vhost_user_memory_find(const struct vhost_user_memory *m, const struct vhost_user_region *r,
			   struct err *e)
{
	for (unsigned i = 0; i < m->guest.n; i++) {
		const struct guest_region *g = &m->guest.regions[i];
		if (g->gpa == r->gpa && g->size == r->size && g->user_addr == r->user_addr)
			return (int)i;
	}
	return err_set(e, -ENOENT, "there is no guest memory at %#llx of %#llx bytes",
		       (unsigned long long)r->gpa, (unsigned long long)r->size);
}

void vhost_user_memory_drop(struct vhost_user_memory *m, unsigned i)
{
	(void)munmap(m->maps[i].base, m->maps[i].len);
	m->guest.n--;
	m->guest.regions[i] = m->guest.regions[m->guest.n];
	m->maps[i] = m->maps[m->guest.n];
}

void vhost_user_memory_clear(struct vhost_user_memory *m)
{
	while (m->guest.n > 0)
		vhost_user_memory_drop(m, m->guest.n - 1);
}
