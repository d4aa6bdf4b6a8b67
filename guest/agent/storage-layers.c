/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A root file system of layers: each an EROFS image on a disk or a partition, maybe protected by
 * dm-verity, and an overlay of all of them with a layer on top that can be written to.
 *
 * A protected layer that does not match its root hash gives no wrong data: a block whose hash is
 * wrong cannot be read (EIO), so that a damaged superblock fails the mount and damaged content
 * fails whoever reads it. The machine is not stopped for it, since it is one container's trouble,
 * and others in the pod go on.
 */
#include "base/fd.h"
#include "base/log.h"
#include "guest/agent/device.h"
#include "guest/agent/layer-mounts.h"
#include "guest/agent/layer.h"
#include "guest/agent/parallel.h"
#include "guest/agent/storage-driver.h"
#include "sys/dm.h"
#include "sys/inroot.h"
#include "sys/mountfd.h"
#include "sys/partition.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* A mount waits for its disk most of the time; more at once gain nothing on a few processors. */
#define THREADS 4
/* A device of the name may still be there while its last reader ends. */
#define NAMES_TRIED 8
/* mount(2) takes a page (kernel: copy_mount_options). */
#define OVERLAY_OPTIONS_MAX 4095

/* Everything that is known of one lower layer when it is mounted. */
struct lower {
	const struct layer *layer;
	const struct storage_env *env;
	char device[64];
	dev_t dev;
	struct verity verity;
	char *key;
	struct layer_mount *mount; /* a reference, or NULL */
};

/* What a made storage holds. */
struct layers {
	struct layer_mounts *mounts;
	struct lower *lowers;
	size_t n_lowers;
	char dir[192];	/* of the upper layer: <state>/<container>/multi-layer, or "" */
	char stop[160]; /* its parents are removed up to there */
	bool upper_mounted;
};

/* ---- Mounting one layer ------------------------------------------------------------------- */

static int map(struct layer_mount *m, const struct lower *w, char *ret_path, size_t size,
	       struct err *e)
{
	_cleanup_buf_ struct buf table = BUF_INIT;
	char hash[33], device[32];
	int r = -EEXIST;

	_cleanup_close_ int control = dm_open(e);
	if (control < 0)
		return control;
	/* without a word of what to do about damage, a damaged block cannot be read */
	(void)snprintf(device, sizeof device, "%u:%u", major(w->dev), minor(w->dev));
	if (verity_table(&w->verity, device, device, "", &table) < 0)
		return err_set(e, -ENOMEM, "no memory for a verity table");
	const struct dm_target t = {
		.type = "verity", .sectors = verity_sectors(&w->verity), .params = table.data};
	for (int i = 0; i < 16; i++)
		(void)snprintf(hash + 2 * i, 3, "%02x", w->verity.root[i]);
	for (int i = 0; r == -EEXIST && i < NAMES_TRIED; i++) {
		char suffix[8] = "";
		if (i > 0)
			(void)snprintf(suffix, sizeof suffix, "-%d", i);
		(void)snprintf(m->mapped, sizeof m->mapped, "kata-verity-%s-off%llu-%s%s",
			       strrchr(w->device, '/') + 1,
			       (unsigned long long)w->layer->hash_offset, hash, suffix);
		r = dm_make(control, m->mapped, &t, &m->mapped_dev, e);
	}
	if (r < 0) {
		m->mapped[0] = '\0';
		return r;
	}
	return dm_make_node(m->mapped, m->mapped_dev, ret_path, size, e);
}

static int mount_layer(struct layer_mount *m, const void *what, struct err *e)
{
	const struct lower *w = what;
	_cleanup_(engine_mount_options_free) struct engine_mount_options o =
		ENGINE_MOUNT_OPTIONS_INIT;
	char path[192];
	const char *source = w->device;

	int r = engine_mount_options_parse(&w->layer->options, &o, e);
	if (r < 0)
		return r;
	if (w->layer->verity) {
		r = map(m, w, path, sizeof path, e);
		if (r < 0)
			return r;
		source = path;
	}
	/* the superblock must not even try to open the device for writing */
	if (o.n_data == MOUNT_OPTIONS_MAX)
		return err_set(e, -E2BIG, "too many options");
	o.data[o.n_data++] = (struct mountfd_option){.key = "ro"};
	_cleanup_close_ int fd =
		mountfd_new("erofs", source, o.data, o.n_data, o.attr_set | MOUNT_ATTR_RDONLY, e);
	if (fd < 0)
		return fd;
	_cleanup_close_ int target = open(m->path, O_PATH | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY);
	if (target < 0)
		return err_errno(e, -errno, "open %s", m->path);
	r = mountfd_attach(fd, target);
	if (r < 0)
		return err_errno(e, r, "mount on %s", m->path);
	m->mounted = true;
	return 0;
}

/* The overlays have mounts of their own; this one is used by nobody. */
static void unmount_layer(struct layer_mount *m)
{
	struct err e = ERR_INIT;

	if (m->mounted && umount2(m->path, UMOUNT_NOFOLLOW | MNT_DETACH) < 0)
		log_error("unmount layer %s: %s", m->path, strerror(errno));
	m->mounted = false;
	if (!m->mapped[0])
		return;
	dm_remove_node(m->mapped, m->mapped_dev);
	_cleanup_close_ int control = dm_open(&e);
	int r = control < 0 ? control : dm_remove(control, m->mapped, &e);
	if (r < 0)
		log_error("%s", e.text);
	else if (r > 0)
		log_info("mapped device %s is in use: it goes with its last user", m->mapped);
	m->mapped[0] = '\0';
}

const struct layer_mount_ops storage_layer_ops = {mount_layer, unmount_layer};

/* ---- Finding and understanding one layer -------------------------------------------------- */

/* @disk: the layer's, if an earlier layer was on the same; path "" if it is to be looked for. */
static int find_device(const struct storage_env *env, const struct layer *l,
		       struct device_block *disk, struct device_block *ret, struct err *e)
{
	struct partition p;
	int r = 0;

	if (!disk->path[0])
		r = devices_find_block(env->devices, layer_device_driver(l->s), l->s->source, disk,
				       e);
	if (r < 0) {
		disk->path[0] = '\0';
		return r;
	}
	*ret = *disk;
	if (!l->partition)
		return 0;
	r = partition_find(disk->path, l->partition, &p, e);
	if (r < 0)
		return r;
	memcpy(ret->path, p.path, sizeof ret->path);
	ret->rdev = p.dev;
	return 0;
}

static int read_verity(struct lower *w, struct err *e)
{
	uint8_t superblock[VERITY_SUPERBLOCK_BYTES] = {0};
	uint64_t bytes;
	struct stat st;

	_cleanup_close_ int fd = open(w->device, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || ioctl(fd, BLKGETSIZE64, &bytes) < 0)
		return err_errno(e, -errno, "open %s", w->device);
	if (st.st_rdev != w->dev)
		return err_set(e, -ENODEV, "%s is another device by now", w->device);
	/* the tree of a single block is empty, and begins at the end */
	size_t want = w->layer->no_superblock ? 0 : sizeof superblock;
	if (w->layer->hash_offset > bytes || bytes - w->layer->hash_offset < want)
		return err_set(e, -EINVAL,
			       "option X-kata.dmverity.hashoffset=%llu: %s has %llu bytes",
			       (unsigned long long)w->layer->hash_offset, w->device,
			       (unsigned long long)bytes);
	ssize_t n = pread(fd, superblock, want, (off_t)w->layer->hash_offset);
	if (n != (ssize_t)want)
		return err_errno(e, n < 0 ? -errno : -EIO, "read the verity superblock of %s",
				 w->device);
	return layer_verity(w->layer, superblock, bytes, &w->verity, e);
}

/* Two layers are one if the same device is mounted in the same way. */
static int make_key(struct lower *w, struct err *e)
{
	_cleanup_buf_ struct buf key = BUF_INIT;

	buf_printf(&key, "%u:%u", major(w->dev), minor(w->dev));
	for (size_t i = 0; i < w->layer->options.n; i++)
		buf_printf(&key, ",%s", w->layer->options.v[i]);
	if (w->layer->verity) {
		buf_puts(&key, "|");
		(void)verity_table(&w->verity, "", "", "", &key);
	}
	w->key = buf_take(&key);
	return w->key ? 0 : err_set(e, -ENOMEM, "no memory for a layer");
}

/* A guest image may have the hash's module where the kernel has it not built in. */
static void load_hash(struct modules *m, const char *algorithm)
{
	const char *name = strcmp(algorithm, "sha256") == 0 ? "sha256_generic" : "sha512_generic";
	if (modules_has(m, name))
		(void)modules_load(m, name, NULL, NULL);
}

static int get_lower(struct layers *ls, struct lower *w, struct err *e)
{
	int r = 0;

	if (w->layer->verity)
		r = read_verity(w, e);
	if (r == 0)
		r = make_key(w, e);
	if (r == 0 && w->layer->verity)
		load_hash(w->env->modules, w->verity.algorithm);
	if (r == 0)
		r = layer_mounts_get(ls->mounts, w->key, w, &w->mount, e);
	return r;
}

static int get_lower_i(void *ctx, size_t i, struct err *e)
{
	struct layers *ls = ctx;
	struct lower *w = &ls->lowers[i];

	int r = get_lower(ls, w, e);
	return r < 0 ? err_wrap(e, r, "layer %.100s (%s)", w->layer->s->source, w->device) : 0;
}

/* ---- The layer on top --------------------------------------------------------------------- */

static int make_upper_dir(struct layers *ls, const struct storage_env *env, const char *container,
			  struct err *e)
{
	char upper[224];

	int r = path_format(ls->stop, sizeof ls->stop, "%s", env->state_dir);
	if (r == 0)
		r = path_format(ls->dir, sizeof ls->dir, "%s/%s/multi-layer", env->state_dir,
				container ? container : "sandbox");
	if (r == 0)
		r = path_format(upper, sizeof upper, "%s/upper", ls->dir);
	if (r < 0) {
		ls->dir[0] = '\0';
		return err_set(e, r, "the path of the upper layer is too long");
	}
	r = remove_tree(ls->dir); /* of an agent that was killed */
	if (r == 0)
		r = mkdir_parents(upper, 0755);
	return r < 0 ? err_errno(e, r, "make %s", upper) : 0;
}

static int mount_upper(struct layers *ls, const struct storage_env *env, const struct layer *l,
		       struct err *e)
{
	_cleanup_(engine_mount_options_free) struct engine_mount_options o =
		ENGINE_MOUNT_OPTIONS_INIT;
	struct device_block disk = {.path = ""}, device;
	char upper[224];

	int r = find_device(env, l, &disk, &device, e);
	if (r == 0)
		r = engine_mount_options_parse(&l->options, &o, e);
	if (r < 0)
		return r;
	modules_for_filesystem(env->modules, "ext4");
	_cleanup_close_ int fd = mountfd_new("ext4", device.path, o.data, o.n_data, o.attr_set, e);
	if (fd < 0)
		return fd;
	(void)snprintf(upper, sizeof upper, "%s/upper", ls->dir);
	_cleanup_close_ int target = open(upper, O_PATH | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY);
	if (target < 0)
		return err_errno(e, -errno, "open %s", upper);
	r = mountfd_attach(fd, target);
	if (r < 0)
		return err_errno(e, r, "mount the upper layer on %s", upper);
	ls->upper_mounted = true;
	return 0;
}

/* ---- The overlay -------------------------------------------------------------------------- */

static int make_directory(int root, const struct layer_mkdir *m, struct err *e)
{
	struct stat st;

	bool there = false;
	int fd = inroot_open(root, m->path, O_PATH | O_DIRECTORY);
	if (fd >= 0)
		there = true;
	else
		fd = inroot_mkdir(root, m->path, 0755);
	if (fd < 0)
		return err_errno(e, fd, "make directory %.200s in layer %u", m->path, m->mount);
	int r = 0;
	/* what an image brings keeps its mode */
	if (!there && (fchownat(fd, "", m->uid, m->gid, AT_EMPTY_PATH) < 0 || fstat(fd, &st) < 0))
		r = -errno;
	if (!there && r == 0) {
		char self[32];
		(void)snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
		r = chmod(self, m->mode) < 0 ? -errno : 0;
	}
	(void)close(fd);
	return r < 0 ? err_errno(e, r, "set up directory %.200s", m->path) : 0;
}

static int make_directories(const struct layer_group *g, const int *fds, struct err *e)
{
	for (size_t i = 0; i < g->n_mkdirs; i++) {
		int r = make_directory(fds[g->mkdirs[i].mount], &g->mkdirs[i], e);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * By descriptors rather than paths: a hundred layers must fit the page that mount(2) takes, which
 * is the only way there is before Linux 6.5 (fsconfig(2) takes 255 bytes for all of lowerdir
 * there).
 */
static int mount_overlay(const int *fds, size_t n_lowers, const char *target, struct err *e)
{
	_cleanup_buf_ struct buf o = BUF_INIT;
	char self[32];

	_cleanup_close_ int upper = inroot_mkdir(fds[0], "upper", 0755);
	_cleanup_close_ int work = inroot_mkdir(fds[0], "work", 0700);
	if (upper < 0 || work < 0)
		return err_errno(e, upper < 0 ? upper : work,
				 "make directories in the upper layer");
	for (size_t i = 1; i <= n_lowers; i++)
		buf_printf(&o, "%s/proc/self/fd/%d", i > 1 ? ":" : "lowerdir=", fds[i]);
	buf_printf(&o, ",upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d", upper, work);
	if (buf_failed(&o) || o.len > OVERLAY_OPTIONS_MAX)
		return err_set(e, -E2BIG, "an overlay of %zu layers is too large", n_lowers);
	_cleanup_close_ int at = open(target, O_PATH | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY);
	if (at < 0)
		return err_errno(e, -errno, "open mount point %s", target);
	(void)snprintf(self, sizeof self, "/proc/self/fd/%d", at);
	if (mount("overlay", self, "overlay", 0, o.data) < 0)
		return err_errno(e, -errno, "mount an overlay of %zu layers on %s", n_lowers,
				 target);
	return 0;
}

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)close_fd(fds[i]);
	free(fds);
}

/* Descriptors of the layers' roots: [0] the upper one's. */
static int open_layers(const struct layers *ls, int *fds, struct err *e)
{
	char upper[224];

	(void)snprintf(upper, sizeof upper, "%s/upper", ls->dir);
	for (size_t i = 0; i <= ls->n_lowers; i++) {
		const char *path = i == 0 ? upper : ls->lowers[i - 1].mount->path;
		fds[i] = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY);
		if (fds[i] < 0)
			return err_errno(e, -errno, "open layer %s", path);
	}
	return 0;
}

static int put_together(const struct layers *ls, const struct layer_group *g, struct storage *to,
			struct err *e)
{
	size_t n = ls->n_lowers + 1;
	int *fds = malloc(n * sizeof *fds);
	if (!fds)
		return err_set(e, -ENOMEM, "no memory for %zu layers", n);
	for (size_t i = 0; i < n; i++)
		fds[i] = -EBADF;
	int r = open_layers(ls, fds, e);
	if (r == 0)
		r = make_directories(g, fds, e);
	if (r == 0)
		r = storage_make_mount_point(to, false, e);
	if (r == 0)
		r = mount_overlay(fds, ls->n_lowers, to->mount_point, e);
	to->mounted = r == 0;
	close_all(fds, n);
	return r;
}

/* ---- The storage -------------------------------------------------------------------------- */

/* In reverse order of what make did; the overlay is unmounted already. */
static void undo(struct storage *s)
{
	struct layers *ls = s->driver_data;
	char upper[224];

	(void)snprintf(upper, sizeof upper, "%s/upper", ls->dir);
	for (size_t i = ls->n_lowers; i-- > 0;) {
		if (ls->lowers[i].mount)
			layer_mounts_put(ls->mounts, ls->lowers[i].mount);
		free(ls->lowers[i].key);
	}
	if (ls->upper_mounted && umount2(upper, UMOUNT_NOFOLLOW | MNT_DETACH) < 0)
		log_error("unmount %s: %s", upper, strerror(errno));
	if (ls->dir[0]) {
		int r = remove_tree(ls->dir);
		if (r < 0)
			log_error("remove %s: %s", ls->dir, strerror(-r));
		*strrchr(ls->dir, '/') = '\0';
		rmdir_parents(ls->dir, ls->stop);
	}
	free(ls->lowers);
	free(ls);
	s->driver_data = NULL;
}

static bool same_disk(const Grpc__Storage *a, const Grpc__Storage *b)
{
	return strcmp(a->driver, b->driver) == 0 && strcmp(a->source, b->source) == 0;
}

/* Looks for each disk once, one after another: they come in an order that the bus gives. */
static int find_devices(struct layers *ls, const struct storage_env *env,
			const struct layer_group *g, struct err *e)
{
	struct device_block disk = {.path = ""}, device;

	for (size_t i = 0; i < g->n_lowers; i++) {
		struct lower *w = &ls->lowers[i];
		w->layer = &g->lowers[i];
		w->env = env;
		if (i > 0 && !same_disk(w->layer->s, g->lowers[i - 1].s))
			disk.path[0] = '\0';
		int r = find_device(env, w->layer, &disk, &device, e);
		if (r < 0)
			return err_wrap(e, r, "layer %.100s", w->layer->s->source);
		memcpy(w->device, device.path, sizeof w->device);
		w->dev = device.rdev;
	}
	return 0;
}

static int make_group(const struct storage_env *env, const struct storage_request *q,
		      const struct layer_group *g, struct storage *to, struct err *e)
{
	struct layers *ls = calloc(1, sizeof *ls);
	if (ls)
		ls->lowers = calloc(g->n_lowers, sizeof *ls->lowers);
	if (!ls || !ls->lowers) {
		free(ls);
		return err_set(e, -ENOMEM, "no memory for %zu layers", g->n_lowers);
	}
	ls->mounts = env->layers;
	ls->n_lowers = g->n_lowers;
	to->driver_data = ls;
	to->undo = undo;

	int r = find_devices(ls, env, g, e);
	if (r == 0)
		r = make_upper_dir(ls, env, q->container, e);
	if (r == 0 && g->has_upper)
		r = mount_upper(ls, env, &g->upper, e);
	if (r < 0)
		return r;
	modules_for_filesystem(env->modules, "erofs");
	modules_for_filesystem(env->modules, "overlay");
	if (modules_has(env->modules, "dm-verity"))
		(void)modules_load(env->modules, "dm-verity", NULL, NULL);
	r = parallel_run(THREADS, ls->n_lowers, get_lower_i, ls, e);
	return r < 0 ? r : put_together(ls, g, to, e);
}

int storage_make_layers(const struct storage_env *env, const struct storage_request *q,
			struct storage *to, struct err *e)
{
	struct layer_group g;

	int r = layer_group_parse(q->all, q->n_all, &g, e);
	if (r == 0)
		r = make_group(env, q, &g, to, e);
	/* what undo() needs of the group has been copied */
	layer_group_free(&g);
	return r < 0 ? err_wrap(e, r, "storage %s", to->mount_point) : 0;
}

int storage_layers_target(Grpc__Storage *const *v, size_t n, const Grpc__Storage **ret,
			  struct err *e)
{
	struct layer_group g;

	int r = layer_group_parse(v, n, &g, e);
	if (r == 0)
		*ret = g.target;
	layer_group_free(&g);
	return r;
}
