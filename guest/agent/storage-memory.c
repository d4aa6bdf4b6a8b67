/* SPDX-License-Identifier: Apache-2.0 */
/* Storages without a device: shared directories, memory, the guest's own directories, binds. */
#include "base/fd.h"
#include "base/log.h"
#include "guest/agent/storage-driver.h"
#include "sys/mountfd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

int storage_make_virtio_fs(const struct storage_env *env, const struct storage_request *q,
			   struct storage *to, struct err *e)
{
	const Grpc__Storage *s = q->s;
	if (!*s->source)
		return err_set(e, -EINVAL, "virtio-fs storage %s has no tag", s->mount_point);
	return storage_mount_filesystem(env, q, "virtiofs", NULL, to, e);
}

/* ---- Memory ------------------------------------------------------------------------------- */

/* Sizes of huge pages that a kernel knows: two on x86, four on arm64. */
#define PAGE_SIZES_MAX 8
#define HUGEPAGES_DIR "/sys/kernel/mm/hugepages"

/* What storages have reserved of one size of page. */
struct page_pool {
	uint64_t kib;	 /* of a page; 0: unused */
	uint64_t before; /* pages that there were before the first storage; they count as well */
	uint64_t reserved;
};

static pthread_mutex_t pools_lock = PTHREAD_MUTEX_INITIALIZER;
static struct page_pool pools[PAGE_SIZES_MAX]; /* under the lock, as is the kernel's number */

struct reservation {
	struct page_pool *pool;
	uint64_t pages;
};

static int pool_file(uint64_t kib, char *dst, size_t size)
{
	return path_format(dst, size, HUGEPAGES_DIR "/hugepages-%" PRIu64 "kB/nr_hugepages", kib);
}

static int pool_read(uint64_t kib, uint64_t *ret)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	char path[128];

	int r = pool_file(kib, path, sizeof path);
	if (r == 0)
		r = file_read(AT_FDCWD, path, 64, &text);
	if (r == 0)
		*ret = strtoull(text.data ? text.data : "", NULL, 10);
	return r;
}

/* The kernel takes as many as it can get, and says nothing of the rest. */
static int pool_resize(const struct page_pool *p)
{
	uint64_t wanted = p->reserved > p->before ? p->reserved : p->before, got = 0;
	char path[128], text[32];

	(void)snprintf(text, sizeof text, "%" PRIu64, wanted);
	int r = pool_file(p->kib, path, sizeof path);
	if (r == 0)
		r = file_write(AT_FDCWD, path, text);
	if (r == 0)
		r = pool_read(p->kib, &got);
	return r < 0 ? r : got < wanted ? -ENOMEM : 0;
}

static struct page_pool *pool_find(uint64_t kib, struct err *e)
{
	uint64_t before;

	for (size_t i = 0; i < PAGE_SIZES_MAX; i++) {
		if (pools[i].kib == kib)
			return &pools[i];
		if (pools[i].kib)
			continue;
		if (pool_read(kib, &before) < 0) {
			(void)err_set(e, -EINVAL,
				      "this kernel has no huge pages of %" PRIu64 " KiB", kib);
			return NULL;
		}
		pools[i] = (struct page_pool){.kib = kib, .before = before};
		return &pools[i];
	}
	(void)err_set(e, -E2BIG, "more than %d sizes of huge pages", PAGE_SIZES_MAX);
	return NULL;
}

static void give_back(struct storage *s)
{
	struct reservation *v = s->driver_data;

	pthread_mutex_lock(&pools_lock);
	v->pool->reserved -= v->pages;
	int r = pool_resize(v->pool);
	pthread_mutex_unlock(&pools_lock);
	if (r < 0)
		log_warn("give back %" PRIu64 " huge pages: %s", v->pages, strerror(-r));
	free(v);
	s->driver_data = NULL;
}

static int reserve(struct storage *to, uint64_t kib, uint64_t pages, struct err *e)
{
	_cleanup_free_ struct reservation *v = calloc(1, sizeof *v);
	int r = 0;

	if (!v)
		return err_set(e, -ENOMEM, "no memory for storage %s", to->mount_point);
	pthread_mutex_lock(&pools_lock);
	struct page_pool *p = pool_find(kib, e);
	if (p) {
		p->reserved += pages;
		r = pool_resize(p);
		if (r < 0) {
			p->reserved -= pages;
			(void)pool_resize(p);
		}
	}
	pthread_mutex_unlock(&pools_lock);
	if (!p)
		return -EINVAL;
	if (r < 0)
		return err_errno(e, r,
				 "storage %s: reserve %" PRIu64 " huge pages of %" PRIu64 " KiB",
				 to->mount_point, pages, kib);
	*v = (struct reservation){.pool = p, .pages = pages};
	to->driver_data = TAKE_PTR(v);
	to->undo = give_back;
	return 0;
}

/* Bytes, or with K, M or G behind: as hugetlbfs itself reads them. */
static int parse_bytes(const char *text, uint64_t *ret)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	unsigned shift = 0;
	switch (*end) {
	case 'k':
	case 'K':
		shift = 10;
		break;
	case 'm':
	case 'M':
		shift = 20;
		break;
	case 'g':
	case 'G':
		shift = 30;
		break;
	}
	if (errno || (shift && *++end) || *end || n > UINT64_MAX >> shift)
		return -EINVAL;
	*ret = n << shift;
	return 0;
}

/* Reserves what the mount may hold, so that a process of the pod does not die of what it maps. */
static int reserve_for(const Grpc__Storage *s, struct storage *to, struct err *e)
{
	_cleanup_(engine_mount_options_free) struct engine_mount_options o =
		ENGINE_MOUNT_OPTIONS_INIT;
	const struct oci_strv words = {.v = s->options, .n = s->n_options};
	const char *page_text = NULL, *size_text = NULL;
	uint64_t page, size;

	int r = engine_mount_options_parse(&words, &o, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < o.n_data; i++) {
		if (strcmp(o.data[i].key, "pagesize") == 0)
			page_text = o.data[i].value;
		else if (strcmp(o.data[i].key, "size") == 0)
			size_text = o.data[i].value;
	}
	if (parse_bytes(page_text, &page) < 0 || parse_bytes(size_text, &size) < 0)
		return err_set(e, -EINVAL,
			       "hugetlbfs storage %s: needs options pagesize=BYTES and size=BYTES",
			       s->mount_point);
	if (page < 1024 || page % 1024 || size == 0)
		return err_set(e, -EINVAL,
			       "hugetlbfs storage %s: pagesize=%s, size=%s: no such pages",
			       s->mount_point, page_text, size_text);
	return reserve(to, page / 1024, size / page + (size % page != 0), e);
}

/*
 * Memory: the pod's /dev/shm, an emptyDir of medium Memory or HugePages. All options are honoured.
 * It is the pod's: a container that is restarted finds it as it was.
 */
int storage_make_ephemeral(const struct storage_env *env, const struct storage_request *q,
			   struct storage *to, struct err *e)
{
	const Grpc__Storage *s = q->s;
	bool huge = strcmp(s->fstype, "hugetlbfs") == 0;

	if (*s->fstype && !huge && strcmp(s->fstype, "tmpfs") != 0)
		return err_status(e, STATUS_UNIMPLEMENTED,
				  "ephemeral storage %s: file system %s is not supported, only "
				  "tmpfs and hugetlbfs",
				  s->mount_point, s->fstype);
	to->shared = true;
	int r = huge ? reserve_for(s, to, e) : 0;
	return r < 0 ? r
		     : storage_mount_filesystem(env, q, huge ? "hugetlbfs" : "tmpfs", NULL, to, e);
}

/* ---- Directories -------------------------------------------------------------------------- */

static void remove_local(struct storage *s)
{
	int r = remove_tree(s->mount_point);
	if (r < 0)
		log_warn("remove %s: %s", s->mount_point, strerror(-r));
}

/* A directory of the guest's own: an emptyDir. */
int storage_make_local(const struct storage_env *env, const struct storage_request *q,
		       struct storage *to, struct err *e)
{
	const Grpc__Storage *s = q->s;
	_cleanup_(cleanup_strv_frame) struct oci_strv rest = {.v = NULL};
	struct storage_own_options own = {.has_gid = false};

	int r = storage_split_options(s, true, &own, &rest, e);
	if (r == 0 && rest.n > 0)
		r = err_set(e, -EINVAL, "local storage %s: unknown option %s", s->mount_point,
			    rest.v[0]);
	if (r == 0)
		r = storage_make_mount_point(to, false, e);
	if (r < 0)
		return r;
	to->shared = true; /* what is in it belongs to the pod */
	if (to->made_dir) {
		to->made_dir = false;
		to->undo = remove_local;
	}
	_cleanup_close_ int fd = open(to->mount_point, O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_errno(e, -errno, "open %s", to->mount_point);
	return storage_apply_own(fd, &own, to->mount_point, e);
}

int storage_make_bind(const struct storage_env *env, const struct storage_request *q,
		      struct storage *to, struct err *e)
{
	const Grpc__Storage *s = q->s;
	_cleanup_(engine_mount_options_free) struct engine_mount_options o =
		ENGINE_MOUNT_OPTIONS_INIT;
	_cleanup_(cleanup_strv_frame) struct oci_strv rest = {.v = NULL};
	struct storage_own_options own = {.has_gid = false};
	struct stat st;

	if (s->source[0] != '/')
		return err_set(e, -EINVAL, "bind storage %s: source %s is not absolute",
			       s->mount_point, s->source);
	int r = storage_split_options(s, false, &own, &rest, e);
	if (r == 0)
		r = engine_mount_options_parse(&rest, &o, e);
	if (r == 0 && o.n_data > 0)
		r = err_set(e, -EINVAL, "bind storage %s: unknown option %s", s->mount_point,
			    o.data[0].key);
	if (r < 0)
		return r;
	if (stat(s->source, &st) < 0)
		return err_errno(e, -errno, "bind storage %s: source %s", s->mount_point,
				 s->source);
	r = storage_make_mount_point(to, !S_ISDIR(st.st_mode), e);
	if (r < 0)
		return r;
	_cleanup_close_ int fd = mountfd_clone(AT_FDCWD, s->source, o.recursive);
	if (fd < 0)
		return err_errno(e, fd, "clone the mount of %s", s->source);
	r = mountfd_set_attr(fd, o.attr_set, o.attr_clear, false);
	if (r == 0 && (o.rec_set || o.rec_clear))
		r = mountfd_set_attr(fd, o.rec_set, o.rec_clear, true);
	if (r == 0 && o.propagation)
		r = mountfd_set_propagation(fd, o.propagation, o.propagation_recursive);
	if (r < 0)
		return err_errno(e, r, "set the options of %s", s->mount_point);
	return storage_attach(fd, to, &own, e);
}

/* By the superblock alone: mount(2) with MS_REMOUNT would also reset nosuid and its like. */
int storage_reconfigure(const Grpc__Storage *s, struct err *e)
{
	_cleanup_(engine_mount_options_free) struct engine_mount_options o =
		ENGINE_MOUNT_OPTIONS_INIT;
	_cleanup_(cleanup_strv_frame) struct oci_strv rest = {.v = NULL};
	struct storage_own_options own = {.has_gid = false};

	int r = storage_split_options(s, false, &own, &rest, e);
	if (r == 0)
		r = engine_mount_options_parse(&rest, &o, e);
	if (r < 0)
		return r;
	_cleanup_close_ int fd = fspick(AT_FDCWD, s->mount_point, FSPICK_CLOEXEC);
	if (fd < 0)
		return err_errno(e, -errno, "reconfigure %s", s->mount_point);
	for (size_t i = 0; i < o.n_data; i++) {
		const struct mountfd_option *d = &o.data[i];
		if (fsconfig(fd, d->value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, d->key,
			     d->value, 0) < 0)
			return err_errno(e, -errno, "storage %s: option %s=%s", s->mount_point,
					 d->key, d->value ? d->value : "");
	}
	if (fsconfig(fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		return err_errno(e, -errno, "reconfigure %s", s->mount_point);
	return 0;
}
