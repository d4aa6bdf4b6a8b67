/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/testing-guest.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* Tests and fuzzers alike: there is nothing to clean up when their ground is missing. */
static void need(bool ok, const char *what)
{
	if (!ok) {
		perror(what);
		abort();
	}
}

void testing_ram_init(struct testing_ram *ram, uint64_t size)
{
	*ram = (struct testing_ram){.size = size};
	ram->fd = memfd_create("testing-ram", MFD_CLOEXEC);
	need(ram->fd >= 0, "memfd_create");
	need(ftruncate(ram->fd, (off_t)(2 * size)) == 0, "ftruncate");
	ram->mapping = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_SHARED, ram->fd, 0);
	need(ram->mapping != MAP_FAILED, "mmap");
	struct guest_region low = {
		.gpa = 0, .size = size, .hva = ram->mapping, .user_addr = (uint64_t)ram->mapping};
	struct guest_region high = {.gpa = TESTING_RAM_HIGH,
				    .size = size,
				    .hva = ram->mapping + size,
				    .user_addr = (uint64_t)ram->mapping + size};
	need(guest_memory_add(&ram->mem, &low) == 0, "low region");
	need(guest_memory_add(&ram->mem, &high) == 0, "high region");
}

void testing_ram_deinit(struct testing_ram *ram)
{
	need(munmap(ram->mapping, 2 * ram->size) == 0, "munmap");
	need(close(ram->fd) == 0, "close");
}

uint64_t testing_ram_alloc(struct testing_ram *ram, uint64_t len, uint64_t align)
{
	uint64_t gpa = (ram->next + align - 1) / align * align;
	need(len <= ram->size && gpa <= ram->size - len, "guest memory");
	ram->next = gpa + len;
	return gpa;
}

void *testing_ram_at(struct testing_ram *ram, uint64_t gpa)
{
	void *p = guest_memory_at(&ram->mem, gpa, 1);
	need(p, "guest address");
	return p;
}

void testing_driver_init(struct testing_driver *d, struct testing_ram *ram, unsigned size)
{
	*d = (struct testing_driver){.ram = ram, .size = size, .n_free = size};
	d->desc_gpa = testing_ram_alloc(ram, virtqueue_desc_bytes(size), 16);
	d->avail_gpa = testing_ram_alloc(ram, virtqueue_avail_bytes(size), 2);
	d->used_gpa = testing_ram_alloc(ram, virtqueue_used_bytes(size), 4);
	d->desc = testing_ram_at(ram, d->desc_gpa);
	d->avail = testing_ram_at(ram, d->avail_gpa);
	d->used = testing_ram_at(ram, d->used_gpa);
	memset(d->desc, 0, virtqueue_desc_bytes(size));
	memset(d->avail, 0, virtqueue_avail_bytes(size));
	memset(d->used, 0, virtqueue_used_bytes(size));
	for (unsigned i = 0; i < size; i++)
		d->desc[i].next = (uint16_t)(i + 1);
}

int testing_driver_start_device(struct testing_driver *d, struct virtqueue *q, uint64_t features)
{
	return virtqueue_start(q, &d->ram->mem, d->size, d->desc, d->avail, d->used, features, 0);
}

int testing_driver_add(struct testing_driver *d, const struct testing_buf *bufs, unsigned n)
{
	if (n > d->n_free)
		return -1;
	uint16_t head = d->free_head, i = head;
	for (unsigned k = 0; k < n; k++) {
		struct vring_desc *desc = &d->desc[i];
		desc->addr = bufs[k].gpa;
		desc->len = bufs[k].len;
		desc->flags = (uint16_t)((bufs[k].writable ? VRING_DESC_F_WRITE : 0) |
					 (k + 1 < n ? VRING_DESC_F_NEXT : 0));
		i = desc->next;
	}
	d->free_head = i;
	d->n_free -= n;
	d->chain_len[head] = (uint16_t)n;
	uint16_t idx = d->avail->idx;
	d->avail->ring[idx % d->size] = head;
	__atomic_store_n(&d->avail->idx, (uint16_t)(idx + 1), __ATOMIC_RELEASE);
	return head;
}

int testing_driver_get(struct testing_driver *d, uint32_t *ret_len)
{
	if (__atomic_load_n(&d->used->idx, __ATOMIC_ACQUIRE) == d->next_used)
		return -1;
	struct vring_used_elem *e = &d->used->ring[d->next_used++ % d->size];
	need(e->id < d->size && d->chain_len[e->id] > 0, "a completion that was never asked for");
	uint16_t last = (uint16_t)e->id;
	for (unsigned k = 1; k < d->chain_len[e->id]; k++)
		last = d->desc[last].next;
	d->desc[last].next = d->free_head;
	d->free_head = (uint16_t)e->id;
	d->n_free += d->chain_len[e->id];
	d->chain_len[e->id] = 0;
	*ret_len = e->len;
	return (int)e->id;
}

bool testing_driver_kick_wanted(struct testing_driver *d)
{
	__sync_synchronize();
	return !(d->used->flags & VRING_USED_F_NO_NOTIFY);
}
